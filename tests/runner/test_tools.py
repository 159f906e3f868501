"""The built-in tools: confinement, limits, and process groups that are gone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockjaw.clock import ScaledClock
from lockjaw.runner import command, escaped, schema, tools, workspace
from lockjaw.runner.tools import (
    ExecTool,
    ReadTool,
    ToolContext,
    ToolOutcome,
    built_in_tools,
    run_tool,
    tool_definitions,
)

CLOCK = ScaledClock.start()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "ws").mkdir()
    (tmp_path / "secret").write_text("do not read")
    return tmp_path / "ws"


async def use(
    root: Path, name: str, *, tool: tools.Tool | None = None, clock: ScaledClock = CLOCK, **arguments: Any
) -> ToolOutcome:
    available = built_in_tools() if tool is None else {tool.name: tool}
    return await run_tool(available, name, arguments, ToolContext(root, clock, "run1", "call1"))


# --------------------------------------------------------------------------- arguments


def test_only_read_may_run_twice() -> None:
    assert {name: tool.harmless for name, tool in built_in_tools().items()} == {
        "read": True,
        "write": False,
        "exec": False,
    }


def test_definitions_have_the_shape_of_the_wire() -> None:
    definitions = tool_definitions(built_in_tools())
    assert [d["function"]["name"] for d in definitions] == ["read", "write", "exec"]
    assert all(d["function"]["parameters"]["additionalProperties"] is False for d in definitions)


@pytest.mark.parametrize(
    ("name", "arguments", "complaint"),
    [
        ("read", {}, "arguments.path is missing"),
        ("read", {"path": 7}, "arguments.path: expected string, got int"),
        ("read", {"path": "", "offset_bytes": -1}, "expected at least 1 characters, got 0"),
        ("write", {"path": "x", "content": "", "mode": "a"}, "arguments.mode is unknown (known: path, content)"),
        ("exec", {"command": "ls", "timeout_s": 61}, "arguments.timeout_s: expected at most 60.0, got 61"),
        ("exec", {"command": "ls", "timeout_s": float("nan")}, "expected at least 0.001, got nan"),
        ("exec", {"command": "ls", "timeout_s": True}, "expected number, got bool"),
        ("fly", {}, "Unknown tool 'fly'. Available tools: exec, read, write."),
    ],
)
async def test_wrong_arguments_are_a_result(root: Path, name: str, arguments: dict[str, Any], complaint: str) -> None:
    outcome = await use(root, name, **arguments)
    assert outcome.is_error
    assert complaint in outcome.text


def test_schema_names_every_problem_with_its_place() -> None:
    rules = {
        "type": "object",
        "properties": {
            "list": {"type": "array", "items": {"type": "integer", "maximum": 3}},
            "kind": {"enum": ["a", "b"]},
            "short": {"type": "string", "maxLength": 2},
            "free": {},
        },
    }
    value = {"list": [1, 9, "x"], "kind": "c", "short": "long", "free": None, "more": 1}
    assert schema.problems(rules, value) == [
        "arguments.list[1]: expected at most 3, got 9",
        "arguments.list[2]: expected integer, got str",
        "arguments.kind: expected one of ['a', 'b'], got 'c'",
        "arguments.short: expected at most 2 characters, got 4",
    ]
    assert schema.problems({"type": "array"}, [1]) == []


class Broken(ReadTool):
    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        raise KeyError("bug")


async def test_bug_of_a_tool_is_a_result(root: Path) -> None:
    outcome = await use(root, "read", tool=Broken(), path="x")
    assert outcome == ToolOutcome("read failed: KeyError: 'bug'", True)


# --------------------------------------------------------------------------- read and write


async def test_written_file_can_be_read(root: Path) -> None:
    outcome = await use(root, "write", path="a/b/note.txt", content="größe")
    assert outcome == ToolOutcome("Created a/b/note.txt (7 bytes).", details={"bytes": 7})
    assert (await use(root, "read", path="a/b/note.txt")).text == "größe"
    assert (await use(root, "write", path="a/b/note.txt", content="")).text == "Replaced a/b/note.txt (0 bytes)."
    assert [path.name for path in (root / "a" / "b").iterdir()] == ["note.txt"]


async def test_workspace_is_made_by_the_first_write(tmp_path: Path) -> None:
    assert not (await use(tmp_path / "new", "write", path="x", content="1")).is_error
    assert (await use(tmp_path / "none", "read", path="x")).text == "read failed: No such file or directory"


@pytest.mark.parametrize(
    "path", ["../secret", "a/../../secret", "/etc/passwd", "out", "dir/secret", "loop/../out", ".", "a/", "x\0y"]
)
async def test_no_path_leads_out_of_the_workspace(root: Path, path: str) -> None:
    (root / "out").symlink_to(root.parent / "secret")
    (root / "dir").symlink_to(root.parent)
    (root / "loop").symlink_to(".")
    for name, more in (("read", {}), ("write", {"content": "x"})):
        outcome = await use(root, name, path=path, **more)
        assert outcome.is_error
        assert outcome.text.startswith("Refused:"), outcome
    assert (root.parent / "secret").read_text() == "do not read"
    assert sorted(p.name for p in root.parent.iterdir()) == ["secret", "ws"]


async def test_links_within_the_workspace_are_followed(root: Path) -> None:
    (root / "a").mkdir()
    (root / "link").symlink_to("a")
    await use(root, "write", path="link/x", content="1")
    assert (root / "a" / "x").read_text() == "1"
    assert (await use(root, "read", path=str(root / "a" / "x"))).text == "1"


@pytest.mark.parametrize("what", ["folder", "file"])
async def test_link_that_appears_between_check_and_use_is_not_followed(
    root: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    (root / "d").mkdir()
    (root / "d" / "secret").write_text("mine")
    resolve = workspace._locate

    def swap(*arguments: Any) -> Any:
        found = resolve(*arguments)
        (root / "d" / "secret").unlink()
        if what == "file":
            (root / "d" / "secret").symlink_to(root.parent / "secret")
        else:
            (root / "d").rmdir()
            (root / "d").symlink_to(root.parent)
        return found

    monkeypatch.setattr(workspace, "_locate", swap)
    outcome = await use(root, "read", path="d/secret")
    assert outcome.is_error
    assert "do not read" not in outcome.text


async def test_write_replaces_nothing_but_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "d").mkdir()
    assert (await use(root, "write", path="d", content="x")).text == "Refused: d is not a regular file"
    os.mkfifo(root / "pipe")
    assert (await use(root, "read", path="pipe")).text == "Refused: pipe is not a regular file"
    monkeypatch.setattr(workspace, "WRITE_LIMIT_BYTES", 3)
    assert (await use(root, "write", path="x", content="1234")).text.startswith("Refused: 4 bytes are more")


async def test_failed_write_leaves_the_old_content_and_no_temporary_file(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "x").write_text("old")
    (root / "x").chmod(0o640)

    def full(*arguments: Any, **more: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full)
        outcome = await use(root, "write", path="x", content="new")
    assert outcome.text == "write failed: No space left on device"
    assert (root / "x").read_text() == "old"
    assert [path.name for path in root.iterdir()] == ["x"]
    await use(root, "write", path="x", content="new")
    assert (root / "x").stat().st_mode & 0o777 == 0o640


async def test_leftover_of_a_killed_write_does_not_block_it(root: Path) -> None:
    workspace.write(root, "x", b"1", tag="t")
    leftover = root / ".lockjaw-e3b98a4da31a127d.tmp"
    leftover.write_text("half")
    workspace.write(root, "x", b"2", tag="t")
    assert [path.name for path in root.iterdir()] == ["x"]


async def test_long_file_is_read_in_pieces_that_say_where_to_go_on(root: Path) -> None:
    (root / "x").write_text("aß" * 5)  # 15 bytes; 4 bytes end in the middle of the second ß
    tool = ReadTool(limit_bytes=5)
    first = await use(root, "read", tool=tool, path="x")
    assert first.text == "aßa\n[bytes 0 to 4 of 15; go on with offset_bytes=4]"
    rest = await use(root, "read", tool=tool, path="x", offset_bytes=12)
    assert rest == ToolOutcome("aß", details={"bytes": 3, "size": 15})
    assert (await use(root, "read", tool=tool, path="x", offset_bytes=99)).text == ""


@given(st.text(max_size=30), st.integers(4, 9))
def test_pieces_of_a_text_add_up_to_it(tmp_path_factory: pytest.TempPathFactory, words: str, size: int) -> None:
    data, text, offset = words.encode("utf-8", errors="replace"), "", 0
    while offset < len(data):
        piece = data[offset : offset + size]
        piece = tools._whole_characters(piece) if offset + size < len(data) else piece
        text += piece.decode()
        offset += len(piece)
    assert text.encode() == data


def test_broken_utf8_does_not_stop_the_pieces() -> None:
    assert tools._whole_characters(b"\x80" * 6) == b"\x80" * 6
    assert tools._whole_characters(b"\xf0") == b"\xf0"
    assert tools._whole_characters(b"ab\xc3\xa9") == b"ab\xc3\xa9"


# --------------------------------------------------------------------------- exec


@pytest.fixture
def tripwire(root: Path) -> Iterator[tuple[str, int]]:
    """A FIFO in the workspace and our reading end: end of file proves that no process holds it any more."""
    path = root / "tripwire"
    os.mkfifo(path)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path.name, fd
    os.close(fd)


async def released(fd: int) -> bytes:
    """Wait until no writer of the FIFO is left; what they wrote proves that there was one."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    data = bytearray()

    def read() -> None:
        piece = os.read(fd, 4096)
        data.extend(piece)
        if not piece and not ended.done():
            ended.set_result(None)

    loop.add_reader(fd, read)
    try:
        await asyncio.wait_for(ended, 10)
    finally:
        loop.remove_reader(fd)
    return bytes(data)


