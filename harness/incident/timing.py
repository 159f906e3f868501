"""When something of a scenario is due: at a time, or some time after a record. Data only, in nominal seconds."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from lockjaw.documents import FieldError

from .matching import Pattern

__all__ = ["Count", "Seconds", "Timing"]

Seconds = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """At a time, or some time after a record."""

    at_s: Seconds | None = None  # nominal seconds after the client's start
    when: Pattern | None = None  # the record after which it is due
    nth: Count = 1  # which of the records that match
    after_s: Seconds = 0.0  # so long after that record
    jitter_s: Seconds = 0.0  # up to so much later, drawn from the run's seed

    def __post_init__(self) -> None:
        given = self._given()
        if sum(one is not None for one in given.values()) != 1:
            *names, last = given
            raise FieldError("", f"exactly one of {', '.join(names)} and {last}")
        if self.when is None and (self.after_s or self.nth != 1):
            blamed = next(name for name, value in given.items() if value is not None)
            raise FieldError(blamed, "no after_s and no nth beside it (they belong to when)", given[blamed])

    def _given(self) -> dict[str, object]:
        return {"at_s": self.at_s, "when": self.when}
