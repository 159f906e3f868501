"""What a contender of the torture does; see ``torture``. Needs nothing but the lock: Windows runs it, too."""

import asyncio
import mmap
import os
import random
import struct

from lockjaw.clock import ScaledClock
from lockjaw.locking import SessionLock, SessionLocked

INSIDE, OVERLAPS, GENERATION, FALLS, TOTAL = range(0, 40, 8)
TIMED_OUT, CANCELLED = 2048, 3072  # one word for each contender
SIZE = 8192


class Shared:
    """Words that all contenders see: of memory that children inherit, or of a file."""

    def __init__(self, path=None):
        if path is None:
            self._map = mmap.mmap(-1, SIZE)
            return
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), SIZE)

    def get(self, at):
        return struct.unpack_from("q", self._map, at)[0]

    def set(self, at, value):
        struct.pack_into("q", self._map, at, value)

    def add(self, at):
        self.set(at, self.get(at) + 1)


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
                    shared.add(CANCELLED + number * 8)
                    continue
            else:
                held = lock.acquire()
        except SessionLocked:
            if patient:
                os._exit(3)  # a lost waiter
            shared.add(TIMED_OUT + number * 8)
            continue
        if shared.get(INSIDE) not in (0, number + 1):
            shared.set(OVERLAPS, shared.get(OVERLAPS) + 1)
        shared.set(INSIDE, number + 1)
        if held.generation <= shared.get(GENERATION):
            shared.set(FALLS, shared.get(FALLS) + 1)
        shared.set(GENERATION, held.generation)
        shared.set(TOTAL, shared.get(TOTAL) + 1)
        shared.add(mine)
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
