"""Approved calls are performed, every other one is refused in front of the tool."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.errors import SessionLocked, UsageError
from lockjaw.runner.approvals import APPROVED_KEY, FailClosed, call_key, permitted_tools, write_approved
from lockjaw.runner.tools import ToolContext, built_in_tools, run_tool, tool_definitions

CLOCK = ScaledClock.start()


def test_without_the_variable_nothing_is_limited() -> None:
    assert permitted_tools({}) == built_in_tools()


async def test_only_approved_calls_are_performed(tmp_path: Path) -> None:
    write_approved(tmp_path / "calls.json", [call_key("write", {"path": "a", "content": "x\ud800"})])
    tools = permitted_tools({APPROVED_KEY: str(tmp_path / "calls.json")})
    context = ToolContext(tmp_path / "ws", CLOCK, "run", "call")
    context.workspace.mkdir()

    done = await run_tool(tools, "write", {"content": "x\ud800", "path": "a"}, context)
    refused = [
        await run_tool(tools, name, arguments, context)
        for name, arguments in {
            "write": {"path": "b", "content": "x"},
            "exec": {"command": "echo x > b"},
            "read": {"path": "a"},
        }.items()
    ]

    assert not done.is_error
    assert [(one.is_error, one.details) for one in refused] == [(True, {"refused": True})] * 3
    assert [path.name for path in context.workspace.iterdir()] == ["a"]


def test_a_limited_tool_looks_like_itself_to_a_model(tmp_path: Path) -> None:
    write_approved(tmp_path / "calls.json", [])
    limited = permitted_tools({APPROVED_KEY: str(tmp_path / "calls.json")})

    assert tool_definitions(limited) == tool_definitions(built_in_tools())
    assert {n: t.harmless for n, t in limited.items()} == {n: t.harmless for n, t in built_in_tools().items()}


@pytest.mark.parametrize("text", [None, "", "{}", "[1]", "[" * 100_000, "\xff"])
def test_a_limit_that_cannot_be_read_is_never_no_limit(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "calls.json"
    if text is not None:
        path.write_text(text, encoding="latin-1")
    for env in ({APPROVED_KEY: str(path)}, {APPROVED_KEY: ""}):
        with pytest.raises(UsageError, match=APPROVED_KEY):
            permitted_tools(env)


def test_the_key_of_a_call_tells_calls_apart_and_not_orders_of_arguments() -> None:
    assert call_key("exec", {"a": 1, "b": 2}) == call_key("exec", json.loads('{"b": 2, "a": 1}'))
    assert call_key("exec", {"a": 1}) != call_key("exec", {"a": "1"}) != call_key("read", {"a": "1"})


async def test_permission_that_is_looked_up_behind_a_busy_lock_reads_as_a_refusal(tmp_path: Path) -> None:
    """What upstream does, kept to be shown; the lock's error stands nowhere in it."""

    async def free() -> None: ...

    async def busy() -> None:
        raise SessionLocked("/state/sessions.sqlite", "pid=7", timeout_s=5.0, waited_s=5.0)

    exec_, context = built_in_tools()["exec"], ToolContext(tmp_path, CLOCK, "run", "call")
    allowed = await run_tool({"exec": FailClosed(exec_, free)}, "exec", {"command": "echo x > a"}, context)
    denied = await run_tool({"exec": FailClosed(exec_, busy)}, "exec", {"command": "echo x > b"}, context)

    assert not allowed.is_error
    assert (denied.text, denied.is_error) == ("exec denied: host=gateway security=deny", True)
    assert denied.details == {"refused": True}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
