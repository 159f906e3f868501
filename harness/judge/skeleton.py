"""The causal skeleton of a history, and its hash: what two runs of the same real schedule have in common.

Real processes never repeat to the microsecond, so a hash over the whole history would always differ. The
skeleton keeps, for each actor, the order of its own steps and the values that describe *what* happened: the
operation, its phase, and the keys in ``STABLE_KEYS``. It drops *when* and *who exactly*: times, the interleaving
of different actors, pids, generated ids, paths, durations, token counts, texts. Facts that the harness collects
at the end (leftovers, ledger, transcripts) are sorted, because their order means nothing.

Two runs with equal hashes did the same things in the same order per actor. Unequal hashes with equal verdicts
are possible under heavy load (one poll more), and are worth a look, not an alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from lockjaw.history import Record, event_hash

STABLE_KEYS = (
    "action", "target", "role", "code", "policy", "step", "method", "status", "kind", "timeout_ms", "decision",
    "candidate", "reason", "next", "provider", "model", "resumed", "reclaimed", "removed", "stop_reason", "name",
    "is_error", "type", "transport", "answered", "exit_code", "duplicate_possible", "degraded", "origin", "lane",
    "key", "count", "alive", "user_messages", "scenario", "seed", "engine", "generation",
)  # fmt: skip
#: Collected afterwards, in no meaningful order.
_COLLECTED = frozenset({"leftover", "ledger", "transcript.final"})
#: Printed texts repeat what other records say, with durations in them.
_DROPPED = frozenset({"client.stderr"})


def skeleton(history: Sequence[Record]) -> list[Record]:
    """The normalised history: actors in alphabetical order, each with its own steps; all times 0."""
    steps: dict[str, list[Record]] = {}
    collected: list[Record] = []
    for record in history:
        if record.op in _DROPPED:
            continue
        data: dict[str, Any] = {key: record.data[key] for key in STABLE_KEYS if key in record.data}
        bare = Record(0.0, record.actor, record.op, record.phase, data)
        (collected if record.op in _COLLECTED else steps.setdefault(record.actor, [])).append(bare)
    collected.sort(key=lambda record: msgspec.json.encode(record, order="sorted"))
    ordered = [record for actor in sorted(steps) for record in steps[actor]]
    return [msgspec.structs.replace(record, i=i) for i, record in enumerate([*ordered, *collected])]


def skeleton_hash(history: Sequence[Record]) -> str:
    """``sha256:...`` of the skeleton."""
    return event_hash(skeleton(history))
