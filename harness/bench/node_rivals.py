"""The locks that run under Node: each contender is a Node process that measures itself, on the clock that Python reads.

Both sides use CLOCK_MONOTONIC (``process.hrtime`` and ``time.perf_counter_ns``), so no message lies between an instant
and its record. ``proper-lockfile`` comes from a ``node_modules`` folder at or above the current one, or from an
installed OpenClaw; OpenClaw's own lock is the one inside its published bundle, as ``lockjaw run --target openclaw@...``
installs it.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..targets.store import default_root

SCRIPT = Path(__file__).with_name("node_contender.mjs")
CACHE = "LOCKJAW_OPENCLAW_CACHE"  # another folder than the user's cache
START_S = 60.0  # a Node process loads a large program before it is ready
NODE_FAILURES = (ChildProcessError, TimeoutError, BrokenPipeError)  # it ended, is late, or does not listen
_OPENCLAW_LOCK = "acquireSessionWriteLock"


@dataclass(frozen=True)
class NodeRival:
    """``library`` is ``proper-lockfile`` or ``openclaw``; ``module`` the file that it is imported from."""

    library: str
    node: Path
    module: Path

    def uncontended(self, folder: Path, count: int) -> list[float]:
        """Seconds of each acquire and release, without a rival."""
        with self._processes(folder, "uncontended", [str(count)]) as (one,):
            return [value / 1e9 for value in _told(one, START_S)["waits"]]

    def spans(
        self, folder: Path, processes: int, hold_s: float, duration_s: float, what: str
    ) -> tuple[int, int, list[dict[str, Any]]]:
        """Everybody takes the lock again and again. -> start and end in ns, and what each contender tells: ``spans`` of
        (wanted, got, left), and since when one has waited that did not get it (``unfinished``)."""
        rest = [str(int(duration_s * 1e9)), f"{hold_s * 1000:g}"]
        with self._processes(folder, what, rest, count=processes) as running:
            for one in running:
                _line(one, START_S)
            start = time.perf_counter_ns() + 50_000_000
            for one in running:
                assert one.stdin is not None
                one.stdin.write(f"{start}\n".encode())
                one.stdin.close()
            end = start + int(duration_s * 1e9)
            time.sleep(max(0.0, (end - time.perf_counter_ns()) / 1e9) + 0.05)
            for one in running:
                one.send_signal(signal.SIGTERM)  # whoever still waits tells so
            return start, end, [_told(one, 10.0) for one in running]

    def recover(self, folder: Path, limit_s: float) -> float | None:
        """Seconds from SIGKILL of the holder to the acquire of one waiter; None if not within the limit."""
        with self._processes(folder, "hold", ["0"]) as (holder,):
            _line(holder, START_S)
            with self._processes(folder, "once", ["0"]) as (waiter,):
                _line(waiter, START_S)
                time.sleep(0.1)  # it waits in earnest
                killed = time.perf_counter_ns()
                holder.kill()
                holder.wait()
                try:
                    return (int(_told(waiter, limit_s)["waits"][0]) - killed) / 1e9
                except TimeoutError:
                    return None

    @contextmanager
    def _processes(
        self, folder: Path, what: str, rest: list[str], *, count: int = 1
    ) -> Iterator[list[subprocess.Popen[bytes]]]:
        session = folder / "s.jsonl"
        session.touch()
        # Without the version: 2026.7.1 takes the lock from an owner none of whose arguments is "openclaw".
        library = self.library.split()[0]
        command = [str(self.node), str(SCRIPT), library, str(self.module), str(session), what]
        running: list[subprocess.Popen[bytes]] = []
        try:
            for number in range(count):
                running.append(
                    subprocess.Popen(
                        [*command, str(number), *rest],
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder,
                    )
                )  # fmt: skip
            yield running
        finally:
            for one in running:
                one.kill()
                one.wait()
                for pipe in (one.stdin, one.stdout):
                    if pipe is not None and not pipe.closed:
                        pipe.close()


def node_rivals() -> tuple[list[NodeRival], dict[str, str]]:
    """Those that can run here, and why the others cannot."""
    cache = Path(os.environ.get(CACHE) or default_root())
    node = _newest_node(cache)
    if node is None:
        return [], dict.fromkeys(("proper-lockfile", "openclaw"), "node is not installed")
    found, absent = [], {}
    modules = [folder / "node_modules" for folder in (Path.cwd(), *Path.cwd().parents)]
    modules += [folder / "node_modules" for folder in _versions(cache / "openclaw")]
    proper = next((at for one in modules if (at := one / "proper-lockfile" / "index.js").is_file()), None)
    if proper is not None:
        found.append(NodeRival("proper-lockfile", node, proper))
    else:
        absent["proper-lockfile"] = "the Node package is not installed (npm install proper-lockfile)"
    for version in _versions(cache / "openclaw"):
        if (bundle := _lock_bundle(version / "node_modules" / "openclaw" / "dist")) is not None:
            found.append(NodeRival(f"openclaw {version.name}", node, bundle))
            break
    else:
        absent["openclaw"] = "no installed version with a session lock (lockjaw run ... --target openclaw@VERSION)"
    return found, absent


def _newest_node(cache: Path) -> Path | None:
    for folder in _versions(cache / "node"):
        for binary in folder.glob("node_modules/node-*/bin/node"):
            return binary
    node = shutil.which("node")
    return Path(node) if node else None


def _versions(folder: Path) -> list[Path]:
    """Folders named by a version, newest first."""
    named = [path for path in folder.glob("[0-9]*") if path.is_dir()]
    return sorted(named, key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)], reverse=True)


def _lock_bundle(dist: Path) -> Path | None:
    """The file of a bundle in which the session lock is defined."""
    for path in sorted(dist.glob("session-write-lock*.js")):
        if f"function {_OPENCLAW_LOCK}" in path.read_text(encoding="utf-8", errors="replace"):
            return path
    return None


def _told(process: subprocess.Popen[bytes], limit_s: float) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(_line(process, limit_s))
    return told


def _line(process: subprocess.Popen[bytes], limit_s: float) -> bytes:
    """The next line that a contender says. Raises TimeoutError."""
    assert process.stdout is not None
    until, line = time.monotonic() + limit_s, b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            raise TimeoutError(f"a Node contender said nothing for {limit_s:g} s")
        piece = os.read(process.stdout.fileno(), 1 << 20)
        if not piece:
            raise ChildProcessError(f"a Node contender ended with status {process.wait()}")
        line += piece
        if b"\n" in line:
            # At most one line is outstanding: "ready" is read before anything else is said.
            return line.partition(b"\n")[0] if line.endswith(b"\n") else line.rpartition(b"\n")[0]
    return line
