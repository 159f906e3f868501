"""``lockjaw gateway run``: a gateway that runs turns."""

from __future__ import annotations

from typing import Annotated

import typer

from lockjaw.cli.options import ConfigFile, Password, ReadyFd, StateDir, Token, check_policy, runtime_settings
from lockjaw.process import appear_as_openclaw
from lockjaw.runner.service import gateway_main
from lockjaw.visible import tell

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
    known = runtime_settings(
        needs_models=False, state_dir=state_dir, config_path=config, port=port, token=token, password=password
    )  # fmt: skip
    if not known.candidates:
        tell(f"lockjaw: {known.config_path} names no model (agents.defaults.model): every turn will fail")
    return gateway_main(known, policy=check_policy(policy), drain_s=drain, ready_fd=ready_fd)
