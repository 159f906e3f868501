"""What the servers of ``lockjaw serve`` share: how they start, say that they are ready, and end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lockjaw.cli.options import check_file_to_write
from lockjaw.clock import ScaledClock
from lockjaw.process import announce_ready, recorder_from_environment
from lockjaw.visible import tell

__all__ = ["Start"]

T = TypeVar("T")


@dataclass(frozen=True)
class Start:
    """What every server of ``lockjaw serve`` is started with."""

    what: str
    host: str
    port: int
    journal: Path | None
    seed: int
    allow_remote: bool
    ready_fd: int | None

    def run(
        self,
        serve: Callable[..., Coroutine[Any, Any, T]],
        *subject: object,
        records: bool = False,
        **options: object,
    ) -> T:
        """``serve(*subject, host=.., port=.., ..., **options)`` until SIGTERM or Ctrl-C ends it in order; its result.

        ``records``: it takes a recorder, and writes what it does into the history of a surrounding harness run.
        """
        check_file_to_write(self.journal)
        clock = ScaledClock.from_environment()
        if records:
            options["recorder"] = recorder_from_environment(os.environ, clock)

        def ready(pid: int, bound: int) -> None:
            announce_ready(self.ready_fd, bound)
            tell(f"{self.what} ready on {self.host}:{bound} (pid {pid}); Ctrl-C ends it")

        return asyncio.run(
            serve(
                *subject, host=self.host, port=self.port, journal=self.journal, seed=self.seed,
                allow_remote=self.allow_remote, ready=ready, clock=clock, **options,
            )
        )  # fmt: skip
