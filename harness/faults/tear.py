"""``tear``: the process is killed in the middle of a write, half of whose bytes are there."""

from __future__ import annotations

from .base import WRITES, AtOperation, Hands, Met, ShortWrite, Slot, refuse


class Tear(AtOperation, frozen=True, kw_only=True, tag="tear"):
    """SIGKILL in mid-write. The history calls it ``kill``, at ``in the middle of`` the operation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.before is None:
            refuse("before", "which write is to be torn")
        if self.before.operation not in WRITES:
            refuse("before.operation", f"a write, which can be torn: {', '.join(WRITES)}", self.before.operation)

    @property
    def says(self) -> str:
        return f"kills the {self.target} in the middle of a write"

    def meet(self, met: Met, hands: Hands, slot: Slot) -> ShortWrite:
        return ShortWrite(met.size_bytes // 2, lambda: hands.die(self, met, "in the middle of"))
