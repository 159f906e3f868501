"""Small histories of the field report, one per policy: what the author of a checker starts from.

They are written by hand after the measured runs of the real program (times rounded), so a checker or a report can
be tried without starting a process. ``FACTS`` goes with all of them: three slow models, of which the second would
have answered in time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from lockjaw.history import Phase, Record
from lockjaw.history.ordered import numbered

from .facts import ScenarioFacts

MESSAGE = "long task"
KEY = "agent:main:main"
SESSION = "9e051a52"
FOLDER = "/home/somebody/state/agents/main/sessions"
PATH = f"{FOLDER}/{SESSION}.jsonl"
CHAIN = ("qiniu/deepseek-v3", "qiniu/kimi-k2", "qiniu/glm-4.5")

FACTS = ScenarioFacts(
    message=MESSAGE,
    budget_s=240.0,
    chain=CHAIN,
    answers_s={CHAIN[0]: None, CHAIN[1]: 64.5, CHAIN[2]: 64.5},
    recovered_within_s=2.0,
    amplification=1.0,
    fault_s=90.0,
    bystander_s=20.0,
)


Where = Callable[[Record], bool]


def op(name: str, phase: str | None = None, actor: str | None = None, **data: Any) -> Where:
    """Matches records by what is named."""
    return lambda r: (
        r.op == name
        and phase in (None, r.phase)
        and actor in (None, r.actor)
        and all(r.data.get(key) == value for key, value in data.items())
    )


def find(history: Sequence[Record], where: Where) -> Record:
    """The first match; AssertionError if there is none."""
    found = next((r for r in history if where(r)), None)
    assert found is not None, "no such record in this history"
    return found


def without(history: Sequence[Record], where: Where) -> list[Record]:
    """The history as if those records had not been written."""
    find(history, where)
    return numbered([r for r in history if not where(r)])


def changed(history: Sequence[Record], where: Where, **data: Any) -> list[Record]:
    """The history with other data in the matching records."""
    find(history, where)
    return [msgspec.structs.replace(r, data={**r.data, **data}) if where(r) else r for r in history]


def inserted(history: Sequence[Record], *records: Record) -> list[Record]:
    """The history with more records, each after what stands at its time already."""
    return numbered(sorted([*history, *records], key=lambda r: r.t))


class Story:
    """Collects records in the order in which they are told; ``t`` must not fall."""

    def __init__(self) -> None:
        self._records: list[Record] = []

    def add(self, t: float, actor: str, op: str, phase: Phase = "info", /, **data: Any) -> Story:
        assert not self._records or t >= self._records[-1].t, "a story is told in the order of time"
        self._records.append(Record(t, actor, op, phase, data))
        return self

    def history(self) -> list[Record]:
        """The numbered history; records of one instant keep the order in which they were told."""
        return [Record(r.t, r.actor, r.op, r.phase, r.data, i) for i, r in enumerate(self._records)]


def _begin(policy: str, *, generation: int = 0) -> Story:
    """The gateway accepts the turn, takes the lock, runs a tool for the model, and streams on past 90 s."""
    story = Story()
    story.add(0.0, "harness", "run.start", scenario="gateway_timeout", policy=policy, seed=1, engine="real", scale=0.02)
    story.add(0.0, "models", "actor.ready", pid=100, role="model")
    story.add(0.0, "gateway", "actor.ready", pid=101, role="gateway")
    story.add(0.0, "client", "actor.ready", pid=102, role="client")
    story.add(0.1, "client", "client.call", "invoke", method="agent", run_id="run-1", session_key=KEY)
    story.add(1.0, "gateway", "gateway.accepted", run_id="run-1", session_key=KEY, session_id=SESSION)
    story.add(3.9, "gateway", "turn", "invoke", turn_id="turn-1", run_id="run-1", session_id=SESSION,
              message=MESSAGE, resumed=False)  # fmt: skip
    story.add(4.0, "gateway", "lock", "invoke", path=PATH + ".lock", owner="run-1", timeout_s=10.0)
    story.add(4.0, "gateway", "lock", "ok", path=PATH + ".lock", owner="run-1", generation=generation, waited_s=0.0)
    _append(story, 4.1, "gateway", "e1", "user", generation)
    _call(story, 4.2, "gateway", "c1", "run-1", CHAIN[0])
    _answer(story, 5.0, "gateway", "c1", "toolUse")
    _append(story, 5.1, "gateway", "e2", "assistant", generation)
    story.add(5.2, "gateway", "tool", "invoke", run_id="run-1", tool_call_id="t1", name="exec", key="exec:touch done")
    story.add(5.5, "gateway", "tool", "ok", run_id="run-1", tool_call_id="t1", is_error=False)
    _append(story, 5.6, "gateway", "e3", "toolResult", generation)
    _call(story, 5.7, "gateway", "c2", "run-1", CHAIN[0])
    return story


def _append(story: Story, t: float, actor: str, entry: str, role: str, generation: int, path: str = PATH) -> None:
    story.add(t, actor, "append", path=path, entry_id=entry, type="message", role=role, generation=generation,
              run_id="run-1")  # fmt: skip


def _call(story: Story, t: float, actor: str, call_id: str, run_id: str, ref: str) -> None:
    provider, _, model = ref.partition("/")
    story.add(t, actor, "model.call", "invoke", call_id=call_id, run_id=run_id, provider=provider, model=model,
              messages=2)  # fmt: skip
    story.add(t, "models", "provider.request", "invoke", request_id=call_id, model=model, messages=2)


def _answer(story: Story, t: float, actor: str, call_id: str, stop_reason: str = "stop") -> None:
    story.add(t, "models", "provider.request", "ok", request_id=call_id, sent=40)
    story.add(t, actor, "model.call", "ok", call_id=call_id, stop_reason=stop_reason)


def _drop(story: Story, t: float, actor: str, call_id: str, error: str, reason: str = "timeout") -> None:
    story.add(t, "models", "provider.request", "fail", request_id=call_id, client_gone=True, after_s=60.0)
    story.add(t, actor, "model.call", "fail", call_id=call_id, error=error, reason=reason)


def _deadline(story: Story) -> None:
    story.add(90.0, "client", "client.call", "fail", method="agent", run_id="run-1", kind="timeout", timeout_ms=90000,
              error="gateway timeout after 90000ms")  # fmt: skip


def _finals(story: Story, t: float, *sessions: tuple[str, int, list[str]]) -> Story:
    for session_id, lines, answers in sessions:
        story.add(t, "harness", "transcript.final", path=f"{FOLDER}/{session_id}.jsonl", session_id=session_id,
                  lines=lines, problems=[], user_messages=[MESSAGE], assistant_texts=answers)  # fmt: skip
    story.add(t, "harness", "ledger", key="exec:touch done", count=1)
    story.add(t, "harness", "next_turn", "ok")
    return story.add(t, "harness", "run.end", reason="done")


def takeover() -> list[Record]:
    """Ours: ask, stop, take the lock, continue the turn in the same session; the second model answers."""
    story = _begin("takeover", generation=1)
    _deadline(story)
    story.add(90.0, "client", "fallback", policy="takeover", step="ask", detail="gateway timeout after 90000ms")
    story.add(90.1, "client", "fallback", policy="takeover", step="stop", detail="run-1")
    story.add(90.1, "gateway", "gateway.abort", run_id="run-1", origin="rpc")
    _drop(story, 90.2, "gateway", "c2", "Request was aborted", "aborted")
    story.add(90.2, "client", "fallback", policy="takeover", step="wait", detail="session lock")
    story.add(90.2, "client", "lock", "invoke", path=PATH + ".lock", owner="run-1", timeout_s=10.0)
    story.add(90.3, "gateway", "lock.release", path=PATH + ".lock", owner="run-1", generation=1, removed=True)
    story.add(90.3, "gateway", "turn", "fail", turn_id="turn-1", run_id="run-1", error="run run-1 was aborted (rpc)")
    story.add(90.4, "client", "lock", "ok", path=PATH + ".lock", owner="run-1", generation=2, waited_s=0.2)
    story.add(90.4, "client", "fallback", policy="takeover", step="continue", detail="same session")
    story.add(90.5, "client", "turn", "invoke", turn_id="turn-1", run_id="run-1", session_id=SESSION,
              message=MESSAGE, resumed=True)  # fmt: skip
    _call(story, 90.6, "client", "c3", "run-1", CHAIN[1])
    _answer(story, 91.1, "client", "c3")
    _append(story, 91.2, "client", "e4", "assistant", 2)
    story.add(91.3, "client", "turn", "ok", turn_id="turn-1", run_id="run-1", stop_reason="stop")
    story.add(91.3, "client", "lock.release", path=PATH + ".lock", owner="run-1", generation=2, removed=True)
    story.add(91.4, "client", "client.result", answered=True, reply="done", exit_code=0, error=None, degraded=True,
              session_id=SESSION, session_key=KEY, transport="embedded", duplicate_possible=False)  # fmt: skip
    story.add(91.5, "client", "actor.exit", role="client", pid=102, code=0)
    return _finals(story, 95.0, (SESSION, 5, ["", "done"])).history()


def reuse_session() -> list[Record]:
    """2026.4.8: three lock waits, each counted against a model, while the gateway still holds the lock."""
    story = _begin("reuse-session")
    _deadline(story)
    story.add(90.0, "client", "client.stderr", line="Gateway agent failed; falling back to embedded: Error: gateway "
              "timeout after 90000ms")  # fmt: skip
    story.add(90.0, "client", "fallback", policy="reuse-session", step="rerun", detail="same session")
    t, text = 90.4, f"session file locked (timeout 10000ms): pid=101 {PATH}.lock"
    for n, ref in enumerate(CHAIN):
        follow = CHAIN[n + 1] if n + 1 < len(CHAIN) else "none"
        story.add(t, "client", "lock", "invoke", path=PATH + ".lock", owner="run-2", timeout_s=10.0)
        t += 10.5
        story.add(t, "client", "lock", "fail", path=PATH + ".lock", owner="pid=101", error=text, kind="timeout",
                  waited_s=10.5)  # fmt: skip
        story.add(t, "client", "model.decision", decision="candidate_failed", candidate=ref, reason="timeout",
                  next=follow, detail=text)  # fmt: skip
        t += 0.4
    error = "All models failed (3): " + " | ".join(f"{ref}: {text} (timeout)" for ref in CHAIN)
    story.add(123.0, "client", "client.result", answered=False, reply=None, exit_code=1, session_id=SESSION,
              session_key=KEY, transport="embedded", duplicate_possible=False, degraded=False,
              error=f"FallbackSummaryError: {error}")  # fmt: skip
    story.add(123.1, "client", "actor.exit", role="client", pid=102, code=1)
    _answer(story, 154.2, "gateway", "c2")
    _append(story, 154.3, "gateway", "e4", "assistant", 0)
    story.add(154.4, "gateway", "turn", "ok", turn_id="turn-1", run_id="run-1", stop_reason="stop")
    story.add(154.4, "gateway", "lock.release", path=PATH + ".lock", owner="run-1", generation=0, removed=True)
    return _finals(story, 160.0, (SESSION, 5, ["", "too late"])).history()


def fresh_session() -> list[Record]:
    """2026.5.7: a new session beside the old one; both executions call the models, and the fallback answers."""
    session_id = "gateway-fallback-703eda88"
    path = f"{FOLDER}/{session_id}.jsonl"
    story = _begin("fresh-session")
    _deadline(story)
    story.add(90.0, "client", "fallback", policy="fresh-session", step="rerun", detail="fresh session")
    story.add(90.5, "client", "turn", "invoke", turn_id="turn-1", run_id=session_id, session_id=session_id,
              message=MESSAGE, resumed=False)  # fmt: skip
    story.add(90.6, "client", "lock", "invoke", path=path + ".lock", owner=session_id, timeout_s=60.0)
    story.add(90.6, "client", "lock", "ok", path=path + ".lock", owner=session_id, generation=0, waited_s=0.0)
    _append(story, 90.7, "client", "f1", "user", 0, path)
    _call(story, 90.8, "client", "c3", session_id, CHAIN[1])
    _answer(story, 150.0, "client", "c3")
    _append(story, 150.1, "client", "f2", "assistant", 0, path)
    story.add(150.2, "client", "turn", "ok", turn_id="turn-1", run_id=session_id, stop_reason="stop")
    story.add(150.2, "client", "lock.release", path=path + ".lock", owner=session_id, generation=0, removed=True)
    story.add(150.3, "client", "client.result", answered=True, reply="done", exit_code=0, error=None, degraded=False,
              session_id=session_id, session_key=f"agent:main:explicit:{session_id}", transport="embedded",
              duplicate_possible=False)  # fmt: skip
    story.add(150.4, "client", "actor.exit", role="client", pid=102, code=0)
    _answer(story, 154.2, "gateway", "c2")
    _append(story, 154.3, "gateway", "e4", "assistant", 0)
    story.add(154.4, "gateway", "turn", "ok", turn_id="turn-1", run_id="run-1", stop_reason="stop")
    story.add(154.4, "gateway", "lock.release", path=PATH + ".lock", owner="run-1", generation=0, removed=True)
    return _finals(story, 160.0, (SESSION, 5, ["", "too late"]), (session_id, 3, ["done"])).history()


def no_fallback() -> list[Record]:
    """2026.9.6: the run's own limit ends the chain after the first model; the user reads a time-out text."""
    story = _begin("no-fallback", generation=1)
    _drop(story, 64.0, "gateway", "c2", "LLM request timed out.")
    story.add(64.1, "gateway", "turn", "fail", turn_id="turn-1", run_id="run-1", error="LLM request timed out.")
    story.add(64.1, "gateway", "lock.release", path=PATH + ".lock", owner="run-1", generation=1, removed=True)
    story.add(64.2, "gateway", "gateway.final", run_id="run-1", status="timeout")
    story.add(64.3, "client", "client.call", "ok", method="agent", run_id="run-1", status="timeout")
    story.add(64.4, "client", "client.result", answered=False, exit_code=1, error=None,
              reply="Request timed out before a response was generated.", degraded=False,
              session_id=SESSION, session_key=KEY, transport="gateway", duplicate_possible=False)  # fmt: skip
    story.add(64.5, "client", "actor.exit", role="client", pid=102, code=1)
    return _finals(story, 70.0, (SESSION, 4, [""])).history()


