"""The command line: what it prints where, and with which status it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lockjaw import __version__, cli
from lockjaw.cli import app, verbs
from lockjaw.errors import HarnessError, LocalError
from lockjaw.harness import load_scenario
from lockjaw.scenarios import names

from ..live import LOCKJAW, live

BUSY = str(Path(__file__).parents[1] / "quality" / "busy.yaml")  # about two seconds
QUIET = """
story: Nothing goes wrong.
message: hello
chain: [p/m]
models: {m: [{text: hi}]}
checks: [never_session_locked, answered]
answers_s: {p/m: 1.0}
time_scale: 0.02
"""


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Ended]


@pytest.fixture
def lockjaw(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Lockjaw's ``main`` in this process, in an empty folder and with an empty home."""
    for key in [key for key in os.environ if key.startswith(("OPENCLAW_", "LOCKJAW_"))]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["lockjaw", *arguments])
        status = 0
        try:
            cli.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        captured = capfd.readouterr()
        return Ended(status, captured.out, captured.err)

    return run


def process(*arguments: str, cwd: Path, **env: str) -> Ended:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OPENCLAW_", "LOCKJAW_"))}
    ran = subprocess.run(
        [*LOCKJAW, *arguments],
        cwd=cwd,
        env=clean | {"HOME": str(cwd)} | env,
        capture_output=True,
        text=True,
        check=False,
    )
    return Ended(ran.returncode, ran.stdout, ran.stderr)


# --------------------------------------------------------------------------- help


@pytest.mark.parametrize("path", [path for path, _ in verbs.walk()], ids=" ".join)
def test_every_help_fits_80_columns(path: tuple[str, ...], lockjaw: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")

    ended = lockjaw(*path, "--help")

    assert ended.status == 0
    assert max(len(line) for line in ended.out.splitlines()) <= 80
    assert "Usage:" in ended.out
    assert "\x1b" not in ended.out


def test_every_visible_option_has_a_help_text() -> None:
    mute = [
        f"{' '.join(path)} {parameter.name}"
        for path, command in verbs.walk()
        for parameter in command.params
        if not getattr(parameter, "hidden", False) and not getattr(parameter, "help", "")
    ]
    assert mute == []


def test_the_version_is_printed(lockjaw: Command) -> None:
    assert lockjaw("--version") == Ended(0, f"lockjaw {__version__}\n", "")


def test_no_command_prints_help_with_the_status_of_a_usage_error(lockjaw: Command) -> None:
    ended = lockjaw()

    assert ended.status == 2
    assert "Usage:" in ended.out + ended.err


def test_a_scenario_is_played_with_the_store_that_is_asked_for(lockjaw: Command, tmp_path: Path) -> None:
    (tmp_path / "quiet.yaml").write_text(QUIET)

    run = lockjaw("run", "quiet.yaml", "--engine", "sim", "--sessions", "sqlite", "--json").json()["runs"][0]

    records = (tmp_path / run["run_dir"] / "history.jsonl").read_text()
    assert ".sqlite" in records
    assert ".jsonl" not in records
    beside = lockjaw("run", "quiet.yaml", "--sessions", "sqlite", "--target", "codex")
    assert (beside.status, "the program has a store of its own" in beside.err) == (2, True)
    assert lockjaw("run", "quiet.yaml", "--sessions", "csv").status == 2


@pytest.mark.parametrize("arguments", [("dance",), ("run",), ("run", "x", "--seed", "-1"), ("agent",)])
def test_a_usage_error_has_status_2_and_nothing_on_stdout(arguments: tuple[str, ...], lockjaw: Command) -> None:
    ended = lockjaw(*arguments)

    assert (ended.status, ended.out) == (2, "")
    assert "Error:" in ended.err


# --------------------------------------------------------------------------- list


def test_list_names_every_scenario_with_its_story(lockjaw: Command) -> None:
    ended = lockjaw("list")

    assert ended.status == 0
    lines = ended.out.splitlines()
    assert [line[0] for line in lines if line and not line.startswith(" ")] == list("ABCDEFGHIJKLMNOPQRS")
    named = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " " and ":" not in line]
    assert sorted(name for name in named if name in names()) == names()
    assert "C  A lock is left by a dead process (17 reports, 2 pull requests, 1 page)" in lines
    assert max(map(len, lines)) <= 80


