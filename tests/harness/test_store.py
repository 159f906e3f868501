"""The store of runs: complete folders, a bound, and several harnesses at once."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import msgspec
import pytest

from lockjaw.errors import HarnessError, UsageError
from lockjaw.harness.store import MANIFEST, VERDICT, RunDirectory, Store, read_run


def finished(store: Store, number: int = 1, scenario: str = "s") -> list[RunDirectory]:
    runs = []
    for _ in range(number):
        run = store.create(scenario, 1, "takeover")
        store.finish(run, verdict="HELD")
        runs.append(run)
    return runs


def test_folder_is_named_after_time_seed_and_policy(tmp_path: Path) -> None:
    run = Store(tmp_path).create("gateway_timeout", 7, "takeover", engine="real")
    assert run.path.parent == tmp_path / "gateway_timeout"
    assert run.path.name.endswith("-7-takeover")
    assert "429" not in run.path.name.removesuffix("-7-takeover")  # 2026.4.8 takes that for a rate limit in a path
    assert run.path.stat().st_mode & 0o077 == 0
    assert {p.name for p in run.path.iterdir()} == {"state", "logs", "events", "home", MANIFEST}
    manifest = run.manifest()
    assert (manifest["state"], manifest["pid"], manifest["engine"]) == ("running", os.getpid(), "real")


def test_runs_of_one_second_get_folders_of_their_own(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert len({store.create("s", 1, "takeover").path for _ in range(5)}) == 5


def test_latest_points_at_the_run_that_ended_last(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, second = store.create("s", 1, "takeover"), store.create("s", 2, "takeover")
    store.finish(second)
    store.finish(first)
    assert (tmp_path / "latest").resolve() == first.path
    assert (tmp_path / "s" / "latest").resolve() == first.path
    assert first.manifest()["state"] == "finished"


def test_git_ignores_a_folder_of_runs_by_itself(tmp_path: Path) -> None:
    Store(tmp_path / ".lockjaw" / "runs").create("s", 1, "takeover")
    assert (tmp_path / ".lockjaw" / ".gitignore").read_text() == "*\n"
    Store(tmp_path / "elsewhere").create("s", 1, "takeover")
    assert not list(tmp_path.glob("elsewhere/.gitignore"))


def test_the_folder_of_a_scenario_is_answered_with_its_newest_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run = store.create("s", 1, "takeover")
    (run.path / VERDICT).write_text("{}")
    store.finish(run)
    with pytest.raises(UsageError, match=r"the folder of a finished run, .*; its newest run is .*/s/latest"):
        read_run(tmp_path / "s")


def test_only_the_newest_runs_are_kept(tmp_path: Path) -> None:
    store = Store(tmp_path, keep=3)
    runs = finished(store, 5)
    assert [run.path for run in store.runs("s")] == [run.path for run in runs[-3:]]
    assert {p.name for p in (tmp_path / "s").iterdir()} == {run.path.name for run in runs[-3:]} | {"latest"}


def test_bound_is_per_scenario(tmp_path: Path) -> None:
    store = Store(tmp_path, keep=1)
    finished(store, 1, "a")
    finished(store, 2, "b")
    assert len(store.runs("a")) == len(store.runs("b")) == 1
    assert store.runs("never") == []


def test_run_in_progress_is_never_deleted(tmp_path: Path) -> None:
    store = Store(tmp_path, keep=1)
    going_on = store.create("s", 2, "takeover")
    finished(store, 3)
    assert going_on.path.is_dir()
    store.finish(going_on)
    assert going_on.path.is_dir()  # the oldest, and just finished: somebody is about to read it
    finished(store)
    assert not going_on.path.exists()


def test_run_of_a_dead_harness_is_not_in_progress(tmp_path: Path) -> None:
    store = Store(tmp_path, keep=1)
    abandoned = store.create("s", 2, "takeover")
    with subprocess.Popen(["true"]) as gone:
        pass
    abandoned.note(pid=gone.pid)
    finished(store)
    assert not abandoned.path.exists()


def test_pid_of_another_process_does_not_protect_a_run(tmp_path: Path) -> None:
    store = Store(tmp_path, keep=1)
    abandoned = store.create("s", 2, "takeover")
    abandoned.note(pid_created=1.0)
    finished(store)
    assert not abandoned.path.exists()


def test_folder_without_a_manifest_is_somebody_elses(tmp_path: Path) -> None:
    store = Store(tmp_path, keep=1)
    foreign = tmp_path / "s" / "0-notes"
    foreign.mkdir(parents=True)
    finished(store, 3)
    assert foreign.is_dir()
    with pytest.raises(HarnessError, match=r"manifest\.json"):
        RunDirectory(foreign).manifest()
    (foreign / MANIFEST).write_text("[1]")
    with pytest.raises(HarnessError, match=r"manifest\.json"):
        RunDirectory(foreign).manifest()


def test_many_harnesses_use_one_store_at_once(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            finished(Store(tmp_path, keep=4), 12)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    Store(tmp_path, keep=4).prune("s")
    assert len(Store(tmp_path).runs("s")) == 4
    assert not [p for p in (tmp_path / "s").iterdir() if p.name.startswith(".")]


def test_folder_that_cannot_be_made_is_the_harnesss_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="cannot make a run folder"):
        Store(tmp_path / "file").create("s", 1, "takeover")


def test_written_json_is_whole(tmp_path: Path) -> None:
    run = Store(tmp_path).create("s", 1, "takeover")
    run.write("verdict.json", {"verdict": "HELD"})
    assert msgspec.json.decode((run.path / "verdict.json").read_bytes()) == {"verdict": "HELD"}
