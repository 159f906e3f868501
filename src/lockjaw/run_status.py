"""What ``lockjaw run`` and ``replay`` say on stderr while they work: on a terminal live lines, else one now and then.

Nothing of it reaches stdout, and nothing is said with ``--json``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lockjaw.harness.run import Progress
from lockjaw.history import Record
from lockjaw.reports.progress import LiveProgress

EVERY_S = 5.0  # between two lines where there is no terminal: a CI log should neither fall silent nor fill up


class RunStatus:
    """Told which runs begin, and every record of theirs. ``total``: groups of runs that are planned, one at a time."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, -1
        self.title = ""
        self.live = LiveProgress()

    def begin(self, what: str, policies: Sequence[str]) -> None:
        """The next group. ``what``: such as ``gateway_timeout, seed 1``."""
        self.done += 1
        self.title = f"{what} ({self.done + 1} of {self.total})" if self.total > 1 else what
        self.live.begin(self.title, policies)

    @property
    def record(self) -> Progress | None:
        """What the runs tell their records to; None: nobody looks."""
        return None


class _Lines(RunStatus):
    """No terminal: a line when a group begins and the last line is some seconds old."""

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self._told_s = time.monotonic()

    def begin(self, what: str, policies: Sequence[str]) -> None:
        super().begin(what, policies)
        if time.monotonic() - self._told_s >= EVERY_S:
            self._told_s = time.monotonic()
            print(f"{self.done} of {self.total} done; now {what}", file=sys.stderr, flush=True)


class _Live(RunStatus):
    @property
    def record(self) -> Progress | None:
        return self._tell

    def _tell(self, policy: str, record: Record) -> None:
        self.live.record(policy, record)


@contextmanager
def run_status(total: int = 1, *, quiet: bool) -> Iterator[RunStatus]:
    """Say on stderr how far the runs are.

    Raises:
        KeyboardInterrupt: Ctrl-C; the screen is clean, and the exception says what was finished.
    """
    status = _kind(quiet)(total)
    try:
        if isinstance(status, _Live):
            from rich.console import Console
            from rich.live import Live

            # Redrawn by rich's own thread eight times a second, not with each record: a simulated run has thousands.
            with Live(status.live, console=Console(stderr=True), refresh_per_second=8, transient=True):
                yield status
        else:
            yield status
    except KeyboardInterrupt:
        done = f"; {max(status.done, 0)} of {total} are finished and keep their folders" if total > 1 else ""
        during = f" during {status.title}" if status.title else ""
        raise KeyboardInterrupt(f"Interrupted{during}{done}.") from None


def _kind(quiet: bool) -> type[RunStatus]:
    if quiet:
        return RunStatus
    terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return _Live if terminal else _Lines
