"""The wire surfaces of the fake model server, and which of them a request is for. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from .anthropic_messages import AnthropicMessages, count_tokens
from .gemini import Gemini
from .ollama import Ollama, OllamaGenerate, show
from .openai_chat import OpenAIChat
from .openai_responses import OpenAIResponses
from .surface import Question, Surface

OPENAI_CHAT, OPENAI_RESPONSES = OpenAIChat(), OpenAIResponses()
ANTHROPIC, GEMINI, OLLAMA, OLLAMA_GENERATE = AnthropicMessages(), Gemini(), Ollama(), OllamaGenerate()
SURFACES: dict[str, Surface] = {
    surface.name: surface for surface in (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC, GEMINI, OLLAMA, OLLAMA_GENERATE)
}
#: Paths that clients try at their start to find out which server this is (LM Studio, llama.cpp, vLLM, Ollama).
_PROBES = frozenset(
    ("", "/api/v1/models", "/api/version", "/health", "/props", "/slots", "/v1/props", "/version", "/v1/version")
)


class Route(msgspec.Struct, frozen=True):
    """``unknown``: no surface has such a path; the error goes out in the form of the likeliest one.

    ``question``: what answers a request that asks about a model and does not run it. ``probe``: a client asks whether
    this is some other server; the answer is a 404, and no problem of the script.
    """

    surface: Surface
    what: Literal["chat", "models", "question", "probe", "unknown"]
    question: Callable[[Surface, bytes], Question] | None = None


_POSTS = {
    "/chat/completions": Route(OPENAI_CHAT, "chat"),
    "/responses": Route(OPENAI_RESPONSES, "chat"),
    "/messages": Route(ANTHROPIC, "chat"),
    "/messages/count_tokens": Route(ANTHROPIC, "question", count_tokens),
    ":generateContent": Route(GEMINI, "chat"),
    ":streamGenerateContent": Route(GEMINI, "chat"),
    "/api/chat": Route(OLLAMA, "chat"),
    "/api/generate": Route(OLLAMA_GENERATE, "chat"),
    "/api/show": Route(OLLAMA, "question", show),
}


def route(method: str, path: str, header: Callable[[str], str]) -> Route:
    """Whose request this is, by its path; ``header`` gives a header by its lower-case name.

    Any prefix is allowed, as proxies and gateways put one before the vendors' paths.
    """
    path = path.rstrip("/")
    posted = next((found for ending, found in _POSTS.items() if path.endswith(ending)), None)
    if method == "POST" and posted is not None:
        return posted
    likely = _likely(path, header)
    listing = "/api/tags" if likely is OLLAMA else "/models"
    if method == "GET" and path in _PROBES:
        return Route(likely, "probe")
    return Route(likely, "models" if method == "GET" and path.endswith(listing) else "unknown")


def _likely(path: str, header: Callable[[str], str]) -> Surface:
    """``/v1/models`` is one path of two vendors: Anthropic's clients name the version that they speak."""
    if header("anthropic-version"):
        return ANTHROPIC
    if "/v1beta/" in path or header("x-goog-api-key"):
        return GEMINI
    if "/api/" in path:
        return OLLAMA
    return OPENAI_CHAT
