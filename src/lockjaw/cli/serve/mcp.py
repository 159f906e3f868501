"""``lockjaw serve mcp``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from lockjaw.cli.options import AllowRemote, Host, Port, ReadyFd, check_file_to_write
from lockjaw.clock import ScaledClock
from lockjaw.fakes.mcp.ledger import Ledger
from lockjaw.fakes.mcp.server import PATH, Plan, serve_http, serve_stdio
from lockjaw.process import announce_ready
from lockjaw.visible import tell

__all__ = ["mcp"]


def mcp(
    ledger: Annotated[
        Path, typer.Option(metavar="FILE", help="Each call is entered in this JSONL file, then answered.")
    ],
    http: Annotated[bool, typer.Option("--http", help="Serve streamable HTTP (default: stdio, for a client).")] = False,
    tool: Annotated[str, typer.Option(help="Name of the tool; it takes one argument, `what`.")] = "pay",
    slow: Annotated[float, typer.Option(min=0, help="Seconds between the effect and the answer.")] = 0.0,
    deny: Annotated[int, typer.Option(min=0, help="The first N calls are errors, without effect.")] = 0,
    die: Annotated[
        int, typer.Option(min=0, help="In the N calls after those the server dies after the effect, unanswered.")
    ] = 0,
    host: Host = "127.0.0.1",
    port: Port = 0,
    allow_remote: AllowRemote = False,
    ready_fd: ReadyFd = None,
) -> None:
    """Serve a tool with effects over MCP: slow, failing, or dying after the effect and before the answer.

    The ledger numbers the calls across processes and restarts, so a client that starts the server again meets the rest
    of the plan. Needs the extra `mcp`.
    """
    check_file_to_write(ledger)
    plan, book, clock = Plan(tool, slow, deny, die), Ledger(ledger), ScaledClock.from_environment()
    if not http:
        asyncio.run(serve_stdio(plan, book, clock))
        return

    def ready(pid: int, bound: int) -> None:
        announce_ready(ready_fd, bound)
        tell(f"mcp ready on http://{host}:{bound}{PATH} (pid {pid}); Ctrl-C ends it")

    asyncio.run(serve_http(plan, book, clock, host=host, port=port, allow_remote=allow_remote, ready=ready))
