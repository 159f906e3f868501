"""Where sessions live, and how they are named. Pure: touches no file except to resolve symbolic links.

Layout and rules are OpenClaw's (protocol facts D1, D2): ``<state>/agents/<agent>/sessions/`` holds
``sessions.json`` and one ``<session id>.jsonl`` per session. A name that came from outside (command line,
wire, a stored entry) passes through one of the functions here before it becomes part of a path.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from lockjaw.errors import InvalidSessionId, LocalError
from lockjaw.files import LOCAL_FILES, Files

DEFAULT_AGENT = "main"
JSONL, SQLITE = ".jsonl", ".sqlite"  # what a session's file is called, and so what it is
DEFAULT_MAIN_KEY = "main"
_AGENT_ID_LENGTH = 64
# Spelled out in both cases: with re.IGNORECASE "[a-z]" also matches the Kelvin sign and the long s.
_SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class MalformedSessionKey(LocalError):
    """A session key that is not ``agent:<agent id>:<rest>``. Field: ``session_key``."""

    def __init__(self, session_key: str) -> None:
        self.session_key = session_key
        super().__init__(f'malformed session key "{session_key}": expected agent:<agent id>:<rest>')


def normalize_agent_id(text: str) -> str:
    """``text`` as an agent id: lower case, ``[a-z0-9_-]``, at most 64 characters; ``main`` when nothing is left."""
    reduced = re.sub(r"[^a-z0-9_-]+", "-", text.strip().lower())
    return reduced.strip("-")[:_AGENT_ID_LENGTH] or DEFAULT_AGENT


def validate_session_id(text: str) -> str:
    """The session id without surrounding blanks.

    Raises:
        InvalidSessionId: it could leave the sessions folder, is empty, or is longer than 128 characters.
    """
    trimmed = text.strip()
    if not _SESSION_ID.fullmatch(trimmed):
        raise InvalidSessionId(text)
    return trimmed


def main_session_key(agent_id: str, main_key: str = DEFAULT_MAIN_KEY) -> str:
    """``agent:main:main``: the key of an agent's main conversation (``main_key`` is ``session.mainKey``)."""
    return f"agent:{normalize_agent_id(agent_id)}:{main_key.strip().lower() or DEFAULT_MAIN_KEY}"


def explicit_session_key(agent_id: str, session_id: str) -> str:
    """``agent:<agent>:explicit:<session>``: the key of a session that was named by its id and is in no store."""
    return f"agent:{normalize_agent_id(agent_id)}:explicit:{validate_session_id(session_id).lower()}"


def agent_of_key(session_key: str) -> str:
    """The agent id in a session key.

    Raises:
        MalformedSessionKey: not ``agent:<agent id>:<rest>``.
    """
    parts = [part for part in session_key.strip().lower().split(":") if part]
    if len(parts) < 3 or parts[0] != "agent":
        raise MalformedSessionKey(session_key)
    return normalize_agent_id(parts[1])


class SessionPaths(msgspec.Struct, frozen=True):
    """The files of all sessions below one state folder.

    ``kind``: what new sessions are kept in, ``.jsonl`` or ``.sqlite``; those that there are keep their file.
    """

    state_dir: Path
    kind: str = JSONL

    def sessions_dir(self, agent_id: str) -> Path:
        return _sessions_dir(self.state_dir, agent_id)

    def store(self, agent_id: str) -> Path:
        return self.sessions_dir(agent_id) / ("sessions.json" if self.kind == JSONL else f"sessions{SQLITE}")

    def transcript(self, agent_id: str, session_id: str) -> Path:
        """The transcript that the session id names; raises InvalidSessionId."""
        return transcript_path(self.sessions_dir(agent_id), session_id, self.kind)


@lru_cache(maxsize=256)
def _sessions_dir(state_dir: Path, agent_id: str) -> Path:
    return state_dir / "agents" / normalize_agent_id(agent_id) / "sessions"


def transcript_path(sessions_dir: Path, session_id: str, kind: str = JSONL) -> Path:
    return sessions_dir / f"{validate_session_id(session_id)}{kind}"


def is_database(path: Path) -> bool:
    return path.suffix == SQLITE


def transcript_of_entry(
    entry: Mapping[str, Any], sessions_dir: Path, *, files: Files = LOCAL_FILES, kind: str = JSONL
) -> Path:
    """The transcript of a store entry: its ``sessionFile`` if that lies in ``sessions_dir``, else by its id.

    A relative ``sessionFile`` counts from ``sessions_dir``. One that leads outside, also by way of symbolic
    links, is passed over, as upstream does.

    Raises:
        InvalidSessionId: neither gives a file.
    """
    stored = entry.get("sessionFile")
    if isinstance(stored, str) and stored.strip() and "\0" not in stored:
        file = sessions_dir / stored.strip()  # an absolute path stands for itself
        folder, real = files.real_path(sessions_dir), files.real_path(file)
        if real.startswith(os.path.join(folder, "")):
            return file
    session_id = entry.get("sessionId")
    return transcript_path(sessions_dir, session_id if isinstance(session_id, str) else "", kind)
