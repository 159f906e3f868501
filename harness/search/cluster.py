"""Workers on other machines: a Dask cluster, or one of this machine's own (``local:N``).

Dask's client gives a ``concurrent.futures.Executor``, so the search goes the same way as with a pool of processes. What
this adds: every worker must be of the same build and the same Python, or it is refused by name, at the beginning and
at each batch, because workers join later; and a flag on the scheduler says when no run is to begin any more.

A worker that dies loses nothing: the scheduler gives its batch to another one. ``tls://`` addresses take keys and
certificates from Dask's own configuration (``DASK_DISTRIBUTED__COMM__TLS__...``), as every program of Dask does.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from functools import lru_cache
from typing import Any

import msgspec

from lockjaw.errors import HarnessError, UsageError
from lockjaw.seeds import Seeds

from ..incident.scenario import Scenario
from ..sim.engine import SimLived, run_sim
from ..sim.tape import RandomChoices
from .runs import Batch, Build, OtherBuild, Work, this_build, work_on
from .strategies import Job
from .workers import Workers

__all__ = ["Cluster", "Elsewhere"]

CONNECT_S = 10.0
MOST_LOCAL = 256  # a digit too many would start processes until the machine stands still
FIRST_WORKER_S = 30.0
_LOOK_S = 2.0  # between two looks at how many workers there are
_STOP_LOOK_S = 0.25  # between two looks at the flag, on a worker: each asks the scheduler
_CERTIFICATES = [
    f"DASK_DISTRIBUTED__COMM__TLS__{name}" for name in ("CA_FILE", "CLIENT__CERT", "CLIENT__KEY")
]  # fmt: skip
_ADDRESS = re.compile(r"(local:[1-9]\d*|(tcp|tls)://[\w.\-\[\]:]+:\d+)")


class Cluster(Workers):
    """``address``: ``tcp://host:8786``, ``tls://host:8786``, or ``local:N``.

    Raises:
        UsageError: no such address, Dask is not installed, no scheduler or no worker is there.
        OtherBuild: a worker is of another build.
    """

    def __init__(self, address: str) -> None:
        if not _ADDRESS.fullmatch(address):
            raise UsageError("--cluster", "", "tcp://HOST:PORT, tls://HOST:PORT or local:N", address)
        if address.startswith("local:") and int(address.removeprefix("local:")[:9]) > MOST_LOCAL:
            raise UsageError("--cluster", "", f"at most {MOST_LOCAL} processes on one machine", address)
        try:
            import distributed
        except ImportError:
            raise UsageError("--cluster", "", "Dask: pip install 'lockjaw[cluster]'", address) from None
        self.build: Build | None = this_build()
        self._address = address
        self._local: Any = None
        self._looked, self._count = -_LOOK_S, 0
        place = address
        if address.startswith("local:"):
            self._local = distributed.LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=int(address.removeprefix("local:")), threads_per_worker=1, processes=True,
                host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=logging.ERROR,
            )  # fmt: skip
            place = self._local.scheduler_address
        try:
            self._client: Any = distributed.Client(place, timeout=CONNECT_S, set_as_default=False)  # type: ignore[no-untyped-call]
        except (OSError, TimeoutError) as error:
            raise UsageError("--cluster", "", f"a scheduler that answers within {CONNECT_S:g} s", address) from error
        except TypeError as error:  # what Dask says where tls:// has no certificates
            if not address.startswith("tls:"):
                raise
            raise UsageError(
                "--cluster", "", f"certificates for tls://: set {', '.join(_CERTIFICATES)}", address
            ) from error
        try:
            self._flag = f"lockjaw-stop-{uuid.uuid4().hex}"
            self._stopped: Any = distributed.Event(self._flag, client=self._client)  # type: ignore[no-untyped-call]
            client: Any = self._client
            self._executor: Any = client.get_executor(pure=False)
            self._check_workers()
        except BaseException:
            self.close()
            raise

    def _check_workers(self) -> None:
        try:
            self._client.wait_for_workers(1, timeout=FIRST_WORKER_S)
        except TimeoutError as error:
            raise UsageError(
                "--cluster", "", f"a worker within {FIRST_WORKER_S:g} s (dask worker {self._address})", self._address
            ) from error
        assert self.build is not None
        for name, build in sorted(self._client.run(_build, on_error="return").items()):
            if not isinstance(build, Build):
                raise OtherBuild(name, f"it cannot load Lockjaw ({build!r:.200})")
            if difference := self.build.difference(build):
                raise OtherBuild(name, difference)

    @property
    def count(self) -> int:
        """Workers that are there. One simulates at a time, however many threads it has."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_S:
            self._looked = now
            self._count = len(self._client.nthreads())
        return max(2, self._count)  # one worker too works while the last batch is looked at

    def submit(self, work: Work, jobs: Sequence[Job]) -> Future[Batch]:
        future: Future[Batch] = self._executor.submit(_work_on, work, jobs, self._flag)
        return future

    def lost(self, error: BaseException) -> bool:
        """The scheduler gives the work of a dead worker to another one; what comes here is beyond that."""
        if isinstance(error, CancelledError):
            raise HarnessError(f"the cluster {self._address} went away") from error
        if type(error).__name__ == "KilledWorker":
            raise HarnessError(f"one after the other, workers of {self._address} died over the same runs") from error
        return False

    def simulated(self, scenario: Scenario, policy: str, seed: int) -> Future[SimLived]:
        """One whole run, everyday."""
        future: Future[SimLived] = self._executor.submit(_simulate, scenario, policy, seed, self.build)
        return future

    def stop(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        self._client.close()
        if self._local is not None:
            self._local.close()


class Elsewhere:
    """Simulated runs made on a cluster: asked for ahead where that is possible, handed out when they are needed.

    Call it as ``lockjaw.harness.run_scenario(..., simulate=...)`` does.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._asked: dict[tuple[bytes, str, int], Future[SimLived]] = {}

    def ask(self, scenario: Scenario, policy: str, seed: int) -> None:
        key = (msgspec.json.encode(scenario), policy, seed)
        if key not in self._asked:
            self._asked[key] = self._cluster.simulated(scenario, policy, seed)

    def __call__(self, scenario: Scenario, policy: str, seed: int) -> SimLived:
        """Raises what the run raised."""
        self.ask(scenario, policy, seed)
        return self._asked.pop((msgspec.json.encode(scenario), policy, seed)).result()


def _build() -> Build:
    return this_build()


def _simulate(scenario: Scenario, policy: str, seed: int, build: Build) -> SimLived:
    """On a worker."""
    from distributed import get_worker

    if difference := build.difference(this_build()):
        raise OtherBuild(str(get_worker().address), difference)
    lived = run_sim(scenario, policy=policy, seed=seed, choices=RandomChoices(Seeds(seed)))
    return replace(lived, log=())


def _work_on(work: Work, jobs: Sequence[Job], flag: str) -> Batch:
    """On a worker."""
    from distributed import get_worker

    return work_on(work, jobs, stop=_stop_of(flag), name=str(get_worker().address))


@lru_cache(maxsize=8)
def _stop_of(flag: str) -> Any:
    from distributed import Event

    event: Any = Event(flag)  # type: ignore[no-untyped-call]
    looked = time.monotonic()

    def stop() -> bool:
        nonlocal looked
        now = time.monotonic()
        if now - looked < _STOP_LOOK_S:
            return False
        looked = now
        return bool(event.is_set())

    return stop
