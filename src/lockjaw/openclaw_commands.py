"""What ``lockjaw run --target openclaw@VERSION`` and ``lockjaw openclaw ...`` do: campaigns, shown as tables."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from lockjaw import __version__
from lockjaw.behaviours import POLICIES
from lockjaw.errors import HarnessError, SettingsError
from lockjaw.harness.incident.scenario import Scenario, load_scenario
from lockjaw.harness.run import Progress, Run, run_policies
from lockjaw.harness.store import HISTORY, SCENARIO, RunDirectory
from lockjaw.harness.targets.openclaw import demo, fidelity, npm
from lockjaw.harness.targets.openclaw.cache import Cache
from lockjaw.harness.targets.openclaw.campaign import Cell, Options, bisect, matrix, run_version
from lockjaw.harness.targets.openclaw.versions import PACKAGE, parse_target, parse_version, published_between, traits_of
from lockjaw.history import Record, read_records
from lockjaw.reports import document, junit, markdown, text
from lockjaw.run_status import run_status
from lockjaw.verdict import Verdict, combine


def run_against(
    names: Sequence[str],
    target: str,
    options: Options,
    *,
    as_json: bool,
    junit_file: Path | None,
    markdown_file: Path | None,
) -> int:
    """``lockjaw run --target openclaw@VERSION``: as ``lockjaw run``, in real time. Returns the exit status."""
    version = parse_target(target)
    assert version is not None  # the caller sends builtin elsewhere
    if options.client_policy is not None and options.client_policy not in POLICIES:
        raise SettingsError("--policy", "", f"one of {', '.join(POLICIES)}", options.client_policy)
    scenarios = [load_scenario(name) for name in names]
    with _watched(as_json) as progress:
        runs = [run_version(scenario, version, options, _say, progress) for scenario in scenarios]
    if junit_file:
        junit_file.write_text(junit.render(runs), encoding="utf-8")
    if markdown_file:
        markdown_file.write_text(markdown.render(runs), encoding="utf-8")
    if as_json:
        sys.stdout.write(document.to_json(document.document(runs)))
    else:
        text.print_report(runs, notes=[f"{target}: {note}" for run in runs[:1] for note in run.notes])
    return document.exit_status(runs)


def replay_against(
    scenario: Scenario,
    manifest: Mapping[str, Any],
    then: Mapping[str, Any],
    run_dir: Path,
    *,
    as_json: bool,
    out: Path | None = None,
) -> int:
    """``lockjaw replay`` of a run against the real program, from the default cache, as it was run.

    Returns the exit status of the verdict. Raises HarnessError when it is another verdict.
    """
    version = parse_target(str(manifest["target"]))
    assert version is not None  # the caller replays builtin runs itself
    mine = manifest.get("client_policy")
    options = Options(
        cache=Path(manifest["cache"]) if manifest.get("cache") else None,
        client_policy=str(mine) if mine else None,
        allow_network=bool(manifest.get("allow_network")),
        out=out,
        seed=int(manifest["seed"]),
    )
    with _watched(as_json) as progress:
        again = run_version(scenario, version, options, _say, progress)
    now = again.document()
    same = {key: then[key] == now[key] for key in ("verdict", "event_hash")}
    if as_json:
        compared = {"of": str(run_dir), "same_verdict": same["verdict"], "same_event_hash": same["event_hash"]}
        sys.stdout.write(document.to_json(document.document([again], command="replay", replay=compared)))
    else:
        text.print_report([again])
        print(f"replay of {run_dir}: verdict {then['verdict']}, now {now['verdict']}")
    if not same["verdict"]:
        raise HarnessError(f"the replay is {now['verdict']}, the run was {then['verdict']}", str(again.run_dir))
    return again.verdict.exit_status


def matrix_command(versions: str, scenarios: str, options: Options, *, as_json: bool) -> int:
    """A table of verdicts: versions down, checks across. The exit status is that of the worst verdict."""
    wanted = [parse_version(part.strip(), source="--versions") for part in versions.split(",") if part.strip()]
    loaded = [load_scenario(name.strip()) for name in scenarios.split(",") if name.strip()]
    with _watched(as_json) as progress:
        cells = matrix(wanted, loaded, options, _say, _told, progress)
    if as_json:
        cells_shown = [cell.document() for cell in cells]
        sys.stdout.write(document.to_json({"lockjaw": __version__, "command": "openclaw matrix", "cells": cells_shown}))
    else:
        print(table(cells))
    verdicts = [cell.verdict() for cell in cells]
    return combine(Verdict.UNKNOWN if v is None else v for v in verdicts).exit_status


def bisect_command(scenario: str, good: str, bad: str, check: str, options: Options, *, as_json: bool) -> int:
    """Name the first published version where the verdict of a check is another one."""
    loaded = load_scenario(scenario)
    if check not in loaded.checks:
        raise SettingsError("--check", "", f"a law that the scenario checks: {', '.join(loaded.checks)}", check)
    ends = parse_version(good, source="--good"), parse_version(bad, source="--bad")
    between = published_between(npm.published_versions(PACKAGE), *ends)
    _say(f"{len(between)} published versions from {between[0]} to {between[-1]}")
    with _watched(as_json) as progress:
        found = bisect(between, loaded, check, options, _say, _told, progress)
    if as_json:
        shown: dict[str, Any] = {
            "lockjaw": __version__, "command": "openclaw bisect", "scenario": loaded.name, "check": check,
            "first": found.first, "before": found.before, "was": str(found.was), "now": str(found.now),
            "skipped": [vars(one) for one in found.skipped], "in_doubt": list(found.in_doubt),
            "cells": [cell.document() for cell in found.cells],
        }  # fmt: skip
        sys.stdout.write(document.to_json(shown))
    else:
        print(table(found.cells, check))
        skipped = [f"{one.version} was skipped: {one.why}" for one in found.skipped]
        for paragraph in (*skipped, found.sentence()):
            print(textwrap.fill(paragraph, WIDTH, subsequent_indent="  ", break_on_hyphens=False))
    return 0


def fidelity_command(
    versions: str, scenario: str, options: Options, *, kept: Sequence[Path] = (), as_json: bool = False
) -> int:
    """Each version beside the built-in policy of its era. Exit status 1 if a difference is unexplained.

    ``kept``: folders of finished runs of the real program, in place of new ones.
    """
    with _watched(as_json) as progress:
        wanted = _kept(kept) if kept else _fresh(versions, scenario, options, progress)
        found = [_beside_model(*one, options) for one in wanted]
    if as_json:
        tables = [
            {"real": f.real, "model": f.model, "rows": [vars(row) for row in f.rows], "unexplained": len(f.unexplained)}
            for f in found
        ]
        sys.stdout.write(document.to_json({"lockjaw": __version__, "command": "openclaw fidelity", "tables": tables}))
    else:
        print("\n".join(one.markdown() for one in found))
    return 1 if any(one.unexplained for one in found) else 0


def _kept(folders: Sequence[Path]) -> Iterator[tuple[str, Sequence[Record], Scenario]]:
    for folder in folders:
        try:
            scenario = msgspec.json.decode((folder / SCENARIO).read_bytes(), type=Scenario)
            target = str(RunDirectory(folder).manifest().get("target", "builtin"))
            yield target, read_records(folder / HISTORY), scenario
        except (OSError, msgspec.MsgspecError) as error:
            raise SettingsError(str(folder), "", f"the folder of a finished run ({error})") from error


def _fresh(
    versions: str, scenario: str, options: Options, progress: Progress
) -> Iterator[tuple[str, Sequence[Record], Scenario]]:
    loaded = _as_run(load_scenario(scenario), options)
    for part in versions.split(","):
        run = run_version(loaded, parse_version(part.strip(), source="--versions"), options, _say, progress)
        yield run.target, run.history, loaded


def _beside_model(name: str, history: Sequence[Record], scenario: Scenario, options: Options) -> fidelity.Fidelity:
    version = parse_target(name)
    if version is None:
        raise SettingsError("--kept", "", "runs against openclaw@VERSION", name)
    policy = traits_of(version).policy
    # Simulated: the model's durations are then its own, and not those of a busy machine times 25.
    model = run_policies(scenario, [policy], engine="sim", seed=options.seed, out=options.out)[0]
    return fidelity.compare(name, history, policy, model.history)


def demo_command(version: str, options: Options, *, as_json: bool) -> int:
    """The same turn by the real command line and by ours. Exit status 1 if it does not show what it is to show."""
    loaded = _as_run(load_scenario(demo.SCENARIO), options)
    wanted = parse_version(version)
    show = _say if as_json else partial(print, flush=True)
    show(demo.opening(loaded, version))
    runs: list[Run] = []

    def progress(_: str, record: Record) -> None:
        if record.op == "client.stderr":
            show(demo.line(record))

    for policy in (None, demo.OURS):
        show(f"\n{demo.command(loaded, policy)}")
        runs.append(run_version(loaded, wanted, replace(options, client_policy=policy), _say, progress))
        show(demo.ending(runs[-1]))
    if as_json:
        sys.stdout.write(document.to_json(document.document(runs, command="openclaw demo")))
    return 0 if demo.shows(*runs) else 1


def install_command(versions: Sequence[str], cache: Path | None) -> int:
    """Fill the cache."""
    for name in versions:
        found = Cache(cache, _say).get(parse_version(name))
        print(f"{PACKAGE}@{found.version}  {found.integrity}\n  {found.package}\n  {found.node}")
    return 0


def table(cells: Sequence[Cell], check: str | None = None) -> str:
    """Verdicts as text, at most 80 columns wide: versions down for one check; else laws down and versions across."""
    if check is not None:
        head = ["version", "verdict", check, "lock errors", "executions", "exit"]
        return _aligned([head, *([cell.version, *_told_of(cell, (check,))] for cell in cells)])
    parts = []
    for scenario in dict.fromkeys(cell.scenario for cell in cells):
        mine = [cell for cell in cells if cell.scenario == scenario]
        beside = ACROSS
        while beside > 1 and any(len(line) > WIDTH for line in _across(scenario, mine[:beside]).splitlines()):
            beside -= 1
        parts += [_across(scenario, mine[n : n + beside]) for n in range(0, len(mine), beside)]
    return "\n\n".join(parts)


ACROSS, WIDTH = 5, 80  # versions beside each other, as far as they fit
EVERY_S = 60.0  # between two signs of life of a run, in a log


def _across(scenario: str, cells: Sequence[Cell]) -> str:
    laws = tuple(dict.fromkeys(c.name for cell in cells if cell.run for c in cell.run.checks))
    names = [scenario, "verdict", *laws, "lock errors", "executions", "exit"]
    columns = [[cell.version, *_told_of(cell, laws)] for cell in cells]
    columns = [column + [""] * (len(names) - len(column)) for column in columns]
    why = [f"{cell.version} was not run: {cell.error.splitlines()[0]}" for cell in cells if cell.run is None]
    told = [line for text in why for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ")]
    return "\n".join([_aligned([list(row) for row in zip(names, *columns, strict=True)]), *told])


def _told_of(cell: Cell, checks: Sequence[str]) -> list[str]:
    """The verdict, of each check, and three numbers."""
    if cell.run is None:
        return ["not run"]
    by_name = {check.name: str(check.verdict) for check in cell.run.checks}
    outcome = cell.run.outcome
    numbers = [str(outcome.session_locked_errors), str(outcome.turn_executions), str(outcome.exit_code)]
    return [str(cell.run.verdict), *(by_name.get(name, "-") for name in checks), *numbers]


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[n]) for row in rows if n < len(row)) for n in range(max(map(len, rows)))]
    return "\n".join("  ".join(t.ljust(w) for t, w in zip(row, widths, strict=False)).rstrip() for row in rows)


def _as_run(scenario: Scenario, options: Options) -> Scenario:
    if options.timeout_s is None:
        return scenario
    return msgspec.structs.replace(scenario, timeout_s=options.timeout_s)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _watched(quiet: bool) -> Iterator[Progress]:
    """What runs of minutes tell their records to: a terminal shows where they are, a log gets a line each minute."""
    told_s = time.monotonic()
    with run_status(quiet=quiet) as status:

        def tell(policy: str, record: Record) -> None:
            nonlocal told_s
            if record.op == "run.start":
                status.live.begin("", [policy])
            if status.record is not None:
                status.record(policy, record)
            elif not quiet and time.monotonic() - told_s >= EVERY_S:
                told_s = time.monotonic()
                _say(f"  {record.t:.0f} s: still running")

        yield tell


def _told(cell: Cell) -> None:
    if cell.run is None:
        _say(f"  not run: {cell.error}")
        return
    broken = ", ".join(check.name for check in _broken(cell.run)) or "no law broken"
    _say(f"  {cell.run.verdict}: {broken} ({cell.run.wall_s:.0f} s)")


def _broken(run: Run) -> list[Any]:
    return [check for check in run.checks if check.verdict is Verdict.VIOLATED]
