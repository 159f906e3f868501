"""``lockjaw serve contender``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lockjaw.cli.options import JournalFile, ReadyFd
from lockjaw.clock import ScaledClock
from lockjaw.errors import UsageError
from lockjaw.fakes.contenders.databases import DATABASE_LOCKS
from lockjaw.fakes.contenders.service import ContenderPlan, Moment, serve_contender
from lockjaw.process import announce_ready
from lockjaw.visible import tell

__all__ = ["contender"]

DEFAULT = "guarded"


def contender(
    session_file: Annotated[
        Path | None, typer.Argument(help="The session (a .jsonl file) whose lock is wanted.", show_default=False)
    ] = None,
    sqlite: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Hold this database as another writer does: --algorithm sqlite FILE."),
    ] = None,
    flock: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Hold the flock of this file: --algorithm flock FILE.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=256, help="How many processes at once.")] = 1,
    algorithm: Annotated[
        str,
        typer.Option(
            help="A session lock (guarded, coarse, ...), or what your program takes: flock, posix-range, "
            "o-excl, filelock, portalocker, sqlite, sqlite-exclusive, sqlite-read, sqlite-wal."
        ),
    ] = DEFAULT,
    hold: Annotated[
        float | None, typer.Option(min=0, help="Seconds that each process holds it (default: until the end).")
    ] = None,
    think: Annotated[float, typer.Option(min=0, help="Seconds between a release and the next try.")] = 0.0,
    rounds: Annotated[int, typer.Option(min=0, help="How often each process takes it; 0: without end.")] = 1,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds that each process waits (default: the algorithm's own).")
    ] = None,
    leak: Annotated[bool, typer.Option("--leak", help="Take the lock and never release it.")] = False,
    kill_at: Annotated[
        str | None, typer.Option(metavar="STEP[:N]", help="kill -9 right before the Nth time of this step.")
    ] = None,
    pause_at: Annotated[
        str | None, typer.Option(metavar="STEP[:N]", help="Stop the process (SIGSTOP) right before that step.")
    ] = None,
    pause_for: Annotated[
        float | None, typer.Option(min=0, help="Seconds of that pause (default: until the end).")
    ] = None,
    garbage: Annotated[str | None, typer.Option(metavar="TEXT", help="Plant a lock file that holds this.")] = None,
    pid: Annotated[int | None, typer.Option(min=1, help="Plant a lock file that names this process.")] = None,
    recycled: Annotated[
        bool, typer.Option("--recycled", help="Plant one whose owner has ended and whose pid another process has.")
    ] = False,
    retire_wal: Annotated[
        bool, typer.Option("--retire-wal", help="With the lock, move the database's WAL aside under its other users.")
    ] = False,
    namespace: Annotated[
        bool,
        typer.Option("--namespace", help="Run them in a pid namespace of their own, like another container."),
    ] = False,
    journal: JournalFile = None,
    ready_fd: ReadyFd = None,
) -> int:
    """Hold, leak or die with a session's lock.

    Real processes contend for the lock until they are done, or until SIGTERM or Ctrl-C. The command is ready when one
    process has the lock (or has died or stopped where you said) and the others wait for it. Each event is one line on
    stderr. The exit status is 1 if a process did not get the lock.

    STEP is `held` (the process has just got the lock) or an operation of the lock's algorithm, such as
    CreateExclusive, LinkFile, WriteInPlace or Unlink; a wrong name lists all. Lock files of killed processes stay;
    planted ones are removed at the end.
    """
    file, algorithm = _wanted(session_file, sqlite, flock, algorithm)
    plan = ContenderPlan(
        count=count, algorithm=algorithm, timeout_s=timeout, hold_s=hold, think_s=think, rounds=rounds, leak=leak,
        kill_at=None if kill_at is None else Moment.parse(kill_at),
        pause_at=None if pause_at is None else Moment.parse(pause_at),
        pause_s=pause_for, namespace=namespace, garbage=garbage, pid=pid, recycled=recycled,
        retire_wal=retire_wal,
    )  # fmt: skip

    def ready(own_pid: int) -> None:
        announce_ready(ready_fd, 0)
        tell(f"contenders ready on {file} (pid {own_pid}); Ctrl-C ends them")

    return serve_contender(file, plan, journal=journal, clock=ScaledClock.from_environment(), ready=ready)


def _wanted(session_file: Path | None, sqlite: Path | None, flock: Path | None, algorithm: str) -> tuple[Path, str]:
    """The file, and how it is held. Raises UsageError unless there is exactly one."""
    named = [file for file in (session_file, sqlite, flock) if file is not None]
    if len(named) != 1:
        expected = "one of: a session file, --sqlite FILE, --flock FILE"
        raise UsageError("serve contender", "", expected, f"{len(named)} of them")
    if flock is not None:
        algorithm = "flock" if algorithm == DEFAULT else algorithm
        expected = "flock, beside --flock FILE" if algorithm != "flock" else ""
    elif sqlite is not None:
        algorithm = "sqlite" if algorithm == DEFAULT else algorithm
        expected = (
            f"beside --sqlite FILE one of: {', '.join(DATABASE_LOCKS)}" if algorithm not in DATABASE_LOCKS else ""
        )
    else:
        expected = ""
    if expected:
        raise UsageError("--algorithm", "", expected, algorithm)
    return named[0], algorithm