def gateway_killed() -> list[Record]:
    """SIGKILL in mid-turn: the lock file of a dead owner is reclaimed, and the turn continued."""
    story = _begin("takeover", generation=1)
    story.add(30.0, "harness", "nemesis", "ok", action="kill", target="gateway", pid=101)
    story.add(30.0, "client", "client.call", "fail", method="agent", run_id="run-1", kind="closed", code=1006,
              error="gateway closed (1006 abnormal closure (no close frame)): no close reason")  # fmt: skip
    story.add(30.0, "models", "provider.request", "fail", request_id="c2", client_gone=True, after_s=24.3)
    story.add(30.1, "harness", "actor.exit", actor="gateway", role="gateway", pid=101, code=-9)
    story.add(30.1, "client", "fallback", policy="takeover", step="ask", detail="gateway closed (1006)")
    story.add(30.2, "client", "fallback", policy="takeover", step="wait", detail="session lock")
    story.add(30.2, "client", "lock", "invoke", path=PATH + ".lock", owner="run-1", timeout_s=10.0)
    story.add(30.3, "client", "lock", "ok", path=PATH + ".lock", owner="run-1", generation=2, waited_s=0.1,
              reclaimed=True)  # fmt: skip
    story.add(30.3, "client", "fallback", policy="takeover", step="reclaim", detail="pid=101")
    story.add(30.3, "client", "turn", "invoke", turn_id="turn-1", run_id="run-1", session_id=SESSION,
              message=MESSAGE, resumed=True)  # fmt: skip
    _call(story, 30.4, "client", "c3", "run-1", CHAIN[1])
    _answer(story, 30.9, "client", "c3")
    _append(story, 31.0, "client", "e4", "assistant", 2)
    story.add(31.1, "client", "turn", "ok", turn_id="turn-1", run_id="run-1", stop_reason="stop")
    story.add(31.1, "client", "lock.release", path=PATH + ".lock", owner="run-1", generation=2, removed=True)
    story.add(31.2, "client", "client.result", answered=True, reply="done", exit_code=0, error=None, degraded=True,
              session_id=SESSION, session_key=KEY, transport="embedded", duplicate_possible=False)  # fmt: skip
    story.add(31.3, "client", "actor.exit", role="client", pid=102, code=0)
    return _finals(story, 35.0, (SESSION, 5, ["", "done"])).history()


