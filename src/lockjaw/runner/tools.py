"""The tools that the model may call: ``read``, ``write``, ``exec``.

A tool never raises for what the model asked: wrong arguments, a missing file or a failing command are results
with ``is_error``, for the model to read. ``run_tool`` is the one entry; it checks the arguments against the
tool's schema first. Only cancellation passes through.

``exec`` is **not a sandbox**: see ``lockjaw.runner.command``. ``read`` and ``write`` are confined to the
workspace, see ``lockjaw.runner.workspace``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lockjaw.clock import Clock
from lockjaw.runner import command, schema, workspace

EXEC_TIMEOUT_S = 60.0  # nominal; the most that a call can ask for


@dataclass(frozen=True)
class ToolContext:
    """Where and for whom a tool runs."""

    workspace: Path
    clock: Clock
    run_id: str
    tool_call_id: str


@dataclass(frozen=True)
class ToolOutcome:
    """What the model is told. ``details`` is for people and checkers; plain JSON."""

    text: str
    is_error: bool = False
    details: dict[str, Any] | None = None


class Tool(Protocol):
    """A tool. ``harmless``: it may be run again when the outcome of a first run is unknown."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def schema(self) -> dict[str, Any]: ...
    @property
    def harmless(self) -> bool: ...

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        """Run with arguments that fit the schema."""
        ...


def built_in_tools() -> dict[str, Tool]:
    """The built-in tools by name."""
    tools: tuple[Tool, ...] = (ReadTool(), WriteTool(), ExecTool())
    return {tool.name: tool for tool in tools}


def tool_definitions(tools: Mapping[str, Tool]) -> list[dict[str, Any]]:
    """The ``tools`` of a chat-completions request."""
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": tool.schema},
        }
        for tool in tools.values()
    ]


async def run_tool(
    tools: Mapping[str, Tool], name: str, arguments: dict[str, Any], context: ToolContext
) -> ToolOutcome:
    """Check the arguments and run the tool. Whatever goes wrong is the outcome; only cancellation is raised."""
    tool = tools.get(name)
    if tool is None:
        return ToolOutcome(f"Unknown tool {name!r}. Available tools: {', '.join(sorted(tools)) or 'none'}.", True)
    wrong = schema.problems(tool.schema, arguments)
    if wrong:
        return ToolOutcome(f"Invalid arguments for {name}: " + "; ".join(wrong), True, {"invalid": wrong})
    try:
        return await tool.run(arguments, context)
    except workspace.Refused as error:
        return ToolOutcome(f"Refused: {error}", True, {"refused": True})
    except OSError as error:
        return ToolOutcome(f"{name} failed: {error.strerror or error}", True)
    except Exception as error:  # a tool of somebody else: its bug must not end the user's turn
        return ToolOutcome(f"{name} failed: {type(error).__name__}: {error}", True)


def _parameters(required: tuple[str, ...], **properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_PATH = {"type": "string", "minLength": 1, "description": "Path of the file, relative to the workspace."}


@dataclass(frozen=True)
class ReadTool:
    """Reads text. Harmless: reading twice changes nothing."""

    name: str = "read"
    harmless: bool = True
    limit_bytes: int = workspace.READ_LIMIT_BYTES

    @property
    def description(self) -> str:
        return f"Read a text file of the workspace, at most {self.limit_bytes} bytes at a time."

    @property
    def schema(self) -> dict[str, Any]:
        offset = {"type": "integer", "minimum": 0, "description": "Byte to begin at; 0 by default."}
        return _parameters(("path",), path=_PATH, offset_bytes=offset)

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        offset = arguments.get("offset_bytes", 0)
        piece = workspace.read(context.workspace, arguments["path"], offset=offset, limit=self.limit_bytes)
        data = piece.data
        if piece.end < piece.size:
            data = _whole_characters(data)
        end = offset + len(data)
        text = data.decode("utf-8", errors="replace")
        if end < piece.size:
            text += f"\n[bytes {offset} to {end} of {piece.size}; go on with offset_bytes={end}]"
        return ToolOutcome(text, details={"bytes": len(data), "size": piece.size})


@dataclass(frozen=True)
class WriteTool:
    """Replaces a file as a whole."""

    name: str = "write"
    description: str = "Write a text file of the workspace as a whole; parent folders are made."
    harmless: bool = False

    @property
    def schema(self) -> dict[str, Any]:
        return _parameters(("path", "content"), path=_PATH, content={"type": "string"})

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        data = arguments["content"].encode("utf-8", errors="surrogatepass")
        tag = f"{context.run_id}/{context.tool_call_id}"
        new = workspace.write(context.workspace, arguments["path"], data, tag=tag)
        verb = "Created" if new else "Replaced"
        return ToolOutcome(f"{verb} {arguments['path']} ({len(data)} bytes).", details={"bytes": len(data)})


@dataclass(frozen=True)
class ExecTool:
    """Runs a shell command in the workspace. Not a sandbox."""

    name: str = "exec"
    harmless: bool = False
    timeout_s: float = EXEC_TIMEOUT_S
    output_limit: int = command.OUTPUT_LIMIT_BYTES

    @property
    def description(self) -> str:
        return (
            f"Run a shell command (/bin/sh) in the workspace. It is stopped after {self.timeout_s:g} s, together "
            f"with what it started; the last {self.output_limit} bytes of its output are returned."
        )

    @property
    def schema(self) -> dict[str, Any]:
        timeout = {"type": "number", "minimum": 0.001, "maximum": self.timeout_s, "description": "Seconds."}
        return _parameters(("command",), command={"type": "string", "minLength": 1}, timeout_s=timeout)

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        timeout_s = arguments.get("timeout_s", self.timeout_s)
        context.workspace.mkdir(parents=True, exist_ok=True)
        if "\0" in arguments["command"]:
            return ToolOutcome("Refused: the command holds a NUL character", True, {"refused": True})
        result = await command.run(
            arguments["command"],
            workspace=context.workspace,
            environment=command.clean_environment(context.workspace, os.environ),
            timeout_s=timeout_s,
            clock=context.clock,
            output_limit=self.output_limit,
        )
        text = result.output.decode("utf-8", errors="replace")
        if result.dropped_bytes:
            text = f"[{result.dropped_bytes} bytes of earlier output left out]\n{text}"
        if result.timed_out:
            what = (
                "everything it had started that could be found"
                if result.all_ended
                else "its process group; a process that made itself a new session may still run"
            )
            text += f"\n[stopped after {timeout_s:g}s, with {what}]"
        elif result.exit_code is None:
            text += "\n[killed]"
        elif result.exit_code:
            text += f"\n[exit code {result.exit_code}]"
        details = {"exitCode": result.exit_code, "timedOut": result.timed_out}
        return ToolOutcome(text.lstrip("\n"), result.timed_out or result.exit_code != 0, details)


def _whole_characters(data: bytes) -> bytes:
    """Without a UTF-8 character that was cut off at the end; the next piece begins with it."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0xC0:  # the first byte of a longer character, and how long it is
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] or data if length > back else data
        if byte < 0x80:
            break
    return data
