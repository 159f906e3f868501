"""Measurements with several processes, all forked from this one and all ended by it.

Contenders share one anonymous memory map: a row of five numbers each. What they tell they tell there; a contender
that starves tells by the wait that it began and never ended.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import shutil
import signal
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from .contestants import Contestant

_ROW = struct.Struct("5q")  # acquisitions, longest wait ns, waiting since ns (0: not), cpu ns, ready
_GO = struct.Struct("2q")  # start ns, end ns
_STAMP = struct.Struct("q")
_SAMPLES = 4096


@dataclass(frozen=True)
class Contention:
    """``waits_s``: each contender's longest wait, one that did not end included."""

    per_second: float
    jain: float
    longest_s: float
    fair_s: float
    least: int
    most: int
    starving: int
    waits_s: tuple[float, ...]


class Crowd:
    """Forked processes and their shared rows; a context manager that kills and reaps them."""

    def __init__(self, count: int, work: Callable[[Crowd, int], None]) -> None:
        self.count, self._work = count, work
        self._map = mmap.mmap(-1, mmap.PAGESIZE + count * _ROW.size + (count * _SAMPLES + 1) * 8)
        self._samples_at = mmap.PAGESIZE + count * _ROW.size
        self.pids: list[int] = []

    def __enter__(self) -> Crowd:
        for number in range(self.count):
            pid = os.fork()
            if pid == 0:
                try:
                    signal.signal(signal.SIGINT, signal.SIG_DFL)
                    self._work(self, number)
                finally:
                    os._exit(0)
            self.pids.append(pid)
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self.pids:
            self.kill(pid)
        for pid in self.pids:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass  # reaped by the measurement
        self._map.close()

    @staticmethod
    def kill(pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    # what contenders and the measurement tell each other

    def row(self, number: int) -> tuple[int, ...]:
        return _ROW.unpack_from(self._map, mmap.PAGESIZE + number * _ROW.size)

    def tell(self, number: int, *values: int) -> None:
        _ROW.pack_into(self._map, mmap.PAGESIZE + number * _ROW.size, *values)

    def go(self, duration_s: float) -> int:
        """Wait until all are ready, then set start and end. -> the end."""
        until = time.monotonic() + 60.0
        while not all(self.row(number)[4] for number in range(self.count)) and time.monotonic() < until:
            time.sleep(0.002)
        start = time.perf_counter_ns() + 20_000_000
        end = start + int(duration_s * 1e9)
        _GO.pack_into(self._map, 0, start, end)
        return end

    def wait_for_go(self, number: int) -> int:
        """In a contender. -> the end."""
        self.tell(number, 0, 0, 0, 0, 1)
        while not (times := _GO.unpack_from(self._map, 0))[0]:
            time.sleep(0.002)
        time.sleep(max(0.0, (times[0] - time.perf_counter_ns()) / 1e9))
        return int(times[1])

    def stamp(self, number: int, now_ns: int) -> None:
        _GO.pack_into(self._map, 64, now_ns, number)

    def stamped(self, number: int) -> int:
        """When the last release began; 0 if it was this contender's own: a lock that its releaser takes again at once
        was handed to nobody."""
        now_ns, releaser = _GO.unpack_from(self._map, 64)
        return 0 if releaser == number else int(now_ns)

    def take(self, number: int) -> None:
        """This contender holds the lock now."""
        _STAMP.pack_into(self._map, 128, number + 1)

    def taken_by_another(self, number: int) -> bool:
        return int(_STAMP.unpack_from(self._map, 128)[0]) != number + 1

    def sample(self, number: int, index: int, value: int) -> None:
        _STAMP.pack_into(self._map, self._samples_at + (number * _SAMPLES + index % _SAMPLES) * 8, value)

    def samples(self, number: int, count: int) -> list[int]:
        at = self._samples_at + number * _SAMPLES * 8
        return list(struct.unpack_from(f"{min(count, _SAMPLES)}q", self._map, at))


def contend(contestant: Contestant, folder: Path, processes: int, hold_s: float, duration_s: float) -> Contention:
    """Everybody takes the lock again and again, at once."""
    if contestant.node is not None:
        start, end, told = contestant.node.spans(folder, processes, hold_s, duration_s, "contend")
        taken, waited_s = [], []
        for one in told:
            spans = [span for span in one["spans"] if span[1] <= end]
            lengths = [got - wanted for wanted, got, _ in spans]
            if (begun := one.get("unfinished", 0)) or len(spans) < len(one["spans"]):
                lengths.append(end - max(start, begun or one["spans"][-1][0]))
            taken.append(len(spans))
            waited_s.append(max(lengths, default=end - start) / 1e9)
        return _judged(taken, tuple(waited_s), duration_s)

    def work(crowd: Crowd, number: int) -> None:
        _loop(crowd, number, contestant, folder, hold_s, handoff=False)

    with Crowd(processes, work) as crowd:
        end = crowd.go(duration_s)
        start = end - int(duration_s * 1e9)
        time.sleep(max(0.0, (end - time.perf_counter_ns()) / 1e9))
        rows = [crowd.row(number) for number in range(processes)]
    counts = [row[0] for row in rows]
    waits = tuple(max(row[1], (end - max(row[2], start)) if row[2] else 0, 0) / 1e9 for row in rows)
    return _judged(counts, waits, duration_s)


def _judged(counts: list[int], waits: tuple[float, ...], duration_s: float) -> Contention:
    processes = len(counts)
    total = sum(counts)
    squares = sum(count * count for count in counts)
    return Contention(
        per_second=total / duration_s,
        jain=total * total / (processes * squares) if squares else 0.0,
        longest_s=max(waits),
        fair_s=processes * duration_s / total if total else duration_s,
        least=min(counts),
        most=max(counts),
        starving=sum(count * processes < total / 4 or count == 0 for count in counts),
        waits_s=waits,
    )


def handoff(contestant: Contestant, folder: Path, waiters: int, duration_s: float) -> list[float]:
    """Seconds from the begin of a release to the next acquire, with that many waiters."""
    if contestant.node is not None:
        _, _, told = contestant.node.spans(folder, waiters + 1, 0.002, duration_s, "handoff")
        turns = sorted((got, left, number) for number, one in enumerate(told) for _, got, left in one["spans"])
        return [(b[0] - a[1]) / 1e9 for a, b in pairwise(turns) if a[2] != b[2] and b[0] > a[1]]

    def work(crowd: Crowd, number: int) -> None:
        _loop(crowd, number, contestant, folder, 0.002, handoff=True)

    with Crowd(waiters + 1, work) as crowd:
        end = crowd.go(duration_s)
        time.sleep(max(0.0, (end - time.perf_counter_ns()) / 1e9))
        return [
            value / 1e9
            for number in range(waiters + 1)
            for value in crowd.samples(number, crowd.row(number)[0])[2:]
            if value
        ]


def _behind_a_holder(contestant: Contestant, folder: Path) -> Callable[[Crowd, int], None]:
    """The work of a crowd whose first contender takes the lock and keeps it; the others wait for it, and tell when they
    have it."""

    def work(crowd: Crowd, number: int) -> None:
        acquire, _ = contestant.open(str(folder / "s.jsonl"))
        if number == 0:
            acquire()
            crowd.tell(0, 1, 0, 0, 0, 1)
            time.sleep(3600)
        while not crowd.row(0)[0]:
            time.sleep(0.001)
        crowd.tell(number, 0, 0, 0, 0, 1)
        acquire()
        crowd.tell(number, 1, time.perf_counter_ns(), 0, 0, 1)
        time.sleep(3600)

    return work


def recover(contestant: Contestant, folder: Path, limit_s: float) -> float | None:
    """Seconds from SIGKILL of the holder to the acquire of one waiter; None if not within the limit."""
    if contestant.node is not None:
        return contestant.node.recover(folder, limit_s)
    with Crowd(2, _behind_a_holder(contestant, folder)) as crowd:
        crowd.go(0.0)
        time.sleep(0.06)  # the waiter waits in earnest
        killed = time.perf_counter_ns()
        crowd.kill(crowd.pids[0])
        os.waitpid(crowd.pids[0], 0)  # a zombie still answers to its pid, by which some locks judge
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            if crowd.row(1)[0]:
                return (crowd.row(1)[1] - killed) / 1e9
            time.sleep(0.001)
    return None


def wait_cpu(contestant: Contestant, folder: Path, waiters: int, duration_s: float) -> float:
    """CPU seconds that all waiters together use while they wait for that long."""
    with Crowd(waiters + 1, _behind_a_holder(contestant, folder)) as crowd:
        crowd.go(0.0)
        time.sleep(0.2)  # all have begun to wait
        before = [_cpu_s(pid) for pid in crowd.pids[1:]]
        time.sleep(duration_s)
        return sum(_cpu_s(pid) for pid in crowd.pids[1:]) - sum(before)


def storm(contestant: Contestant, folder: Path, contenders: int, rounds: int) -> tuple[int, int]:
    """All find one stale lock file at the same instant. -> (rounds with two owners at once, rounds)."""
    session, witness = str(folder / "s.jsonl"), folder / "witness"
    stale = Path(f"{session}{contestant.lock_file}" if contestant.lock_file else f"{session}.filelock")
    body = '{"pid": 4194303, "createdAt": "2026-05-14T07:35:46.405Z"}' if contestant.lock_file else "4194303\n"
    overlaps = 0
    for _ in range(rounds):

        def work(crowd: Crowd, number: int) -> None:
            acquire, release = contestant.open(session)
            crowd.wait_for_go(number)
            acquire()
            try:
                os.close(os.open(witness, os.O_CREAT | os.O_EXCL))
                clash = 0
            except FileExistsError:
                clash = 1
            time.sleep(0.006)
            if not clash:
                witness.unlink()
            crowd.tell(number, 1, clash, 0, 0, 1)
            release()

        stale.write_text(body)
        with Crowd(contenders, work) as crowd:
            crowd.go(0.0)
            until = time.monotonic() + 0.5  # who judged the stale file has acted by then
            while time.monotonic() < until and not all(crowd.row(number)[0] for number in range(contenders)):
                time.sleep(0.002)
            overlaps += any(crowd.row(number)[1] for number in range(contenders))
        for left in folder.iterdir():
            if left.name not in ("s.jsonl.guard", "s.jsonl.body.guard"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return overlaps, rounds


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/schedstat").read_text().split()  # nanoseconds on a processor; /proc/stat has ticks only
    return int(fields[0]) / 1e9


def _loop(crowd: Crowd, number: int, contestant: Contestant, folder: Path, hold_s: float, *, handoff: bool) -> None:
    path = str(folder / "s.jsonl")
    count = longest = 0
    clock = time.perf_counter_ns

    def got(begun: int) -> None:
        nonlocal count, longest
        now = clock()
        if handoff and (stamp := crowd.stamped(number)):
            crowd.sample(number, count, now - stamp)
        if handoff:
            crowd.take(number)
        count, longest = count + 1, max(longest, now - begun)
        crowd.tell(number, count, longest, 0, 0, 1)

    if contestant.open_async is not None:
        opened = contestant.open_async

        async def run() -> None:
            acquire, release = opened(path)
            await acquire()
            await release()
            end = crowd.wait_for_go(number)
            while (begun := clock()) < end:
                crowd.tell(number, count, longest, begun, 0, 1)
                await acquire()
                got(begun)
                if hold_s:
                    await asyncio.sleep(hold_s)
                crowd.stamp(number, clock())
                await release()
                while handoff and not crowd.taken_by_another(number) and clock() < end:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)

        asyncio.run(run())
        return
    acquire, release = contestant.open(path)
    acquire()  # once before the start: files are open, code is loaded
    release()
    end = crowd.wait_for_go(number)
    while (begun := clock()) < end:
        crowd.tell(number, count, longest, begun, 0, 1)
        acquire()
        got(begun)
        if hold_s:
            time.sleep(hold_s)
        crowd.stamp(number, clock())
        release()
        while handoff and not crowd.taken_by_another(number) and clock() < end:
            time.sleep(0.001)  # a polling lock would go to its releaser again, and there would be nothing to measure
