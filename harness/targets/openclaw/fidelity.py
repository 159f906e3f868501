"""How well a built-in policy models the version that it is named after: two histories of one scenario, side by side.

Pure. Three questions: do the same things happen in the same order, does each take as long (within 10 %), does the
client print the same error lines once ids, pids and paths are replaced. Differences are rows of the table like
everything else; a difference that has a known cause names it, any other is marked as unexplained.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from lockjaw.history import Record
from lockjaw.history.holds import Holders, is_session_lock

TOLERANCE = 0.10

_NORMAL = (
    (re.compile(r"pid=\d+(?: alive=\w+ ageMs=\d+)?"), "pid=N"),
    (re.compile(r"durationMs=\d+"), "durationMs=N"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<id>"),
    (re.compile(r"ws://127\.0\.0\.1:\d+"), "ws://127.0.0.1:N"),
    (re.compile(r"/\S+?/state/"), "<state>/"),
)

#: Interval -> why it is another one on the real program. These steps are the program's own work on this machine; the
#: built-in policies take the scenario's `pacing` for them, which was measured once on another machine.
_OWN_WORK = "the real program's own work on this machine; the model has the scenario's fixed pacing"
_FURTHER = "the client's own work took another time, so the gateway got further, or less far, before the user's end"
_NO_LOCKS = "this version keeps sessions in a database; the model has its lock where the database would be"
_EXPLAINED = {
    "client does not get the lock: how long": "the real program tells the time of the whole attempt, its set-up "
    "included; the wait itself is 10.5 s",
    "gateway gives up a model: how long": "the gateway of 2026.5.7 ends a run that has no client any more about 175 s "
    "after it began, at its next sweep; the model does not",
    "client gives up a model -> client has the lock": _OWN_WORK,
    "client asks the gateway -> client is answered": "the sum of the rows above",
    "client asks the gateway -> the user has no answer": "the sum of the rows above",
    "client gives up -> the user has no answer": "the sum of the rows above",
    "client gives up -> the user has an answer": "the sum of the rows above",
    "accepted -> gateway has the lock": _OWN_WORK,
    "gateway has the lock -> gateway asks": _OWN_WORK,
    "gateway gives up a model -> gateway asks": _OWN_WORK,
    "gateway gives up a model -> gateway has the lock": _OWN_WORK,
    "client gives up -> falls back": _OWN_WORK,
    "falls back -> client has the lock": _OWN_WORK,
    "client has the lock -> client asks": _OWN_WORK,
    "client gives up a model -> client asks": _OWN_WORK,
    "falls back -> client asks": _OWN_WORK,
    "client asks the gateway -> accepted": _OWN_WORK,
    "falls back -> client does not get the lock": _OWN_WORK + "; the wait itself is a row of its own",
}


@dataclass(frozen=True)
class Row:
    """One comparison. ``same``: equal or near enough; ``why``: explanation of a difference, empty if there is none."""

    what: str
    real: str
    model: str
    same: bool
    why: str = ""

    @property
    def unexplained(self) -> bool:
        return not self.same and not self.why


@dataclass(frozen=True)
class Fidelity:
    """The table for one version and one policy."""

    real: str
    model: str
    rows: tuple[Row, ...]

    @property
    def unexplained(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.unexplained)

    def markdown(self) -> str:
        """A Markdown table."""
        head = [f"| | {self.real} | built-in `{self.model}` | |", "|---|---|---|---|"]
        return "\n".join([*head, *(f"| {r.what} | {r.real} | {r.model} | {_sign(r)} |" for r in self.rows)]) + "\n"


def compare(real_name: str, real: Sequence[Record], model_name: str, model: Sequence[Record]) -> Fidelity:
    """Compare what happened from the client's call to its result."""
    theirs, ours = steps(real), steps(model)
    rows = [*_order(theirs, ours), *_durations(theirs, ours), *_lines(real, model)]
    return Fidelity(real_name, model_name, tuple(rows))


@dataclass(frozen=True)
class Step:
    """One event that both kinds of history show. ``took_s``: of a step that has a duration of its own."""

    name: str
    t: float
    detail: str = ""
    took_s: float | None = None
    actor: str = "client"
    held_by: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.detail}".strip()


