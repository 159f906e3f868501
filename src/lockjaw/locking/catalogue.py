"""The lock algorithms by name, behind one interface.

``SessionLock`` runs them on this machine; the simulation runs the same objects with a registry and a process
identity for each simulated process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeAlias

from lockjaw.errors import LockStateError
from lockjaw.locking.algorithms import coarse, guarded, plain, released_for_prompt
from lockjaw.locking.algorithms.coarse import CoarseGrant, CoarseRequest, CoarseRules, Registry
from lockjaw.locking.algorithms.findings import GuardedRequest
from lockjaw.locking.algorithms.grants import GuardedGrant, Released
from lockjaw.locking.algorithms.plain import PlainGrant
from lockjaw.locking.algorithms.released_for_prompt import Fingerprint
from lockjaw.locking.guard_record import GuardRecord, label, signature
from lockjaw.locking.identity import ProcessIdentity
from lockjaw.locking.operations import Calls, Handle, Steps
from lockjaw.locking.owner_record import OwnerRecord, body_parts
from lockjaw.locking.paths import LockPaths
from lockjaw.locking.subject import SESSION, Subject


@dataclass(slots=True, eq=False)
class Order:
    """What an acquire needs to know, the same each time. Durations in nominal seconds; ``registry`` belongs to the
    process. ``prepared``: what the algorithm has made of it."""

    paths: LockPaths
    process: ProcessIdentity
    registry: Registry
    timeout_s: float
    max_hold_s: float = 300.0
    reentrant: bool = False
    section_wait_s: float = 2.0
    owner: str = ""
    overtake_s: float = 0.25
    subject: Subject = SESSION
    prepared: Any = None


class Granted(Protocol):
    """``generation`` is 0 for algorithms without; ``fenced`` the live generation that was overruled, or 0."""

    @property
    def generation(self) -> int: ...
    @property
    def reclaimed(self) -> str: ...
    @property
    def fenced(self) -> int: ...


Inner: TypeAlias = CoarseGrant | PlainGrant


class Grant(NamedTuple):
    """Of an algorithm without generations."""

    order: Order
    inner: Inner
    generation: int = 0
    reclaimed: str = ""
    fenced: int = 0


class LockAlgorithm(Protocol):
    """``about``: whose it is and what it does, for people. ``timeout_s`` is what a caller gets who names none;
    ``can_reenter``: may a process take it twice, through any object?

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
    def acquire(self, calls: Calls, order: Order, mine: list[Handle] | None = None) -> Steps[Any]: ...
    def give_up(self, calls: Calls, order: Order, mine: list[Handle]) -> Steps[None]: ...
    def fence(self, calls: Calls, order: Order, mine: list[Handle] | None = None) -> Steps[Any]: ...
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

    def give_up(self, calls: Calls, order: Order, mine: list[Handle]) -> Steps[None]:
        yield from ()

    def fence(self: LockAlgorithm, calls: Calls, order: Order, mine: list[Handle] | None = None) -> Steps[Grant]:
        yield from ()
        raise LockStateError(
            order.paths.lock, self.name, "the lock cannot be fenced: this algorithm has no generations"
        )

    def abandon(self, calls: Calls, grant: Grant) -> Steps[None]:
        yield from ()

    def enter(self, calls: Calls, grant: Grant) -> Steps[None]:
        yield from ()

    def check(self, calls: Calls, grant: Grant) -> None:
        return None

    def verify(self, calls: Calls, grant: Grant) -> None:
        return None

    def leave(self, calls: Calls, grant: Grant) -> None:
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

    def acquire(self, calls: Calls, order: Order, mine: list[Handle] | None = None) -> Steps[Grant]:
        inner = yield from coarse.acquire(calls, self.rules, order.registry, _coarse_request(order))
        return Grant(order, inner, reclaimed=inner.reclaimed)

    def release(self, calls: Calls, grant: Grant) -> Steps[Released]:
        yield from ()
        assert isinstance(grant.inner, CoarseGrant)
        return Released(removed=coarse.release(calls, grant.order.registry, grant.inner.hold))


def _coarse_request(order: Order) -> CoarseRequest:
    return CoarseRequest(order.paths.lock, order.process, order.timeout_s, order.max_hold_s, order.reentrant)


