"""A lock under everything at once, with a witness that knows nothing of locks.

    python tests/locking/torture.py            a scaled-down run, seconds
    python tests/locking/torture.py --full     200,000 acquisitions over 16 processes, 2,000 storms of 16

Sixteen processes take one lock again and again while a nemesis kills (and replaces), stops and continues them and
while they give up waits. The witness is a word of shared memory: who is inside writes its number there, and whoever
finds another's number has met a second owner. A killed owner's number is wiped by the nemesis, after the kill.
"""

import argparse
import asyncio
import mmap
import os
import random
import signal
import struct
import sys
import tempfile
import time
from pathlib import Path

from lockjaw.clock import ScaledClock
from lockjaw.locking import SessionLock, SessionLocked

PROCESSES = 16
INSIDE, OVERLAPS, GENERATION, FALLS, TOTAL, GAVE_UP = range(0, 48, 8)


class Shared:
    def __init__(self):
        self._map = mmap.mmap(-1, 8192)

    def get(self, at):
        return struct.unpack_from("q", self._map, at)[0]

    def set(self, at, value):
        struct.pack_into("q", self._map, at, value)


def contender(shared, file, number, seed, target):
    """Counts live in its own word; the rest is only written inside the lock."""
    rng, mine, clock = random.Random(seed), 1024 + number * 8, ScaledClock.start()
    steady, patient = SessionLock(file, timeout=120.0, clock=clock), True  # which reserves generations
    while shared.get(TOTAL) < target:
        style = rng.random()
        patient = style > 0.05
        lock = steady
        if not 0.3 < style < 0.7:
            lock = SessionLock(file, timeout=120.0 if patient else rng.random() * 0.01, clock=clock)
        try:
            if style > 0.8:
                held = asyncio.run(cancelled_now_and_then(lock, rng))
                if held is None:
                    continue
            else:
                held = lock.acquire()
        except SessionLocked:
            if patient:
                os._exit(3)  # a lost waiter
            continue
        if shared.get(INSIDE) not in (0, number + 1):
            shared.set(OVERLAPS, shared.get(OVERLAPS) + 1)
        shared.set(INSIDE, number + 1)
        if held.generation <= shared.get(GENERATION):
            shared.set(FALLS, shared.get(FALLS) + 1)
        shared.set(GENERATION, held.generation)
        shared.set(TOTAL, shared.get(TOTAL) + 1)
        shared.set(mine, shared.get(mine) + 1)
        if shared.get(INSIDE) != number + 1:
            shared.set(OVERLAPS, shared.get(OVERLAPS) + 1)
        shared.set(INSIDE, 0)
        lock.release()
    os._exit(0)


async def cancelled_now_and_then(lock, rng):
    task = asyncio.create_task(lock.acquire_async())
    await asyncio.sleep(0)
    if rng.random() < 0.3:
        await asyncio.sleep(rng.random() * 0.003)
        task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return None


def torture(target, seed=1, progress=lambda text: None):
    """-> what went wrong, as a list of sentences."""
    rng, shared, wrong = random.Random(seed), Shared(), []
    with tempfile.TemporaryDirectory(prefix="lockjaw-torture-", dir=os.environ.get("TORTURE_DIR")) as folder:
        file = str(Path(folder) / "s.jsonl")
        seeds = iter(range(10**9))

        def start(number):
            pid = os.fork()
            if pid == 0:
                try:
                    contender(shared, file, number, f"{seed}/{next(seeds)}/{os.getpid()}", target)
                finally:
                    os._exit(4)
            return pid

        pids = {number: start(number) for number in range(PROCESSES)}
        kills = stops = 0
        last, changed = 0, time.monotonic()
        while shared.get(TOTAL) < target:
            time.sleep(rng.random() * 0.05)
            number = rng.randrange(PROCESSES)
            if rng.random() < 0.5:
                os.kill(pids[number], signal.SIGKILL)
                os.waitpid(pids[number], 0)
                if shared.get(INSIDE) == number + 1:
                    shared.set(INSIDE, 0)
                pids[number] = start(number)
                kills += 1
            else:
                os.kill(pids[number], signal.SIGSTOP)
                time.sleep(rng.random() * 0.02)
                os.kill(pids[number], signal.SIGCONT)
                stops += 1
            for other, pid in list(pids.items()):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended and os.waitstatus_to_exitcode(status) != 0:
                    wrong.append(f"contender {other} ended with {os.waitstatus_to_exitcode(status)}")
                    pids[other] = start(other)
                elif ended:
                    pids[other] = start(other)
            total = shared.get(TOTAL)
            if total != last:
                last, changed = total, time.monotonic()
            elif time.monotonic() - changed > 60.0:
                wrong.append(f"nobody got the lock for 60 s, after {total}")
                break
            progress(f"{total} of {target} acquisitions, {kills} kills, {stops} stops")
        for pid in pids.values():
            os.kill(pid, signal.SIGCONT)
        until = time.monotonic() + 150.0
        left = dict(pids)
        while left and time.monotonic() < until:
            for number, pid in list(left.items()):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    del left[number]
                    if os.waitstatus_to_exitcode(status):
                        wrong.append(f"contender {number} ended with {os.waitstatus_to_exitcode(status)}")
            time.sleep(0.01)
        for number, pid in left.items():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            wrong.append(f"contender {number} was still waiting: a lost waiter")
        if shared.get(OVERLAPS):
            wrong.append(f"{shared.get(OVERLAPS)} overlaps")
        if shared.get(FALLS):
            wrong.append(f"the generation did not rise {shared.get(FALLS)} times")
        names = sorted(os.listdir(folder))
        if names != ["s.jsonl.body.guard", "s.jsonl.guard"]:
            wrong.append(f"left behind: {names}")
        progress(f"{shared.get(TOTAL)} acquisitions, {kills} kills, {stops} stops\n")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--acquisitions", type=int)
    parser.add_argument("--storms", type=int)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    acquisitions = options.acquisitions or (200_000 if options.full else 2_000)
    storms = (2_000 if options.full else 20) if options.storms is None else options.storms

    def progress(text):
        print("\r" + text, end="", flush=True)

    wrong = torture(acquisitions, options.seed, progress)
    if storms:
        from lockjaw.harness.bench.contention import storm
        from lockjaw.harness.bench.contestants import contestants

        ours = contestants()[0][0]
        with tempfile.TemporaryDirectory() as folder:
            overlaps, rounds = storm(ours, Path(folder), 16, storms)
        print(f"{overlaps} of {rounds} storms with two owners at once")
        if overlaps:
            wrong.append(f"{overlaps} storms with two owners")
    print("\n".join(wrong) or "held")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
