"""A toxic that waits for its cue: a text that passes on the connection."""

from __future__ import annotations

from .stage import Item, Stage, Timed, cost


class Matcher:
    """Finds the nth occurrence of a pattern in a stream that comes in pieces; occurrences do not overlap."""

    def __init__(self, pattern: bytes, nth: int = 1) -> None:
        self._pattern, self._left, self._tail = pattern, nth, b""

    def feed(self, data: bytes) -> int | None:
        """How much of ``data`` lies up to the end of the nth occurrence; None: it has not come."""
        seen = self._tail + data
        start = 0
        while (found := seen.find(self._pattern, start)) >= 0:
            start = found + len(self._pattern)
            self._left -= 1
            if self._left == 0:
                return start - len(self._tail)
        self._tail = seen[max(start, len(seen) - len(self._pattern) + 1) :]
        return None


class Triggered(Stage):
    """Passes everything on until the cue; then what comes behind it goes through the toxic's own stage.

    Args:
        own: the pattern is looked for in this very stream; else whoever watches the other one calls ``fire``.
    """

    def __init__(self, inner: Stage, matcher: Matcher, *, own: bool) -> None:
        super().__init__()
        self._inner, self.fired = inner, False
        self.matcher, self.own = matcher, own

    def fire(self, at: float) -> None:
        """The cue. Later ones mean nothing."""
        if not self.fired:
            self.fired = True
            self._inner.begin(at)

    def put(self, item: Item, at: float) -> None:
        if self.fired:
            self._inner.put(item, at)
        elif self.own and isinstance(item, bytes) and (passed := self.matcher.feed(item)) is not None:
            self.hold(item[:passed], at)
            self.fire(at)
            if item[passed:]:
                self._inner.put(item[passed:], at)
        else:
            self.hold(item, at)
        self._count()

    def take(self, now: float) -> list[Timed]:
        before = super().take(now)  # all of it: it is ready as soon as it is here
        ready = before + self._inner.take(now)
        self._count()
        return ready

    def next_deadline(self) -> float | None:
        own = super().next_deadline()
        return own if own is not None else self._inner.next_deadline()

    def heal(self, now: float) -> list[Timed]:
        return super().heal(now) + self._inner.heal(now)

    def _count(self) -> None:
        self.held_bytes = sum(cost(item) for _, item in self._queue) + self._inner.held_bytes
