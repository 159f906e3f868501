"""``lockjaw reproduce`` as a command: what it prints, writes and returns."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lockjaw.cli import reproduce as verb
from lockjaw.cli.progress import Progress
from lockjaw.cli.reproduce import reproduce
from lockjaw.harness.intake.search import Searched, search
from lockjaw.harness.kit.reading import read_kit

REPORTS = Path(__file__).parents[1] / "harness/intake/reports"
SEED = REPORTS / "seed-mixed-chain.txt"
#: Its lines are printed by nothing that we have, so a search for it goes on.
ENDLESS = REPORTS / "cascade-of-one-incident.txt"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lockjaw(*arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lockjaw", *arguments], capture_output=True, text=True, timeout=60, **how
    )


def test_the_document_names_what_was_understood_and_a_kit_that_opens(capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(str(SEED), seeds=20, as_json=True) == 0

    told = json.loads(capsys.readouterr().out)
    assert told["report"]["classes"] == ["A", "B"]
    assert (told["reproduced"], told["search"]["best_similarity"], told["search"]["missing"]) == (True, 1.0, [])
    assert Path(told["scenario_file"]).read_text(encoding="utf-8") == told["scenario"]
    assert [run["verdict"] for run in told["runs"]] == ["VIOLATED"]
    assert read_kit(Path(told["kit"])).manifest.verdict == "VIOLATED"


def test_the_text_fits_80_columns_and_ends_with_the_replay(capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(str(SEED), seeds=20) == 0

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert lines[-1].startswith("lockjaw replay ")
    assert lines[0].startswith("REPORT seed-mixed-chain.txt   3 lines, 3 understood")


def test_a_report_that_is_not_reproduced_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(str(REPORTS / "stale-race.txt"), seeds=20) == 3

    told = capsys.readouterr().out
    assert "not reproduced" in told
    assert "nothing of ours prints such lines: file lock stale" in told
    assert "lockjaw run stale_lock_replaced (class H)" in told


def test_no_lock_incident_is_told_from_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(str(REPORTS / "negative.txt"), seeds=20) == 3
    told = capsys.readouterr().out
    assert "No lock incident: a lock of git, line 2." in told
    assert "error" not in told


def test_another_file_of_that_name_is_kept_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = Path("mine.yaml")
    wanted.write_text("somebody's own\n", encoding="utf-8")
    assert reproduce(str(SEED), seeds=20, scenario=wanted) == 0

    told = capsys.readouterr().out
    assert wanted.read_text(encoding="utf-8") == "somebody's own\n"
    assert "mine.yaml is there with other contents and was kept; this one is mine-2.yaml" in " ".join(told.split())
    assert Path("mine-2.yaml").exists()


def test_the_same_report_again_writes_no_second_file_and_says_what_it_replaced(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert [reproduce(str(SEED), seeds=20) for _ in "ab"] == [0, 0]
    files = sorted(path.suffix for path in Path(".lockjaw/reproduced").iterdir())
    assert files == [".yaml", ".zip"]
    assert "was the kit of an earlier run of this scenario and was replaced" in " ".join(
        capsys.readouterr().out.split()
    )


def test_an_interrupted_search_keeps_the_best_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(report: Any, **how: Any) -> Searched:
        def third(found: Searched) -> None:
            if found.trials == 3:
                raise KeyboardInterrupt

        return search(report, **(how | {"progress": third}))

    monkeypatch.setattr(verb, "search", interrupted)

    assert reproduce(str(ENDLESS), seeds=20) == 130

    told = capsys.readouterr().out
    assert "3 runs in" in told
    assert "interrupted" in told
    assert list(Path(".lockjaw/reproduced").glob("*.yaml"))
    assert list(Path(".lockjaw/runs").glob("*/*/history.jsonl"))


@pytest.mark.parametrize("source", [".", "nowhere.md"])
def test_what_cannot_be_read_is_a_usage_error(source: str) -> None:
    done = lockjaw("reproduce", source)
    assert (done.returncode, done.stdout) == (2, "")
    assert "expected a file with a pasted report, or - for stdin; " in done.stderr


def test_a_closed_stdin_is_a_usage_error() -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -m lockjaw reproduce - <&-', sys.executable], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "stdin" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_text_without_an_end_is_read_so_far_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockjaw.harness.intake.source.MAX_BYTES", 1 << 20)

    report = verb._read("/dev/zero", Progress())

    assert any("only the first" in note for note in report.notes)
