"""How a process talks to whoever started it: ready, go, records, and the shared end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.errors import UsageError
from lockjaw.history import NullRecorder, read_records
from lockjaw.process import (
    ACTOR_KEY,
    EVENTS_KEY,
    LIFELINE_KEY,
    announce_ready,
    on_stop_signals,
    recorder_from_environment,
    wait_for_go,
    watch_lifeline,
)

PATIENCE_S = 30.0  # real; only a broken process uses it up


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError:
            pass  # the code under test has closed it


def test_ready_is_one_line_with_pid_and_port_and_then_the_end(pipe: tuple[int, int]) -> None:
    read, write = pipe

    announce_ready(write, 4711)

    with os.fdopen(os.dup(read), "rb") as lines:
        assert json.loads(lines.read()) == {"pid": os.getpid(), "port": 4711}


def test_a_parent_that_has_gone_is_no_error_of_ours(pipe: tuple[int, int]) -> None:
    read, write = pipe
    os.close(read)

    announce_ready(write)

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(write)


def test_a_process_that_nobody_waits_for_announces_nothing() -> None:
    announce_ready(None)
    wait_for_go(None)


def test_go_is_one_byte(pipe: tuple[int, int]) -> None:
    read, write = pipe
    os.write(write, b"g")

    wait_for_go(read)


def test_a_parent_that_goes_without_saying_go_ends_the_command(pipe: tuple[int, int]) -> None:
    read, write = pipe
    os.close(write)

    with pytest.raises(UsageError, match="--go-fd: expected one byte from the parent, which is gone"):
        wait_for_go(read)


def test_records_go_to_the_file_that_the_environment_names(tmp_path: Path) -> None:
    clock = ScaledClock.start()
    recorder = recorder_from_environment({EVENTS_KEY: str(tmp_path / "e"), ACTOR_KEY: "client"}, clock)
    recorder.record("turn", "ok")

    assert [(r.actor, r.op) for r in read_records(tmp_path / "e")] == [("client", "turn")]
    assert isinstance(recorder_from_environment({}, clock), NullRecorder)


def test_no_lifeline_is_watched_where_none_was_given() -> None:
    watch_lifeline({})
    watch_lifeline({LIFELINE_KEY: ""})


WATCHES = f"""
import os, signal, subprocess, sys, threading
from lockjaw.process import watch_lifeline
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
watch_lifeline(os.environ)
subprocess.Popen([sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"], close_fds=False)
print("ready", flush=True)
threading.Event().wait({PATIENCE_S})
"""


@pytest.mark.real
@pytest.mark.parametrize(("how", "end"), [("", signal.SIGTERM), ("deaf", signal.SIGKILL)])
def test_a_process_ends_when_its_lifeline_does_even_if_it_is_deaf_or_has_children(how: str, end: int) -> None:
    read, write = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", WATCHES, how], env={**os.environ, LIFELINE_KEY: str(read)}, pass_fds=(read,),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"ready\n"
    finally:
        os.close(read)
        os.close(write)

    assert process.wait(PATIENCE_S) == -end
    process.stdin.close()  # ends its child, too
    process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_signal_is_heard_inside_the_loop(number: signal.Signals) -> None:
    loop = asyncio.get_running_loop()
    heard: asyncio.Future[signal.Signals] = loop.create_future()
    on_stop_signals(loop, heard.set_result)
    try:
        os.kill(os.getpid(), number)
        async with asyncio.timeout(PATIENCE_S):
            assert await heard == number
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGINT)


ACTOR = """
import asyncio, os, sys
from lockjaw.process import perform_at_go

async def work():
    try:
        if sys.argv[3] == "waits":
            print("at work", flush=True)
            await asyncio.Event().wait()
        return 7
    finally:
        print("tidied", flush=True)

sys.exit(perform_at_go(work, int(sys.argv[1]), int(sys.argv[2])))
"""


@pytest.mark.parametrize(("what", "number", "status"), [("ends", None, 7), ("waits", signal.SIGTERM, 143)])
def test_an_actor_begins_at_its_go_and_tidies_up_when_it_is_stopped(
    what: str, number: signal.Signals | None, status: int
) -> None:
    ready, said = os.pipe()
    begins, go = os.pipe()
    command = [sys.executable, "-c", ACTOR, str(said), str(begins), what]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=(said, begins), text=True) as process:
        os.close(said)
        assert json.loads(os.read(ready, 1000))["pid"] == process.pid
        os.write(go, b"x")
        assert process.stdout is not None
        if number is not None:
            assert process.stdout.readline() == "at work\n"
            process.send_signal(number)
        assert process.stdout.read() == "tidied\n"
        assert process.wait(PATIENCE_S) == status
    for fd in (ready, begins, go):
        os.close(fd)
