"""What every report shows, worked out once: verdicts in words, timeline, table policy x check. Pure.

Knows runs (``lockjaw.history.run``); no terminal, file or markup. The text,
Markdown and JUnit reports only lay out what stands here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from lockjaw.history import Record
from lockjaw.history.holds import acquires, holds, is_session_list, is_session_lock
from lockjaw.history.ordered import numbered
from lockjaw.history.run import Outcome, Reached, Run
from lockjaw.verdict import CheckResult, Verdict, combine

from .lockband import FREE, lock_band
from .sentences import Tone, sentence, shorten, times, tone_of

#: Verdict -> (symbol, word): the symbol alone must be enough without colour, and the word without the symbol.
MARKS: dict[Verdict, tuple[str, str]] = {
    Verdict.HELD: ("+", "HELD"),
    Verdict.VIOLATED: ("X", "VIOLATED"),
    Verdict.UNKNOWN: ("?", "UNKNOWN"),
}

#: ops that never get into a person's timeline unless a checker points at them.
_QUIET = frozenset({
    "run.start", "run.end", "actor.ready", "provider.request", "client.stderr", "lane.wait", "ledger",
    "transcript.final", "session.final", "stage",
})  # fmt: skip
#: op -> how much a reader of a dozen lines needs it; what is not named: 1.
_WEIGHT = {
    "nemesis": 9, "held_up": 9, "client.result": 9, "client.call": 8, "fallback": 7, "lock.fence": 7, "lock": 6,
    "append.refused": 6, "lock.lost": 6, "lock.limit": 6, "turn": 5, "gateway.abort": 5, "lock.release": 3,
    "leftover": 5,
    "model.decision": 4, "tool": 6, "model.call": 3, "gateway.accepted": 3, "gateway.final": 3, "actor.exit": 4,
    "next_turn": 6,
}  # fmt: skip
_WITNESS = 100
#: The frame of the story: without these a row of witnesses hangs in the air.
_FRAME = frozenset({"nemesis", "client.call", "client.result", "fallback", "lock.fence"})
AT_ONCE_S = 0.05  # what "waited 0.0 s" rounds away


DANGER = "danger_reached"


class Row(msgspec.Struct, frozen=True):
    """One line of a timeline. ``at_s`` counts from the client's start; ``lock`` who held a session lock then.

    ``count`` > 1: so many like it in a row, until ``until_s``. ``witness``: a checker points at it. ``again``: the
    last holder of a lock takes it once more.
    """

    at_s: float
    actor: str
    text: str
    lock: str
    tone: Tone
    index: int
    op: str
    witness: bool = False
    count: int = 1
    until_s: float = 0.0
    again: bool = False

    @property
    def told(self) -> str:
        """What happened, and how often in a row."""
        return self.text + (f" ({self.count} times, until {self.until_s:.1f} s)" if self.count > 1 else "")

    @property
    def weight(self) -> int:
        if self.again and not self.witness:
            return 2
        return _WEIGHT.get(self.op, 1) + (_WITNESS if self.witness or self.op in _FRAME else 0)


class RunView(msgspec.Struct, frozen=True):
    """One run, ready to be laid out. ``headline`` says in words what the user got and what went wrong.

    ``errors``: who saw which error; ``the user``, or with several clients each by its name.
    """

    scenario: str
    policy: str
    engine: str
    target: str
    seed: int
    verdict: Verdict
    headline: str
    checks: tuple[CheckResult, ...]
    rows: tuple[Row, ...]
    nominal_s: float
    wall_s: float
    replay: str
    run_dir: str
    errors: tuple[tuple[str, str], ...] = ()
    story: str = ""

    @property
    def findings(self) -> tuple[CheckResult, ...]:
        """The checks, violated laws first and those that held last."""
        order = (Verdict.VIOLATED, Verdict.UNKNOWN, Verdict.HELD)
        return tuple(sorted(self.checks, key=lambda check: order.index(check.verdict)))

    @property
    def title(self) -> str:
        return f"{self.policy} ({self.engine}, seed {self.seed})"


class Cell(msgspec.Struct, frozen=True):
    """Policy x check: the combined verdict of ``total`` runs, of which ``like`` say it. None: not checked."""

    verdict: Verdict | None
    like: int = 0
    total: int = 0


class ScenarioView(msgspec.Struct, frozen=True):
    """All runs of one scenario, and the table policy x check over them."""

    name: str
    verdict: Verdict
    runs: tuple[RunView, ...]
    policies: tuple[str, ...]
    checks: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]

    def policy_verdict(self, policy: str) -> Verdict:
        return combine(run.verdict for run in self.runs if run.policy == policy)

    @property
    def story(self) -> str:
        """What the scenario is about; empty if no run says."""
        return next((run.story for run in self.runs if run.story), "")


def view(runs: Iterable[Run]) -> tuple[ScenarioView, ...]:
    """One view per scenario, in the order of the first run of each."""
    views = [run_view(run) for run in runs]
    names = dict.fromkeys(run.scenario for run in views)
    return tuple(_scenario_view(name, tuple(r for r in views if r.scenario == name)) for name in names)


def _scenario_view(name: str, runs: tuple[RunView, ...]) -> ScenarioView:
    policies = tuple(dict.fromkeys(run.policy for run in runs))
    checks = tuple(dict.fromkeys(check.name for run in runs for check in run.checks))
    cells = {}
    for policy in policies:
        for check in checks:
            found = [c.verdict for run in runs if run.policy == policy for c in run.checks if c.name == check]
            if found:
                verdict = combine(found)
                cells[policy, check] = Cell(verdict, found.count(verdict), len(found))
            else:
                cells[policy, check] = Cell(None)
    return ScenarioView(name, combine(run.verdict for run in runs), runs, policies, checks, cells)


def run_view(run: Run) -> RunView:
    """A run as a person reads it."""
    told = (replace(check, finding=shorten(check.finding, run.folder)) for check in run.checks)
    checks = (*_danger(run.reached), *told)
    witness = {i for check in checks if check.verdict is Verdict.VIOLATED for i in check.witness}
    errors = _errors(run.outcome)
    return RunView(
        scenario=run.scenario,
        policy=run.policy,
        engine=run.engine,
        target=run.target,
        seed=run.seed,
        verdict=run.verdict,
        headline=headline(run.outcome),
        checks=checks,
        rows=timeline(run.history, witness, shown_elsewhere=[error for _, error in errors]),
        nominal_s=run.nominal_s,
        wall_s=run.wall_s,
        replay=run.replay,
        run_dir=run.folder,
        errors=tuple((who, shorten(error, run.folder)) for who, error in errors),
        story=run.story,
    )


def _danger(conditions: Sequence[Reached]) -> tuple[CheckResult, ...]:
    """What the scenario says must have happened at least once, as a row of its own: unmet, nothing was proved."""
    if not conditions:
        return ()
    unmet = [condition.says for condition in conditions if not condition.met]
    if unmet:
        return (CheckResult(DANGER, Verdict.UNKNOWN, f"never happened: {'; '.join(unmet)}"),)
    return (CheckResult(DANGER, Verdict.HELD, "the run reached the danger"),)


def headline(outcome: Outcome) -> str:
    """What the user got, and at what price, in one sentence."""
    parts = _answers(outcome)
    locked, ran = outcome.session_locked_errors, outcome.turn_executions
    if locked:
        parts.append(f"the fallback found the session locked {times(locked)}")
    if ran != 1 and (ran or not outcome.provider_calls):
        parts.append("the turn was not executed" if not ran else f"the turn was executed {times(ran)}")
    if outcome.sessions > 1:
        parts.append(f"the conversation is spread over {outcome.sessions} sessions")
    if outcome.duplicate_possible:
        parts.append("a second answer is possible, and the result says so")
    calls = outcome.provider_calls
    parts.append(f"{calls} provider call{'' if calls == 1 else 's'}")
    return "; ".join(parts)


def _answers(outcome: Outcome) -> list[str]:
    if not outcome.several:
        return ["the user got an answer" if outcome.answered else "the user got NO answer"]
    got = [one.name for one in outcome.clients if one.answered]
    gone = [one.name for one in outcome.clients if not one.answered and one.ended_by_fault]
    without = [one.name for one in outcome.clients if not one.answered and not one.ended_by_fault]
    said = ((got, "got an answer"), (without, "got NO answer"), (gone, "was ended by a fault"))
    told = ", ".join(f"{_some(names)} {what}" for names, what in said if names)
    return [f"of {len(outcome.clients)} clients, {told}"]


def _some(names: Sequence[str], limit: int = 3) -> str:
    """A few names, and how many more."""
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else " and ".join(shown.rsplit(", ", 1))


def _errors(outcome: Outcome) -> list[tuple[str, str]]:
    """Who saw which error. A run that was kept by an older Lockjaw does not know its clients."""
    if outcome.several:
        return [(one.name, one.error) for one in outcome.clients if one.error]
    return [("the user", outcome.error)] if outcome.error else []


# --------------------------------------------------------------------------- the timeline


def timeline(
    history: Sequence[Record], witness: Iterable[int] = (), *, shown_elsewhere: Sequence[str] = ()
) -> tuple[Row, ...]:
    """Every step that a person may want to read, repetitions collapsed; time counts from the client's start.

    ``shown_elsewhere``: the errors that users saw, which every report prints whole; no step repeats them.
    """
    pointed, shown = set(witness), {error.strip() for error in shown_elsewhere}
    begun = client_start(history)
    rows = []
    ordered = numbered(history)
    at_once = {a.start.i for a in acquires(ordered) if a.outcome == "ok" and a.end_s - a.start.t < AT_ONCE_S}
    again = _taken_again(ordered)
    for at, (record, lock) in enumerate(zip(history, lock_band(ordered), strict=True)):
        quiet = record.op in _QUIET or at in at_once or _small_step(record)
        other = record.op == "actor.exit" and record.data.get("role") not in (None, "client", "gateway")
        if (quiet or other) and record.i not in pointed:
            continue
        text, at_s = sentence(_with_owner(_said_once(record, shown), lock)), _since(begun, record.t)
        hit = record.i in pointed
        rows.append(
            Row(
                at_s,
                subject_of(record),
                text,
                lock,
                tone_of(record),
                record.i,
                record.op,
                hit,
                until_s=at_s,
                again=at in again,
            )
        )
    return tuple(_collapse(rows))


def client_start(history: Sequence[Record]) -> float:
    """The instant from which reports count time: when the client begins; of a run without one, second 0."""
    return next((record.t for record in history if record.op.startswith("client.")), 0.0)


def subject_of(record: Record) -> str:
    """Whose step it is: what the harness notes about an actor's process is that actor's."""
    noted = record.op in ("actor.ready", "actor.exit")
    return str(record.data.get("actor") or record.actor) if noted else record.actor


def _since(begun: float, at: float) -> float:
    """Seconds from the client's start; what rounds to -0.0 is the start itself."""
    return 0.0 if -AT_ONCE_S < at - begun < 0 else at - begun