async def opened(fd: int) -> None:
    """Wait until the command has written its first line to the FIFO."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await asyncio.wait_for(ready.wait(), 10)
    finally:
        loop.remove_reader(fd)


async def test_command_runs_in_the_workspace_and_reports_both_streams(root: Path) -> None:
    outcome = await use(root, "exec", command="pwd; echo err >&2")
    assert outcome == ToolOutcome(f"{root}\nerr\n", details={"exitCode": 0, "timedOut": False})


async def test_failing_command_is_an_error_with_its_code(root: Path) -> None:
    outcome = await use(root, "exec", command="echo no; exit 3")
    assert outcome == ToolOutcome("no\n\n[exit code 3]", True, {"exitCode": 3, "timedOut": False})


async def test_command_sees_no_token_and_no_descriptor_of_ours(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCLAW_GATEWAY_TOKEN", "secret-token")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    outcome = await use(root, "exec", command="env -u PWD -u OLDPWD -u SHLVL -u _; ls /proc/self/fd | wc -l; cat")
    lines = outcome.text.splitlines()
    assert sorted(line.partition("=")[0] for line in lines[:-1]) == ["HOME", "LANG", "LOCKJAW_COMMAND", "PATH"]
    assert f"HOME={root}" in lines
    assert int(lines[-1]) <= 5  # 0, 1, 2, the listed folder, and the pipe of wc's own shell at most
    assert not outcome.is_error


def test_environment_has_a_path_even_where_ours_has_none() -> None:
    assert command.clean_environment(Path("/w"), {}) == {"PATH": os.defpath, "HOME": "/w", "LANG": "C.UTF-8"}


async def test_long_output_keeps_its_end_and_says_so(root: Path) -> None:
    outcome = await use(root, "exec", tool=ExecTool(output_limit=10), command="seq 1 20000")
    assert outcome.text == "[108884 bytes of earlier output left out]\n999\n20000\n"


async def test_background_child_does_not_outlive_the_command(root: Path, tripwire: tuple[str, int]) -> None:
    name, fd = tripwire
    outcome = await use(root, "exec", command=f"exec 9>{name}; echo up >&9; sleep 1000 & echo done")
    assert outcome.text == "done\n"
    assert await released(fd) == b"up\n"


async def test_time_limit_stops_the_whole_group(root: Path, tripwire: tuple[str, int]) -> None:
    name, fd = tripwire
    script = f"exec 9>{name}; echo up >&9; (sleep 1000; echo no) & sleep 1000"
    outcome = await use(root, "exec", command=script, timeout_s=1)
    assert outcome.is_error
    assert outcome.details == {"exitCode": 143, "timedOut": True}
    assert "[stopped after 1s, with everything it had started that could be found]" in outcome.text
    assert await released(fd) == b"up\n"


async def test_command_may_clean_up_on_sigterm(root: Path) -> None:
    script = "trap 'echo cleaned; exit 7' TERM; sleep 1000 & wait"
    outcome = await use(root, "exec", command=script, timeout_s=1)
    assert outcome.text.startswith("cleaned")
    assert outcome.details == {"exitCode": 7, "timedOut": True}


async def test_command_that_ignores_sigterm_is_killed(root: Path, tripwire: tuple[str, int]) -> None:
    name, fd = tripwire
    script = f"trap '' TERM; exec 9>{name}; echo up >&9; while :; do sleep 1000; done"
    outcome = await use(root, "exec", clock=ScaledClock.start(0.1), command=script, timeout_s=10)
    assert outcome.details == {"exitCode": None, "timedOut": True}
    assert await released(fd) == b"up\n"


async def test_cancelled_command_is_gone_before_the_cancellation_returns(root: Path, tripwire: tuple[str, int]) -> None:
    name, fd = tripwire
    running = asyncio.ensure_future(use(root, "exec", command=f"exec 9>{name}; echo up >&9; sleep 1000 & sleep 1000"))
    await opened(fd)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await released(fd) == b"up\n"


async def test_a_group_whose_leader_was_reaped_gets_no_signal_any_more(
    root: Path, tripwire: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its id may be somebody else's by then."""
    name, fd = tripwire
    signalled: list[int] = []
    monkeypatch.setattr("lockjaw.runner.command.os.killpg", lambda group, number: signalled.append(group))
    running = asyncio.ensure_future(use(root, "exec", command=f"exec 9>{name}; echo up >&9; sleep 1000"))
    await opened(fd)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert signalled == []


