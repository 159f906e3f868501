"""Starts one program inside the namespace: ``python -m lockjaw.harness.targets.launch [...] -- COMMAND``.

Theory of operation
    The engine's actors are processes that it may pause, kill and ask for their exit status. So the program must
    *be* the process that the engine started: this module joins the namespace, waits for the go, forks, and the parent
    executes the program. The child stays behind as its scribe: it reads the program's output through pipes and
    writes down each line with the time at which it came (the real client's lines carry none), answers the engine's
    handshake when the program is ready, and ends when the output does. It is in the program's process group, so
    whoever ends the group ends it too.

    ``PR_SET_PDEATHSIG`` is not used: the scribe is the *child*, and must outlive a killed program by a moment to write
    its last words down.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import selectors
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import msgspec

from lockjaw.clock import ScaledClock
from lockjaw.errors import LockjawError
from lockjaw.process import LIFELINE_KEY, announce_ready, wait_for_go
from lockjaw.visible import tell

from .namespace import Doors, join, require_loopback_only

MODULE = __name__ if __name__ != "__main__" else "lockjaw.harness.targets.launch"
READY_POLL_REAL_S = 0.05


class Line(msgspec.Struct, frozen=True):
    """One line that a program printed. ``t``: nominal seconds of the run's clock; ``out``: stdout (else stderr)."""

    t: float
    text: str
    out: bool = False


def read_line(raw: bytes) -> Line:
    """A line that the scribe has written down."""
    return msgspec.json.decode(raw, type=Line)


def arguments(
    doors: Doors | None,
    command: Sequence[str],
    *,
    lines: Path | None = None,
    ready_fd: int = -1,
    go_fd: int = -1,
    port: int = 0,
    ready_line: str = "",
    ready_http: str = "",
) -> list[str]:
    """The command line of this module. ``doors`` None: no namespace (the user allowed that).

    The program is ready when it has printed ``ready_line`` and its port accepts connections; with ``ready_http``, when
    this address answers 200.
    """
    options = ["--ready-fd", str(ready_fd), "--go-fd", str(go_fd), "--port", str(port), "--ready-line", ready_line]
    options += ["--ready-http", ready_http]
    scribe = ["--lines", str(lines)] if lines else []
    return [
        sys.executable,
        "-P",
        "-m",
        MODULE,
        *(doors.arguments() if doors else []),
        *options,
        *scribe,
        "--",
        *command,
    ]


def free_port() -> int:
    """A port for a gateway that shares the machine's network."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def main(argv: Sequence[str]) -> NoReturn:
    """Join, wait, fork, execute. Exit status 71 if the program could not be started."""
    split = argv.index("--")
    options, command = _parser().parse_args(argv[:split]), list(argv[split + 1 :])
    try:
        if options.net:
            join(Doors(options.net, options.user))
            require_loopback_only()
        if options.lines is None:
            _execute(command)
        if options.go_fd >= 0:  # a client is ready at once: what it needs to start is part of its own time
            announce_ready(options.ready_fd, None)
            wait_for_go(options.go_fd)
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        pid = os.getpid()
        if os.fork() == 0:
            os.close(out_write)
            os.close(err_write)
            _scribe(options, pid, out_read, err_read)
        os.dup2(out_write, 1)
        os.dup2(err_write, 2)
        for fd in (out_read, err_read, out_write, err_write):
            os.close(fd)
        if options.go_fd < 0 and options.ready_fd >= 0:
            os.set_inheritable(options.ready_fd, False)
        _execute(command)
    except (OSError, LockjawError) as error:
        tell(f"{command[0]}: {error}")
        sys.exit(71)


def _execute(command: list[str]) -> NoReturn:
    os.execvpe(command[0], command, os.environ)  # noqa: S606


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(MODULE, allow_abbrev=False)
    parser.add_argument("--net", default="")
    parser.add_argument("--user", default="")
    parser.add_argument("--lines", type=Path)
    for name in ("--ready-fd", "--go-fd"):
        parser.add_argument(name, type=int, default=-1)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ready-line", default="")
    parser.add_argument("--ready-http", default="")
    return parser


# --------------------------------------------------------------------------- the scribe


def _scribe(options: argparse.Namespace, pid: int, out_fd: int, err_fd: int) -> NoReturn:
    """Copy the program's output to our own stdout and stderr (the engine's logs), and each line with its time to the
    file; answer the handshake. Never returns."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # meant for the program; the scribe ends with its output
    clock = ScaledClock.from_environment()
    encoder = msgspec.json.Encoder()
    lines = os.open(options.lines, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    lifeline = int(os.environ.get(LIFELINE_KEY, "-1"))
    ready = re.compile(options.ready_line) if options.ready_line else None
    waiting = options.go_fd < 0 and options.ready_fd >= 0
    said_so = ready is None
    rest = {out_fd: b"", err_fd: b""}
    with selectors.DefaultSelector() as selector:
        for fd in rest:
            selector.register(fd, selectors.EVENT_READ)
        if lifeline >= 0:
            selector.register(lifeline, selectors.EVENT_READ)
        open_fds = set(rest)
        while open_fds:
            for key, _ in selector.select(READY_POLL_REAL_S if waiting else None):
                if key.fd == lifeline:
                    os.killpg(0, signal.SIGKILL)  # the harness is gone: so are we all
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fd)
                    open_fds.discard(key.fd)
                os.write(1 if key.fd == out_fd else 2, data)
                *whole, rest[key.fd] = (rest[key.fd] + data).split(b"\n")
                if not data and rest[key.fd]:
                    whole.append(rest[key.fd])
                for raw in whole:
                    text = raw.decode(errors="replace").rstrip("\r")
                    said_so = said_so or bool(ready is not None and ready.search(text))
                    line = Line(round(clock.monotonic(), 6), text, key.fd == out_fd)
                    os.write(lines, encoder.encode(line) + b"\n")
            if waiting and said_so and _can_be_asked(options.port, options.ready_http):
                waiting = False
                os.write(options.ready_fd, json.dumps({"pid": pid, "port": options.port}).encode() + b"\n")
                os.close(options.ready_fd)
    os._exit(0)


def _can_be_asked(port: int, address: str) -> bool:
    try:
        if address:
            with urllib.request.urlopen(address, timeout=1.0) as answer:  # noqa: S310 - loopback, from the target's file
                return bool(answer.status == 200)
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except (OSError, http.client.HTTPException):
        time.sleep(READY_POLL_REAL_S)
        return False


if __name__ == "__main__":
    main(sys.argv[1:])
