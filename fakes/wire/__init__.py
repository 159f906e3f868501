"""The wire surfaces of the fake model server, and which of them a request is for. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lockjaw.fakes.wire.openai_chat import OpenAIChat
from lockjaw.fakes.wire.surface import Surface

OPENAI_CHAT = OpenAIChat()
SURFACES: dict[str, Surface] = {surface.name: surface for surface in (OPENAI_CHAT,)}


@dataclass(frozen=True, slots=True)
class Route:
    """``unknown``: no surface has such a path; the error goes out in the form of the likeliest one."""

    surface: Surface
    what: Literal["chat", "models", "unknown"]


def route(method: str, path: str, header: Callable[[str], str]) -> Route:
    """Whose request this is, by its path; ``header`` gives a header by its lower-case name."""
    path = path.rstrip("/")
    if method == "POST" and path.endswith("/chat/completions"):
        return Route(OPENAI_CHAT, "chat")
    if method == "GET" and path.endswith("/models"):
        return Route(OPENAI_CHAT, "models")
    return Route(OPENAI_CHAT, "unknown")