async def test_second_cancellation_cuts_the_grace_short(root: Path, tripwire: tuple[str, int]) -> None:
    name, fd = tripwire
    script = f"trap 'echo term >&9' TERM; exec 9>{name}; echo up >&9; while :; do sleep 0.01; done"
    slow = ScaledClock.start(1000)  # the grace would be 2000 s
    running = asyncio.ensure_future(use(root, "exec", clock=slow, command=script))
    await opened(fd)
    os.read(fd, 100)
    running.cancel()
    await opened(fd)  # the trap has run: the command ignores the signal
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 30)
    assert b"term" in await released(fd)


@pytest.mark.parametrize("turns", range(6))
async def test_cancellation_at_any_moment_of_the_start_leaves_nothing(
    root: Path, tripwire: tuple[str, int], turns: int
) -> None:
    name, fd = tripwire
    holder = os.open(root / name, os.O_WRONLY)  # the command may never come to open the FIFO itself
    running = asyncio.ensure_future(use(root, "exec", command=f"exec 9>{name}; sleep 1000"))
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    os.close(holder)
    await released(fd)


async def test_command_that_is_cancelled_while_it_comes_into_being_is_stopped(
    root: Path, tripwire: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, fd = tripwire
    spawn, spawned, gate = asyncio.create_subprocess_exec, asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any, **more: Any) -> Any:
        process = await spawn(*arguments, **more)
        spawned.set()
        await gate.wait()
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", slow)
    running = asyncio.ensure_future(use(root, "exec", command=f"exec 9>{name}; echo up >&9; sleep 1000"))
    await spawned.wait()
    await opened(fd)
    running.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await released(fd) == b"up\n"