@dataclass(frozen=True)
class ReleasedForPrompt(Coarse):
    """The coarse lock of 2026.5.17 and later."""

    rules: CoarseRules = released_for_prompt.RULES
    about: str = (
        "OpenClaw's from 2026.5.17 on, written anew: `coarse-60s`, given back while the model works; a fingerprint of "
        "the transcript stands in for it."
    )

    def suspend(self, calls: Calls, grant: Grant) -> Fingerprint:
        assert isinstance(grant.inner, CoarseGrant)
        return released_for_prompt.suspend(calls, grant.order.registry, grant.inner, grant.order.paths.session)

    def resume(self, calls: Calls, grant: Grant, before: Fingerprint) -> Steps[tuple[Grant, bool]]:
        order = grant.order
        inner, unchanged = yield from released_for_prompt.resume(
            calls, order.registry, _coarse_request(order), order.paths.session, before
        )
        return Grant(order, inner, reclaimed=inner.reclaimed), unchanged


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

    def acquire(self, calls: Calls, order: Order, mine: list[Handle] | None = None) -> Steps[GuardedGrant]:
        return guarded.acquire(calls, order.prepared or self._prepare(order), mine)

    def give_up(self, calls: Calls, order: Order, mine: list[Handle]) -> Steps[None]:
        return guarded.give_up(calls, order.prepared or self._prepare(order), mine)

    def fence(self, calls: Calls, order: Order, mine: list[Handle] | None = None) -> Steps[GuardedGrant]:
        return guarded.fence(calls, order.prepared or self._prepare(order), mine)

    def release(self, calls: Calls, grant: GuardedGrant) -> Steps[Released]:
        return guarded.release(calls, grant)

    def abandon(self, calls: Calls, grant: GuardedGrant) -> Steps[None]:
        return guarded.abandon(calls, grant)

    def enter(self, calls: Calls, grant: GuardedGrant) -> Steps[None]:
        return guarded.enter(calls, grant)

    def check(self, calls: Calls, grant: GuardedGrant) -> None:
        guarded.check_named(calls, grant)

    def verify(self, calls: Calls, grant: GuardedGrant) -> None:
        guarded.verify(calls, grant)

    def leave(self, calls: Calls, grant: GuardedGrant) -> None:
        guarded.leave(calls, grant)

    @staticmethod
    def _prepare(order: Order) -> GuardedRequest:
        paths, me = order.paths, order.process
        body, signed = _texts(me.pid, me.starttime, me.pid_namespace, order.max_hold_s, order.owner)
        order.prepared = request = GuardedRequest(
            paths.lock,
            paths.guard,
            paths.body,
            me,
            body,
            signed,
            order.timeout_s,
            order.section_wait_s,
            order.overtake_s,
            order.registry.holds.__contains__,
            order.subject,
        )
        return request


@lru_cache(maxsize=64)
def _texts(
    pid: int, starttime: int | None, pid_namespace: int | None, max_hold_s: float, owner: str
) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """What a lock file and a guard's record say of an owner around the instant of a grant. The same objects for the
    same owner: so a lock that is made afresh for each turn may use the generations that the one before it reserved."""
    named = OwnerRecord(
        pid, None, starttime, None if math.isinf(max_hold_s) else round(max_hold_s * 1000), pid_namespace
    )
    return body_parts(named), signature(GuardRecord(pid, starttime, pid_namespace, owner=label(owner)))


@dataclass(frozen=True)
class Plain(_WithoutGenerations):
    """What people write without a library: no owner."""

    name: str
    about: str
    take: Callable[[Calls, str, float], Steps[PlainGrant]]
    timeout_s: float = plain.TIMEOUT_S

    watchdog = None

    def acquire(self, calls: Calls, order: Order, mine: list[Handle] | None = None) -> Steps[Grant]:
        return Grant(order, (yield from self.take(calls, order.paths.lock, order.timeout_s)))

    def release(self, calls: Calls, grant: Grant) -> Steps[Released]:
        yield from ()
        assert isinstance(grant.inner, PlainGrant)
        return Released(removed=plain.release(calls, grant.inner))


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
