"""The lock algorithms by name, behind one interface.

``SessionLock`` runs them on this machine; the simulation runs the same objects with a registry and a process
identity for each simulated process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

from lockjaw.errors import LockStateError
from lockjaw.locking.algorithms import coarse, guarded, plain, released_for_prompt
from lockjaw.locking.algorithms.coarse import CoarseGrant, CoarseRequest, CoarseRules, Registry
from lockjaw.locking.algorithms.findings import GuardedRequest
from lockjaw.locking.algorithms.guarded import GuardedGrant, Released
from lockjaw.locking.algorithms.plain import PlainGrant
from lockjaw.locking.algorithms.released_for_prompt import Fingerprint
from lockjaw.locking.guard_record import GuardRecord, label, signature
from lockjaw.locking.identity import ProcessIdentity
from lockjaw.locking.operations import Calls, Handle, Steps
from lockjaw.locking.owner_record import OwnerRecord, body_parts
from lockjaw.locking.paths import LockPaths


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
    """``timeout_s`` is what a caller gets who names none; ``reentrant``: may a process take it twice?

    ``try_now``, ``give_now``, ``enter_now``: the first straight run of acquire, release and enter, for who wants to
    spare the machinery around it; their result is None (False) if the whole algorithm has to be run.

    ``give_up``: after an interruption between the grant and its holder; ``mine``: what that acquire or fence opened.
    ``abandon``: after an interruption in the middle of a release; None: what is left then is left.

    ``watchdog``: what becomes of a lock that is held for longer than its limit: ``thread``: its holder is stopped, by a
    thread that nothing starves; ``sweep``: it is given away in the holder's event loop, every minute; None: nothing.
    """

    @property
    def name(self) -> str: ...
    @property
    def timeout_s(self) -> float: ...
    @property
    def can_reenter(self) -> bool: ...
    @property
    def watchdog(self) -> str | None: ...
    @property
    def try_now(self) -> Callable[[Calls, Order, list[Handle]], Any] | None: ...
    @property
    def give_now(self) -> Callable[[Calls, Any], Released | None] | None: ...
    @property
    def enter_now(self) -> Callable[[Calls, Any], bool] | None: ...
    @property
    def abandon(self) -> Callable[[Any], Steps[None]] | None: ...
    def acquire(self, order: Order, mine: list[Handle] | None = None) -> Steps[Any]: ...
    def give_up(self, order: Order, mine: list[Handle]) -> Steps[None]: ...
    def fence(self, order: Order, mine: list[Handle] | None = None) -> Steps[Any]: ...
    def release(self, grant: Any) -> Steps[Released]: ...
    def enter(self, grant: Any) -> Steps[None]: ...
    def leave(self, grant: Any) -> Steps[None]: ...


@dataclass(frozen=True)
class Coarse:
    """Upstream's locks: no generation, so an append checks nothing and nobody can be fenced."""

    rules: CoarseRules

    watchdog = "sweep"
    try_now = give_now = enter_now = abandon = None
    can_reenter = True

    @property
    def name(self) -> str:
        return self.rules.name

    @property
    def timeout_s(self) -> float:
        return self.rules.timeout_s

    def acquire(self, order: Order, mine: list[Handle] | None = None) -> Steps[Grant]:
        request = CoarseRequest(order.paths.lock, order.process, order.timeout_s, order.max_hold_s, order.reentrant)
        inner = yield from coarse.acquire(self.rules, order.registry, request)
        return Grant(order, inner, reclaimed=inner.reclaimed)

    def give_up(self, order: Order, mine: list[Handle]) -> Steps[None]:
        yield from ()

    def fence(self, order: Order, mine: list[Handle] | None = None) -> Steps[Grant]:
        yield from ()
        raise LockStateError(
            order.paths.lock, self.name, "the lock cannot be fenced: this algorithm has no generations"
        )

    def release(self, grant: Grant) -> Steps[Released]:
        assert isinstance(grant.inner, CoarseGrant)
        return Released(removed=(yield from coarse.release(grant.order.registry, grant.inner.hold)))

    def enter(self, grant: Grant) -> Steps[None]:
        yield from ()

    def leave(self, grant: Grant) -> Steps[None]:
        yield from ()