async def test_command_that_kills_its_leader_is_killed_by_its_guard(root: Path, tripwire: tuple[str, int]) -> None:
    name, fd = tripwire
    outcome = await use(root, "exec", command=f"exec 9>{name}; echo up >&9; kill -9 $PPID; sleep 1000")
    assert outcome == ToolOutcome("[killed]", True, {"exitCode": None, "timedOut": False})
    assert await released(fd) == b"up\n"


async def test_command_that_kills_its_guard_is_killed_from_outside(
    root: Path, tripwire: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "LAST_RESORT_REAL_S", 0.05)
    name, fd = tripwire
    others = "for p in $(cat /proc/$PPID/task/$PPID/children); do [ $p = $$ ] || kill -9 $p; done"
    script = f"exec 9>{name}; echo up >&9; {others}; sleep 1000"
    outcome = await use(root, "exec", clock=ScaledClock.start(0.1), command=script, timeout_s=10)
    assert outcome.details == {"exitCode": None, "timedOut": True}
    assert await released(fd) == b"up\n"


async def test_process_that_escaped_does_not_hold_the_answer_back(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "PIPE_REAL_S", 0.05)
    # The child says when it has its own session, so that it is not killed on the way there.
    script = "mkfifo f; setsid sh -c 'echo $$ > pid; echo up > f; exec sleep 1000' & read -r up < f; echo done"
    outcome = await asyncio.wait_for(use(root, "exec", command=script), 20)
    os.kill(int((root / "pid").read_text()), signal.SIGKILL)  # promised nowhere: that is what the docstring says
    assert outcome.text == "done\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the environment of other processes")
