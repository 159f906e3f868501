"""``lockjaw catalogue``: is every scenario's file true?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Annotated

import typer

from lockjaw.cli.consent import scenarios_to_start
from lockjaw.cli.options import JsonFlag, Out, Seed, check_one_of, print_json
from lockjaw.cli.progress import progress
from lockjaw.errors import UsageError
from lockjaw.harness.incident.scenario import Scenario, load_scenario
from lockjaw.harness.run import DEFAULT_POLICY, ENGINES
from lockjaw.harness.search.agreeing import agreements_of
from lockjaw.harness.search.catalogue import Played, play_all, plays_of
from lockjaw.harness.search.cluster import Cluster, Elsewhere
from lockjaw.scenarios import names
from lockjaw.visible import columns, show

__all__ = ["EXIT_AS_TOLD", "EXIT_OTHERWISE", "catalogue"]

BOTH = "both"
EXIT_AS_TOLD, EXIT_OTHERWISE, EXIT_FAILED = 0, 1, 4


def catalogue(
    scenario: Annotated[
        list[str] | None, typer.Argument(help="Only these: names from `lockjaw list`, or files.")
    ] = None,
    engine: Annotated[str, typer.Option(help="sim, real, or both.")] = BOTH,
    seed: Seed = 1,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Dask cluster for the simulated runs: tcp://HOST:PORT or local:N."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs of real processes at the same time.")] = 4,
    out: Out = None,
    as_json: JsonFlag = False,
) -> int:
    """Play the catalogue: does each policy break the laws that the file's `expect` says, and takeover none?

    Exactly those in the simulation, at least those on processes (they race). A file without `expect` is not true.
    What processes did is compared with the simulation: verdicts, the order of the lock's owners, what was recorded.

    Exit status: 0 all is as the files say, 1 something is not, 2 usage, 4 the harness failed or the worlds disagree.
    """
    check_one_of("--engine", (*ENGINES, BOTH), engine)
    wanted = scenario or names()
    scenarios = [load_scenario(name) for name in wanted] if engine == "sim" else scenarios_to_start(wanted)
    plays = list(plays_of(scenarios, ENGINES if engine == BOTH else (engine,)))
    if not plays:
        raise UsageError("--engine", "", f"sim: {scenarios[0].not_real}", engine)
    began, ended = time.perf_counter(), 0
    with progress(quiet=as_json) as shown:

        def done(played: Played) -> None:
            nonlocal ended
            ended += 1
            mark = "+" if played.as_told else "X"
            shown.say(f"{ended:>3}/{len(plays)} {mark} {played.play} {played.verdict}")
            shown.update(f"{ended}/{len(plays)} runs" if shown.live else "", ended, len(plays))

        with Cluster(cluster) if cluster else nullcontext() as workers:
            elsewhere = None if workers is None else Elsewhere(workers)
            found = play_all(plays, seed=seed, jobs=jobs, out=out, done=done, elsewhere=elsewhere)
        agreements = agreements_of(found)
    differing = [one for one in agreements if not one.agrees]
    wall_s = time.perf_counter() - began
    wrong = [played for played in found if not played.as_told]
    if as_json:
        runs = [played.document() for played in found]
        compared = [one.document() for one in agreements]
        as_told = {"as_told": not wrong, "agree": not differing, "wall_s": round(wall_s, 1), "seed": seed}
        print_json("catalogue", {**as_told, "runs": runs, "agreements": compared})
    else:
        show(*_table(scenarios, found))
        for played in wrong:
            show(f"X {played.complaint()}")
        for one in differing:
            show(f"X {one.sentence()}")
        if agreements:
            agreeing = len(agreements) - len(differing)
            show(f"{agreeing} of {len(agreements)} runs of processes agree with the simulation")
        show(f"{len(found) - len(wrong)} of {len(found)} runs as their files say, in {wall_s:.0f} s (seed {seed})")
    if differing or any(played.run is None for played in found):
        return EXIT_FAILED
    return EXIT_OTHERWISE if wrong else EXIT_AS_TOLD


def _table(scenarios: Sequence[Scenario], found: Sequence[Played]) -> Iterator[str]:
    """A row per scenario; on a narrow terminal its verdicts stand below its name."""
    by = {(p.play.scenario.name, p.play.policy, p.play.engine): p.verdict for p in found}
    wide = columns() >= WIDE
    yield _named("", f"{'':<21}{'baseline':<18}takeover", wide=wide)[-1]
    yield from _named("scenario", _cells("baseline", ("sim", "real", "sim", "real")), wide=wide)
    for one in scenarios:
        verdicts = [
            str(by.get((one.name, policy, engine), "-"))
            for policy in (one.baseline, DEFAULT_POLICY)
            for engine in _ORDER
        ]
        yield from _named(one.name, _cells(one.baseline, verdicts), wide=wide)


def _cells(baseline: str, verdicts: Sequence[str]) -> str:
    widths = (9, 9, 5, 5)
    return (f"{baseline:<21}" + "".join(f"{c:<{w}}" for c, w in zip(verdicts, widths, strict=True))).rstrip()


def _named(name: str, cells: str, *, wide: bool) -> list[str]:
    return [f"{name:<31}{cells}"] if wide else [name, f"  {cells}"]


_ORDER = ("sim", "real")
WIDE = 79  # columns that a row of the table takes
