"""``lockjaw reproduce``: read a pasted report, compose a scenario, search, keep the best run, say how far it got."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from lockjaw.cli import pages
from lockjaw.cli.options import JsonFlag, Out, check_file_to_write, check_policy, print_json
from lockjaw.cli.progress import Progress, progress
from lockjaw.cli.reproduced import STDIN, told
from lockjaw.errors import HarnessError, UsageError, unreadable
from lockjaw.harness.intake import Report, read_report
from lockjaw.harness.intake.basis import name_of
from lockjaw.harness.intake.search import Searched, compared, search
from lockjaw.harness.intake.source import CHUNK_BYTES
from lockjaw.harness.kit.making import make_kit
from lockjaw.harness.run import Run, run_policies
from lockjaw.reports import html
from lockjaw.verdict import Verdict
from lockjaw.visible import show
from lockjaw.whole_files import write_whole

__all__ = ["reproduce"]

FOLDER = Path(".lockjaw/reproduced")
MOST_COPIES = 1000


def reproduce(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A pasted log or issue text; - reads stdin.")],
    seeds: Annotated[int, typer.Option(min=1, help="Simulated runs at most.")] = 200,
    seconds: Annotated[float, typer.Option(min=0, help="Real seconds at most for the search.")] = 60.0,
    policy: Annotated[
        str | None, typer.Option(help="Whose behaviour to replay (default: what the report speaks for).")
    ] = None,
    yes_real: Annotated[bool, typer.Option("--yes-real", help="Replay the best run on real processes too.")] = False,
    scenario: Annotated[
        Path | None, typer.Option(help="Write the scenario to this file (default: below .lockjaw/reproduced).")
    ] = None,
    out: Out = None,
    as_json: JsonFlag = False,
) -> int:
    """Understand a pasted report, compose a scenario, and search for the run that prints its errors.

    Exit status: 0 reproduced, 2 usage, 3 not reproduced, only consistent, or no lock incident, 4 the harness failed,
    130 interrupted.
    """
    if policy is not None:
        check_policy(policy)
    check_file_to_write(scenario)
    with progress(quiet=as_json) as shown:
        report = _read(file, shown)

        def searched(so_far: Searched) -> None:
            shown.update(f"{so_far.trials} runs, best similarity {so_far.similarity:.2f}", so_far.trials, seeds)

        found = search(
            report, seeds=seeds, seconds=seconds, policy=policy, progress=None if as_json else searched
        )  # fmt: skip
    notes: list[str] = []
    written = _write_scenario(found, scenario or FOLDER / f"{name_of(report)}.yaml", notes)
    runs = _keep(found, report, out, notes, yes_real=yes_real)
    kit = _kit(runs, written, notes)
    if as_json:
        print_json("reproduce", _document(report, found, written, runs, notes, kit))
    else:
        show(*told(file, report, found, written, runs, notes, kit))
    if found.reproduced:
        return 0
    return 130 if found.interrupted else Verdict.UNKNOWN.exit_status


def _read(source: str, shown: Progress) -> Report:
    if source == STDIN and sys.stdin is None:
        raise UsageError("stdin", "", "a pasted report; it is closed")
    try:
        if source == STDIN:
            return read_report(_pieces(sys.stdin.buffer, shown))
        with Path(source).open("rb") as stream:
            return read_report(_pieces(stream, shown))
    except OSError as error:
        raise UsageError(source, "", f"a file with a pasted report, or - for stdin; {unreadable(error)}") from error


def _pieces(stream: BinaryIO, shown: Progress) -> Iterator[bytes]:
    """The stream in pieces; of a long one it is said how far it has been read."""
    size = 0
    while piece := stream.read(CHUNK_BYTES):
        size += len(piece)
        shown.update(f"read {size >> 20} MB")
        yield piece


def _write_scenario(found: Searched, path: Path, notes: list[str]) -> Path | None:
    """The best scenario as a file. A file with other contents is left alone: the next free name is taken, and told."""
    if found.best is None:
        return None
    text = found.best.text
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = _free(path, text)
        if not free.exists():
            write_whole(free, text.encode())
    except OSError as error:
        raise UsageError(str(path), "", "a file that can be written", error.strerror) from error
    if free != path:
        notes.append(f"{path} is there with other contents and was kept; this one is {free.name}")
    return free


def _free(path: Path, text: str) -> Path:
    """The path, or the next one with a number, that does not exist or has this very text."""
    tried = path
    for number in range(2, MOST_COPIES):
        if not tried.exists() or (tried.is_file() and tried.read_text(encoding="utf-8", errors="replace") == text):
            return tried
        tried = path.with_name(f"{path.stem}-{number}{path.suffix}")
    raise FileExistsError(17, f"{MOST_COPIES} files of this name; remove some, or name another with --scenario")


def _keep(found: Searched, report: Report, out: Path | None, notes: list[str], *, yes_real: bool) -> list[Run]:
    """The best trial as a run folder, and on real processes where that is wanted."""
    best = found.best
    if best is None:
        return []
    runs = run_policies(best.scenario, [best.composition.policy], engine="sim", seed=best.seed, out=out)
    if yes_real and "real" not in best.scenario.engines:
        notes.append(f"not on the real engine: {best.scenario.engines_why}")
    elif yes_real:
        try:
            real = run_policies(best.scenario, [best.composition.policy], engine="real", seed=best.seed, out=out)
        except HarnessError as error:
            notes.append(f"the real engine failed: {error}")
        else:
            runs += real
            like, *_ = compared(report.errors, _logs(real[0].run_dir))
            notes.append(f"on the real engine: similarity {like.similarity:.2f}")
    pages.write_pages(runs)
    return runs


def _kit(runs: list[Run], file: Path | None, notes: list[str]) -> Path | None:
    """The best run as one file to attach to the report, beside the scenario."""
    if not runs or file is None:
        return None
    path = file.with_suffix(".zip")
    if path.exists():
        notes.append(f"{path.name} was the kit of an earlier run of this scenario and was replaced")
    try:
        return make_kit(runs[0].run_dir, path, render=html.render_run, force=True).path
    except (HarnessError, UsageError) as error:
        notes.append(f"no kit: {error}")
        return None


def _logs(run_dir: Path) -> dict[str, list[str]]:
    logs = sorted((run_dir / "logs").glob("*.log"))
    return {log.stem: log.read_text(encoding="utf-8", errors="replace").splitlines() for log in logs}


# --------------------------------------------------------------------------- JSON


def _document(
    report: Report, found: Searched, file: Path | None, runs: list[Run], notes: list[str], kit: Path | None
) -> dict[str, Any]:
    best = found.best
    mismatch = best.likeness.mismatch if best else None
    return {
        "report": report.document(),
        "scenario": best.text if best else None,
        "scenario_file": str(file) if file else None,
        "shape": best.composition.shape if best else None,
        "policy": best.composition.policy if best else None,
        "assumed": list(best.assumed) if best else [],
        "unknowns": dict(best.values) if best else {},
        "search": {
            "seeds": found.trials,
            "failed": found.failed,
            "seconds": round(found.seconds, 1),
            "interrupted": found.interrupted,
            "best_seed": best.seed if best else None,
            "best_similarity": found.similarity,
            "first_mismatch": None
            if mismatch is None
            else {"line": mismatch.line, "report": mismatch.report, "replay": mismatch.replay},
            "missing": list(best.likeness.missing) if best else list(report.errors),
            "gave_up": found.gave_up,
            "why": found.why,
        },
        "nearest": [{"scenario": near.scenario.name, "why": near.why} for near in found.nearest],
        "reproduced": found.reproduced,
        "outcome": found.outcome,
        "compared": [point._asdict() for point in best.fit.points] if best else [],
        "not_compared": list(best.fit.not_compared) if best else [],
        "runs": [run.document() for run in runs],
        "notes": notes,
        "kit": None if kit is None else str(kit),
    }