@pytest.mark.parametrize("escape", ["setsid sh", "setsid setsid sh", "nohup setsid sh"])
async def test_a_stopped_command_leaves_no_process_that_made_itself_a_new_session(root: Path, escape: str) -> None:
    script = f"mkfifo f; {escape} -c 'echo $$ > pid; echo up > f; exec sleep 1000' & read -r up < f; sleep 1000"
    outcome = await asyncio.wait_for(use(root, "exec", command=script, timeout_s=3), 30)

    pid = int((root / "pid").read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert "with everything it had started that could be found]" in outcome.text


async def test_where_escaped_processes_cannot_be_found_the_model_is_told_so(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "end_escaped", lambda mark: False)
    outcome = await use(root, "exec", command="sleep 1000", timeout_s=1)
    assert "a process that made itself a new session may still run]" in outcome.text


async def test_command_with_a_nul_and_a_missing_shell_are_results(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await use(root, "exec", command="a\0b")).text == "Refused: the command holds a NUL character"

    async def missing(*arguments: Any, **more: Any) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(asyncio, "create_subprocess_exec", missing)
    assert (await use(root, "exec", command="ls")).text == "exec failed: No such file or directory"
    assert len(os.listdir("/proc/self/fd")) == len(before)


async def test_exec_leaks_no_descriptor(root: Path) -> None:
    await use(root, "exec", command="true")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        await use(root, "exec", command="true")
    await asyncio.sleep(0)  # the transport of the output closes its pipe in the next turn of the loop
    assert len(os.listdir("/proc/self/fd")) <= before


_RUNNER = """
import asyncio, sys
from pathlib import Path
from lockjaw.clock import ScaledClock
from lockjaw.runner.tools import ToolContext, built_in_tools, run_tool
context = ToolContext(Path(sys.argv[1]), ScaledClock.start(), "r", "c")
asyncio.run(run_tool(built_in_tools(), "exec", {"command": sys.argv[2]}, context))
"""


@pytest.mark.real
async def test_killed_runner_leaves_no_command_behind(root: Path, tripwire: tuple[str, int]) -> None:
    name, fd = tripwire
    script = f"trap '' TERM HUP; exec 9>{name}; echo up >&9; sleep 1000 & sleep 1000"
    runner = subprocess.Popen([sys.executable, "-c", _RUNNER, str(root), script])
    try:
        await opened(fd)
    finally:
        runner.kill()
        runner.wait()
    assert await released(fd) == b"up\n"


# --------------------------------------------------------------------------- limits and boundaries


def test_limits_of_the_tools_are_those_that_a_model_is_told() -> None:
    described = {name: tool.description for name, tool in built_in_tools().items()}
    assert "at most 262144 bytes at a time" in described["read"]
    assert "stopped after 60 s" in described["exec"]
    assert "the last 65536 bytes" in described["exec"]
    timeout = ExecTool().schema["properties"]["timeout_s"]
    assert (timeout["minimum"], timeout["maximum"]) == (0.001, 60.0)
    read = ReadTool().schema
    assert (read["properties"]["offset_bytes"]["minimum"], read["properties"]["path"]["minLength"]) == (0, 1)
    assert ExecTool().schema["properties"]["command"]["minLength"] == 1


def test_a_piece_of_a_file_says_where_it_begins_and_how_long_the_file_is(root: Path) -> None:
    size = 256 * 1024
    (root / "big").write_bytes(b"x" * size + b"y")
    assert workspace.read(root, "big") == workspace.Excerpt(b"x" * size, 0, size + 1)
    assert workspace.read(root, "big", offset=size) == workspace.Excerpt(b"y", size, size + 1)
    assert workspace.read(root, "big", offset=size + 1) == workspace.Excerpt(b"", size + 1, size + 1)
    assert workspace.read(root, "big", offset=size - 1, limit=1) == workspace.Excerpt(b"x", size - 1, size + 1)
    assert workspace.read(root, "big", offset=3, limit=2).end == 5
    assert workspace.read(root, "big", limit=0).data == b""


def test_a_file_that_grows_while_it_is_read_is_as_long_as_what_was_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "x").write_bytes(b"abc")
    read = os.pread

    def slowly(fd: int, count: int, offset: int) -> bytes:
        if offset == 4:
            return b"de"
        return read(fd, min(count, 1), offset) if offset < 4 else b""

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", slowly)
        piece = workspace.read(root, "x", offset=1, limit=2)
        assert piece == workspace.Excerpt(b"bc", 1, 3)
    with (root / "x").open("ab") as file:
        file.write(b"d")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", slowly)
        assert workspace.read(root, "x", offset=0) == workspace.Excerpt(b"abcdde", 0, 6)


