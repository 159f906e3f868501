"""``pause``: the process stands still, as under SIGSTOP or on a laptop whose lid is closed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..incident.timing import Seconds
from .base import AtOperation, Fault, Hands, Met, Slot, refuse
from .resume import Resume

if TYPE_CHECKING:
    from ..play.world import World


class Pause(AtOperation, frozen=True, kw_only=True, tag="pause"):
    """SIGSTOP; after ``for_s``, if it is given, SIGCONT."""

    for_s: Seconds | None = None  # after so long it goes on by itself

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.before is not None and self.for_s is None:
            refuse("for_s", "how long the pause at an operation lasts")

    @property
    def says(self) -> str:
        return f"freezes the {self.target}"

    def check_among(self, faults: Sequence[Fault]) -> None:
        resumed = any(isinstance(fault, Resume) and fault.target == self.target for fault in faults)
        if self.target == "client" and self.for_s is None and not resumed:
            refuse("", "a resume of the client after its pause, or the run cannot end", str(self))

    def strike(self, world: World) -> bool:
        process = world.process(self.target)
        return self.record(world, process, world.pause(process))

    def heal(self, world: World) -> None:
        Resume(target=self.target, at_s=0.0).strike(world)

    def meet(self, met: Met, hands: Hands, slot: Slot) -> None:
        assert self.for_s is not None
        hands.record(self, met, for_s=self.for_s)
        hands.freeze(self, self.for_s)