def test_list_of_one_scenario_tells_it_in_full(lockjaw: Command) -> None:
    ended = lockjaw("list", "gateway_timeout")

    assert ended.status == 0
    text = " ".join(ended.out.split())
    assert " ".join(load_scenario("gateway_timeout").story.split()) in text
    assert "openclaw/openclaw#62981" in text
    assert "It breaks: never_session_locked, lock_is_not_a_model_failure, answered" in text
    assert max(map(len, ended.out.splitlines())) <= 80


def test_list_refuses_a_name_that_nobody_has(lockjaw: Command) -> None:
    ended = lockjaw("list", "gateway_timeot")

    assert (ended.status, ended.out) == (2, "")
    assert "gateway_timeout" in ended.err


def test_list_json_is_one_document(lockjaw: Command) -> None:
    document = lockjaw("list", "--json").json()

    assert (document["lockjaw"], document["command"]) == (__version__, "list")
    assert [scenario["name"] for scenario in document["scenarios"]] == names()
    assert {key for scenario in document["scenarios"] for key in scenario} == {
        "name", "story", "reports", "class", "row", "versions", "baseline", "breaks", "checks", "engines", "not_real",
    }  # fmt: skip
    classes = document["classes"]
    assert [one["class"] for one in classes] == list("ABCDEFGHIJKLMNOPQRS")
    assert sorted(name for one in classes for name in one["scenarios"]) == names()
    assert sum(one["reports"] for one in classes) == 206


# --------------------------------------------------------------------------- run: what is refused


def test_an_unknown_scenario_is_refused_with_the_one_that_was_meant_or_those_that_exist(lockjaw: Command) -> None:
    ended = lockjaw("run", "gateway_timeot")

    assert (ended.status, ended.out) == (2, "")
    assert ended.err.rstrip().endswith("got 'gateway_timeot'; did you mean gateway_timeout?")
    assert len(ended.err) < 200, "the suggestion does not hide behind a list of all names"
    ended = lockjaw("run", "nothing_like_it")
    assert all(name in ended.err for name in names())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("story: x\nchain: [", "bad.yaml:"),
        (QUIET.replace("story:", "storey:"), "names, got 'storey'; did you mean story?"),
        (QUIET.replace("chain: [p/m]", "chain: nonsense"), "bad.yaml:4:1: at chain expected a list"),
        (QUIET.replace("answered]", "answred]"), "bad.yaml:6:32: at checks[1] expected names among:"),
        (
            QUIET.replace("time_scale: 0.02", "time_scale: 2"),
            "bad.yaml:8:1: at time_scale expected a number > 0 and <= 1, got 2",
        ),
    ],
)
def test_a_malformed_scenario_is_refused_with_file_line_and_key(
    text: str, told: str, lockjaw: Command, tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text(text)

    ended = lockjaw("run", "bad.yaml")

    assert (ended.status, ended.out) == (2, "")
    assert told in ended.err
    assert not (tmp_path / ".lockjaw").exists()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--policy", "hope"), "--policy: expected one of all, baseline, reuse-session, fresh-session"),
        (("--engine", "diesel"), "expected one of"),
        (("--time-scale", "0"), "--time-scale: expected a number above 0 and at most 1"),
        (("--junit", "nowhere/x.xml"), "nowhere/x.xml: expected a file in a folder that exists"),
        (("--markdown", "nowhere/x.md"), "nowhere/x.md: expected a file in a folder that exists"),
        (("--junit", "."), ".: expected a file in a folder that exists"),
    ],
)
def test_a_bad_flag_is_refused_before_anything_runs(
    flags: tuple[str, ...], told: str, lockjaw: Command, tmp_path: Path
) -> None:
    ended = lockjaw("run", "gateway_timeout", *flags)

    assert (ended.status, ended.out) == (2, "")
    assert told in ended.err
    assert list(tmp_path.rglob("manifest.json")) == []