@pytest.mark.parametrize(("more", "refused"), [(0, False), (1, True)])
def test_eight_mebibytes_are_written_at_most(root: Path, more: int, refused: bool) -> None:
    data = b"x" * (8 * 1024 * 1024 + more)
    if refused:
        with pytest.raises(workspace.Refused, match="8388609 bytes are more than the limit of 8388608 bytes"):
            workspace.write(root, "x", data, tag="t")
    else:
        assert workspace.write(root, "x", data, tag="t") is True
        assert (root / "x").stat().st_size == len(data)


def test_a_new_file_may_be_read_by_whom_the_users_mask_allows(root: Path) -> None:
    mask = os.umask(0o027)
    try:
        workspace.write(root, "x", b"1", tag="t")
    finally:
        os.umask(mask)
    assert (root / "x").stat().st_mode & 0o7777 == 0o640


@pytest.mark.parametrize("path", ["", "a\0b", "/", "d/", ".."])
def test_what_names_no_file_is_refused(root: Path, path: str) -> None:
    with pytest.raises(workspace.Refused):
        workspace.write(root, path, b"1", tag="t")


@pytest.mark.parametrize(
    ("result", "text", "is_error"),
    [
        (command.CommandResult(0, b"out\n", 0, False), "out\n", False),
        (command.CommandResult(0, b"\n\nout", 0, False), "out", False),
        (command.CommandResult(0, b"out", 1, False), "[1 bytes of earlier output left out]\nout", False),
        (command.CommandResult(1, b"out", 0, False), "out\n[exit code 1]", True),
        (command.CommandResult(-1, b"out", 0, False), "out\n[exit code -1]", True),
        (command.CommandResult(None, b"", 0, False), "[killed]", True),
        (
            command.CommandResult(0, b"out", 0, True),
            "out\n[stopped after 2.5s, with everything it had started that could be found]", True,
        ),
        (
            command.CommandResult(None, b"", 0, True, False),
            "[stopped after 2.5s, with its process group; a process that made itself a new session may still run]",
            True,
        ),
    ],
)  # fmt: skip
async def test_what_a_model_is_told_of_a_command(
    root: Path, result: command.CommandResult, text: str, is_error: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[float, int]] = []

    async def run(script: str, *, timeout_s: float, output_limit: int, **more: Any) -> command.CommandResult:
        asked.append((timeout_s, output_limit))
        return result

    monkeypatch.setattr(command, "run", run)
    outcome = await use(root, "exec", command="x", timeout_s=2.5)
    details = {"exitCode": result.exit_code, "timedOut": result.timed_out}
    assert outcome == ToolOutcome(text, is_error, details)
    await use(root, "exec", command="x")
    assert asked == [(2.5, 65536), (60.0, 65536)]


