"""What must not be used inside the simulation, and how it is caught.

An escape makes a run depend on the machine that it runs on: it would not replay elsewhere. While a simulation runs,
the usual ways out are replaced by functions that raise; the originals are put back afterwards. The patch is per
process (of the real machine), so nothing else may run in other threads meanwhile.
"""

from __future__ import annotations

import builtins
import io
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from lockjaw.errors import HarnessError


class SimulationEscape(HarnessError):
    """Code under simulation reached for the real machine. Fields: ``escape`` (what it used), ``hint``."""

    def __init__(self, escape: str, hint: str) -> None:
        self.escape, self.hint = escape, hint
        super().__init__(f"the simulation was left through {escape}: {hint}")


_CLOCK = "take the clock that is passed in (clock.monotonic, clock.wall_ms, clock.sleep)"
_FILES = "take the files that are passed in (lockjaw.files.Files, or an operation of a lock algorithm)"
_WAYS_OUT: tuple[tuple[Any, str, str], ...] = (
    (time, "time", _CLOCK),
    (time, "time_ns", _CLOCK),
    (time, "monotonic", _CLOCK),
    (time, "monotonic_ns", _CLOCK),
    (time, "sleep", _CLOCK),
    (builtins, "open", _FILES),
    (io, "open", _FILES),  # what pathlib uses
    (os, "open", _FILES),
    (os, "stat", _FILES),
    (os, "unlink", _FILES),
    (os, "replace", _FILES),
    (os, "mkdir", _FILES),
    (os, "lstat", _FILES),
    (os, "link", _FILES),
    (os, "listdir", _FILES),
    (os, "scandir", _FILES),
    (os, "fork", "simulated processes are started by the world"),
    (os, "kill", "simulated processes are ended by the world"),
    (socket, "socket", "links and model calls have transports that are passed in"),
    (subprocess, "Popen", "inject a tool that needs no subprocess"),
    (threading.Thread, "start", "do the work in the event loop"),
)


#: Library modules that look at the clock without telling anybody: httpx asks when its (absent) cookies expire.
_HARMLESS = frozenset({"http.cookiejar"})

_sealed_thread: list[int] = []
_listeners: list[Callable[[SimulationEscape], None]] = []


def _refuse(escape: str, hint: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() not in _sealed_thread:
            return original(*args, **kwargs)  # a thread of the test runner, say
        if sys._getframe(1).f_globals.get("__name__") in _HARMLESS:
            return original(*args, **kwargs)
        error = SimulationEscape(escape, hint)
        for tell in _listeners:
            tell(error)  # whoever caught us may swallow the exception
        raise error

    return refuse


def _name(owner: Any, name: str) -> str:
    return name if owner is builtins else f"{getattr(owner, '__name__', owner)}.{name}"


@contextmanager
def sealed(tell: Callable[[SimulationEscape], None]) -> Generator[None, None, None]:
    """While the block runs, every known way out of this thread raises ``SimulationEscape``; ``tell`` hears of it."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in _WAYS_OUT]
    _sealed_thread.append(threading.get_ident())
    _listeners.append(tell)
    for (owner, name, hint), (_, _, original) in zip(_WAYS_OUT, before, strict=True):
        setattr(owner, name, _refuse(_name(owner, name), hint, original))
    try:
        yield
    finally:
        for owner, name, original in before:
            setattr(owner, name, original)
        _listeners.pop()
        _sealed_thread.pop()
