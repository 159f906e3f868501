"""What two logs of the same incident may differ in: process ids, durations, ids, addresses, folders. Pure."""

from __future__ import annotations

import re

#: (pattern, what stands in its place). Applied in order.
REPLACEMENTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"pid=\d+"), "pid=N"),
    (re.compile(r"durationMs=\d+"), "durationMs=N"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<id>"),
    (re.compile(r"ws://127\.0\.0\.1:\d+"), "ws://127.0.0.1:N"),
    (re.compile(r"(?:<state>|/\S+?/state)/"), "<state>/"),
)


def normalised(text: str) -> list[str]:
    """The lines of a log that are not blank, without what differs from run to run."""
    # 2026.4.8 reads the digits 429 anywhere in a lock error (a pid, an id, a path) as a rate limit, and so does its
    # replica: the reason then is the other one, and the incident the same.
    if "429" in text:
        text = text.replace("(rate_limit)", "(timeout)").replace("reason=rate_limit", "reason=timeout")
    for pattern, replacement in REPLACEMENTS:
        text = pattern.sub(replacement, text)
    return [line for line in text.splitlines() if line.strip()]