def _with_owner(record: Record, lock: str) -> Record:
    """A waiter knows its lock's owner by a pid at most; the reader knows it by the name in the lock column."""
    failed = (record.op, record.phase) == ("lock", "fail") and is_session_lock(record.data.get("path"))
    if not failed or lock == FREE or "+" in lock:  # with two locks held, which of them is this one's is not said
        return record
    return msgspec.structs.replace(record, data={**record.data, "owner": lock})


def _said_once(record: Record, shown_elsewhere: set[str]) -> Record:
    error = record.data.get("error")
    if record.op in ("turn", "client.result") and error and str(error).strip() in shown_elsewhere:
        return msgspec.structs.replace(record, data={**record.data, "error": None, "reply": None})
    return record


def _small_step(record: Record) -> bool:
    """Ends that the next line tells anyway or that are as they should be, and locks of the session list."""
    if record.op == "actor.exit" and (record.data.get("code") == 0 or record.data.get("role") == "client"):
        return True  # what the client's exit code means stands in its result
    if is_session_list(record.data.get("path")):
        return True
    return (record.op, record.phase) in {
        ("tool", "ok"), ("next_turn", "invoke"), ("next_turn", "ok"), ("nemesis", "invoke"), ("lock.release", "invoke"),
    }  # fmt: skip


