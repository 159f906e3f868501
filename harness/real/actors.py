"""Actors as operating-system processes: start, handshake, signals, and the certainty that none remains.

Theory of operation
    ``Actors`` owns every process of one run. Each actor is the leader of its own session, so that a Ctrl-C in the
    terminal reaches the harness alone and one ``killpg`` reaches an actor's children too. Three things end what a
    run started, each for the case in which the one before cannot:

    1. ``Actors.__exit__``: synchronous, so it also works in a cancelled or dying event loop. Resume, kill, reap.
       Children that left their group are found by the run's mark in their environment.
    2. the lifeline: every actor inherits the read end of a pipe (``LOCKJAW_LIFELINE_FD``) that nobody writes to;
       end of file means that the harness is gone.
    3. the guard (``guard.py``), for actors that are paused when the harness is killed.

Real time only: the limits here are about the machine, not about the scenario.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import psutil

from lockjaw.process import LIFELINE_KEY

from ..incident.actors import Role
from .guard import Guard

MARK_KEY = "LOCKJAW_RUN"
PRIORITY = -5  # nominal milliseconds are few real microseconds: under load an actor must get its turn soon
REAP_LIMIT_REAL_S = 10.0  # a killed process that is still there then sits in the kernel (a dead network disk)
_POLL_REAL_S = 0.002


@dataclass(frozen=True)
class Descriptors:
    """Inherited descriptors whose numbers go into the command line. ``go`` is -1 for actors that do not wait."""

    ready: int
    go: int = -1


Command = Callable[[Descriptors], Sequence[str]]


class Ready(msgspec.Struct, frozen=True):
    """The handshake line."""

    pid: int
    port: int | None = None


@dataclass(eq=False)
class Actor:
    """One process. ``ready`` is None until the handshake, ``code`` until it has ended (negative: by that signal)."""

    name: str
    role: Role
    log: Path
    process: subprocess.Popen[bytes]
    ready: Ready | None = None
    code: int | None = None
    paused: bool = False
    _ready_fd: int = -1
    _go_fd: int = -1
    _line: bytes = b""
    _closed: bool = field(default=False)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.code is None

    def poll(self) -> bool:
        """Look whether it has answered or ended. True once, when it has just ended."""
        self._read_handshake()
        if self.code is None and (code := self.process.poll()) is not None:
            self.code = code
            self.paused = False
            return True
        return False

    def go(self) -> None:
        """Let a waiting actor start its clock. An actor that has died meanwhile is found out by ``poll``."""
        try:
            os.write(self._go_fd, b"g")
        except BrokenPipeError:
            pass
        os.close(self._go_fd)
        self._go_fd = -1

    @property
    def stopped(self) -> bool:
        """It is paused, and the pause has taken effect."""
        try:
            return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return False  # it has ended

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to the process itself (not its children); False if it has ended already."""
        if self.process.poll() is not None:
            return False
        self.process.send_signal(number)
        if number in (signal.SIGSTOP, signal.SIGCONT):
            self.paused = number == signal.SIGSTOP
        return True

    def close(self) -> None:
        for fd in (self._ready_fd, self._go_fd):
            if fd >= 0:
                os.close(fd)
        self._ready_fd = self._go_fd = -1

    def _read_handshake(self) -> None:
        if self._ready_fd < 0:
            return
        try:
            data = os.read(self._ready_fd, 4096)
        except BlockingIOError:
            return
        self._line += data
        if not data or self._line.endswith(b"\n"):
            os.close(self._ready_fd)
            self._ready_fd = -1
            try:
                self.ready = msgspec.json.decode(self._line, type=Ready)
            except msgspec.DecodeError:
                self.ready = None  # it closed the pipe without a word, or said something else: never ready


