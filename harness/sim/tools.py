"""The built-in tools over simulated files. ``exec`` knows a few commands, which is all that scenarios need."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from lockjaw.errors import HarnessError
from lockjaw.runner.tools import ExecTool, ReadTool, Tool, ToolContext, ToolOutcome, WriteTool

from .disk import Disk
from .process import Process

_APPEND = re.compile(r"echo (?P<text>[^>|;&]*?)\s*>>\s*(?P<file>[\w./-]+)")
_SLEEP = re.compile(r"sleep (?P<seconds>[\d.]+)")
_STARTING_S = 0.02  # what a shell needs to start and to end


@dataclass(frozen=True)
class _Place:
    process: Process
    disk: Disk

    def path(self, context: ToolContext, name: str) -> str:
        return f"{context.workspace}/{name}"

    def write(self, path: str, data: bytes, *, append: bool) -> None:
        value = self.process.world.point(self.process, "Effect", path)
        self.disk.make_folder(path.rpartition("/")[0])
        file = self.disk.open(path, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else 0), self.process)
        if not append:
            self.disk.cut(file, 0)
        self.disk.write(file, data, 0)
        self.disk.close(file.fd)
        if value:
            self.process.world.die(self.process, f"after Effect {self.process.world.short(path)}")


@dataclass(frozen=True)
class SimExec(ExecTool):
    """``echo TEXT >> FILE``, ``sleep N``, ``true`` and ``false``, joined by ``&&`` or ``;``."""

    place: _Place | None = None

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        assert self.place is not None
        await context.clock.sleep(_STARTING_S)
        for command in re.split(r"&&|;", arguments["command"]):
            command = command.strip()
            if found := _APPEND.fullmatch(command):
                text = found["text"].strip().strip("'\"")
                self.place.write(self.place.path(context, found["file"]), f"{text}\n".encode(), append=True)
            elif found := _SLEEP.fullmatch(command):
                await context.clock.sleep(float(found["seconds"]))
            elif command == "false":
                return ToolOutcome("[exit code 1]", True, {"exitCode": 1, "timedOut": False})
            elif command != "true":
                raise HarnessError(
                    f"the simulation does not know the command {command!r}; run this scenario with --engine real"
                )
        await context.clock.sleep(_STARTING_S)
        return ToolOutcome("", False, {"exitCode": 0, "timedOut": False})


@dataclass(frozen=True)
class SimRead(ReadTool):
    place: _Place | None = None

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        assert self.place is not None
        data = bytes(self.place.disk.inode(self.place.path(context, arguments["path"])).data)
        offset = arguments.get("offset_bytes", 0)
        piece = data[offset : offset + self.limit_bytes]
        return ToolOutcome(piece.decode(errors="replace"), details={"bytes": len(piece), "size": len(data)})


@dataclass(frozen=True)
class SimWrite(WriteTool):
    place: _Place | None = None

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        assert self.place is not None
        data = arguments["content"].encode("utf-8", errors="surrogatepass")
        path = self.place.path(context, arguments["path"])
        verb = "Replaced" if path in self.place.disk.names else "Created"
        self.place.write(path, data, append=False)
        return ToolOutcome(f"{verb} {arguments['path']} ({len(data)} bytes).", details={"bytes": len(data)})


def sim_tools(process: Process, disk: Disk) -> dict[str, Tool]:
    place = _Place(process, disk)
    tools: tuple[Tool, ...] = (SimRead(place=place), SimWrite(place=place), SimExec(place=place))
    return {tool.name: tool for tool in tools}