def gateway_frozen() -> list[Record]:
    """The holder is paused and cannot stop: it is fenced, and its late write is refused when it wakes."""
    story = _begin("takeover", generation=1)
    story.add(20.0, "harness", "nemesis", "ok", action="pause", target="gateway", pid=101)
    _deadline(story)
    story.add(90.0, "client", "fallback", policy="takeover", step="wait", detail="session lock")
    story.add(90.0, "client", "lock", "invoke", path=PATH + ".lock", owner="run-1", timeout_s=10.0)
    story.add(100.0, "client", "lock", "fail", path=PATH + ".lock", owner="pid=101", kind="timeout", waited_s=10.0,
              error=f"session file locked (timeout 10000ms): pid=101 {PATH}.lock")  # fmt: skip
    story.add(100.1, "client", "lock.fence", path=PATH + ".lock", owner="run-1", generation=2, previous=1)
    story.add(100.1, "client", "fallback", policy="takeover", step="fence", detail="pid=101")
    story.add(100.2, "client", "turn", "invoke", turn_id="turn-1", run_id="run-1", session_id=SESSION,
              message=MESSAGE, resumed=True)  # fmt: skip
    _call(story, 100.3, "client", "c3", "run-1", CHAIN[1])
    _answer(story, 100.8, "client", "c3")
    _append(story, 100.9, "client", "e4", "assistant", 2)
    story.add(101.0, "client", "turn", "ok", turn_id="turn-1", run_id="run-1", stop_reason="stop")
    story.add(101.0, "client", "lock.release", path=PATH + ".lock", owner="run-1", generation=2, removed=True)
    story.add(101.1, "client", "client.result", answered=True, reply="done", exit_code=0, error=None, degraded=True,
              session_id=SESSION, session_key=KEY, transport="embedded", duplicate_possible=False)  # fmt: skip
    story.add(101.2, "client", "actor.exit", role="client", pid=102, code=0)
    story.add(110.0, "harness", "nemesis", "ok", action="resume", target="gateway", pid=101)
    _answer(story, 154.2, "gateway", "c2")
    story.add(154.3, "gateway", "append.refused", path=PATH, generation=1, current=2)
    story.add(154.4, "gateway", "turn", "fail", turn_id="turn-1", run_id="run-1", error="generation 1 was superseded")
    return _finals(story, 160.0, (SESSION, 5, ["", "done"])).history()


