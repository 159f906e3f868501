"""What must not be used inside the simulation, and how it is caught.

An escape makes a run depend on the machine that it runs on: it would not replay elsewhere. While a simulation runs,
the usual ways out are replaced by functions that raise, in the thread that simulates and in no other: a worker of a
cluster goes on talking to its scheduler meanwhile. Of a class only its ``__init__`` is replaced, so that it stays a
class for everybody. The originals are put back afterwards. One simulation at a time: of two threads the second waits
(it would not be faster beside the first one: both are Python).
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
    (socket.socket, "__init__", "links and model calls have transports that are passed in"),
    (subprocess.Popen, "__init__", "inject a tool that needs no subprocess"),
    (threading.Thread, "start", "do the work in the event loop"),
)


#: Library modules whose looks decide nothing: httpx asks when its (absent) cookies expire; a traceback that is printed
#: reads lines of source (so does a test runner that gives up on a simulation that takes too long).
_HARMLESS = frozenset({"http.cookiejar", "linecache"})

one_at_a_time = threading.RLock()  # also of what else a simulation sets for the whole process
_simulating: list[int] = []  # the thread, while there is one


def _refuse(
    escape: str, hint: str, original: Callable[..., Any], tell: Callable[[SimulationEscape], None]
) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() not in _simulating:
            return original(*args, **kwargs)
        if sys._getframe(1).f_globals.get("__name__") in _HARMLESS:
            return original(*args, **kwargs)
        error = SimulationEscape(escape, hint)
        tell(error)  # whoever catches it may swallow it
        raise error

    return refuse


def _name(owner: Any, name: str) -> str:
    if name == "__init__":
        return f"{owner.__module__}.{owner.__name__}"
    return name if owner is builtins else f"{getattr(owner, '__name__', owner)}.{name}"


@contextmanager
def sealed(tell: Callable[[SimulationEscape], None]) -> Generator[None, None, None]:
    """While the block runs, every known way out of this thread raises ``SimulationEscape``; ``tell`` hears of it."""
    with one_at_a_time:
        before = [(owner, name, getattr(owner, name)) for owner, name, _ in _WAYS_OUT]
        _simulating.append(threading.get_ident())
        for (owner, name, hint), (_, _, original) in zip(_WAYS_OUT, before, strict=True):
            setattr(owner, name, _refuse(_name(owner, name), hint, original, tell))
        try:
            yield
        finally:
            for owner, name, original in before:
                setattr(owner, name, original)
            _simulating.pop()