async def test_what_is_refused_or_unknown_or_wrong_is_an_error(root: Path) -> None:
    nul = "Refused: the command holds a NUL character"
    assert await use(root, "exec", command="a\0b") == ToolOutcome(nul, True, {"refused": True})
    outcome = await use(root, "read", path="..")
    assert (outcome.is_error, outcome.details) == (True, {"refused": True})
    outcome = await use(root, "read")
    assert (outcome.is_error, outcome.details) == (True, {"invalid": ["arguments.path is missing"]})
    outcome = await use(root, "read", path="gone")
    assert outcome == ToolOutcome("read failed: No such file or directory", True)
    assert await run_tool({}, "x", {}, ToolContext(root, CLOCK, "r", "c")) == ToolOutcome(
        "Unknown tool 'x'. Available tools: none.", True
    )
    assert (ToolOutcome("x").is_error, ToolOutcome("x").details) == (False, None)


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (b"", b""), (b"ab", b"ab"), (b"a\xc3", b"a"), (b"a\xc3\xa9", b"a\xc3\xa9"), (b"a\xdf", b"a"),
        (b"a\xe0", b"a"), (b"a\xe2\x82", b"a"), (b"a\xe2\x82\xac", b"a\xe2\x82\xac"), (b"a\xef\xbf", b"a"),
        (b"a\xf0", b"a"), (b"a\xf0\x9f", b"a"), (b"a\xf0\x9f\x94", b"a"),
        (b"a\xf0\x9f\x94\x92", b"a\xf0\x9f\x94\x92"), (b"\xf0\x9f\x94", b"\xf0\x9f\x94"),
        (b"a\xc3\x28\x80", b"a\xc3\x28\x80"), (b"\xe2a\x80", b"\xe2a\x80"),
        (b"a\xf0\x80\x80\x80\x80", b"a\xf0\x80\x80\x80\x80"),
    ],
)  # fmt: skip
def test_only_a_character_that_was_cut_off_is_left_to_the_next_piece(data: bytes, kept: bytes) -> None:
    assert tools._whole_characters(data) == kept


async def test_the_tail_of_an_output_counts_what_it_drops() -> None:
    for written, kept, dropped in ((b"", b"", 0), (b"abcd", b"abcd", 0), (b"abcde", b"bcde", 1)):
        tail, stream = command._Tail(4), asyncio.StreamReader()
        stream.feed_data(written)
        stream.feed_eof()
        await tail.read(stream)
        assert (tail.kept(), tail.dropped) == (kept, dropped)
    tail, stream = command._Tail(4), asyncio.StreamReader()
    reading = asyncio.ensure_future(tail.read(stream))
    for piece, held, dropped in ((b"12345678", 8, 0), (b"9", 4, 5), (b"0", 5, 5)):
        stream.feed_data(piece)
        for _ in range(3):
            await asyncio.sleep(0)
        assert (len(tail._data), tail.dropped) == (held, dropped)  # cut at twice the limit, not once per read
    stream.feed_eof()
    await reading
    assert (tail.kept(), tail.dropped) == (b"7890", 6)


@pytest.mark.parametrize(
    ("environment", "path", "lang"),
    [
        ({}, os.defpath, "C.UTF-8"), ({"PATH": "/x", "LANG": "de"}, "/x", "de"), ({"PATH": "", "LANG": ""}, os.defpath,
        "C.UTF-8"), ({"PATH": "/x", "TOKEN": "secret", "HOME": "/root"}, "/x", "C.UTF-8"),
    ],
)  # fmt: skip
def test_a_command_knows_its_path_home_and_language(environment: dict[str, str], path: str, lang: str) -> None:
    assert command.clean_environment(Path("/w"), environment) == {"PATH": path, "HOME": "/w", "LANG": lang}


@pytest.mark.parametrize(("report", "code"), [(b"0\n", 0), (b"143\n", 143), (b"", None), (b"x\n", None), (None, None)])
def test_an_exit_code_is_what_the_leader_wrote(report: bytes | None, code: int | None) -> None:
    async def reported() -> int | None:
        group = command._Group()
        group._report, ours = group._pipe()
        os.set_blocking(group._report, False)
        if report is not None:
            os.write(ours, report)
            group._close(ours)
        try:
            return group.reported_code()
        finally:
            group.close()

    assert asyncio.run(reported()) == code


