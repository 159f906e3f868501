"""The ``fake_mcp`` fixture: a tool with effects for clients that speak MCP, and the ledger that counts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from lockjaw.errors import LocalError
from lockjaw.fakes.mcp.ledger import Entry, Ledger
from lockjaw.fakes.mcp.server import PATH

__all__ = ["FakeMcp"]

_END_REAL_S = 10.0


class FakeMcp:
    """Servers of one tool that share a ledger. ``slow_s``, ``denies``, ``dies``: as ``lockjaw serve mcp`` has them."""

    def __init__(self, folder: Path, time_scale: float = 1.0) -> None:
        self._ledger, self._time_scale = Ledger(folder / "ledger.jsonl"), time_scale
        self._running: list[subprocess.Popen[bytes]] = []

    def command(self, *, tool: str = "pay", slow_s: float = 0.0, denies: int = 0, dies: int = 0) -> list[str]:
        """The command that a client's configuration names for a server over stdio."""
        options = [
            "--tool",
            tool,
            "--slow",
            f"{slow_s * self._time_scale:g}",
            "--deny",
            str(denies),
            "--die",
            str(dies),
        ]
        return [sys.executable, "-P", "-m", "lockjaw", "serve", "mcp", "--ledger", str(self._ledger.path), *options]

    def serve(self, *, tool: str = "pay", slow_s: float = 0.0, denies: int = 0, dies: int = 0) -> str:
        """Start a server over HTTP; its address. It ends with the test. Raises LocalError if it does not come up."""
        read, write = os.pipe()
        command = self.command(tool=tool, slow_s=slow_s, denies=denies, dies=dies)
        try:
            self._running.append(
                subprocess.Popen(  # noqa: S603 - our own program
                    [*command, "--http", "--ready-fd", str(write)], pass_fds=[write], stdin=subprocess.DEVNULL
                )
            )
        finally:
            os.close(write)
        with open(read, encoding="utf-8") as pipe:
            line = pipe.readline()
        if not line:
            raise LocalError(f"the MCP server did not come up: {' '.join(command)} --http")
        return f"http://127.0.0.1:{json.loads(line)['port']}{PATH}"

    @property
    def calls(self) -> list[Entry]:
        """Every call so far, those that were denied among them."""
        return self._ledger.entries()

    @property
    def effects(self) -> dict[str, int]:
        """Tool and arguments -> how often this very call had its effect; ``{'pay {"what":"bill"}': 1}``."""
        return self._ledger.effects()

    def __enter__(self) -> FakeMcp:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._running:
            process.terminate()
        for process in self._running:
            try:
                process.wait(_END_REAL_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
