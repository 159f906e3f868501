"""What of a pasted text may be shown again. Pure.

A report, a scenario and a run folder may end up in a public issue, so nothing in them names a user, a folder, an
address or a credential: paths keep what is the program's own, and the rules of kits find the rest.
"""

from __future__ import annotations

import re
from functools import lru_cache

from ..kit.redaction import hidden

SHOWN_CHARS = 160

#: A server in a path that lost one of its two backslashes when escapes were undone.
_SHARE = re.compile(r"(?<![\w\\:.~>])\\[\w.-]{2,80}\\[\w.-]{2,80}(?=\\\w|\b)")
_STATE = re.compile(r"[^\s\"'|(),;]{0,400}?[\\/](?=\.(?:openclaw|clawdbot|moltbot)\b)")


#: A home folder that optical recognition, a translator or a chat tore apart: "/home/ jane/ .openclaw".
_TORN = re.compile(
    r"(?P<root>/ ?home|[\\/] ?Users) ?(?P<one>[\\/]{1,2}) ?"
    r"(?P<name>[^\s/\\|\"'`:;,()<>]{1,40}) ?(?P<two>[\\/]{1,2}) ?(?=\S)"
)


def mended(text: str) -> str:
    """Home folders in one piece again, so that the name in them is known for one."""
    if "home" not in text and "Users" not in text:
        return text
    return _TORN.sub(lambda found: f"{found['root'].replace(' ', '')}{found['one']}{found['name']}{found['two']}", text)


@lru_cache(maxsize=4_096)
def shown(text: str, limit: int = SHOWN_CHARS) -> str:
    """A piece of the text as it may be shown: one line, no secret, no home folder, no id."""
    text = text[: 3 * limit]
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else " " for letter in text)
    text = _STATE.sub("~/", mended(text.replace("\u00a0", " ")))
    text = _SHARE.sub(r"\\<host>\\<name>", hidden(text))
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