def steps(history: Sequence[Record]) -> list[Step]:
    """The events of the incident, from the client's call to its result."""
    found: list[Step] = []
    asked: dict[str, tuple[str, float]] = {}
    holders = Holders()
    for r in history:
        before = sorted({hold.actor for hold in holders.standing() if is_session_lock(hold.path) and not hold.dead})
        holders.see(r)
        told = _told_by(r, asked)
        if told is not None:
            actor = r.actor if r.actor != "harness" else "client"
            name, detail, took_s = told
            found.append(Step(name, r.t, detail, took_s, actor, "+".join(before)))
            if r.op == "client.result":
                break
    return found


def _told_by(r: Record, asked: dict[str, tuple[str, float]]) -> tuple[str, str, float | None] | None:
    """Name, detail and duration of the step that a record tells of."""
    d, call = r.data, str(r.data.get("call_id"))
    session = r.op == "lock" and is_session_lock(d.get("path"))
    match (r.op, r.phase):
        case ("client.call", phase) if d.get("method") == "agent":
            name = {"invoke": "client asks the gateway", "ok": "client is answered"}.get(phase, "client gives up")
            error = f"after {d.get('timeout_ms')} ms" if d.get("kind") == "timeout" else str(d.get("kind") or "")
            return name, "" if phase == "invoke" else error, None
        case ("gateway.accepted", _):
            return "accepted", "", None
        case ("lock", "ok") if session:
            return f"{r.actor} has the lock", "", None
        case ("lock", "fail") if session:
            return f"{r.actor} does not get the lock", "", float(d.get("waited_s") or 0)
        case ("model.call", "invoke"):
            asked[call] = (str(d.get("model")), r.t)
            return f"{r.actor} asks", str(d.get("model")), None
        case ("model.call", phase) if call in asked:
            model, began = asked[call]
            done = "has an answer from a model" if phase == "ok" else "gives up a model"
            return f"{r.actor} {done}", model, r.t - began
        case ("fallback", _):
            return ("falls back" if d.get("step") == "rerun" else str(d.get("step"))), "", None
        case ("model.decision", _) if r.actor == "client":
            following = d.get("next") if d.get("next") not in (None, "none") else "no other model"
            return "client goes on to", f"{following} ({d.get('reason')})", None
        case ("client.result", _):
            return "the user has an answer" if d.get("answered") else "the user has no answer", "", None
    return None


def _order(theirs: Sequence[Step], ours: Sequence[Step]) -> list[Row]:
    """The events of each actor in their order, and who held a session lock at each event of the client's."""
    rows = []
    for actor in ("client", "gateway"):
        a, b = ([str(s) for s in found if s.actor == actor] for found in (theirs, ours))
        short = min(len(a), len(b))
        prefix = actor == "gateway" and a != b and a[:short] == b[:short]
        why = _FURTHER if prefix else _database(a, b)
        rows.append(_row(f"order of the {actor}'s events", a, b, why))
    a, b = ([f"{s.name}: {s.held_by or 'nobody'}" for s in found if s.actor == "client"] for found in (theirs, ours))
    further = prefix and len(a) == len(b)
    if further and all(x == y or there for x, y, there in zip(a, b, _elsewhere(theirs, ours), strict=True)):
        why = _FURTHER
    else:
        why = _database(_names(theirs), _names(ours))
    rows.append(_row("who holds the lock at each of the client's events", a, b, why))
    return rows


def _row(what: str, theirs: Sequence[str], ours: Sequence[str], why: str) -> Row:
    same = theirs == ours
    return Row(what, _told(theirs, ours), _told(ours, theirs), same, "" if same else why)


def _elsewhere(theirs: Sequence[Step], ours: Sequence[Step]) -> list[bool]:
    """At each of the client's events: was one of the two gateways further in its events than the other?"""
    done: list[list[int]] = []
    for found in (theirs, ours):
        gateway = list(accumulate(step.actor == "gateway" for step in found))
        done.append([count for count, step in zip(gateway, found, strict=True) if step.actor == "client"])
    return [a != b for a, b in zip(*done, strict=True)]


def _names(found: Sequence[Step]) -> list[str]:
    return [str(s) for s in found if s.actor == "gateway"]


