"""What strangers wrote reaches no terminal raw: the function, the one place that prints, and the verbs that show it."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockjaw.visible import COMMAND_KEY, show, show_as_it_is, show_json, show_text, visible, visible_json, visible_lines

from .live import live

ROOT = Path(__file__).resolve().parent.parent
SHOWN = ("src", "harness", "fakes", "reports", "scenarios")

HOSTILE = "a\x1b]0;owned\x07b\x9b2Jc\u202ed\u2066e\u200bf\x7fg\r\x08h"


def test_each_kind_of_control_becomes_an_escape_that_is_seen() -> None:
    assert visible(HOSTILE) == "a\\x1b]0;owned\\x07b\\x9b2Jc\\u202ed\\u2066e\\u200bf\\x7fg\\r\\x08h"
    assert visible("h\U000e0041i") == "h\\U000e0041i"
    assert visible("one\ntwo\tthree\u2028four") == "one\\ntwo\\tthree\\u2028four"
    assert visible_lines("one\ntwo\tthree\x1b[2J") == "one\ntwo\tthree\\x1b[2J"
    assert visible(os.fsdecode(b"caf\xe9.jsonl")) == "caf\\xe9.jsonl"


@pytest.mark.parametrize("text", ["plain", "Grüße, 你好", "👩‍👩‍👧", "C:\\new", ""])
def test_what_people_write_stays(text: str) -> None:
    assert visible(text) == visible_lines(text) == text


@given(st.text())
def test_nothing_that_a_terminal_acts_on_is_left_and_nothing_that_cannot_be_printed(text: str) -> None:
    for shown in (visible(text), visible_lines(text).replace("\n", "").replace("\t", "")):
        assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in shown)
        shown.encode("utf-8")


@given(st.recursive(st.text(), st.lists, max_leaves=4))
def test_json_keeps_its_values(value: object) -> None:
    text = visible_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(text) == value
    assert "\x9b" not in text
    assert "\u202e" not in text


def test_a_line_stays_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    show("a name\nheld     pid 1   forged.lock", "next")
    assert out.getvalue() == "a name\\nheld     pid 1   forged.lock\nnext\n"


@given(st.recursive(st.text() | st.just("so lockjaw run x"), st.lists, max_leaves=4))
def test_json_on_stdout_is_only_json_with_the_values_as_they_are(value: object) -> None:
    """From a clone too, where commands to copy are rewritten for people."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setenv(COMMAND_KEY, 'python3 "dev.py"')
        show_json(json.dumps(value, ensure_ascii=False))

    assert json.loads(out.getvalue()) == value