def quiet() -> list[Record]:
    """Nothing goes wrong: the danger is never reached, and every checker has to say so."""
    story = _begin("takeover", generation=1)
    _answer(story, 20.0, "gateway", "c2")
    _append(story, 20.1, "gateway", "e4", "assistant", 1)
    story.add(20.2, "gateway", "turn", "ok", turn_id="turn-1", run_id="run-1", stop_reason="stop")
    story.add(20.2, "gateway", "lock.release", path=PATH + ".lock", owner="run-1", generation=1, removed=True)
    story.add(20.3, "gateway", "gateway.final", run_id="run-1", status="ok")
    story.add(20.4, "client", "client.call", "ok", method="agent", run_id="run-1", status="ok")
    story.add(20.5, "client", "client.result", answered=True, reply="done", exit_code=0, error=None, degraded=False,
              session_id=SESSION, session_key=KEY, transport="gateway", duplicate_possible=False)  # fmt: skip
    story.add(20.6, "client", "actor.exit", role="client", pid=102, code=0)
    return _finals(story, 25.0, (SESSION, 5, ["", "done"])).history()


def announced() -> list[Record]:
    """Two subagents hand their results in, one after the other; a reader sees the conversation between them."""
    story = Story()
    story.add(0.0, "harness", "run.start", scenario="announced", policy="takeover", seed=1, engine="sim", scale=0.0)
    story.add(0.0, "harness", "stage", path=PATH, entries=2)
    for n, t in ((1, 1.0), (2, 3.0)):
        name, text = f"subagent-{n}", f"result {n}"
        story.add(t, name, "deliver", "invoke", text=text)
        story.add(t, name, "lock", "invoke", path=PATH + ".lock", owner=name, timeout_s=600.0)
        story.add(t, name, "lock", "ok", path=PATH + ".lock", owner=name, generation=n, waited_s=0.0)
        _append(story, t + 0.5, name, f"d{n}", "", n)
        story.add(t + 0.5, name, "lock.release", path=PATH + ".lock", owner=name, generation=n, removed=True)
        story.add(t + 0.5, name, "deliver", "ok", text=text, entry_id=f"d{n}")
        if n == 1:
            story.add(2.0, "nightly", "read", "invoke", path=PATH)
            story.add(2.1, "nightly", "read", "ok", path=PATH, entries=3)
    story.add(5.0, "harness", "session.final", key=KEY, session_id=SESSION)
    story.add(5.0, "harness", "transcript.final", path=PATH, session_id=SESSION, lines=5, problems=[],
              entry_ids=["e1", "e2", "d1", "d2"], user_messages=[], assistant_texts=[])  # fmt: skip
    story.add(5.0, "harness", "next_turn", "ok", path=PATH)
    return story.add(5.0, "harness", "run.end", reason="done").history()


