"""``lockjaw bench locks``: run, show, keep."""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path
from types import FrameType

from . import plot, tables
from .run import FULL, QUICK, run


def bench_locks(*, full: bool, as_json: bool, out: Path | None) -> int:
    """Measure in the current folder's file system. -> exit status; 130 after Ctrl-C, with what there is until then.

    ``out``: a folder for ``locks.json``, ``locks.md`` and ``locks.svg``; created if absent.
    """
    interrupts = _Interrupts()
    clear = "\r\033[K" if sys.stderr.isatty() else ""
    said = ""

    def progress(what: str) -> None:
        nonlocal said
        interrupts.check()
        if clear:
            print(f"{clear}{what[:78]}", end="", file=sys.stderr, flush=True)
        elif (headline := re.split(r"[,:(]", what)[0].strip()) != said:
            said = headline
            print(headline, file=sys.stderr, flush=True)

    with interrupts:
        result = run(FULL if full else QUICK, out.parent if out and out.parent.is_dir() else Path.cwd(), progress)
    if clear:
        print(clear, end="", file=sys.stderr)
    text = tables.markdown(result)
    document = json.dumps(result.document(), indent=2)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "locks.json").write_text(document + "\n")
        (out / "locks.md").write_text(text)
        if cases := list(result.figures[0].contention):
            (out / "locks.svg").write_text(plot.svg(list(result.figures), cases[min(1, len(cases) - 1)]))
    sys.stdout.write(document + "\n" if as_json else text)
    if result.interrupted:
        print("interrupted: the figures are those of what had been measured", file=sys.stderr)
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
