"""Kills a hundred writers of one session's database, and looks at it after each: ``row_writer.py FILE``.

Each writer is a fork that appends and says the id of each entry that it was told is appended. It is killed at some
moment after a few of them, most often in the middle of a transaction. Prints how many entries there are in the end.

``row_writer.py sessions.sqlite`` does so with the list of sessions: its writers count up, and say each count.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from lockjaw.clock import ScaledClock
from lockjaw.files import LOCAL_FILES
from lockjaw.sessions import RowStore, Transcript, claim_of, read_entries

WRITERS = 100
ID_BYTES = 8
LONGEST_S = 0.003  # an append takes about one


def write(path: Path, generation: int, out: int) -> None:
    transcript = Transcript.open(
        path, session_id="s", cwd=path.parent, clock=ScaledClock.start(), ids=random.Random(generation),
        generation=generation, run_id=f"run {generation}",
    )  # fmt: skip
    while True:
        os.write(out, transcript.append_custom("note", {"by": generation}).encode())


def count(path: Path, generation: int, out: int) -> None:
    store = RowStore(path, clock=ScaledClock.start(), wait_s=60.0, blocks=True)

    def add(entry: dict[str, Any]) -> None:
        entry["count"] = entry.get("count", 0) + 1

    while True:
        entry = asyncio.run(store.update("k", add))
        os.write(out, f"{entry['count']:0{ID_BYTES}}".encode())


def main() -> None:
    path, moments, told = Path(sys.argv[1]), random.Random(1), set()
    counts = path.name == "sessions.sqlite"
    for generation in range(1, WRITERS + 1):
        out, into = os.pipe()
        child = os.fork()
        if not child:
            os.close(out)
            (count if counts else write)(path, generation, into)
        os.close(into)
        data = os.read(out, ID_BYTES)
        time.sleep(moments.uniform(0, LONGEST_S))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while piece := os.read(out, 65_536):
            data += piece
        os.close(out)
        told |= {data[n : n + ID_BYTES].decode() for n in range(0, len(data), ID_BYTES)}
        if counts:
            entry = RowStore(path, clock=ScaledClock.start(), wait_s=60.0).read()["k"]
            assert entry["count"] in (int(max(told)), int(max(told)) + 1), (generation, entry)
            continue
        report = read_entries(path)
        assert not report.problems, (generation, report.problems)
        lost = told - {entry.id for entry in report.entries}
        assert not lost, (generation, lost)
        claim = claim_of(LOCAL_FILES, path)
        assert claim is not None
        assert (claim.generation, claim.pid) == (generation, child), claim
    print(max(told) if counts else len(read_entries(path).entries), len(told))


if __name__ == "__main__":
    main()
