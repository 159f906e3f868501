"""The tree of entries, and what of it a model gets to see. Pure.

The conversation is the walk from a leaf to the root. Entries beside it (abandoned questions, messages that
somebody injected without knowing our leaf) stay in the file and out of the conversation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lockjaw.clock import parse_iso
from lockjaw.sessions.entries import Entry, Message

COMPACTION_INTRO = "The conversation history before this point was compacted into the following summary:"
BRANCH_INTRO = "The following is a summary of a branch that this conversation came back from:"


def path_to(leaf_id: str | None, by_id: Mapping[str, Entry]) -> list[Entry]:
    """The entries from the root to the leaf. An unknown parent ends the walk, and so does a circle."""
    path: list[Entry] = []
    seen: set[str] = set()
    current = leaf_id
    while current is not None and current not in seen and (entry := by_id.get(current)) is not None:
        seen.add(current)
        path.append(entry)
        current = entry.parent_id
    path.reverse()
    return path


def context_of(path: Sequence[Entry]) -> list[Message]:
    """The messages of a path, with its newest compaction applied: the summary as a user message, then the
    entries from ``firstKeptEntryId`` on (none of the earlier ones when that id is not on the path)."""
    newest = max((n for n, entry in enumerate(path) if entry.type == "compaction"), default=None)
    if newest is None:
        return [message for entry in path if (message := as_message(entry)) is not None]
    kept_id = path[newest].raw.get("firstKeptEntryId")
    first = next((n for n, entry in enumerate(path[:newest]) if entry.id == kept_id), newest)
    kept = [entry for n, entry in enumerate(path) if n >= first and entry.type != "compaction"]
    summary = _summary(path[newest], COMPACTION_INTRO)
    return [summary] + [message for entry in kept if (message := as_message(entry)) is not None]


def as_message(entry: Entry) -> Message | None:
    """What an entry contributes to the conversation: a message with role user, assistant or toolResult, or None."""
    if entry.type == "branch_summary":
        return _summary(entry, BRANCH_INTRO) if entry.raw.get("summary") else None
    if entry.type == "custom_message":
        return _user(entry.raw.get("content", ""), _instant(entry))
    message = entry.message
    if message is None:
        return None
    match message.get("role"):
        case "user" | "assistant" | "toolResult":
            return message
        case "custom":
            return _user(message.get("content", ""), message.get("timestamp", _instant(entry)))
        case "bashExecution" if not message.get("excludeFromContext"):
            text = f"Ran `{message.get('command', '')}`\n```\n{message.get('output', '')}\n```"
            return _user([{"type": "text", "text": text}], message.get("timestamp", _instant(entry)))
    return None


def text_of(message: Message) -> str:
    """The text of a message: its content if that is a string, else its text parts, one after the other."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(
        part["text"]
        for part in content
        if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
    )


def instant_of(entry: Entry) -> int:
    """Unix milliseconds of an entry: its message's own, else the line's; 0 when neither can be read."""
    own = (entry.message or {}).get("timestamp")
    if isinstance(own, int | float) and not isinstance(own, bool):
        return int(own)
    return _instant(entry)


def _instant(entry: Entry) -> int:
    return parse_iso(entry.timestamp) or 0


def _user(content: object, timestamp: object) -> Message:
    return {"role": "user", "content": content, "timestamp": timestamp}


def _summary(entry: Entry, intro: str) -> Message:
    text = f"{intro}\n\n<summary>\n{entry.raw.get('summary', '')}\n</summary>"
    return _user([{"type": "text", "text": text}], _instant(entry))
