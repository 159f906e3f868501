from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from lockjaw.errors import InvalidSessionId, LocalError
from lockjaw.sessions import (
    MalformedSessionKey,
    SessionPaths,
    agent_of_key,
    explicit_session_key,
    main_session_key,
    normalize_agent_id,
    transcript_of_entry,
    validate_session_id,
)


@pytest.mark.parametrize("text", ["b0bf5393-9e29-4526-ad6d-f87476720f57", "A", "0._-", "x" * 128, "a..b"])
def test_session_ids_of_openclaw_are_valid(text: str) -> None:
    assert validate_session_id(text) == text


@pytest.mark.parametrize(
    "text",
    ["../x", "a/b", "", " ", ".hidden", "-x", "x" * 129, "a\\b", "a\0b", "a\nb", "\u212aelvin", "\u017fid", "a b", "é"],
)
def test_session_ids_that_could_leave_the_folder_are_refused_with_the_upstream_text(text: str) -> None:
    with pytest.raises(InvalidSessionId) as refused:
        validate_session_id(text)
    assert str(refused.value) == f"Invalid session ID: {text}"
    with pytest.raises(InvalidSessionId):
        SessionPaths(Path("/s")).transcript("main", text)
    with pytest.raises(InvalidSessionId):
        explicit_session_key("main", text)


def test_blanks_around_a_session_id_do_not_count() -> None:
    assert validate_session_id(" abc\n") == "abc"


@pytest.mark.parametrize(
    ("text", "agent"),
    [
        ("Main", "main"), ("  ", "main"), ("", "main"), ("../../etc", "etc"), ("a b/c", "a-b-c"), ("x" * 80, "x" * 64),
        ("--", "main"), ("Ops_1", "ops_1"),
    ],
)  # fmt: skip
def test_agent_ids_are_lower_case_and_safe(text: str, agent: str) -> None:
    assert normalize_agent_id(text) == agent


def test_keys_are_those_of_openclaw() -> None:
    assert main_session_key("Main") == "agent:main:main"
    assert main_session_key("ops", "Desk") == "agent:ops:desk"
    assert explicit_session_key("main", "Gateway-Fallback-1") == "agent:main:explicit:gateway-fallback-1"


@pytest.mark.parametrize(
    ("key", "agent"), [("agent:main:main", "main"), ("Agent:OPS:explicit:x", "ops"), ("agent:a:b:c:d", "a")]
)
def test_a_key_names_its_agent(key: str, agent: str) -> None:
    assert agent_of_key(key) == agent


@pytest.mark.parametrize("key", ["global", "agent:main", "agent::main", "agents:main:main", "", "main"])
def test_a_malformed_key_is_refused(key: str) -> None:
    with pytest.raises(MalformedSessionKey, match="malformed session key") as refused:
        agent_of_key(key)
    assert isinstance(refused.value, LocalError)
    assert pickle.loads(pickle.dumps(refused.value)).session_key == key


def test_the_layout_is_that_of_openclaw() -> None:
    paths = SessionPaths(Path("/s"))
    assert paths.store("Main") == Path("/s/agents/main/sessions/sessions.json")
    assert paths.transcript("main", "abc") == Path("/s/agents/main/sessions/abc.jsonl")


def test_a_stored_file_inside_the_folder_beats_the_name_derived_from_the_id(tmp_path: Path) -> None:
    inside = tmp_path / "other.jsonl"
    assert transcript_of_entry({"sessionId": "a", "sessionFile": str(inside)}, tmp_path) == inside
    assert transcript_of_entry({"sessionId": "a", "sessionFile": "other.jsonl"}, tmp_path) == inside


@pytest.mark.parametrize("stored", ["/etc/passwd", "../x.jsonl", "", 7, "a\0b", "."])
def test_a_stored_file_outside_the_folder_is_passed_over(tmp_path: Path, stored: object) -> None:
    assert transcript_of_entry({"sessionId": "a", "sessionFile": stored}, tmp_path) == tmp_path / "a.jsonl"


def test_a_stored_file_that_leads_outside_by_a_link_is_passed_over(tmp_path: Path) -> None:
    sessions = tmp_path / "sessions"
    sessions.mkdir()
    (sessions / "link").symlink_to(tmp_path)
    entry = {"sessionId": "a", "sessionFile": str(sessions / "link" / "x.jsonl")}
    assert transcript_of_entry(entry, sessions) == sessions / "a.jsonl"


def test_an_entry_that_names_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSessionId):
        transcript_of_entry({"sessionId": 3}, tmp_path)
