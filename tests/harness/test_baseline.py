"""What changed since: pure comparison, what counts for the exit status, and what a baseline may be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lockjaw.errors import UsageError
from lockjaw.harness.judge.baseline import Judged, Key, compare, read_baseline, verdicts_of
from lockjaw.verdict import Verdict

HELD, VIOLATED, UNKNOWN = Verdict.HELD, Verdict.VIOLATED, Verdict.UNKNOWN


def key(check: str = "answered", policy: str = "takeover", scenario: str = "s") -> Key:
    return Key(scenario, policy, "sim", check)


def run(verdict: str, seed: int = 1, engine: str = "sim", **checks: str) -> dict[str, Any]:
    return {
        "scenario": "s", "policy": "takeover", "engine": engine, "seed": seed, "verdict": verdict,
        "checks": [{"name": name, "verdict": said} for name, said in checks.items()],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "kind", "verdict", "status"),
    [
        (HELD, VIOLATED, "worse", VIOLATED, 1),
        (UNKNOWN, VIOLATED, "worse", VIOLATED, 1),
        (HELD, UNKNOWN, "worse", UNKNOWN, 3),
        (VIOLATED, UNKNOWN, "better", HELD, 0),
        (VIOLATED, HELD, "better", HELD, 0),
        (UNKNOWN, HELD, "better", HELD, 0),
        (None, VIOLATED, "new", VIOLATED, 1),
        (None, UNKNOWN, "new", UNKNOWN, 3),
        (None, HELD, "new", HELD, 0),
    ],
)
def test_only_what_is_worse_or_new_counts(
    before: Verdict | None, after: Verdict, kind: str, verdict: Verdict, status: int
) -> None:
    found = compare("old", {} if before is None else {key(): before}, {key(): after})

    (change,) = found.changes
    assert (change.kind, found.verdict, found.verdict.exit_status) == (kind, verdict, status)


def test_a_known_violation_is_no_change() -> None:
    found = compare("old", {key(): VIOLATED}, {key(): VIOLATED})

    assert (found.changes, found.verdict) == ((), HELD)
    assert found.lines() == ["Compared with old: 1 verdict, no change."]


def test_a_law_that_is_not_checked_any_more_is_named_and_a_scenario_that_was_not_asked_for_is_not() -> None:
    before = {key(): HELD, key("one_writer"): HELD, key(scenario="other"): VIOLATED}
    found = compare("old", before, {key(): HELD})

    assert [str(change) for change in found.changes] == ["gone: s takeover one_writer (sim): HELD -> not checked"]
    assert found.verdict is HELD


def test_the_worse_changes_are_told_first() -> None:
    before = {key("a"): VIOLATED, key("b"): HELD}
    lines = compare("old", before, {key("a"): HELD, key("b"): VIOLATED}).lines()

    assert lines == [
        "Compared with old: 2 verdicts; 2 changed, 1 for the worse:",
        "  worse: s takeover b (sim): HELD -> VIOLATED",
        "  better: s takeover a (sim): VIOLATED -> HELD",
    ]


def test_seeds_combine_and_engines_do_not() -> None:
    documents = [run("HELD", answered="HELD"), run("VIOLATED", 2, answered="VIOLATED"), run("HELD", engine="real")]
    found = verdicts_of(msgspec.convert(documents, list[Judged]))

    assert found == {
        key("verdict"): VIOLATED, key("answered"): VIOLATED, Key("s", "takeover", "real", "verdict"): HELD
    }  # fmt: skip


def keep(folder: Path, started: str, **document: Any) -> None:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"started": started}))
    (folder / "verdict.json").write_text(json.dumps(run(**document)))


def test_of_kept_runs_the_newest_of_each_seed_counts(tmp_path: Path) -> None:
    keep(tmp_path / "s" / "b", "2026-01-01", verdict="VIOLATED")
    keep(tmp_path / "s" / "a", "2026-01-02", verdict="HELD")
    (tmp_path / "latest").symlink_to("s/b")

    assert read_baseline(tmp_path) == {key("verdict"): HELD}
    keep(tmp_path / "s" / "c", "2026-01-01", verdict="UNKNOWN", seed=2)
    assert read_baseline(tmp_path) == {key("verdict"): UNKNOWN}


def test_a_json_document_is_a_baseline_too(tmp_path: Path) -> None:
    file = tmp_path / "base.json"
    file.write_text(json.dumps({"runs": [run("HELD", answered="HELD")]}))

    assert read_baseline(file) == {key("verdict"): HELD, key("answered"): HELD}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"runs": [{}]}', '{"runs": 1}', '{"runs": []}', None])
def test_what_is_no_baseline_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "base.json"
    if content is not None:
        file.write_text(content)

    with pytest.raises(UsageError, match=r"--baseline: .*base\.json: expected"):
        read_baseline(file)


def test_an_empty_folder_is_no_baseline(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one finished run"):
        read_baseline(tmp_path)
