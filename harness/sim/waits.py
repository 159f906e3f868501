"""Waits for what others do: an actor at an operation stands still until another one is past one of its own.

The one who waited goes next: whoever did what it waited for gives way before its own next operation. A wait whose
event has come already, or will not come any more, is over at once or when its limit is reached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .tape import OTHERS, Until

if TYPE_CHECKING:
    from .process import Process
    from .world import World


def family(path: str) -> str:
    """Of a file: the session or the store that it belongs to, with its lock, guard and temporary files."""
    return path.rpartition("/")[2].partition(".json")[0]


class _Wait:
    __slots__ = ("family", "left", "over", "process")

    def __init__(self, process: Process, family: str, left: int) -> None:
        self.process, self.family, self.left, self.over = process, family, left, False


class Waits:
    """``first``: who goes next, because what it waited for has happened. ``anybody``: does anybody wait?"""

    def __init__(self, world: World) -> None:
        self._world = world
        self._for_one: dict[tuple[str, int], list[_Wait]] = {}
        self._for_others: list[_Wait] = []
        self.first: Process | None = None
        self.anybody = False
        self.met = self.ran_out = 0

    def wait(self, process: Process, label: str, path: str, until: Until) -> None:
        """Stand still. Raises Killed if the process dies."""
        world = self._world
        if until.label == OTHERS:
            wait = _Wait(process, family(path), until.nth)
            self._for_others.append(wait)
        else:
            if world.log.count.get(until.label, 0) > until.nth:
                return
            wait = _Wait(process, "", 0)
            self._for_one.setdefault((until.label, until.nth), []).append(wait)
        self.anybody = True
        timer = world.at(world.now + until.limit_s, self._out_of_time, wait)
        try:
            with world.holding_up(process, label, until.limit_s):
                world.suspend(process)
        finally:
            timer.cancel()
            wait.over = True

    def _out_of_time(self, wait: _Wait) -> None:
        if not wait.over:
            self.ran_out += 1
            wait.over = True
            self._world.unblock(wait.process)

    def happened(self, process: Process, path: str, label: str, nth: int) -> None:
        """An operation is as good as done: nobody comes in between."""
        over = self._for_one.pop((label, nth), [])
        if self._for_others:
            here = family(path)
            for wait in self._for_others:
                if wait.process is not process and wait.family == here:
                    wait.left -= 1
                    if wait.left <= 0:
                        over.append(wait)
            self._for_others = [wait for wait in self._for_others if wait.left > 0 and not wait.over]
        for wait in over:
            if not wait.over:
                self.met += 1
                wait.over = True
                self._world.unblock(wait.process)
                self.first = wait.process
        if not self._for_one and not self._for_others:
            self.anybody = False

    def let_go_first(self, process: Process) -> None:
        """Before an operation of a process: whoever waited for its last one goes on first. Raises Killed."""
        first = self.first
        if first is None or first is process or not (first.alive and first.returning and first.queued):
            self.first = None
            return
        self._world.give_way(process)
