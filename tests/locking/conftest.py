"""Actors for the lock's tests: processes that are always reaped."""

import json
import select
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.locking import kernel, release_all_held

ACTORS = Path(__file__).with_name("actors.py")


class Actor:
    """A process that performs one command at a time. ``send`` without ``reply`` leaves it busy."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, str(ACTORS), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    @property
    def pid(self):
        return self.process.pid

    def do(self, what, **fields):
        self.send(what, **fields)
        return self.reply()

    def send(self, what, **fields):
        self.process.stdin.write(json.dumps({"do": what, **fields}) + "\n")

    def reply(self, timeout_s=60.0):
        line = self.process.stdout.readline()
        assert line, f"the actor ended: {self.process.wait()}"
        return json.loads(line)

    def silent_for(self, seconds):
        """No reply within this time (the lower bound of a wait; nothing is inferred from its end)."""
        return not select.select([self.process.stdout], [], [], seconds)[0]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)
        while "T" not in Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]:
            pass  # SIGSTOP is not instantaneous

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def reap(self):
        if self.process.poll() is None:
            self.resume()
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def actor():
    started = []

    def start(*arguments):
        actor = Actor(*(arguments or ("interpret",)))
        started.append(actor)
        if not arguments:
            assert actor.reply()["ready"] == actor.pid
        return actor

    yield start
    for actor in started:
        actor.reap()


@pytest.fixture
def clock():
    return ScaledClock.start()


@pytest.fixture
def session_file(tmp_path):
    return tmp_path / "s.jsonl"


@pytest.fixture
def lock_file(session_file):
    return Path(f"{session_file}.lock")


@pytest.fixture
def namespace():
    """The beginning of a command that runs in a pid namespace of its own; ``--mount-proc`` may follow."""
    if shutil.which("unshare") is None:
        pytest.skip("pid namespaces need the program `unshare`")
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
    tried = subprocess.run([*command, "--mount-proc", "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"this kernel gives us no pid namespace: {tried.stderr.strip()}")
    return command


_FOREIGN_OWNER = """
import json, os, sys
body = {"pid": os.getpid(), "createdAt": "2026-05-14T07:35:46.405Z"}
if len(sys.argv) > 2:
    with open("/proc/self/stat") as stat:
        body["starttime"] = int(stat.read().rpartition(")")[2].split()[19])
with open(sys.argv[1], "w") as file:
    json.dump(body, file)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def foreign_owner():
    """A foreign lock file of a live process that a command starts; with a start time if more arguments follow.

    Gives the process that was started: within a namespace of its own, the owner is its child."""

    @contextmanager
    def held(command, path, *more):
        command = [*command, sys.executable, "-c", _FOREIGN_OWNER, str(path), *more]
        started = subprocess.Popen(command, stdin=-1, stdout=-1, text=True)
        try:
            assert started.stdout.readline() == "held\n"
            yield started
        finally:
            started.stdin.close()
            started.stdout.close()
            started.wait(10)

    return held


@pytest.fixture(autouse=True)
def no_descriptor_leaks():
    before = set(kernel._open_handles)
    yield
    left = set(kernel._open_handles) - before
    release_all_held()
    assert not left
    assert kernel._open_handles == before
