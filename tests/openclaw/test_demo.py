"""What the demonstration shows of two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from lockjaw.cli.openclaw import demo as verb
from lockjaw.errors import UsageError
from lockjaw.harness.incident.scenario import load_scenario
from lockjaw.harness.judge.outcome import Outcome
from lockjaw.harness.run import Run
from lockjaw.harness.targets.openclaw import demo
from lockjaw.harness.targets.openclaw.campaign import Options
from lockjaw.history import Record
from lockjaw.verdict import Verdict

SCENARIO = load_scenario("gateway_timeout")
LONG = f"[diagnostic] lane task error: session file locked: pid=1 /a/run/state/agents/{'x' * 90}.jsonl.lock"
THEIRS = Outcome(False, 1, 3, 1, 2, 1, False, None, "All models failed (3)")
OURS = Outcome(True, 5, 0, 2, 3, 2, True, "Done.", None)
LOCKED = msgspec.structs.replace(OURS, session_locked_errors=1)


def a_run(outcome: Outcome, nominal_s: float) -> Run:
    broken, here = Verdict.VIOLATED, Path("/r")
    return Run(SCENARIO.name, "p", "real", 1, broken, (), (), outcome, "sha256:0", nominal_s, nominal_s, here, ())


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> dict[str | None, Outcome]:
    """What each client comes to: by the policy of ours, None for the real one."""
    found: dict[str | None, Outcome] = {None: THEIRS, demo.OURS: OURS}

    def run_version(scenario: Any, version: Any, options: Options, say: Any, progress: Any) -> Run:
        progress("p", Record(90.0, "client", "client.stderr", "info", {"line": LONG}))
        return a_run(found[options.client_policy], 135.2 if options.client_policy is None else 245.0)

    monkeypatch.setattr(verb, "run_version", run_version)
    return found


def test_both_command_lines_are_shown_with_what_became_of_them(
    outcomes: dict[str | None, Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    assert verb.demo("2026.4.8", yes=True) == 0
    shown = capsys.readouterr().out
    theirs, ours = shown.split("$ lockjaw agent")
    assert '$ openclaw agent --agent main --message "long task"\n  90.0 s [diagnostic]' in theirs
    assert "exit status 1 after 135 s: no answer (3 session-locked errors)" in theirs
    assert " 245.0 s Done.\nexit status 5 after 245 s: answered, in a copy of the conversation" in ours
    assert "<state>/" in shown
    assert "/a/run" not in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("who", "outcome"),
    [(None, OURS), ("takeover", THEIRS), ("takeover", LOCKED)],
)
def test_demonstration_that_comes_out_otherwise_says_so_in_its_status(
    outcomes: dict[str | None, Outcome], who: str | None, outcome: Outcome
) -> None:
    outcomes[who] = outcome
    assert verb.demo("2026.4.8", yes=True) == 1


def test_version_must_be_one(outcomes: dict[str | None, Outcome]) -> None:
    with pytest.raises(Exception, match="a version such as"):
        verb.demo("newest")


def test_json_is_only_json(outcomes: dict[str | None, Outcome], capsys: pytest.CaptureFixture[str]) -> None:
    verb.demo("2026.4.8", yes=True, as_json=True)
    out, err = capsys.readouterr()
    assert out.startswith("{\n")
    assert out.count('"policy"') == 2
    assert "$ openclaw agent" in err


def test_nothing_is_installed_without_a_yes(
    outcomes: dict[str | None, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UsageError, match=r"--yes, because openclaw@2026\.4\.8 and its Node take about 800 MB"):
        verb.demo("2026.4.8", cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_fewer_lock_errors_than_the_report_says_so(
    outcomes: dict[str | None, Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    assert verb.demo("2026.4.8", yes=True) == 0
    assert "too busy" not in capsys.readouterr().out
    outcomes[None] = msgspec.structs.replace(THEIRS, session_locked_errors=2)
    verb.demo("2026.4.8", yes=True)
    assert "This run shows 2 of the 3 session-locked errors" in capsys.readouterr().out
