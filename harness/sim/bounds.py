"""How much one simulated run may do. A run that goes beyond has no end, or would fill the memory before it came there.

Counts only, so that a run ends at the same place on every machine. The largest run of the catalogue takes less than a
fiftieth of each bound (see tests/harness/sim/test_bounds.py).
"""

from __future__ import annotations

import msgspec

from lockjaw.errors import HarnessError

LOOK_EVERY = 0xFFF  # steps between two looks at the bounds, less one; a power of two less one
LOOK_AT_INSTANTS = 0xF  # the same, counted in instants


class EndlessRun(HarnessError):
    """A simulated run went beyond a bound. Fields: ``what`` (was counted), ``most`` (of it), ``at_s`` (nominal)."""

    def __init__(self, what: str, most: int, at_s: float) -> None:
        self.what, self.most, self.at_s = what, most, at_s
        super().__init__(
            f"the simulated run does not end: more than {most:,} {what}, at {at_s:.6f} nominal seconds; "
            "a scenario, a script or a timer repeats itself (lockjaw's own bound; a real run has none)"
        )

    def __reduce__(self) -> tuple[type[EndlessRun], tuple[str, int, float]]:
        return type(self), (self.what, self.most, self.at_s)


class Bounds(msgspec.Struct, frozen=True):
    """The most that one run may make of each. A step is a callback, a timer or an operation on a file."""

    steps: int = 3_000_000
    steps_at_once: int = 200_000
    records: int = 200_000
    written_bytes: int = 1 << 29

    def check(self, at_s: float, steps: int, steps_at_once: int, records: int, written_bytes: int) -> None:
        """Raises EndlessRun."""
        if (
            steps_at_once <= self.steps_at_once and steps <= self.steps and records <= self.records
            and written_bytes <= self.written_bytes
        ):  # fmt: skip
            return
        for count, most, what in (
            (steps_at_once, self.steps_at_once, "steps at one instant"),
            (steps, self.steps, "steps"),
            (records, self.records, "records"),
            (written_bytes, self.written_bytes, "bytes written to the simulated disk"),
        ):
            if count > most:
                raise EndlessRun(what, most, at_s)