def test_a_folder_that_cannot_be_made_for_runs_is_a_failure_of_the_harness(lockjaw: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    ended = lockjaw("run", BUSY, "--out", str(tmp_path / "file" / "runs"))

    assert (ended.status, ended.out) == (4, "")
    assert f"lockjaw failed: cannot make a run folder below {tmp_path / 'file' / 'runs'}" in ended.err


# --------------------------------------------------------------------------- run, report, replay


@dataclass(frozen=True)
class Played:
    folder: Path
    ended: Ended

    @property
    def run(self) -> dict[str, Any]:
        (run,) = self.ended.json()["runs"]
        return run

    @property
    def run_dir(self) -> Path:
        return self.folder / self.run["run_dir"]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    folder = tmp_path_factory.mktemp("played")
    arguments = ("run", BUSY, "--json", "--junit", "out.xml", "--markdown", "out.md", "--out", "runs", "--seed", "7")
    return Played(folder, process(*arguments, cwd=folder))


pytest_real = pytest.mark.real


@pytest_real
def test_a_run_that_holds_has_status_0_and_prints_one_json_document(played: Played) -> None:
    document = played.ended.json()

    assert (played.ended.status, played.ended.err) == (0, "")
    assert (document["lockjaw"], document["command"], document["scenario"]) == (__version__, "run", "busy")
    assert (document["verdict"], played.run["verdict"]) == ("HELD", "HELD")
    assert (played.run["policy"], played.run["engine"], played.run["seed"]) == ("takeover", "real", 7)
    assert played.run["outcome"]["answered"] is True
    assert {check["verdict"] for check in played.run["checks"]} == {"HELD"}
    assert played.run_dir.is_dir()


@pytest_real
def test_junit_and_markdown_are_written_to_the_files_that_were_named(played: Played) -> None:
    tree = ET.parse(played.folder / "out.xml")
    markdown = (played.folder / "out.md").read_text()

    assert tree.getroot().tag == "testsuites"
    assert len(list(tree.iter("testcase"))) >= len(played.run["checks"])
    assert list(tree.iter("failure")) == []
    assert "busy: HELD" in markdown
    assert "seed 7" in markdown


@pytest_real
def test_report_shows_a_kept_run_again(played: Played, lockjaw: Command) -> None:
    as_text, as_markdown = lockjaw("report", str(played.run_dir)), lockjaw("report", str(played.run_dir), "--markdown")
    as_json = lockjaw("report", str(played.run_dir), "--json")

    assert [ended.status for ended in (as_text, as_markdown, as_json)] == [0, 0, 0]
    assert "HELD" in as_text.out
    assert "\x1b" not in as_text.out
    assert as_markdown.out.startswith("#")
    assert as_json.json()["runs"][0]["event_hash"] == played.run["event_hash"]


@pytest_real
def test_a_bare_report_shows_the_newest_run(played: Played, lockjaw: Command) -> None:
    none_yet = lockjaw("report")
    assert none_yet.status == 2
    assert ".lockjaw/runs/latest: expected the folder of a finished run" in none_yet.err

    Path(".lockjaw").mkdir()
    Path(".lockjaw/runs").symlink_to(played.folder / "runs")

    assert lockjaw("report", "--json").json()["runs"][0]["event_hash"] == played.run["event_hash"]


@pytest_real
def test_report_of_a_violated_run_has_its_status(played: Played, lockjaw: Command) -> None:
    changed = _copy(played, verdict="VIOLATED")

    assert lockjaw("report", str(changed)).status == 0
    assert lockjaw("report", str(changed), "--exit-code").status == 1


@pytest_real
def test_replay_runs_it_again_and_says_that_the_verdict_is_the_same(played: Played, lockjaw: Command) -> None:
    ended = lockjaw("replay", str(played.run_dir), "--yes-real", "--json")

    document = ended.json()
    assert (ended.status, document["command"]) == (0, "replay")
    assert document["replay"]["same_verdict"] is True
    assert document["runs"][0]["seed"] == 7
    assert document["runs"][0]["run_dir"] != str(played.run_dir)


@pytest_real
def test_a_replay_with_another_verdict_has_status_4(played: Played, lockjaw: Command) -> None:
    changed = _copy(played, verdict="VIOLATED")

    ended = lockjaw("replay", str(changed), "--yes-real")

    assert ended.status == 4
    assert "the replay is HELD, the run was VIOLATED" in ended.err


def _copy(played: Played, *, verdict: str) -> Path:
    """The run's folder with another verdict in it."""
    copy = played.run_dir.with_name(f"copy-{os.urandom(4).hex()}")
    copy.mkdir()
    for file in played.run_dir.iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    kept = json.loads((copy / "verdict.json").read_text())
    (copy / "verdict.json").write_text(json.dumps({**kept, "verdict": verdict}))
    return copy


@pytest.mark.parametrize("command", ["report", "replay"])
def test_a_folder_that_holds_no_run_is_a_usage_error(command: str, lockjaw: Command, tmp_path: Path) -> None:
    ended = lockjaw(command, str(tmp_path))

    assert (ended.status, ended.out) == (2, "")
    assert f"{tmp_path}: expected the folder of a finished run" in ended.err


@pytest_real
def test_a_run_that_is_violated_has_status_1_and_ends_with_the_replay_line(lockjaw: Command) -> None:
    ended = lockjaw("run", BUSY, "--policy", "no-fallback")

    assert ended.status == 1
    assert "VIOLATED" in ended.out
    assert ended.out.splitlines()[-1].strip().startswith("lockjaw replay ") or "lockjaw replay " in ended.out
    assert max(len(line) for line in ended.out.splitlines()) <= 160


@pytest_real
def test_a_run_that_never_reached_the_danger_has_status_3(lockjaw: Command, tmp_path: Path) -> None:
    (tmp_path / "quiet.yaml").write_text(QUIET)

    ended = lockjaw("run", "quiet.yaml")

    assert ended.status == 3
    assert "UNKNOWN" in ended.out


# --------------------------------------------------------------------------- pipes, colours, interrupts


@pytest.mark.parametrize("arguments", [("list",), ("list", "--json"), ("--help",), ("--version",)], ids=" ".join)
def test_a_reader_that_leaves_early_is_no_verdict_and_no_traceback(arguments: tuple[str, ...], tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        ran = subprocess.run([*LOCKJAW, *arguments], cwd=tmp_path, stdout=closed, stderr=subprocess.PIPE, check=False)

    assert (ran.returncode, ran.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {}], ids=str)
def test_there_are_no_colours_where_nobody_wants_them(env: dict[str, str], tmp_path: Path) -> None:
    ended = process("list", cwd=tmp_path, **env)

    assert ended.status == 0
    assert "\x1b" not in ended.out + ended.err


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (LocalError("fix the call"), 2, "fix the call\n"),
        (HarnessError("it broke", "/run/dir"), 4, "lockjaw failed: it broke (kept: /run/dir)\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
        (KeyboardInterrupt("Interrupted during x."), 130, "Interrupted during x.\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_every_expected_error_is_one_message_and_a_status(
    error: BaseException, status: int, told: str, lockjaw: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(app, "command_line", lambda: fail)

    assert lockjaw() == Ended(status, "", told)


# --------------------------------------------------------------------------- the runtime's commands


def test_agent_needs_a_session(lockjaw: Command) -> None:
    ended = lockjaw("agent", "--message", "hi")

    assert (ended.status, ended.out) == (2, "")
    assert "--to <E.164>, --session-id, or --agent to choose a session" in ended.err


def test_agent_without_a_configuration_says_what_is_missing(lockjaw: Command) -> None:
    ended = lockjaw("agent", "--agent", "main", "--message", "hi", "--local")

    assert (ended.status, ended.out) == (2, "")
    assert "agents.defaults.model: expected at least one PROVIDER/MODEL, as in this file:\n{\n" in ended.err


def test_agent_in_json_tells_its_failure_as_json(lockjaw: Command) -> None:
    ended = lockjaw("agent", "--agent", "main", "--message", "hi", "--local", "--json")

    assert ended.status == 2
    assert ended.json()["ok"] is False
    assert "agents.defaults.model" in ended.json()["error"]["message"]


@pytest.mark.parametrize("command", [("agent", "--agent", "main", "--message", "hi"), ("gateway", "run")], ids=" ".join)
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{\n  "gateway": { "port": }\n}', 'openclaw.json:2:24: expected JSON5 (Unexpected "}")'),
        ("[1]", "openclaw.json: expected a JSON5 object, got 'list'"),
        (
            '{gateway: {port: "eighty"}}',
            "openclaw.json:1:12: at gateway.port expected a whole number >= 1",
        ),
        (
            "{agents: {defaults: {model: 'gpt'}}}",
            "openclaw.json:1:22: at agents.defaults.model expected PROVIDER/MODEL",
        ),
    ],
)
def test_a_malformed_configuration_is_told_with_file_and_place(
    text: str, told: str, command: tuple[str, ...], lockjaw: Command, tmp_path: Path
) -> None:
    (tmp_path / "openclaw.json").write_text(text)

    ended = lockjaw(*command, "--config", str(tmp_path / "openclaw.json"))

    assert (ended.status, ended.out) == (2, "")
    assert told in ended.err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--timeout", "-3"), "--timeout: expected a non-negative integer (seconds; 0 means no timeout), got '-3'"),
        (("--timeout", "soon"), "--timeout: expected a non-negative integer (seconds; 0 means no timeout), got 'soon'"),
        (("--policy", "hope"), "--policy: expected one of reuse-session, fresh-session, no-fallback, takeover"),
        (("--url", "http://127.0.0.1"), "cli --url: expected a ws:// or wss:// address, got 'http://127.0.0.1'"),
    ],
)
def test_agent_refuses_flags_that_make_no_sense(flags: tuple[str, ...], told: str, lockjaw: Command) -> None:
    ended = lockjaw("agent", "--agent", "main", "--message", "hi", *flags)

    assert (ended.status, ended.out) == (2, "")
    assert told in ended.err


