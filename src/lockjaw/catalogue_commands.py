"""What ``lockjaw catalogue`` and ``lockjaw explore --all`` do: is every scenario's file true?"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from lockjaw import __version__
from lockjaw.errors import SettingsError
from lockjaw.harness.incident.scenario import Scenario, load_scenario
from lockjaw.harness.run import DEFAULT_POLICY, ENGINES
from lockjaw.harness.search.catalogue import Played, play_all, plays_of
from lockjaw.harness.search.explore import Exploration, explore
from lockjaw.reports.document import to_json
from lockjaw.scenarios import names

BOTH = "both"
EXIT_AS_TOLD, EXIT_OTHERWISE, EXIT_FAILED = 0, 1, 4


@dataclass(frozen=True)
class CatalogueOptions:
    """Flags of ``lockjaw catalogue``."""

    engine: str
    seed: int
    jobs: int
    out: Path | None
    as_json: bool


def catalogue_command(only: Sequence[str], options: CatalogueOptions) -> int:
    """Play the catalogue (or some of it), show the table, and return the exit status."""
    if options.engine not in (*ENGINES, BOTH):
        raise SettingsError("--engine", "", f"one of {', '.join((*ENGINES, BOTH))}", options.engine)
    scenarios = [load_scenario(name) for name in only or names()]
    engines = ENGINES if options.engine == BOTH else (options.engine,)
    plays = list(plays_of(scenarios, engines))
    if not plays:
        raise SettingsError("--engine", "", f"sim: {scenarios[0].not_real}", options.engine)
    began, told = time.perf_counter(), [0]

    def done(played: Played) -> None:
        told[0] += 1
        if not options.as_json:
            mark = "+" if played.as_told else "X"
            print(f"{told[0]:>3}/{len(plays)} {mark} {played.play} {played.verdict}", file=sys.stderr)

    found = play_all(plays, seed=options.seed, jobs=options.jobs, out=options.out, done=done)
    wall_s = time.perf_counter() - began
    wrong = [played for played in found if not played.as_told]
    if options.as_json:
        shown = [played.document() for played in found]
        said = {"lockjaw": __version__, "command": "catalogue", "as_told": not wrong, "wall_s": round(wall_s, 1)}
        sys.stdout.write(to_json({**said, "seed": options.seed, "runs": shown}))
    else:
        print("\n".join(_table(scenarios, found)))
        for played in wrong:
            print(f"X {played.complaint()}")
        print(f"{len(found) - len(wrong)} of {len(found)} runs as told, in {wall_s:.0f} s (seed {options.seed})")
    if any(played.run is None for played in found):
        return EXIT_FAILED
    return EXIT_OTHERWISE if wrong else EXIT_AS_TOLD


def _table(scenarios: Sequence[Scenario], found: Sequence[Played]) -> Iterator[str]:
    by = {(p.play.scenario.name, p.play.policy, p.play.engine): p.verdict for p in found}
    yield f"{'':<29}{'':<21}{'baseline':<18}takeover"
    yield f"{'scenario':<29}{'baseline':<21}{'sim':<9}{'real':<9}{'sim':<5}{'real':<5}".rstrip()
    for one in scenarios:
        cells = [
            by.get((one.name, policy, engine), "-") for policy in (one.baseline, DEFAULT_POLICY) for engine in _ORDER
        ]
        widths = (9, 9, 5, 5)
        yield (
            f"{one.name:<29}{one.baseline:<21}" + "".join(f"{c:<{w}}" for c, w in zip(cells, widths, strict=True))
        ).rstrip()


_ORDER = ("sim", "real")


# --------------------------------------------------------------------------- explore --all


@dataclass(frozen=True)
class ExploreAllOptions:
    """Flags of ``lockjaw explore --all``. ``policy`` None: the baseline and ours."""

    policy: str | None
    seeds: int
    first_seed: int
    workers: int
    out: Path | None
    as_json: bool


def explore_all_command(options: ExploreAllOptions) -> int:
    """Explore every scenario at random: the baseline is to be VIOLATED in every seed, ours HELD. The exit status."""
    explored: list[tuple[Exploration, Scenario]] = []
    began = time.perf_counter()
    pool = ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) if options.workers > 1 else None
    with pool or nullcontext():
        for name in names():
            scenario = load_scenario(name)
            policies = [options.policy] if options.policy else [scenario.baseline, DEFAULT_POLICY]
            for policy in (scenario.baseline if one == "baseline" else one for one in policies):
                ours = not scenario.expect.get(policy)
                found = explore(
                    scenario, policy=policy, seeds=options.seeds, first_seed=options.first_seed,
                    workers=options.workers, out=options.out, pool=pool, most_findings=3 if ours else 0,
                )  # fmt: skip
                explored.append((found, scenario))
                if not options.as_json:
                    print(_explored(found, scenario), flush=True)
                if found.interrupted:
                    break
            if explored[-1][0].interrupted:
                break
    wrong = [found for found, scenario in explored if not _as_told(found, scenario)]
    if options.as_json:
        said: dict[str, Any] = {"lockjaw": __version__, "command": "explore", "as_told": not wrong}
        shown = [{**found.document(), "as_told": _as_told(found, scenario)} for found, scenario in explored]
        sys.stdout.write(to_json({**said, "explorations": shown}))
    else:
        for found in wrong:
            for finding in found.findings:
                print(
                    f"X {found.scenario}, {found.policy}: {', '.join(finding.violated)}: {finding.document()['replay']}"
                )
        runs = sum(found.runs for found, _ in explored)
        print(
            f"{len(explored) - len(wrong)} of {len(explored)} as told: {runs} runs, {time.perf_counter() - began:.0f} s"
        )
    if explored and explored[-1][0].interrupted:
        return 130
    return EXIT_OTHERWISE if wrong else EXIT_AS_TOLD


def _as_told(found: Exploration, scenario: Scenario) -> bool:
    if scenario.expect.get(found.policy):
        return found.violations == found.runs > 0
    return found.verdicts["HELD"] == found.runs > 0


def _explored(found: Exploration, scenario: Scenario) -> str:
    mark = "+" if _as_told(found, scenario) else "X"
    verdicts = ", ".join(f"{verdict} {count}" for verdict, count in sorted(found.verdicts.items()))
    return f"{mark} {found.scenario:<28} {found.policy:<20} {verdicts} ({found.per_second:.0f}/s)"
