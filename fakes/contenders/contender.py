"""The handle of a lock contender: another process that takes locks on order, holds them, freezes or dies with them.

A test decides the order of events: each order is one line on the contender's standard input, each answer one line
on its standard output, and an order is over when its answer is there. End of file on its input ends the contender,
so that it cannot outlive the test that started it. What the process does with an order is ``process``'s.
"""

from __future__ import annotations

import ctypes
import difflib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from lockjaw.clock import Clock, ScaledClock
from lockjaw.errors import Fenced, HarnessError, LocalError, SessionLocked
from lockjaw.locking import LOCK_ALGORITHMS, LockStateError

from .user_locks import USER_LOCKS

ANSWER_REAL_S = 30.0  # a process that says nothing for so long, beyond what an order may wait, is our failure
_LOOK_REAL_S = 0.002
INIT = "--init"  # pid 1 of a namespace: the contender is its child, because pid 1 is immune to its own signals


class Contender:
    """The handle of one contender. Starts the process when it is first needed; ``close`` ends and reaps it.

    Args:
        clock: nominal time for its lock waits; the process shares it.
        owner: what its lock records call it.
        namespace: it runs in a pid namespace of its own, as in another container: its pids mean nothing here.
        bound: it is killed with the thread that starts it, also when it stands still.

    Errors of an order are raised here as they were there: ``SessionLocked``, ``Fenced``, ``LockStateError``.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        owner: str = "contender",
        namespace: bool = False,
        bound: bool = False,
    ) -> None:
        self._clock = clock or ScaledClock.from_environment()
        self._owner, self._namespace, self._bound = owner, namespace, bound
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._wants = self._has = ""  # the lock that it was ordered to take, and the one that it got; in words

    def __enter__(self) -> Contender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------ orders

    def acquire(
        self, session_file: str | os.PathLike[str], *, timeout: float | None = None, algorithm: str = "guarded"
    ) -> int:
        """Take the lock of a session; returns its generation (0 for algorithms without).

        Args:
            session_file: the transcript; for a lock that a program of yours takes, the very file that it locks.
            timeout: nominal seconds that it may wait; None: the algorithm's own.
            algorithm: a session lock (``guarded``, ``coarse``, ...), or what a program of yours takes: ``flock``,
                ``posix-range``, ``o-excl``, ``filelock``, ``portalocker``, ``sqlite``, ``sqlite-exclusive``,
                ``sqlite-read``, ``sqlite-wal``.
        """
        __tracebackhide__ = True
        self.begin_acquire(session_file, timeout=timeout, algorithm=algorithm)
        return self.wait_acquired()

    def begin_acquire(
        self, session_file: str | os.PathLike[str], *, timeout: float | None = None, algorithm: str = "guarded"
    ) -> None:
        """Order an acquire and go on: the contender becomes a waiter. ``wait_acquired`` has its answer.

        Returns when the contender has begun; it may not have looked at the lock yet.
        """
        self._send(
            order="acquire", file=os.fspath(session_file), timeout=timeout, algorithm=algorithm, owner=self._owner
        )
        self._answer(0.0)  # it says that it has begun
        self._wants = _lock_in_words(session_file, algorithm)

    def wait_acquired(self) -> int:
        """The generation that the acquire of ``begin_acquire`` got, or its error."""
        __tracebackhide__ = True
        try:
            generation = int(self._answer(self._clock.real_s(300.0))["generation"])
            self._has = self._wants
        finally:
            self._wants = ""
        return generation

    def append(self, text: str) -> None:
        """Append one line to the session file inside the lock's section, as a runtime of ours does it."""
        __tracebackhide__ = True
        self._order("append", text=text)

    def begin_append(self, text: str) -> None:
        """Order an append and go on: it may stop or die on the way. ``wait_appended`` has its answer."""
        self._send(order="append", text=text)

    def wait_appended(self) -> None:
        """Return when the append of ``begin_append`` is on disk. Raises its error, such as ``Fenced``."""
        __tracebackhide__ = True
        self._answer(0.0)

    def enter_section(self) -> None:
        """Stay inside the section, as an owner that is frozen in its append: only a new guard overrules it."""
        __tracebackhide__ = True
        self._order("enter")

    def leave_section(self) -> None:
        """Leave the section that ``enter_section`` entered; the lock stays held."""
        __tracebackhide__ = True
        self._order("leave")

    def release(self) -> None:
        """Give the lock back. Raises LocalError if the contender holds none."""
        __tracebackhide__ = True
        self._order("release")
        self._has = ""

    @contextmanager
    def hold(self, session_file: str | os.PathLike[str], *, algorithm: str = "guarded") -> Iterator[int]:
        """Hold the lock for the length of a ``with`` block."""
        generation = self.acquire(session_file, algorithm=algorithm)
        try:
            yield generation
        finally:
            if self.alive:
                self.resume()
                self.release()

    # ------------------------------------------------------------------ faults

    def die(self) -> None:
        """SIGKILL: whatever it holds stays behind, naming a process that is gone. Returns when it is reaped."""
        process = self._running()
        os.kill(self.own_pid, signal.SIGKILL)
        process.wait()
        self._drop_pipes()

    def pause(self) -> None:
        """SIGSTOP. Returns when the process stands still."""
        self._running()
        os.kill(self.own_pid, signal.SIGSTOP)
        while self.alive and not self.stands_still:
            time.sleep(_LOOK_REAL_S)

    def resume(self) -> None:
        """SIGCONT; no error if it was not paused."""
        self._running()
        os.kill(self.own_pid, signal.SIGCONT)

    @property
    def stands_still(self) -> bool:
        """Whether it is stopped now, by ``pause`` or at its operation."""
        try:
            return self.alive and psutil.Process(self.own_pid).status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return False

    def hold_for(self, session_file: str | os.PathLike[str], hold_s: float, *, algorithm: str = "guarded") -> None:
        """Order: take the lock, keep it for so many nominal seconds, give it back. Returns when it has it."""
        self.begin_acquire(session_file, algorithm=algorithm)
        self.wait_acquired()
        self._order("release_after", hold_s=hold_s)
        self._has += f", for {hold_s:g} s"

    def leak(self) -> None:
        """Forget the lock without giving it back: it stays held until the process ends."""
        self._order("leak")

    def die_at(self, operation: str, *, nth: int = 1) -> None:
        """From now on: SIGKILL right before the nth operation of this name (``LinkFile``, ``Unlink``, ``Ring``, ...;
        see ``lockjaw.locking.operations``; ``any`` counts all)."""
        self._order("fault", at=operation, nth=nth, number=int(signal.SIGKILL))

    def pause_at(self, operation: str, *, nth: int = 1) -> None:
        """From now on: SIGSTOP right before the nth operation of this name. ``resume`` lets it go on."""
        self._order("fault", at=operation, nth=nth, number=int(signal.SIGSTOP))

    def write_garbage(self, session_file: str | os.PathLike[str], text: str = "garbage") -> None:
        """Overwrite the session's lock file, in place if there is one, with something that is no owner record."""
        self._order("garbage", file=os.fspath(session_file), text=text)

    def claim_pid(self, session_file: str | os.PathLike[str], pid: int, starttime: int | None = None) -> None:
        """Make a lock file that names another process as its owner, started then (clock ticks since boot)."""
        self._order("claim", file=os.fspath(session_file), pid=pid, starttime=starttime)

    def retire_wal(self, database: str | os.PathLike[str]) -> None:
        """Move a database's WAL and its index aside (``.retired``) while other programs have it open."""
        self._order("retire", file=os.fspath(database))

    def wait_killed(self) -> None:
        """Reap a contender that dies at its operation."""
        process = self._process
        assert process is not None
        process.wait(ANSWER_REAL_S)
        self._drop_pipes()

    # ------------------------------------------------------------------ life

    @property
    def pid(self) -> int:
        """Its process id; starts it if need be."""
        return self._running().pid

    @property
    def own_pid(self) -> int:
        """The pid of the contender itself as this process sees it; another than ``pid`` in a namespace of its own."""
        pid = self.pid
        if not self._namespace:
            return pid
        below = psutil.Process(pid).children(recursive=True)
        return below[-1].pid if below else pid

    def in_words(self) -> str:
        """What it does, as far as its orders tell: ``contender-1 (pid 4711) holds the guarded lock x.jsonl.lock``."""
        if self._process is None:
            return f"{self._owner} was not used"
        state, waits, holds = "", "waits for", "holds"
        if not self.alive:
            state, waits, holds = "has ended; it ", "waited for", "held"
        elif self.stands_still:
            state = "is paused; it "
        does = f"{waits} {self._wants}" if self._wants else f"{holds} {self._has or 'no lock'}"
        return f"{self._owner} (pid {self._process.pid}) {state}{does}"

    @property
    def alive(self) -> bool:
        """Whether its process runs, a paused one included; False before its first order."""
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        """End it (a paused one too) and reap it. A lock that it holds is given back, unless it was told to die."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            try:
                os.kill(self.own_pid, signal.SIGCONT)
            except (ProcessLookupError, psutil.Error):
                pass  # it has just ended
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._drop_pipes()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            environment = os.environ | (self._clock.to_environment() if isinstance(self._clock, ScaledClock) else {})
            command = [sys.executable, "-m", "lockjaw.fakes.contenders.process"]
            if self._namespace:
                command = [*namespace_command(), *command, INIT]
            # A session of its own: a Ctrl-C in the terminal is for its leader.
            self._process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True,
                preexec_fn=_bound_to(os.getpid()) if self._bound else None,  # noqa: PLW1509 - no thread runs yet
            )  # fmt: skip
            self._answer(0.0)  # it says that it is ready
        elif self._process.poll() is not None:
            raise LocalError(f"the contender has ended (status {self._process.returncode}); start another one")
        return self._process

    def _drop_pipes(self) -> None:
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()

    def _order(self, order: str, **arguments: Any) -> dict[str, Any]:
        __tracebackhide__ = True
        self._send(order=order, **arguments)
        return self._answer(0.0)

    def _send(self, **order: Any) -> None:
        process = self._running()
        assert process.stdin is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()

    def _answer(self, longer_real_s: float) -> dict[str, Any]:
        __tracebackhide__ = True
        assert self._process is not None
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            ready, _, _ = select.select([pipe], [], [], ANSWER_REAL_S + longer_real_s)
            piece = os.read(pipe, 65_536) if ready else b""
            if not piece:
                raise HarnessError(f"contender {self._process.pid} " + ("has ended" if ready else "does not answer"))
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise _rebuilt(answer)
        return answer


def check_algorithm(name: str) -> str:
    """Raises LocalError: no contender takes such a lock.

    The session lock ``flock`` is no choice: it is a byte lock beside the file, for benchmarks, and excludes no program
    of a user's. Here that name means the system call.
    """
    if name not in LOCK_ALGORITHMS and name not in USER_LOCKS:
        known = ", ".join(dict.fromkeys((*LOCK_ALGORITHMS, *USER_LOCKS)))
        close = difflib.get_close_matches(name, known.split(", "), 1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise LocalError(f"unknown lock algorithm {name!r}; known: {known}{meant}")
    return name


def _lock_in_words(file: str | os.PathLike[str], algorithm: str) -> str:
    """``the guarded lock x.jsonl.lock``: the file that counts, which a user's own lock does not put beside another."""
    locked = Path(os.fspath(file)) if algorithm in USER_LOCKS else lock_file_of(file)
    return f"the {algorithm} lock {locked.name}"


