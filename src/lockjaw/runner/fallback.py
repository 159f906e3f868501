"""The fallback chain: which model is asked next, and what the user is told when none is left. Pure.

Theory of operation. ``advance`` names the next candidate, the caller runs it and reports ``record_failure``
or ``record_success``; every step is a ``Decision`` to log and to record. Time comes in as ``now`` (nominal
seconds, monotonic). What must outlive one chain (cool-downs) stands in a ``Cooldowns`` book that the process
keeps and passes in.

Some things end the chain at once, because another model would not help: the run was aborted, the context
does not fit, the session lock said no (unless the behaviour takes that for a model failure, as 2026.4.8
did, or walks on regardless, as 2026.5.7 did), the session's files cannot be written (another model would run the
tools again whose results are lost; upstream walks on), and, where the behaviour says so, the run's own time limit.

A server that says how long to wait (Retry-After) is not asked again before that: its model is passed over
while others are left and comes last, with ``not_before`` saying when. Upstream's HTTP library waits inside
the candidate instead; going on to the next model costs the user less time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from lockjaw.behaviours import Behaviour
from lockjaw.errors import Attempt, ModelFailure, ModelsFailed, UsageError
from lockjaw.runner.failover import OVERFLOW, classify, is_abort, is_disk_error, is_lock_error
from lockjaw.settings import A_MODEL, ModelRef

__all__ = [
    "CONTINUE_PROMPT",
    "Advance",
    "Cooldowns",
    "Decision",
    "FallbackChain",
    "candidate_prompt",
    "classify",
    "decision_line",
    "order",
]

CONTINUE_PROMPT = "Continue where you left off. The previous model attempt failed or timed out."

BACKOFF_S = (30.0, 60.0, 300.0)  # by the number of failures within the window; the last one repeats
BILLING_S, BILLING_MAX_S = 5 * 3600.0, 24 * 3600.0  # doubling
PERMANENT_S, PERMANENT_MAX_S = 600.0, 3600.0  # doubling
WINDOW_S = 24 * 3600.0  # an older failure no longer counts
PROBE_AHEAD_S = 120.0  # the primary may be probed this long before its cool-down ends
PROBE_EVERY_S = 30.0
RETRY_AFTER_MAX_S = 60.0  # who wants to be left alone for longer is not waited for within a chain

#: Reasons that are the provider's state, not the request's fault or a slow network.
COOLING = frozenset({"rate_limit", "overloaded", "auth", "auth_permanent", "billing", "unknown"})

Kind = Literal["candidate_failed", "candidate_succeeded", "skip_candidate", "probe_cooldown_candidate", "chain_stopped"]


def candidate_prompt(message: str, *, index: int, has_history: bool) -> str:
    """What the candidate at ``index`` (0 = the first one asked) is told: later ones go on, if there is something."""
    return CONTINUE_PROMPT if index > 0 and has_history else message


def order(
    candidates: Sequence[ModelRef], failed: Iterable[ModelRef | str], interrupted: ModelRef | str | None
) -> tuple[ModelRef, ...]:
    """The chain of a turn that is taken over: the untried first, then the interrupted one, then the failed.

    Args:
        candidates: the chain; its order is kept within each group.
        failed: models that failed in this turn, as ``provider/model``.
        interrupted: the model that was at work when the turn was taken over. It counts as interrupted even
            where the abort made it look failed.
    """
    gone = {str(ref) for ref in failed}
    stopped = None if interrupted is None else str(interrupted)
    rank = {ref: 1 if str(ref) == stopped else 2 if str(ref) in gone else 0 for ref in candidates}
    return tuple(sorted(dict.fromkeys(candidates), key=lambda ref: rank[ref]))


def decision_line(
    kind: str,
    requested: ModelRef,
    candidate: ModelRef,
    reason: str,
    next: ModelRef | None,
    detail: str | None,
) -> str:
    """The log line of a decision, as the real program prints it."""
    if kind == "chain_stopped":
        return f"model fallback chain stopped: reason={reason} candidate={candidate}"
    tail = f" detail={detail}" if detail else ""
    return (
        f"model fallback decision: decision={kind} requested={requested} candidate={candidate} "
        f"reason={reason} next={next or 'none'}{tail}"
    )


class Decision(msgspec.Struct, frozen=True):
    """One step of the chain. ``reason`` is a failover reason, or why the chain stopped; ``quiet``: not logged."""

    kind: Kind
    requested: ModelRef
    candidate: ModelRef
    next: ModelRef | None
    reason: str
    detail: str | None = None
    quiet: bool = False

    def line(self) -> str:
        """The log line; empty for a step that the real program does not log."""
        if self.quiet:
            return ""
        return decision_line(self.kind, self.requested, self.candidate, self.reason, self.next, self.detail)

    def data(self) -> dict[str, Any]:
        """The data of a ``model.decision`` record."""
        return {
            "decision": self.kind,
            "candidate": str(self.candidate),
            "reason": self.reason,
            "next": str(self.next) if self.next else None,
            "detail": self.detail,
        }


class Advance(msgspec.Struct, frozen=True):
    """The next candidate. ``candidate`` None: none is left, raise ``FallbackChain.error()``.

    ``not_before``: nominal monotonic second before which the candidate must not be asked; at most ``now``
    unless its server named a waiting time and no other candidate is left.
    """

    candidate: ModelRef | None
    not_before: float
    decisions: tuple[Decision, ...] = ()


# --------------------------------------------------------------------------- cool-downs


@dataclass
class _State:
    reason: str = ""
    until: float = 0.0
    failures: int = 0
    last_failure: float = float("-inf")
    last_probe: float = float("-inf")


@dataclass
class Cooldowns:
    """Who must be left alone, until when. One book per process; instants are nominal monotonic seconds."""

    _providers: dict[str, _State] = field(default_factory=dict)
    _models: dict[ModelRef, float] = field(default_factory=dict)

    def provider_failed(self, provider: str, reason: str, now: float) -> None:
        """Back off from a provider. A timeout (and a fault of the request itself) never marks."""
        if reason not in COOLING:
            return
        state = self._providers.setdefault(provider, _State())
        if now - state.last_failure > WINDOW_S or state.reason != reason:
            state.failures = 0
        state.failures += 1
        state.last_failure, state.reason = now, reason
        if reason == "billing":
            length = min(BILLING_S * 2 ** (state.failures - 1), BILLING_MAX_S)
        elif reason == "auth_permanent":
            length = min(PERMANENT_S * 2 ** (state.failures - 1), PERMANENT_MAX_S)
        else:
            length = BACKOFF_S[min(state.failures, len(BACKOFF_S)) - 1]
        state.until = now + length

    def wait(self, ref: ModelRef, seconds: float, now: float) -> None:
        """The server of this model asked to be left alone for so long."""
        self._models[ref] = max(self._models.get(ref, now), now + max(0.0, seconds))

    def succeeded(self, ref: ModelRef) -> None:
        self._providers.pop(ref.provider, None)
        self._models.pop(ref, None)

    def provider_cooling(self, provider: str, now: float) -> str | None:
        """Why the provider is cooling down, or None."""
        state = self._providers.get(provider)
        return state.reason if state is not None and state.until > now else None

    def model_until(self, ref: ModelRef, now: float) -> float | None:
        until = self._models.get(ref, now)
        return until if until > now else None

    def probe_due(self, provider: str, now: float) -> bool:
        state = self._providers[provider]
        return state.until - now <= PROBE_AHEAD_S and now - state.last_probe >= PROBE_EVERY_S

    def probed(self, provider: str, now: float) -> None:
        self._providers[provider].last_probe = now


# --------------------------------------------------------------------------- the chain


class FallbackChain:
    """One walk along the candidates.

    Args:
        candidates: at least one; the first is the requested model.
        behaviour: what ends the chain, and what a lock error is.
        cooldowns: whether failures make whole providers cool down. Upstream only does that for providers
            with stored credentials ("profiles"); a key in the configuration has none.
        book: shared between chains; a Retry-After is noted there whether ``cooldowns`` or not.

    Raises:
        UsageError: no candidate.
    """

    def __init__(
        self,
        candidates: Sequence[ModelRef],
        *,
        behaviour: Behaviour,
        cooldowns: bool = False,
        book: Cooldowns | None = None,
    ) -> None:
        if not candidates:
            raise UsageError("openclaw.json", "agents.defaults.model", A_MODEL)
        self.requested = candidates[0]
        self.behaviour = behaviour
        self.attempts: list[Attempt] = []
        self.ended = False
        self.index = -1
        self._cooldowns = cooldowns
        self._book = Cooldowns() if book is None else book
        self._queue: deque[ModelRef] = deque(dict.fromkeys(candidates))
        self._late: dict[ModelRef, float] = {}  # candidates whose server asked to wait -> not before
        self._retried: set[ModelRef] = set()
        self._probed: set[str] = set()
        self._current: ModelRef | None = None
        self._last_error: BaseException | None = None
        self._final: BaseException | None = None

    @property
    def remaining(self) -> int:
        """How many candidates may still be asked, the current one included. ``index`` + this is no constant:
        one whose server asked to wait comes a second time."""
        return len(self._queue) + len(self._late) + (self._current is not None)

    # ------------------------------------------------------------------ walking

    def advance(self, now: float) -> Advance:
        """The next candidate. Passing over one is a decision too, and counts as its attempt."""
        assert not self.ended, "the chain has ended; raise error()"
        decisions: list[Decision] = []
        while self._queue:
            ref = self._queue.popleft()
            until = self._book.model_until(ref, now)
            if until is not None:
                detail = f"{ref} asked to wait {until - now:.0f}s more (Retry-After)"
                if until - now <= RETRY_AFTER_MAX_S:
                    self._late[ref] = until
                else:
                    self.attempts.append(Attempt(ref.provider, ref.model, detail, "rate_limit"))
                decisions.append(self._decide("skip_candidate", ref, "rate_limit", detail))
                continue
            reason = self._book.provider_cooling(ref.provider, now) if self._cooldowns else None
            if reason is not None:
                obstacle = self._obstacle(ref, reason, now)
                if obstacle:
                    self.attempts.append(Attempt(ref.provider, ref.model, obstacle, reason))
                    decisions.append(self._decide("skip_candidate", ref, reason, obstacle))
                    continue
                self._probed.add(ref.provider)
                self._book.probed(ref.provider, now)
                decisions.append(self._decide("probe_cooldown_candidate", ref, reason))
            return self._try(ref, now, decisions)
        if self._late:
            ref = min(self._late, key=lambda late: self._late[late])
            self._retried.add(ref)
            return self._try(ref, max(now, self._late.pop(ref)), decisions)
        self.ended = True
        self._current = None
        return Advance(None, now, tuple(decisions))

    def _try(self, ref: ModelRef, not_before: float, decisions: list[Decision]) -> Advance:
        self.index += 1
        self._current = ref
        return Advance(ref, not_before, tuple(decisions))

    def _obstacle(self, ref: ModelRef, reason: str, now: float) -> str:
        """Why a candidate of a cooling provider is passed over; empty: try it, as a probe."""
        name = ref.provider
        primary = ref == self.requested
        if reason in ("auth", "auth_permanent"):
            return f"Provider {name} has auth issue (skipping all models)"
        if primary:
            due = self._book.probe_due(name, now)
            trouble = "has billing issue (skipping all models)" if reason == "billing" else ""
            return "" if due else f"Provider {name} {trouble or 'is in cooldown (all profiles unavailable)'}"
        if reason == "billing":
            return f"Provider {name} has billing issue (skipping all models)"
        return f"Provider {name} is in cooldown (probe already attempted this run)" if name in self._probed else ""

    def record_failure(self, error: BaseException, now: float) -> Decision:
        """The current candidate failed. Afterwards either ``ended`` (raise ``error()``) or ``advance`` again."""
        ref = self._take()
        reason = classify(error, behaviour=self.behaviour)
        self._last_error = error
        stop = self._stops(error, reason)
        if stop:
            return self._stop(ref, error, stop, quiet=not self.behaviour.run_timeout_ends_chain)
        if isinstance(error, ModelFailure) and error.retry_after_s is not None:
            self._book.wait(ref, error.retry_after_s, now)
            if error.retry_after_s <= RETRY_AFTER_MAX_S and ref not in self._retried:
                self._late[ref] = now + max(0.0, error.retry_after_s)
        if reason is None and not self._queue and not self._late:
            return self._stop(ref, error, "unclassified", quiet=True)
        recorded = reason or "unknown"
        if self._cooldowns and not is_lock_error(error):
            self._book.provider_failed(ref.provider, recorded, now)
        text = _message(error)
        self.attempts.append(Attempt(ref.provider, ref.model, text, recorded))
        decision = self._decide("candidate_failed", ref, recorded, text)
        self.ended = decision.next is None
        return decision

    def record_success(self, now: float) -> Decision | None:
        """The current candidate answered. None when it was the first one asked: nothing to log."""
        ref = self._take()
        first = not self.attempts
        self.ended = True
        self._book.succeeded(ref)
        return None if first else Decision("candidate_succeeded", self.requested, ref, None, "unknown")

    def stop_on_run_timeout(self, error: BaseException) -> Decision:
        """The run's own limit ended the attempt, and the behaviour lets it end the chain (2026.9.6)."""
        ref = self._take()
        return self._stop(ref, error, "agent_run_terminal_timeout", quiet=False)

    # ------------------------------------------------------------------ ending

    def error(self) -> BaseException:
        """What to raise when the chain has ended without an answer.

        The error that ended it, unchanged; the only attempt's error; else ``ModelsFailed``, caused by the last.
        """
        if self._final is not None:
            return self._final
        if len(self.attempts) <= 1 and self._last_error is not None:
            return self._last_error
        summary = ModelsFailed(self.attempts)
        summary.__cause__ = self._last_error
        return summary

    def _stops(self, error: BaseException, reason: str | None) -> str:
        """Why no other model could help; empty: go on."""
        if is_abort(error):
            return "aborted"
        if reason == OVERFLOW:
            return OVERFLOW
        if is_lock_error(error) and reason is None and not self.behaviour.lock_error_walks_chain:
            return "session_lock"
        if is_disk_error(error) and not self.behaviour.disk_error_walks_chain:
            return "session_files"
        return ""

    def _stop(self, ref: ModelRef, error: BaseException, reason: str, *, quiet: bool) -> Decision:
        self.ended = True
        self._final = self._last_error = error
        return Decision("chain_stopped", self.requested, ref, None, reason, _message(error), quiet)

    def _take(self) -> ModelRef:
        assert self._current is not None, "advance() first"
        ref, self._current = self._current, None
        return ref

    def _decide(self, kind: Kind, ref: ModelRef, reason: str, detail: str | None = None) -> Decision:
        upcoming = self._queue[0] if self._queue else min(self._late, key=lambda late: self._late[late], default=None)
        return Decision(kind, self.requested, ref, upcoming, reason, detail)


def _message(error: BaseException) -> str:
    return str(error) or type(error).__name__
