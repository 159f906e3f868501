"""One record, one sentence in plain words. Pure; knows no layout.

Durations are nominal, in the units in which the program prints them. Paths of the machine never get into a
sentence: a session is named by its id, any other path below a run's folder begins with ``<state>`` or ``<run>``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

from lockjaw.history import Record
from lockjaw.history.holds import is_session_list

Tone = Literal["plain", "good", "bad", "fault", "lock"]

MAX_ERROR = 70  # characters of an error inside a sentence; reports print the whole of it elsewhere
_UUID = re.compile(r"\b([0-9a-f]{8})(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_WORD = re.compile(r"[^\s\"'()|]+")
_SESSIONS = re.compile(r"/agents/[^/\s]+/sessions\b")
_ROOT = re.compile(r"(?<![\w>])/")
_FOLDER = re.compile(r"<state>/agents/[^/\s]+/sessions/")
_HOME = re.compile(r"(?<![\w>])/(?:home|Users)/[^/\s\"'()|]+|(?<![\w>/])/root(?=/|\b)")


def shorten(text: str, run_dir: str = "") -> str:
    """Replace the machine's folders: ``<state>`` for a state folder, ``<run>`` for the run's, ``~`` for homes."""
    if "/" not in text:
        return text
    if "/agents/" in text:
        text = _WORD.sub(_state_folders, text)
    if run_dir.startswith("/"):
        text = text.replace(f"{run_dir}/state", "<state>").replace(run_dir, "<run>")
    return _HOME.sub("~", text)


def _state_folders(word: re.Match[str]) -> str:
    """Each ``/a/b`` before ``/agents/<id>/sessions`` of one word becomes ``<state>``. In steps of ``search``, because
    one pattern for all of it takes quadratic time on a megabyte of slashes, and a model may answer with that."""
    text, done, at = word.group(), "", 0
    while root := _ROOT.search(text, at):
        sessions = _SESSIONS.search(text, root.end())
        if sessions is None:
            break
        done += f"{text[at : root.start()]}<state>{sessions.group()}"
        at = sessions.end()
    return done + text[at:]


def session_of(path: object) -> str:
    """``9e051a52`` of ``.../sessions/9e051a52-<the rest of a UUID>.jsonl.lock``; the name of any other file."""
    name = str(path or "").rpartition("/")[2].removesuffix(".lock").removesuffix(".jsonl").removesuffix(".sqlite")
    name = _UUID.sub(r"\1", name)
    return name if len(name) <= 30 else f"{name[:16]}...{name[-8:]}"


def condensed(error: str) -> str:
    """An error as a person reads it once: ids cut to 8 characters, sessions named without their folder, and a reason
    that several models share said for the first of them."""
    parts = _FOLDER.sub("", _UUID.sub(r"\1", error)).split(" | ")
    said = parts[0]
    for n, part in enumerate(parts[1:], 1):
        model, colon, reason = part.partition(": ")
        if colon and said.endswith(f": {reason}"):
            parts[n] = f"{model}: the same"
        else:
            said = part
    return " | ".join(parts)


def times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def tone_of(record: Record) -> Tone:
    """What a reader should see at a glance."""
    op, phase = record.op, record.phase
    if op in ("nemesis", "held_up"):
        return "fault"
    if op in ("lock", "lock.release", "lock.fence") and phase != "fail":
        return "lock"
    if op == "client.result":
        return "good" if record.data.get("answered") else "bad"
    if op in ("append.refused", "lock.lost", "lock.limit", "leftover") or phase == "fail":
        return "bad"
    if op == "actor.exit" and record.data.get("code") not in (0, None):
        return "bad"
    return "plain"


def sentence(record: Record) -> str:
    """What happened, for a reader who does not know the code. The actor stands in a column of its own."""
    teller = _TELLERS.get(record.op)
    text = teller(record, _Data(record.data)) if teller else f"{record.op} {record.phase}"
    return " ".join(shorten(text).split())


class _Data:
    """Reads a record's data without failing on what is missing."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    def __call__(self, key: str, default: str = "?") -> str:
        value = self._data.get(key)
        return default if value is None or value == "" else str(value)

    def number(self, key: str) -> float:
        value = self._data.get(key)
        return float(value) if isinstance(value, int | float) else 0.0

    def flag(self, key: str) -> bool:
        return bool(self._data.get(key))

    def first_line(self, key: str) -> str:
        """Cut to what a sentence can bear."""
        line = _UUID.sub(r"\1", shorten(self(key, "").partition("\n")[0]))
        return line if len(line) <= MAX_ERROR else f"{line[:MAX_ERROR].rstrip()}..."


