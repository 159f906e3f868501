"""Where the time of a hand-off goes: two processes, a stamp around every call to the kernel, one middle hand-off shown.

    python tests/benchmarks/handoff_budget.py

R is the process that gives the lock back, W the one that waits for it; ``call@begin+duration`` in microseconds since
the release began.
"""

from __future__ import annotations

import json
import mmap
import os
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lockjaw.locking import SessionLock
from lockjaw.locking.alarms import Alarms
from lockjaw.locking.kernel import Kernel
from lockjaw.locking.posix_locks import DescriptionLocks

TURNS = 150
STAMPED: tuple[tuple[type[Any], str], ...] = (
    *((Kernel, name) for name in ("read", "write", "look", "unlink", "link", "exists", "ring", "close", "give_way")),
    (DescriptionLocks, "lock"),
    (Alarms, "sleep"),
    (Alarms, "heard"),
    (Alarms, "close"),
)
Stamps = list[tuple[int, int, str, str]]


def stamp_calls(stamps: Stamps, who: str) -> None:
    def stamped(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def perform(*arguments: Any) -> Any:
            begin = time.perf_counter_ns()
            try:
                return call(*arguments)
            finally:
                stamps.append((begin, time.perf_counter_ns(), who, name))

        return perform

    for kind, name in STAMPED:
        setattr(kind, name, stamped(name, getattr(kind, name)))


def take_turns(path: str, who: str, shared: mmap.mmap) -> Stamps:
    stamps: Stamps = []
    stamp_calls(stamps, who)
    lock = SessionLock(path, timeout=60.0)
    for turn in range(TURNS):
        lock.acquire()
        now = time.perf_counter_ns()
        stamps.append((now, now, who, "HELD"))
        shared[0] = ord(who)
        time.sleep(0.002)
        now = time.perf_counter_ns()
        stamps.append((now, now, who, "RELEASE"))
        lock.release()
        while turn < TURNS - 1 and shared[0] == ord(who):
            time.sleep(0.0005)  # the lock shall go to the other one
    return stamps


def main() -> None:
    with tempfile.TemporaryDirectory(dir=".", prefix=".lockjaw-bench-") as folder:
        path, shared = str(Path(folder).resolve() / "s.jsonl"), mmap.mmap(-1, mmap.PAGESIZE)
        told = Path(folder) / "told"
        pid = os.fork()
        if pid == 0:
            told.write_text(json.dumps(take_turns(path, "W", shared)))
            os._exit(0)
        stamps = take_turns(path, "R", shared)
        os.waitpid(pid, 0)
        stamps = sorted([*stamps, *(tuple(one) for one in json.loads(told.read_text()))])
    handoffs = []
    for at, (begin, _, who, name) in enumerate(stamps):
        if name == "RELEASE":
            held = next((one for one in stamps[at:] if one[3] == "HELD" and one[2] != who), None)
            if held is not None:
                handoffs.append((held[0] - begin, begin, held[0], who))
    handoffs.sort()
    took, begin, end, releaser = handoffs[len(handoffs) // 2]
    print(f"{len(handoffs)} hand-offs, p50 {took / 1000:.0f} us; that one:")
    for label, ours in (("R", True), ("W", False)):
        calls = " ".join(
            f"{name}@{(first - begin) / 1000:.0f}+{(last - first) / 1000:.0f}"
            for first, last, who, name in stamps
            if (who == releaser) is ours and last >= begin and first <= end
        )
        print(textwrap.fill(f"{label}: {calls}", 80, subsequent_indent="   "))


if __name__ == "__main__":
    main()
