"""Guards that rest: closed a moment ago, and their descriptors still open.

A process that locks a session again and again opens nothing, and remembers what the guard said (``Handle.again``). A
process has one such store, and so has each simulated process; what it does to files is its driver's to do. A descriptor
is in use by at most one handle, so handles exclude each other as ever, and one that rests has no lock.
"""

from __future__ import annotations

from collections.abc import Callable

from lockjaw.locking.operations import Handle

_PATHS = 32
_EACH = 4  # descriptors of one path
CHECK_AGAIN_S = 0.1  # so long a descriptor is trusted to be what its name leads to; appends look for themselves


class RestingGuards:
    """Threads may call it at the same time.

    Args:
        close: closes a guard's descriptors for good.
        is_named: do the names of a guard's files still lead to them?
        now: monotonic seconds, real ones.
    """

    def __init__(
        self, close: Callable[[Handle], None], is_named: Callable[[Handle], bool], now: Callable[[], float]
    ) -> None:
        self._close, self._is_named, self._now = close, is_named, now
        self._by_path: dict[str, list[Handle]] = {}

    def opened(self, guard: Handle) -> None:
        """This guard was opened by name just now: it may rest when it is closed."""
        guard.rests, guard.checked_s = True, self._now()

    def take(self, path: str, body_path: str) -> Handle | None:
        """One that rests and that its name still leads to; ``body_path``: with its body file, too."""
        resting = self._by_path.get(path)
        while resting:
            try:
                guard = resting.pop()
            except IndexError:
                break  # another thread was faster
            if guard.body is not None or not body_path:
                now = self._now()
                if now < guard.checked_s + CHECK_AGAIN_S:
                    return guard
                if self._is_named(guard):
                    guard.checked_s = now
                    return guard
            self._close(guard)
        return None

    def keep(self, guard: Handle, unlock: Callable[[Handle], bool]) -> bool:
        """Let the descriptors of a guard rest: it is closed from then on. -> False: close it for good, for its file's
        sake or for want of room.

        Whatever interrupts this: the guard still has its locks and is open, or no process has them.

        Args:
            unlock: drops all its locks. -> may its descriptor serve another handle?
        """
        if not guard.rests or not unlock(guard):
            return False
        resting = self._by_path.get(guard.path)
        if resting is None:
            if len(self._by_path) >= _PATHS:
                self.close_all()
            resting = self._by_path.setdefault(guard.path, [])
        if len(resting) >= _EACH:
            return False
        resting.append(guard.again())
        return True

    def close_all(self) -> None:
        for path in list(self._by_path):
            resting = self._by_path.pop(path, [])
            while resting:
                try:
                    self._close(resting.pop())
                except IndexError:
                    break  # another thread has taken it