_Teller = Callable[[Record, _Data], str]


def _call(record: Record, d: _Data) -> str:
    method = d("method", "agent")
    if method == "own":
        return _own_turn(record, d)
    if record.phase == "invoke":
        limit = f"; waits at most {d('timeout_ms')} ms" if d("timeout_ms", "") else ""
        return ("asks the gateway" if method in ("agent", "chat.send") else f"asks the gateway: {method}") + limit
    if record.phase == "info":
        return "stops waiting for the gateway: interrupted"
    if record.phase == "ok":
        status = d("status", "ok")
        return f"gets the gateway's answer to {method}" + ("" if status == "ok" else f" (status {status})")
    if d("kind") == "timeout":
        return f"stops waiting after {d('timeout_ms')} ms; the gateway works on"
    if d("kind") == "closed":
        return f"loses the connection to the gateway ({d('code', 'no code')})"
    return f"is refused by the gateway: {d.first_line('error') or 'no reason'}"


def _own_turn(record: Record, d: _Data) -> str:
    """The user of somebody else's program falls back to a process that runs the turn itself."""
    if record.phase == "invoke":
        return "runs the turn in a process of its own"
    if record.phase == "ok":
        return "the turn of its own ends well"
    if d("kind") == "timeout":
        return f"gives up on the turn of its own after {d('timeout_ms')} ms"
    return f"the turn of its own fails: {d.first_line('error') or 'no reason'}"


def _result(record: Record, d: _Data) -> str:
    doubt = ", and a second answer is possible" if d.flag("duplicate_possible") else ""
    if d.flag("answered"):
        source = "the fallback" if d("transport", "gateway") == "embedded" else "the gateway"
        return f"gives the user an answer from {source}{doubt} (exit code {d('exit_code')})"
    error = d.first_line("error") or d.first_line("reply")
    return f"gives the user NO answer (exit code {d('exit_code')})" + (f": {error}" if error else "")


#: A step of the fallback -> what it does, in a sentence and on a flag.
FALLBACK_STEPS = {
    "ask": ("asks the gateway what became of the run", "asks about the run"),
    "stop": ("asks the gateway to stop the run", "stops the run"),
    "wait": ("waits for the session lock", "waits for the lock"),
    "continue": ("continues the same turn", "continues the turn"),
    "reclaim": ("takes over the lock file of a dead owner", "reclaims the dead owner's lock"),
    "fence": ("fences the holder: its later writes will be refused", "fences the holder"),
    "fork": ("continues in a copy of the conversation", "forks the session"),
    "rerun": ("falls back: runs the turn itself", "FALLBACK: reruns the turn itself"),
    "give_up": ("gives up", "gives up"),
}


def _fallback(record: Record, d: _Data) -> str:
    step, detail = d("step"), d.first_line("detail")
    text, _ = FALLBACK_STEPS.get(step, (step, step))
    return text if not detail or text.endswith(detail) else f"{text} ({detail})"


