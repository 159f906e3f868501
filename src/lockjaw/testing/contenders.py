"""The ``lock_contenders`` fixture: contending processes, all of them reaped when the test ends."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType

from lockjaw.clock import Clock
from lockjaw.fakes.contenders.contender import Contender


class Contenders:
    """Call it for a new contender."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._stack = clock, ExitStack()
        self._made: list[Contender] = []

    def __call__(self) -> Contender:
        contender = self._stack.enter_context(Contender(clock=self._clock, owner=f"contender-{len(self._made) + 1}"))
        self._made.append(contender)
        return contender

    def account(self) -> list[str]:
        """What each contender does, for the report of a failed test."""
        return [contender.in_words() for contender in self._made]

    def __enter__(self) -> Contenders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
