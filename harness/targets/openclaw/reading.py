"""What the real program does, read from outside into the records that our own programs write themselves.

Theory of operation
    Pure: observations go in, in the order in which they were made, and records come out, each with its own time. There
    are four kinds of observation: a line that a program printed, a change of a lock file, an entry that reached a
    transcript, a request that the fake model server saw. The gateway runs with ``--verbose``, which makes it name its
    runs; the client is left as users have it. What cannot be seen is not made up, with three exceptions, each derived
    from something that was seen:

    * a lock that was granted was asked for in the same instant (a wait that ends well shows from outside only as a
      lock file); a wait that failed is told by the program together with how long it took;
    * a request belongs to the gateway if the gateway has just said that it sends a prompt, else to the client;
    * ``client.call`` begins when the client's connection opens; its process may have needed ten seconds to get there.

    What the watch of files saw is dated when it was read, which on a busy machine is later than it was. Our own client
    dates its lock itself: as long as the watch has not seen the gateway's lock file go, whatever it tells of that
    gateway happened before the client had the lock, and is dated so.

    Records of a gateway run that need the session are held back until the run names it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lockjaw.history import Phase, Record
from lockjaw.history.holds import is_session_lock

from ...judge.clients import TIMEOUT_REPLY

GATEWAY, CLIENT = "gateway", "client"


@dataclass(frozen=True)
class Printed:
    """A line of an actor's output. ``out``: it came on stdout."""

    t: float
    actor: str
    text: str
    out: bool = False


@dataclass(frozen=True)
class LockFile:
    """A session's lock file appeared (``actor``: whose process it names, empty if nobody's) or went."""

    t: float
    path: str
    there: bool
    actor: str = ""
    pid: int | None = None


@dataclass(frozen=True)
class Written:
    """An entry that reached a transcript."""

    t: float
    path: str
    entry: dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """A record of an actor of ours: a request at the model server, an exit."""

    record: Record


Observation = Printed | LockFile | Written | Seen


@dataclass(frozen=True)
class Expected:
    """What the reader knows beforehand. ``reads_client``: the client is the real one (ours records for itself)."""

    policy: str
    message: str
    lock_timeout_s: float
    reads_client: bool = True
    session_key: str = "agent:main:main"


_TIME = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d) ")
_WORDS = re.compile(r"(\w+)=(\"(?:[^\"\\]|\\.)*\"|\S+)")
_ACCEPTED = re.compile(r"⇄ res ✓ agent (?:(?P<ms>\d+)ms )?.*?runId=(?P<run>\S+)")
_REFUSED = re.compile(r"⇄ res ✗ agent (?:(?P<ms>\d+)ms )?(?P<rest>.*)")
_LANE = re.compile(r"lane enqueue: lane=session:(?P<key>\S+)")
_LANE_ERROR = re.compile(r"lane task error: lane=(?P<lane>\S+) durationMs=(?P<ms>\d+) error=\"(?P<error>.*)\"$")
_LOCKED = re.compile(r"session file locked \(timeout (?P<ms>\d+)ms\): (?P<owner>.*?) (?P<path>/\S+\.lock)")
_DECISION = re.compile(
    r"model fallback decision: decision=(?P<decision>\S+) requested=\S+ candidate=(?P<candidate>\S+) "
    r"reason=(?P<reason>\S+) next=(?P<next>\S+)(?: detail=(?P<detail>.*))?"
)
_STOPPED = re.compile(r"model fallback chain stopped: reason=(?P<reason>\S+) candidate=(?P<candidate>\S+)")
_FELL_BACK = re.compile(r"(?:EMBEDDED FALLBACK: )?Gateway agent (?:failed|timed out);? (?P<how>[^:]*): (?P<error>.*)")
_GAVE_UP = re.compile(r"Gateway agent call (?P<error>[^;]*);")
_FRESH = re.compile(r"fresh session (?P<id>gateway-fallback-[0-9a-f-]+)")
_DEADLINE = re.compile(r"timeout after (?P<ms>\d+)ms|request timeout for agent")
_ERROR = re.compile(r"^(?:\w*Error): ")
_OPEN = re.compile(r"\[ws\] ← open ")