def _lock(record: Record, d: _Data) -> str:
    lock, short = f"the lock of session {session_of(record.data.get('path'))}", "the lock"
    if is_session_list(record.data.get("path")):
        lock = short = "the lock of the session list"
    if record.phase == "invoke":
        limit = f" (waits at most {d.number('timeout_s'):g} s)" if d.number("timeout_s") else ""
        return f"asks for {lock}{limit}"
    waited = f" after {d.number('waited_s'):.1f} s" if d.number("waited_s") >= 0.05 else ""
    if record.phase == "ok":
        pid = f" (pid {d('pid')})" if d("pid", "") else ""
        got = f"takes over a dead owner's {lock.removeprefix('the ')}" if d.flag("reclaimed") else f"gets {lock}"
        return f"{got}{pid}{waited}" + (f", generation {d('generation')}" if d.number("generation") else "")
    in_time = waited.replace(" after ", " in ")
    return f"does NOT get {short}{in_time}; {d('owner', 'another process')} has it"


def _model_call(record: Record, d: _Data) -> str:
    if record.phase == "invoke":
        return f"asks model {d('provider', '')}/{d('model')}".replace(" /", " ")
    if record.phase == "ok":
        return {"toolUse": "gets a tool call from the model"}.get(d("stop_reason"), "gets the model's answer")
    return f"gets no answer from the model: {d.first_line('error') or 'no reason'} ({d('reason', 'unknown')})"


def _decision(record: Record, d: _Data) -> str:
    then = "; none left" if d("next", "none") == "none" else ""
    if d("decision") == "candidate_succeeded":
        return f"has its answer from {d('candidate')}"
    if d("decision") == "chain_stopped":
        return f"stops the chain of models at {d('candidate')} ({d('reason', 'unknown')})"
    verb = {"candidate_failed": "counts {} as failed", "skip_candidate": "skips {}"}.get(d("decision"), "{}")
    return f"{verb.format(d('candidate'))} ({d('reason', 'unknown')}){then}"


def _exit(record: Record, d: _Data) -> str:
    code = record.data.get("code")
    how = f"was killed by signal {-code}" if isinstance(code, int) and code < 0 else f"ends with exit code {d('code')}"
    return f"process {d('pid', '')} {how}".replace("  ", " ")


def _times(record: Record) -> str:
    count = record.data.get("count")
    return times(count) if isinstance(count, int) else "? times"


def _nemesis(record: Record, d: _Data) -> str:
    """A fault says itself what it does."""
    bare = f"{d('action')} {d('target')}"  # of a run that was kept before faults did
    return f"FAULT: {d('says', bare)}"


def _held_up(record: Record, d: _Data) -> str:
    return f"FAULT: the {d('target')} stood still for {d('for_s')} s at {d('at')}"


def _turn(record: Record, d: _Data) -> str:
    if record.phase == "invoke":
        verb = "continues" if d.flag("resumed") else "begins"
        return f"{verb} the turn in session {session_of(record.data.get('session_id'))}"
    if record.phase == "ok":
        return "finishes the turn"
    error = d.first_line("error")
    return "ends the turn without an answer" + (f": {error}" if error else "")


def _tool(record: Record, d: _Data) -> str:
    if record.phase == "invoke":
        return f"runs the tool {d('name')}"
    if d.flag("refused"):
        return f"is not permitted to run the tool {d('name')}"
    return "gets an error from the tool" if d.flag("is_error") or record.phase == "fail" else "gets the tool's result"


def _provider(record: Record, d: _Data) -> str:
    if record.phase == "invoke":
        return f"get a request for {d('model')}"
    return "have sent the whole answer" if record.phase == "ok" else f"find the caller gone after {d('after_s')} s"


def _deliver(record: Record, d: _Data) -> str:
    text = f'"{d.first_line("text") or "a result"}"'
    if record.phase == "invoke":
        return f"hands in {text}"
    if record.phase == "fail":
        return f"cannot hand in {text}: {d.first_line('error') or 'no reason'}"
    return f"has handed in {text}" if record.phase == "ok" else f"may have handed in {text}"


def _claim(r: Record, d: _Data) -> str:
    session = session_of(r.data.get("path"))
    if r.phase == "fail":
        return f"is refused: run {session_of(d('owner'))} has a claim on session {session}"
    if r.phase == "info":
        return f"takes back its claim on session {session}"
    before = f", over that of run {session_of(d('from'))}" if d("from") else ""
    return f"claims session {session} for its run{before}"


