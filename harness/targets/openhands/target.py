"""OpenHands keeps a conversation as a folder of events, one JSON file each; its clients speak REST."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..program import Program as Base
from ..session import Message, words
from ..user import Way

__all__ = ["Program", "from_events"]


class Program(Base):
    def turn(self, way: Way) -> tuple[str, ...]:
        """Its clients are web pages; ours is a module beside this one."""
        return (sys.executable, "-P", "-m", f"{__package__}.ask", *super().turn(way))

    def messages(self, values: Mapping[str, str]) -> list[Message]:
        folder = Path(values["home"]) / "conv" / values["session"].replace("-", "") / "events"
        return from_events(json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("event-*.json")))


def from_events(events: Iterable[Mapping[str, Any]]) -> list[Message]:
    """The messages, tool calls and results among the events; what else there is (state, titles) is none."""
    read = (_message(event) for event in events)
    return [message for message in read if message is not None]


def _message(event: Mapping[str, Any]) -> Message | None:
    match event.get("kind"):
        case "MessageEvent":
            said = event["llm_message"]
            return Message(str(said["role"]), words(said.get("content")))
        case "ActionEvent":
            return Message("assistant", "", (str(event["tool_call_id"]),))
        case "ObservationEvent" | "AgentErrorEvent":
            return Message("tool", "", (), str(event["tool_call_id"]))
        case _:
            return None
