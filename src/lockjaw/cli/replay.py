"""``lockjaw replay``: the same run again, from a run folder or from a kit."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from lockjaw.cli import pages
from lockjaw.cli.consent import approved_calls
from lockjaw.cli.options import JsonFlag
from lockjaw.cli.progress import run_progress
from lockjaw.errors import HarnessError, ReplayDiverged, UsageError
from lockjaw.harness.incident.scenario import Scenario
from lockjaw.harness.kept import read_kept
from lockjaw.harness.kit.origin import is_ours
from lockjaw.harness.run import BUILTIN, run_policies
from lockjaw.harness.sim.tape import Choices, StrictReplay
from lockjaw.history import Record
from lockjaw.history.run import Run, is_described
from lockjaw.reports import document, text
from lockjaw.visible import show

__all__ = ["replay"]


def replay(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a KIT.zip that somebody sent you.")],
    out: Annotated[
        Path | None, typer.Option(help="Where the new run goes (default: beside the old one; a kit: .lockjaw/runs).")
    ] = None,
    yes_real: Annotated[
        bool, typer.Option("--yes-real", help="Let a kit or run folder from elsewhere start real processes here.")
    ] = False,
    target: Annotated[
        str | None, typer.Option("--target", help="The runtime that the run was against: NAME@VERSION or its file.")
    ] = None,
    as_json: JsonFlag = False,
) -> int:
    """Run again what a run folder or a kit holds, and compare verdict and steps.

    A simulated run repeats exactly, down to the event hash. Real processes repeat the verdict and the steps.

    Exit status: that of the verdict; 4 when the replay went another way.
    """
    if not run.exists():
        raise UsageError(str(run), "", "the folder of a finished run, or a kit; no file has this name")
    kept = _from_kit(run, out, yes_real=yes_real) if run.is_file() else _from_folder(run, out, yes_real=yes_real)
    was = str(kept.manifest.get("target", BUILTIN))
    if is_described(was):
        from lockjaw.cli.target.playing import Playing, replay_against_described

        playing = Playing(out=kept.out, seed=kept.manifest["seed"], time_scale=kept.manifest["time_scale"])
        return replay_against_described(
            kept.scenario, kept.path, was, target, playing, then=(kept.verdict, kept.event_hash), as_json=as_json
        )
    if target is not None:
        raise UsageError("--target", "", f"no target: the run was against {was}", target)
    if was != BUILTIN:
        from lockjaw.cli.openclaw.campaigns import replay_against

        return replay_against(
            kept.scenario, kept.manifest, kept.path, kept.verdict, kept.event_hash, as_json=as_json, out=kept.out,
            approved=kept.approved,
        )  # fmt: skip
    return _again(kept, as_json=as_json)


class Replayed(msgspec.Struct, frozen=True):
    """What a replay repeats. ``history`` and ``why``: of a kit, to say where another history parts, and why it may.

    ``choices``: the tape of a simulated run. ``out``: where the new run goes, None being ``.lockjaw/runs``.
    ``approved``: the tool calls that real processes may perform, None being all.
    """

    path: Path
    scenario: Scenario
    manifest: dict[str, Any]
    verdict: str
    event_hash: str
    choices: Choices | None
    out: Path | None
    history: Sequence[Record] | None = None
    why: str = ""
    approved: frozenset[str] | None = None


def _from_folder(run: Path, out: Path | None, *, yes_real: bool) -> Replayed:
    kept = read_kept(run)
    manifest, approved = kept.manifest, None
    choices = StrictReplay(kept.tape) if manifest["engine"] == "sim" else None
    if manifest["engine"] != "sim" or kept.target != BUILTIN:
        stranger = not is_ours(manifest, kept.stored)
        if stranger:  # where programs are installed, and what they may reach, is for this user to say
            manifest = {key: value for key, value in manifest.items() if key not in ("cache", "allow_network")}
        approved = approved_calls(run, kept.scenario, target=kept.target, stranger=stranger, yes_real=yes_real)
    out = out or run.resolve().parent.parent
    was = kept.run
    return Replayed(run, kept.scenario, manifest, was.verdict, was.event_hash, choices, out, approved=approved)


def _from_kit(path: Path, out: Path | None, *, yes_real: bool) -> Replayed:
    from lockjaw.harness.kit.reading import read_kit

    kit = read_kit(path)
    approved = None
    if kit.manifest.starts_processes:
        approved = approved_calls(path, kit.scenario, target=kit.manifest.target, stranger=True, yes_real=yes_real)
    manifest = msgspec.to_builtins(kit.manifest)
    choices = StrictReplay(kit.tape) if kit.manifest.engine == "sim" else None
    verdict, event_hash = kit.manifest.verdict, kit.manifest.event_hash
    why = kit.why_it_may_differ()
    return Replayed(path, kit.scenario, manifest, verdict, event_hash, choices, out, kit.history, why, approved)


def _again(of: Replayed, *, as_json: bool) -> int:
    manifest = of.manifest
    with run_progress(quiet=as_json) as progress:
        progress.begin(f"{of.scenario.name}, seed {manifest['seed']}, again", [manifest["policy"]])
        try:
            again = run_policies(
                of.scenario, [manifest["policy"]], engine=manifest["engine"], seed=manifest["seed"],
                time_scale=manifest["time_scale"], out=of.out, progress=progress.record, choices=of.choices,
                approved=of.approved,
            )[0]  # fmt: skip
        except ReplayDiverged as error:
            raise HarnessError("; ".join(filter(None, (str(error), of.why))), str(of.path)) from error
    shown = pages.write_pages([again])
    same_verdict, same_hash = of.verdict == again.verdict, of.event_hash == again.event_hash
    if as_json:
        compared = {"of": str(of.path), "same_verdict": same_verdict, "same_event_hash": same_hash}
        sys.stdout.write(document.to_json(document.document([again], command="replay", replay=compared)))
    else:
        text.print_report([again], notes=shown)
        show(_compared(of, again, same_verdict=same_verdict, same_hash=same_hash))
    if of.choices is not None and not same_hash:
        raise HarnessError(_parted(of, again.history), str(again.run_dir))
    if not same_verdict:
        said = f"the replay is {again.verdict}, the run was {of.verdict}"
        raise HarnessError("; ".join(filter(None, (said, of.why))), str(again.run_dir))
    return again.verdict.exit_status


def _compared(of: Replayed, again: Run, *, same_verdict: bool, same_hash: bool) -> str:
    """Was the run repeated? In words, with what is the same and what is not."""
    verdicts = f"{again.verdict} again" if same_verdict else f"{of.verdict} then, {again.verdict} now"
    if of.choices is None:
        steps = "the same steps" if same_hash else "other steps (real processes: the order of close events may vary)"
    else:
        steps = "the same event hash" if same_hash else f"event hash {of.event_hash} then, {again.event_hash} now"
    repeated = same_verdict and (same_hash or of.choices is None)
    return f"The run was {'' if repeated else 'NOT '}repeated: {verdicts}, {steps} (of {of.path})."


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
