"""Sessions: where they live (``paths``), which key leads to which (``store``), what was said (``transcript``)."""

from lockjaw.sessions.disk import DiskFull
from lockjaw.sessions.entries import Entry, Message
from lockjaw.sessions.paths import (
    MalformedSessionKey,
    SessionPaths,
    agent_of_key,
    explicit_session_key,
    main_session_key,
    normalize_agent_id,
    transcript_of_entry,
    validate_session_id,
)
from lockjaw.sessions.report import TranscriptReport, read_entries
from lockjaw.sessions.row_store import RowStore
from lockjaw.sessions.rows import Claim, claim_of
from lockjaw.sessions.store import SessionStore, StoreMalformed
from lockjaw.sessions.transcript import ReadOnlyTranscript, Transcript, TranscriptReplaced, read_turn
from lockjaw.sessions.turns import CONTINUE_TEXT, TurnState

__all__ = [
    "CONTINUE_TEXT",
    "Claim",
    "DiskFull",
    "Entry",
    "MalformedSessionKey",
    "Message",
    "ReadOnlyTranscript",
    "RowStore",
    "SessionPaths",
    "SessionStore",
    "StoreMalformed",
    "Transcript",
    "TranscriptReplaced",
    "TranscriptReport",
    "TurnState",
    "agent_of_key",
    "claim_of",
    "explicit_session_key",
    "main_session_key",
    "normalize_agent_id",
    "read_entries",
    "read_turn",
    "transcript_of_entry",
    "validate_session_id",
]
