"""Actors for the lock's tests: processes that are always reaped."""

import errno
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.locking import bells, kernel, release_all_held
from lockjaw.locking.windows_locks import WindowsLocks

ACTORS = Path(__file__).with_name("actors.py")


class Actor:
    """A process that performs one command at a time. ``send`` without ``reply`` leaves it busy."""

    def __init__(self, *arguments, command=(sys.executable, str(ACTORS)), stderr=None):
        self.process = subprocess.Popen(
            [*command, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
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

    def start(*arguments, **options):
        actor = Actor(*(arguments or ("interpret",)), **options)
        started.append(actor)
        if not arguments:
            actor.calls_itself = actor.reply()["ready"]  # on Windows not what its parent on Linux calls it
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


class LockFileEx:
    """Windows' byte-range locks, on this machine's files: a handle's own lock is in the way of its next one, a shared
    one may lie on its own exclusive one, an unlock names exactly what was locked and takes the exclusive one first,
    and locked bytes can be read or written through no other handle."""

    def __init__(self):
        self._locks, self._mutex = [], threading.RLock()  # (file, descriptor, offset, length, exclusive)

    @staticmethod
    def _file(descriptor):
        status = os.fstat(descriptor)
        return status.st_dev, status.st_ino

    def _overlapping(self, descriptor, offset, length):
        file = self._file(descriptor)
        return [
            (owner, exclusive)
            for other, owner, start, size, exclusive in self._locks
            if other == file and start < offset + length and offset < start + size
        ]

    def lock_bytes(self, descriptor, offset, length, exclusive):
        with self._mutex:
            for owner, alone in self._overlapping(descriptor, offset, length):
                if exclusive or (alone and owner != descriptor):
                    return False
            self._locks.append((self._file(descriptor), descriptor, offset, length, exclusive))
        return True

    def unlock_bytes(self, descriptor, offset, length):
        with self._mutex:
            for exclusive in (True, False):
                lock = (self._file(descriptor), descriptor, offset, length, exclusive)
                if lock in self._locks:
                    self._locks.remove(lock)
                    return
        raise OSError(errno.EACCES, "the segment is already unlocked")

    def closed(self, descriptor):
        with self._mutex:
            self._locks = [lock for lock in self._locks if lock[1] != descriptor]

    def check_access(self, descriptor, offset, length, *, writing):
        for owner, exclusive in self._overlapping(descriptor, offset, length):
            if (owner != descriptor and exclusive) or (writing and not exclusive):
                raise OSError(errno.EACCES, "another process has locked a portion of the file")


@pytest.fixture
def lock_file_ex(monkeypatch):
    """The lock's calls as they are on Windows: ``LockFileEx`` for locks, and no bells."""
    fake, close, pread, pwrite = LockFileEx(), os.close, os.pread, os.pwrite

    def closing(descriptor):
        fake.closed(descriptor)
        close(descriptor)

    def reading(descriptor, length, offset):
        fake.check_access(descriptor, offset, length, writing=False)
        return pread(descriptor, length, offset)

    def writing(descriptor, data, offset):
        fake.check_access(descriptor, offset, len(data), writing=True)
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "close", closing)
    monkeypatch.setattr(os, "pread", reading)
    monkeypatch.setattr(os, "pwrite", writing)
    monkeypatch.setattr(bells, "AVAILABLE", False)
    ranges = WindowsLocks(fake.lock_bytes, fake.unlock_bytes)
    monkeypatch.setattr(kernel, "native_range_locks", lambda: ranges)
    return ranges


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
