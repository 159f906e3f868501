"""What a verb says on stderr while it works: live lines on a terminal, else a line now and then.

Nothing of it reaches stdout, and nothing is said with ``--json``.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lockjaw.harness.run import Progress as OnRecord
from lockjaw.process import Terminated
from lockjaw.reports.progress import LiveProgress
from lockjaw.visible import tell, visible

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["EVERY_S", "Progress", "RunProgress", "progress", "run_progress"]

EVERY_S = 5.0  # between two lines where there is no terminal: a CI log should neither fall silent nor fill up


class Progress:
    """How far a verb is. This one is silent, for ``--json``; it is the base of the two that speak."""

    live = False  # is it drawn on a terminal

    def update(self, text: str, done: int = 0, total: int | None = None) -> None:
        """Where the work stands now. ``total``: where the end is known, what ``done`` will be then."""

    def say(self, line: str) -> None:
        """A line that stays."""

    def draw(self, lines: RenderableType) -> None:
        """What stands on a terminal below the line of ``update`` from now on."""


class _Lines(Progress):
    """No terminal: the newest state, when the last line is some seconds old."""

    def __init__(self, every_s: float) -> None:
        self._every_s, self._said_s = every_s, time.monotonic()

    def update(self, text: str, done: int = 0, total: int | None = None) -> None:
        now = time.monotonic()
        if text and now - self._said_s >= self._every_s:
            self._said_s = now
            self.say(text)

    def say(self, line: str) -> None:
        tell(line)


class _Screen(Progress):
    """A terminal. Drawn by rich's own thread eight times a second, not with each update: a simulated run has thousands.

    ``__rich__`` runs in that thread.
    """

    live = True

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._text, self._done, self._total = "", 0, None
        self._below: RenderableType | None = None
        self.screen = Live(self, console=Console(stderr=True), refresh_per_second=8, transient=True)

    _total: int | None

    def update(self, text: str, done: int = 0, total: int | None = None) -> None:
        self._text, self._done, self._total = visible(text), done, total

    def say(self, line: str) -> None:
        self.screen.console.print(visible(line), markup=False, highlight=False, soft_wrap=True)

    def draw(self, lines: RenderableType) -> None:
        self._below = lines

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        parts: list[RenderableType] = []
        if self._text:
            line = Table.grid(padding=(0, 1))
            bar = [ProgressBar(self._total, self._done, width=20)] if self._total else []
            line.add_row(*bar, Text(self._text))
            parts.append(line)
        return Group(*parts, *([] if self._below is None else [self._below]))


@contextmanager
def progress(*, quiet: bool, every_s: float = EVERY_S) -> Iterator[Progress]:
    """Say on stderr how far a verb is.

    Args:
        quiet: nothing at all (``--json``).
        every_s: real seconds between two lines where there is no terminal.
    """
    if quiet:
        yield Progress()
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        screen = _Screen()
        with screen.screen:
            yield screen
    else:
        yield _Lines(every_s)


class RunProgress:
    """Told which runs begin, and every record of theirs. ``total``: groups of runs that are planned, one at a time."""

    def __init__(self, total: int, shown: Progress) -> None:
        self.total, self.done = total, -1
        self.title = ""
        self._shown, self._lines = shown, LiveProgress()
        shown.draw(self._lines)

    def begin(self, what: str, policies: Sequence[str]) -> None:
        """The next group. ``what``: such as ``gateway_timeout, seed 1``."""
        self.done += 1
        self.title = f"{what} ({self.done + 1} of {self.total})" if self.total > 1 else what
        if self._shown.live:
            self._lines.begin(self.title, policies)
        else:
            self._shown.update(f"{self.done} of {self.total} done; now {what}")

    def sentence(self, what: str) -> str:
        """``Interrupted during gateway_timeout, seed 3 (3 of 120); 2 of 120 are finished and keep their folders.``"""
        done = f"; {max(self.done, 0)} of {self.total} are finished and keep their folders" if self.total > 1 else ""
        during = f" during {self.title}" if self.title else ""
        return f"{what}{during}{done}."

    @property
    def record(self) -> OnRecord | None:
        """What the runs tell their records to; None: no terminal shows them."""
        return self._lines.record if self._shown.live else None


@contextmanager
def run_progress(total: int = 1, *, quiet: bool) -> Iterator[RunProgress]:
    """Say on stderr how far the runs are.

    Raises:
        KeyboardInterrupt: Ctrl-C; the screen is clean, and the exception says what was finished.
        SystemExit: SIGTERM, of which that was said.
    """
    with progress(quiet=quiet) as shown:
        status = RunProgress(total, shown)
        try:
            yield status
        except KeyboardInterrupt as stopped:
            what = "Terminated" if isinstance(stopped, Terminated) else "Interrupted"
            raise type(stopped)(status.sentence(what)) from None
        except SystemExit as stopped:
            if stopped.code == 128 + signal.SIGTERM:
                shown.say(status.sentence("Terminated"))
            raise
