"""The command line as a habit: what is missing is named, what is to be copied works, a typo makes nothing."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import tomllib
import webbrowser
from collections.abc import Sequence
from importlib.metadata import distribution, entry_points
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from lockjaw.cli import explore, locks, report
from lockjaw.errors import LocalError
from lockjaw.harness import run_scenario
from lockjaw.history.run import Run
from lockjaw.locking import FileLock, SessionLocked
from lockjaw.visible import COMMAND_KEY, as_typed

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lockjaw(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OPENCLAW_", "LOCKJAW_"))}
    return subprocess.run(
        [sys.executable, "-m", "lockjaw", *arguments], capture_output=True, text=True, timeout=60, check=False,
        env=clean | {"HOME": str(Path.cwd())} | env,
    )  # fmt: skip


@pytest.fixture
def violated(tmp_path: Path) -> Run:
    return run_scenario("gateway_timeout", policy="reuse-session", engine="sim", out=tmp_path / "runs")


# --------------------------------------------------------------------------- report


def test_report_succeeds_when_it_has_written_its_page_and_tells_the_verdict_on_request(violated: Run) -> None:
    page = Path("page.html")
    assert report.report(violated.run_dir, html=page) == 0
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert report.report(violated.run_dir) == 0
    assert report.report(violated.run_dir, exit_code=True) == 1


@pytest.mark.parametrize("named", [None, Path("page.html")])
def test_open_shows_the_page_that_was_written(
    named: Path | None, violated: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)

    assert report.report(violated.run_dir, html=named, open_page=True) == 0

    page = named or violated.run_dir / "report.html"
    assert opened == [page.absolute().as_uri()]
    assert page.is_file()


# --------------------------------------------------------------------------- lines to copy


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("lockjaw replay .lockjaw/runs/latest", "python3 dev.py replay .lockjaw/runs/latest"),
        ("see `lockjaw list`", "see `python3 dev.py list`"),
        ("lockjaw failed: x", "lockjaw failed: x"),
        (".lockjaw/runs lockjaw-replay x/lockjaw run", ".lockjaw/runs lockjaw-replay x/lockjaw run"),
    ],
)
def test_commands_to_copy_are_those_that_work_where_they_are_printed(
    text: str, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(COMMAND_KEY, raising=False)
    assert as_typed(text) == text
    monkeypatch.setenv(COMMAND_KEY, "python3 dev.py")
    assert as_typed(text) == typed


def test_the_last_line_of_a_run_from_a_clone_names_the_clones_command() -> None:
    ended = lockjaw("run", "gateway_timeout", "--engine", "sim", LOCKJAW_COMMAND="python3 ../dev.py")
    assert ended.stdout.splitlines()[-1].startswith("python3 ../dev.py replay .lockjaw/runs/gateway_timeout/")
    as_json = lockjaw("run", "gateway_timeout", "--engine", "sim", "--json", LOCKJAW_COMMAND="python3 ../dev.py")
    assert json.loads(as_json.stdout)["runs"][0]["replay"].startswith("lockjaw replay ")


# --------------------------------------------------------------------------- small ones


def test_the_short_flag_and_completion_are_there() -> None:
    assert lockjaw("-V").stdout == lockjaw("--version").stdout
    script = lockjaw("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "complete" in script.stdout
    command = Path(sys.executable).with_name("lockjaw")
    asked = {"_LOCKJAW_COMPLETE": "complete_bash", "COMP_WORDS": "lockjaw re", "COMP_CWORD": "1"}
    offered = subprocess.run([command], env=os.environ | asked, capture_output=True, text=True, check=False)
    assert offered.stdout.split() == ["replay", "reproduce", "report"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("rum",), "Did you mean 'run'?"),
        (("run", "gateway_timeot"), "did you mean gateway_timeout?"),
        (("run", "gateway_timeout", "--policy", "takeovr"), "did you mean takeover?"),
        (("explore", "gateway_timeout", "--strategy", "crahs"), "did you mean crash?"),
        (("serve", "gateway", "never_finl"), "never_final"),
        (("explore", "gateway_timeout", "--seeds", "0"), "Invalid value for '--seeds': expected 1 or more"),
        (("run", "gateway_timeout", "--engine", "sim", "--repeat", "2"), "--seeds N varies it, got 'sim'"),
        (("run", "gateway_timeout", "--target", "codex", "--seeds", "2"), "--repeat N with --target"),
        (("run", "gateway_timeout", "--seed", "x"), "Invalid value for '--seed': expected a whole number"),
        (("report", "nope"), "the folder of a finished run, such as one in .lockjaw/runs; no folder has this name"),
        (("serve", "link", "--upstream", "127.0.0.1:1", "--toxic", "latncy"), "did you mean latency?"),
        (("replay", "nope.zip"), "nope.zip: expected the folder of a finished run, or a kit; no file has this name"),
        (("serve", "link", "--upstream", "127.0.0.1:1", "--toxic", "latency latency_s=soon"),
         "toxic latency: at latency_s expected a number >= 0, got 'soon'"),
        (("serve", "link", "--upstream", "127.0.0.1:1", "--journal", "nowhere/x"),
         "nowhere/x: expected a file in a folder that exists"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)  # fmt: skip
def test_what_is_mistyped_or_missing_is_named(arguments: Sequence[str], told: str) -> None:
    ended = lockjaw(*arguments)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert told in " ".join(ended.stderr.split())
    assert list(Path.cwd().iterdir()) == []


def test_a_sweep_without_a_number_visits_every_place() -> None:
    assert explore._all_of("crash") == explore._all_of("fuzz") == 0
    assert explore._all_of("random") == explore.DEFAULT_SEEDS


# --------------------------------------------------------------------------- the runtime's folders


def ask(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return lockjaw("agent", "--agent", "main", "--message", "hi", *arguments, **env)


def test_a_typo_in_the_state_folder_makes_no_folder(tmp_path: Path) -> None:
    for command in (("agent", "--agent", "main", "--message", "hi"), ("gateway", "run")):
        ended = lockjaw(*command, "--state-dir", "typo")
        assert (ended.returncode, ended.stdout) == (2, "")
        assert "--state-dir: expected a folder that exists; `mkdir` makes one, got 'typo'" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_that_is_not_there_is_named() -> None:
    ended = ask("--config", "nope.json")
    assert ended.returncode == 2
    assert "--config: expected a file that exists, got 'nope.json'" in ended.stderr


def test_no_configuration_at_all_is_answered_with_an_example_that_is_one(tmp_path: Path) -> None:
    ended = ask("--local")

    assert ended.returncode == 2
    head, _, example = ended.stderr.partition("as in this file:\n")
    assert head.endswith("agents.defaults.model: expected at least one PROVIDER/MODEL, ")
    assert len(example.splitlines()) == 8
    assert f"```json5\n{example}```" in (ROOT / "docs/how-to/use-takeover.md").read_text(), "the same in the how-to"
    without = ask("--policy", "takeover", HOME=str(tmp_path))  # no gateway is running, so the turn runs here
    assert example in without.stderr
    (tmp_path / "openclaw.json").write_text(example)
    answered = ask("--local", "--config", "openclaw.json", "--timeout", "1")
    assert "PROVIDER/MODEL" not in answered.stderr
    assert "mine/model-name" in answered.stderr


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_state_folder_that_cannot_be_written_is_named_before_the_gateway_listens(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o500)
    ended = lockjaw("gateway", "run", "--port", "0", OPENCLAW_STATE_DIR="state")
    assert ended.returncode == 2
    assert "expected a state folder that can be written" in ended.stderr
    assert "listening" not in ended.stderr


def test_a_file_in_the_state_folders_place_is_named_before_the_gateway_listens(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    ended = lockjaw("gateway", "run", "--port", "0", OPENCLAW_STATE_DIR="state/x")
    assert ended.returncode == 2
    assert "state/x: expected a state folder that can be written" in ended.stderr


def test_locks_are_looked_for_where_openclaw_keeps_its_state_and_their_program_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "state" / "agents" / "main" / "sessions"
    folder.mkdir(parents=True)
    other = subprocess.Popen([sys.executable, "-c", "input()", "a secret"], stdin=subprocess.PIPE)
    (folder / "s.jsonl.lock").write_text(json.dumps({"pid": other.pid, "createdAt": "2026-01-01T00:00:00.000Z"}))
    monkeypatch.setenv("OPENCLAW_STATE_DIR", str(tmp_path / "state"))

    try:
        locks.list_locks()
    finally:
        other.communicate(b"\n", timeout=30)

    told = " ".join(capsys.readouterr().out.split())
    assert f"pid {other.pid}" in told
    assert "it is python" in told
    assert "secret" not in told
    monkeypatch.delenv("OPENCLAW_STATE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    ended = lockjaw("locks", "list", HOME=str(tmp_path / "nobody"))
    assert f"{tmp_path}/nobody/.openclaw: expected a folder" in ended.stderr


def test_the_lock_of_any_file_is_shown_by_the_files_name(tmp_path: Path) -> None:
    assert lockjaw("locks", "list", ".").stdout == f"No locks below {tmp_path}.\n"
    (tmp_path / "state.json").write_text("{}")
    assert lockjaw("locks", "list", "state.json").stdout == "No lock of state.json.\n"
    with FileLock(tmp_path / "state.json"):
        shown = lockjaw("locks", "list", "state.json").stdout
        below = lockjaw("locks", "list", ".").stdout
        with pytest.raises(SessionLocked) as refused:
            FileLock(tmp_path / "state.json", timeout=0).acquire()
    assert re.search(rf"^held +pid {os.getpid()} .* state\.json\.lock$", shown, re.M)
    assert re.search(rf"^held +pid {os.getpid()} .* state\.json\.lock$", below, re.M)
    told = str(refused.value)
    assert told.startswith(f"file locked (waited 0.0 s of 0 s): pid={os.getpid()} {tmp_path}/state.json.lock. ")
    assert "has held the file for" in told
    assert told.endswith("Wait for it, or stop that process.")
    assert "session" not in told
    assert pickle.loads(pickle.dumps(refused.value)).args == refused.value.args
    lock = FileLock(tmp_path / "state.json")
    with lock, pytest.raises(LocalError, match="this FileLock holds the lock already"):
        lock.acquire()


# --------------------------------------------------------------------------- what a start of pytest costs


def test_no_dependency_of_the_runtime_brings_a_heavy_plugin_that_every_pytest_loads() -> None:
    """Faker's cost 0.6 s of each start, wherever Lockjaw was installed. anyio's comes with httpx."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    brought: set[str] = set()
    todo = [Requirement(text).name.lower() for text in project["dependencies"]]
    while todo:
        name = todo.pop()
        if name in brought:
            continue
        brought.add(name)
        for text in distribution(name).requires or ():
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                todo.append(wanted.name.lower())
    plugins = {one.dist.name.lower() for one in entry_points(group="pytest11") if one.dist is not None}
    assert brought & plugins == {"anyio", "platformdirs"}