async def test_the_times_of_a_command_that_is_stopped(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nominal seconds of grace, and real ones that no fast clock shortens."""
    assert (command.TERM_GRACE_S, command.MIN_GRACE_REAL_S) == (2.0, 0.2)
    assert (command.LAST_RESORT_REAL_S, command.PIPE_REAL_S) == (5.0, 1.0)
    wait, limits = asyncio.wait, []

    async def waited(tasks: Any, *, timeout: float | None = None, **more: Any) -> Any:
        limits.append(timeout)
        return await wait(tasks, timeout=timeout, **more)

    monkeypatch.setattr(asyncio, "wait", waited)
    for scale, grace_s in ((0.01, 0.2), (1.0, 2.0)):
        limits.clear()
        clock = ScaledClock.start(scale)
        outcome = await use(root, "exec", clock=clock, command="sleep 1000", timeout_s=0.05 / scale)
        assert outcome.details == {"exitCode": 143, "timedOut": True}
        assert limits == [grace_s, 5.0, 1.0]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the environment of other processes")
@pytest.mark.parametrize(("rounds", "ended"), [(0, True), (1, True), (19, True), (20, False), (21, False)])
def test_a_process_that_always_starts_another_one_wins_after_twenty_rounds(
    rounds: int, ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def end(pid: int, wanted: bytes) -> bool:
        assert wanted == b"LOCKJAW_COMMAND=mark"
        seen.append(pid)
        return len(seen) <= rounds

    monkeypatch.setattr(escaped.os, "listdir", lambda path: ["1", "self"])
    monkeypatch.setattr(escaped, "_end", end)
    assert escaped.end_escaped("mark") is ended
    assert len(seen) == min(rounds + 1, 20)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the environment of other processes")
def test_a_process_is_ended_exactly_if_it_carries_the_mark() -> None:
    pipe = subprocess.PIPE
    process = subprocess.Popen(["/bin/sh", "-c", "echo up; read -r _"], env={"LOCKJAW_COMMAND": "mine"}, stdin=pipe,
                               stdout=pipe)  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"  # before that its environment may not be there yet
    try:
        for mark in (b"LOCKJAW_COMMAND=min", b"LOCKJAW_COMMAND=mine2", b"LOCKJAW_COMMAND="):
            assert escaped._end(process.pid, mark) is False
        assert process.poll() is None
        assert escaped._end(process.pid, b"LOCKJAW_COMMAND=mine") is True
        assert process.wait(5) == -signal.SIGKILL
    finally:
        process.kill()
        process.communicate()
    assert escaped._end(2**22 + 1, b"x") is False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the environment of other processes")
def test_a_process_in_the_middle_of_an_exec_is_ended_too(tmp_path: Path) -> None:
    program = tmp_path / "again"  # shows no environment for some 7 % of its time
    program.write_text('#!/bin/sh\nexec "$0"\n', encoding="utf-8")
    program.chmod(0o755)
    for n in range(60):
        process = subprocess.Popen([program], env={"LOCKJAW_COMMAND": "mine"})
        try:
            assert escaped._end(process.pid, b"LOCKJAW_COMMAND=mine"), f"at the try {n} of 60"
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("rules", "value", "wrong"),
    [
        ({"type": "number", "minimum": 1}, 1, ""), ({"type": "number", "minimum": 1}, 0.9, "at least 1, got 0.9"),
        ({"type": "number", "maximum": 1}, 1, ""), ({"type": "number", "maximum": 1}, 1.1, "at most 1, got 1.1"),
        ({"maximum": 1}, float("nan"), "at most 1, got nan"), ({"minimum": 1}, True, ""), ({"maximum": 0}, True, ""),
        ({"type": "string", "minLength": 2}, "ab", ""), ({"type": "string", "minLength": 2}, "a", "at least 2"),
        ({"type": "string", "maxLength": 2}, "ab", ""), ({"type": "string", "maxLength": 2}, "abc", "at most 2"),
        ({"type": "string"}, "", ""), ({"type": "boolean"}, True, ""), ({"type": "boolean"}, 1, "boolean, got int"),
        ({"type": "integer"}, True, "integer, got bool"), ({"type": "number"}, False, "number, got bool"),
        ({"type": "integer"}, 1.0, "integer, got float"), ({"type": "number"}, 1, ""), ({"type": "array"}, {}, "array"),
        ({"type": "object"}, [], "object, got list"), ({"enum": [1, 2]}, 2, ""), ({"enum": [1, 2]}, 3, "one of [1, 2]"),
        ({"type": "array", "items": {"type": "string"}}, ["a", 1], "arguments[1]: expected string"),
        ({"required": ["a"]}, {}, "arguments.a is missing"), ({"required": ["a"]}, {"a": 1}, ""),
        ({"additionalProperties": False}, {"a": 1}, "arguments.a is unknown (known: none)"),
        ({"additionalProperties": True}, {"a": 1}, ""), ({}, {"a": 1}, ""), ({"items": {"type": "string"}}, 5, ""),
    ],
)  # fmt: skip
def test_what_fits_a_schema_at_its_boundaries(rules: dict[str, Any], value: Any, wrong: str) -> None:
    found = schema.problems(rules, value)
    assert len(found) == bool(wrong)
    assert wrong in "".join(found)
