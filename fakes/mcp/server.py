"""A tool with effects as an MCP server, by the official package ``mcp`` (extra ``mcp``): stdio or streamable HTTP.

What "executed once" is measured by in every runtime that speaks MCP: each call has its effect in the ledger, and the
plan says what then goes wrong. The order is always: effect, delay, death or answer.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from lockjaw.clock import Clock
from lockjaw.errors import LocalError

from ..serving import Ready, require_loopback
from .ledger import Ledger

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

__all__ = ["PATH", "Plan", "serve_http", "serve_stdio", "server_of"]

PATH = "/mcp"
_POLL_REAL_S = 0.01
_DRAIN_REAL_S = 1


class Plan(msgspec.Struct, frozen=True):
    """What the tool does. Calls are numbered by the ledger, across processes and restarts.

    ``slow_s``: nominal seconds between the effect and the answer. ``denies``: so many first calls are answered with an
    error and have no effect. ``dies``: in so many calls after those the server is killed after the effect, unanswered.
    """

    tool: str = "pay"
    slow_s: float = 0.0
    denies: int = 0
    dies: int = 0


def server_of(plan: Plan, ledger: Ledger, clock: Clock) -> MCPServer:
    """The server with its one tool. Raises LocalError if the package ``mcp`` is missing."""
    try:
        from mcp.server.mcpserver import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
    except ImportError as error:
        raise LocalError(
            f"an MCP server needs the package mcp, version 2 (pip install 'lockjaw[mcp]'): {error}"
        ) from None

    async def act(what: str) -> str:
        entry = ledger.enter(plan.tool, {"what": what}, denied_first=plan.denies)
        if entry.outcome == "denied":
            raise ToolError(f"{plan.tool} was denied (call {entry.number}); nothing was done")
        if plan.slow_s:
            await clock.sleep(plan.slow_s)
        if entry.number <= plan.denies + plan.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return f"{plan.tool} done: {what}"

    server = MCPServer("lockjaw")
    server.add_tool(act, plan.tool, description="Has an effect that is counted. what: on what it acts.")
    return server


async def serve_stdio(plan: Plan, ledger: Ledger, clock: Clock) -> None:
    """Serve the client that has started this process, until it closes our stdin."""
    await server_of(plan, ledger, clock).run_stdio_async()


async def serve_http(
    plan: Plan,
    ledger: Ledger,
    clock: Clock,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    allow_remote: bool = False,
    ready: Ready | None = None,
) -> None:
    """Serve ``http://HOST:PORT/mcp`` until SIGTERM or Ctrl-C. ``ready`` gets pid and port once it can be asked.

    Raises:
        LocalError: the address is not loopback or is taken, or the package ``mcp`` is missing.
    """
    require_loopback(host, allow_remote=allow_remote)
    app = server_of(plan, ledger, clock).streamable_http_app(streamable_http_path=PATH, host=host)
    import uvicorn  # comes with mcp

    try:
        listening = socket.create_server((host, port))
    except OSError as error:
        raise LocalError(f"cannot listen on {host}:{port}: {error}") from error
    with listening:
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=_DRAIN_REAL_S)
        server = uvicorn.Server(config)
        serving = asyncio.ensure_future(server.serve(sockets=[listening]))
        while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(_POLL_REAL_S)
        if ready is not None and server.started:
            ready(os.getpid(), listening.getsockname()[1])
        with suppress(KeyboardInterrupt):  # uvicorn raises the signal again that has ended it
            await serving