@dataclass(frozen=True)
class ReleasedForPrompt(Coarse):
    """The coarse lock of 2026.5.17 and later."""

    rules: CoarseRules = released_for_prompt.RULES

    def suspend(self, grant: Grant) -> Steps[Fingerprint]:
        assert isinstance(grant.inner, CoarseGrant)
        return released_for_prompt.suspend(grant.order.registry, grant.inner, grant.order.paths.session)

    def resume(self, grant: Grant, before: Fingerprint) -> Steps[tuple[Grant, bool]]:
        order = grant.order
        request = CoarseRequest(order.paths.lock, order.process, order.timeout_s, order.max_hold_s, order.reentrant)
        resumed = released_for_prompt.resume(order.registry, request, order.paths.session, before)
        inner, unchanged = yield from resumed
        return Grant(order, inner, reclaimed=inner.reclaimed), unchanged


@dataclass(frozen=True)
class Guarded:
    """Ours."""

    name: str = "guarded"
    timeout_s: float = guarded.TIMEOUT_S

    watchdog = "thread"
    can_reenter = False
    give_now = staticmethod(guarded.give_back)
    enter_now = staticmethod(guarded.begin_append)
    abandon = staticmethod(guarded.abandon)

    @classmethod
    def try_now(cls, calls: Calls, order: Order, mine: list[Handle] | None = None) -> GuardedGrant | None:
        return guarded.try_now(calls, order.prepared or cls._prepare(order), mine)

    def acquire(self, order: Order, mine: list[Handle] | None = None) -> Steps[GuardedGrant]:
        return guarded.acquire(order.prepared or self._prepare(order), mine)

    def give_up(self, order: Order, mine: list[Handle]) -> Steps[None]:
        return guarded.give_up(order.prepared or self._prepare(order), mine)

    def fence(self, order: Order, mine: list[Handle] | None = None) -> Steps[GuardedGrant]:
        return guarded.fence(order.prepared or self._prepare(order), mine)

    def release(self, grant: GuardedGrant) -> Steps[Released]:
        return guarded.release(grant)

    def enter(self, grant: GuardedGrant) -> Steps[None]:
        return guarded.enter(grant)

    def leave(self, grant: GuardedGrant) -> Steps[None]:
        return guarded.leave(grant)

    @staticmethod
    def _prepare(order: Order) -> GuardedRequest:
        paths, me = order.paths, order.process
        owner = OwnerRecord(me.pid, None, me.starttime, round(order.max_hold_s * 1000), me.pid_namespace)
        named = GuardRecord(me.pid, me.starttime, me.pid_namespace, owner=label(order.owner))
        order.prepared = request = GuardedRequest(
            paths.lock,
            paths.guard,
            paths.body,
            me,
            body_parts(owner),
            signature(named),
            order.timeout_s,
            order.section_wait_s,
            order.overtake_s,
            order.registry.holds.__contains__,
        )
        return request


@dataclass(frozen=True)
class Plain:
    """What people write without a library: no owner, no generation."""

    name: str
    take: Callable[[str, float], Steps[PlainGrant]]
    timeout_s: float = plain.TIMEOUT_S

    watchdog = None
    try_now = give_now = enter_now = abandon = None
    can_reenter = False

    def acquire(self, order: Order, mine: list[Handle] | None = None) -> Steps[Grant]:
        return Grant(order, (yield from self.take(order.paths.lock, order.timeout_s)))

    def give_up(self, order: Order, mine: list[Handle]) -> Steps[None]:
        yield from ()

    def fence(self, order: Order, mine: list[Handle] | None = None) -> Steps[Grant]:
        yield from ()
        raise LockStateError(
            order.paths.lock, self.name, "the lock cannot be fenced: this algorithm has no generations"
        )

    def release(self, grant: Grant) -> Steps[Released]:
        assert isinstance(grant.inner, PlainGrant)
        return Released(removed=(yield from plain.release(grant.inner)))

    def enter(self, grant: Grant) -> Steps[None]:
        yield from ()

    def leave(self, grant: Grant) -> Steps[None]:
        yield from ()


_ALL: tuple[LockAlgorithm, ...] = (
    Guarded(),
    Coarse(coarse.COARSE),
    Coarse(coarse.COARSE_60S),
    ReleasedForPrompt(),
    Plain("soft", plain.acquire_soft),
    Plain("flock", plain.acquire_flock),
)
LOCK_ALGORITHMS: Mapping[str, LockAlgorithm] = {algorithm.name: algorithm for algorithm in _ALL}
