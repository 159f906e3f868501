"""Do the two engines agree? Verdicts, and the causal skeleton: lock owners, fallback steps, exits.

What the engines may differ in is left out: times, the number of polls, the order of records of different actors.
A disagreement is a finding about one of the engines, and a failure of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from lockjaw.history import Record
from lockjaw.history.holds import holds, is_session_lock
from lockjaw.history.ordered import numbered
from lockjaw.history.run import Run


class Agreement(msgspec.Struct, frozen=True):
    """``first_difference`` is None when the engines agree."""

    scenario: str
    policy: str
    seed: int
    first_difference: str | None

    @property
    def agrees(self) -> bool:
        return self.first_difference is None

    def sentence(self) -> str:
        what = "agree" if self.agrees else f"DISAGREE: {self.first_difference}"
        return f"engines {what} ({self.scenario}, {self.policy}, seed {self.seed})"

    def document(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario, "policy": self.policy, "seed": self.seed, "agrees": self.agrees,
            "first_difference": self.first_difference,
        }  # fmt: skip


def agreement(real: Run, sim: Run) -> Agreement:
    """Compare two runs of one scenario, policy and seed."""
    return Agreement(real.scenario, real.policy, real.seed, _first_difference(real, sim))


def _first_difference(real: Run, sim: Run) -> str | None:
    if real.verdict != sim.verdict:
        return f"verdict: real {real.verdict}, sim {sim.verdict}"
    theirs = {check.name: check.verdict for check in sim.checks}
    for check in real.checks:
        if theirs.get(check.name) != check.verdict:
            return f"check {check.name}: real {check.verdict}, sim {theirs.get(check.name)}"
    for what, read in (("lock owners", lock_owners), ("fallback steps", fallback_steps), ("exits", exits)):
        ours, others = read(real.history), read(sim.history)
        if ours != others:
            n = next(
                (n for n, (a, b) in enumerate(zip(ours, others, strict=False)) if a != b), min(len(ours), len(others))
            )
            return f"{what}, number {n + 1}: real {_at(ours, n)}, sim {_at(others, n)}"
    return None


def _at(steps: Sequence[str], n: int) -> str:
    return steps[n] if n < len(steps) else "nothing"


def lock_owners(history: Sequence[Record]) -> list[str]:
    """Who was granted a conversation's lock, in order."""
    return [
        f"{hold.actor} ({'fence' if hold.began == 'fences' else 'acquire'})"
        for hold in holds(numbered(history))
        if is_session_lock(hold.path)
    ]


def fallback_steps(history: Sequence[Record]) -> list[str]:
    """The steps of the fallback policy and of the model chains, each actor's in order."""
    steps = [r for r in history if r.op in ("fallback", "model.decision")]
    return [
        f"{r.actor}: {r.data.get('step') or r.data.get('decision')} {r.data.get('candidate', '')}".rstrip()
        for r in sorted(steps, key=lambda r: r.actor)
    ]


def exits(history: Sequence[Record]) -> list[str]:
    """How the actors ended."""
    return sorted(
        f"{r.data.get('actor')} code {r.data.get('code')}"
        for r in history
        if r.op == "actor.exit" and r.data.get("role") in ("gateway", "client")
    )
