"""What the servers of ``lockjaw serve`` share: how they start, say that they are ready, and end."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path

from lockjaw.cli.options import check_file_to_write
from lockjaw.clock import ScaledClock
from lockjaw.fakes.serving import FakeServer, serve
from lockjaw.history import Recorder
from lockjaw.process import announce_ready, recorder_from_environment
from lockjaw.visible import tell

__all__ = ["Start"]


@dataclass(frozen=True)
class Start:
    """What every server of ``lockjaw serve`` is started with. Raises UsageError if the journal cannot be written."""

    what: str
    host: str
    port: int
    journal: Path | None
    allow_remote: bool
    ready_fd: int | None
    clock: ScaledClock = field(default_factory=ScaledClock.from_environment)

    def __post_init__(self) -> None:
        check_file_to_write(self.journal)

    @property
    def recorder(self) -> Recorder:
        """Into the history of a surrounding harness run; into nothing if there is none."""
        return recorder_from_environment(os.environ, self.clock)

    def run(self, server: FakeServer) -> list[str]:
        """Serve until SIGTERM or Ctrl-C ends it in order; what did not go by its script, if it has one."""

        def ready(pid: int, bound: int) -> None:
            announce_ready(self.ready_fd, bound)
            tell(f"{self.what} ready on {self.host}:{bound} (pid {pid}); Ctrl-C ends it")

        return asyncio.run(serve(server, self.host, self.port, allow_remote=self.allow_remote, ready=ready))
