"""``lockjaw agent``: the real client with fallback."""

from __future__ import annotations

from typing import Annotated

import typer

from lockjaw.cli.options import ConfigFile, JsonFlag, Password, ReadyFd, StateDir, Token, check_policy, runtime_settings
from lockjaw.errors import UsageError
from lockjaw.process import appear_as_openclaw
from lockjaw.runner.agent import AgentRequest, agent_main

__all__ = ["agent"]


def agent(
    message: Annotated[str, typer.Option("--message", "-m", help="The user's text.")],
    agent_id: Annotated[str | None, typer.Option("--agent", help="Agent whose main session is asked.")] = None,
    to: Annotated[str | None, typer.Option("--to", "-t", help="Recipient whose session is asked.")] = None,
    session_id: Annotated[str | None, typer.Option(help="Session to ask.")] = None,
    timeout: Annotated[
        str | None, typer.Option(help="Seconds for one run; 0 means no limit (default: the configuration's).")
    ] = None,
    policy: Annotated[
        str, typer.Option(help="When the gateway fails: takeover, reuse-session, fresh-session or no-fallback.")
    ] = "takeover",
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds that a takeover may take after the deadline.")
    ] = 600.0,
    local: Annotated[bool, typer.Option("--local", help="Run the turn in this process; ask no gateway.")] = False,
    as_json: JsonFlag = False,
    url: Annotated[str | None, typer.Option(help="Gateway address, ws:// or wss://.")] = None,
    token: Token = None,
    password: Password = None,
    state_dir: StateDir = None,
    config: ConfigFile = None,
    ready_fd: ReadyFd = None,
    go_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> int:
    """Ask an agent through the gateway, and take the turn over when the gateway does not answer.

    A drop-in for `openclaw agent`: same state folder, same wire, same files.

    Exit status: 0 answered, 1 no answer, 2 usage, 5 answered but the turn may run twice, 130/143 interrupted.
    """
    appear_as_openclaw("agent")
    known = runtime_settings(
        needs_models=local and not as_json, state_dir=state_dir, config_path=config, url=url, token=token,
        password=password,
    )  # fmt: skip
    request = AgentRequest(
        message=message, agent_id=agent_id, to=to, session_id=session_id, timeout_s=_timeout(timeout),
        policy=check_policy(policy), patience_s=patience, local=local, as_json=as_json,
    )  # fmt: skip
    return agent_main(known, request, ready_fd=ready_fd, go_fd=go_fd)


def _timeout(text: str | None) -> float | None:
    if text is None:
        return None
    if not text.isdigit():
        raise UsageError("--timeout", "", "a non-negative integer (seconds; 0 means no timeout)", text)
    return float(text)
