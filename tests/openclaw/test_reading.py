"""From what is seen of the real program to the records that the checkers read (lines of real runs)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from lockjaw.harness.incident.scenario import load_scenario
from lockjaw.harness.judge.checkers import run_checks
from lockjaw.harness.judge.outcome import outcome_of
from lockjaw.harness.targets.openclaw.reading import (
    CLIENT,
    GATEWAY,
    Expected,
    LockFile,
    Printed,
    Reading,
    Seen,
    Written,
)
from lockjaw.history import Phase, Record, merge
from lockjaw.verdict import Verdict

EVIDENCE = Path(__file__).parents[1] / "harness" / "data"
RUN, SESSION = "0baa8c14-4603-4bab-9c8c-c88d31bf1b36", "b0bf5393-9e29-4526-ad6d-f87476720f57"
LOCK = f"/x/state/agents/main/sessions/{SESSION}.jsonl.lock"


class Bench:
    """A reading, and the records that came of it so far."""

    def __init__(self, policy: str = "reuse-session", *, reads_client: bool = True) -> None:
        self.reading = Reading(Expected(policy, "long task", 10.0, reads_client))
        self.records: list[Record] = []
        self.more: list[Record] = []

    def line(self, t: float, actor: str, text: str, *, out: bool = False) -> list[Record]:
        return self.take(self.reading.read(Printed(t, actor, text, out)))

    def gateway(self, t: float, text: str) -> list[Record]:
        return self.line(t, GATEWAY, f"2026-11-22T20:31:42.811+00:00 {text}", out=True)

    def lock(self, t: float, actor: str, *, there: bool = True, path: str = LOCK) -> list[Record]:
        return self.take(self.reading.read(LockFile(t, path, there, actor if there else "", 7)))

    def request(self, t: float, request_id: str, phase: Phase, model: str, **data: Any) -> list[Record]:
        seen = Record(t, "models", "provider.request", phase, {"request_id": request_id, "model": model, **data})
        self.more.append(seen)
        return self.take(self.reading.read(Seen(seen)))

    def exits(self, t: float, code: int) -> None:
        end = Record(t, "harness", "actor.exit", "info", {"role": "client", "actor": "client", "code": code, "pid": 1})
        self.more.append(end)
        self.take(self.reading.read(Seen(end)))

    def take(self, found: list[Record]) -> list[Record]:
        self.records += found
        return found

    def history(self) -> list[Record]:
        self.take(self.reading.finish())
        over = Record(999.0, "harness", "run.end", "info", {"reason": "done"})
        by_actor: dict[str, list[Record]] = {}
        for record in [*self.records, *self.more, over]:
            by_actor.setdefault(record.actor, []).append(record)
        return merge(by_actor.values())


def begin(bench: Bench) -> None:
    bench.gateway(9.0, "[ws] ← open remoteAddr=127.0.0.1 conn=4e7bb114…0c80")
    bench.gateway(9.1, f"[ws] ⇄ res ✓ agent 18ms runId={RUN} id=4f370213…b760")
    bench.gateway(9.2, "[diagnostic] lane enqueue: lane=session:agent:main:main queueSize=1")
    bench.gateway(
        10.0,
        f"[agent] embedded run start: runId={RUN} sessionId={SESSION} provider=qiniu model=deepseek-v3 thinking=off",
    )
    bench.lock(10.1, GATEWAY)
    bench.gateway(10.5, f"[agent] embedded run prompt start: runId={RUN} sessionId={SESSION}")
    bench.request(10.6, "req-1", "invoke", "deepseek-v3", messages=2)


def of(records: list[Record], op: str, phase: str | None = None) -> list[Record]:
    return [r for r in records if r.op == op and phase in (None, r.phase)]


def test_acceptance_names_the_session_and_keeps_its_own_time() -> None:
    bench = Bench()
    begin(bench)
    (accepted,) = of(bench.records, "gateway.accepted")
    assert accepted.t == 9.1
    assert accepted.data == {"run_id": RUN, "session_key": "agent:main:main", "session_id": SESSION}
    (call,) = of(bench.records, "client.call")
    assert (call.actor, call.phase, call.t, call.data["run_id"]) == (CLIENT, "invoke", 9.0, RUN)


@pytest.mark.parametrize("name", ["2026.4.8"])
def test_evidence_of_the_report_is_read_as_the_incident(name: str) -> None:
    bench = Bench()
    begin(bench)
    lines = (EVIDENCE / f"openclaw-{name}-cli.stderr.log").read_text(encoding="utf-8").splitlines()
    lines = [line.replace("<state>", "/x/state") for line in lines]
    t = 99.0
    for line in lines:
        t += 10.9 if "lane=main" in line else 0.01
        bench.line(t, CLIENT, line)
    bench.exits(t + 1, 1)
    bench.request(t + 2, "req-1", "fail", "deepseek-v3", client_gone=True)
    bench.lock(t + 2, "", there=False)
    history = bench.history()
    scenario = load_scenario("gateway_timeout")
    verdicts = {check.name: check.verdict for check in run_checks(scenario.checks, history, scenario.facts)}
    assert {name for name, verdict in verdicts.items() if verdict is Verdict.VIOLATED} == {
        "never_session_locked", "lock_is_not_a_model_failure", "answered",
    }  # fmt: skip
    outcome = outcome_of(history)
    assert (outcome.session_locked_errors, outcome.turn_executions, outcome.exit_code) == (3, 1, 1)
    assert outcome.error is not None
    assert outcome.error.startswith("FallbackSummaryError: All models failed (3)")
    waits = of(history, "lock", "fail")
    assert [wait.data["waited_s"] for wait in waits] == [10.978, 10.892, 10.862]
    assert all(wait.data["owner"] == "pid=8621" and wait.data["path"] == LOCK for wait in waits)
    (failed,) = of(history, "client.call", "fail")
    assert (failed.data["kind"], failed.data["timeout_ms"]) == ("timeout", 90_000)


def test_request_without_a_prompt_of_the_gateway_is_the_fallbacks() -> None:
    bench = Bench("fresh-session")
    begin(bench)
    fresh = "gateway-fallback-703eda88-72b0-43b2-952d-4c3cfc97f98e"
    bench.line(
        99.0, CLIENT, "EMBEDDED FALLBACK: Gateway agent timed out; running embedded agent with fresh session "
        f"{fresh}: GatewayTransportError: gateway timeout after 90000ms",
    )  # fmt: skip
    (call,) = of(bench.request(101.0, "req-2", "invoke", "deepseek-v3", messages=2), "model.call")
    assert (call.actor, call.data["run_id"]) == (CLIENT, fresh)
    bench.gateway(102.0, f"[agent/embedded] embedded run prompt start: runId={RUN} sessionId={SESSION}")
    (call,) = of(bench.request(102.1, "req-3", "invoke", "kimi-k2", messages=3), "model.call")
    assert (call.actor, call.data["run_id"]) == (GATEWAY, RUN)
    bench.line(103.0, CLIENT, "Here it is", out=True)
    bench.exits(104.0, 0)
    scenario = load_scenario("gateway_timeout_fast_backup")
    history = bench.history()
    verdicts = {check.name: check.verdict for check in run_checks(scenario.checks, history, scenario.facts)}
    assert verdicts["executed_once"] is Verdict.VIOLATED
    assert verdicts["same_conversation"] is Verdict.VIOLATED
    (result,) = of(history, "client.result")
    assert result.data["answered"]
    assert result.data["session_key"] == f"agent:main:explicit:{fresh}"


def test_timeout_text_is_no_answer() -> None:
    bench = Bench("no-fallback")
    begin(bench)
    bench.line(70.0, CLIENT, "Request timed out before a response was generated. Please try again, or ...", out=True)
    bench.exits(70.5, 1)
    history = bench.history()
    (result,) = of(history, "client.result")
    assert not result.data["answered"]
    (ended,) = of(history, "client.call", "ok")
    assert ended.data["status"] == "timeout"


def test_run_that_answers_in_time_is_no_incident() -> None:
    bench = Bench()
    begin(bench)
    bench.request(12.0, "req-1", "ok", "deepseek-v3")
    bench.gateway(12.1, f"[agent] embedded run done: runId={RUN} sessionId={SESSION} durationMs=1709 aborted=false")
    bench.gateway(12.2, f"[ws] ⇄ res ✓ agent runId={RUN} id=4f370213…b760")
    bench.lock(12.15, "", there=False)
    bench.line(12.3, CLIENT, "Hello there", out=True)
    bench.exits(12.4, 0)
    history = bench.history()
    assert [r.data["status"] for r in of(history, "gateway.final")] == ["ok"]
    assert of(history, "turn", "ok")
    assert of(history, "lock.release", "ok")
    assert outcome_of(history).reply == "Hello there"


def test_entries_are_written_by_whoever_holds_the_lock() -> None:
    bench = Bench()
    begin(bench)
    path = LOCK.removesuffix(".lock")
    entry = {"type": "message", "id": "2e10345a", "message": {"role": "user", "content": "x"}}
    (append,) = bench.take(bench.reading.read(Written(11.0, path, entry)))
    assert (append.actor, append.data["role"], append.data["run_id"]) == (GATEWAY, "user", RUN)
    assert bench.reading.read(Written(11.0, path, {"type": "session", "id": SESSION})) == []


def test_our_own_client_records_for_itself() -> None:
    bench = Bench("takeover", reads_client=False)
    begin(bench)
    bench.lock(50.0, CLIENT, path=LOCK.replace(SESSION, "takeover-fork-1"))
    bench.exits(60.0, 5)
    assert {record.actor for record in bench.history()} == {GATEWAY, "models", "harness"}


def test_what_the_watch_tells_late_of_the_gateway_lies_before_our_clients_lock() -> None:
    bench = Bench("takeover", reads_client=False)
    begin(bench)
    path = LOCK.removesuffix(".lock")
    bench.reading.read(Seen(Record(93.001, CLIENT, "lock", "ok", {"path": LOCK})))
    late = {"type": "message", "id": "ab8662fc", "message": {"role": "assistant", "content": "x"}}
    (append,) = bench.reading.read(Written(93.003, path, late))
    (release,) = bench.lock(93.004, GATEWAY, there=False)
    assert append.t <= release.t < 93.001
    assert append.t > 93.0009
    bench.lock(93.005, CLIENT)
    assert bench.reading.read(Written(93.006, path, {**late, "id": "2"})) == []  # ours: it records its own


def test_lock_of_a_stranger_and_locks_of_the_store_are_nobodys() -> None:
    bench = Bench()
    assert bench.lock(1.0, "") == []
    assert bench.lock(1.0, GATEWAY, path="/x/state/agents/main/sessions/sessions.json.lock") == []


def test_records_are_plain_json() -> None:
    bench = Bench()
    begin(bench)
    for record in bench.history():
        assert msgspec.json.decode(msgspec.json.encode(record), type=Record) == record
