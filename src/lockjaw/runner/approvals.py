"""Which tool calls may be performed: every one, or only those that somebody has read and approved.

``LOCKJAW_APPROVED_CALLS`` names a JSON file, a list of call keys. A process with that variable performs no other call,
whatever a model asks for and however the request reached it; the model reads that the call was refused. The check
stands in front of the tool itself, so no description of what a model is going to say has to be believed.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockjaw.errors import SessionLocked, UsageError
from lockjaw.runner.tools import Tool, ToolContext, ToolOutcome, built_in_tools

__all__ = ["APPROVED_KEY", "Approved", "FailClosed", "call_key", "permitted_tools", "write_approved"]

APPROVED_KEY = "LOCKJAW_APPROVED_CALLS"


def permitted_tools(env: Mapping[str, str]) -> dict[str, Tool]:
    """The built-in tools by name, each limited to the approved calls if the environment limits them.

    Raises:
        UsageError: the file is missing, or is no JSON list of texts. A limit that cannot be read is never no limit.
    """
    path, tools = env.get(APPROVED_KEY), built_in_tools()
    if path is None:
        return tools
    keys = _read_approved(path)
    return {name: Approved(tool, keys) for name, tool in tools.items()}


def call_key(name: str, arguments: Mapping[str, Any]) -> str:
    """A tool call as one text: equal for equal calls, whatever the order of their arguments."""
    return f"{name} {json.dumps(arguments, sort_keys=True, ensure_ascii=False)}"


def write_approved(path: Path, keys: Collection[str]) -> None:
    """Write the file that a process with ``LOCKJAW_APPROVED_CALLS`` reads."""
    path.write_text(json.dumps(sorted(keys)), encoding="ascii")


@dataclass(frozen=True)
class _Guarded:
    """A tool that stands behind a check."""

    tool: Tool

    @property
    def name(self) -> str:
        return self.tool.name

    @property
    def description(self) -> str:
        return self.tool.description

    @property
    def schema(self) -> dict[str, Any]:
        return self.tool.schema

    @property
    def harmless(self) -> bool:
        return self.tool.harmless


@dataclass(frozen=True)
class Approved(_Guarded):
    """A tool that refuses every call but the approved ones."""

    keys: Collection[str]

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        if call_key(self.name, arguments) not in self.keys:
            return ToolOutcome(f"Refused: this call of {self.name} was not approved", True, {"refused": True})
        return await self.tool.run(arguments, context)


@dataclass(frozen=True)
class FailClosed(_Guarded):
    """A tool whose permission is read under the lock of the session list, and refused where the lock is not to be had.

    Upstream's exec approvals (#112240: a store that is busy for some seconds reads as a security misconfiguration). To
    be shown, not used.
    """

    read: Callable[[], Awaitable[object]]

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        try:
            await self.read()
        except SessionLocked:
            return ToolOutcome(f"{self.name} denied: host=gateway security=deny", True, {"refused": True})
        return await self.tool.run(arguments, context)


def _read_approved(path: str) -> frozenset[str]:
    expected = "a JSON file that lists the approved tool calls"
    try:
        keys = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(APPROVED_KEY, "", f"{expected} ({error})", path) from error
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise UsageError(APPROVED_KEY, "", expected, path)
    return frozenset(keys)
