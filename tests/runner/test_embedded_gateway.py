"""What a gateway with a runner behind it knows of its sessions."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.errors import InvalidSessionId
from lockjaw.runner.service import Sessions
from lockjaw.sessions import SessionPaths

from .rig import QUICK, Rig, rig

MAIN = "agent:main:main"


def sessions_of(one: Rig) -> Sessions:
    return Sessions(one.settings, behaviour=BEHAVIOURS["takeover"], clock=one.clock, ids=one.ids)


async def test_a_key_leads_to_one_session_whoever_asks(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as one:
        sessions = sessions_of(one)
        key, session_id = await sessions.resolve("main", MAIN, None)

        assert key == MAIN
        assert await sessions.resolve("main", MAIN, "another") == (MAIN, session_id)  # the stored one wins
        assert await sessions_of(one).resolve("main", None, session_id) == (MAIN, session_id)  # found by its id


async def test_a_session_id_that_nobody_knows_gets_a_key_of_its_own(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as one:
        sessions = sessions_of(one)

        assert await sessions.resolve("main", None, "new") == ("agent:main:explicit:new", "new")
        with pytest.raises(InvalidSessionId):
            await sessions.resolve("main", None, "../new")


async def test_the_list_has_every_session_the_newest_first(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as one:
        sessions = sessions_of(one)
        for key in (MAIN, "agent:main:explicit:later"):
            await sessions.resolve("main", key, None)
            await one.clock.sleep(1.0)

        assert [row["key"] for row in await sessions.list()] == ["agent:main:explicit:later", MAIN]


async def test_the_history_is_the_conversation_up_to_a_limit(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as one:
        await one.gateway()
        await one.ask(message="what?")
        sessions = sessions_of(one)

        session_id, rows = await sessions.history(MAIN, 10)
        assert [row["role"] for row in rows] == ["user", "assistant"]
        assert SessionPaths(one.settings.state_dir).transcript("main", str(session_id)).exists()
        assert [row["role"] for row in (await sessions.history(MAIN, 1))[1]] == ["assistant"]


async def test_a_session_without_a_transcript_or_a_key_without_a_session_has_no_history(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as one:
        sessions = sessions_of(one)
        _, session_id = await sessions.resolve("main", MAIN, None)

        assert await sessions.history(MAIN, 10) == (session_id, [])
        assert await sessions.history("agent:main:explicit:nobody", 10) == (None, [])
