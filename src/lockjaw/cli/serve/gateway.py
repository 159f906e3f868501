"""``lockjaw serve gateway``."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated

import typer

from lockjaw.cli.options import AllowRemote, Host, JournalFile, Port, ReadyFd, Seed
from lockjaw.cli.serve.start import Start
from lockjaw.errors import LocalError
from lockjaw.fakes.gateway import scripts
from lockjaw.fakes.gateway.script import load_gateway_script
from lockjaw.fakes.gateway.server import MockGateway
from lockjaw.visible import columns, show, show_as_it_is

__all__ = ["gateway"]


def gateway(
    name: Annotated[str | None, typer.Argument(help="A script that comes with Lockjaw; see --list.")] = None,
    script: Annotated[Path | None, typer.Option(help="YAML script of your own: what it does.")] = None,
    list_scripts: Annotated[bool, typer.Option("--list", help="List the scripts that come with Lockjaw.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the named script, to start your own from.")] = False,
    state_dir: Annotated[
        Path | None, typer.Option(help="Where its runs hold session locks, if the script says that they do.")
    ] = None,
    port: Port = 0,
    host: Host = "127.0.0.1",
    journal: JournalFile = None,
    seed: Seed = 1,
    allow_remote: AllowRemote = False,
    ready_fd: ReadyFd = None,
) -> int:
    """Play a gateway that fails in a known way.

    It plays one script until SIGTERM or Ctrl-C: NAME, such as `never_final`, or your own with --script. Point a client
    at it with OPENCLAW_GATEWAY_URL=ws://127.0.0.1:PORT (and any OPENCLAW_GATEWAY_TOKEN).

    It prints each request that the script does not expect, at once. The exit status is 1 if there was one, or if the
    clients did not do what the script expects of them.
    """
    if list_scripts:
        _print_scripts()
        return 0
    if (name is None) == (script is None):
        raise LocalError(
            "say which script: NAME (lockjaw serve gateway --list) or --script FILE"
            + (", not both" if name is not None else "")
        )
    if show and name is not None:
        show_as_it_is(scripts.read_text(name))
        return 0
    loaded = scripts.load(name).gateway if name is not None else load_gateway_script(script or "")
    start = Start("mock gateway", host, port, journal, allow_remote, ready_fd)
    server = MockGateway(
        loaded, clock=start.clock, recorder=start.recorder, journal=journal, seed=seed, state_dir=state_dir
    )  # fmt: skip
    return 1 if start.run(server) else 0


def _print_scripts() -> None:
    """Every ready-made script by group: its name, and what it shows."""
    for group, named in scripts.listed():
        show(f"{group}:")
        for name, file in named.items():
            about = " ".join(file.about.split())
            show(f"  {name}", *textwrap.wrap(about, columns(), initial_indent=" " * 4, subsequent_indent=" " * 4))
