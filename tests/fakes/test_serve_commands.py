"""``lockjaw serve ...`` as processes: what people see of them, and how they end."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from lockjaw.fakes.gateway import scripts as gateway_scripts
from tests.live import live

pytestmark = pytest.mark.timeout(120)
SCALE = 0.02


async def test_the_real_client_against_a_gateway_by_name_and_the_gateway_says_what_it_missed(tmp_path: Path) -> None:
    async with live(tmp_path, scale=SCALE) as one:
        one.configure(1)
        journal = tmp_path / "journal.jsonl"
        gateway = await one.server(
            "gateway", "serve", "gateway", "close_4001_device_removed", "--journal", str(journal)
        )
        agent = one.agent("--agent", "main", "--policy", "no-fallback", gateway=gateway)
        assert await agent.ended() == 1
        assert "gateway closed (4001): device removed" in agent.stderr()
        gateway.send(signal.SIGINT)
        assert await gateway.ended() == 0  # everything that the script expects has happened
        assert gateway.stderr().count("\n") == 1
        entries = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
        assert all({"t", "wall_ms", "ev"} <= entry.keys() for entry in entries)
        assert "the-right-token" not in journal.read_text(encoding="utf-8")
        mute = await one.server("mute", "serve", "gateway", "never_final")
        mute.send(signal.SIGTERM)
        assert await mute.ended() == 1
        assert mute.stderr().splitlines()[1:] == [
            "mock gateway: expect.connections: 0 connections came, not 1",
            "mock gateway: expect.calls.agent: 0 calls came, not 1",
            "mock gateway: connect[0] was used 0 of 1 times",
            "mock gateway: methods.agent[0] was used 0 of 1 times",
        ]


async def test_a_held_lock_stands_in_the_way_of_the_fallback_as_in_the_seed_report(tmp_path: Path) -> None:
    async with live(tmp_path, scale=SCALE) as one:
        one.configure(1)
        gateway = await one.server(
            "gateway", "serve", "gateway", "holds_session_lock", "--state-dir", str(one.state)
        )  # fmt: skip
        agent = one.agent("--agent", "main", "--policy", "reuse-session", gateway=gateway)
        assert await agent.ended() == 1
        told = agent.stderr()
        assert "gateway timeout after 90000ms" in told
        assert f"session file locked (timeout 10000ms): pid={gateway.pid} " in told


async def test_scripts_are_listed_and_shown_and_what_is_shown_can_be_served(tmp_path: Path) -> None:
    async with live(tmp_path, scale=SCALE) as one:
        listing = one.spawn("list", "serve", "gateway", "--list")
        assert await listing.ended() == 0
        lines = listing.stdout().splitlines()
        assert {line.strip() for line in lines} >= set(gateway_scripts.names())
        assert max(map(len, lines)) <= 80
        shown = one.spawn("show", "serve", "gateway", "two_gateways", "--show")
        assert await shown.ended() == 0
        (tmp_path / "mine.yaml").write_text(shown.stdout(), encoding="utf-8")
        mine = await one.server(
            "mine", "serve", "gateway", "--script", "mine.yaml", "--state-dir", str(one.state)
        )  # fmt: skip
        assert mine.alive
        for arguments, text in (
            ((), "say which script: NAME (lockjaw serve gateway --list) or --script FILE"),
            (("healthy", "--script", "mine.yaml"), "or --script FILE, not both"),
            (("helthy",), "no gateway script is called 'helthy'"),
            (("two_gateways",), "--state-dir DIR"),
        ):
            refused = one.spawn("refused", "serve", "gateway", *arguments)
            assert await refused.ended() == 2
            assert text in refused.stderr()
