"""Do two worlds agree about a run? Verdicts, who held the lock in which order, and what was recorded.

What worlds may differ in is left out: times, random ids, the number of polls, the order of records of different
actors. A disagreement is a finding about one of the worlds, and a failure of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from lockjaw.history import Record
from lockjaw.history.holds import holds, is_session_lock
from lockjaw.history.ordered import numbered
from lockjaw.history.run import Run

__all__ = ["Agreement", "agreement", "first_difference", "tale_of"]

Tale = Mapping[str, Sequence[str]]

#: What differs between two worlds, or two runs of one, and means nothing.
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_WHEN = re.compile(r"\[[A-Z][a-z]{2} \d{4}-\d\d-\d\d \d\d:\d\d UTC\] ")  # in front of what a user said
_STREAM = re.compile(r"(.{1,12}?)\1{3,}", re.DOTALL)  # a model's tokens, cut off a little earlier or later
_COPY = re.compile(r"-\d+$")  # copies of one actor are like each other


class Agreement(msgspec.Struct, frozen=True):
    """``first_difference`` is None when the worlds agree. ``schedule``: of the simulated run that agrees, or of the one
    that was compared."""

    scenario: str
    policy: str
    seed: int
    first_difference: str | None
    schedule: str = ""

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
            **({"schedule": self.schedule} if self.schedule else {}),
        }  # fmt: skip


def agreement(real: Run, sim: Run) -> Agreement:
    """Compare two runs of one scenario, policy and seed."""
    return Agreement(real.scenario, real.policy, real.seed, first_difference(tale_of(real), tale_of(sim)))


def first_difference(real: Tale, sim: Tale) -> str | None:
    """Where two tales part, in words; None: they do not."""
    for what, ours in real.items():
        others = sim.get(what, ())
        if ours != others:
            n = next(
                (n for n, (a, b) in enumerate(zip(ours, others, strict=False)) if a != b), min(len(ours), len(others))
            )
            return f"{what}, number {n + 1}: real {_at(ours, n)}, sim {_at(others, n)}"
    return None


def _at(steps: Sequence[str], n: int) -> str:
    return steps[n] if n < len(steps) else "nothing"


def tale_of(run: Run) -> Tale:
    """What a run comes to: everything in which two worlds must not differ, the most telling first."""
    return {
        "verdict": [str(run.verdict)],
        "checks": [f"{check.name} {check.verdict}" for check in run.checks],
        "lock owners": lock_owners(run.history),
        "fallback steps": fallback_steps(run.history),
        "nemesis": _by_actor(run.history, _act, "nemesis"),
        "exits": exits(run.history),
        "results": _by_actor(run.history, _result, "client.result", "deliver", "read", "rotate", "clean"),
        "remains": [*_remains(run.history)],
    }


def lock_owners(history: Sequence[Record]) -> list[str]:
    """Who was granted a conversation's lock, in order."""
    return [
        f"{_one_of(hold.actor)} ({'fence' if hold.began == 'fences' else 'acquire'})"
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
    """How the actors ended, each one's processes in order."""
    return _by_actor(history, lambda r: f"code {r.data.get('code')}", "actor.exit")


def _one_of(actor: str) -> str:
    """An actor, or one of its copies, whichever."""
    return _COPY.sub("-*", actor)


def _by_actor(history: Sequence[Record], told: Callable[[Record], str], *ops: str) -> list[str]:
    """What records of some kinds say, each actor's in order. Of the harness's own: of the actor they are about."""
    lines: dict[str, list[str]] = {}
    for record in history:
        if record.op in ops and record.phase != "invoke":
            actor = str(record.data.get("actor") or record.data.get("target") or record.actor)
            lines.setdefault(actor, []).append(told(record))
    each = [(_one_of(actor), "; ".join(found)) for actor, found in lines.items()]
    return [f"{actor}: {line}" for actor, line in sorted(each)]


def _act(record: Record) -> str:
    data = record.data
    place = str(data.get("at", "")).rpartition(" ")[0]  # without the file's name, which has random ids
    return " ".join(filter(None, (str(data.get("action")), str(data.get("toxic", "")), place, record.phase)))


_TOLD = {
    "client.result": ("answered", "reply", "exit_code", "transport", "duplicate_possible", "degraded"),
    "deliver": (), "read": ("entries",), "rotate": (), "clean": ("removed",),
}  # fmt: skip


def _result(record: Record) -> str:
    told = [f"{key} {_plain(record.data[key])}" for key in _TOLD[record.op] if key in record.data]
    return ", ".join([f"{record.op} {record.phase}", *told])


def _remains(history: Sequence[Record]) -> Iterator[str]:
    """What was left when all was over; conversations by what stands in them, because their ids are random."""
    for record in history:
        data = record.data
        if record.op == "leftover":
            yield f"leftover {data.get('kind')}, alive {data.get('alive')}"
        elif record.op == "ledger":
            yield f"effect {data.get('key')}: {data.get('count')}"
    yield from sorted(f"session {_plain(r.data.get('key'))}" for r in history if r.op == "session.final")
    yield from sorted(f"next turn {r.phase}" for r in history if r.op == "next_turn")
    yield from sorted(
        f"transcript {'whole' if not r.data.get('problems') else 'damaged'}, asked "
        f"{_plain(r.data.get('user_messages'))}, answered {_plain(r.data.get('assistant_texts'))}"
        for r in history
        if r.op == "transcript.final"
    )


def _plain(value: object) -> str:
    """Without ids, dates, and how much of a stream there was."""
    return _STREAM.sub(r"\1..", _WHEN.sub("", _UUID.sub("#", str(value))))
