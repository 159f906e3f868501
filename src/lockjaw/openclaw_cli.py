"""``lockjaw openclaw ...``: the real program over its published versions. Argument parsing only."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

openclaw_app = typer.Typer(
    help="Run incidents against the real OpenClaw, by version.", no_args_is_help=True, rich_markup_mode=None
)

CacheFolder = Annotated[Path | None, typer.Option(help="Where versions are installed (default: the user's cache).")]
AllowNetwork = Annotated[
    bool, typer.Option(help="Run the real program with the machine's network where no namespace can be made.")
]
TimeoutS = Annotated[float | None, typer.Option(min=1, help="Instead of the scenario's timeout_s: shorter runs.")]
Out = Annotated[Path | None, typer.Option(help="Where run folders go (default: .lockjaw/runs).")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]


@openclaw_app.command("install", short_help="Install versions (600 MB and a minute each).")
def openclaw_install(
    versions: Annotated[list[str], typer.Argument(help="Such as 2026.4.8.")], cache: CacheFolder = None
) -> None:
    """Install versions into the cache (600 MB and about a minute each)."""
    from lockjaw.openclaw_commands import install_command

    sys.exit(install_command(versions, cache))


@openclaw_app.command("demo", short_help="The incident, with each of the two command lines.")
def openclaw_demo(
    version: Annotated[str, typer.Option(help="A published version.")] = "2026.4.8",
    cache: CacheFolder = None,
    allow_network: AllowNetwork = False,
    out: Out = None,
    as_json: JsonFlag = False,
) -> None:
    """The incident with the real program, twice: `openclaw agent` gets no answer, `lockjaw agent` gets one.

    Installs the version if need be, then takes about seven minutes, nearly all of them waiting.

    Exit status: 0 shown, 1 it came out otherwise (a busy machine?), 2 usage, 4 the harness failed.
    """
    from lockjaw.harness.targets.openclaw.campaign import Options
    from lockjaw.openclaw_commands import demo_command

    options = Options(cache=cache, allow_network=allow_network, out=out)
    sys.exit(demo_command(version, options, as_json=as_json))


@openclaw_app.command("matrix", short_help="Scenarios against versions, as a table.")
def openclaw_matrix(
    versions: Annotated[str, typer.Option(help="Versions, separated by commas.")],
    scenario: Annotated[str, typer.Option(help="Scenarios, separated by commas.")] = "gateway_timeout",
    timeout_s: TimeoutS = None,
    cache: CacheFolder = None,
    allow_network: AllowNetwork = False,
    out: Out = None,
    as_json: JsonFlag = False,
) -> None:
    """Run scenarios against several versions, and show the verdicts as a table.

    Exit status: 0 HELD, 1 VIOLATED, 2 usage, 3 UNKNOWN, 4 the harness failed.
    """
    from lockjaw.harness.targets.openclaw.campaign import Options
    from lockjaw.openclaw_commands import matrix_command

    options = Options(cache=cache, allow_network=allow_network, timeout_s=timeout_s, out=out)
    sys.exit(matrix_command(versions, scenario, options, as_json=as_json))


@openclaw_app.command("bisect", short_help="The first version with another verdict.")
def openclaw_bisect(
    good: Annotated[str, typer.Option(help="A published version at one end.")],
    bad: Annotated[str, typer.Option(help="A published version at the other end.")],
    scenario: Annotated[str, typer.Option(help="One scenario.")] = "gateway_timeout",
    check: Annotated[str, typer.Option(help="The law whose verdict changed.")] = "never_session_locked",
    timeout_s: TimeoutS = None,
    cache: CacheFolder = None,
    allow_network: AllowNetwork = False,
    out: Out = None,
    as_json: JsonFlag = False,
) -> None:
    """Search the first published version (no betas) with another verdict of one check.

    Exit status: 0 found, 2 usage, 4 the ends do not differ or cannot be run.
    """
    from lockjaw.harness.targets.openclaw.campaign import Options
    from lockjaw.openclaw_commands import bisect_command

    options = Options(cache=cache, allow_network=allow_network, timeout_s=timeout_s, out=out)
    sys.exit(bisect_command(scenario, good, bad, check, options, as_json=as_json))


@openclaw_app.command("fidelity", short_help="Versions beside the policies that model them.")
def openclaw_fidelity(
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
) -> None:
    """Put each version beside the built-in policy that models it: order of events, durations, error lines.

    Exit status: 0 all equal or explained, 1 a difference is not explained, 2 usage, 4 the harness failed.
    """
    from lockjaw.harness.targets.openclaw.campaign import Options
    from lockjaw.openclaw_commands import fidelity_command

    options = Options(cache=cache, allow_network=allow_network, timeout_s=timeout_s, out=out)
    sys.exit(fidelity_command(versions, scenario, options, kept=kept or (), as_json=as_json))
