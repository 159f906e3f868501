"""For each class a scenario whose replay prints that class's own line, or the page says that there is none, and why."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lockjaw.harness.incident.scenario import load_scenario
from lockjaw.harness.intake.report import CLASSES
from lockjaw.harness.intake.search import read_log
from lockjaw.harness.sim.engine import run_sim
from lockjaw.harness.sim.tape import RandomChoices
from lockjaw.seeds import Seeds

PAGE = Path(__file__).parents[3] / "docs/how-to/reproduce-a-report.md"
#: Class -> scenario, and the message that is the class's own.
OWN_LINES = {
    "A": ("gateway_timeout", "banner_same"),
    "B": ("held_lock_uniform_chain", "summary"),
    "C": ("holder_killed_before_payload", "locked"),
    "D": ("recycled_pid", "locked"),
    "E": ("late_reacquire", "abort_unsettled"),
    "F": ("subagents_announce", "locked"),
    "G": ("stalled_session_kept", "stalled_session"),
    "H": ("force_release_while_writing", "force_release"),
    "I": ("writer_during_prompt", "takeover"),
    "J": ("subagents_announce", "announce"),
    "K": ("accepted_run_is_run_again", "banner_fresh"),
    "L": ("wrong_token", "unauthorized"),
    "N": ("session_changed_while_starting", "starting_conflict"),
}


@pytest.mark.parametrize("letter", OWN_LINES)
def test_replay_prints_the_own_line_of_the_class(letter: str) -> None:
    name, kind = OWN_LINES[letter]
    scenario = load_scenario(name)
    lived = run_sim(scenario, policy=scenario.baseline, seed=1, choices=RandomChoices(Seeds(1)))
    replay = read_log([line for log in lived.logs.values() for line in log])
    assert letter in scenario.classes
    assert replay.has(kind)


def test_page_names_the_scenario_of_each_class_and_why_the_others_have_none() -> None:
    rows = dict(re.findall(r"^\| ([A-S]) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert rows.keys() == CLASSES.keys()
    for letter, row in rows.items():
        if letter in OWN_LINES:
            assert f"`{OWN_LINES[letter][0]}`" in row
        else:
            assert row.startswith("none: ")