def databases() -> list[Record]:
    """Another program writes to one session's database for a minute; a run of that session was killed meanwhile, and
    its claim is taken over. A neighbour asks in another session, whose database is free."""
    story, path = Story(), f"{FOLDER}/{SESSION}.sqlite"
    story.add(0.0, "harness", "run.start", scenario="databases", policy="takeover", seed=1, engine="sim", scale=0.0)
    story.add(1.0, "gateway", "claim", "ok", path=path, run_id="run-1", owner="run-1")
    story.add(2.0, "maintenance", "database", "invoke", path=path, of="session")
    story.add(2.0, "maintenance", "database", "ok", path=path, of="session")
    story.add(3.0, "harness", "nemesis", action="kill", target="gateway", pid=101)
    story.add(
        10.0, "neighbour", "client.call", "invoke", method="agent", run_id="run-9", session_key="agent:main:other"
    )
    story.add(15.0, "neighbour", "client.result", answered=True, reply="done", exit_code=0, error=None, degraded=False,
              session_id="other", session_key="agent:main:other", transport="gateway",
              duplicate_possible=False)  # fmt: skip
    story.add(15.5, "neighbour", "actor.exit", role="client", pid=109, code=0)
    story.add(62.0, "maintenance", "database", "info", path=path, of="session")
    story.add(63.0, "client", "claim", "ok", path=path, run_id="run-2", owner="run-2", **{"from": "run-1"})
    story.add(70.0, "client", "claim", path=path, run_id="run-2", owner="")
    story.add(74.0, "harness", "session.final", key="agent:main:other", session_id="other")
    story.add(74.0, "harness", "transcript.final", path=f"{FOLDER}/other.sqlite", session_id="other", lines=3,
              problems=[], entry_ids=[], user_messages=[MESSAGE], assistant_texts=["done"])  # fmt: skip
    return story.add(75.0, "harness", "run.end", reason="done").history()


#: name -> history. The first four are the design's table of policies.
EXAMPLES: dict[str, Callable[[], list[Record]]] = {
    "takeover": takeover,
    "reuse-session": reuse_session,
    "fresh-session": fresh_session,
    "no-fallback": no_fallback,
    "gateway-killed": gateway_killed,
    "gateway-frozen": gateway_frozen,
    "quiet": quiet,
    "announced": announced,
    "databases": databases,
}
