"""What the client does when its gateway call failed: the four fallback policies.

A policy is a generator of effects. It knows no socket, file, clock or random source; the shell
(``runner/agent.py``) performs each effect and sends the result back. So the same text is shipped, tested with
a list of answers, and explored in the simulation.

Three policies do what three published versions of OpenClaw do, messages included. ``takeover`` is ours.

Theory of takeover
    The client names the run (its idempotency key is the run id), so after a deadline or a lost socket it can
    ask what became of it. Then, in this order: an answer that exists is the answer; a run that has failed for want of
    time is continued, one that has failed for good is not; a run that goes on is stopped; whoever holds the session
    lock is waited for, or succeeded if dead, or fenced if it lives, does not stop and honours generations; and only
    with the lock in hand is the turn continued *from the transcript*.
    If a foreign holder lives and cannot be fenced, the turn continues in a fork of the conversation, marked
    ``duplicate_possible``, because the first run may still answer. A lock error is never a model failure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import Any, Literal

import msgspec

from lockjaw.behaviours import Behaviour
from lockjaw.errors import (
    ConnectionLost,
    LockjawError,
    RemoteProtocolError,
    RequestRejected,
    RequestTimedOut,
    printed,
)
from lockjaw.runner.failover import by_text

# --------------------------------------------------------------------------- effects


class Say(msgspec.Struct, frozen=True):
    """Print a line (or several) on the user's stderr."""

    text: str


class Step(msgspec.Struct, frozen=True):
    """Note a step of the policy in the history: ask, stop, wait, continue, reclaim, fence, fork, rerun, give_up."""

    step: str
    detail: str = ""


class Ask(msgspec.Struct, frozen=True):
    """What became of the run? Reconnects if need be; performs to a ``RunState``."""

    run_id: str
    limit_s: float


class Stop(msgspec.Struct, frozen=True):
    """Ask the gateway to abort the run; performs to a ``StopReply``."""

    run_id: str
    limit_s: float


class Look(msgspec.Struct, frozen=True):
    """Who has the session lock? Waits for nothing; performs to a ``LockReply`` that is never granted."""


class TakeLock(msgspec.Struct, frozen=True):
    """Wait for the session lock, bounded; performs to a ``LockReply``. A granted lock stays with the shell."""

    bound_s: float


class Fence(msgspec.Struct, frozen=True):
    """Raise the generation over the live holder that has ``generation``, and over no other; performs to a
    ``LockReply``."""

    generation: int


class RunEmbedded(msgspec.Struct, frozen=True):
    """Run the turn in this process; performs to the ``result`` object of a turn, or raises its error.

    ``session``: ``same`` as asked, ``fresh`` (new and empty), or ``fork`` (new, seeded with the transcript).
    ``resume``: continue the turn from the transcript instead of starting it. ``locked``: the shell holds the
    session lock already (``TakeLock``/``Fence``).
    """

    session: Literal["same", "fresh", "fork"]
    resume: bool
    locked: bool
    new_session_id: str = ""


Effect = Say | Step | Ask | Stop | Look | TakeLock | Fence | RunEmbedded


# --------------------------------------------------------------------------- what effects perform to


class RunState(msgspec.Struct, frozen=True):
    """``finished`` carries the result; ``failed`` the error text; ``running`` covers "not known to this
    gateway" too, which the protocol does not tell apart; ``unreachable``: no gateway could be asked."""

    state: Literal["finished", "failed", "running", "unreachable"]
    result: dict[str, Any] | None = None
    error: str = ""


class StopReply(msgspec.Struct, frozen=True):
    """``confirmed``: the gateway says that it aborted this run."""

    confirmed: bool
    reachable: bool


class LockReply(msgspec.Struct, frozen=True):
    """``granted``, or what is in the way.

    ``reclaimed``: the previous holder was dead by proof. ``fenceable``: the holder lives and honours
    generations. ``foreign_run``: the holder works on another turn than ours, which is not ours to stop.
    ``moved_on``: it is another one than we have waited for. ``generation``: the holder's.
    """

    granted: bool
    reclaimed: bool = False
    fenceable: bool = False
    foreign_run: bool = False
    owner: str = ""
    moved_on: bool = False
    generation: int = 0


# --------------------------------------------------------------------------- what a policy is told and returns