class Actors:
    """Every process of one run; leaving the context ends and reaps them all.

    Args:
        run_id: the mark in their environments.
        logs: folder for ``<actor>.log`` (stderr) and ``<actor>.stdout.log``.
        environment: what all actors get; nothing else is inherited.
        cwd: their working folder.

    ``strays`` holds ``(pid, name)`` of each process that had left its group and was found by the mark.
    """

    def __init__(self, run_id: str, logs: Path, environment: Mapping[str, str], cwd: Path) -> None:
        self._run_id, self._logs, self.environment, self._cwd = run_id, logs, dict(environment), cwd
        self._groups: set[int] = set()
        self.all: list[Actor] = []
        self.strays: list[tuple[int, str]] = []

    def __enter__(self) -> Actors:
        self._lifeline, self._lifeline_end = os.pipe()
        self._guard = Guard()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_all()

    def start(self, name: str, role: Role, command: Command, env: Mapping[str, str], *, waits_for_go: bool) -> Actor:
        """Start a process. It must answer on its ready descriptor; look with ``Actor.poll``.

        Raises:
            OSError: the program cannot be started.
        """
        ready_read, ready_write = os.pipe()
        go_read, go_write = os.pipe() if waits_for_go else (-1, -1)
        inherited = [fd for fd in (ready_write, go_read, self._lifeline) if fd >= 0]
        full = {**self.environment, **env, MARK_KEY: self._run_id, LIFELINE_KEY: str(self._lifeline)}
        log = self._logs / f"{name}.log"
        try:
            with log.open("ab") as stderr, (self._logs / f"{name}.stdout.log").open("ab") as stdout:
                process = subprocess.Popen(
                    list(command(Descriptors(ready_write, go_read))), stdin=subprocess.DEVNULL, stdout=stdout,
                    stderr=stderr, env=full, cwd=self._cwd, pass_fds=inherited, start_new_session=True,
                )  # fmt: skip
        except BaseException:
            for fd in (ready_read, go_write):
                if fd >= 0:
                    os.close(fd)
            raise
        finally:
            for fd in (ready_write, go_read):
                if fd >= 0:
                    os.close(fd)
        self._groups.add(process.pid)
        self._guard.watch(process.pid)
        os.set_blocking(ready_read, False)
        try:
            os.setpriority(os.PRIO_PROCESS, process.pid, PRIORITY)
        except OSError:
            pass  # not ours to raise, or the process has ended already
        actor = Actor(name, role, log, process, _ready_fd=ready_read, _go_fd=go_write)
        self.all.append(actor)
        return actor

    @property
    def marked_environment(self) -> dict[str, str]:
        """For a process that is no actor: what it leaves behind is found and ended like theirs."""
        return {**self.environment, MARK_KEY: self._run_id}

    def poll(self) -> list[Actor]:
        """Look at every actor; those that have just ended."""
        return [actor for actor in self.all if actor.poll()]

    def end_all(self) -> None:
        """Kill and reap everything, now. Safe to call twice."""
        for group in self._groups:
            _kill_group(group)
        for actor in self.all:
            try:
                actor.process.wait(REAP_LIMIT_REAL_S)
            except subprocess.TimeoutExpired:
                pass  # `strays` will name it
            actor.poll()
            actor.close()
        self._end_strays()
        for group in self._groups:
            self._guard.forget(group)
        self._groups.clear()
        self._guard.close()
        for fd in (self._lifeline, self._lifeline_end):
            if fd >= 0:
                os.close(fd)
        self._lifeline = self._lifeline_end = -1

    def marked(self) -> list[psutil.Process]:
        """Living processes that carry this run's mark and are none of its actors."""
        known = {actor.pid for actor in self.all}
        return [p for p in psutil.process_iter() if p.pid not in known and _mark_of(p) == self._run_id]

    def _end_strays(self) -> None:
        if not self.all:
            return
        for process in self.marked():
            try:
                self.strays.append((process.pid, process.name()))
                process.kill()
            except psutil.Error:
                continue  # it ended on its own
        deadline = time.monotonic() + REAP_LIMIT_REAL_S
        while self.strays and self.marked() and time.monotonic() < deadline:
            time.sleep(_POLL_REAL_S)


def tail_of(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message."""
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def environment(source: Mapping[str, str], **added: Any) -> dict[str, str]:
    """What of our own environment an actor needs: where programs are, how text is encoded, how tests measure."""
    kept = ("PATH", "LANG", "TMPDIR", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONWARNINGS", "VIRTUAL_ENV")
    prefixes = ("LC_", "COVERAGE_", "COV_CORE_")
    passed = {key: value for key, value in source.items() if key in kept or key.startswith(prefixes)}
    return passed | {key: str(value) for key, value in added.items()}


def _kill_group(group: int) -> None:
    """SIGKILL works on stopped processes too; nothing needs to be resumed first."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # no process is left in it


def _mark_of(process: psutil.Process) -> str | None:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.environ().get(MARK_KEY)
    except (psutil.Error, OSError):
        return None
