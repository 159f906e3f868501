"""The terminal report: 80 columns, no escape sequence where nobody can show one, the replay line last."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from io import StringIO
from typing import Any

import msgspec
import pytest
from rich.cells import cell_len

from lockjaw.harness.judge.checkers.examples import EXAMPLES, changed, op
from lockjaw.reports import text


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_the_report_tells_the_incident_in_plain_words(four_runs: list[Any]) -> None:
    report = text.render(four_runs)

    for needed in (
        "SCENARIO gateway_timeout   X VIOLATED",
        "+ HELD  takeover  (real, seed 1)",
        "The user got NO answer; the fallback found the session locked 3 times",
        "stops waiting after 90000 ms; the gateway works on",
        "        at locked by who     what happened",
        "the turn was executed twice",
    ):
        assert needed in report, needed
    table = [line.split() for line in report.splitlines() if line.startswith("never_session_locked")]
    assert table == [["never_session_locked", "X", "VIOLATED", "+", "HELD", "+", "HELD", "+", "HELD"]]


def test_the_last_line_is_the_command_that_repeats_the_failure(four_runs: list[Any]) -> None:
    last = text.render(four_runs).splitlines()[-1]

    assert last == "lockjaw replay .lockjaw/runs/gateway_timeout/20261122T192700-1-reuse-session"


def test_a_held_run_also_says_its_seed_and_how_to_repeat_it(make_run: Callable[..., Any]) -> None:
    report = text.render([make_run("takeover", seed=77)])

    assert "seed 77" in report
    assert report.splitlines()[-2:] == [
        "Nothing failed. To repeat it all the same:",
        "lockjaw replay .lockjaw/runs/gateway_timeout/20261122T192700-77-takeover",
    ]
    assert "What happened" not in report


def test_no_line_is_wider_than_80_columns_except_those_for_copying(four_runs: list[Any]) -> None:
    wide = [line for line in text.render(four_runs).splitlines() if cell_len(line) > 80]

    assert all("history.jsonl" in line or line.startswith("lockjaw replay") for line in wide)
    assert not any(line != line.rstrip() for line in text.render(four_runs).splitlines())


def test_only_ascii_is_needed_to_show_the_report(four_runs: list[Any]) -> None:
    text.render(four_runs).encode("ascii")


@pytest.mark.parametrize(
    ("out", "env", "coloured"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (StringIO(), {}, False),
        (StringIO(), {"FORCE_COLOR": "1"}, False),
    ],
)
def test_escape_sequences_only_go_to_a_terminal_that_wants_them(
    four_runs: list[Any], out: StringIO, env: dict[str, str], coloured: bool
) -> None:
    text.print_report(four_runs, out, env=env)

    assert ("\x1b[" in out.getvalue()) is coloured


def test_colour_adds_nothing_but_colour(four_runs: list[Any]) -> None:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text.render(four_runs, colour=True))
    assert [line.rstrip() for line in plain.splitlines()] == text.render(four_runs).splitlines()


def test_the_report_goes_to_stdout_unless_told_otherwise(
    make_run: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    text.print_report([make_run("takeover")])

    assert capsys.readouterr().out == text.render([make_run("takeover")])


def test_a_dozen_steps_are_shown_and_the_rest_is_counted(make_run: Callable[..., Any]) -> None:
    report = text.render([make_run("reuse-session")])

    assert sum(" s gateway " in line or " s - " in line for line in report.splitlines()) == text.MAX_ROWS
    assert "15 more steps: .lockjaw/runs/" in report


def test_a_policy_with_many_seeds_tells_one_story(make_run: Callable[..., Any]) -> None:
    runs = [make_run("reuse-session", seed=n) for n in range(12)]
    report = text.render([*runs, make_run("takeover", policy="reuse-session", seed=99)])

    assert report.count("What happened") == 1
    assert "12 of 13 runs, seeds 0, 1, 2, 3, 4, ..." in report


def test_an_unknown_run_says_what_was_not_reached(make_run: Callable[..., Any]) -> None:
    unmet = [{"says": "the client ran out of patience", "met": False, "witness": None}]
    run = make_run("quiet", checks=["answered"], sometimes=unmet, verdict="UNKNOWN")
    report = text.render([run])

    assert "danger_reached: never happened: the client ran out of patience" in report
    assert "To repeat it:\n" in report


def test_a_run_without_steps_or_checks_is_told_as_far_as_it_goes(make_run: Callable[..., Any]) -> None:
    report = text.render([make_run("takeover", history=[], checks=[], target="openclaw@2026.4.8")])

    assert "? UNKNOWN  takeover  (real, seed 1, target openclaw@2026.4.8)" in report
    assert not any(line.startswith("law ") for line in report.splitlines())


def test_no_runs_make_a_report_of_one_line() -> None:
    assert text.render([]) == "No run to report.\n"


def test_markup_in_a_record_is_text(make_run: Callable[..., Any]) -> None:
    history = changed(EXAMPLES["reuse-session"](), op("client.result"), error="[red]boom[/red] [link=x]y :smile:")

    assert "[red]boom[/red] [link=x]y :smile:" in text.render([make_run("reuse-session", history=history)])


def test_repeated_steps_are_counted_in_the_timeline(make_run: Callable[..., Any]) -> None:
    first = EXAMPLES["reuse-session"]()[0]
    history = [
        msgspec.structs.replace(first, op="nemesis", t=float(n), data={"action": "pause", "target": "gateway"}, i=n)
        for n in range(3)
    ]
    report = text.render([make_run("reuse-session", history=history, checks=["answered"])])

    assert "(3 times, until 2.0" in report


def test_a_long_replay_line_is_not_broken(make_run: Callable[..., Any]) -> None:
    folder = f"{'/deep' * 30}/run"

    assert text.render([make_run("reuse-session", run_dir=folder)]).splitlines()[-1] == f"lockjaw replay {folder}"


def test_the_error_that_the_user_saw_is_printed_once(four_runs: list[Any]) -> None:
    report = text.render(four_runs[:1])

    assert report.count("FallbackSummaryError") == 1
    assert report.count("session file locked") == 1
    assert report.count(": the same") == 2
    assert "/sessions/" not in report


def test_two_holders_stand_below_each_other(four_runs: list[Any]) -> None:
    lines = text.render(four_runs[1:2]).splitlines()
    both = [n for n, line in enumerate(lines) if " gateway+ " in line]

    assert both
    assert all(lines[n + 1].strip().startswith("client") for n in both)


@pytest.mark.parametrize("colour", [False, True])
def test_what_a_run_holds_sends_no_escape(colour: bool, make_run: Any) -> None:
    """Ours are the colours alone, and they are no part of the text that came from a stranger."""
    hostile = "a\x1b]0;owned\x07b\x9b2Jc\u202ed"
    run = make_run("reuse-session", checks=["answered"])
    found = msgspec.structs.replace(run.checks[0], finding=f"found {hostile}")
    run = dataclasses.replace(run, checks=(found,))
    run.history[-1].data["error"] = f"All models failed: {hostile}"

    shown = text.render([run], colour=colour)

    assert "found a\\x1b]0;owned" in " ".join(shown.split())
    assert not {"\x9b", "\u202e", "\x07"} & set(shown)
    assert ("\x1b[" in shown) is colour
    assert "\x1b]" not in shown


@pytest.mark.parametrize("width", [40, 50, 65, 66, 80])
def test_on_a_narrow_terminal_no_line_is_cut_and_no_verdict_is_lost(four_runs: list[Any], width: int) -> None:
    report = text.render(four_runs, width=width)

    assert "…" not in report
    for line in report.splitlines():
        assert cell_len(line) <= width or "history.jsonl" in line or line.startswith("lockjaw replay"), line
    rows = [line.split() for line in report.splitlines() if line.startswith("never_session_locked")]
    signs = [[word for word in row[1:] if word in ("X", "+", "?")] for row in rows]
    assert signs == [["X", "+", "+", "+"]]
    assert "1 reuse-session" in report or width >= 80


def test_a_terminal_is_asked_for_its_width_and_a_file_is_not(
    four_runs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    terminal, file = Terminal(), StringIO()
    text.print_report(four_runs, terminal, env={"NO_COLOR": "1"})
    text.print_report(four_runs, file)
    assert terminal.getvalue() == text.render(four_runs, width=50)
    assert file.getvalue() == text.render(four_runs)
