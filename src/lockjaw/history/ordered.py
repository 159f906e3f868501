"""A history whose records know their places, and that remembers what was read out of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec

from lockjaw.history.records import Record

__all__ = ["Ordered", "numbered", "once"]

P = ParamSpec("P")
R = TypeVar("R")


class Ordered(list[Record]):
    """``history[n].i == n``. ``known``: what ``once`` has worked out, for the dozen readers that ask the same."""

    def __init__(self, records: Iterable[Record]) -> None:
        super().__init__(records)
        self.known: dict[Any, Any] = {}


def numbered(history: Sequence[Record]) -> Ordered:
    """The history with indices 0, 1, 2, ...; merged histories already have them."""
    if isinstance(history, Ordered):
        return history
    return Ordered(r if r.i == n else msgspec.structs.replace(r, i=n) for n, r in enumerate(history))


def once(derive: Callable[Concatenate[Sequence[Record], P], R]) -> Callable[Concatenate[Sequence[Record], P], R]:
    """Work it out once for each history that is ``Ordered``. The callers share the result: do not change it."""

    def known(history: Sequence[Record], /, *args: P.args, **more: P.kwargs) -> R:
        if not isinstance(history, Ordered) or more:
            return derive(history, *args, **more)
        key = (derive, args)
        if key not in history.known:
            history.known[key] = derive(history, *args, **more)
        found: R = history.known[key]
        return found

    update_wrapper(known, derive)
    return known