def lock_file_of(session_file: str | os.PathLike[str]) -> Path:
    """The lock file beside a session, as every one of the algorithms names it."""
    return Path(f"{os.path.realpath(os.fspath(session_file))}.lock")


def plant_lock(session_file: str | os.PathLike[str], *, pid: int, starttime: int | None = None) -> Path:
    """Leave a lock file of a foreign program beside a session: no process of ours holds it, and it names ``pid``.

    Args:
        starttime: of that process, in clock ticks since boot; another one than its own: its pid was recycled.

    Returns the lock file. Raises FileExistsError if there is one.
    """
    path = lock_file_of(session_file)
    record: dict[str, Any] = {"pid": pid, "createdAt": "2026-01-01T00:00:00.000Z"}
    with path.open("x", encoding="utf-8") as file:
        json.dump(record if starttime is None else record | {"starttime": starttime}, file, indent=2)
    return path


_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _bound_to(parent: int) -> Callable[[], None]:
    """For the child, before it executes: SIGKILL when the thread that starts it has gone. End of file on its input
    would not reach a process that stands still."""

    def bind() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return bind


def namespace_command() -> list[str]:
    """What to put before a command so that it runs in a pid namespace of its own, with a ``/proc`` to match.

    Raises:
        LocalError: this machine does not allow it; says why and what to do.
    """
    program = shutil.which("unshare")
    if program is None:
        raise LocalError("a pid namespace of its own needs the program `unshare` (util-linux): install it")
    command = [program, "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        command[1:1] = ["--user", "--map-current-user"]
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)  # noqa: S603
    if tried.returncode != 0:
        why = tried.stderr.strip().splitlines()[-1:] or [f"exit status {tried.returncode}"]
        raise LocalError(
            f"this kernel does not give us a pid namespace ({why[0]}); allow unprivileged user namespaces "
            "(sysctl kernel.unprivileged_userns_clone=1), or run as root"
        )
    return command


# --------------------------------------------------------------------------- errors across the pipe


#: What a process tells of an error of locks, so that it can be raised here as it was there.
TOLD_FIELDS: dict[type[Exception], tuple[str, ...]] = {
    SessionLocked: ("path", "owner", "timeout_s", "waited_s", "advice"),
    Fenced: ("path", "generation", "current"),
    LockStateError: ("path", "record", "reason"),
}


def _rebuilt(answer: dict[str, Any]) -> Exception:
    kind = next((kind for kind in TOLD_FIELDS if kind.__name__ == answer["kind"]), None)
    if kind is None:
        return LocalError(f"the contender: {answer['error'].removeprefix('LocalError: ')}")
    return kind(**answer["fields"])
