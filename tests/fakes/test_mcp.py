"""A tool with effects: each call is in the ledger before its answer, whatever then goes wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.errors import LocalError
from lockjaw.fakes.mcp.ledger import Ledger
from lockjaw.fakes.mcp.server import Plan, serve_http, server_of
from lockjaw.testing.fake_mcp import FakeMcp

BILL = {"what": "bill"}
EFFECT = 'pay {"what":"bill"}'


def test_calls_are_numbered_across_processes_and_only_those_with_an_effect_count(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    assert (ledger.entries(), ledger.effects()) == ([], {})
    ledger.enter("pay", BILL, denied_first=1)
    other = (
        "import sys; from lockjaw.fakes.mcp.ledger import Ledger; Ledger(sys.argv[1]).enter('pay', {'what': 'bill'})"
    )
    subprocess.run([sys.executable, "-c", other, str(ledger.path)], check=True)
    ledger.enter("pay", {"what": "rent"})

    assert [(entry.number, entry.outcome) for entry in ledger.entries()] == [(1, "denied"), (2, "done"), (3, "done")]
    assert ledger.effects() == {EFFECT: 1, 'pay {"what":"rent"}': 1}
    assert len({entry.pid for entry in ledger.entries()}) == 2


def test_what_is_no_ledger_is_refused_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary\n")
    with pytest.raises(LocalError, match=r"notes\.txt is no ledger"):
        Ledger(path).enter("pay", BILL)
    assert path.read_text() == "dear diary\n"


async def test_a_denied_call_has_no_effect_and_the_next_one_has(tmp_path: Path) -> None:
    client = pytest.importorskip("mcp.client.client")
    ledger = Ledger(tmp_path / "ledger.jsonl")
    async with client.Client(server_of(Plan(denies=1), ledger, ScaledClock.start())) as session:
        first = await session.call_tool("pay", BILL)
        assert (first.is_error, ledger.effects()) == (True, {})
        second = await session.call_tool("pay", BILL)
        assert (second.is_error, second.content[0].text, ledger.effects()) == (False, "pay done: bill", {EFFECT: 1})


async def test_a_slow_call_has_had_its_effect_when_its_client_gives_up(tmp_path: Path) -> None:
    client = pytest.importorskip("mcp.client.client")
    ledger = Ledger(tmp_path / "ledger.jsonl")
    async with client.Client(server_of(Plan(slow_s=60.0), ledger, ScaledClock.start())) as session:
        with pytest.raises(Exception, match=r"(?i)timed out"):
            await session.call_tool("pay", BILL, read_timeout_seconds=0.05)
    assert ledger.effects() == {EFFECT: 1}


async def test_a_server_that_dies_unanswered_has_paid_and_its_client_that_tries_again_pays_twice(
    fake_mcp: FakeMcp,
) -> None:
    """Over stdio, where the client starts the server, and starts it again."""
    mcp = pytest.importorskip("mcp")
    stdio = pytest.importorskip("mcp.client.stdio")
    program, *arguments = fake_mcp.command(dies=1)

    async def pay() -> Any:
        parameters = stdio.StdioServerParameters(command=program, args=arguments)
        async with stdio.stdio_client(parameters) as streams, mcp.ClientSession(*streams) as session:
            await session.initialize()
            return await session.call_tool("pay", BILL)

    with pytest.raises(Exception, match=r"(?i)closed|group"):
        await pay()
    assert fake_mcp.effects == {EFFECT: 1}
    assert (await pay()).content[0].text == "pay done: bill"
    assert fake_mcp.effects == {EFFECT: 2}


async def test_over_http_it_is_the_same_tool(fake_mcp: FakeMcp) -> None:
    client = pytest.importorskip("mcp.client.client")
    async with client.Client(fake_mcp.serve(tool="send")) as session:
        assert [tool.name for tool in (await session.list_tools()).tools] == ["send"]
        assert not (await session.call_tool("send", BILL)).is_error
    assert [(entry.tool, entry.arguments) for entry in fake_mcp.calls] == [("send", BILL)]


async def test_an_address_that_others_can_reach_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"0\.0\.0\.0 is not a loopback address"):
        await serve_http(Plan(), Ledger(tmp_path / "l"), ScaledClock.start(), host="0.0.0.0")
