"""``lockjaw bench locks``: run, show, keep."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from lockjaw.cli.options import JsonFlag
from lockjaw.cli.progress import progress
from lockjaw.harness.bench import plot, tables
from lockjaw.harness.bench.run import FULL, QUICK, run
from lockjaw.visible import show_json, show_text, tell

__all__ = ["locks"]


def locks(
    full: Annotated[bool, typer.Option("--full/--quick", help="Everything (about 20 minutes), or one minute.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for locks.json, locks.md and locks.svg.")] = None,
    as_json: JsonFlag = False,
) -> int:
    """Our session lock, its rivals and lock libraries side by side: speed, and who starves.

    Measures in the current folder's file system. Exit status: 0, or 130 after Ctrl-C, with the figures until then.
    """
    interrupts = _Interrupts()
    with progress(quiet=False) as shown:

        def measuring(what: str) -> None:
            interrupts.check()
            shown.update(what)

        with interrupts:
            result = run(FULL if full else QUICK, out.parent if out and out.parent.is_dir() else Path.cwd(), measuring)
    text = tables.markdown(result)
    document = json.dumps(result.document(), indent=2, allow_nan=False)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "locks.json").write_text(document + "\n")
        (out / "locks.md").write_text(text)
        if cases := list(result.figures[0].contention):
            (out / "locks.svg").write_text(plot.svg(list(result.figures), cases[min(1, len(cases) - 1)]))
    if as_json:
        show_json(document)
    else:
        show_text(text)
    if result.interrupted:
        tell("interrupted: the figures are those of what had been measured")
        return 130
    return 0


class _Interrupts:
    """Ctrl-C, remembered. Where it comes in the middle of a fork, Python drops the exception with which it is told: the
    hooks of logging and filelock run there, and what they raise is ignored."""

    def __init__(self) -> None:
        self._came = False

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, self._note)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        if self._came:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came = True
        signal.default_int_handler(number, frame)
