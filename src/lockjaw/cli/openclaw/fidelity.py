"""``lockjaw openclaw fidelity``: each version beside the built-in policy that models it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from lockjaw.cli.consent import scenarios_to_start
from lockjaw.cli.openclaw.campaigns import say, watched
from lockjaw.cli.options import AllowNetwork, CacheFolder, JsonFlag, Out, TimeoutS, print_json
from lockjaw.errors import UsageError
from lockjaw.harness.incident.scenario import Scenario
from lockjaw.harness.kept import read_kept
from lockjaw.harness.run import Progress, run_policies
from lockjaw.harness.targets.openclaw.campaign import Options, run_version
from lockjaw.harness.targets.openclaw.fidelity import Fidelity, compare
from lockjaw.harness.targets.openclaw.versions import parse_target, parse_version, traits_of
from lockjaw.history import Record
from lockjaw.visible import show_text

__all__ = ["fidelity"]


def fidelity(
    versions: Annotated[str, typer.Option(help="Versions, separated by commas.")] = "2026.4.8,2026.5.7,2026.9.6",
    scenario: Annotated[str, typer.Option(help="One scenario.")] = "gateway_timeout",
    kept: Annotated[
        list[Path] | None, typer.Option(metavar="RUN_DIR", help="A finished run of the real program: no new one.")
    ] = None,
    timeout_s: TimeoutS = None,
    cache: CacheFolder = None,
    allow_network: AllowNetwork = False,
    out: Out = None,
    as_json: JsonFlag = False,
) -> int:
    """Put each version beside the built-in policy that models it: order of events, durations, error lines.

    Exit status: 0 all equal or explained, 1 a difference is not explained, 2 usage, 4 the harness failed.
    """
    options = Options(cache=cache, allow_network=allow_network, timeout_s=timeout_s, out=out)
    with watched(as_json) as progress:
        wanted = _kept(kept) if kept else _fresh(versions, scenario, options, progress)
        found = [_beside_model(*one, options) for one in wanted]
    if as_json:
        tables = [
            {"real": f.real, "model": f.model, "rows": [vars(row) for row in f.rows], "unexplained": len(f.unexplained)}
            for f in found
        ]
        print_json("openclaw fidelity", {"tables": tables})
    else:
        show_text("\n".join(one.markdown() for one in found))
    return 1 if any(one.unexplained for one in found) else 0


def _kept(folders: Sequence[Path]) -> Iterator[tuple[str, Sequence[Record], Scenario]]:
    for folder in folders:
        kept = read_kept(folder)
        yield kept.target, kept.run.history, kept.scenario


def _fresh(
    versions: str, scenario: str, options: Options, progress: Progress
) -> Iterator[tuple[str, Sequence[Record], Scenario]]:
    [loaded] = scenarios_to_start([scenario])
    if options.timeout_s is not None:
        loaded = msgspec.structs.replace(loaded, timeout_s=options.timeout_s)
    for part in versions.split(","):
        run = run_version(loaded, parse_version(part.strip(), source="--versions"), options, say, progress)
        yield run.target, run.history, loaded


def _beside_model(name: str, history: Sequence[Record], scenario: Scenario, options: Options) -> Fidelity:
    version = parse_target(name)
    if version is None:
        raise UsageError("--kept", "", "runs against openclaw@VERSION", name)
    policy = traits_of(version).policy
    # Simulated: the model's durations are then its own, and not those of a busy machine times 25.
    model = run_policies(scenario, [policy], engine="sim", seed=options.seed, out=options.out)[0]
    return compare(name, history, policy, model.history)
