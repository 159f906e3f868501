"""Bells: how a releaser wakes the one waiter whose turn it is.

A bell is a datagram socket with an abstract address (Linux) made from the guard's path and the ticket: no file to
leave behind, nothing to clean up after a killed process, and any waiter can be rung without knowing who it is.
Bells are hints. They reach no process in another network namespace, every process of this machine may ring them, and a
wrong ring costs one look at the guard.
"""

from __future__ import annotations

import atexit
import hashlib
import socket
import sys
from functools import lru_cache

from lockjaw.locking.system import os

AVAILABLE = sys.platform == "linux"

_sender: socket.socket | None = None


def open_bell(path: str, ticket: int) -> int | None:
    """-> descriptor that becomes readable when the bell rings, or None where there are no bells."""
    if not AVAILABLE:
        return None
    bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        bell.bind(_address(path, ticket))
    except OSError:
        bell.close()  # somebody squats on the address; we look for ourselves, then
        return None
    return bell.detach()


def ring(path: str, ticket: int) -> bool:
    """Ring, if there is such a bell. -> is there?"""
    global _sender  # noqa: PLW0603 -- one socket for all rings; made in the process that rings
    if not AVAILABLE:
        return False
    if _sender is None:
        _sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        atexit.register(_forget_sender)
    try:
        _sender.sendto(b"!", _address(path, ticket))
    except BlockingIOError:
        return True  # no process has listened to it for long, and it has been rung already: that is enough
    except OSError:
        return False
    return True


def silence(descriptor: int) -> bool:
    """Forget one ring. -> was there one? A waiter that was rung twice looks twice."""
    try:
        os.read(descriptor, 64)
    except BlockingIOError:
        return False
    return True


def _forget_sender() -> None:
    global _sender  # noqa: PLW0603
    if _sender is not None:
        _sender.close()
        _sender = None


os.register_at_fork(after_in_child=_forget_sender)


@lru_cache(maxsize=64)
def _prefix(path: str) -> bytes:
    return b"\0lockjaw/" + hashlib.sha256(os.fsencode(path)).hexdigest()[:24].encode() + b"/"


def _address(path: str, ticket: int) -> bytes:
    return b"%b%x" % (_prefix(path), ticket)
