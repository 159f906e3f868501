# ruff: noqa: E501  patterns are not wrapped
"""The words of other agent runtimes for the same trouble: whose they are, and which class they are nearest to. Pure.

Each row was printed by the program named (run for real, or in the report given). ``means``: the nearest class or
classes, the likelier first. A busy database has the same words everywhere: it counts for the program that the text
names (``NAMES``), and for none where it names none.
"""

from __future__ import annotations

import re
from typing import Any

from .patterns import Wording

__all__ = ["NAMES", "RUNTIMES", "RUNTIME_ROWS", "VERSION"]

#: Programs whose words are read, as people write them.
RUNTIMES: dict[str, str] = {
    "codex": "Codex CLI",
    "claude-code": "Claude Code",
    "copilot": "Copilot CLI",
    "hermes": "hermes-agent",
    "openhands": "OpenHands agent-server",
    "opencode": "opencode",
    "nanobot": "nanobot",
    "gemini-cli": "Gemini CLI",
    "goose": "goose",
    "crush": "crush",
    "letta": "Letta",
}
NAMES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        ("codex", r"\bcodex\b"),
        ("claude-code", r"\bclaude[ -]code\b|\.claude[/\\]|\.claude\.json"),
        ("copilot", r"\bcopilot[ -](?:cli|session)\b|\.copilot[/\\]"),
        ("hermes", r"\bhermes(?:-agent)?\b|\.hermes[/\\]"),
        ("openhands", r"\bopen-?hands\b"),
        ("opencode", r"\bopencode\b"),
        ("nanobot", r"\bnanobot\b"),
        ("gemini-cli", r"\bgemini[ -]cli\b|\.gemini[/\\]"),
        ("goose", r"\bgoose (?:cli|session|desktop|\d)|\bblock/goose\b|\.config/goose"),
        ("crush", r"\bcharm(?:bracelet)?/crush\b|\bcrush (?:cli|\d)"),
        ("letta", r"\bletta\b"),
    )
)
VERSION = re.compile(
    r"\b(?:codex(?:-cli)?|claude[ -]code|copilot(?: cli)?|hermes(?:-agent)?|openhands(?:-agent-server)?|opencode(?:-ai)?|nanobot(?:-ai)?"
    r"|gemini[ -]cli|goose|crush|letta)\b[^\n\d]{0,16}?v?(?P<version>\d{1,3}\.\d{1,4}\.\d{1,4})(?![\w.])",
    re.IGNORECASE,
)


def _row(kind: str, runtime: str, means: str, needle: str, pattern: str, source: str, **more: Any) -> Wording:
    more.setdefault("canonical", f"{RUNTIMES[runtime]}: {needle}")
    return Wording(kind, "*", needle, re.compile(pattern, re.IGNORECASE), source, runtime=runtime, means=means, **more)


RUNTIME_ROWS: tuple[Wording, ...] = (
    _row("codex_writer", "codex", "N", "active writer",
         r"thread/resume[^\n]{0,160}?already has an active writer(?: \(code -32\d{3}\))?|thread [\w<>.-]{1,60} already has an active writer \(code -32\d{3}\)",
         "0.171.0 run for real; openai/codex #39823", canonical="thread already has an active writer"),
    _row("codex_turn", "codex", "N", "already has an active turn", r"remote thread already has an active turn(?! claim)", "0.171.0 run for real"),
    _row("codex_data", "codex", "S", "another codex process", r"another Codex process is (?:already )?using (?:its|this) local data", "openai/codex #46269"),
    _row("codex_record", "codex", "N", "failed to record rollout", r"failed to record rollout items[^\n]{0,300}", "0.171.0 run for real; openai/codex #35555"),
    _row("claude_session", "claude-code", "N", "is already in use", r"Session ID [\w<>{}.-]{1,60} is already in use", "Claude Code; #39151"),
    _row("claude_history", "claude-code", "C", "history.jsonl.lock", r"history\.jsonl\.lock\b", "anthropics/claude-code #22166"),
    _row("claude_unlock", "claude-code", "E", ".lock.lock", r"EPERM[^\n]{0,60}rmdir [^\n]{0,200}\.lock\.lock", "anthropics/claude-code #80772"),
    _row("copilot_inuse", "copilot", "", "inuse.", r"\binuse\.(?P<pid>\d{1,10}|<\w{1,12}>|N)\.lock\b", "Copilot CLI", session_lock=True),
    _row("hermes_gateway", "hermes", "S", "gateway runtime lock", r"Gateway runtime lock is already held(?:[^\n]{0,60}?\bPID[ =:](?P<pid>\d{1,10}))?",
         "hermes-agent", own="gateway"),
    _row("hermes_gateway", "hermes", "S", "another gateway instance", r"Another gateway instance is already running(?: \(PID (?P<pid>\d{1,10})\))?",
         "0.19.0 run for real", own="gateway", canonical="hermes-agent: gateway runtime lock"),
    _row("hermes_store", "hermes", "N", "session db", r"Session DB (?P<call>append_message|creation|\w{1,30}) failed[^\n]{0,120}", "0.19.0 run for real; #74478"),
    _row("hermes_lease", "hermes", "O", "turn lease", r"(?:SessionTurnLease(?:Lost|Held|Timeout)?Error|(?:session )?turn lease (?:is )?(?:held|leaked|timed out|not released|wait|busy)\w*)",
         "hermes #110985, #80375", hints=("turnlease",)),
    _row("openhands_lease", "openhands", "O", "conversationleaseheld", r"\bConversationLeaseHeldError\b(?:[^\n]{0,120}?\bpid[ =:](?P<pid>\d{1,10}))?", "sdk #3842, #4893"),
    _row("openhands_fenced", "openhands", "I", "conversationownershiplost", r"\bConversationOwnershipLostError\b", "1.58.2 run for real"),
    _row("openhands_fenced", "openhands", "I", "another agent server instance", r"owned by another agent server instance", "1.58.2 run for real",
         canonical="OpenHands agent-server: conversationownershiplost"),
    _row("openhands_running", "openhands", "O", "conversation already running", r"Conversation already running", "sdk #3842"),
    _row("opencode_lock", "opencode", "N", "locktimeouterror", r"\bLockTimeoutError\b[^\n]{0,80}", "1.18.33 run for real; #47566"),
    _row("nanobot_files", "nanobot", "Q", ".session-files.lock", r"\.session-files\.lock\b", "0.3.5 run for real; #5579"),
    _row("nanobot_cut", "nanobot", "J", "task interrupted before", r"Task interrupted before (?:a response was generated|this tool finished)", "0.3.5 run for real"),
)  # fmt: skip