def _database(theirs: Sequence[str], ours: Sequence[str]) -> str:
    """The reason, if all that differs is that one of the two shows no locks."""
    locks = [[name for name in names if "the lock" in name] for names in (theirs, ours)]
    rest = [[name for name in names if "the lock" not in name] for names in (theirs, ours)]
    return _NO_LOCKS if rest[0] == rest[1] and not locks[0] and locks[1] else ""


def _told(these: Sequence[str], others: Sequence[str]) -> str:
    """How many, and which are only here."""
    alone = [line[2:] for line in difflib.ndiff(list(others), list(these)) if line[0] == "+"]
    return f"{len(these)} events" + (f"; only here: {'; '.join(alone)}" if alone else "")


def _durations(theirs: Sequence[Step], ours: Sequence[Step]) -> list[Row]:
    rows = []
    for what, a, b in _pairs(theirs, ours):
        near = abs(a - b) <= max(TOLERANCE * max(a, b), 0.1)
        why = "" if near else _EXPLAINED.get(re.sub(r" \d+$", "", what), "")
        rows.append(Row(what, f"{a:.2f} s", f"{b:.2f} s", near, why))
    return rows


def _pairs(theirs: Sequence[Step], ours: Sequence[Step]) -> list[tuple[str, float, float]]:
    """Intervals that both have: steps with a duration, the phases of the client's call, and what lies between."""
    found: list[tuple[str, float, float]] = []
    both = (_measured(theirs), _measured(ours))
    for name in both[0]:
        if name in both[1]:
            found.append((name, both[0][name], both[1][name]))
    return found


def _measured(steps: Sequence[Step]) -> dict[str, float]:
    found: dict[str, float] = {}

    def add(name: str, value: float) -> None:
        number = sum(1 for key in found if re.sub(r" \d+$", "", key) == name) + 1
        found[name if number == 1 else f"{name} {number}"] = value

    last: dict[str, Step] = {}
    for step in steps:
        if step.took_s is not None:
            add(f"{step.name}: how long", step.took_s)
        for before in _BEFORE.get(step.name, ()):
            if before in last:
                add(f"{before} -> {step.name}", step.t - last[before].t)
                break
        last[step.name] = step
    return found


#: Step -> the steps that it follows upon, of which the first that has happened counts.
_BEFORE = {
    "accepted": ("client asks the gateway",),
    "client gives up": ("client asks the gateway",),
    "client is answered": ("client asks the gateway",),
    "falls back": ("client gives up",),
    "gateway has the lock": ("gateway gives up a model", "accepted"),
    "gateway asks": ("gateway has the lock", "gateway gives up a model"),
    "client has the lock": ("client gives up a model", "falls back"),
    "client asks": ("client has the lock", "falls back"),
    "the user has no answer": ("client gives up", "client asks the gateway"),
    "the user has an answer": ("client gives up", "client asks the gateway"),
}


def _lines(real: Sequence[Record], model: Sequence[Record]) -> list[Row]:
    a, b = error_lines(real), error_lines(model)
    if a == b:
        return [Row("lines that the client printed", f"{len(a)}", "the same", True)]
    rows = [Row("lines that the client printed", f"{len(a)}", f"{len(b)}", False, "see the next rows")]
    for line in difflib.ndiff(a, b):
        if line[0] in "+-":
            cut = line[2:] if len(line) < 220 else f"{line[2:200]} ..."
            rows.append(
                Row("a line", cut if line[0] == "-" else "", cut if line[0] == "+" else "", False, _why_line(line[2:]))
            )
    return rows


def _why_line(line: str) -> str:
    if line.startswith("Config: "):
        return "the path of the run's folder"
    return ""


def error_lines(history: Sequence[Record]) -> list[str]:
    """What the client printed to stderr, normalised."""
    return [normalised(str(r.data.get("line", ""))) for r in history if r.op == "client.stderr" and r.data.get("line")]


def normalised(text: str) -> str:
    """Without what is another value in each run. The digits 429 anywhere in a lock error make it a rate limit in
    2026.4.8, and so in its model: the incident is the same."""
    if "429" in text:
        text = text.replace("(rate_limit)", "(timeout)").replace("reason=rate_limit", "reason=timeout")
    for pattern, replacement in _NORMAL:
        text = pattern.sub(replacement, text)
    return text.strip()


def _sign(row: Row) -> str:
    return "same" if row.same else row.why or "DIFFERS"
