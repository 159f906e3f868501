"""Intervals out of a history: operations with begin and end, lock holds, executions of a turn.

Pure. The order of a history is its index ``i`` (records of one instant included). An operation whose actor died
ends where the actor died: at the nemesis' SIGKILL when it is recorded, else at the actor's exit, which the
harness notices a little later. A dead holder's lock *file* outlives it; ``Hold.blocks_until`` says how long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import update_wrapper
from math import inf
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import msgspec
from msgspec.structs import replace

from lockjaw.history import Record

LOCK_TEXT = "session file locked"
LOCK_REASONS = frozenset({"session_locked", "session-locked", "lock", "locked"})
#: Lock waits that somebody called off, or that the machine ended: they say nothing about who holds the lock.
GIVEN_UP = frozenset({"cancelled", "aborted", "interrupted", "os"})
TURN_METHODS = frozenset({"", "agent", "chat.send", "connect"})  # the calls that carry the user's turn
TIMEOUT_REPLY = "Request timed out before a response was generated"


P = ParamSpec("P")
R = TypeVar("R")


class Ordered(list[Record]):
    """A history whose records know their places, and what was found out about it: a dozen checkers ask the same."""

    def __init__(self, records: Iterable[Record]) -> None:
        super().__init__(records)
        self.known: dict[Any, Any] = {}


def numbered(history: Sequence[Record]) -> Ordered:
    """The history with indices 0, 1, 2, ...; merged histories already have them."""
    if isinstance(history, Ordered):
        return history
    return Ordered(r if r.i == n else msgspec.structs.replace(r, i=n) for n, r in enumerate(history))


def _once(derive: Callable[Concatenate[Sequence[Record], P], R]) -> Callable[Concatenate[Sequence[Record], P], R]:
    """Derive it once for each history that is ``Ordered``. The result is shared: nobody changes it."""

    def known(history: Sequence[Record], /, *args: P.args, **more: P.kwargs) -> R:
        if not isinstance(history, Ordered) or more:
            return derive(history, *args, **more)
        key = (derive, args)
        if key not in history.known:
            history.known[key] = derive(history, *args, **more)
        found: R = history.known[key]
        return found

    update_wrapper(known, derive)
    return known


def is_lock_text(*texts: object) -> bool:
    """True if one of the texts tells of a session lock that was not free."""
    return any(isinstance(text, str) and (LOCK_TEXT in text or text in LOCK_REASONS) for text in texts)


def is_lock_error(record: Record) -> bool:
    """True for a failed acquire, unless somebody called the wait off."""
    return record.op == "lock" and record.phase == "fail" and record.data.get("kind") not in GIVEN_UP


def transcript_of(path: object) -> str:
    """The file that a lock path guards: records may name either. From ``agents/`` on, so that a lock path, whose
    folder is resolved, and a transcript path, whose folder need not be, are the same file."""
    text = str(path or "").removesuffix(".lock")
    _, found, inside = text.partition("/agents/")
    return f"agents/{inside}" if found else text


def is_transcript(path: str) -> bool:
    """Session stores (``sessions.json``) have locks too; they are not conversations."""
    return not path.endswith("sessions.json")


def is_fence(record: Record) -> bool:
    """True when a generation was raised; a fence that failed changed nothing."""
    return record.op == "lock.fence" and record.phase in ("ok", "info")


# --------------------------------------------------------------------------- deaths and spans


@_once
def deaths(history: Sequence[Record]) -> list[tuple[str, Record]]:
    """``(actor, record)`` of every end of a process, in order; a SIGKILL and the exit that follows are two."""
    found = []
    for record in history:
        if record.op == "actor.exit":
            found.append((str(record.data.get("actor") or record.actor), record))
        elif record.op == "nemesis" and record.data.get("action") == "kill" and record.phase in ("info", "ok"):
            found.append((str(record.data.get("target", "")), record))
    return found


class Span(msgspec.Struct, frozen=True):
    """One operation: ``invoke`` and what ended it. ``end`` is None while it is open at the end of the history."""

    start: Record
    end: Record | None = None

    @property
    def actor(self) -> str:
        return self.start.actor

    @property
    def end_s(self) -> float:
        return self.end.t if self.end is not None else inf

    @property
    def end_i(self) -> float:
        return self.end.i if self.end is not None else inf

    @property
    def outcome(self) -> Literal["ok", "fail", "died", "open"]:
        if self.end is None:
            return "open"
        if self.end.op != self.start.op:
            return "died"
        return "ok" if self.end.phase == "ok" else "fail"


@_once
def spans(history: Sequence[Record], op: str, *keys: str) -> list[Span]:
    """Pair each ``invoke`` of ``op`` with its end: the next other phase of the same actor with equal keys.

    A key that one of the two records lacks does not tell them apart. Without a match the actor's death ends it.
    """
    dead = deaths(history)
    open_spans: list[Record] = []
    done: dict[int, Record] = {}
    for record in history:
        if record.op == op and record.phase == "invoke":
            open_spans.append(record)
        elif record.op == op:
            start = next((s for s in open_spans if s.actor == record.actor and _agree(s, record, keys)), None)
            if start is not None:
                open_spans.remove(start)
                done[start.i] = record
    starts = [r for r in history if r.op == op and r.phase == "invoke"]
    return [Span(s, done.get(s.i) or next((d for a, d in dead if a == s.actor and d.i > s.i), None)) for s in starts]


def _agree(a: Record, b: Record, keys: Iterable[str]) -> bool:
    return all(a.data[k] == b.data[k] for k in keys if k in a.data and k in b.data)


# --------------------------------------------------------------------------- locks


class Hold(msgspec.Struct, frozen=True):
    """One grant of a lock, from ``granted`` until ``ended`` (None: still held when the history ends).

    ``how`` it ended: released, died (the file stays), fenced (a newer generation was granted), lost, open.
    ``blocks_until``: index from which the lock file no longer stands in anybody's way.
    """

    path: str
    actor: str
    owner: str
    generation: int
    granted: Record
    ended: Record | None = None
    how: Literal["released", "died", "fenced", "lost", "open"] = "open"
    blocks_until: float = inf

    @property
    def end_i(self) -> float:
        return self.ended.i if self.ended is not None else inf

    def live_at(self, i: int) -> bool:
        return self.granted.i <= i < self.end_i

    def same_owner(self, other: Hold) -> bool:
        return (self.actor, self.owner) == (other.actor, other.owner)


_OF_LOCKS = frozenset({"lock", "lock.fence", "lock.release", "lock.lost"})


@_once
def holds(history: Sequence[Record]) -> list[Hold]:
    """Every grant, in the order of the grants. A raised generation (``lock.fence``) is a grant to who raised it."""
    found: list[Hold] = []
    releasing: set[tuple[object, ...]] = set()
    dead = {record.i: actor for actor, record in deaths(history)}
    for record in history:
        if record.op not in _OF_LOCKS and record.i not in dead:
            continue
        path = transcript_of(record.data.get("path"))
        if record.i in dead:
            _end(found, record, "died", lambda hold, actor=dead[record.i]: hold.actor == actor)  # type: ignore[misc]
        elif is_fence(record):
            _end(found, record, "fenced", lambda hold, path=path: hold.path == path)  # type: ignore[misc]
            _grant(found, record, path)
        elif record.op == "lock" and record.phase == "ok":
            fresh = _hold_of(found, record, path)
            raised = fresh is not None and fresh.granted.op == "lock.fence"
            if not (raised and fresh is not None and fresh.generation == record.data.get("generation")):
                _grant(found, record, path)
        elif record.op in ("lock.release", "lock.lost"):
            # A release may be told twice, before (invoke) and after (ok): from the first on nobody relies on it.
            told = (record.actor, path, record.data.get("generation"), record.data.get("owner"))
            if record.phase == "invoke":
                releasing.add(told)
            elif told in releasing:
                releasing.discard(told)
                continue
            hold = _hold_of(found, record, path)
            if hold is not None:
                how: Any = "released" if record.op == "lock.release" else "lost"
                found[found.index(hold)] = replace(hold, ended=record, how=how, blocks_until=record.i)
    return found


def _grant(found: list[Hold], record: Record, path: str) -> None:
    for n, hold in enumerate(found):  # what a dead holder left is out of the way once somebody else has the lock
        if hold.path == path and hold.how == "died" and hold.blocks_until == inf:
            found[n] = replace(hold, blocks_until=record.i)
    owner = str(record.data.get("owner") or "")
    found.append(Hold(path, record.actor, owner, int(record.data.get("generation") or 0), record))


def _end(found: list[Hold], record: Record, how: Any, which: Callable[[Hold], bool]) -> None:
    for n, hold in enumerate(found):
        if hold.ended is None and which(hold):
            found[n] = replace(hold, ended=record, how=how, blocks_until=inf if how == "died" else record.i)


def _hold_of(found: list[Hold], record: Record, path: str) -> Hold | None:
    """The live hold that a record of its holder speaks of: same generation and owner if it names them."""
    live = [h for h in found if h.ended is None and h.actor == record.actor and h.path == path]
    for key, value in (("generation", record.data.get("generation")), ("owner", record.data.get("owner"))):
        exact = [h for h in live if getattr(h, key) == value]
        live = exact or live
    return live[-1] if live else None


@_once
def acquires(history: Sequence[Record]) -> list[Span]:
    """Every attempt to get a lock, waits included. (A failure's ``owner`` is the blocker, so it is no key.)"""
    found = spans(history, "lock", "path")
    fences = [r for r in history if is_fence(r)]

    def fence_after(start: Record) -> Record | None:
        # A takeover may begin as a wait and end as a fence, without an ``ok`` of its own.
        path = transcript_of(start.data.get("path"))
        mine = (f for f in fences if f.actor == start.actor and transcript_of(f.data.get("path")) == path)
        return next((f for f in mine if f.i > start.i), None)

    return [Span(s.start, fence_after(s.start)) if s.end is None else s for s in found]


# --------------------------------------------------------------------------- clients and what went wrong for them


@_once
def clients(history: Sequence[Record]) -> list[str]:
    """Actors that are command-line clients, in order of appearance."""
    seen: dict[str, None] = {}
    for record in history:
        role = record.data.get("role") if record.op in ("actor.ready", "actor.exit") else None
        if role == "client" or record.op.startswith("client.") or record.op == "fallback":
            seen.setdefault(str(record.data.get("actor") or record.actor) if role else record.actor)
    return list(seen)


def started(history: Sequence[Record], client: str) -> Record | None:
    """Where the client's own clock starts: its first record after the readiness handshake."""
    return next((r for r in history if r.actor == client and r.op not in ("actor.ready", "actor.exit")), None)


@_once
def locked_out(history: Sequence[Record]) -> list[Record]:
    """The clients' lock waits that failed for good: neither the lock nor a way round it came after them."""
    users = set(clients(history))
    return [r for r in history if r.actor in users and is_lock_error(r) and not _went_on(history, r)]


def _went_on(history: Sequence[Record], failed: Record) -> bool:
    """After this failure the client got the lock after all, or left for a fork of the conversation."""
    path = transcript_of(failed.data.get("path"))
    if not is_transcript(path):
        return True
    for record in history:
        if record.actor == failed.actor and record.i > failed.i:
            granted = is_fence(record) or (record.op == "lock" and record.phase == "ok")
            if granted and transcript_of(record.data.get("path")) == path:
                return True
            if record.op == "fallback" and record.data.get("step") == "fork":
                return True
    return False


def interrupted(history: Sequence[Record], client: str) -> bool:
    """The nemesis ended the client itself: a user who is gone gets no answer and reads no result."""
    return any(
        r.op == "nemesis" and r.data.get("action") in ("kill", "terminate") and r.data.get("target") == client
        for r in history
        if r.phase in ("info", "ok")
    )


@_once
def results(history: Sequence[Record]) -> list[Record]:
    return [r for r in history if r.op == "client.result"]


@_once
def trouble(history: Sequence[Record]) -> list[Record]:
    """The first record per client that shows that the gateway did not simply answer: the danger of this family."""
    found: dict[str, Record] = {}
    for record in history:
        if record.actor not in found and _is_trouble(record):
            found[record.actor] = record
    return list(found.values())


def _is_trouble(record: Record) -> bool:
    if record.op == "fallback":
        return True
    if record.op == "client.result":
        return not record.data.get("answered")
    if record.op != "client.call" or str(record.data.get("method") or "") not in TURN_METHODS:
        return False
    if record.phase == "ok":
        return record.data.get("status") not in (None, "ok", "completed")
    return record.phase in ("fail", "info")


@_once
def contended(history: Sequence[Record]) -> list[tuple[Record, Hold]]:
    """``(trouble, hold)``: at a client's trouble, or before its end, somebody else's lock was in its way."""
    found = []
    all_holds = [h for h in holds(history) if is_transcript(h.path)]
    for record in trouble(history):
        until = next((r.i for r in results(history) if r.actor == record.actor and r.i >= record.i), inf)
        for hold in (h for h in all_holds if _concerns(history, record.actor, h.path)):
            if hold.actor != record.actor and hold.granted.i <= until and hold.blocks_until > record.i:
                found.append((record, hold))
    return found


def _concerns(history: Sequence[Record], client: str, path: str) -> bool:
    """The client's conversation: the session its run was accepted into, or a lock that it asked for itself."""
    runs = {r.data.get("run_id") for r in history if r.op == "client.call" and r.actor == client}
    ids = {r.data.get("session_id") for r in history if r.op == "gateway.accepted" and r.data.get("run_id") in runs}
    named = {str(i) for i in ids if i}
    wanted = {transcript_of(r.data.get("path")) for r in history if r.op == "lock" and r.actor == client}
    return path in wanted or any(i in path for i in named) or not (named or wanted)


@_once
def gave_up_at_once(history: Sequence[Record]) -> list[Record]:
    """Troubles of clients whose policy tried nothing more: no fallback, so no lock could stop one."""
    tried = {r.actor for r in history if r.op == "fallback" and r.data.get("step") != "give_up"}
    ended = {r.actor for r in results(history)}
    return [r for r in trouble(history) if r.actor not in tried and r.actor in ended]


# --------------------------------------------------------------------------- executions of a turn


class Execution(msgspec.Struct, frozen=True):
    """One execution of a turn by one actor: its provider calls and tool runs.

    ``fenced_at``: index from which its writes were refused, inf if never. Model candidates that one run tries one
    after the other are one execution.
    """

    turn: str
    actor: str
    run_id: str
    session_id: str
    resumed: bool
    start: Record
    end: Record | None
    calls: tuple[Span, ...] = ()
    tools: tuple[Span, ...] = ()
    fenced_at: float = inf

    @property
    def end_i(self) -> float:
        return self.end.i if self.end is not None else inf

    @property
    def actions(self) -> list[Record]:
        """Where it asked a model or ran a tool, in order; empty for an execution that never got that far."""
        return sorted((s.start for s in (*self.calls, *self.tools)), key=lambda r: r.i)


@_once
def executions(history: Sequence[Record]) -> list[Execution]:
    """Every execution of every turn, ordered by its first action (those without any: by their start)."""
    turns = spans(history, "turn", "turn_id", "run_id")
    names = _turn_names(history, turns)
    found: list[Execution] = []
    for span in turns:
        data, run_id = span.start.data, str(span.start.data.get("run_id") or "")
        before = next((e for e in reversed(found) if (e.actor, e.run_id) == (span.actor, run_id)), None)
        if before is not None and before.turn == names[span.start.i] and _failed_before(before, span.start):
            # The next candidate of the same run, in the same process.
            found[found.index(before)] = replace(before, end=span.end)
            continue
        session_id = str(data.get("session_id") or "")
        resumed = bool(data.get("resumed"))
        found.append(Execution(names[span.start.i], span.actor, run_id, session_id, resumed, span.start, span.end))
    calls = _shared_out(found, spans(history, "model.call", "call_id"))
    tools = _shared_out(found, spans(history, "tool", "run_id", "tool_call_id"))
    fenced = [h for h in holds(history) if h.how == "fenced"]
    full = [
        replace(e, calls=tuple(calls[n]), tools=tuple(tools[n]), fenced_at=_fenced_at(e, fenced))
        for n, e in enumerate(found)
    ]
    return sorted(full, key=lambda e: e.actions[0].i if e.actions else e.start.i)


def _failed_before(execution: Execution, record: Record) -> bool:
    end = execution.end
    return end is not None and (end.op, end.phase) == ("turn", "fail") and end.i < record.i


def _turn_names(history: Sequence[Record], turns: Sequence[Span]) -> dict[int, str]:
    """Start index -> name of the turn. A client's own execution belongs to the turn of the call it had made."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    names = {}
    for span in turns:
        data = span.start.data
        keys = [f"turn {data['turn_id']}" if data.get("turn_id") else f"message {data.get('message')}"]
        if data.get("run_id"):
            keys.append(f"run {data['run_id']}")
        asked = [
            r.data["run_id"]
            for r in history
            if r.op == "client.call" and r.phase == "invoke" and r.actor == span.actor and r.i < span.start.i
            if r.data.get("run_id") and str(r.data.get("method") or "") in TURN_METHODS
        ]
        keys += [f"run {run_id}" for run_id in asked[-1:]]
        for key in keys[1:]:
            parent[root(key)] = root(keys[0])
        names[span.start.i] = keys[0]
    return {i: root(key) for i, key in names.items()}


def _shared_out(found: Sequence[Execution], items: Sequence[Span]) -> list[list[Span]]:
    """Each call to the execution that made it: same actor and run, the last one begun before it."""
    shares: list[list[Span]] = [[] for _ in found]
    for item in items:
        run_id = str(item.start.data.get("run_id") or "")
        owners = [
            n
            for n, e in enumerate(found)
            if e.actor == item.actor and e.start.i < item.start.i and run_id in ("", e.run_id)
        ]
        if owners:
            shares[owners[-1]].append(item)
    return shares


def _fenced_at(execution: Execution, fenced: Sequence[Hold]) -> float:
    for hold in fenced:
        during = execution.start.i < hold.end_i < execution.end_i
        ours = not execution.session_id or execution.session_id in hold.path
        if hold.actor == execution.actor and during and ours:
            return hold.end_i
    return inf


@_once
def turn_executions(history: Sequence[Record]) -> int:
    """How often the user's turn was executed: a continued (resumed) turn counts with the one it continues."""
    acted = [e for e in executions(history) if e.actions]
    per_turn: dict[str, int] = {}
    for n, execution in enumerate(acted):
        first = not any(e.turn == execution.turn for e in acted[:n])
        if first or not execution.resumed or together(history, execution, acted[:n]):
            per_turn[execution.turn] = per_turn.get(execution.turn, 0) + 1
    return max(per_turn.values(), default=0)


def together(history: Sequence[Record], late: Execution, earlier: Sequence[Execution]) -> tuple[Record, Record] | None:
    """Two records that prove that ``late`` ran while an earlier execution of its turn still did, or None.

    Either two provider calls overlap in time, or the earlier one acted again after the later one had begun to. A
    fenced run's open request does not count (a frozen process cannot hang up); whatever it starts after the
    fence does.
    """
    for early in earlier:
        if early.turn != late.turn or not late.actions:
            continue
        again = next((a for a in early.actions if a.i > late.actions[0].i), None)
        if again is not None:
            return late.actions[0], again
        for a in early.calls:
            end_s = a.end_s
            if a.start.i < early.fenced_at < a.end_i:
                end_s = history[int(early.fenced_at)].t
            for b in late.calls:
                if a.start.t < b.end_s and b.start.t < end_s:
                    return a.start, b.start
    return None
