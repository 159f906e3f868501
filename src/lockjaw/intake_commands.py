"""What ``lockjaw reproduce`` does: read, compose, search, keep the best run, say how far it got."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lockjaw import __version__, pages
from lockjaw.behaviours import BEHAVIOURS
from lockjaw.errors import HarnessError, SettingsError
from lockjaw.harness.intake import Report, read_report
from lockjaw.harness.intake.report import CLASSES
from lockjaw.harness.intake.search import Found, compared, search
from lockjaw.harness.intake.source import CHUNK_BYTES
from lockjaw.harness.kit.making import make_kit
from lockjaw.harness.run import Run, run_policies
from lockjaw.reports import document, html
from lockjaw.verdict import Verdict

STDIN = "-"
FOLDER = Path(".lockjaw/reproduced")
WIDTH = 80
_TOLD_EVERY_S = 5.0


@dataclass(frozen=True)
class ReproduceOptions:
    """Flags of ``lockjaw reproduce``."""

    policy: str | None
    seeds: int
    seconds: float
    yes_real: bool
    out: Path | None
    scenario: Path | None
    as_json: bool


def reproduce_command(source: str, options: ReproduceOptions) -> int:
    """Reproduce a report; returns the exit status: 0 reproduced, 3 not, 130 interrupted before that.

    Raises:
        SettingsError: the text cannot be read, the scenario cannot be written, no such policy.
    """
    if options.policy is not None and options.policy not in BEHAVIOURS:
        raise SettingsError("--policy", "", f"one of {', '.join(BEHAVIOURS)}", options.policy)
    if options.scenario is not None and not options.scenario.absolute().parent.is_dir():
        raise SettingsError(str(options.scenario), "", "a file in a folder that exists")
    report = _read(source, quiet=options.as_json)
    with _search_line(options.as_json) as progress:
        found = search(report, seeds=options.seeds, seconds=options.seconds, policy=options.policy, progress=progress)
    file = _write_scenario(found, options.scenario)
    runs, notes = _keep(found, report, options)
    kit = _kit(runs, file, notes)
    if options.as_json:
        sys.stdout.write(document.to_json(_document(report, found, file, runs, notes, kit)))
    else:
        print("\n".join(_told(source, report, found, file, runs, notes, kit)))
    if found.reproduced:
        return 0
    return 130 if found.interrupted else Verdict.UNKNOWN.exit_status


def _read(source: str, *, quiet: bool) -> Report:
    if source == STDIN and sys.stdin is None:
        raise SettingsError("stdin", "", "a pasted report; it is closed")
    try:
        if source == STDIN:
            return read_report(_told_pieces(sys.stdin.buffer, quiet))
        with Path(source).open("rb") as stream:
            return read_report(_told_pieces(stream, quiet))
    except OSError as error:
        raise SettingsError(
            source, "", "a readable file with a pasted report, or - for stdin", error.strerror
        ) from error


def _told_pieces(stream: BinaryIO, quiet: bool) -> Iterator[bytes]:
    """The stream in pieces; on a long one, a line every few seconds says how far it is."""
    size, told = 0, time.monotonic()
    while piece := stream.read(CHUNK_BYTES):
        size += len(piece)
        if not quiet and time.monotonic() - told >= _TOLD_EVERY_S:
            told = time.monotonic()
            print(f"read {size >> 20} MB", file=sys.stderr)
        yield piece


def _write_scenario(found: Found, wanted: Path | None) -> Path | None:
    if found.best is None:
        return None
    path = wanted or FOLDER / f"{found.best.composition.name}.yaml"
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(found.best.text, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        raise SettingsError(str(path), "", "a file that can be written", error.strerror) from error
    return path


def _keep(found: Found, report: Report, options: ReproduceOptions) -> tuple[list[Run], list[str]]:
    """The best trial as a run folder, and on real processes where that is wanted."""
    best = found.best
    if best is None:
        return [], []
    notes: list[str] = []
    runs = run_policies(best.scenario, [best.composition.policy], engine="sim", seed=best.seed, out=options.out)
    if options.yes_real and "real" not in best.scenario.engines:
        notes.append(f"not on the real engine: {best.scenario.engines_why}")
    elif options.yes_real:
        try:
            real = run_policies(
                best.scenario, [best.composition.policy], engine="real", seed=best.seed, out=options.out
            )
        except HarnessError as error:
            notes.append(f"the real engine failed: {error}")
        else:
            runs += real
            like, _ = compared(report.errors, _logs(real[0].run_dir))
            notes.append(f"on the real engine: similarity {like.similarity:.2f}")
    pages.write_pages(runs)
    return runs, notes


def _kit(runs: list[Run], file: Path | None, notes: list[str]) -> Path | None:
    """The best run as one file to attach to the report, beside the scenario."""
    if not runs or file is None:
        return None
    path = file.with_suffix(".zip")
    try:
        return make_kit(runs[0].run_dir, path, render=html.render_run, force=True).path
    except (HarnessError, SettingsError) as error:
        notes.append(f"no kit: {error}")
        return None


def _logs(run_dir: Path) -> dict[str, list[str]]:
    logs = sorted((run_dir / "logs").glob("*.log"))
    return {log.stem: log.read_text(encoding="utf-8", errors="replace").splitlines() for log in logs}


# --------------------------------------------------------------------------- JSON


def _document(
    report: Report, found: Found, file: Path | None, runs: list[Run], notes: list[str], kit: Path | None
) -> dict[str, Any]:
    best = found.best
    mismatch = best.likeness.mismatch if best else None
    return {
        "lockjaw": __version__,
        "command": "reproduce",
        "report": report.document(),
        "scenario": best.text if best else None,
        "scenario_file": str(file) if file else None,
        "shape": best.composition.shape if best else None,
        "policy": best.composition.policy if best else None,
        "assumed": list(best.composition.assumed) if best else [],
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
        "runs": [run.document() for run in runs],
        "notes": notes,
        "kit": None if kit is None else str(kit),
    }


# --------------------------------------------------------------------------- text


def _told(
    source: str, report: Report, found: Found, file: Path | None, runs: list[Run], notes: list[str], kit: Path | None
) -> Iterator[str]:
    name = "stdin" if source == STDIN else Path(source).name
    lines = "1 line" if report.lines == 1 else f"{report.lines} lines"
    yield f"REPORT {name}   {lines}, {report.understood} understood"
    yield ""
    yield from _understood(report)
    yield ""
    yield from _replayed(found, file, runs, notes, kit)


def _understood(report: Report) -> Iterator[str]:
    yield from _row("incident", report.cause)
    for finding in report.findings:
        where = (
            f"line {finding.lines[0]}" if len(finding.lines) == 1 else f"lines {', '.join(map(str, finding.lines[:4]))}"
        )
        text = f"{finding.letter}  {CLASSES[finding.letter]} ({finding.confidence:.2f}): {finding.why}, {where}"
        yield from _row("class", text, hang=3)
    if report.possible:
        yield from _row("class", f"open; such texts turned out to be {', '.join(report.possible)}")
    for number, line in enumerate(report.errors[:12], 1):
        yield from _row("errors" if number == 1 else "", f"{number}. {line}", hang=3)
    if len(report.errors) > 12:
        yield from _row("", f"and {len(report.errors) - 12} more")
    for candidate in report.chain:
        reason = f" ({candidate.reason})" if candidate.reason else ""
        yield from _row("model", f"{candidate.model or '?'}: {candidate.error}{reason}", hang=3)
    if report.timers:
        yield from _row("timers", ", ".join(f"{name} {value:g}" for name, value in report.timers.items()))
    for lock in report.locks[:8]:
        yield from _row("lock", _lock(lock), hang=3)
    for name, values in (("versions", report.versions), ("platform", report.platforms), ("sessions", report.sessions)):
        if values:
            yield from _row(name, ", ".join(values))
    if report.not_lock:
        yield from _row("not locks", "; ".join(report.not_lock[:6]))
    for note in report.notes:
        yield from _row("note", note)
    if report.ignored:
        yield from _row("ignored", f"{report.ignored} lines" + (", such as" if report.ignored_examples else ""))
        for example in report.ignored_examples[:3]:
            yield f"{'':12}{textwrap.shorten(example, WIDTH - 14, placeholder=' ...')}"


def _lock(lock: Any) -> str:
    parts = [lock.file or "a lock", f"pid {lock.pid}" if lock.pid else "no pid"]
    if lock.alive is not None:
        parts.append(
            f"{'alive' if lock.alive else 'dead'} ({lock.why})" if lock.why else "alive" if lock.alive else "dead"
        )
    if lock.age_s is not None:
        parts.append(f"{lock.age_s:g} s old")
    if lock.created:
        parts.append(f"made {lock.created}")
    if lock.max_hold_s:
        parts.append(f"to be held {lock.max_hold_s:g} s at most")
    return ", ".join(parts)


def _replayed(found: Found, file: Path | None, runs: list[Run], notes: list[str], kit: Path | None) -> Iterator[str]:
    best = found.best
    if best is None:
        yield from _row("replay", f"none: {found.why}")
        yield from _nearest(found)
        return
    yield from _row("scenario", f"{file}: {best.composition.shape}, {best.composition.policy}")
    for text in best.composition.assumed:
        yield from _row("assumed", text)
    if best.values:
        yield from _row("unknowns", ", ".join(f"{name} = {value:g}" for name, value in best.values.items()))
    ended = ", interrupted" if found.interrupted else ", and nothing better in many" if found.gave_up else ""
    runs_made = "1 run" if found.trials == 1 else f"{found.trials} runs"
    yield from _row("search", f"{runs_made} in {found.seconds:.1f} s{ended}; the best has seed {best.seed}")
    like = "every error line of the report is in the replay" if found.reproduced else "not reproduced"
    yield from _row("similarity", f"{found.similarity:.2f}: {like} (compared with the log of {best.log})")
    mismatch = best.likeness.mismatch
    if mismatch is not None:
        yield from _row("mismatch", f"error {mismatch.line} of the report: {mismatch.report}", hang=3)
        yield from _row("", f"the replay: {mismatch.replay or 'ends before it'}", hang=3)
    for line in best.likeness.missing[:6]:
        yield from _row("not printed", f"{line} (nothing in this replay prints such a line)", hang=3)
    for run in runs:
        broken = ", ".join(check.name for check in run.checks if check.verdict is Verdict.VIOLATED)
        yield from _row("verdict", f"{run.verdict} ({run.engine}, {run.policy}){': ' + broken if broken else ''}")
    if kit is not None:
        yield from _row("kit", f"{kit}: the run in one redacted file, to attach to the report")
    for note in notes:
        yield from _row("note", note)
    if not found.reproduced:
        yield from _nearest(found)
    if runs:
        yield ""
        yield "To repeat it:"
        yield runs[0].replay


def _nearest(found: Found) -> Iterator[str]:
    """The catalogue's scenarios of the same classes: the same failures with other lines."""
    for number, near in enumerate(found.nearest):
        yield from _row("" if number else "see also", f"lockjaw run {near.scenario.name} ({near.why})", hang=3)


def _row(name: str, text: str, hang: int = 0) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=f"{name:<12}", subsequent_indent=" " * (12 + hang), break_on_hyphens=False,
    ) or [name]  # fmt: skip


# --------------------------------------------------------------------------- progress


@contextmanager
def _search_line(quiet: bool) -> Iterator[Callable[[Found], None] | None]:
    """Progress on stderr: one line that is redrawn on a terminal, a line every few seconds elsewhere."""
    if quiet:
        yield None
        return
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        told = [0.0]

        def line(found: Found) -> None:
            if found.seconds - told[0] >= _TOLD_EVERY_S:
                told[0] = found.seconds
                print(f"{found.trials} runs, best similarity {found.similarity:.2f}", file=sys.stderr)

        yield line
        return
    from rich.console import Console

    with Console(stderr=True).status("searching") as status:
        yield lambda found: status.update(f"searching: {found.trials} runs, best similarity {found.similarity:.2f}")
