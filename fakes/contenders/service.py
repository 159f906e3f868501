"""``lockjaw serve contender``: processes that want one session's lock, and what goes wrong with them.

Each contender is a process of its own (``contender``), led by a thread here. Whatever the plan does to them, they end
with this command: in order, by signal, and by the kernel when this process is killed.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from lockjaw.clock import Clock, ScaledClock
from lockjaw.errors import HarnessError, LocalError, LockjawError, SessionLocked
from lockjaw.locking.identity import process_state
from lockjaw.locking.operations import OPERATIONS
from lockjaw.visible import tell

from ..journal import Journal
from .contender import Contender, check_algorithm, lock_file_of, namespace_command, plant_lock
from .databases import DATABASE_LOCKS
from .user_locks import USER_LOCKS

HELD = "held"  # a step beside the lock's own operations: the contender has just got the lock
STEPS = (HELD, *sorted(set(OPERATIONS.values())))
RECYCLED_TICKS = 4242  # how much earlier the former owner of the pid is said to have started
_LOOK_REAL_S = 0.005


@dataclass(frozen=True)
class Moment:
    """A step of the lock's algorithm, the nth time that the contender comes to it; ``held``: it has the lock."""

    step: str
    nth: int = 1

    @classmethod
    def parse(cls, text: str) -> Moment:
        """``STEP`` or ``STEP:N``. Raises LocalError naming the steps."""
        step, colon, nth = text.partition(":")
        if step not in STEPS or (colon and not (nth.isdigit() and int(nth) > 0)):
            raise LocalError(f"expected STEP or STEP:N, got {text[:60]!r}; the steps: {', '.join(STEPS)}")
        return cls(step, int(nth or 1))

    def __str__(self) -> str:
        return f"{self.step}:{self.nth}"


@dataclass(frozen=True)
class ContenderPlan:
    """What the contenders do. Durations are nominal seconds.

    ``hold_s`` None: until the end. ``rounds`` 0: again and again. At most one of the plants (``garbage``, ``pid``,
    ``recycled``) makes a lock file that nobody holds. ``retire_wal``: whoever has got the lock of a database moves its
    WAL aside, each round.
    """

    count: int = 1
    algorithm: str = "guarded"
    timeout_s: float | None = None
    hold_s: float | None = None
    think_s: float = 0.0
    rounds: int = 1
    leak: bool = False
    kill_at: Moment | None = None
    pause_at: Moment | None = None
    pause_s: float | None = None
    namespace: bool = False
    garbage: str | None = None
    pid: int | None = None
    recycled: bool = False
    retire_wal: bool = False

    def __post_init__(self) -> None:
        check_algorithm(self.algorithm)
        moment = self.kill_at or self.pause_at
        if self.algorithm in USER_LOCKS and moment is not None and moment.step != HELD:
            raise LocalError(f"a {self.algorithm} lock has no steps to die or stand still at but `held`, got {moment}")
        if self.kill_at is not None and self.pause_at is not None:
            raise LocalError("a contender is killed or paused at a step, not both")
        if self.pause_s is not None and self.pause_at is None:
            raise LocalError("--pause-for needs --pause-at STEP, the place where the contender stands still")
        plants = [self.garbage is not None, self.pid is not None, self.recycled]
        if sum(plants) > 1:
            raise LocalError("one lock file has one content: garbage, a foreign pid, or a recycled one")
        if any(plants) and (self.leak or self.kill_at or self.pause_at or self.namespace or self.count != 1):
            raise LocalError(
                "a planted lock file has no living owner, so it cannot be combined with --leak, --kill-at or --pause-at"
            )
        if self.retire_wal and self.algorithm not in DATABASE_LOCKS:
            raise LocalError("only a database has a WAL to take away (--retire-wal): name it with --sqlite FILE")
        if self.rounds != 1 and (self.hold_s is None or self.leak):
            raise LocalError("--rounds N needs --hold SECONDS, and no --leak")

    @property
    def planted(self) -> bool:
        return self.garbage is not None or self.pid is not None or self.recycled


