"""The world: virtual time, processes, and whose turn it is.

Theory of operation
    *Time* stands still while anybody computes. When no process has anything to run, it jumps to the next timer. So
    ninety seconds of waiting cost nothing, and a run is a pure function of its seed and its choices.

    *Processes* are event loops (``loop``) that share this clock, each on a stack of its own (a greenlet). A paused
    process is a loop that is not served, a blocked one a loop whose stack stands in the middle of a callback, a killed
    one a loop that is never served again. Inside a process callbacks keep their order; between processes that could
    run at the same instant, a choice decides.

    *A synchronous operation is a place where others may come in between.* The lock's write section and the
    transcript's append never await, and still another process may run between two of their system calls. So each
    operation asks ``point`` first, and a simulated call may simply block: ``block`` switches from the process's stack
    to the world's, which serves the others and switches back when the time has come. Any number of processes may be
    inside such a call, and each goes on when its own wait is over. (asyncio keeps its current task per loop, which is
    why a callback of one loop may stand still while callbacks of another one run.)

    *Death* is ``Killed``, raised out of the operation that was the last, and then out of every operation that the
    dead process's cleanup code tries: no finally-block has any effect on the world. What the kernel would do at a
    death happens at once: descriptors close, range locks go, peers see their sockets close.

    *Time never falls*, and a run ends: both are checked (``_advance``, ``record``, ``bounds``).

Choices are labelled ``actor: Operation file``. The names of sessions are numbered as they appear, because the ids
themselves are random.
"""

from __future__ import annotations

import asyncio
import errno
import heapq
import os
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from math import inf
from typing import Any, NoReturn

from greenlet import getcurrent, greenlet

from lockjaw.errors import HarnessError, ReplayDiverged
from lockjaw.history import Phase, Record

from .bounds import LOOK_AT_INSTANTS, LOOK_EVERY, Bounds
from .log import Log
from .loop import SimHandle, SimLoop, waited_s
from .process import HARNESS, Killed, Process
from .tape import CRASH_BEFORE, DELAYS_S, FAULTS, FIRST_FAULT, NEXT, TEAR, Choices, SparseChoices, Until
from .waits import Waits

EPOCH_MS = 1_767_225_600_000  # 2026-01-01: the wall clock at second 0
READING_S = 0.001  # until a process that stood still has read what lies in its sockets
_LATENCIES = 8
_LAST_BREATHS = 50  # awaits in the cleanup code of one task
_LATENCY_S = 0.0002
_HELD_UP_S = 0.1  # shorter than this is everyday life
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_ERRNO = [getattr(errno, name) for name in FAULTS]


