"""At most one owner writes a transcript at any time; no write of an older generation lands after a newer grant."""

from __future__ import annotations

from collections.abc import Sequence

from lockjaw.history import Record
from lockjaw.history.holds import Hold, acquires, holds, is_session_lock, transcript_of
from lockjaw.history.spans import Span
from lockjaw.verdict import CheckResult, Verdict

from ..clients import trouble
from ..requests import at_once, markers_in, requests_of_turns
from .facts import ScenarioFacts

NAME = "one_writer"


def check(history: Sequence[Record], facts: ScenarioFacts) -> CheckResult:
    """At most one owner writes a transcript at any time; no write of an older generation lands after a newer grant.

    Generation 0 stands for an algorithm without generations. UNKNOWN when no transcript was wanted by two owners.
    """
    grants = holds(history)
    writes = [r for r in history if r.op == "append"]
    for write in writes:
        problem = _stale(write, grants) or _intruding(write, grants) or _across(write, grants)
        if problem is not None:
            return problem
    if not writes:
        return _from_outside(history, grants, facts)
    if any(len(_wanted_by(history, path)) > 1 for path in {transcript_of(r.data.get("path")) for r in writes}):
        return CheckResult(NAME, Verdict.HELD, "several owners wanted a transcript and wrote one at a time")
    return CheckResult(NAME, Verdict.UNKNOWN, "no two owners wanted the same transcript")


def _from_outside(history: Sequence[Record], grants: Sequence[Hold], facts: ScenarioFacts) -> CheckResult:
    """A runtime that records no writes: the process that asks a model for a turn is going to write the answer."""
    requests = [] if any(r.op == "turn" for r in history) else requests_of_turns(history)
    for early, late in at_once(requests):
        if early.start.data.get("markers") and late.start.data.get("markers"):
            finding = "two turns of one conversation were under way at the same time"
            return CheckResult(NAME, Verdict.VIOLATED, finding, (early.start.i, late.start.i))
    owners = {hold.actor for hold in grants if is_session_lock(hold.path)}
    if requests and len(owners) > 1:
        return CheckResult(NAME, Verdict.HELD, "several owners had the conversation, one at a time")
    if owners and len(_questions(requests, facts)) > 1:
        return CheckResult(NAME, Verdict.HELD, "the turns of several clients were under way one after the other")
    if requests and owners and trouble(history):
        return CheckResult(NAME, Verdict.HELD, "the conversation had one owner, and no other process worked on it")
    if requests:
        seen = "no two turns were under way at the same time, and no lock shows who owned the conversation"
        return CheckResult(NAME, Verdict.UNKNOWN, seen)
    return CheckResult(NAME, Verdict.UNKNOWN, "no process wrote to a transcript")


def _questions(requests: Sequence[Span], facts: ScenarioFacts) -> set[str]:
    """Those of the clients' questions that a model was asked."""
    clients = set().union(*(markers_in(text) for text in (facts.message, *facts.messages.values())))
    return clients & {str(marker) for request in requests for marker in request.start.data.get("asks", ())}


def _stale(write: Record, grants: Sequence[Hold]) -> CheckResult | None:
    generation = int(write.data.get("generation") or 0)
    path = transcript_of(write.data.get("path"))
    newer = [h for h in grants if h.path == path and h.granted.i < write.i and h.generation > generation > 0]
    if not newer:
        return None
    newest = max(newer, key=lambda h: h.generation)
    finding = (
        f"{write.actor} wrote with generation {generation} after generation {newest.generation} was granted to "
        f"{newest.actor}"
    )
    return CheckResult(NAME, Verdict.VIOLATED, finding, (newest.granted.i, write.i))


def _intruding(write: Record, grants: Sequence[Hold]) -> CheckResult | None:
    """A write while somebody else holds the lock, granted to them later than to the writer or not to it at all."""
    path = transcript_of(write.data.get("path"))
    live = [h for h in grants if h.path == path and h.live_at(write.i)]
    mine = [h for h in live if h.actor == write.actor]
    run_id = str(write.data.get("run_id") or "")
    mine = [h for h in mine if run_id and run_id in h.owner] or mine
    for other in live:
        if not any(other.same_owner(hold) or hold.granted.i > other.granted.i for hold in mine):
            had = "after the lock had gone on to" if mine else "without the lock, which belonged to"
            finding = f"{write.actor} wrote to a transcript {had} {other.actor}"
            return CheckResult(NAME, Verdict.VIOLATED, finding, (other.granted.i, write.i))
    return None


def _across(write: Record, grants: Sequence[Hold]) -> CheckResult | None:
    """A write of a holder that wrote on as if nothing had happened, although another process was granted the lock in
    the middle of its hold: what it had read may be out of date, whether the other one has let go since or not."""
    path = transcript_of(write.data.get("path"))
    mine = [h for h in grants if h.path == path and h.actor == write.actor and h.live_at(write.i)]
    for own in mine[-1:]:
        for other in grants:
            if other.path == path and other.actor != own.actor and own.granted.i < other.granted.i < write.i:
                finding = f"{own.actor} and {other.actor} both had the lock of a transcript, and wrote"
                return CheckResult(NAME, Verdict.VIOLATED, finding, (own.granted.i, other.granted.i, write.i))
    return None


def _wanted_by(history: Sequence[Record], path: str) -> set[str]:
    """Actors that asked for the lock of a transcript, wrote to it, or were refused."""
    if not is_session_lock(path):
        return set()
    asked = {a.actor for a in acquires(history) if transcript_of(a.start.data.get("path")) == path}
    ops = ("append", "append.refused", "lock.fence")
    return asked | {r.actor for r in history if r.op in ops and transcript_of(r.data.get("path")) == path}
