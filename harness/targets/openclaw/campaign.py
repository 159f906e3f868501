"""Runs over versions: one run, a table of several, and the search for the version that changed a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lockjaw.errors import HarnessError
from lockjaw.verdict import Verdict

from ...incident.scenario import Scenario
from ...real.engine import Limits
from ...run import Progress, Run, check_playable, run_policies
from .. import bisection
from ..bisection import Bisection
from ..launch import free_port
from ..namespace import Namespace, NoNamespace
from .cache import Cache
from .target import PORT, OpenClaw
from .versions import PACKAGE, Version

#: Real time: a tick every 20 ms, and a program that needs ten seconds to start on a busy machine.
LIMITS = Limits(tick=0.02, ready=180.0, stop=15.0, run=60.0)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How the real program is run.

    ``client_policy``: None: its own command line; else our client with this policy. ``timeout_s``: in place of the
    scenario's, for shorter runs.
    """

    cache: Path | None = None
    allow_network: bool = False
    client_policy: str | None = None
    timeout_s: float | None = None
    out: Path | None = None
    seed: int = 1
    time_scale: float | None = None
    approved: frozenset[str] | None = None  # tool calls that our client may perform; None: all


@contextmanager
def target_of(version: Version, options: Options, say: Say) -> Iterator[OpenClaw]:
    """The target, installed, with a namespace around it. Raises HarnessError (NoNamespace among them)."""
    namespace: Namespace | None = None
    if options.allow_network:
        try:
            namespace = Namespace()
        except NoNamespace as error:
            say(f"no network namespace ({error.reason}): using the machine's own network, as --allow-network says")
    else:
        namespace = Namespace()  # before anything is installed: half a gigabyte for nothing would be rude
    try:
        installed = Cache(options.cache, say).get(version)
        doors, port = (namespace.doors, PORT) if namespace else (None, free_port())
        yield OpenClaw(installed, doors, options.client_policy, port)
    finally:
        if namespace is not None:
            namespace.close()


def run_version(
    scenario: Scenario, version: Version, options: Options, say: Say, progress: Progress | None = None
) -> Run:
    """Run a scenario against one version, in real time. Raises UsageError if it takes programs of ours."""
    check_playable(scenario, f"openclaw@{version}")  # before anything is installed
    if options.timeout_s is not None:
        scenario = msgspec.structs.replace(scenario, timeout_s=options.timeout_s)
    with target_of(version, options, say) as target:
        policy = options.client_policy or target.traits.policy
        return run_policies(
            scenario, [policy], seed=options.seed, time_scale=options.time_scale, out=options.out, progress=progress,
            target=target, limits=LIMITS, approved=options.approved,
        )[0]  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One run of a table; ``run`` is None when it could not be made, and ``error`` says why."""

    version: str
    scenario: str
    run: Run | None
    error: str = ""

    def verdict(self, check: str | None = None) -> Verdict | None:
        """Of the run, or of one of its checks. Of a run that never reached the danger a check says nothing: a law that
        held was not put to the test, and one that broke, broke for another reason (seen on 2026.4.24 without plugins,
        where a failed set-up leaks the lock)."""
        if self.run is None or check is None:
            return None if self.run is None else self.run.verdict
        found = self.run.check(check).verdict
        return found if all(condition.met for condition in self.run.reached) else Verdict.UNKNOWN

    def why_unclear(self, check: str) -> str:
        """Why the cell says neither HELD nor VIOLATED of this check; empty if it does."""
        if self.run is None:
            return self.error.partition("\n")[0]
        unmet = [condition.says for condition in self.run.reached if not condition.met]
        if unmet:
            return f"the run did not reach the danger: {'; '.join(unmet)}"
        found = self.run.check(check)
        return found.finding if found.verdict is Verdict.UNKNOWN else ""

    def document(self) -> dict[str, Any]:
        run = None if self.run is None else self.run.document()
        return {"version": self.version, "scenario": self.scenario, "error": self.error or None, "run": run}


def matrix(
    versions: Sequence[Version],
    scenarios: Sequence[Scenario],
    options: Options,
    say: Say,
    told: Callable[[Cell], None],
    progress: Progress | None = None,
) -> list[Cell]:
    """Each scenario against each version; a version that cannot be run does not stop the others."""
    cells = []
    for version in versions:
        for scenario in scenarios:
            say(f"{scenario.name} against openclaw@{version}")
            cell = _cell(version, scenario, options, say, progress)
            told(cell)
            cells.append(cell)
    return cells


def bisect(
    versions: Sequence[Version],
    scenario: Scenario,
    check: str,
    options: Options,
    say: Say,
    told: Callable[[Cell], None],
    progress: Progress | None = None,
) -> Bisection[Cell]:
    """Search the first version of OpenClaw with another verdict of one check; as ``bisection.bisect``."""

    def judge(version: str) -> Cell:
        say(f"{scenario.name} against {PACKAGE}@{version}")
        cell = _cell(Version(version), scenario, options, say, progress)
        told(cell)
        return cell

    return bisection.bisect(PACKAGE, [str(version) for version in versions], check, judge, say)


def _cell(version: Version, scenario: Scenario, options: Options, say: Say, progress: Progress | None) -> Cell:
    try:
        return Cell(str(version), scenario.name, run_version(scenario, version, options, say, progress))
    except NoNamespace:
        raise
    except HarnessError as error:
        return Cell(str(version), scenario.name, None, str(error))
