"""The lock algorithms by name, behind one interface.

``SessionLock`` runs them on this machine; the simulation runs the same objects with a registry and a process
identity for each simulated process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lockjaw.errors import LockStateError
from lockjaw.locking.algorithms import coarse, guarded, plain, released_for_prompt
from lockjaw.locking.algorithms.coarse import CoarseGrant, CoarseRules
from lockjaw.locking.algorithms.grants import Released
from lockjaw.locking.algorithms.plain import PlainGrant
from lockjaw.locking.operations import Calls, Handle, Steps
from lockjaw.locking.request import LockRequest


class Granted(Protocol):
    """``generation`` is 0 for algorithms without; ``fenced`` the live generation that was overruled, or 0."""

    @property
    def generation(self) -> int: ...
    @property
    def reclaimed(self) -> str: ...
    @property
    def fenced(self) -> int: ...


class LockAlgorithm(Protocol):
    """``about``: whose it is and what it does, for people. ``timeout_s`` is what a caller gets who names none;
    ``can_reenter``: may a process take it twice, through any object?

    ``fence``: ``only`` names the generation that may be overruled, as in ``SessionLock.fence_async``.

    ``give_up``: after an interruption between the grant and its holder; ``mine``: what that acquire or fence opened.
    ``abandon``: after an interruption in the middle of a release; only where locks have generations.

    ``watchdog``: what becomes of a lock that is held for longer than its limit: ``thread``: its holder is stopped, by a
    thread that nothing starves; ``sweep``: it is given away in the holder's event loop, every minute; None: nothing.
    """

    @property
    def name(self) -> str: ...
    @property
    def about(self) -> str: ...
    @property
    def timeout_s(self) -> float: ...
    @property
    def can_reenter(self) -> bool: ...
    @property
    def has_generations(self) -> bool: ...
    @property
    def watchdog(self) -> str | None: ...
    def acquire(self, calls: Calls, request: LockRequest, mine: list[Handle] | None = None) -> Steps[Any]: ...
    def give_up(self, calls: Calls, request: LockRequest, mine: list[Handle]) -> Steps[None]: ...
    def fence(
        self, calls: Calls, request: LockRequest, mine: list[Handle] | None = None, only: int | None = None
    ) -> Steps[Any]: ...
    def release(self, calls: Calls, grant: Any) -> Steps[Released]: ...
    def abandon(self, calls: Calls, grant: Any) -> Steps[None]: ...
    def enter(self, calls: Calls, grant: Any) -> Steps[None]: ...
    def check(self, calls: Calls, grant: Any) -> None: ...
    def verify(self, calls: Calls, grant: Any) -> None: ...
    def leave(self, calls: Calls, grant: Any) -> None: ...


class _WithoutGenerations:
    """What all others than ours share: an append checks nothing, no holder can be fenced, an interruption leaves what
    it leaves."""

    can_reenter = has_generations = False

    def give_up(self, calls: Calls, request: LockRequest, mine: list[Handle]) -> Steps[None]:
        yield from ()

    def fence(
        self: LockAlgorithm, calls: Calls, request: LockRequest, mine: list[Handle] | None = None,
        only: int | None = None,
    ) -> Steps[Any]:  # fmt: skip
        yield from ()
        raise LockStateError(
            request.paths.lock, self.name, "the lock cannot be fenced: this algorithm has no generations"
        )

    def abandon(self, calls: Calls, grant: Any) -> Steps[None]:
        yield from ()

    def enter(self, calls: Calls, grant: Any) -> Steps[None]:
        yield from ()

    def check(self, calls: Calls, grant: Any) -> None:
        return None

    def verify(self, calls: Calls, grant: Any) -> None:
        return None

    def leave(self, calls: Calls, grant: Any) -> None:
        return None


@dataclass(frozen=True)
class Coarse(_WithoutGenerations):
    """Upstream's locks."""

    rules: CoarseRules
    about: str = "of OpenClaw"

    watchdog = "sweep"
    can_reenter = True

    @property
    def name(self) -> str:
        return self.rules.name

    @property
    def timeout_s(self) -> float:
        return self.rules.timeout_s

    def acquire(self, calls: Calls, request: LockRequest, mine: list[Handle] | None = None) -> Steps[CoarseGrant]:
        return coarse.acquire(calls, self.rules, request)

    def release(self, calls: Calls, grant: CoarseGrant) -> Steps[Released]:
        yield from ()
        return Released(removed=coarse.release(calls, grant.request.registry, grant.hold))


@dataclass(frozen=True)
class ReleasedForPrompt(Coarse):
    """The coarse lock of 2026.5.17 and later."""

    rules: CoarseRules = released_for_prompt.RULES
    about: str = (
        "OpenClaw's from 2026.5.17 on, written anew: `coarse-60s`, given back while the model works; a fingerprint of "
        "the transcript stands in for it."
    )

    suspend = staticmethod(released_for_prompt.suspend)
    resume = staticmethod(released_for_prompt.resume)


@dataclass(frozen=True)
class Guarded:
    """Ours."""

    name: str = "guarded"
    about: str = (
        "Lockjaw's own: OpenClaw's lock file for all, a guard file with kernel locks for its own kind; a queue, "
        "generations, fencing."
    )
    timeout_s: float = guarded.TIMEOUT_S

    watchdog = "thread"
    can_reenter = False
    has_generations = True

    acquire = staticmethod(guarded.acquire)
    give_up = staticmethod(guarded.give_up)
    fence = staticmethod(guarded.fence)
    release = staticmethod(guarded.release)
    abandon = staticmethod(guarded.abandon)
    enter = staticmethod(guarded.enter)
    check = staticmethod(guarded.check_named)
    verify = staticmethod(guarded.verify)
    leave = staticmethod(guarded.leave)


@dataclass(frozen=True)
class Plain(_WithoutGenerations):
    """What people write without a library: no owner."""

    name: str
    about: str
    take: Callable[[Calls, LockRequest], Steps[PlainGrant]]
    timeout_s: float = plain.TIMEOUT_S

    watchdog = None

    def acquire(self, calls: Calls, request: LockRequest, mine: list[Handle] | None = None) -> Steps[PlainGrant]:
        return self.take(calls, request)

    def release(self, calls: Calls, grant: PlainGrant) -> Steps[Released]:
        yield from ()
        return Released(removed=plain.release(calls, grant))


_ALL: tuple[LockAlgorithm, ...] = (
    Guarded(),
    Coarse(coarse.COARSE, "OpenClaw's of 2026.4.8, written anew: a file made with O_EXCL, polled, removed when stale."),
    Coarse(coarse.COARSE_60S, "OpenClaw's of 2026.5.7, written anew: the same, waits longer."),
    ReleasedForPrompt(),
    Plain(
        "soft",
        "Not OpenClaw's: what a program without a lock library writes, a file made with O_EXCL, polled, without an "
        "owner's name.",
        plain.acquire_soft,
    ),
    Plain(
        "flock",
        "Not OpenClaw's: a kernel lock on a byte of `<session>.lock.flock`, polled. No other program sees it; to hold "
        "the `flock` that a program of yours takes, see `lock_contender`.",
        plain.acquire_flock,
    ),
)
LOCK_ALGORITHMS: Mapping[str, LockAlgorithm] = {algorithm.name: algorithm for algorithm in _ALL}
