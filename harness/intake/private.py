"""What of a pasted text may be shown again. Pure.

A report, a scenario and a run folder may end up in a public issue, so nothing in them names a user, a folder, an
address or a credential: paths keep what is the program's own, and what looks like a secret is left out.
"""

from __future__ import annotations

import re
from functools import lru_cache

SHOWN_CHARS = 160

_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\b(bearer|basic)\s{1,3}[\w.+/=~-]{6,4096}"), r"\1 <secret>"),
    (
        re.compile(
            r"(?i)([\w-]{0,40}(?:token|password|passwd|secret|api[_-]?key|authorization|cookie|credential)[\w-]{0,40}"
            r"[\"']?\s{0,3}[=:]\s{0,3}[\"']?)[^\s\"',;]{3,4096}"
        ),
        r"\1<secret>",
    ),
    (re.compile(r"\b(?:sk|pk|rk|ghp|gho|ghs|xox[abpr]|AKIA|AIza|glpat|hf|eyJ)[-_]?"
                r"[\w-]{12,4096}(?:\.[\w-]{4,4096}){0,3}"), "<secret>"),
    (re.compile(r"://[^\s/@:]{1,200}:[^\s/@]{1,200}@"), "://<secret>@"),
    (re.compile(r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,4}"), "<address>"),
    (re.compile(r"(?<![\w.:-])\+\d[\d ().-]{7,18}\d(?![\w-])"), "<number>"),
    (re.compile(r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b"), "<id>"),
    (re.compile(r"\b(?=[\w-]{0,4096}\d)[A-Za-z0-9_-]{28,4096}\b"), "<id>"),
    (re.compile(r"\b(?!127\.)(?:\d{1,3}\.){3}\d{1,3}\b"), "<host>"),
)  # fmt: skip
_HOME = re.compile(
    r"(?i)(?:[A-Z]:)?(?:[\\/]+(?:mnt[\\/]+[a-z][\\/]+)?(?:home|users|var[\\/]+home|export[\\/]+home"
    r"|documents and settings)"
    r"[\\/]+[^\\/\s\"'|:<>]{1,120}|[\\/]+root)(?=[\\/]|\b)"
)
_STATE = re.compile(r"[^\s\"'|(),;]{0,400}?[\\/](?=\.(?:openclaw|clawdbot|moltbot)\b)")


@lru_cache(maxsize=4_096)
def shown(text: str, limit: int = SHOWN_CHARS) -> str:
    """A piece of the text as it may be shown: one line, no secret, no home folder, no id."""
    text = text[: 3 * limit]
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else " " for letter in text)
    text = _STATE.sub("~/", text)
    text = _HOME.sub("~", text)
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def file_shown(path: str) -> str:
    """A path as far as it is the program's own: the last part, its id shortened."""
    name = re.split(r"[\\/]", path.strip().rstrip("\\/"))[-1]
    name = re.sub(r"^(?:\.\.\.|…)", "", name)
    stem = re.match(r"([0-9a-fA-F]{8})-[0-9a-fA-F-]{27}(.{0,40})$", name)
    if stem is not None:
        return f"{stem[1]}…{stem[2]}"
    return shown(name, 60)


def key_shown(key: str) -> str:
    """A session key without the person at its end: ``agent:main:feishu:direct:<peer>``."""
    parts = key.split(":")
    if len(parts) <= 3:
        return shown(":".join(parts), 80)
    return shown(":".join([*parts[:-1], "<peer>"]), 80)
