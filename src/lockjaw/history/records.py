"""The records of a history: what checkers and reports read, and nothing else.

A record is one step of one actor. Actors write their own file; the harness merges the files by the shared clock.

Operations and their phases
    ``invoke`` an operation begins; ``ok`` it happened; ``fail`` it definitely did not; ``info`` a fact, or
    an operation whose outcome is unknown. ``op`` names are listed in ``OPERATIONS``; ``data`` holds plain
    JSON values only.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from lockjaw.clock import Clock
from lockjaw.errors import HarnessError
from lockjaw.history.recorder import Phase

__all__ = [
    "OPERATIONS",
    "FileRecorder",
    "MemoryRecorder",
    "Record",
    "event_hash",
    "merge",
    "read_records",
    "write_history",
]

#: op -> what it means and which keys ``data`` carries.
OPERATIONS: dict[str, str] = {
    "run.start": "harness: scenario, policy, seed, engine, scale",
    "run.end": "harness: reason",
    "actor.ready": "an actor answered the handshake: pid, role",
    "actor.exit": "an actor ended: role, pid, code (negative: killed by that signal)",
    "nemesis": "the nemesis acted: action, target, pid (of a link: toxic; at an operation: at, errno; that lasts: "
    "for_s; of a heal: heals)",
    "held_up": "harness: a choice of the search held an actor up at an operation, until now: target, at, for_s",
    "client.call": "the client's gateway call: method, run_id, session_key; ok: status; fail: error, kind "
    "(timeout, closed, malformed, rejected), timeout_ms, code, refused (the gateway turned the client away)",
    "client.stderr": "a line the client printed: line",
    "client.result": "the user's outcome: answered, reply, exit_code, error, session_id, session_key, "
    "transport (gateway, embedded), duplicate_possible, degraded",
    "fallback": "a step of the fallback policy: policy, step (ask, stop, wait, continue, reclaim, fence, "
    "fork, rerun, give_up), detail",
    "gateway.accepted": "the gateway accepted a run: run_id, session_key, session_id",
    "gateway.final": "the gateway sent (or stored) a final answer: run_id, status",
    "gateway.abort": "the gateway aborted a run: run_id, origin",
    "lane.wait": "a run queues for its lane: run_id, lane",
    "lock": "acquire of a lock: path, owner, timeout_s; ok: generation, waited_s, reclaimed; fail: error, "
    "kind, waited_s, owner",
    "lock.release": "release of a lock: path, owner, generation, removed",
    "lock.fence": "the generation was raised over a live holder: path, owner, generation, previous",
    "lock.lost": "a holder noticed that it no longer owns its lock: path, owner, generation",
    "lock.limit": "a holder was stopped at its hold limit and may write no more: path, owner, generation, max_hold_s",
    "turn": "one execution of the user's turn: turn_id, run_id, session_id, message, resumed; "
    "ok: stop_reason; fail: error",
    "model.call": "one provider call: call_id, run_id, provider, model, messages; ok: stop_reason; fail: error, reason",
    "model.decision": "a step of the fallback chain: decision, candidate, reason, next, detail",
    "tool": "one tool call: run_id, tool_call_id, name, key, harmless (it may run twice); ok/fail: is_error, "
    "refused (it was not permitted)",
    "append": "one transcript entry reached the disk: path, entry_id, type, role, generation, run_id",
    "append.refused": "a transcript refused a write of an older generation: path, generation, current",
    "provider.request": "the model server saw a request: request_id, model, messages, markers (such as "
    "LJ-1), asks (those of the last question), aside (no part of a turn); ok: sent; "
    "fail: client_gone, after_s",
    "ledger": "an effect found outside the run when it was over: key, count",
    "deliver": "a scripted actor hands a result in: text; ok: entry_id; fail: error",
    "read": "a reader looks at a conversation: path; ok: entries",
    "clean": "a cleaner judged a lock file: path, removed",
    "claim": "a run notes that the session is its own: path, run_id, owner, from; fail: owner has it; info: taken back",
    "database": "a scripted actor writes to a database: path, of (session, store); ok it has begun; info it has ended",
    "maintain": "a scripted actor changed the session's entry in the store: count",
    "stage": "the session as the client finds it: path, entries",
    "rotate": "a conversation moved to a new transcript: path, session_id",
    "session.final": "to which session a key leads at the end: key, session_id",
    "leftover": "something a run left behind: kind (lock, process, temporary), path, pid, alive",
    "next_turn": "the harness asked for another turn when all was over: ok / fail: error",
    "transcript.final": "a transcript as it stands at the end: path, session_id, lines, problems, user_messages, "
    "assistant_texts",
}


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step. ``t`` is nominal seconds since the run began; ``i`` the index in the merged history."""

    t: float
    actor: str
    op: str
    phase: Phase
    data: dict[str, Any] = {}
    i: int = 0


class MemoryRecorder:
    """Keeps records in memory, for tests and for single-process engines."""

    def __init__(self, clock: Clock, actor: str) -> None:
        self._clock, self._actor = clock, actor
        self.records: list[Record] = []

    def record(self, op: str, phase: Phase = "info", /, **data: Any) -> None:
        self.records.append(Record(self._clock.monotonic(), self._actor, op, phase, data))


class FileRecorder:
    """Appends one JSON line per record, unbuffered: a killed actor loses nothing that it had recorded."""

    def __init__(self, path: Path, clock: Clock, actor: str) -> None:
        self._clock, self._actor = clock, actor
        self._encoder = msgspec.json.Encoder()
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def record(self, op: str, phase: Phase = "info", /, **data: Any) -> None:
        record = Record(round(self._clock.monotonic(), 6), self._actor, op, phase, data)
        os.write(self._fd, self._encoder.encode(record) + b"\n")  # one write: O_APPEND keeps lines whole

    def close(self) -> None:
        os.close(self._fd)


_decoder = msgspec.json.Decoder(Record)


def read_records(path: Path) -> list[Record]:
    """The records of one file. A torn last line (its writer was killed in mid-write) is left out."""
    records = []
    for line in path.read_bytes().split(b"\n"):
        if line.strip():
            try:
                records.append(_decoder.decode(line))
            except msgspec.DecodeError:
                continue
    return records


def merge(parts: Iterable[Sequence[Record]]) -> list[Record]:
    """One history from many actors, ordered by time, then actor, then each actor's own order; numbered from 0."""
    tagged = [(r.t, r.actor, n, r) for part in parts for n, r in enumerate(part)]
    tagged.sort(key=lambda item: item[:3])
    return [msgspec.structs.replace(item[3], i=i) for i, item in enumerate(tagged)]


def write_history(path: Path, history: Sequence[Record]) -> None:
    """Write a merged history, one JSON line per record, index included. Raises HarnessError if time falls in it."""
    for before, record in pairwise(history):
        if record.t < before.t:
            raise HarnessError(
                f"time falls in the history, from {before.t} to {record.t} s, at record {record.i}: "
                f"{record.actor} {record.op} {record.phase}"
            )
    encoder = msgspec.json.Encoder()
    path.write_bytes(b"".join(encoder.encode(record) + b"\n" for record in history))


def event_hash(history: Sequence[Record]) -> str:
    """``sha256:...`` over the whole history, in canonical JSON."""
    digest = hashlib.sha256()
    encoder = msgspec.json.Encoder(order="sorted")
    for record in history:
        digest.update(encoder.encode(record) + b"\n")
    return f"sha256:{digest.hexdigest()}"
