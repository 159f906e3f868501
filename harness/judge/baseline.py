"""What changed since a run that was kept: verdicts per scenario, policy, engine and law, before and now. Pure but for
reading the baseline.

The exit status of a comparison counts only what is worse than the baseline or new in it, so that a CI can stay
green on violations that are known and turn red on the first one that is not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from lockjaw.errors import UsageError
from lockjaw.history.run import Run
from lockjaw.verdict import Verdict, combine

from ..store import MANIFEST, VERDICT

RUN = "verdict"  # the row of the run as a whole, beside the rows of its laws
_RANK = {Verdict.HELD: 0, Verdict.UNKNOWN: 1, Verdict.VIOLATED: 2}


class Key(msgspec.Struct, frozen=True, order=True):
    """One row of the comparison; ``check`` is a law or ``verdict``."""

    scenario: str
    policy: str
    engine: str
    check: str

    def __str__(self) -> str:
        return f"{self.scenario} {self.policy} {self.check} ({self.engine})"


class Change(msgspec.Struct, frozen=True):
    """One verdict that is not what it was. ``before`` None: the baseline does not have it; ``after`` None: the law is
    not checked any more, although the scenario was run."""

    key: Key
    before: Verdict | None
    after: Verdict | None

    @property
    def worse(self) -> bool:
        """VIOLATED is worse than UNKNOWN, which is worse than HELD; what is new is worse unless it is HELD."""
        return self.after is not None and _RANK[self.after] > (_RANK[self.before] if self.before else 0)

    @property
    def kind(self) -> str:
        """``worse``, ``better``, ``new`` or ``gone``."""
        if self.before is None:
            return "new"
        if self.after is None:
            return "gone"
        return "worse" if self.worse else "better"

    def __str__(self) -> str:
        return f"{self.kind}: {self.key}: {self.before or 'not there'} -> {self.after or 'not checked'}"


class Comparison(msgspec.Struct, frozen=True):
    """``compared``: how many verdicts both sides have."""

    source: str
    compared: int
    changes: tuple[Change, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of what is worse or new; HELD if nothing is. Its exit status is the command's."""
        worse = [change.after for change in self.changes if change.worse and change.after]
        return combine(worse) if worse else Verdict.HELD

    def lines(self) -> list[str]:
        """For people: one line that sums up, then one per change, the worse ones first."""
        if not self.changes:
            return [f"Compared with {self.source}: {_verdicts(self.compared)}, no change."]
        ordered = sorted(self.changes, key=lambda change: (not change.worse, change.key))
        count = sum(change.worse for change in self.changes)
        changed = f"{len(self.changes)} changed, {count} for the worse:"
        return [
            f"Compared with {self.source}: {_verdicts(self.compared)}; {changed}",
            *(f"  {change}" for change in ordered),
        ]

    def document(self) -> dict[str, Any]:
        """For ``--json``, below the key ``baseline``."""
        return {
            "source": self.source,
            "compared": self.compared,
            "verdict": str(self.verdict),
            "changes": [
                {
                    "scenario": change.key.scenario, "policy": change.key.policy, "engine": change.key.engine,
                    "check": change.key.check, "kind": change.kind,
                    "before": str(change.before) if change.before else None,
                    "after": str(change.after) if change.after else None,
                }
                for change in self.changes
            ],
        }  # fmt: skip


class Checked(msgspec.Struct):
    """What a run document says of one law."""

    name: str
    verdict: Verdict


class Judged(msgspec.Struct):
    """What counts of a run document (``lockjaw run --json``, ``runs``), whichever version of Lockjaw wrote it."""

    scenario: str
    policy: str
    engine: str
    verdict: Verdict
    checks: list[Checked]
    seed: int = 0


class _Document(msgspec.Struct):
    runs: list[Judged]


def verdicts_of(runs: Iterable[Run | Judged]) -> dict[Key, Verdict]:
    """The verdicts of runs; several seeds combine."""
    found: defaultdict[Key, list[Verdict]] = defaultdict(list)
    for run in runs:
        found[Key(run.scenario, run.policy, run.engine, RUN)].append(run.verdict)
        for check in run.checks:
            found[Key(run.scenario, run.policy, run.engine, check.name)].append(check.verdict)
    return {key: combine(verdicts) for key, verdicts in found.items()}


def compare(source: str, before: Mapping[Key, Verdict], after: Mapping[Key, Verdict]) -> Comparison:
    """What is not as it was. A scenario that only the baseline has was not asked for now, and is no change."""
    ran = {(key.scenario, key.policy, key.engine) for key in after}
    asked = after.keys() | {key for key in before if (key.scenario, key.policy, key.engine) in ran}
    changes = tuple(
        Change(key, before.get(key), after.get(key)) for key in sorted(asked) if before.get(key) != after.get(key)
    )
    return Comparison(source, len(before.keys() & after.keys()), changes)


def read_baseline(path: Path) -> dict[Key, Verdict]:
    """The verdicts that a file or folder holds.

    Args:
        path: a ``lockjaw run --json`` document, or a folder of kept runs (``.lockjaw/runs`` of another day, the
            ``--out`` of another run): of each scenario, policy, engine and seed the newest run counts.

    Raises:
        UsageError: neither; names the file.
    """
    try:
        runs = _newest(path) if path.is_dir() else msgspec.json.decode(path.read_bytes(), type=_Document).runs
        found = verdicts_of(runs)
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError("--baseline", str(path), f"a `lockjaw run --json` document or kept runs ({error})") from error
    if not found:
        raise UsageError("--baseline", str(path), "at least one finished run")
    return found


def _newest(folder: Path) -> Sequence[Judged]:
    found: dict[tuple[Any, ...], tuple[tuple[str, str], Judged]] = {}
    for file in folder.rglob(VERDICT):
        run = msgspec.json.decode(file.read_bytes(), type=Judged)
        manifest = file.with_name(MANIFEST)
        started = msgspec.json.decode(manifest.read_bytes(), type=_Started).started if manifest.exists() else ""
        age = (started, str(file))
        key = (run.scenario, run.policy, run.engine, run.seed)
        if key not in found or age > found[key][0]:
            found[key] = (age, run)
    return [run for _, run in found.values()]


class _Started(msgspec.Struct):
    started: str = ""


def _verdicts(count: int) -> str:
    return f"{count} verdict{'' if count == 1 else 's'}"