class ContenderService:
    """Performs one plan on one session's lock.

    Args:
        on_entry: sees each journal entry: what happened to which contender.
    """

    def __init__(
        self,
        session_file: Path,
        plan: ContenderPlan,
        *,
        clock: Clock | None = None,
        journal: str | Path | None = None,
        on_entry: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._file, self._plan = session_file, plan
        self._clock = clock or ScaledClock.from_environment()
        self._journal = Journal(journal, self._clock, on_entry)
        self._lock = threading.Lock()  # of the journal
        self._over = threading.Event()  # for the threads that lead the contenders
        self._asked_to_end = False
        self._settled = [threading.Event() for _ in range(plan.count)]  # began, or went wrong before
        self._one_had_it = threading.Event()
        self._unmet = set(range(1, plan.count + 1)) if plan.kill_at or plan.pause_at else set()
        self.failures = 0

    def _real_s(self, nominal_s: float) -> float:
        """Real seconds, and no more than a thread can wait (292 years): ``inf`` is a time that never ends."""
        return min(self._clock.real_s(nominal_s), threading.TIMEOUT_MAX)

    def run(self, ready: Callable[[], None]) -> int:
        """Perform the plan until it is over or ``stop`` is called; then every process is reaped.

        ``ready`` is told once the first has got the lock (or has failed, died or paused where it was to) and every
        other has begun to want it.

        Returns the exit status: 1 if a contender did not get the lock, or did not come to its step.
        """
        if not self._file.parent.is_dir():
            raise LocalError(f"{self._file.parent} is not a folder; name a session file in a folder that exists")
        if self._file.is_dir():
            raise LocalError(f"{self._file} is a folder; name a file")
        with ExitStack() as stack:
            stack.callback(self._journal.close)
            if self._plan.planted:
                stack.enter_context(self._plant())
                ready()
                while not self._ends(_LOOK_REAL_S * 4):
                    pass
                return 0
            if self._plan.namespace:
                namespace_command()  # refuse before anything is started
            # Processes are started here, in the main thread: they die with the thread that starts them.
            handles = [self._start(number, stack) for number in range(1, self._plan.count + 1)]
            threads = [
                threading.Thread(target=self._lead, args=(number, handle), name=f"contender {number}")
                for number, handle in enumerate(handles, 1)
            ]
            for thread in threads:
                thread.start()
            try:
                while not (self._one_had_it.is_set() and all(one.is_set() for one in self._settled)):
                    if self._ends(_LOOK_REAL_S) or not any(thread.is_alive() for thread in threads):
                        break
                ready()
                while not self._ends(_LOOK_REAL_S * 4) and any(thread.is_alive() for thread in threads):
                    pass
            finally:
                self._over.set()
                for number, handle in enumerate(handles, 1):
                    self._end(number, handle)
                for thread in threads:
                    thread.join()
                for number in sorted(self._unmet):
                    self._note("failed", number, error=f"it never came to {self._plan.kill_at or self._plan.pause_at}")
        return 1 if self.failures or self._unmet else 0

    def stop(self) -> None:
        """End the plan. Safe in a signal handler, which may interrupt this very thread while it waits: an event's lock
        is then its own, and ``set`` would wait for ever."""
        self._asked_to_end = True

    def _ends(self, wait_s: float) -> bool:
        """In the thread that runs the plan: is it to end? If not, look again after so many real seconds."""
        if not self._asked_to_end:
            time.sleep(wait_s)
        return self._asked_to_end

    # ------------------------------------------------------------------ one contender

    def _start(self, number: int, stack: ExitStack) -> Contender:
        handle = Contender(
            clock=self._clock, owner=f"contender-{number}", namespace=self._plan.namespace, bound=True
        )  # fmt: skip
        stack.callback(handle.close)
        self._note("started", number, pid=handle.own_pid)
        return handle

    def _lead(self, number: int, handle: Contender) -> None:
        try:
            self._perform(number, handle)
        except (SessionLocked, LockjawError, OSError, ValueError) as error:
            if self._over.is_set():
                return  # it was ended under us
            if isinstance(error, HarnessError) and self._has_died(handle):
                self._unmet.discard(number)
                self._note("killed", number, signal="SIGKILL")
            else:
                self.failures += 1
                self._note("failed", number, error=str(error).splitlines()[0])
        finally:
            self._one_had_it.set()
            self._settled[number - 1].set()

    def _perform(self, number: int, handle: Contender) -> None:
        plan = self._plan
        if plan.kill_at is not None and plan.kill_at.step != HELD:
            handle.die_at(plan.kill_at.step, nth=plan.kill_at.nth)
        if plan.pause_at is not None:
            threading.Thread(target=self._watch_pause, args=(number, handle), daemon=True).start()
            if plan.pause_at.step != HELD:
                handle.pause_at(plan.pause_at.step, nth=plan.pause_at.nth)
        turn = 0
        while not self._over.is_set() and (plan.rounds == 0 or turn < plan.rounds):
            turn += 1
            self._note("wants", number, round=turn)
            began = self._clock.monotonic()
            handle.begin_acquire(self._file, timeout=plan.timeout_s, algorithm=plan.algorithm)
            self._settled[number - 1].set()
            generation = handle.wait_acquired()
            waited_s = round(self._clock.monotonic() - began, 6)
            self._note("holds", number, round=turn, generation=generation, waited_s=waited_s)
            if plan.retire_wal:
                handle.retire_wal(self._file)
                self._note("retired", number, wal=f"{self._file}-wal")
            self._one_had_it.set()
            if plan.kill_at == Moment(HELD, turn):
                handle.die()
                raise HarnessError("it was told to die")
            if plan.pause_at == Moment(HELD, turn):
                handle.pause()
            if plan.leak:
                handle.leak()
                self._note("leaked", number)
            self._over.wait(None if plan.hold_s is None or plan.leak else self._real_s(plan.hold_s))
            while handle.stands_still and not self._over.wait(_LOOK_REAL_S):
                pass
            if self._over.is_set():
                return
            handle.release()
            self._note("released", number, round=turn)
            self._over.wait(self._real_s(plan.think_s))

    def _watch_pause(self, number: int, handle: Contender) -> None:
        """See it stand still, and let it go on when its time is over."""
        while not handle.stands_still:
            if self._over.wait(_LOOK_REAL_S) or not handle.alive:
                return
        self._unmet.discard(number)
        self._note("paused", number)
        self._one_had_it.set()
        if self._plan.pause_s is None:
            return
        if not self._over.wait(self._real_s(self._plan.pause_s)) and handle.alive:
            self._note("resumed", number)
            handle.resume()

    def _has_died(self, handle: Contender) -> bool:
        if self._plan.kill_at is None:
            return False
        handle.wait_killed()
        return True

    def _end(self, number: int, handle: Contender) -> None:
        """Reap it; what it holds in good order is given back."""
        if handle.alive:
            handle.close()
        self._note("ended", number)

    # ------------------------------------------------------------------ a lock file without a holder

    @contextmanager
    def _plant(self) -> Iterator[None]:
        """Make the lock file, and take it away in the end if it is still ours."""
        plan, path = self._plan, lock_file_of(self._file)
        try:
            if plan.garbage is not None:
                with path.open("x", encoding="utf-8") as file:
                    file.write(plan.garbage)
            elif plan.recycled:
                state = process_state(os.getpid())
                if state.starttime is None:
                    raise LocalError("this machine does not tell when a process started: no pid can look recycled")
                plant_lock(self._file, pid=os.getpid(), starttime=max(0, state.starttime - RECYCLED_TICKS))
            else:
                assert plan.pid is not None
                plant_lock(self._file, pid=plan.pid)
        except FileExistsError:
            raise LocalError(f"{path} is there already; remove it, or see who holds it: lockjaw locks list") from None
        planted = path.read_bytes()
        self._note("planted", 1, path=str(path), text=planted.decode(errors="replace"))
        try:
            yield
        finally:
            try:
                if path.read_bytes() == planted:
                    path.unlink()
                    self._note("removed", 1, path=str(path))
                else:
                    self._note("left", 1, path=str(path), why="somebody has written to it")
            except FileNotFoundError:
                self._note("gone", 1, path=str(path))

    def _note(self, ev: str, number: int, **fields: Any) -> None:
        with self._lock:
            self._journal.write(ev, contender=number, **fields)


def serve_contender(
    session_file: Path,
    plan: ContenderPlan,
    *,
    journal: Path | None = None,
    clock: Clock | None = None,
    ready: Callable[[int], None],
    say: Callable[[str], None] = tell,
) -> int:
    """Perform a plan until it is over, or until SIGTERM or SIGINT; the exit status.

    Args:
        ready: told this process's pid; see ``ContenderService.run``.
        say: told one line for each thing that happens.

    Raises:
        LocalError: the plan cannot be performed here.
    """

    def told(entry: dict[str, Any]) -> None:
        fields = " ".join(f"{k}={v}" for k, v in entry.items() if k not in ("t", "wall_ms", "ev", "contender", "text"))
        say(f"contender {entry['contender']} {entry['ev']} {fields}".rstrip())

    service = ContenderService(session_file, plan, clock=clock, journal=journal, on_entry=told)

    def end(number: int, frame: FrameType | None) -> None:
        service.stop()

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, end) for number in numbers]
    try:
        return service.run(lambda: ready(os.getpid()))
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
