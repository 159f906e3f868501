"""The same cascade on a naive loop: the plainest way to run it in virtual time.

One stock asyncio loop whose clock jumps to the next timer, shared by all actors; no choices and no tape, no history,
no checkers, no event hash, no processes that can die. Gateway, client, models and lock are the same code. It is what
the simulation's speed is compared with.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
from collections.abc import Callable
from typing import Any

from lockjaw.fakes.models.memory import MemoryModels
from lockjaw.harness.incident.scenario import Scenario
from lockjaw.harness.sim.engine import _Timeline
from lockjaw.harness.sim.machine import Rig
from lockjaw.harness.sim.world import World
from lockjaw.history import NullRecorder
from lockjaw.seeds import Seeds

LATENCY_S = 0.0002


class _Selector(selectors.SelectSelector):
    """Waits for nobody: the time is over at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "nothing can ever happen any more"
        self.now += max(timeout, 0.0)
        return []


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)
        self._clock_resolution = 1e-9
        self.tasks: list[Any] = []  # which the simulation's own loop keeps, and this one does not

    def time(self) -> float:
        return self._clock.now


class _NoChoices:
    def __init__(self) -> None:
        self.tape: list[Any] = []

    def point(self, label: str) -> int:
        return 0

    def pick(self, label: str, bound: int) -> int:
        return 0

    def finish(self) -> None:
        return None


class _World(World):
    """Time and timers are the loop's."""

    loop: JumpingLoop

    @property
    def now(self) -> float:
        return self.loop.time()

    @now.setter
    def now(self, value: float) -> None:
        pass

    def at(self, when: float, callback: Callable[..., Any], *args: Any) -> Any:
        return self.loop.call_at(when, callback, *args)

    def latency(self, sender: str, receiver: str) -> float:
        return LATENCY_S

    def point(self, process: Any, operation: str, path: str, *args: Any, **kwargs: Any) -> int:
        return 0

    def record(self, *args: Any) -> None:
        pass

    def kill(self, process: Any, code: int = -9) -> bool:
        process.code = code
        return True


def cascade(scenario: Scenario, seed: int) -> tuple[bool, float]:
    """Run it once under takeover. Whether the user was answered, and the virtual seconds that it took."""
    loop = JumpingLoop()
    _World.loop = loop
    world = _World(_NoChoices())
    collecting = gc.isenabled()
    gc.disable()
    try:
        rig = Rig(world, scenario, "takeover", Seeds(seed).child("data"))
        start = world.start

        def started(*args: Any, **kwargs: Any) -> Any:
            process = start(*args, **kwargs)
            process.loop = loop  # type: ignore[assignment]  # of all of them
            process.spawn = lambda coro, name: loop.create_task(coro, name=name)  # type: ignore[method-assign]
            return process

        world.start = started  # type: ignore[method-assign]
        models = MemoryModels(scenario.script(), timeline=_Timeline(world), recorder=NullRecorder(), seed=seed)
        rig.gateway(models)
        client, go = rig.client(models)
        go()
        while client.code is None and loop.time() < scenario.run_limit_s:
            loop.run_until_complete(asyncio.sleep(1.0))
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.01))
        return client.code == 0, loop.time()
    finally:
        loop.close()
        if collecting:
            gc.enable()
