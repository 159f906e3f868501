"""How other people's programs play a scenario: in real seconds, with a user who gives up and goes on. Data only.

Their command lines have no deadline of their own and no policy, so the harness plays the user. Messages carry a marker
(``LJ-1``): the fake model knows the question by it, and its journal says whose question a request held.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lockjaw.documents import FieldError

from ..faults import AnyFault
from .timing import Seconds

__all__ = ["Outside"]

Positive = Annotated[float, Meta(gt=0)]
Word = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,40}$", description="1 to 40 letters, digits, _ and -")]
_MARKER = re.compile(r"\bLJ-\d+\b")


class Outside(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How programs that are not Lockjaw's play it. Real seconds throughout."""

    answer: Annotated[str, Meta(min_length=1)] = "The slow answer."  # what the model says
    answers_s: Positive = 12.0  # from the request to the answer
    other_answers_s: Seconds = 0.0  # the same for the other questions
    #: when the user ends the first attempt, counted from when the model has the question; null: never
    gives_up_s: Positive | None = 6.0
    #: what the user does next: a turn in a process of its own (where the runtime has one), the same question to the
    #: gateway again, or nothing
    then: Literal["own", "again", "nothing"] = "own"
    waits_s: Seconds = 0.0  # before that
    says: Annotated[str, Meta(min_length=1)] | None = None  # what the user says then; null: the same message again
    patience_s: Positive = 60.0  # for every attempt that has no other limit
    effect: Word | None = None  # a line that the model's tool writes before it answers; it is counted in `ledger`
    effect_s: Seconds = 0.0  # how long the tool runs after its effect
    ledger: Word = "ledger"  # the file that `effect` is written to
    holds_s: Seconds = 20.0  # how long an actor of the cast holds the store (its step `hold_database`)
    faults: tuple[AnyFault, ...] | None = None  # in place of the scenario's, in times of its own

    @property
    def policy(self) -> str:
        """The built-in policy that does what this user does: a turn of one's own in the same session, or none."""
        return "reuse-session" if self.then == "own" else "no-fallback"

    @staticmethod
    def marker_in(message: str, name: str = "message") -> str:
        """The marker of a message (``LJ-1``). Raises FieldError if it has none."""
        found = _MARKER.search(message)
        if found is None:
            raise FieldError(name, "a message with a marker such as LJ-1, beside `outside`", message)
        return found[0]

    @classmethod
    def marker_of(cls, message: str, name: str = "message") -> str:
        """A pattern that finds the marker of a message and no longer one. Raises FieldError if it has none."""
        return rf"\b{cls.marker_in(message, name)}\b"
