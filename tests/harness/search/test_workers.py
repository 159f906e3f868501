"""The same runs, findings and numbers wherever they are made, and whoever dies meanwhile."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lockjaw.errors import HarnessError, UsageError
from lockjaw.harness import load_scenario
from lockjaw.harness.run import run_scenario
from lockjaw.harness.search.catalogue import play_all, plays_of
from lockjaw.harness.search.explore import explore
from lockjaw.harness.search.runs import Batch, Build, OtherBuild, Result, Work, this_build, work_on
from lockjaw.harness.search.strategies import Job
from lockjaw.harness.search.workers import Here, Pool, Workers, results_of
from lockjaw.harness.sim.escapes import SimulationEscape, sealed
from lockjaw.harness.sim.tape import read_tape
from lockjaw.harness.store import TAPE

pytest.importorskip("distributed", reason="pip install 'lockjaw[cluster]'")

from lockjaw.harness.search.cluster import Cluster, Elsewhere

WORK = Work(load_scenario("gateway_killed_mid_turn"), "takeover", "random")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


def jobs(count: int, first: int = 1) -> Iterator[Job]:
    return (Job(seed) for seed in range(first, first + count))


def told(results: Iterator[Result]) -> list[tuple[int, str, str, str, tuple[str, ...]]]:
    return [(r.job.seed, r.event_hash, r.schedule, r.verdict, r.violated) for r in results]


@pytest.fixture(scope="module")
def alone() -> list[Any]:
    return told(results_of(WORK, jobs(120), Here()))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster("local:2") as found:
        yield found


# --------------------------------------------------------------------------- the same everywhere


def test_a_pool_makes_the_same_runs_in_the_same_order(alone: list[Any]) -> None:
    with Pool(2) as pool:
        assert told(results_of(WORK, jobs(120), pool)) == alone


@pytest.mark.real
def test_a_cluster_makes_the_same_runs_in_the_same_order(alone: list[Any], cluster: Cluster) -> None:
    workers: set[str] = set()
    found = told(results_of(WORK, jobs(120), cluster, batch=lambda batch: workers.add(batch.worker)))
    assert found == alone
    assert len(workers) == 2


@pytest.mark.real
def test_exploration_on_a_cluster_has_the_same_document_and_shrinks_at_home(cluster: Cluster) -> None:
    documents = []
    for workers in (1, cluster):
        found = explore(WORK.scenario, seeds=90, save=False, workers=workers, most_findings=1)  # type: ignore[arg-type]
        document = found.document()
        for key in ("wall_s", "cpu_s", "runs_per_s", "workers"):
            del document[key]
        documents.append(document)
    assert documents[0] == documents[1]
    assert documents[0]["schedules"]["different"] > 10


# --------------------------------------------------------------------------- deaths


class Deadly:
    """Kills a worker process as soon as the first batch has come in, in the middle of its next one."""

    def __init__(self) -> None:
        self.killed: list[str] = []

    def __call__(self, batch: Batch) -> None:
        if not self.killed:
            self.killed.append(batch.worker)
            threading.Timer(0.2, self._kill, (batch.worker,)).start()

    def _kill(self, worker: str) -> None:
        os.kill(int(worker.split()[-1]), signal.SIGKILL)


def test_a_pool_whose_worker_is_killed_in_the_middle_loses_nothing(alone: list[Any]) -> None:
    deadly = Deadly()
    with Pool(2) as pool:
        assert told(results_of(WORK, jobs(120), pool, batch=deadly)) == alone
    assert deadly.killed


@pytest.mark.real
def test_a_cluster_whose_worker_is_killed_in_the_middle_loses_nothing(alone: list[Any], cluster: Cluster) -> None:
    pids = cluster._client.run(os.getpid)

    class OfCluster(Deadly):
        def _kill(self, worker: str) -> None:
            os.kill(pids[worker], signal.SIGKILL)

    deadly = OfCluster()
    assert told(results_of(WORK, jobs(120), cluster, batch=deadly)) == alone
    assert deadly.killed


class Mortal(Workers):
    """Every batch that has seed 7 in it ends its worker."""

    build, count = None, 2

    def submit(self, work: Work, jobs: Any) -> Any:
        from concurrent.futures import Future

        future: Future[Batch] = Future()
        if any(job.seed == 7 for job in jobs):
            future.set_exception(BrokenPipeError("gone"))
        else:
            future.set_result(work_on(work, jobs, limit_s=60.0))
        return future

    def lost(self, error: BaseException) -> bool:
        return isinstance(error, BrokenPipeError)


def test_runs_that_end_every_worker_are_an_error_that_names_them() -> None:
    with pytest.raises(HarnessError, match=r"3 workers died over the same runs of .* \(seeds 6, 7"):
        list(results_of(WORK, jobs(10), Mortal()))


# --------------------------------------------------------------------------- batches and the end


def test_a_batch_ends_by_time_and_what_was_not_begun_goes_out_again() -> None:
    batch = work_on(WORK, list(jobs(50)), limit_s=0.05)
    assert 1 <= len(batch.results) < 50


def test_a_batch_stops_between_runs_when_it_is_told_to() -> None:
    assert len(work_on(WORK, list(jobs(50)), limit_s=60.0, stop=lambda: True).results) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_fail_fast_ends_at_so_many_violations(workers: int) -> None:
    scenario = load_scenario("gateway_timeout")
    found = explore(
        scenario, policy="reuse-session", seeds=3000, fail_fast=2, workers=workers, save=False, most_findings=0
    )
    assert found.violations >= 2
    assert found.runs < 300


# --------------------------------------------------------------------------- who is refused


def test_this_build_is_named_by_its_source() -> None:
    build = this_build()
    assert build.difference(build) == ""
    assert "another build" in build.difference(msgspec.structs.replace(build, source="0"))
    assert "Python 3.9.1" in build.difference(msgspec.structs.replace(build, python="3.9.1"))


@pytest.mark.parametrize("field", ["source", "python", "lockjaw"])
def test_a_worker_of_another_build_refuses_the_work_by_name(field: str) -> None:
    other = msgspec.structs.replace(this_build(), **{field: "another"})
    with pytest.raises(OtherBuild, match=r"worker .* is refused: it has"):
        work_on(replace(WORK, build=other), [Job(1)], name="tcp://far:1")


@pytest.mark.real
def test_a_cluster_with_a_worker_of_another_build_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Build("0.1.0", "0", this_build().python)
    monkeypatch.setattr("lockjaw.harness.search.cluster.this_build", lambda: other)
    with pytest.raises(OtherBuild, match=r"the worker tcp://127\.0\.0\.1:\d+ is refused: it has another build"):
        Cluster("local:1")


def test_an_error_about_a_build_travels() -> None:
    error = OtherBuild("tcp://far:1", "it has Python 3.9.1, here it is 3.11.7")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("address", ["local:257", "local:999999", "local:" + "9" * 5000])
def test_no_machine_is_filled_with_processes_by_a_digit_too_many(address: str) -> None:
    with pytest.raises(UsageError, match="at most 256 processes on one machine"):
        Cluster(address)


@pytest.mark.parametrize("address", ["local:0", "http://host:1", "host:8786", "tcp://host", "local:2; rm"])
def test_what_is_no_address_of_a_cluster_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="tcp://HOST:PORT"):
        Cluster(address)


def test_tls_without_certificates_says_where_they_come_from() -> None:
    with pytest.raises(UsageError, match=r"set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, .*CLIENT__KEY"):
        Cluster("tls://127.0.0.1:9")


def test_a_cluster_that_is_not_there_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockjaw.harness.search.cluster.CONNECT_S", 0.5)
    with pytest.raises(UsageError, match="a scheduler that answers"):
        Cluster("tcp://127.0.0.1:9")


# --------------------------------------------------------------------------- the seal


def test_the_seal_holds_for_the_thread_that_simulates_and_no_other(tmp_path: Path) -> None:
    seen: list[object] = []

    def other() -> None:
        import socket

        (tmp_path / "open").write_text("by another thread")
        with socket.socket() as one:
            seen.append(isinstance(one, socket.socket))
        seen.append(subprocess.run([sys.executable, "-c", ""], check=False).returncode)
        seen.append(time.time() > 0)

    begun: list[SimulationEscape] = []
    go = threading.Event()
    waits = threading.Thread(target=lambda: (go.wait(10), other()))
    waits.start()
    with sealed(begun.append):
        go.set()
        while waits.is_alive():
            waits.join(0.01)
        with pytest.raises(SimulationEscape):
            open(tmp_path / "open")  # noqa: SIM115
    assert seen == [True, 0, True]
    assert len(begun) == 1


def test_two_threads_simulate_one_after_the_other_and_leave_nothing_patched(alone: list[Any]) -> None:
    before = open
    found: dict[int, list[Any]] = {}

    def simulate(first: int) -> None:
        found[first] = told(iter(work_on(WORK, list(jobs(8, first)), limit_s=60.0).results))

    threads = [threading.Thread(target=simulate, args=(first,)) for first in (1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[1] + found[9] == alone[:16]
    assert open is before


# --------------------------------------------------------------------------- two machines


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def two_namespaces() -> Iterator[tuple[str, list[str]]]:
    """Two network namespaces, each with a link to this one. The address here, and the names."""
    names = [f"lockjaw{os.getpid()}{side}" for side in "ab"]
    bridge = f"ljbr{os.getpid() % 100000}"
    made: list[tuple[str, ...]] = []
    try:
        try:
            _ip("link", "add", bridge, "type", "bridge")
            made.append(("link", "del", bridge))
            _ip("addr", "add", "10.211.77.1/24", "dev", bridge)
            _ip("link", "set", bridge, "up")
            for n, name in enumerate(names):
                _ip("netns", "add", name)
                made.append(("netns", "del", name))
                outside, inside = f"ljo{os.getpid() % 100000}{n}", f"lji{os.getpid() % 100000}{n}"
                _ip("link", "add", outside, "type", "veth", "peer", "name", inside)
                made.append(("link", "del", outside))
                _ip("link", "set", inside, "netns", name)
                _ip("link", "set", outside, "master", bridge, "up")
                _ip("-n", name, "addr", "add", f"10.211.77.{n + 2}/24", "dev", inside)
                _ip("-n", name, "link", "set", inside, "up")
                _ip("-n", name, "link", "set", "lo", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network namespaces here: {error}")
        yield "10.211.77.1", names
    finally:
        for undo in reversed(made):
            subprocess.run(["ip", *undo], check=False, capture_output=True)


@pytest.mark.real
def test_two_workers_on_two_machines_make_the_same_runs(alone: list[Any], tmp_path: Path) -> None:
    """Each worker is in a network namespace of its own, and hears of the other only through the scheduler."""
    from distributed import LocalCluster

    running: list[subprocess.Popen[bytes]] = []
    with two_namespaces() as (here, names):
        scheduler: Any = LocalCluster(n_workers=0, host=here, dashboard_address=None)  # type: ignore[no-untyped-call]
        try:
            for name in names:
                command = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler.scheduler_address,
                           "--no-dashboard", "--nthreads", "1", "--local-directory", str(tmp_path / name)]  # fmt: skip
                running.append(subprocess.Popen(["ip", "netns", "exec", name, *command], stderr=subprocess.DEVNULL))
            workers: set[str] = set()
            with Cluster(scheduler.scheduler_address) as cluster:
                cluster._client.wait_for_workers(2, timeout=60)
                found = told(results_of(WORK, jobs(120), cluster, batch=lambda batch: workers.add(batch.worker)))
            assert found == alone
            assert {worker.split("//")[1].split(":")[0] for worker in workers} == {"10.211.77.2", "10.211.77.3"}
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(20)
            scheduler.close()


# --------------------------------------------------------------------------- single runs elsewhere


@pytest.mark.real
def test_a_run_made_on_a_cluster_is_the_one_made_here_and_is_kept_here(cluster: Cluster, tmp_path: Path) -> None:
    elsewhere = Elsewhere(cluster)
    here, there = (
        run_scenario("gateway_timeout", policy="takeover", engine="sim", seed=3, out=tmp_path, simulate=simulate)
        for simulate in (None, elsewhere)
    )
    assert (there.event_hash, there.verdict) == (here.event_hash, here.verdict)
    assert read_tape(there.run_dir / TAPE) == read_tape(here.run_dir / TAPE)


@pytest.mark.real
def test_the_catalogue_is_played_on_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    plays = list(plays_of([load_scenario("gateway_timeout"), load_scenario("metadata_drift")], ["sim"]))
    there = play_all(plays, out=tmp_path / "there", elsewhere=Elsewhere(cluster))
    here = play_all(plays, out=tmp_path / "here")
    told = [[(str(one.play), one.run.event_hash if one.run else "") for one in played] for played in (here, there)]
    assert told[0] == told[1]
    assert len(told[0]) == len(plays) > 1
