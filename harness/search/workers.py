"""Where runs are made: here, in processes of this machine, or on a cluster (``cluster``). One code path for all.

Batches go out as long as there are jobs, and come back in the order in which they went, whoever is faster: so the same
seeds give the same numbers everywhere. A worker works for about a second, hands in what it has, and the jobs that it
has not begun go out again, first. If a worker dies, its batches go out again; a batch that ends several workers is
an error that names its seeds.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from dataclasses import dataclass, replace
from multiprocessing import get_context
from types import TracebackType
from typing import Any, Protocol, Self

from lockjaw.errors import HarnessError

from .runs import BATCH_S, Batch, Build, Result, Work, work_on
from .strategies import Job

__all__ = ["Here", "Pool", "Workers", "results_of", "started"]

_AHEAD = 2  # batches per worker that wait for it or are in work
_MOST_JOBS = 200  # per batch
_MOST_DEATHS = 3  # of workers, over one batch


class Workers(Protocol):
    """``build``: what every worker must be; None where nobody has to ask."""

    build: Build | None

    @property
    def count(self) -> int: ...

    def submit(self, work: Work, jobs: Sequence[Job]) -> Future[Batch]: ...

    def lost(self, error: BaseException) -> bool:
        """Did the worker die, and not the work fail? If so, there are workers again when this returns."""
        ...

    def stop(self) -> None:
        """No run begins any more."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Here(Workers):
    """This process."""

    build, count = None, 1

    def submit(self, work: Work, jobs: Sequence[Job]) -> Future[Batch]:
        future: Future[Batch] = Future()
        future.set_result(work_on(work, jobs, limit_s=0.0))  # one run, so that it is shown at once
        return future

    def lost(self, error: BaseException) -> bool:
        return False

    def stop(self) -> None:
        return None

    def close(self) -> None:
        return None


_stops: list[Any] = []  # of a worker process: set by the process that started it


def _work_on(work: Work, jobs: Sequence[Job]) -> Batch:
    return work_on(work, jobs, limit_s=BATCH_S, stop=_stops[0].is_set if _stops else None)


class Pool(Workers):
    """Processes of this machine."""

    build = None

    def __init__(self, count: int) -> None:
        self._count = count
        self._stopped = get_context("spawn").Event()
        self._executor = self._start()

    @property
    def count(self) -> int:
        return self._count

    def _start(self) -> Executor:
        return ProcessPoolExecutor(
            self._count, mp_context=get_context("spawn"), initializer=_stops.append, initargs=(self._stopped,)
        )

    def submit(self, work: Work, jobs: Sequence[Job]) -> Future[Batch]:
        self._stopped.clear()
        try:
            return self._executor.submit(_work_on, work, jobs)
        except BrokenExecutor as error:
            broken: Future[Batch] = Future()
            broken.set_exception(error)
            return broken

    def lost(self, error: BaseException) -> bool:
        if not isinstance(error, BrokenExecutor):
            return False
        if getattr(self._executor, "_broken", True):  # every future of a broken pool tells so; one restart is enough
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = self._start()
        return True

    def stop(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        self.stop()
        self._executor.shutdown(wait=True, cancel_futures=True)


@dataclass
class _Sent:
    """One batch on its way. ``deaths``: workers that died over it."""

    number: int
    jobs: list[Job]
    deaths: int = 0


def results_of(
    work: Work,
    jobs: Iterator[Job],
    workers: Workers,
    *,
    found: Callable[[Result], bool] | None = None,
    batch: Callable[[Batch], None] | None = None,
) -> Generator[Result, None, None]:
    """The results, in the order of the jobs.

    Args:
        found: told of each violated run as soon as it is known here, before its turn. True: that was enough; what
            has come in is handed out, and no run begins any more.
        batch: told of each batch that comes in.

    Raises:
        HarnessError: the harness failed in a run; or a batch ended every worker that took it.
    """
    work = replace(work, build=workers.build)
    going: dict[Future[Batch], _Sent] = {}
    again: deque[_Sent] = deque()
    ready: dict[int, list[Result]] = {}
    numbers = itertools.count()
    next_number, size = 0, 1 if workers.count == 1 else 5
    pieces: dict[int, list[list[Result]]] = {}
    enough = False

    def fill() -> None:
        while len(going) < _AHEAD * workers.count or (workers.count == 1 and not going):
            if again:
                sent = again.popleft()
            else:
                chosen = list(itertools.islice(jobs, size))
                if not chosen:
                    return
                sent = _Sent(next(numbers), chosen)
            going[workers.submit(work, sent.jobs)] = sent
            if workers.count == 1:
                return

    try:
        fill()
        while going:
            done, _ = wait(going, return_when=FIRST_COMPLETED)
            for future in done:
                sent = going.pop(future)
                try:
                    error = future.exception()
                except CancelledError as cancelled:
                    error = cancelled
                if error is not None:
                    if not workers.lost(error):
                        raise error
                    sent.deaths += 1
                    if sent.deaths >= _MOST_DEATHS:
                        seeds = ", ".join(str(job.seed) for job in sent.jobs[:5])
                        raise HarnessError(
                            f"{sent.deaths} workers died over the same runs of {work.scenario.name} "
                            f"(seeds {seeds}, ...): {error}"
                        ) from error
                    again.append(sent)
                    continue
                came = future.result()
                if batch is not None:
                    batch(came)
                if found is not None:
                    for result in came.results:
                        if result.violated and found(result):
                            enough = True
                pieces.setdefault(sent.number, []).append(list(came.results))
                left = sent.jobs[len(came.results) :]
                if left:
                    again.append(_Sent(sent.number, left))
                    size = max(1, min(size, len(came.results)))
                else:
                    ready[sent.number] = list(itertools.chain.from_iterable(pieces.pop(sent.number)))
                    if workers.count > 1 and came.cpu_s < BATCH_S / 2:
                        size = min(_MOST_JOBS, size * 2)
            while next_number in ready:  # before more is sent: a search that learns has learned from these by then
                yield from ready.pop(next_number)
                next_number += 1
            if enough:
                for number in sorted({*ready, *pieces}):
                    yield from ready.get(number) or itertools.chain.from_iterable(pieces[number])
                return
            fill()
    finally:
        if going:
            workers.stop()
            for future in going:
                future.cancel()


def started(workers: int | str | Workers) -> Workers:
    """Workers by their number (1: this process), or by the address of a cluster."""
    if isinstance(workers, str):
        from .cluster import Cluster

        return Cluster(workers)
    if isinstance(workers, int):
        return Here() if workers <= 1 else Pool(workers)
    return workers