def test_only_our_own_texts_are_rewritten_for_copying(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(COMMAND_KEY, "python3 dev.py")

    show_text("try lockjaw run x")
    show_as_it_is("try lockjaw run x\x1b[2J")

    assert capsys.readouterr().out == "try python3 dev.py run x\ntry lockjaw run x\\x1b[2J\n"


# --------------------------------------------------------------------------- nothing else prints

#: Who may write to a standard stream beside ``lockjaw.visible``, and why that is safe.
PRINTERS = {
    "src/lockjaw/visible.py": "the one place",
    "src/lockjaw/cli/app.py": "clears the terminal's line before the last sentence",
    "src/lockjaw/cli/sessions.py": "an exported conversation byte for byte, never to a terminal",
    "src/lockjaw/cli/report.py": "document.to_json, which makes it visible",
    "src/lockjaw/cli/results.py": "document.to_json",
    "src/lockjaw/cli/replay.py": "document.to_json",
    "src/lockjaw/cli/target/playing.py": "document.to_json, and a question on one line that visible has made",
    "src/lockjaw/cli/openclaw/campaigns.py": "document.to_json",
    "src/lockjaw/cli/openclaw/demo.py": "document.to_json",
    "src/lockjaw/cli/target/demo.py": "document.to_json",
    "harness/targets/codex/ask.py": "a client in a process of its own, whose output the harness reads as data",
    "harness/targets/openhands/ask.py": "the same",
    "reports/text.py": "its renderer makes every segment visible",
}


def printers() -> Iterator[tuple[str, int]]:
    """Every call of print, and every write to a standard stream, with its file and line."""
    for folder in SHOWN:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and _prints(node.func):
                    yield str(path.relative_to(ROOT)), node.lineno


def _prints(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id == "print"
    if not isinstance(function, ast.Attribute) or function.attr not in ("write", "writelines"):
        return False
    return ast.unparse(function.value) in ("sys.stdout", "sys.stderr", "sys.stdout.buffer", "sys.stderr.buffer", "out")


def test_nothing_but_the_one_place_prints() -> None:
    found = list(printers())
    assert [f"{path}:{line}" for path, line in found if path not in PRINTERS] == []
    assert {path for path, _ in found} == set(PRINTERS), "an exception that is no longer needed"


# --------------------------------------------------------------------------- through the command line


def lockjaw(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "lockjaw", *arguments], cwd=folder, capture_output=True, check=False, timeout=60,
        env={**os.environ, "HOME": str(folder), "PYTHONUTF8": "1"},
    )  # fmt: skip


@pytest.mark.parametrize("command", [("list",), ("clean", "--dry-run")], ids=" ".join)
def test_a_file_name_forges_no_row_and_sends_no_escape(command: tuple[str, ...], tmp_path: Path) -> None:
    sessions = tmp_path / "sessions"
    sessions.mkdir()
    for name in ("a\nheld     pid 1    0.0 s     -  forged", "b\x1b[2J\x9b", "c\u202e"):
        (sessions / f"{name}.jsonl.lock").write_text(json.dumps({"pid": os.getpid()}))
    (sessions / os.fsdecode(b"caf\xe9.jsonl.lock")).write_text("{}")

    ended = lockjaw(tmp_path, "locks", command[0], "sessions", *command[1:])

    assert ended.stderr == b""
    assert b"\x1b" not in ended.stdout
    text = ended.stdout.decode("utf-8")
    assert not any(line.startswith("held     pid 1 ") for line in text.splitlines())
    joined = "".join(line.strip() for line in text.splitlines())
    for shown in ("a\\nheld", "b\\x1b[2J\\x9b", "c\\u202e", "caf\\xe9"):
        assert shown in joined


def test_an_error_that_quotes_a_name_sends_no_escape(tmp_path: Path) -> None:
    ended = lockjaw(tmp_path, "run", "x\x1b[2J.yaml")

    assert ended.returncode == 2
    assert b"\x1b" not in ended.stderr
    assert b"x\\x1b[2J.yaml" in ended.stderr


@pytest.mark.parametrize("command", ["schema", "check x.yaml --json"])
def test_every_json_is_the_same_from_a_clone(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.yaml").write_text("story: s\nmessage: m\nchain: [p/m]\ntime_scale: so lockjaw run y\n")
    installed = json.loads(lockjaw(tmp_path, "scenario", *command.split()).stdout)
    monkeypatch.setenv(COMMAND_KEY, "python3 dev.py")

    assert json.loads(lockjaw(tmp_path, "scenario", *command.split()).stdout) == installed


@pytest.mark.real
async def test_an_answer_and_its_json_send_no_escape(tmp_path: Path) -> None:
    async with live(tmp_path) as one:
        await one.models({"m": [{"text": f"first line\nsecond {HOSTILE}"}] * 2})
        gateway = await one.gateway()
        answer = await one.ask(gateway=gateway)
        agent = one.agent("--agent", "main", "--json", gateway=gateway)
        assert await agent.ended() == 0

    assert answer.startswith("first line\nsecond a\\x1b]0;owned\\x07b\\x9b2J")
    (payload,) = json.loads(agent.stdout())["result"]["payloads"]
    assert payload["text"] == f"first line\nsecond {HOSTILE}"
    assert not {"\x1b", "\x9b", "\u202e"} & set(answer + agent.stdout() + gateway.stderr())


@pytest.mark.real
async def test_a_close_reason_sends_no_escape(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    reason = json.dumps("go\x1b[2Jaway\u202e")
    script.write_text(f"gateway: {{methods: {{agent: [{{close: {{code: 1008, reason: {reason}}}}}]}}}}\n")
    async with live(tmp_path) as one:
        one.configure(1)
        gateway = await one.server("gateway", "serve", "gateway", "--script", str(script))
        agent = one.agent("--agent", "main", "--policy", "no-fallback", gateway=gateway)
        assert await agent.ended() == 1

    assert "gateway closed (1008): go\\x1b[2Jaway\\u202e" in agent.stderr()
    assert not {"\x1b", "\u202e"} & set(agent.stderr())