class GatewayFailure(msgspec.Struct, frozen=True):
    """Why the gateway call failed, and what the client knows about its run."""

    error: LockjawError  # RequestTimedOut, ConnectionLost, or what the gateway or this machine refused
    run_id: str
    late: bool = False  # the gateway's "no" was read after the deadline: this process stood still meanwhile

    @property
    def kind(self) -> Literal["timeout", "closed", "malformed", "rejected"]:
        """``malformed``: the gateway answered, and what it said cannot be read."""
        if isinstance(self.error, RequestTimedOut) or (isinstance(self.error, RequestRejected) and self.late):
            return "timeout"
        if isinstance(self.error, RemoteProtocolError):
            return "malformed"
        return "closed" if isinstance(self.error, ConnectionLost) else "rejected"

    @property
    def definite(self) -> bool:
        """True when it is certain that the gateway never saw the request."""
        return isinstance(self.error, (ConnectionLost, RequestTimedOut)) and self.error.definite

    @property
    def refused(self) -> bool:
        """The gateway turned the client away (wrong token, not paired, wrong protocol): falling back would
        hide a configuration error behind an answer (reports 81752, 71416). A gateway that stood still while the
        client connected has turned no client away."""
        return isinstance(self.error, ConnectionLost) and self.error.refused


class Answer(msgspec.Struct, frozen=True):
    """The user's result. ``marks`` go into ``result.meta`` so that nothing degraded is silent."""

    result: dict[str, Any]
    transport: Literal["gateway", "embedded"]
    marks: dict[str, Any]
    duplicate_possible: bool = False


_REASONS = {"timeout": "gateway_timeout", "closed": "gateway_lost", "malformed": "gateway_malformed"}

Policy = Generator[Effect, Any, Answer]

ASK_LIMIT_S = 2.0  # a gateway that is alive answers agent.wait in milliseconds; a stuck one must not cost more
STOP_LIMIT_S = 5.0  # seen on the real 2026.5.7: confirmed and lock gone within 0.1 s
FOREIGN_RUN_BOUND_S = 600.0  # another user's turn is legitimate, however long it takes (reports of class F)
OWNERS = 4  # so many in turn are waited for, where each of them had the session for the first time
LOCK_BOUND_S = 10.0  # an aborted run may wait for its model client to let go; then it is stuck, not stopping


def reuse_session(failure: GatewayFailure, behaviour: Behaviour, new_id: Callable[[], str]) -> Policy:
    """2026.4.8: whatever went wrong, run the turn again on the same session. This is the incident."""
    error = printed(failure.error, transport_name=behaviour.transport_error_name)
    yield Say(f"Gateway agent failed; falling back to embedded: {error}")
    yield Step("rerun", "same session")
    result = yield RunEmbedded("same", resume=False, locked=False)
    return Answer(result, "embedded", {})


def fresh_session(failure: GatewayFailure, behaviour: Behaviour, new_id: Callable[[], str]) -> Policy:
    """2026.5.7: after a timeout run the turn again in a new session, while the first run goes on."""
    error = printed(failure.error, transport_name=behaviour.transport_error_name)
    marks: dict[str, Any] = {"transport": "embedded", "fallbackFrom": "gateway"}
    if failure.kind in ("rejected", "malformed"):
        raise failure.error
    if failure.kind == "closed":
        yield Say(f"EMBEDDED FALLBACK: Gateway agent failed; running embedded agent: {error}")
        yield Step("rerun", "same session")
        return Answer((yield RunEmbedded("same", resume=False, locked=False)), "embedded", marks)
    session_id = f"gateway-fallback-{new_id()}"
    yield Say(
        f"EMBEDDED FALLBACK: Gateway agent timed out; running embedded agent with fresh session {session_id}: {error}"
    )
    yield Step("rerun", "fresh session")
    result = yield RunEmbedded("fresh", resume=False, locked=False, new_session_id=session_id)
    marks |= {"fallbackReason": "gateway_timeout", "fallbackSessionId": session_id}
    return Answer(result, "embedded", marks)


def no_fallback(failure: GatewayFailure, behaviour: Behaviour, new_id: Callable[[], str]) -> Policy:
    """2026.9.6: a lost gateway is an error, whatever other model would have answered."""
    yield Step("give_up", failure.kind)
    raise failure.error


