"""A fake server inside the test, its journal as awaitable entries, and a raw client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.fakes.models.script import load_model_script
from lockjaw.fakes.models.server import ModelServer
from lockjaw.history import MemoryRecorder

PATIENCE_S = 20.0  # real seconds after which a test gives up; never what it measures


class Entries:
    """Journal entries as they are written; ``wait`` returns the first that matches, past or future."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []
        self._arrived = asyncio.Event()

    def __call__(self, entry: dict[str, Any]) -> None:
        self.all.append(entry)
        self._arrived.set()

    async def wait(self, ev: str, **fields: Any) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for entry in self.all:
                    if entry["ev"] == ev and fields.items() <= entry.items():
                        return entry
                self._arrived.clear()
                await self._arrived.wait()


class Rig:
    def __init__(self, models: Mapping[str, Any], scale: float, options: dict[str, Any]) -> None:
        parts = {key: options.pop(key) for key in ("quotas", "capacity", "expect") if key in options}
        self.clock = ScaledClock.start(scale)
        self.recorder = MemoryRecorder(self.clock, "models")
        self.entries = Entries()
        self.server = ModelServer(
            load_model_script({"models": dict(models), **parts}),
            clock=self.clock,
            recorder=self.recorder,
            on_entry=self.entries,
            **options,
        )

    def records(self) -> list[tuple[str, dict[str, Any]]]:
        return [(record.phase, record.data) for record in self.recorder.records]


Serve = Callable[..., Awaitable[Rig]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """``rig = await serve({model: [steps]}, scale=0.01, seed=...)``."""
    rigs: list[Rig] = []

    async def start(models: Mapping[str, Any], *, scale: float = 0.01, **options: Any) -> Rig:
        rig = Rig(models, scale, options)
        await rig.server.start()
        rigs.append(rig)
        return rig

    yield start
    for rig in rigs:
        await rig.server.stop()
