"""Cells count what was shown: runs that reached the danger, laws that were decided, how often they broke."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from lockjaw.cli.target.table import table
from lockjaw.errors import UsageError
from lockjaw.harness.incident.scenario import load_scenario
from lockjaw.harness.judge.judgement import OUT_OF_SIGHT
from lockjaw.harness.store import HISTORY, SCENARIO, VERDICT, Store
from lockjaw.harness.targets.kept import cells_kept, cells_summarised
from lockjaw.harness.targets.table import Cell, cell_of, markdown, marks, unknowns, ways
from lockjaw.history import Record
from lockjaw.history.records import write_history
from lockjaw.history.run import BUILTIN, Outcome, Reached, Run
from lockjaw.verdict import CheckResult, Verdict


def test_a_cell_whose_danger_was_never_reached_is_unknown_whatever_broke() -> None:
    cell = Cell("mine@1", "s", runs=2, reached=0, laws={"answered": (0, 0)})
    assert (cell.verdict, cell.said) == (Verdict.UNKNOWN, "UNKNOWN: the danger was not reached in 2 run(s)")


def test_a_cell_says_how_often_of_how_many_and_the_table_why_not() -> None:
    broken = Cell("mine@1", "s", 3, 3, {"answered": (2, 3), "one_writer": (0, 0)}, {"one_writer": "cannot be judged"})
    held = Cell("other@1", "s", 2, 2, {"answered": (0, 2)})
    assert (broken.verdict, broken.said) == (Verdict.VIOLATED, "VIOLATED: answered 2 of 3")
    assert (held.verdict, held.said) == (Verdict.HELD, "HELD in 2 run(s)")
    lines = markdown([broken, held]).splitlines()
    assert lines[2] == "| mine@1 | VIOLATED: answered 2 of 3 |"
    assert unknowns([broken, held]) == "- `one_writer`: cannot be judged. mine@1: s."


def test_a_column_that_nobody_ran_stands_there_all_the_same() -> None:
    held = Cell("mine@1", "s", 2, 2, {"answered": (0, 2)})
    lines = markdown([held], ["s", "t"]).splitlines()
    assert lines[::2] == ["| runtime | s | t |", "| mine@1 | HELD in 2 run(s) | not run |"]


def test_marks_say_of_each_cell_what_it_came_to_and_our_own_stand_last() -> None:
    laws = {"answered": (0, 2)}
    cells = [
        Cell("lockjaw, takeover, sqlite", "s", 2, 2, laws), Cell("lockjaw, takeover, jsonl", "t", error="no database"),
        Cell("other@2", "t", 2, 1, laws), Cell("mine@1", "s", 3, 3, {"answered": (1, 3)}),
    ]  # fmt: skip
    assert marks(cells, ["s", "t", "u"]).splitlines() == [
        "|  | mine 1 | other 2 | lockjaw (jsonl) | lockjaw (sqlite) |", "| --- | --- | --- | --- | --- |",
        "| `s` | **X** | - | - | + |", "| `t` | - | ? | - | - |", "| `u` | - | - | - | - |",
    ]  # fmt: skip


def test_a_cell_says_how_soon_a_client_was_refused() -> None:
    laws = {"answered": (3, 3)}
    late, soon = (Cell("a", "s", 3, 3, laws, refused_s=times) for times in ((5.2, 5.4, 9.0), (0.2,)))
    assert late.said == "VIOLATED: answered 3 of 3; refused after 5.4 s"
    assert soon.said == "VIOLATED: answered 3 of 3; refused at once (0.2 s)"


def finished(seed: int, *, reached: bool = True, refused_s: float | None = None) -> Run:
    verdict = Verdict.HELD if refused_s is None else Verdict.VIOLATED
    checks = (
        CheckResult("answered", verdict, "said"),
        CheckResult("one_writer", Verdict.UNKNOWN, "nobody saw it"),
        CheckResult("no_lock_left", Verdict.HELD if seed == 1 else Verdict.UNKNOWN, "in one run only"),
    )
    history = [Record(1.0, "client", "lock", "fail", {"waited_s": refused_s})] if refused_s is not None else []
    outcome = Outcome(False, 1, 0, 1, 1, 1, False, None, None)
    danger = (Reached("the danger", 0 if reached else None),)
    what = ("s", "reuse-session", "real", seed, verdict)
    return Run(*what, checks, danger, outcome, "h", 1.0, 1.0, Path("r"), history, "mine@1")


def test_only_a_law_that_no_run_decided_is_explained_and_so_is_a_danger_that_was_missed() -> None:
    runs = [finished(1, refused_s=5.25), finished(2), finished(3, reached=False, refused_s=0.1)]
    cell = cell_of("mine@1", "s", runs, ["answered", "one_writer", "no_lock_left"])
    assert (cell.runs, cell.reached, cell.refused_s) == (3, 2, (5.2,))
    assert cell.laws == {"answered": (1, 2), "one_writer": (0, 0), "no_lock_left": (0, 1)}
    assert cell.why == {"one_writer": "nobody saw it", "danger_reached": "not in 1 of 3: the danger"}


def test_a_summary_of_kept_runs_is_read_like_the_runs(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for run in (finished(1, refused_s=2.0), finished(2)):
        folder = store.create("s", run.seed, run.policy)
        write_history(folder.path / HISTORY, run.history)
        (folder.path / VERDICT).write_bytes(msgspec.json.encode(run.document()))
        store.finish(folder)
    cells = cells_kept(tmp_path)
    assert [(cell.target, cell.said) for cell in cells] == [
        ("mine@1", "VIOLATED: answered 1 of 2; refused after 2.0 s")
    ]
    summary = tmp_path / "summary.json"
    summary.write_bytes(msgspec.json.encode({"lockjaw": "0", "cells": [ways(cell) for cell in cells]}))
    assert cells_summarised(summary) == cells


def test_runs_of_our_own_programs_stand_under_their_policy_and_their_store_and_a_later_source_wins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, store, broken in (("old", "sqlite", 2.0), ("new", "sqlite", None), ("new", "jsonl", None)):
        kept = Store(tmp_path / folder)
        run = replace(finished(1, refused_s=broken), target=BUILTIN)
        made = kept.create("s", 1, run.policy)
        made.write(SCENARIO, {"sessions": store})
        write_history(made.path / HISTORY, run.history)
        (made.path / VERDICT).write_bytes(msgspec.json.encode(run.document()))
        kept.finish(made)
    old, new = (tmp_path / folder for folder in ("old", "new"))
    assert [cell.target for cell in cells_kept(new)] == [f"lockjaw, reuse-session, {s}" for s in ("jsonl", "sqlite")]

    table([old, new], as_json=False)

    rows = capsys.readouterr().out.splitlines()[2:4]
    assert rows == [f"| lockjaw, reuse-session, {s} | HELD in 1 run(s) |" for s in ("jsonl", "sqlite")]


def test_a_kept_history_can_be_judged_by_the_laws_of_today(tmp_path: Path) -> None:
    scenario = load_scenario("two_clients_one_session")
    answered = {"answered": True, "reply": "Yes.", "session_id": "two"}
    history = [
        Record(1.0, "other", "client.result", "info", answered),
        Record(
            2.0, "harness", "transcript.final", "info", {"session_id": "two", "user_messages": [scenario.message]}, 1
        ),
    ]
    unseen = CheckResult("no_lock_left", Verdict.UNKNOWN, f"{OUT_OF_SIGHT}its locks are in memory")
    then = (CheckResult("transcript_whole", Verdict.HELD, "1 transcript is whole"), unseen)
    run = replace(finished(1), scenario=scenario.name, checks=then, history=history)
    folder = Store(tmp_path).create(scenario.name, 1, run.policy)
    folder.write(SCENARIO, msgspec.to_builtins(scenario))
    write_history(folder.path / HISTORY, history)
    (folder.path / VERDICT).write_bytes(msgspec.json.encode(run.document()))
    Store(tmp_path).finish(folder)

    assert [cell.laws["transcript_whole"] for cell in cells_kept(tmp_path)] == [(0, 1)]
    [cell] = cells_kept(tmp_path, again=True)
    assert cell.laws["transcript_whole"] == (1, 1)
    assert cell.why["no_lock_left"] == unseen.finding


@pytest.mark.parametrize("text", ["", "{}", '{"cells": [{"target": 1}]}'])
def test_what_is_no_summary_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UsageError, match="lockjaw target table RUNS --json"):
        cells_summarised(tmp_path / "x.json")
    with pytest.raises(UsageError, match="kept runs below it"):
        cells_kept(tmp_path)
