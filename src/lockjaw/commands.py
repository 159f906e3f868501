"""What ``lockjaw run``, ``replay`` and ``report`` do: the harness makes runs, the reports show them.

Harness and reports do not know each other; they meet here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lockjaw.errors import HarnessError, SettingsError
from lockjaw.harness.run import Run, run_policies, run_scenario
from lockjaw.harness.scenario import Scenario, load_scenario
from lockjaw.harness.store import HISTORY, SCENARIO, VERDICT, RunDirectory
from lockjaw.history import Record, read_records
from lockjaw.reports import document, junit, markdown, text
from lockjaw.settings import POLICIES

Progress = Callable[[str, Record], None]


@dataclass(frozen=True)
class RunOptions:
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


def run_command(names: Sequence[str], options: RunOptions) -> int:
    """Run scenarios, report, and return the exit status."""
    policies = list(POLICIES) if options.policy == "all" else [options.policy]
    if options.policy != "all" and options.policy not in POLICIES:
        raise SettingsError("--policy", "", f"all, or one of {', '.join(POLICIES)}", options.policy)
    for file in (options.junit, options.markdown):
        if file is not None and not file.absolute().parent.is_dir():
            raise SettingsError(str(file), "", "a file in a folder that exists")
    scenarios = [load_scenario(name) for name in names]  # all of them first: a typo must not cost a run
    runs: list[Run] = []
    with _status_line(options.as_json) as progress:
        for scenario in scenarios:
            for seed in range(options.seed, options.seed + options.seeds):
                runs += run_policies(
                    scenario, policies, engine=options.engine, seed=seed, time_scale=options.time_scale,
                    out=options.out, progress=progress,
                )  # fmt: skip
    if options.junit:
        options.junit.write_text(junit.render(runs), encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(markdown.render(runs), encoding="utf-8")
    if options.as_json:
        sys.stdout.write(document.to_json(document.document(runs)))
    else:
        text.print_report(runs)
    return document.exit_status(runs)


def replay_command(run_dir: Path, *, as_json: bool) -> int:
    """Run again what a run folder holds, and say whether verdict and causal skeleton are the same.

    Returns the exit status of the replayed verdict, or 4 when the verdict is another one.
    """
    kept = read_run(run_dir)
    manifest = RunDirectory(run_dir).manifest()
    scenario = msgspec.convert(msgspec.json.decode((run_dir / SCENARIO).read_bytes()), Scenario)
    with _status_line(as_json) as progress:
        again = run_scenario(
            scenario, policy=manifest["policy"], engine=manifest["engine"], seed=manifest["seed"],
            time_scale=manifest["time_scale"], out=run_dir.absolute().parent.parent, progress=progress,
        )  # fmt: skip
    then, now = kept.document(), again.document()
    same_verdict, same_hash = then["verdict"] == now["verdict"], then["event_hash"] == now["event_hash"]
    if as_json:
        compared = {"of": str(run_dir), "same_verdict": same_verdict, "same_event_hash": same_hash}
        sys.stdout.write(document.to_json(document.document([again], command="replay", replay=compared)))
    else:
        text.print_report([again])
        print(f"replay of {run_dir}: verdict {then['verdict']}, now {now['verdict']}; ", end="")
        print("same steps" if same_hash else "not the same steps (real processes: the order of close events may vary)")
    if not same_verdict:
        raise HarnessError(f"the replay is {now['verdict']}, the run was {then['verdict']}", str(again.run_dir))
    return again.verdict.exit_status


def report_command(run_dir: Path, *, as_markdown: bool, as_json: bool) -> int:
    """Show a kept run again."""
    kept = read_run(run_dir)
    if as_json:
        sys.stdout.write(document.to_json(document.document([kept], command="report")))
    elif as_markdown:
        sys.stdout.write(markdown.render([kept]))
    else:
        text.print_report([kept])
    return document.exit_status([kept])


@dataclass(frozen=True)
class KeptRun:
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


@contextmanager
def _status_line(quiet: bool) -> Iterator[Progress | None]:
    """On a terminal: one line on stderr with the nominal time and who holds the lock, while runs go on."""
    if quiet or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    from rich.console import Console

    console = Console(stderr=True)
    holders: dict[str, str] = {}
    with console.status("starting processes ...") as status:

        def progress(policy: str, record: Record) -> None:
            if record.op == "lock" and record.phase == "ok" and "store" not in str(record.data.get("owner")):
                holders[policy] = record.actor
            elif record.op == "lock.release":
                holders[policy] = "free"
            locks = ", ".join(f"{name}: {holder}" for name, holder in sorted(holders.items()))
            status.update(f"{record.t:6.1f} s  lock {locks or 'free'}"[: console.width - 4])

        yield progress
