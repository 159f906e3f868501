"""The lock algorithms by name, behind one interface.

``SessionLock`` runs them on this machine; the simulation runs the same objects with a registry and a process
identity for each simulated process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

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


@dataclass(frozen=True)
class LockAlgorithm:
    """One of them. What stands here is of those without generations: an append checks nothing, no holder can be fenced,
    an interruption leaves what it leaves.

    ``about``: whose it is and what it does, for people. ``timeout_s`` is what a caller gets who names none;
    ``can_reenter``: may a process take it twice, through any object?

    ``fence``: ``only`` names the generation that may be overruled, as in ``SessionLock.fence_async``.

    ``give_up``: after an interruption between the grant and its holder; ``mine``: what that acquire or fence opened.
    ``abandon``: after an interruption in the middle of a release; only where locks have generations.

    ``watchdog``: what becomes of a lock that is held for longer than its limit: ``thread``: its holder is stopped, by a
    thread that nothing starves; ``sweep``: it is given away in the holder's event loop, every minute; None: nothing.
    """

    name: str
    about: str
    timeout_s: float

    can_reenter = has_generations = False
    watchdog: ClassVar[str | None] = None

    def acquire(self, calls: Calls, request: LockRequest, mine: list[Handle] | None = None) -> Steps[Any]:
        raise NotImplementedError

    def give_up(self, calls: Calls, request: LockRequest, mine: list[Handle]) -> Steps[None]:
        yield from ()

    def fence(
        self, calls: Calls, request: LockRequest, mine: list[Handle] | None = None, only: int | None = None
    ) -> Steps[Any]:
        yield from ()
        raise LockStateError(
            request.paths.lock, self.name, "the lock cannot be fenced: this algorithm has no generations"
        )

    def release(self, calls: Calls, grant: Any) -> Steps[Released]:
        raise NotImplementedError

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
class Coarse(LockAlgorithm):
    """Upstream's locks."""

    rules: CoarseRules

    watchdog = "sweep"
    can_reenter = True

    def acquire(self, calls: Calls, request: LockRequest, mine: list[Handle] | None = None) -> Steps[CoarseGrant]:
        return coarse.acquire(calls, self.rules, request)

    def release(self, calls: Calls, grant: CoarseGrant) -> Steps[Released]:
        yield from ()
        return Released(removed=coarse.release(calls, grant.request.registry, grant.hold))


class ReleasedForPrompt(Coarse):
    """The coarse lock of 2026.5.17 and later."""

    suspend = staticmethod(released_for_prompt.suspend)
    resume = staticmethod(released_for_prompt.resume)


class Guarded(LockAlgorithm):
    """Ours."""

    watchdog = "thread"
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
class Plain(LockAlgorithm):
    """What people write without a library: no owner."""

    take: Callable[[Calls, LockRequest], Steps[PlainGrant]]

    def acquire(self, calls: Calls, request: LockRequest, mine: list[Handle] | None = None) -> Steps[PlainGrant]:
        return self.take(calls, request)

    def release(self, calls: Calls, grant: PlainGrant) -> Steps[Released]:
        yield from ()
        return Released(removed=plain.release(calls, grant))


def _coarse(rules: CoarseRules, about: str, kind: type[Coarse] = Coarse) -> Coarse:
    return kind(rules.name, about, rules.timeout_s, rules)


_ALL: tuple[LockAlgorithm, ...] = (
    Guarded(
        "guarded",
        "Lockjaw's own: OpenClaw's lock file for all, a guard file with kernel locks for its own kind; a queue, "
        "generations, fencing.",
        guarded.TIMEOUT_S,
    ),
    _coarse(
        coarse.COARSE, "OpenClaw's of 2026.4.8, written anew: a file made with O_EXCL, polled, removed when stale."
    ),
    _coarse(coarse.COARSE_60S, "OpenClaw's of 2026.5.7, written anew: the same, waits longer."),
    _coarse(
        released_for_prompt.RULES,
        "OpenClaw's from 2026.5.17 on, written anew: `coarse-60s`, given back while the model works; a fingerprint of "
        "the transcript stands in for it.",
        ReleasedForPrompt,
    ),
    Plain(
        "soft",
        "Not OpenClaw's: what a program without a lock library writes, a file made with O_EXCL, polled, without an "
        "owner's name.",
        plain.TIMEOUT_S,
        plain.acquire_soft,
    ),
    Plain(
        "flock",
        "Not OpenClaw's: a kernel lock on a byte of `<session>.lock.flock`, polled. No other program sees it; to hold "
        "the `flock` that a program of yours takes, see `lock_contender`.",
        plain.TIMEOUT_S,
        plain.acquire_flock,
    ),
)
LOCK_ALGORITHMS: Mapping[str, LockAlgorithm] = {algorithm.name: algorithm for algorithm in _ALL}