@pytest.mark.parametrize("what", ["model", "gateway"])
def test_a_fake_without_a_script_says_so(what: str, lockjaw: Command) -> None:
    ended = lockjaw("serve", what, "--script", "nowhere.yaml")

    assert (ended.status, ended.out) == (2, "")
    assert "nowhere.yaml: expected a UTF-8 text file; no file has this name" in ended.err


# --------------------------------------------------------------------------- locks


def test_locks_list_shows_text_and_json(lockjaw: Command, tmp_path: Path) -> None:
    folder = tmp_path / "agents" / "main" / "sessions"
    folder.mkdir(parents=True)
    (folder / "s.jsonl.lock").write_text(json.dumps({"pid": os.getppid(), "createdAt": "2026-01-01T00:00:00.000Z"}))

    text, document = lockjaw("locks", "list", str(tmp_path)), lockjaw("locks", "list", str(tmp_path), "--json").json()

    assert text.status == 0
    assert f"held     pid {os.getppid()}" in text.out
    assert document["command"] == "locks list"
    assert [(row["state"], row["pid"]) for row in document["locks"]] == [("held", os.getppid())]


def test_locks_list_of_a_folder_that_is_not_there_is_a_usage_error(lockjaw: Command) -> None:
    ended = lockjaw("locks", "list", "nowhere")

    assert (ended.status, ended.out) == (2, "")
    assert "nowhere: expected a folder" in ended.err


