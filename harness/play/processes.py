"""How an actor comes and goes, in any world; also when the nemesis restarts it."""

from __future__ import annotations

from collections.abc import Generator

from ..faults.resume import Resume
from .world import Process, Wait, Waits, World

DRAIN_S = 10.0  # what a process may use to end in good order after SIGTERM


def comes_up(world: World, process: Process) -> Waits:
    """Wait until a process that was just started can be used, and record it."""
    yield Wait(lambda: world.ready(process), slack="ready", otherwise=f"the {process.name} did not become ready")
    world.recorder.record("actor.ready", role=process.role, pid=process.pid, actor=process.name)


def bring_up(world: World, name: str) -> Generator[Wait, None, Process]:
    """Start an actor and wait until it can be used."""
    process = world.start(name)
    yield from comes_up(world, process)
    return process


def put_down(world: World, process: Process) -> Waits:
    """End a process in good order, or by force if it does not obey. A paused or blocked one goes on first."""
    if world.held_up(process):
        Resume(target=process.name, at_s=0.0).strike(world)
    if process.alive:
        world.stop(process)
    yield from see_off(world, process)


def see_off(world: World, process: Process, *, limit_s: float = DRAIN_S) -> Waits:
    """Wait for the end of a process that is about to end, and end it by force if it is not."""
    yield Wait(lambda: world.gone(process), limit_s, "stop")
    if process.alive:
        world.recorder.record("leftover", kind="process", path=process.name, pid=process.pid, alive=True)
        world.kill(process)
        yield Wait(lambda: world.gone(process), slack="stop")


def record_end(world: World, process: Process) -> None:
    """The harness has seen that a process is no more."""
    world.recorder.record(
        "actor.exit", role=process.role, pid=process.pid, code=process.code, actor=process.name
    )  # fmt: skip
