"""What ``lockjaw run``, ``replay`` and ``report`` do: the harness makes runs, the reports show them.

Harness and reports do not know each other; they meet here. A writer of reports is imported by whoever asks for one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from lockjaw import pages
from lockjaw.behaviours import BEHAVIOURS
from lockjaw.errors import HarnessError, ReplayDiverged, SettingsError
from lockjaw.harness.incident.scenario import Scenario, load_scenario
from lockjaw.harness.judge.agreement import Agreement, agreement
from lockjaw.harness.judge.baseline import compare, read_baseline, verdicts_of
from lockjaw.harness.run import ENGINES, Run, run_policies
from lockjaw.harness.sim.tape import Choices, StrictReplay, read_tape
from lockjaw.harness.store import HISTORY, SCENARIO, TAPE, VERDICT, RunDirectory
from lockjaw.history import Record, read_records
from lockjaw.reports import document, text
from lockjaw.run_status import run_status

Progress = Callable[[str, Record], None]

BOTH = "both"
BASELINE = "baseline"  # the policy that shows the incident
EXIT_DISAGREE = 4  # the engines do: one of them is wrong, whatever the verdicts are


class RunOptions(msgspec.Struct, frozen=True):
    """Flags of ``lockjaw run``."""

    policy: str
    engine: str
    seed: int
    seeds: int
    time_scale: float | None
    out: Path | None
    junit: Path | None
    markdown: Path | None
    as_json: bool
    baseline: Path | None = None


def policies_of(scenario: Scenario, named: str) -> list[str]:
    """The policies that a name means for a scenario: ``all``, ``baseline``, or itself."""
    if named == "all":
        return list(scenario.policies)
    return [scenario.baseline if named == BASELINE else named]


def run_command(names: Sequence[str], options: RunOptions) -> int:
    """Run scenarios, report, and return the exit status: that of the verdict, or of what is worse than a baseline."""
    if options.policy not in ("all", BASELINE) and options.policy not in BEHAVIOURS:
        policies = ", ".join(("all", BASELINE, *BEHAVIOURS))
        raise SettingsError("--policy", "", f"one of {policies}", options.policy)
    for file in (options.junit, options.markdown):
        if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
            raise SettingsError(str(file), "", "a file in a folder that exists")
    scenarios = [load_scenario(name) for name in names]  # all of them first: a typo must not cost a run
    if options.engine not in (*ENGINES, BOTH):
        raise SettingsError("--engine", "", f"one of {', '.join((*ENGINES, BOTH))}", options.engine)
    engines = ("sim", "real") if options.engine == BOTH else (options.engine,)
    # Before the runs: the folder may be the very one that they go to.
    known = None if options.baseline is None else read_baseline(options.baseline)
    runs: list[Run] = []
    compared: list[Agreement] = []
    with run_status(len(scenarios) * options.seeds, quiet=options.as_json) as status:
        for scenario in scenarios:
            chosen = policies_of(scenario, options.policy)
            for seed in range(options.seed, options.seed + options.seeds):
                status.begin(f"{scenario.name}, seed {seed}", chosen)
                each = [
                    run_policies(
                        scenario, chosen, engine=engine, seed=seed, time_scale=options.time_scale, out=options.out,
                        progress=status.record,
                    )
                    for engine in engines
                ]  # fmt: skip
                runs += [run for made in each for run in made]
                if options.engine == BOTH:
                    compared += [agreement(real, sim) for sim, real in zip(*each, strict=True)]
    if options.junit:
        from lockjaw.reports import junit

        options.junit.write_text(junit.render(runs), encoding="utf-8")
    since = None
    if known is not None:
        since = compare(str(options.baseline), known, verdicts_of(run.document() for run in runs))
    notes = [] if since is None else since.lines()
    shown = pages.write_pages(runs)
    if options.markdown:
        from lockjaw.reports import markdown

        told = f"\n{markdown.fence(chr(10).join(notes), 'text')}\n" if notes else ""
        options.markdown.write_text(markdown.render(runs) + told, encoding="utf-8")
    if options.as_json:
        more: dict[str, Any] = {"agreement": [one.document() for one in compared]} if compared else {}
        if since is not None:
            more["baseline"] = since.document()
        sys.stdout.write(document.to_json(document.document(runs, **more)))
    else:
        text.print_report(runs, notes=[*notes, *shown])
        for one in compared:
            print(one.sentence())
    if not all(one.agrees for one in compared):
        return EXIT_DISAGREE
    return document.exit_status(runs) if since is None else since.verdict.exit_status


def replay_command(run: Path, *, as_json: bool, out: Path | None = None, yes_real: bool = False) -> int:
    """Run again what a run folder or a kit holds, and say whether verdict and causal skeleton are the same.

    A simulated run repeats its tape: the same event hash, or an error that names the first difference.
    Returns the exit status of the replayed verdict, or 4 when the verdict is another one.

    Args:
        out: where the new run goes; None: beside the old one, and for a kit ``.lockjaw/runs``.
        yes_real: a kit may run the tool calls of its script on this machine.
    """
    if run.is_file():
        return _replay_kit(run, as_json=as_json, out=out, yes_real=yes_real)
    kept = read_run(run)
    manifest = RunDirectory(run).manifest()
    scenario = msgspec.convert(msgspec.json.decode((run / SCENARIO).read_bytes()), Scenario)
    choices = _tape_of(run) if manifest["engine"] == "sim" else None
    out = out or run.resolve().parent.parent
    return _replay(Replayed(run, scenario, manifest, kept.document(), choices, out), as_json=as_json)


class Replayed(msgspec.Struct, frozen=True):
    """What a replay repeats. ``history`` and ``why``: of a kit, to say where another history parts, and why it may."""

    path: Path
    scenario: Scenario
    manifest: dict[str, Any]
    then: dict[str, Any]
    choices: Choices | None
    out: Path | None
    history: Sequence[Record] | None = None
    why: str = ""


def _replay_kit(path: Path, *, as_json: bool, out: Path | None, yes_real: bool) -> int:
    from lockjaw.harness.kit.reading import read_kit
    from lockjaw.kit_commands import check_acts

    kit = read_kit(path)
    check_acts(kit, yes_real=yes_real)
    manifest = msgspec.to_builtins(kit.manifest)
    choices = StrictReplay(kit.tape) if kit.manifest.engine == "sim" else None
    then = {"verdict": kit.manifest.verdict, "event_hash": kit.manifest.event_hash}
    told = Replayed(path, kit.scenario, manifest, then, choices, out, kit.history, kit.why_it_may_differ())
    return _replay(told, as_json=as_json)


def _replay(of: Replayed, *, as_json: bool) -> int:
    manifest = of.manifest
    if manifest.get("target", "builtin") != "builtin":
        from lockjaw.openclaw_commands import replay_against

        return replay_against(of.scenario, manifest, of.then, of.path, as_json=as_json, out=of.out)
    with run_status(quiet=as_json) as status:
        status.begin(f"{of.scenario.name}, seed {manifest['seed']}, again", [manifest["policy"]])
        try:
            again = run_policies(
                of.scenario, [manifest["policy"]], engine=manifest["engine"], seed=manifest["seed"],
                time_scale=manifest["time_scale"], out=of.out, progress=status.record, choices=of.choices,
            )[0]  # fmt: skip
        except ReplayDiverged as error:
            raise HarnessError("; ".join(filter(None, (str(error), of.why))), str(of.path)) from error
    shown = pages.write_pages([again])
    then, now = of.then, again.document()
    same_verdict, same_hash = then["verdict"] == now["verdict"], then["event_hash"] == now["event_hash"]
    if as_json:
        compared = {"of": str(of.path), "same_verdict": same_verdict, "same_event_hash": same_hash}
        sys.stdout.write(document.to_json(document.document([again], command="replay", replay=compared)))
    else:
        text.print_report([again], notes=shown)
        print(f"replay of {of.path}: verdict {then['verdict']}, now {now['verdict']}; ", end="")
        if of.choices is not None:
            print("same event hash" if same_hash else f"event hash {then['event_hash']}, now {now['event_hash']}")
        else:
            print(
                "same steps" if same_hash else "not the same steps (real processes: the order of close events may vary)"
            )
    if of.choices is not None and not same_hash:
        raise HarnessError(_parted(of, again.history), str(again.run_dir))
    if not same_verdict:
        said = f"the replay is {now['verdict']}, the run was {then['verdict']}"
        raise HarnessError("; ".join(filter(None, (said, of.why))), str(again.run_dir))
    return again.verdict.exit_status


def _parted(of: Replayed, history: Sequence[Record]) -> str:
    """Where another history under the same choices begins, as far as the old one is at hand."""
    said = "the replay took the same choices and left another history"
    if of.history is None:
        return said
    from lockjaw.harness.kit.making import first_difference

    at = first_difference(of.history, history)
    if at is None:
        return f"{said}: the same steps at the same times, with other details; {of.why}"
    step = f"{history[at].op} of {history[at].actor} at {history[at].t:g} s" if at < len(history) else "its end"
    return f"{said}, from record {at} on ({step}); {of.why}"


def _tape_of(run_dir: Path) -> Choices:
    try:
        return StrictReplay(read_tape(run_dir / TAPE))
    except (OSError, msgspec.DecodeError) as error:
        raise SettingsError(str(run_dir / TAPE), "", f"the choices of a simulated run ({error})") from error


class ReportOptions(msgspec.Struct, frozen=True):
    """Flags of ``lockjaw report``."""

    as_markdown: bool = False
    as_json: bool = False
    html: Path | None = None
    trace: Path | None = None
    compare: tuple[Path, ...] = ()


def report_command(run_dir: Path, options: ReportOptions) -> int:
    """Show a kept run again, or write it to files; with ``compare``, show where other runs part from it."""
    for file in (options.html, options.trace):
        if file is not None and not file.absolute().parent.is_dir():
            raise SettingsError(str(file), "", "a file in a folder that exists")
    if len(options.compare) >= pages.MAX_COMPARED:
        most = f"at most {pages.MAX_COMPARED - 1} runs beside the first"
        raise SettingsError("--compare", "", most, len(options.compare))
    kept = read_run(run_dir)
    others = [read_run(folder) for folder in options.compare]
    written = pages.write_files(
        [kept, *others], html_file=options.html, trace_file=options.trace, folders=[run_dir, *options.compare]
    )
    if options.as_json:
        sys.stdout.write(document.to_json(document.document([kept, *others], command="report")))
    elif options.as_markdown:
        from lockjaw.reports import markdown

        sys.stdout.write(markdown.render([kept, *others]))
    elif written:
        print("\n".join(written))
    elif others:
        print("\n".join(pages.differences([kept, *others])))
    else:
        text.print_report([kept])
    return document.exit_status([kept, *others])


class KeptRun(msgspec.Struct, frozen=True):
    """A run as its folder holds it."""

    _document: dict[str, Any]
    history: Sequence[Record]

    def document(self) -> dict[str, Any]:
        return self._document


def read_run(run_dir: Path) -> KeptRun:
    """Read a finished run. Raises SettingsError if the folder holds none."""
    try:
        verdict = msgspec.json.decode((run_dir / VERDICT).read_bytes(), type=dict[str, Any])
        return KeptRun(verdict, read_records(run_dir / HISTORY))
    except (OSError, msgspec.DecodeError) as error:
        raise SettingsError(str(run_dir), "", f"the folder of a finished run ({error})") from error
