"""What a target's file cannot say: a small class beside it."""

from __future__ import annotations

from collections.abc import Mapping

from .session import Message, Owner, messages_of, owners_of
from .spec import TargetSpec
from .user import Way

__all__ = ["Program"]


class Program:
    """What the file says. A class of this name beside ``target.toml`` (``target.py``) may replace any method."""

    def __init__(self, spec: TargetSpec, version: str) -> None:
        self.spec, self.version = spec, version

    def turn(self, way: Way) -> tuple[str, ...]:
        """The command of a turn, placeholders included: through the gateway, or in a process of its own."""
        return self.spec.client.own if way == "own" else self.spec.client.gateway

    def messages(self, values: Mapping[str, str]) -> list[Message]:
        """The conversation as it stands on disk, oldest first."""
        return messages_of(self.spec.messages, values, values["session"])

    def owners(self, values: Mapping[str, str]) -> list[Owner] | None:
        """Who owns the session now; None: it cannot be seen."""
        return owners_of(self.spec.holder, values)
