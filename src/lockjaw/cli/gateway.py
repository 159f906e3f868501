"""``lockjaw gateway run``: a gateway that runs turns."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from lockjaw import settings
from lockjaw.cli.options import ConfigFile, Password, ReadyFd, StateDir, Token, check_policy
from lockjaw.process import appear_as_openclaw
from lockjaw.runner.service import gateway_main

__all__ = ["run"]


def run(
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port to bind; 0 picks one (default: the configuration's, else 18789)."),
    ] = None,
    policy: Annotated[
        str, typer.Option(help="Behave like the version that has this fallback policy (takeover: Lockjaw's own).")
    ] = "takeover",
    drain: Annotated[float, typer.Option(min=0, help="Seconds that running turns may take after SIGTERM.")] = 5.0,
    token: Token = None,
    password: Password = None,
    state_dir: StateDir = None,
    config: ConfigFile = None,
    ready_fd: ReadyFd = None,
) -> int:
    """Run a gateway on loopback until SIGTERM or Ctrl-C."""
    appear_as_openclaw("gateway")
    known = settings.load(
        os.environ, state_dir=state_dir, config_path=config, port=port, token=token, password=password
    )  # fmt: skip
    return gateway_main(known, policy=check_policy(policy), drain_s=drain, ready_fd=ready_fd)
