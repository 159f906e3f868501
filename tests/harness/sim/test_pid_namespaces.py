"""The simulation's pid namespaces: a container's pids mean somebody else on the machine, which sees its processes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lockjaw.errors import SessionLocked
from lockjaw.harness.sim.disk import Disk
from lockjaw.harness.sim.engine import enclosed
from lockjaw.harness.sim.locks import SimHost, Waiters
from lockjaw.harness.sim.process import Process, SimClock
from lockjaw.harness.sim.tape import SparseChoices
from lockjaw.harness.sim.world import World
from lockjaw.locking import SessionLock
from lockjaw.locking.owner_record import OwnerRecord, body

PATH = "/sim/s.jsonl"


@pytest.mark.parametrize(
    ("owner_in", "contender_in", "reclaimed_at_s"),
    [(2, 1, 5.0), (1, 2, 0.0), (2, 3, 0.0)],
    ids=["seen from the machine", "outside of the contender's container", "in a sibling container"],
)
def test_foreign_owner_in_another_namespace_counts_as_alive_where_it_can_be_seen(
    owner_in: int, contender_in: int, reclaimed_at_s: float
) -> None:
    """Where it cannot be seen, it is robbed: the limit that docs/choosing-a-lock.md names."""
    world, waiters = World(SparseChoices({})), Waiters()
    disk = Disk(lambda: world.now)
    disk.changed = waiters.changed
    disk.make_folder("/sim")
    told: list[Any] = []

    async def contend(process: Process) -> None:
        host = SimHost(process, disk, waiters)
        with pytest.raises(SessionLocked) if reclaimed_at_s else pytest.MonkeyPatch.context():
            async with SessionLock(PATH, timeout=1.0, clock=SimClock(process), host=host) as held:
                told.append((world.now, held.reclaimed))
        if not told:
            async with SessionLock(PATH, timeout=60.0, clock=SimClock(process), host=host) as held:
                told.append((world.now, held.reclaimed))
        world.at(world.now, world.kill, process, 0)

    def play() -> None:
        owner = world.start("owner", "foreign", namespace=owner_in)
        owner.at_death.append(waiters.changed)
        file = disk.open(f"{PATH}.lock", 0o101, None)
        disk.write(file, body(OwnerRecord(owner.pid, 0, owner.starttime)), 0)
        assert json.loads(bytes(file.inode.data))["pid"] == owner.pid
        world.at(5.0, world.kill, owner)
        contender = world.start("contender", "contender", namespace=contender_in)
        contender.spawn(contend(contender), "contender")
        world.run(100.0, done=lambda: not contender.alive)

    enclosed(world, play)
    ((at_s, reclaimed),) = told
    assert reclaimed == "dead-pid"
    assert reclaimed_at_s <= at_s < reclaimed_at_s + 0.5
