"""Who takes part: each contestant as a pair of calls, and why one that is not here is not."""

from __future__ import annotations

import fcntl
import importlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from lockjaw.locking import SessionLock

from .node_rivals import NodeRival, node_rivals

Calls = tuple[Callable[[], object], Callable[[], object]]
AsyncCalls = tuple[Callable[[], Awaitable[object]], Callable[[], Awaitable[object]]]
WAIT_S = 600.0  # no contender times out: a starving one shall be seen starving


@dataclass(frozen=True)
class Contestant:
    """One lock.

    Args:
        name: as in the tables.
        kind: ``ours``, ``kernel`` (waits in the kernel) or ``polls``.
        open: makes acquire and release for a file in this process.
        afresh: one turn of a lock that is made for it: open, acquire, release, and close what is to be closed.
        lock_file: suffix of the file whose existence means "held"; None if there is none. Such locks break stale
            files, so they take part in the storm.
        recovers: it claims to succeed a holder that was killed.
        node: it runs under Node, as processes of its own.
    """

    name: str
    kind: str
    open: Callable[[str], Calls]
    lock_file: str | None = None
    recovers: bool = True
    open_async: Callable[[str], AsyncCalls] | None = None
    node: NodeRival | None = None
    afresh: Callable[[str], object] | None = None


@dataclass(frozen=True)
class Absent:
    """A lock that does not take part, and why."""

    name: str
    reason: str


def contestants() -> tuple[list[Contestant], list[Absent]]:
    """All that can run here, ours first."""
    here = [_session_lock(name) for name in ("guarded", "guarded-async", "coarse", "coarse-60s", "soft", "flock")]
    here.append(Contestant("bare flock", "kernel", _bare_flock, afresh=_bare_flock_turn))
    absent: list[Absent] = []
    for name, module, attribute, lock_file, recovers in (
        ("filelock.FileLock", "filelock", "FileLock", None, True),
        ("filelock.SoftFileLock", "filelock", "SoftFileLock", "", True),
        ("filelock.StrictSoftFileLock", "filelock", "StrictSoftFileLock", "", True),
        ("portalocker", "portalocker", "Lock", None, True),
        ("fasteners", "fasteners", "InterProcessLock", None, True),
    ):
        try:
            made = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            absent.append(Absent(name, f"not installed ({error}); pip install 'lockjaw[bench]'"))
        else:
            opened = _library(module, made)
            here.append(Contestant(name, "polls", opened, lock_file, recovers, afresh=_turn(opened)))
    rivals, missing = node_rivals()
    here += [Contestant(f"{rival.library} (Node)", "polls", _no_calls, node=rival) for rival in rivals]
    absent += [Absent(name, reason) for name, reason in missing.items()]
    return here, absent


def _session_lock(name: str) -> Contestant:
    algorithm = name.removesuffix("-async")

    def open_it(path: str) -> Calls:
        lock = SessionLock(path, timeout=WAIT_S, algorithm=algorithm)
        return lock.acquire, lock.release

    def open_async(path: str) -> AsyncCalls:
        lock = SessionLock(path, timeout=WAIT_S, algorithm=algorithm)
        return lock.acquire_async, lock.release_async

    ours = algorithm == "guarded"
    return Contestant(
        name, "ours" if ours else "polls", open_it, None if algorithm == "flock" else ".lock", algorithm != "soft",
        open_async if name.endswith("-async") else None, afresh=_turn(open_it),
    )  # fmt: skip


def _bare_flock(path: str) -> Calls:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    return (lambda: fcntl.flock(descriptor, fcntl.LOCK_EX)), (lambda: fcntl.flock(descriptor, fcntl.LOCK_UN))


def _bare_flock_turn(path: str) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.close(descriptor)


def _turn(open_it: Callable[[str], Calls]) -> Callable[[str], object]:
    def turn(path: str) -> None:
        acquire, release = open_it(path)
        acquire()
        release()

    return turn


def _library(module: str, made: Any) -> Callable[[str], Calls]:
    def open_it(path: str) -> Calls:
        options = {"mode": "a", "timeout": WAIT_S} if module == "portalocker" else {}
        lock = made(f"{path}.{module}", **options)
        return lock.acquire, lock.release

    return open_it


def _no_calls(path: str) -> Calls:
    raise AssertionError("a Node contender is a process of its own")
