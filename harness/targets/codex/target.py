"""Codex keeps a conversation as a rollout: one JSON object a line, of which ``response_item`` are the messages."""

from __future__ import annotations

import glob
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..program import Program as Base
from ..session import Message, words
from ..user import Way

__all__ = ["Program"]


#: The first version whose ``exec`` asks an app server; before, only other people's clients did.
REMOTE_SINCE = (0, 171)


class Program(Base):
    def turn(self, way: Way) -> tuple[str, ...]:
        if way == "gateway" and tuple(int(n) for n in re.findall(r"\d+", self.version)[:2]) < REMOTE_SINCE:
            asking = (sys.executable, "-P", "-m", f"{__package__}.ask")
            return (*asking, "ws://127.0.0.1:{port}", "{session}", "{message}")
        return super().turn(way)

    def messages(self, values: Mapping[str, str]) -> list[Message]:
        pattern = f"{values['home']}/.codex/sessions/*/*/*/*{values['session']}.jsonl"
        found = sorted(glob.glob(pattern))
        return from_rollout(Path(found[-1]).read_text(encoding="utf-8").splitlines()) if found else []


def from_rollout(lines: Iterable[str]) -> list[Message]:
    """The messages of a rollout; what the program adds to the user's words (``<environment_context>``) is none."""
    read = (_message(json.loads(line)) for line in lines if line.strip())
    return [message for message in read if message is not None]


def _message(data: Mapping[str, Any]) -> Message | None:
    payload = data.get("payload") or {}
    if data.get("type") != "response_item":
        return None
    match payload.get("type"):
        case "message" if payload.get("role") in ("user", "assistant"):
            text = words(payload.get("content"))
            return None if text.startswith("<") else Message(payload["role"], text)
        case "function_call":
            return Message("assistant", "", (str(payload["call_id"]),))
        case "function_call_output":
            return Message("tool", "", (), str(payload["call_id"]))
        case _:
            return None
