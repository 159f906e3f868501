"""How a Lockjaw process reports to its parent: readiness, records, and a shared end.

All of it is optional and inherited: a person who types ``lockjaw agent`` has none of these variables.

``--ready-fd N``          one JSON line ``{"pid": .., "port": ..}`` when the process can be used, then closed
``--go-fd N``             the process waits for one byte before its own clock starts
``LOCKJAW_LIFELINE_FD``   end of file on it means that the parent is gone, however it died: end too
``LOCKJAW_SEED``          root of the ids that this process makes up; never of anything that protects it
``LOCKJAW_EVENTS``        file for this process's history records; ``LOCKJAW_ACTOR`` is its name in them
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lockjaw.clock import Clock
from lockjaw.errors import UsageError
from lockjaw.history import FileRecorder, NullRecorder, Phase, Recorder
from lockjaw.seeds import Seeds
from lockjaw.visible import tell

EVENTS_KEY = "LOCKJAW_EVENTS"
ACTOR_KEY = "LOCKJAW_ACTOR"
LIFELINE_KEY = "LOCKJAW_LIFELINE_FD"
SEED_KEY = "LOCKJAW_SEED"

Done = TypeVar("Done")


class Terminated(KeyboardInterrupt):
    """SIGTERM, for a verb that ends on it as on Ctrl-C and keeps what is finished."""


def announce_ready(fd: int | None, port: int | None = None) -> None:
    """Tell the parent that this process is ready; a parent that is gone already is not our error."""
    if fd is None:
        return
    try:
        os.write(fd, json.dumps({"pid": os.getpid(), "port": port}).encode() + b"\n")
    except BrokenPipeError:
        pass
    finally:
        os.close(fd)


def wait_for_go(fd: int | None) -> None:
    """Block until the parent writes one byte. End of file means that there will be no go."""
    if fd is None:
        return
    with open(fd, "rb", buffering=0) as pipe:
        if not pipe.read(1):
            raise UsageError("--go-fd", "", "one byte from the parent, which is gone")


def recorder_from_environment(env: Mapping[str, str], clock: Clock) -> Recorder:
    """The recorder that the surrounding harness run asked for, or one that drops everything."""
    path = env.get(EVENTS_KEY)
    return _ActorRecorder(Path(path), clock, env.get(ACTOR_KEY, "process")) if path else NullRecorder()


class _ActorRecorder(FileRecorder):
    """Ends the process where a record cannot be written: what it did unseen would be judged as not done. An exception
    would end in whatever loop or thread happened to record, and the process would stand there, alive and mute."""

    def record(self, op: str, phase: Phase = "info", /, **data: Any) -> None:
        try:
            super().record(op, phase, **data)
        except OSError as error:
            tell(f"lockjaw failed: the records of this process cannot be written: {error.strerror}")
            os._exit(4)


def ids_from_environment(env: Mapping[str, str], actor: str) -> random.Random:
    """The stream of ids (sessions, runs, entries) of this process: the harness run's, or the system's."""
    seed = env.get(SEED_KEY)
    return Seeds(int(seed)).child(actor).stream("ids") if seed else random.SystemRandom()


def appear_as_openclaw(command: str) -> None:
    """Give this process a command line that OpenClaw 2026.7.1 takes for that of a session lock's owner.

    It removes the lock file of a live owner whose command line it can read and in which no argument ends in
    ``/openclaw`` (its reason: ``non-openclaw-owner``). Afterwards ``ps`` shows neither a message nor a token.
    """
    unset = "SPT_NOENV" not in os.environ
    os.environ["SPT_NOENV"] = "1"  # the title must not take the room of the environment, which others read
    try:
        import setproctitle

        setproctitle.setproctitle(f"lockjaw {command} /openclaw")
    finally:
        if unset:
            del os.environ["SPT_NOENV"]


def watch_lifeline(env: Mapping[str, str]) -> None:
    """End this process (SIGTERM to itself, SIGKILL if that is not enough) when the parent has gone.

    A thread, not an event-loop callback: a blocked loop must not outlive its harness.
    """
    text = env.get(LIFELINE_KEY)
    if not text:
        return
    fd = int(text)
    os.set_inheritable(fd, False)  # a tool that this process starts must not hold the line

    def watch() -> None:
        while os.read(fd, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(2.0)  # real seconds: the grace of a process nobody waits for any more
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


async def until_stopped(work: Coroutine[Any, Any, Done]) -> Done | signal.Signals:
    """Do ``work``; SIGTERM and SIGINT cancel it. Returns what it returns, or the signal that stopped it."""
    task = asyncio.ensure_future(work)
    stopped: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        stopped.append(number)
        task.cancel()

    on_stop_signals(asyncio.get_running_loop(), stop)
    try:
        return await task
    except asyncio.CancelledError:
        return stopped[0] if stopped else signal.SIGINT


def perform_at_go(work: Callable[[], Coroutine[Any, Any, int]], ready_fd: int, go_fd: int) -> int:
    """An actor's main: say that it is ready, wait for its go, do ``work``. Returns the exit status, 128 + N by signal.

    ``work`` is called inside the event loop.
    """

    async def perform() -> int:
        ended = await until_stopped(work())
        return 128 + ended if isinstance(ended, signal.Signals) else ended

    announce_ready(ready_fd)
    wait_for_go(go_fd)
    return asyncio.run(perform())


def on_stop_signals(loop: asyncio.AbstractEventLoop, stop: Callable[[signal.Signals], None]) -> None:
    """Call ``stop`` on SIGTERM and SIGINT, inside the loop."""
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