@dataclass
class _Run:
    """A run of the gateway's, or the client's own."""

    actor: str
    run_id: str
    session_id: str = ""
    session_key: str = ""
    accepted_t: float | None = None
    turn_open: bool = False
    asks_s: list[float] = field(default_factory=list)  # prompts told and not yet seen as a request
    ended: bool = False


class Reading:
    """One run's observations so far. ``read`` returns the records that an observation gives rise to."""

    def __init__(self, expected: Expected) -> None:
        self._expected = expected
        self._runs: dict[str, _Run] = {}
        self._own: _Run | None = None  # the client's own execution of the turn
        self._asked: str | None = None  # run id of the client's call
        self._opened_t: float | None = None
        self._called = self._asked_ended = False
        self._fell_back = False
        self._key = expected.session_key
        self._locks: dict[str, tuple[str, str]] = {}  # path -> actor, owner
        self._granted: dict[str, float] = {}  # path -> when our client had the lock, until the watch sees its file
        self._calls: dict[str, tuple[_Run, str]] = {}  # request id -> run, model
        self._stdout: list[str] = []
        self._error: list[str] = []
        self._fresh_id = ""
        self._client_exit: Record | None = None

    def read(self, seen: Observation) -> list[Record]:
        """Records, in the order of what happened; their times may lie before the observation's."""
        match seen:
            case Printed():
                found = self._line(seen)
            case LockFile():
                found = self._lock(seen)
            case Written():
                found = self._append(seen)
            case Seen(record):
                found = self._record(record)
        return [r for r in found if self._expected.reads_client or r.actor != CLIENT]

    def finish(self) -> list[Record]:
        """Everybody has ended: what became of the user."""
        if not self._expected.reads_client or self._client_exit is None:
            return []
        end, reply = self._client_exit, "\n".join(self._stdout).strip() or None
        code = end.data.get("code")
        answered = code == 0 and reply is not None and not reply.startswith(TIMEOUT_REPLY)
        error = None if answered else "\n".join(self._error) or None
        asked = self._runs.get(self._asked or "")
        session_id = self._fresh_id or (asked.session_id if asked else "") or None
        found = list(self._call_ends(end.t, answered, error, str(reply or "")))
        if self._own is not None and self._own.turn_open:
            run = self._own
            ended = _record(end.t, CLIENT, "turn", "ok" if answered else "fail", turn_id="", run_id=run.run_id)
            found.append(_with(ended, **({"stop_reason": "stop"} if answered else {"error": error or reply})))
        key = f"agent:main:explicit:{self._fresh_id}" if self._fresh_id else self._key
        found.append(
            _record(
                end.t, CLIENT, "client.result", "info", answered=answered, reply=reply, exit_code=code, error=error,
                session_id=session_id, session_key=key,
                transport="embedded" if self._fell_back else "gateway", duplicate_possible=False,
                degraded=self._fell_back,
            )
        )  # fmt: skip
        return found

    # ----------------------------------------------------------------- lines

    def _line(self, line: Printed) -> list[Record]:
        found: list[Record] = []
        if line.actor == CLIENT and line.out:
            if not line.text.startswith("[plugins] "):  # 2026.4.26 tells on stdout which packages it installs
                self._stdout.append(line.text)
            return found
        if line.actor == CLIENT:
            found.append(_record(line.t, CLIENT, "client.stderr", "info", line=line.text))
        text = _TIME.sub("", line.text)
        for pattern, reader in self._readers(line.actor):
            matched = pattern.search(text)
            if matched is not None:
                found += reader(line, matched)
                break
        if line.actor == CLIENT and _ERROR.match(text):
            self._error = [text]
        return found

    def _readers(self, actor: str) -> list[tuple[re.Pattern[str], Callable[..., Iterator[Record]]]]:
        shared = [(_LANE_ERROR, self._attempt_failed), (_DECISION, self._decision), (_STOPPED, self._chain_stopped)]
        if actor == CLIENT:
            return [*shared, (_FELL_BACK, self._falls_back), (_GAVE_UP, self._gives_up)]
        return [
            *shared,
            (_OPEN, self._opened),
            (_ACCEPTED, self._answered),
            (_REFUSED, self._refused),
            (_LANE, self._lane),
            (re.compile(r"embedded run start: (?P<words>.*)"), self._run_starts),
            (re.compile(r"embedded run prompt start: (?P<words>.*)"), self._prompt),
            (re.compile(r"embedded run done: (?P<words>.*)"), self._run_done),
        ]

    # what the gateway says

    def _opened(self, line: Printed, matched: re.Match[str]) -> Iterator[Record]:
        if not self._called:
            self._opened_t = line.t
        yield from ()

    def _answered(self, line: Printed, matched: re.Match[str]) -> Iterator[Record]:
        run = self._runs.get(matched["run"])
        if run is None:
            yield from self._accepted(matched["run"], line.t)
        else:
            yield from self._final(run, line.t, "ok")

    def _accepted(self, run_id: str, t: float) -> Iterator[Record]:
        run = self._runs[run_id] = _Run(GATEWAY, run_id, session_key=self._key, accepted_t=t)
        if not self._called:
            self._called, self._asked = True, run_id
            began = self._opened_t if self._opened_t is not None else t
            yield _record(
                began, CLIENT, "client.call", "invoke", method="agent", run_id=run_id, session_key=run.session_key
            )

    def _refused(self, line: Printed, matched: re.Match[str]) -> Iterator[Record]:
        words = _words(matched["rest"])
        live = [run for run in self._runs.values() if not run.ended]
        run = self._runs.get(words.get("runId", "")) or (live[-1] if live else None)
        if run is not None:
            yield from self._final(run, line.t, "error")

    def _final(self, run: _Run, t: float, status: str) -> Iterator[Record]:
        yield from self._known(run)
        run.ended = True
        yield _record(t, GATEWAY, "gateway.final", "info", run_id=run.run_id, status=status)

    def _lane(self, line: Printed, matched: re.Match[str]) -> Iterator[Record]:
        for run in self._runs.values():
            if run.accepted_t is not None and not run.session_id:
                run.session_key = matched["key"]
        yield from ()

    def _run_starts(self, line: Printed, matched: re.Match[str]) -> Iterator[Record]:
        words = _words(matched["words"])
        run_id = words.get("runId", "")
        if run_id not in self._runs:
            yield from self._accepted(run_id, line.t)
        run = self._runs[run_id]
        run.session_id = words.get("sessionId", "")
        yield from self._known(run)
        yield from self._turn_begins(run, line.t)

    def _known(self, run: _Run) -> Iterator[Record]:
        """The acceptance, once the session is known (or never will be)."""
        if run.accepted_t is not None:
            t, run.accepted_t = run.accepted_t, None
            yield _record(
                t, GATEWAY, "gateway.accepted", "info", run_id=run.run_id, session_key=run.session_key,
                session_id=run.session_id,
            )  # fmt: skip

    def _turn_begins(self, run: _Run, t: float) -> Iterator[Record]:
        if not run.turn_open:
            run.turn_open = True
            yield _record(
                t, run.actor, "turn", "invoke", turn_id="", run_id=run.run_id, session_id=run.session_id,
                message=self._expected.message, resumed=False,
            )  # fmt: skip

    def _prompt(self, line: Printed, matched: re.Match[str]) -> Iterator[Record]:
        run = self._runs.get(_words(matched["words"]).get("runId", ""))
        if run is not None:
            run.asks_s.append(line.t)
            yield from self._turn_begins(run, line.t)

    def _run_done(self, line: Printed, matched: re.Match[str]) -> Iterator[Record]:
        words = _words(matched["words"])
        run = self._runs.get(words.get("runId", ""))
        if run is not None and run.turn_open and words.get("aborted") == "false":
            run.turn_open = False
            yield _record(line.t, GATEWAY, "turn", "ok", turn_id="", run_id=run.run_id, stop_reason="stop")

    # what both say

    def _attempt_failed(self, line: Printed, matched: re.Match[str]) -> Iterator[Record]:
        if matched["lane"].startswith("session:"):
            return  # the outer lane repeats what the inner one said
        error, took_s = matched["error"], int(matched["ms"]) / 1000
        locked = _LOCKED.search(error)
        if locked is not None and is_session_lock(locked["path"]):
            path, timeout_s = locked["path"], int(locked["ms"]) / 1000
            began = round(line.t - took_s, 6)
            yield _record(began, line.actor, "lock", "invoke", path=path, owner=line.actor, timeout_s=timeout_s)
            yield _record(
                line.t, line.actor, "lock", "fail", path=path, error=error.removeprefix("Error: "), kind="timeout",
                waited_s=took_s, owner=locked["owner"],
            )  # fmt: skip
        run = self._own if line.actor == CLIENT else self._live()
        if run is not None and run.turn_open:
            run.turn_open = False
            yield _record(line.t, line.actor, "turn", "fail", turn_id="", run_id=run.run_id, error=error)

    def _live(self) -> _Run | None:
        return next((run for run in reversed(self._runs.values()) if not run.ended), None)

    def _decision(self, line: Printed, matched: re.Match[str]) -> Iterator[Record]:
        data = {key: matched[key] for key in ("decision", "candidate", "reason", "next", "detail")}
        yield _record(line.t, line.actor, "model.decision", "info", **data)

    def _chain_stopped(self, line: Printed, matched: re.Match[str]) -> Iterator[Record]:
        data: dict[str, Any] = {"candidate": matched["candidate"], "reason": matched["reason"], "next": None}
        yield _record(line.t, line.actor, "model.decision", "info", decision="chain_stopped", detail=None, **data)

    # what the client says

    def _falls_back(self, line: Printed, matched: re.Match[str]) -> Iterator[Record]:
        self._fell_back = True
        yield from self._call_fails(line.t, matched["error"])
        fresh = _FRESH.search(matched["how"])
        asked = self._runs.get(self._asked or "")
        if fresh is not None:
            self._fresh_id = fresh["id"]
        session_id = self._fresh_id or (asked.session_id if asked else "")
        self._own = _Run(CLIENT, session_id, session_id)
        detail = f"fresh session {session_id}" if fresh else "same session"
        yield _record(line.t, CLIENT, "fallback", "info", policy=self._expected.policy, step="rerun", detail=detail)

    def _gives_up(self, line: Printed, matched: re.Match[str]) -> Iterator[Record]:
        self._error = [line.text]
        yield from self._call_fails(line.t, matched["error"])
        yield _record(
            line.t, CLIENT, "fallback", "info", policy=self._expected.policy, step="give_up", detail=matched["error"]
        )

    def _call_fails(self, t: float, error: str) -> Iterator[Record]:
        if not self._called:  # it never got through
            self._called = True
            yield _record(t, CLIENT, "client.call", "invoke", method="agent", run_id="", session_key=self._key)
        deadline = _DEADLINE.search(error)
        kind = "timeout" if deadline else "closed" if "closed" in error else "rejected"
        told = error.removeprefix("GatewayTransportError: ").removeprefix("Error: ")
        self._asked_ended = True
        yield _record(
            t, CLIENT, "client.call", "fail", method="agent", run_id=self._asked or "", kind=kind, error=told,
            timeout_ms=int(deadline["ms"]) if deadline and deadline["ms"] else None, code=None,
        )  # fmt: skip

    def _call_ends(self, t: float, answered: bool, error: str | None, reply: str) -> Iterator[Record]:
        if not self._called or self._asked_ended:
            return
        data: dict[str, Any] = {"method": "agent", "run_id": self._asked or ""}
        if answered or not error:
            timed_out = reply.startswith(TIMEOUT_REPLY)
            yield _record(t, CLIENT, "client.call", "ok", **data, status="timeout" if timed_out else "ok")
        else:
            yield _record(t, CLIENT, "client.call", "fail", **data, kind="rejected", error=error, timeout_ms=None)

    # ----------------------------------------------------------------- files and requests

    def _lock(self, lock: LockFile) -> list[Record]:
        if not is_session_lock(lock.path):
            return []
        before = self._locks.pop(lock.path, None)
        found: list[Record] = []
        if before is not None:
            data: dict[str, Any] = {"path": lock.path, "owner": before[1], "generation": 0, "removed": True}
            t = self._not_late(lock.t, before[0], lock.path)
            found.append(_record(t, before[0], "lock.release", "ok", **data))
        if lock.there and lock.actor == CLIENT:
            self._granted.pop(lock.path, None)
        if lock.there and lock.actor:
            run = self._own if lock.actor == CLIENT else self._live()
            owner = run.run_id if run is not None else lock.actor
            self._locks[lock.path] = (lock.actor, owner)
            data = {"path": lock.path, "owner": owner}
            found.append(_record(lock.t, lock.actor, "lock", "invoke", **data, timeout_s=self._expected.lock_timeout_s))
            found.append(_record(lock.t, lock.actor, "lock", "ok", **data, generation=0, waited_s=0.0, reclaimed=""))
        return found

    def _append(self, written: Written) -> list[Record]:
        entry = written.entry
        if entry.get("type") == "session" or "id" not in entry:
            return []
        actor, owner = self._locks.get(f"{written.path}.lock", (GATEWAY, ""))
        message = entry.get("message")
        role = message.get("role") if isinstance(message, dict) else None
        data: dict[str, Any] = {"path": written.path, "entry_id": str(entry["id"]), "type": entry.get("type")}
        t = self._not_late(written.t, actor, f"{written.path}.lock") if owner else written.t
        return [_record(t, actor, "append", "info", **data, role=role, generation=0, run_id=owner)]

    def _not_late(self, t: float, actor: str, lock_path: str) -> float:
        """When that holder did it, at the latest."""
        granted = self._granted.get(lock_path)
        return t if granted is None or actor == CLIENT else min(t, granted - 1e-6)

    def _record(self, record: Record) -> list[Record]:
        if record.op == "provider.request":
            return self._request(record)
        if record.op == "actor.exit" and record.data.get("role") == CLIENT:
            self._client_exit = record
        if not self._expected.reads_client and record.actor == CLIENT:
            if record.op == "client.call" and record.phase == "invoke":
                self._called = True
            if record.op == "lock" and record.phase == "ok":
                self._granted[str(record.data.get("path"))] = record.t
        return []

    def _request(self, record: Record) -> list[Record]:
        request_id = str(record.data.get("request_id"))
        if record.phase == "invoke":
            model = str(record.data.get("model"))
            run = self._who_asks(record.t)
            if run is None:
                return []
            self._calls[request_id] = (run, model)
            found = list(self._turn_begins(run, record.t))
            data: dict[str, Any] = {"provider": "", "model": model, "messages": record.data.get("messages")}
            call = _record(record.t, run.actor, "model.call", "invoke", call_id=request_id, run_id=run.run_id, **data)
            return [*found, call]
        if request_id not in self._calls:
            return []
        run, model = self._calls.pop(request_id)
        call = _record(
            record.t, run.actor, "model.call", record.phase, call_id=request_id, run_id=run.run_id, model=model
        )
        if record.phase == "ok":
            return [_with(call, stop_reason="stop")]
        return [_with(call, error="hung up" if record.data.get("client_gone") else "refused", reason="unknown")]

    def _who_asks(self, t: float) -> _Run | None:
        """The gateway's run whose prompt is under way; else the client's own; else the gateway's live one."""
        prompting = [run for run in self._runs.values() if run.asks_s]
        if prompting:
            run = min(prompting, key=lambda r: r.asks_s[0])
            run.asks_s.pop(0)
            return run
        busy = {id(run) for run, _ in self._calls.values()}
        if self._own is not None and id(self._own) not in busy:
            return self._own
        return self._live()


def _words(text: str) -> dict[str, str]:
    return {key: value.strip('"') for key, value in _WORDS.findall(text)}


def _record(t: float, actor: str, op: str, phase: Phase, /, **data: Any) -> Record:
    return Record(round(t, 6), actor, op, phase, data)


def _with(record: Record, **data: Any) -> Record:
    return Record(record.t, record.actor, record.op, record.phase, record.data | data)
