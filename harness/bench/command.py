"""``lockjaw bench locks``: run, show, keep."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lockjaw.harness.bench import plot, tables
from lockjaw.harness.bench.run import FULL, QUICK, run


def bench_locks(*, full: bool, as_json: bool, out: Path | None) -> int:
    """Measure in the current folder's file system. -> exit status; 130 after Ctrl-C, with what there is until then.

    ``out``: a folder for ``locks.json``, ``locks.md`` and ``locks.svg``; created if absent.
    """
    clear = "\r\033[K" if sys.stderr.isatty() else ""
    said = ""

    def progress(what: str) -> None:
        nonlocal said
        if clear:
            print(f"{clear}{what[:78]}", end="", file=sys.stderr, flush=True)
        elif (headline := what.partition(",")[0].partition(":")[0]) != said:
            said = headline
            print(headline, file=sys.stderr, flush=True)

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
