"""A process that holds session locks with the real program's own code."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from lockjaw.errors import HarnessError

from ...real.actors import environment
from .. import launch
from ..namespace import Doors
from .cache import Installed

_SCRIPT = Path(__file__).with_name("holder.mjs")


class RealHolder:
    """One Node.js process with the version's ``acquireSessionWriteLock``. Use as a context: it ends with it.

    Raises:
        HarnessError: the version has no such lock, or the process ended.
    """

    def __init__(self, installed: Installed, session_file: Path, doors: Doors | None = None) -> None:
        command = [str(installed.node), str(_SCRIPT), str(installed.package / "dist"), str(session_file)]
        self._process = subprocess.Popen(
            launch.arguments(doors, command) if doors else command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=environment({"PATH": "/usr/bin:/bin"}, HOME=session_file.parent), text=True, start_new_session=True,
        )  # fmt: skip
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    @property
    def process(self) -> subprocess.Popen[str]:
        return self._process

    def ask(self, timeout_ms: int = 10_000) -> None:
        """Begin to acquire; ``held`` or ``answer`` tells how it went."""
        self._write(f"acquire {timeout_ms}")

    def answer(self) -> dict[str, Any]:
        """What came of the last command: ``{"held": true}``, ``{"released": true}`` or ``{"error": text}``."""
        return self._read()

    def acquire(self, timeout_ms: int = 10_000) -> dict[str, Any]:
        self.ask(timeout_ms)
        return self.answer()

    def release(self) -> dict[str, Any]:
        self._write("release")
        return self.answer()

    def close(self) -> None:
        """End the process and reap it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> RealHolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise HarnessError("the real lock holder ended")
        found: dict[str, Any] = json.loads(line)
        if found.get("error", "").startswith("this version has no"):
            raise HarnessError(str(found["error"]))
        return found