def _database(r: Record, d: _Data) -> str:
    whose = "the session list" if d("of") == "store" else f"session {session_of(r.data.get('path'))}"
    if r.phase == "invoke":
        return f"wants to write to the database of {whose}"
    return f"{'begins to write' if r.phase == 'ok' else 'has written'} to the database of {whose}"


def _read(record: Record, d: _Data) -> str:
    if record.phase == "ok":
        return f"sees {d('entries', '0')} entries in session {session_of(record.data.get('path'))}"
    verb = {"invoke": "reads", "fail": "cannot read"}.get(record.phase, "was reading")
    return f"{verb} session {session_of(record.data.get('path'))}"


_TELLERS: dict[str, _Teller] = {
    "run.start": lambda r, d: f"scenario {d('scenario')}, policy {d('policy')}, seed {d('seed')}",
    "run.end": lambda r, d: f"ends the run: {d('reason', 'done')}",
    "actor.ready": lambda r, d: f"is ready (pid {d('pid')})",
    "actor.exit": _exit,
    "nemesis": _nemesis,
    "held_up": _held_up,
    "client.call": _call,
    "client.stderr": lambda r, d: f"prints: {d.first_line('line')}",
    "client.result": _result,
    "fallback": _fallback,
    "gateway.accepted": lambda r, d: f"accepts the run, session {session_of(r.data.get('session_id'))}",
    "gateway.final": lambda r, d: f"has the final answer of its run (status {d('status', 'ok')})",
    "gateway.abort": lambda r, d: f"stops its run ({d('origin', 'rpc')})",
    "lane.wait": lambda r, d: f"puts the run into the queue of lane {d('lane')}",
    "lock": _lock,
    "lock.release": lambda r, d: f"gives back the lock of session {session_of(r.data.get('path'))}",
    "lock.fence": lambda r, d: (
        "cannot fence the holder"
        if r.phase == "fail"
        else f"raises the generation to {d('generation')}: the old holder can no longer write"
    ),
    "lock.lost": lambda r, d: f"notices that it has lost the lock of session {session_of(r.data.get('path'))}",
    "lock.limit": lambda r, d: (
        f"is stopped: it kept the lock of session {session_of(r.data.get('path'))} longer than {d('max_hold_s')} s"
    ),
    "turn": _turn,
    "model.call": _model_call,
    "model.decision": _decision,
    "tool": _tool,
    "append": lambda r, d: f"writes to session {session_of(r.data.get('path'))}: {d('role', d('type', 'entry'))}",
    "append.refused": lambda r, d: f"may not write: its generation {d('generation')} is older than {d('current')}",
    "provider.request": _provider,
    "ledger": lambda r, d: f"finds the effect {d('key')} {_times(r)}",
    "leftover": lambda r, d: f"finds a {d('kind', 'file')} left behind: {session_of(r.data.get('path'))}",
    "next_turn": lambda r, d: (
        "tries another turn" + {"ok": ": it works", "fail": f": {d.first_line('error')}"}.get(r.phase, "")
    ),
    "stage": lambda r, d: (
        f"session {session_of(r.data.get('path'))} has {d('entries', '0')} entries when the client starts"
    ),
    "deliver": _deliver,
    "read": _read,
    "clean": lambda r, d: (
        f"{'REMOVES' if d.flag('removed') else 'examines and leaves'} the lock file of session "
        f"{session_of(r.data.get('path'))}"
    ),
    "claim": _claim,
    "database": _database,
    "maintain": lambda r, d: f"changes the session's entry in the session list {_times(r)}",
    "rotate": lambda r, d: f"moves the conversation to the new session {session_of(r.data.get('session_id'))}",
    "session.final": lambda r, d: (
        f"finds that the key {d('key')} leads to session {session_of(r.data.get('session_id'))}"
    ),
    "transcript.final": lambda r, d: (
        f"reads session {session_of(r.data.get('session_id') or r.data.get('path'))}: {d('lines', '0')} lines"
    ),
}