def _taken_again(history: Sequence[Record]) -> set[int]:
    """Grants to the owner that had the lock last: to a person the second one is no news."""
    last: dict[str, str] = {}
    found = set()
    for hold in holds(history):
        if hold.began != "fences" and last.get(hold.path) == hold.actor:
            found.add(hold.granted.i)
        last[hold.path] = hold.actor
    return found


def _collapse(rows: Sequence[Row]) -> list[Row]:
    """Neighbours that say the same become one row with a count."""
    found: list[Row] = []
    for row in rows:
        last = found[-1] if found else None
        if last is not None and (last.actor, last.text, last.lock) == (row.actor, row.text, row.lock):
            found[-1] = replace(last, count=last.count + 1, until_s=row.at_s, witness=last.witness or row.witness)
        else:
            found.append(row)
    return found


def important(rows: Sequence[Row], limit: int = 12) -> tuple[Row, ...]:
    """The ``limit`` rows that matter most, in the order of time; earlier ones win a tie."""
    if len(rows) <= limit:
        return tuple(rows)
    ranked = sorted(range(len(rows)), key=lambda n: (-rows[n].weight, n))
    return tuple(rows[n] for n in sorted(ranked[:limit]))


def mark(verdict: Verdict | None) -> str:
    """``X VIOLATED``; ``-`` where the law was not checked."""
    return "-" if verdict is None else " ".join(MARKS[verdict])
