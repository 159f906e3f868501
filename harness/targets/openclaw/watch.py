"""Watches a sessions folder: lock files as they come and go, transcript entries as they are written.

A thread, because the kernel's notices are only worth their order if somebody reads them at once: a lock file that
lives 20 ms is gone when the engine looks. inotify keeps creations, writes and deletions of one folder in order;
where there is none (or no more watches), the folder is read every 5 ms instead, and ``how`` says so.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

from lockjaw.clock import Clock

from .reading import LockFile, Written

SAMPLE_REAL_S = 0.005
_IN_CREATE, _IN_DELETE, _IN_MODIFY, _IN_MOVED_FROM, _IN_MOVED_TO = 0x100, 0x200, 0x2, 0x40, 0x80
_CHANGES = _IN_CREATE | _IN_DELETE | _IN_MODIFY | _IN_MOVED_FROM | _IN_MOVED_TO
_EVENT = struct.Struct("iIII")

Seen = LockFile | Written
ActorOf = Callable[[int], str]


class FolderWatch:
    """Changes of one folder, in order.

    Args:
        folder: exists.
        actor_of: name of the actor that a process belongs to; empty for strangers.
        sample: do not use inotify.
    """

    def __init__(self, folder: Path, clock: Clock, actor_of: ActorOf, *, sample: bool = False) -> None:
        self._folder, self._clock, self._actor_of = folder, clock, actor_of
        self._seen: SimpleQueue[Seen] = SimpleQueue()
        self._locks: dict[str, int | None] = {}  # name -> pid, None while the file is still empty
        self._read_to: dict[str, int] = {}
        self._stop_read, self._stop_write = os.pipe()
        self._fd = -1 if sample else _inotify(folder)
        self.how: Literal["inotify", "sampling"] = "inotify" if self._fd >= 0 else "sampling"
        self._thread = threading.Thread(target=self._follow, name="folder-watch", daemon=True)
        self._thread.start()

    def take(self) -> list[Seen]:
        """What was seen since the last call."""
        found = []
        while not self._seen.empty():
            found.append(self._seen.get())
        return found

    def close(self) -> None:
        """Look once more, and end. What was seen can still be taken."""
        if self._stop_write >= 0:
            os.write(self._stop_write, b"s")
            self._thread.join()
            for fd in (self._stop_read, self._stop_write, self._fd):
                if fd >= 0:
                    os.close(fd)
            self._stop_write = -1
            self._scan()

    # ----------------------------------------------------------------- the thread

    def _follow(self) -> None:
        self._scan()
        watched = [self._stop_read, *([self._fd] if self._fd >= 0 else [])]
        while True:
            ready, _, _ = select.select(watched, [], [], None if self._fd >= 0 else SAMPLE_REAL_S)
            if self._stop_read in ready:
                return
            if self._fd < 0:
                self._scan()
            elif ready:
                for mask, name in _events(os.read(self._fd, 1 << 16)):
                    self._changed(name, gone=bool(mask & (_IN_DELETE | _IN_MOVED_FROM)))

    def _scan(self) -> None:
        names = set(os.listdir(self._folder))
        for name in [name for name in self._locks if name not in names]:
            self._changed(name, gone=True)
        for name in sorted(names):
            self._changed(name)

    def _changed(self, name: str, *, gone: bool = False) -> None:
        if name.endswith(".jsonl.lock"):
            if gone:
                self._lock_gone(name)
            else:
                self._lock_there(name)
        elif name.endswith(".jsonl") and not name.endswith(".trajectory.jsonl") and not gone:
            self._grown(name)

    def _lock_gone(self, name: str) -> None:
        if name in self._locks:
            pid = self._locks.pop(name)
            if pid is not None:
                self._seen.put(LockFile(self._now(), str(self._folder / name), False))

    def _lock_there(self, name: str) -> None:
        """Known from the moment at which it names its owner: before, nobody can say whose it is."""
        if self._locks.get(name) is None:
            pid = _owner(self._folder / name)
            self._locks[name] = pid
            if pid is not None:
                path = str(self._folder / name)
                self._seen.put(LockFile(self._now(), path, True, self._actor_of(pid), pid))

    def _grown(self, name: str) -> None:
        path, start = self._folder / name, self._read_to.get(name, 0)
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < start:
                    start = 0  # emptied and rewritten: what stands there now is new
                file.seek(start)
                data = file.read()
        except FileNotFoundError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._read_to[name] = start + len(whole)
        for line in whole.splitlines():
            entry = entry_of(line)
            if entry is not None:
                self._seen.put(Written(self._now(), str(path), entry))

    def _now(self) -> float:
        return round(self._clock.monotonic(), 6)


def _owner(path: Path) -> int | None:
    try:
        pid = json.loads(path.read_bytes()).get("pid")
    except (OSError, ValueError, AttributeError):
        return None
    return pid if isinstance(pid, int) and pid > 0 else None


def entry_of(line: str | bytes) -> dict[str, Any] | None:
    """A line of a transcript as an object; None if it is none."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _inotify(folder: Path) -> int:
    """A descriptor with a watch on the folder; -1 where the machine has no inotify or no watch to spare."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        fd = int(libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
    except (OSError, AttributeError):
        return -1
    if fd >= 0 and libc.inotify_add_watch(fd, os.fsencode(folder), ctypes.c_uint32(_CHANGES)) < 0:
        os.close(fd)
        return -1
    return fd


def _events(data: bytes) -> list[tuple[int, str]]:
    found, at = [], 0
    while at < len(data):
        _, mask, _, length = _EVENT.unpack_from(data, at)
        name = data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
        found.append((mask, os.fsdecode(name)))
        at += _EVENT.size + length
    return found