def takeover(failure: GatewayFailure, behaviour: Behaviour, new_id: Callable[[], str]) -> Policy:
    """Ours: ask, stop, take the lock, continue the same turn in the same session."""
    if failure.kind == "rejected" or failure.refused:
        yield Step("give_up", failure.kind)
        raise failure.error
    reason = _REASONS[failure.kind]
    first_line = str(failure.error).splitlines()[0]
    marks: dict[str, Any] = {"transport": "embedded", "fallbackFrom": "gateway", "fallbackReason": reason}

    if not failure.definite:
        yield Step("ask", first_line)
        asked: RunState = yield Ask(failure.run_id, ASK_LIMIT_S)
        if asked.state == "finished" and asked.result is not None:
            yield Say(f"TAKEOVER: {first_line}; the gateway had finished the run meanwhile, this is its answer")
            return Answer(asked.result, "gateway", {"fallbackReason": reason, "lateAnswer": True})
        if asked.state == "failed" and not worth_going_on(asked.error):
            yield Step("give_up", "the run ended with an error")
            raise RequestRejected("UNAVAILABLE", asked.error)
        if asked.state == "failed":
            # It has ended, so nothing of it runs beside us. Had we asked a moment sooner (this process may have been
            # frozen), we would have stopped it and gone on.
            yield Say(f"TAKEOVER: {first_line}; the gateway's run has failed meanwhile, going on in the same session")
        elif asked.state == "running":
            yield Step("stop", failure.run_id)
            stopped: StopReply = yield Stop(failure.run_id, STOP_LIMIT_S)
            stopping = "the gateway stopped its run, taking over in the same session"
            running = "the gateway does not stop its run, waiting for the session"
            yield Say(f"TAKEOVER: {first_line}; {stopping if stopped.confirmed else running}")
        else:
            yield Say(f"TAKEOVER: {first_line}; the gateway is out of reach, waiting for the session")
    else:
        absent = isinstance(failure.error, ConnectionLost) and failure.error.code == 1006
        why = "no gateway is running" if absent else "the gateway was sent nothing"
        yield Say(f"TAKEOVER: {why}, the turn runs in this process ({first_line})")

    yield Step("wait", "session lock")
    lock = yield from _session_lock()
    if lock.granted and lock.reclaimed:
        yield Step("reclaim", lock.owner)
    if lock.granted:
        yield Step("continue", "same session")
        result = yield RunEmbedded("same", resume=True, locked=True)
        return Answer(result, "embedded", marks)

    session_id = f"takeover-fork-{new_id()}"
    yield Step("fork", session_id)
    yield Say(
        f"TAKEOVER: {lock.owner} still holds the session and cannot be fenced; continuing in a copy of the "
        f"conversation, session {session_id}.\nDUPLICATE POSSIBLE: the first run may still answer in the original."
    )
    result = yield RunEmbedded("fork", resume=True, locked=False, new_session_id=session_id)
    marks |= {"fallbackSessionId": session_id, "duplicatePossible": True}
    return Answer(result, "embedded", marks, duplicate_possible=True)


def _session_lock() -> Generator[Effect, Any, LockReply]:
    """Wait for the session. An owner that stood in the way for the whole of a wait is overruled, and no other one."""
    lock: LockReply = yield Look()
    for _ in range(OWNERS):
        another_run = lock.foreign_run
        if another_run:
            yield Say(f"TAKEOVER: {lock.owner} is busy with another message of this session, waiting for it")
        lock = yield TakeLock(FOREIGN_RUN_BOUND_S if another_run else LOCK_BOUND_S)
        if lock.fenceable and not (lock.granted or lock.foreign_run or lock.moved_on):
            owner = lock.owner
            yield Say(f"TAKEOVER: {owner} holds the session and does not stop; its later writes are refused")
            lock = yield Fence(lock.generation)
            if lock.granted:
                yield Step("fence", owner)
        if lock.granted or (another_run and lock.foreign_run) or not (lock.foreign_run or lock.moved_on):
            break
    return lock


def worth_going_on(error: str) -> bool:
    """A run ended with this error; may the same turn come to an answer here?

    Yes where a model was too slow or too busy, or where the session was somebody else's: time changes that. No where it
    was stopped, refused, or cannot work at all: wrong key, unpaid bill, a request that is too long.
    """
    if _SESSION_TAKEN.search(error):
        return True
    reasons = set(_REASON_OF_ATTEMPT.findall(error)) or {by_text(error)}
    return bool(reasons & {"timeout", "overloaded", "rate_limit"})


_REASON_OF_ATTEMPT = re.compile(r" \((timeout|overloaded|rate_limit)\)(?: \||$)")
_SESSION_TAKEN = re.compile(r"session file locked|may no longer write")

PolicyFunction = Callable[[GatewayFailure, Behaviour, Callable[[], str]], Policy]

POLICY_FUNCTIONS: dict[str, PolicyFunction] = {
    "reuse-session": reuse_session,
    "fresh-session": fresh_session,
    "no-fallback": no_fallback,
    "takeover": takeover,
}
