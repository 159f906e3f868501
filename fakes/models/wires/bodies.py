"""JSON bodies: what is read from a request's, and texts that stand in a reply's. No vendor is in here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

FRAGMENT = 24  # characters of tool-call arguments per delta: small, so that clients must concatenate

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder().decode


def decoded(body: bytes) -> Any:
    """The JSON value of a body. Raises ValueError if it is none (or nested beyond reason)."""
    try:
        return decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def text_of(content: Any) -> str:
    """The text of a message's content: itself, or that of its parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))


def words_of_user(messages: Sequence[Mapping[str, Any]]) -> str:
    """The text of the user's last message; that of tool results does not count."""
    return next((text_of(one.get("content")) for one in reversed(messages) if one.get("role") == "user"), "")


def rough_tokens(contents: Iterable[Any]) -> int:
    """A prompt's tokens, roughly: four characters of JSON each."""
    size = 0
    for content in contents:
        # Text is counted without rendering it: this runs for every request.
        size += len(content) + 2 if isinstance(content, str) and content.isascii() else len(encode(content))
    return 1 + size // 4


def noun(value: object) -> str:
    """A JSON value's kind, as OpenAI's error texts call it."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def fragments(text: str) -> list[str]:
    return [text[at : at + FRAGMENT] for at in range(0, len(text), FRAGMENT)]


def arguments_object(text: str) -> Any:
    """Tool-call arguments for the vendors that send an object; broken JSON cannot, and goes out under ``_raw``."""
    try:
        value = decoded(text.encode())
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"_raw": text}


def filled(text: str, *, model: str, tokens: int) -> str:
    """A message with what it says of the request. No format strings: a model's name may hold braces."""
    return text.replace("{tokens}", str(tokens)).replace("{model}", model)


def seconds_text(seconds: float) -> str:
    """``2``, ``0.25``: as short as it is exact to the millisecond."""
    return f"{round(seconds, 3):g}"
