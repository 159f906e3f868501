"""``restart``: the process ends and begins again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Fault

if TYPE_CHECKING:
    from ..play.world import Process, Waits, World


class Restart(Fault, frozen=True, kw_only=True, tag="restart"):
    """SIGTERM if it still runs (SIGKILL if it does not obey), then a new process: on the same port, with the same
    state, and begun if its predecessor had begun."""

    @property
    def says(self) -> str:
        return f"restarts the {self.target}"

    def strike(self, world: World) -> bool:
        process = world.process(self.target)
        self.record(world, process)
        world.restarting.append(self.target)
        world.beside(self._again(world, process))
        return True

    def _again(self, world: World, process: Process) -> Waits:
        # Here: a fault is data first, and reading a scenario needs no world.
        from ..play.processes import bring_up, see_off
        from ..play.world import Wait

        went = world.went(process)
        if process.alive:
            world.resume(process)
            world.stop(process)
            yield from see_off(world, process)
        yield Wait(lambda: False, world.boots_s())
        successor = yield from bring_up(world, self.target)
        if went:
            world.go(successor)
        world.restarting.remove(self.target)