class World:
    """Everything that the processes share. ``origin_s`` is where the history's second 0 is."""

    def __init__(self, choices: Choices, bounds: Bounds | None = None) -> None:
        self.choices = choices
        self.bounds = bounds or Bounds()
        self.now = 0.0
        self.origin_s = 0.0
        self.processes: list[Process] = []
        self.history: list[Record] = []
        self.on_record: Callable[[Record], None] | None = None
        self.broken: BaseException | None = None
        self.complaints: list[str] = []
        self.steps = 0
        self._steps_before = 0  # when this instant began
        self.written_bytes: Callable[[], int] = lambda: 0  # to the disk, ever
        self.log = Log()
        self.waits = Waits(self)
        self._held_until: dict[Process, float] = {}
        self.held_up_s = 0.0  # by delays, freezes and waits that were chosen, all actors together
        self._stack = getcurrent()  # of whoever calls ``run``
        self._doomed: list[Process] = []  # killed while they were inside a system call
        self.pid_reuse: list[int] = []
        self._next_pid = 1000
        self._timers: list[tuple[float, int, SimLoop | None, SimHandle]] = []
        self._timer_count = 0
        self._runnable: list[Process] = []
        self._names: dict[str, str] = {}
        self._shorts: dict[str, str] = {}
        self._net_labels: dict[tuple[str, str], str] = {}

    # ------------------------------------------------------------------ processes

    def start(self, name: str, role: str, *, namespace: int = 1, pid: int | None = None) -> Process:
        """A new process. ``pid``: a number that was somebody else's, in place of the next one."""
        if pid is not None:
            pass
        elif self.pid_reuse:
            pid = self.pid_reuse.pop(0)
        else:
            self._next_pid += 1
            pid = self._next_pid
        process = Process(self, name, role, pid, namespace)
        self.processes.append(process)
        return process

    def find(self, pid: int, namespace: int) -> Process | None:
        """Who has this pid now, as seen from a pid namespace; a zombie has it still."""
        for process in reversed(self.processes):
            seen = process.host_pid if namespace == 1 else process.pid if process.namespace == namespace else None
            if seen == pid and (process.alive or process.zombie):
                return process
        return None

    def find_elsewhere(self, pid: int, starttime: int | None, namespace: int) -> Process | None:
        """Who lives and has this pid in another pid namespace, if that can be seen from this one."""
        for process in reversed(self.processes):
            theirs = namespace == 1 != process.namespace and process.pid == pid and process.alive
            if theirs and starttime in (None, process.starttime):
                return process
        return None

    def kill(self, process: Process, code: int = -9) -> bool:
        """End a process at once. False if it has ended already."""
        if not process.alive:
            return False
        process.alive, process.zombie, process.code = False, True, code
        process.loop.ready.clear()
        self._unqueue(process)
        if process.blocked or process.returning:
            self._doomed.append(process)
        if not process.spared:
            self.log.died(process.name, process, self.short)
        for act in process.at_death:
            act()
        process.at_death.clear()
        return True

    def pause(self, process: Process) -> bool:
        if not process.alive:
            return False
        process.paused = True
        self._unqueue(process)
        return True

    def resume(self, process: Process) -> bool:
        if not process.alive:
            return False
        if process.paused:
            process.paused = False
            # What came over the wires meanwhile takes an event loop several rounds to read; timers that ran out come in
            # its first one. (Seen with real processes: a limit that is over wins against an answer that lies there.)
            ready, loop = process.loop.ready, process.loop
            timers = [handle for handle in ready if handle._when]
            if timers and len(timers) < len(ready):
                for handle in ready:
                    if not handle._when:
                        self.set_timer(self.now + READING_S, loop, handle)
                ready.clear()
                ready.extend(timers)
        if process.loop.ready or process.returning:
            self.has_work(process)
        return True

    def reap(self, process: Process) -> None:
        process.zombie = False

    def bury(self) -> bool:
        """Drop what the processes had begun. Their cleanup code runs into ``Killed``. True if there was anything."""
        found = False
        self.choices = SparseChoices({})  # what happens from here on is not part of the run
        for process in self.processes:
            self.kill(process, 0)
            self._unwind(process)
            asyncio._set_running_loop(process.loop)
            try:
                for task in process.loop.tasks:
                    if task.done():
                        continue
                    found = True
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    coro: Any = task.get_coro()
                    for _ in range(_LAST_BREATHS):
                        try:
                            coro.close()
                            break
                        except BaseException:  # noqa: S112
                            continue  # its cleanup code tried to do something, or to wait: it is dead
            finally:
                asyncio._set_running_loop(None)
            process.loop.tasks.clear()
            process.loop.close()
        self._doomed.clear()
        return found

    def _unwind(self, process: Process) -> None:
        """End the stack of a dead process. Its cleanup code runs into ``Killed``, if it stood inside a call."""
        stack, process.stack = process.stack, None
        for _ in range(_LAST_BREATHS):
            if stack is None or stack.dead:
                return
            try:
                if process.blocked or process.returning:
                    self._enter(process, stack.throw, Killed)
                else:
                    stack.throw()  # GreenletExit, out of ``_live``
            except BaseException:  # noqa: S112
                continue  # what its cleanup code complains about is not heard

    # ------------------------------------------------------------------ time

    def wall_ms(self, process: Process) -> int:
        return EPOCH_MS + int((self.now + process.skew_s) * 1000)

    def at(self, when: float, callback: Callable[..., Any], *args: Any) -> SimHandle:
        """Call back at an instant; belongs to no process."""
        handle = SimHandle(callback, args, None, when)
        self.set_timer(when, None, handle)
        return handle

    def set_timer(self, when: float, loop: SimLoop | None, handle: SimHandle) -> None:
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, loop, handle))

    def latency(self, sender: str, receiver: str) -> float:
        """Nominal seconds that a message takes."""
        label = self._net_labels.get((sender, receiver))
        if label is None:
            label = self._net_labels[sender, receiver] = f"message {sender} > {receiver}"
        return _LATENCY_S * (1 + self.pick(label, _LATENCIES))

    # ------------------------------------------------------------------ choices

    def pick(self, label: str, bound: int) -> int:
        try:
            return self.choices.pick(label, bound)
        except ReplayDiverged as error:
            self.broken = self.broken or error
            raise

    def point(
        self, process: Process, operation: str, path: str, number: int | None = None, offset: int | None = None,
        size_bytes: int = 0,
    ) -> int:  # fmt: skip
        """An operation is about to happen. Returns 0, or CRASH_AFTER or TEAR, which the performer obeys.

        Args:
            number: the descriptor that it works on, where it has one.
            offset: of the byte that it locks.
            size_bytes: of what it writes.

        Raises:
            Killed: the process is dead. OSError: the operation fails and has no effect.
        """
        if not process.alive:
            raise Killed
        self.steps += 1
        if self.steps & LOOK_EVERY == 0:
            self._check_bounds()
        if process.spared:
            return 0
        label = process.labels.get((operation, path))
        if label is None:
            label = f"{process.name}: {operation} {self.short(path)}"
            process.labels[operation, path] = label
        waits = self.waits
        if waits.first is not None:
            waits.let_go_first(process)
        try:
            value = self.choices.point(label)
        except ReplayDiverged as error:
            self.broken = self.broken or error
            raise
        if process.door is not None:
            process.part = process.door.meet(operation, path, size_bytes)
        if process.part is not None:
            value = TEAR
        elif value.__class__ is not int:
            assert isinstance(value, Until)
            waits.wait(process, label, path, value)
            value = 0
        elif value:
            assert isinstance(value, int)
            value = self._harm(process, label, path, value)
        log, short = self.log, self.short(path)
        touches = log.touches(operation, path, short, number, offset)
        nth = log.add(process.name, label, touches)
        if waits.anybody:
            waits.happened(process, path, label, nth)
        return value

    def _harm(self, process: Process, label: str, path: str, value: int) -> int:
        """A delay or a fault that was chosen for an operation. Returns what is left for its performer to do."""
        if value < CRASH_BEFORE:
            with self.holding_up(process, label, DELAYS_S[value]):
                self.block(process, DELAYS_S[value])
            return 0
        if value == CRASH_BEFORE:
            self.die(process, f"before {label}")
        if value >= FIRST_FAULT:
            number = _ERRNO[value - FIRST_FAULT]
            raise OSError(number, os.strerror(number), path)
        return value

    @contextmanager
    def holding_up(self, process: Process, label: str, most_s: float) -> Generator[None, None, None]:
        """Meanwhile a choice holds a process up at an operation. What checkers must not count is written down."""
        began = self.now
        self.held_up_s += most_s
        self._held_until[process] = began + most_s
        try:
            yield
        finally:
            del self._held_until[process]
            for_s = self.now - began
            self.held_up_s -= most_s - for_s
            if for_s >= _HELD_UP_S:
                at = label.partition(": ")[2]
                data = {"target": process.name, "at": at, "for_s": round(for_s, 6)}
                self.record(HARNESS, "held_up", "info", data)

    def tear(self, process: Process, operation: str, path: str, data: Any, write: Callable[[Any], None]) -> NoReturn:
        """A part of a write happens, and then what ends it. Raises what that raises."""
        part, process.part = process.part, None
        write(data[: len(data) // 2 if part is None else part.size_bytes])
        if part is not None:
            part.then()
        self.die(process, f"in the middle of {operation} {self.short(path)}")

    def die(self, process: Process, where: str, says: str = "") -> NoReturn:
        """The process kills itself at this operation: record it as the nemesis' act, because it is. Raises Killed."""
        self.kill(process)
        told = {
            "action": "kill",
            "target": process.name,
            "pid": process.pid,
            "says": says or f"kills the {process.name}",
        }
        self.record("harness", "nemesis", "info", {**told, "at": where})
        raise Killed

    def short(self, path: str) -> str:
        """A file's name without what is random in it."""
        found = self._shorts.get(path)
        if found is None:
            found = self._shorts[path] = self._shortened(path)
        return found

    def _shortened(self, path: str) -> str:
        name = path.rpartition("/")[2]

        def number(found: re.Match[str]) -> str:
            return self._names.setdefault(found[0], f"#{len(self._names) + 1}")

        stem, tmp, _ = name.partition(".json.")
        if tmp and name.endswith(".tmp"):
            return f"{stem}.json.tmp"
        if name.endswith(".tmp"):
            return "temporary"
        return _UUID.sub(number, name)

    # ------------------------------------------------------------------ running

    def has_work(self, process: Process) -> None:
        if not process.queued and process.alive and not process.paused:
            process.queued = True
            self._runnable.append(process)

    def _unqueue(self, process: Process) -> None:
        if process.queued:
            process.queued = False
            self._runnable.remove(process)

    def block(self, process: Process, seconds: float) -> None:
        """This process is inside a system call for so long; everybody else goes on. Raises Killed if it dies."""
        if not process.alive:
            raise Killed
        self.at(self.now + waited_s(seconds), self.unblock, process)
        self.suspend(process)

    def suspend(self, process: Process) -> None:
        """This process is inside a system call until ``unblock``. Raises Killed if it dies meanwhile.

        Only from the process's own stack: a callback of its loop, or what such a callback calls.
        """
        if getcurrent() is not process.stack:
            raise HarnessError(f"{process.name} would wait inside a system call, and it is not its turn")
        process.blocked = True
        self._switch_away(process)

    def give_way(self, process: Process) -> None:
        """Let others run that can at this instant. Raises Killed if it dies meanwhile."""
        process.returning = True
        self.has_work(process)
        self._switch_away(process)

    def _switch_away(self, process: Process) -> None:
        try:
            self._stack.switch()
        finally:
            process.blocked = process.returning = False
            if not process.loop.ready:
                self._unqueue(process)
        if not process.alive:
            raise Killed

    def unblock(self, process: Process) -> None:
        """The system call of this process has ended; it goes on when it is its turn."""
        if process.blocked and process.alive:
            process.blocked, process.returning = False, True
            self.has_work(process)

    def run(self, until: float = inf, *, done: Callable[[], bool] | None = None) -> None:
        """Serve the processes until an instant, or until ``done``.

        Raises:
            HarnessError: nothing can ever happen any more, the run does not end (``bounds``), or code under simulation
                left it.
        """
        self._stack = getcurrent()
        runnable, timers, doomed = self._runnable, self._timers, self._doomed
        instants = 0
        while True:
            if self.broken is not None:
                raise self.broken
            if doomed:
                dead = doomed.pop(0)
                if dead.blocked or dead.returning:
                    self._enter(dead, dead.stack.throw, Killed)
                continue
            if runnable:
                process = runnable[0] if len(runnable) == 1 else self._whose_turn()
                if process is not None and not process.blocked:
                    stack = process.stack
                    if stack is None:
                        stack = process.stack = greenlet(self._live, self._stack)
                    self._enter(process, stack.switch, process)
                    if done is not None and done():
                        return
                    continue
            if not timers or timers[0][0] > until:
                if until is inf:
                    raise HarnessError("the simulation stands still: no process can run and no timer is set")
                self._advance(until)
                return
            self._advance(timers[0][0])
            while timers and timers[0][0] <= self.now:
                _, _, loop, handle = heapq.heappop(timers)
                if handle._callback is None:
                    continue
                self.steps += 1
                if loop is None:
                    handle.run()
                    if done is not None and done():
                        return
                elif loop.process.alive:
                    loop.ready.append(handle)
                    if len(loop.ready) == 1:
                        self.has_work(loop.process)
            instants += 1
            if instants & LOOK_AT_INSTANTS == 0:
                self._check_bounds()

    def _enter(self, process: Process, switch: Callable[..., Any], *args: Any) -> None:
        """Go to the stack of a process until it waits or has nothing more to do."""
        asyncio._set_running_loop(process.loop)
        try:
            switch(*args)
        finally:
            asyncio._set_running_loop(None)

    def _live(self, process: Process) -> None:
        """What runs on the stack of a process: the callbacks of its loop, each time it is its turn.

        Until there is nothing left to do: how many callbacks that takes differs between versions of asyncio, and must
        not decide how many choices there are.
        """
        ready, runnable = process.loop.ready, self._runnable
        while True:
            try:
                while ready and process.queued:
                    handle = ready.popleft()
                    if not ready:
                        process.queued = False
                        runnable.remove(process)
                    self.steps += 1
                    callback = handle._callback
                    if callback is not None:
                        handle._context.run(callback, *handle._args)  # type: ignore[union-attr]
                    if self.broken is not None:
                        break
                    if self.steps & LOOK_EVERY == 0:
                        self._check_bounds()
            except Killed:
                pass
            self._stack.switch()

    def _advance(self, when: float) -> None:
        """Time goes on to an instant; one that has passed is now."""
        if when > self.now:
            self.now, self._steps_before = when, self.steps

    def _check_bounds(self) -> None:
        try:
            self.bounds.check(
                self.now - self.origin_s, self.steps, self.steps - self._steps_before, len(self.history),
                self.written_bytes(),
            )  # fmt: skip
        except HarnessError as error:
            self.broken = self.broken or error  # also if the code under simulation swallows it
            raise

    def run_patiently(self, until: float, done: Callable[[], bool]) -> None:
        """Run until ``done`` or an instant, which is later by as much as choices have held actors up meanwhile."""
        held_up_s = self.held_up_s - sum(max(0.0, free_s - self.now) for free_s in self._held_until.values())
        self.run(until, done=done)
        while not done() and self.held_up_s > held_up_s:
            until, held_up_s = until + self.held_up_s - held_up_s, self.held_up_s
            self.run(until, done=done)

    def _whose_turn(self) -> Process | None:
        first = self.waits.first
        if first is not None and first.queued and not first.blocked:
            self.waits.first = None
            return first
        able = [process for process in self._runnable if not process.blocked]
        if len(able) > 1:
            return able[self.pick(NEXT + "|".join(process.name for process in able), len(able))]
        return able[0] if able else None

    # ------------------------------------------------------------------ what is written down

    def record(self, actor: str, op: str, phase: Phase, data: dict[str, Any]) -> None:
        record = Record(round(self.now - self.origin_s, 6), actor, op, phase, data, len(self.history))
        if self.history and record.t < self.history[-1].t:
            raise HarnessError(f"time fell from {self.history[-1].t} to {record.t} s at {actor}'s {op} ({phase})")
        self.history.append(record)
        self.log.add(actor, f"{actor}: records {op} {phase}")
        if self.on_record is not None:
            self.on_record(record)

    def complain(self, process: Process, context: dict[str, Any]) -> None:
        """A loop's exception handler was called. Of a dead process nothing else is to be expected.

        What is no ``Exception`` came from outside, as when a test runner's time is over: it ends the simulation, not
        one of its processes.
        """
        error = context.get("exception")
        if isinstance(error, BaseException) and not isinstance(error, Exception | Killed | asyncio.CancelledError):
            self.broken = self.broken or error
        if process.alive:
            self.complaints.append(f"{process.name}: {context.get('message')}: {error!r}")
            if isinstance(error, HarnessError | ReplayDiverged):
                self.broken = self.broken or error