@pytest_real
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_interrupted_run_has_the_status_of_its_signal_and_leaves_no_process(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    async with live(tmp_path) as one:
        run = one.spawn("run", "run", BUSY, "--time-scale", "1", "--json", "--out", str(tmp_path / "runs"))
        await run.until(lambda: list(tmp_path.glob("runs/busy/*/events/gateway.jsonl")), "gateway")

        run.send(number)

        assert await run.ended() == status
        assert run.stdout() == ""
        assert "every process of the run has been ended" in run.stderr()
        assert "Aborted" not in run.stderr()
        assert one.orphans() == []


def test_a_repeated_run_says_in_how_many_each_law_broke(lockjaw: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from lockjaw.cli import run as command
    from lockjaw.harness.run import run_policies

    monkeypatch.setattr(command, "run_policies", lambda *a, **k: run_policies(*a, **(k | {"engine": "sim"})))  # cheaper
    ended = lockjaw("run", "gateway_timeout", "--policy", "reuse-session", "--repeat-until-sure", "--json")
    document = ended.json()
    assert [run["seed"] for run in document["runs"]] == [1, 1, 1, 1]
    shares = {share["law"]: share for share in document["shares"]}
    assert shares["answered"] == {
        "scenario": "gateway_timeout", "policy": "reuse-session", "target": "builtin", "law": "answered",
        "broken": 4, "runs": 4, "low": 0.51, "high": 1.0, "settled": True,
    }  # fmt: skip
    assert (shares["one_writer"]["broken"], shares["one_writer"]["high"]) == (0, 0.49)
    ended = lockjaw("run", "gateway_timeout", "--policy", "reuse-session", "--repeat", "2")
    assert "gateway_timeout, reuse-session: answered: broken in 2 of 2 (95 %: 34% to 100%)" in ended.out
    assert "2 of 2 runs, seed 1)" in ended.out
