"""One turn in one process: whatever an earlier run has left in the transcript, it goes on from there, once."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.errors import Fenced, ModelFailure, ModelsFailed, RunAborted, SessionLocked
from lockjaw.locking import SessionLock, inspect_lock
from lockjaw.runner import embedded
from lockjaw.runner.attempt import AttemptTimedOut, TurnPlan
from lockjaw.runner.embedded import EmbeddedRunner
from lockjaw.runner.models import ModelClient
from lockjaw.runner.tools import built_in_tools
from lockjaw.sessions import Transcript, read_entries
from lockjaw.settings import ModelRef, Pacing

from .rig import QUICK, SLOW, Rig, rig

KEY, SESSION = "agent:main:main", "session-1"
FAILS = [{"error": {"status": 503, "message": "The model is overloaded"}}]


@dataclass
class Bench:
    """A runner on its own, with the models of a rig."""

    rig: Rig
    runner: EmbeddedRunner
    abort: asyncio.Event
    emitted: list[tuple[str, dict[str, Any]]]

    @property
    def file(self) -> Path:
        return self.rig.sessions / f"{SESSION}.jsonl"

    def plan(self, **changes: Any) -> TurnPlan:
        plan = TurnPlan(
            turn_id="turn-1", run_id="run-1", session_key=KEY, session_id=SESSION, agent_id="main", file=self.file,
            message="long task", original="long task", limit_s=60.0,
        )  # fmt: skip
        return replace(plan, **changes)

    async def run(self, **changes: Any) -> dict[str, Any]:
        return await self.runner.run(
            self.plan(**changes), abort=self.abort, emit=lambda stream, data: self.emitted.append((stream, data))
        )

    async def answer(self, **changes: Any) -> str:
        result = await self.run(**changes)
        return str(result["payloads"][0]["text"])

    def status(self) -> str:
        return str(self.runner.store("main").read()[KEY]["status"])

    def left(self, *messages: dict[str, Any], torn: bool = False) -> None:
        """What an earlier run of the turn has left in the transcript."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        transcript = Transcript.open(self.file, session_id=SESSION, cwd=self.rig.settings.agent.workspace,
                                     clock=self.rig.clock)  # fmt: skip
        for message in messages:
            transcript.append_message(message)
        if torn:
            with self.file.open("ab") as file:
                file.write(b'{"type":"message","id":"0000dead","par')

    def roles(self) -> list[str]:
        report = read_entries(self.file)
        assert report.problems == []
        return [str(message["role"]) for message in report.messages]


USER = {"role": "user", "content": [{"type": "text", "text": "long task"}], "idempotencyKey": "turn-1"}
ANSWER = {
    "role": "assistant",
    "content": [{"type": "text", "text": "stored"}],
    "stopReason": "stop",
    "provider": "fake",
    "model": "one",
}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    part = {"type": "toolCall", "id": "call-1", "name": name, "arguments": arguments}
    return {**ANSWER, "content": [part], "stopReason": "toolUse"}


RESULT = {
    "role": "toolResult",
    "toolCallId": "call-1",
    "toolName": "exec",
    "content": [{"type": "text", "text": "paid"}],
    "isError": False,
}

MakeBench = Callable[..., AbstractAsyncContextManager[Bench]]


@pytest.fixture
def bench(tmp_path: Path) -> MakeBench:
    """``async with bench({"one": QUICK}) as b``: a runner with these models."""

    @asynccontextmanager
    async def make(
        models: dict[str, Any], *, policy: str = "takeover", pacing: Pacing | None = None, **behaviour: Any
    ) -> AsyncIterator[Bench]:
        async with rig(tmp_path, models) as one:
            client = ModelClient(one.settings.providers, clock=one.clock)
            one.stack.push_async_callback(client.aclose)
            settings = replace(one.settings, pacing=pacing or Pacing())
            runner = EmbeddedRunner(
                settings, behaviour=replace(BEHAVIOURS[policy], **behaviour), clock=one.clock,
                recorder=one.recorder("runner"), models=client, tools=built_in_tools(), log=one.logged.append,
                ids=one.ids,
            )  # fmt: skip
            yield Bench(one, runner, asyncio.Event(), [])

    return make


# --------------------------------------------------------------------------- going on where a run stopped


async def test_a_turn_that_left_nothing_is_begun(bench: MakeBench) -> None:
    async with bench({"one": QUICK}) as b:
        assert await b.answer(resume=True) == "the answer"
        assert b.roles() == ["user", "assistant"]


async def test_a_question_that_stands_there_is_not_asked_again(bench: MakeBench) -> None:
    async with bench({"one": QUICK}) as b:
        b.left(USER)

        assert await b.answer(resume=True) == "the answer"
        assert b.roles() == ["user", "assistant"]


async def test_an_answer_that_stands_there_is_the_answer_and_no_model_is_asked(bench: MakeBench) -> None:
    async with bench({"one": QUICK}) as b:
        b.left(USER, ANSWER)

        assert await b.answer(resume=True) == "stored"
        assert b.rig.records("provider.request") == []
        assert b.roles() == ["user", "assistant"]


async def test_a_result_that_stands_there_is_used_and_its_tool_not_run_again(bench: MakeBench) -> None:
    async with bench({"one": QUICK}) as b:
        b.left(USER, call("exec", command="echo paid >> ledger"), RESULT)

        assert await b.answer(resume=True) == "the answer"
        assert b.rig.records("tool") == []
        assert not (b.rig.settings.agent.workspace / "ledger").exists()
        assert b.roles() == ["user", "assistant", "toolResult", "assistant"]


async def test_a_call_without_a_result_is_closed_as_interrupted_and_not_run(bench: MakeBench) -> None:
    async with bench({"one": QUICK}) as b:
        b.left(USER, call("exec", command="echo paid >> ledger"))

        assert await b.answer(resume=True) == "the answer"
        closed = next(m for m in read_entries(b.file).messages if m["role"] == "toolResult")
        assert (closed["toolCallId"], closed["isError"]) == ("call-1", True)
        assert "interrupted" in closed["content"][0]["text"]
        assert not (b.rig.settings.agent.workspace / "ledger").exists()
        assert b.roles() == ["user", "assistant", "toolResult", "assistant"]


async def test_a_call_that_an_earlier_turn_left_without_a_result_is_closed_before_the_next_question(
    bench: MakeBench,
) -> None:
    async with bench({"one": QUICK}) as b:
        b.left({**USER, "idempotencyKey": "another turn"}, call("exec", command="echo paid >> ledger"))

        assert await b.answer() == "the answer"
        assert b.roles() == ["user", "assistant", "toolResult", "user", "assistant"]
        assert read_entries(b.file).problems == []
        assert not (b.rig.settings.agent.workspace / "ledger").exists()


@pytest.mark.parametrize(
    ("policy", "changes", "turn_s"),
    [
        ("takeover", {"limit_s": 60.0}, 60.0 * 3),  # three candidates under one lock
        ("takeover", {"limit_s": 60.0, "patience_s": 600.0}, 600.0),
        ("reuse-session", {"limit_s": 60.0}, 60.0),  # a lock for each
    ],
)
async def test_a_lock_may_be_held_for_as_long_as_its_turn_may_take(
    bench: MakeBench, policy: str, changes: dict[str, float], turn_s: float
) -> None:
    async with bench({"one": QUICK, "two": QUICK, "three": QUICK}) as b:
        b.runner.behaviour = BEHAVIOURS[policy]
        limit_s = turn_s + 900 + 120  # a compaction, and upstream's grace
        assert b.runner._hold_limit_s(b.plan(**changes)) == limit_s
        async with b.runner._session_lock(b.plan(**changes)):
            says = inspect_lock(b.file).max_hold_s  # a lock file of 2026.4.8 does not say
            assert says == (limit_s if policy == "takeover" else None)


async def test_only_a_run_in_a_clients_own_process_takes_its_lock_anew(bench: MakeBench) -> None:
    async with bench({"one": QUICK}) as b:
        for embedded in (False, True):
            plan = b.plan(embedded=embedded)
            async with b.runner._session_lock(plan) as held, b.runner._holding(plan, held) as hold:
                assert (hold._another is not None) is embedded


async def test_a_result_on_another_branch_is_not_written_again(bench: MakeBench) -> None:
    async with bench({"one": QUICK}) as b:
        b.left({**USER, "idempotencyKey": "another turn"}, call("exec", command="echo paid"))
        b.left(RESULT)  # behind what somebody else has written meanwhile, on the branch of the call
        lines = b.file.read_text().splitlines()
        last = json.loads(lines[-1])
        beside = {**last, "id": "beside00", "type": "custom", "customType": "note", "data": {}}
        del beside["message"]
        b.file.write_text("\n".join([*lines, json.dumps(beside)]) + "\n")

        await b.answer()
        assert read_entries(b.file).problems == []


async def test_a_harmless_call_without_a_result_is_simply_made(bench: MakeBench) -> None:
    async with bench({"one": QUICK}) as b:
        (b.rig.settings.agent.workspace / "note").write_text("what it says")
        b.left(USER, call("read", path="note"))

        assert await b.answer(resume=True) == "the answer"
        closed = next(m for m in read_entries(b.file).messages if m["role"] == "toolResult")
        assert "what it says" in closed["content"][0]["text"]
        assert [r.data["harmless"] for r in b.rig.records("tool", "invoke")] == [True]


async def test_a_torn_line_is_cut_off_and_the_turn_goes_on(bench: MakeBench) -> None:
    async with bench({"one": QUICK}) as b:
        b.left(USER, torn=True)

        assert await b.answer(resume=True) == "the answer"
        assert b.roles() == ["user", "assistant"]
        assert len(list(b.file.parent.glob(f"{b.file.name}.bak-*"))) == 1


async def test_models_that_failed_in_this_turn_come_last(bench: MakeBench) -> None:
    async with bench({"one": QUICK, "two": QUICK}) as b:
        b.left(USER, {**ANSWER, "content": [], "stopReason": "error", "errorMessage": "overloaded"})

        assert await b.answer(resume=True) == "the answer"
        assert [r.data["model"] for r in b.rig.records("model.call", "invoke")] == ["two"]


async def test_an_interrupted_answer_is_continued_by_a_new_question_of_ours(bench: MakeBench) -> None:
    async with bench({"one": QUICK}) as b:
        b.left(USER, {**ANSWER, "stopReason": "aborted"})

        assert await b.answer(resume=True) == "the answer"
        assert b.roles() == ["user", "assistant", "user", "assistant"]
        texts = [m["content"][0]["text"] for m in read_entries(b.file).messages if m["role"] == "user"]
        assert texts[1].startswith("Continue where you left off")


# --------------------------------------------------------------------------- the chain


async def test_the_next_model_is_asked_when_one_fails(bench: MakeBench) -> None:
    async with bench({"one": FAILS, "two": QUICK}) as b:
        assert await b.answer() == "the answer"
        assert b.status() == "done"
        decisions = [r.data["decision"] for r in b.rig.records("model.decision")]
        assert decisions == ["candidate_failed", "candidate_succeeded"]


async def test_all_models_failing_is_one_error_that_names_each(bench: MakeBench) -> None:
    async with bench({"one": FAILS, "two": FAILS}) as b:
        with pytest.raises(ModelsFailed) as caught:
            await b.run()
        assert [attempt.model for attempt in caught.value.attempts] == ["one", "two"]
        assert b.status() == "failed"
        assert b.rig.locks() == []
        assert [data["phase"] for stream, data in b.emitted if stream == "lifecycle"] == ["start", "error"]


async def test_a_model_that_was_chosen_for_the_run_is_the_only_one(bench: MakeBench) -> None:
    async with bench({"one": QUICK, "two": FAILS}) as b:
        with pytest.raises(ModelFailure, match="overloaded"):
            await b.run(model=ModelRef("fake", "two"))
        assert {r.data["model"] for r in b.rig.records("model.call")} == {"two"}


async def test_a_run_limit_ends_the_chain_where_the_version_says_so(bench: MakeBench) -> None:
    async with bench({"one": SLOW, "two": QUICK}, policy="no-fallback") as b:
        result = await b.run(limit_s=20.0)

        assert result["payloads"][0]["isError"]
        assert result["meta"]["error"]["kind"] == "timeout"
        assert b.status() == "timeout"
        assert {r.data["model"] for r in b.rig.records("model.call")} == {"one"}


async def test_a_model_that_takes_too_long_leaves_the_turn_to_the_next(bench: MakeBench) -> None:
    async with bench({"one": SLOW, "two": QUICK}) as b:
        assert await b.answer(limit_s=20.0) == "the answer"
        assert any("embedded run timeout: runId=run-1" in line for line in b.rig.logged)
        assert next(r.data["reason"] for r in b.rig.records("model.decision")) == "timeout"


async def test_a_model_that_does_not_settle_is_torn_down_and_the_log_says_so_after_the_time_out(
    bench: MakeBench,
) -> None:
    """Upstream's order (#90065)."""
    async with bench({"one": SLOW, "two": QUICK}, abort_settle_s=2.0) as b:
        assert await b.answer(limit_s=20.0) == "the answer"

        said = [line for line in b.rig.logged if "timeoutMs=" in line]
        assert "embedded run timeout" in said[0]
        assert said[1].endswith("embedded abort settle timed out: runId=run-1 timeoutMs=2000")
        await asyncio.gather(*b.runner._background)  # what it does late must not outlive the test


# --------------------------------------------------------------------------- aborts, locks, fences


async def test_an_abort_is_written_and_the_lock_given_back(bench: MakeBench) -> None:
    async with bench({"one": SLOW}) as b:
        running = asyncio.ensure_future(b.run())
        await b.rig.until("provider.request", "invoke")
        b.abort.set()

        with pytest.raises(RunAborted):
            await running
        assert b.status() == "killed"
        assert b.roles()[-1] == "assistant"
        assert read_entries(b.file).messages[-1]["stopReason"] == "aborted"
        assert b.rig.locks() == []


async def test_a_cancelled_turn_is_written_as_aborted(bench: MakeBench) -> None:
    async with bench({"one": SLOW}) as b:
        running = asyncio.ensure_future(b.run())
        await b.rig.until("provider.request", "invoke")
        running.cancel()

        with pytest.raises(asyncio.CancelledError):
            await running
        assert (b.status(), b.rig.locks()) == ("killed", [])


@pytest.mark.parametrize("step", ["setup_s", "between_candidates_s", "embedded_prepare_s"])
async def test_an_abort_ends_every_pause_of_a_run(step: str, bench: MakeBench) -> None:
    async with bench({"one": FAILS, "two": QUICK}, pacing=Pacing(**{step: 1e6})) as b:
        running = asyncio.ensure_future(b.run(embedded=True))
        await b.rig.until("model.decision" if step == "between_candidates_s" else "lock", count=1)
        b.abort.set()

        with pytest.raises(RunAborted):
            await running
        assert b.rig.locks() == []


async def test_an_abort_ends_the_wait_for_the_lock(bench: MakeBench) -> None:
    async with bench({"one": QUICK}) as b:
        b.file.parent.mkdir(parents=True)
        with SessionLock(b.file):
            running = asyncio.ensure_future(b.run())
            await b.rig.until("lock", "invoke")
            b.abort.set()
            with pytest.raises(RunAborted):
                await running
        assert [r.data["kind"] for r in b.rig.records("lock", "fail")] == ["cancelled"]


async def test_a_session_that_is_not_to_be_had_costs_no_model_its_turn(bench: MakeBench) -> None:
    async with bench({"one": QUICK, "two": QUICK}, lock_timeout_s=5.0) as b:
        b.file.parent.mkdir(parents=True)
        with SessionLock(b.file), pytest.raises(SessionLocked):
            await b.run()
        assert b.rig.records("model.decision") == []
        assert b.status() == "failed"


async def test_a_run_that_was_fenced_writes_nothing_any_more_not_even_its_status(bench: MakeBench) -> None:
    async with bench({"one": [{"token": ".", "count": 30, "inter_token_s": 1.0}]}) as b:
        running = asyncio.ensure_future(b.run())
        await b.rig.until("provider.request", "invoke")
        successor = SessionLock(b.file, clock=b.rig.clock)
        await successor.fence_async()
        before = b.file.read_bytes()

        with pytest.raises(Fenced):
            await running
        assert b.file.read_bytes() == before
        assert b.status() == "running"  # the successor's to change
        assert b.rig.records("append.refused", "fail")
        await successor.release_async()


async def test_the_callers_lock_is_used_and_stays_the_callers(bench: MakeBench) -> None:
    async with bench({"one": QUICK}) as b:
        b.file.parent.mkdir(parents=True)
        async with SessionLock(b.file, clock=b.rig.clock) as held:
            assert await b.answer(held=held, resume=True) == "the answer"
            assert b.rig.locks() == [held.path]
        assert b.rig.records("lock") == []


async def test_a_status_that_cannot_be_stored_does_not_cost_the_answer(bench: MakeBench) -> None:
    async with bench({"one": QUICK}) as b:
        b.rig.sessions.mkdir(parents=True)
        with SessionLock(b.rig.sessions / "sessions.json", algorithm="coarse"):  # foreign: it cannot be overruled
            result = await b.run()

        assert result["payloads"][0]["text"] == "the answer"
        lost = [line for line in b.rig.logged if "status of agent:main:main not stored" in line]
        assert len(lost) == 2, "neither at the beginning nor at the end"


async def test_an_owner_that_stands_still_over_the_store_is_overruled_and_puts_nothing_over_the_new_one(
    bench: MakeBench,
) -> None:
    async with bench({"one": QUICK}) as b:
        store = b.runner.store("main")
        await store.update(KEY, lambda entry: entry.update(sessionId=SESSION))
        frozen = SessionLock(store.path, clock=b.rig.clock)
        held = frozen.acquire()

        assert (await b.run())["payloads"][0]["text"] == "the answer"

        assert b.status() == "done"
        with pytest.raises(Fenced), held.section():
            raise AssertionError("the late version would go over the new one")
        frozen.release()


async def test_the_transcript_is_where_the_store_says(bench: MakeBench) -> None:
    async with bench({"one": QUICK}) as b:
        elsewhere = b.rig.sessions / "topic-7.jsonl"

        def point(entry: dict[str, Any]) -> None:
            entry.update(sessionId=SESSION, sessionFile=str(elsewhere))

        await b.runner.store("main").update(KEY, point)

        assert b.runner.transcript_of("main", KEY, SESSION) == elsewhere
        assert b.runner.transcript_of("main", KEY, "another") == b.rig.sessions / "another.jsonl"
        assert os.path.basename(b.runner.transcript_of("main", "agent:main:x", SESSION)) == f"{SESSION}.jsonl"


# --------------------------------------------------------------------------- shares, pauses, words


class StillClock:
    """Stands where it is put; counts no sleep of its own."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def monotonic(self) -> float:
        return self.now_s

    def wall_ms(self) -> int:
        return round(self.now_s * 1000)


@pytest.mark.parametrize(
    ("patience_s", "each_takes_s", "limits_s"),
    [
        (None, 0.0, [60.0, 60.0, 60.0]),
        (600.0, 0.0, [200.0, 300.0, 600.0]),
        (600.0, 100.0, [200.0, 250.0, 400.0]),
        (90.0, 0.0, [60.0, 60.0, 90.0]),  # never less than a run's own limit
        (90.0, 80.0, [60.0, 60.0, 60.0]),
    ],
)
async def test_the_models_that_are_left_share_what_patience_is_left(
    bench: MakeBench, patience_s: float | None, each_takes_s: float, limits_s: list[float]
) -> None:
    async with bench({"one": QUICK, "two": QUICK, "three": QUICK}, pacing=Pacing(between_candidates_s=3.0)) as b:
        clock, limits, pauses = StillClock(), [], []
        b.runner.clock = clock  # type: ignore[assignment]

        async def candidate(plan: TurnPlan, ref: ModelRef, index: int, hold: Any, limit_s: float, *how: Any) -> Any:
            limits.append(limit_s)
            clock.now_s += each_takes_s
            raise ModelFailure("slow", "timeout")

        async def pause(seconds: float, *how: Any) -> None:
            pauses.append(seconds)

        b.runner._candidate = candidate  # type: ignore[method-assign]
        b.runner._pause = pause  # type: ignore[method-assign]
        plan = b.plan(patience_s=patience_s)
        with pytest.raises(ModelsFailed):
            await b.runner._chain(plan, b.runner.settings.candidates, None, b.abort, lambda *what: None)
        assert limits == limits_s
        assert pauses == [0.0, 3.0, 0.0, 3.0, 0.0]  # between two models only


async def test_a_server_that_asked_to_wait_is_waited_for(bench: MakeBench) -> None:
    async with bench({"one": QUICK}) as b:
        clock, pauses = StillClock(), []
        b.runner.clock = clock  # type: ignore[assignment]

        async def candidate(*how: Any) -> Any:
            if not any(pauses):
                raise ModelFailure("429", "rate_limit", retry_after_s=7.0)
            return {"meta": {}}

        async def pause(seconds: float, *how: Any) -> None:
            pauses.append(seconds)

        b.runner._candidate = candidate  # type: ignore[method-assign]
        b.runner._pause = pause  # type: ignore[method-assign]
        await b.runner._chain(b.plan(), b.runner.settings.candidates, None, b.abort, lambda *what: None)
        assert pauses[0] == 0.0
        assert pauses[-1] == 7.0


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ModelFailure("slow", "timeout"), True), (OSError(28, "full"), True), (RunAborted("run-1"), False),
        (Fenced("/s", 1, 2), False), (AttemptTimedOut(60.0), False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("here", [False, True])
async def test_a_failed_attempt_is_told_for_both_lanes_with_the_time_that_it_took(
    bench: MakeBench, error: Exception, told: bool, here: bool
) -> None:
    async with bench({"one": QUICK}, pacing=Pacing(embedded_prepare_s=5.0)) as b:
        clock, pauses = StillClock(), []
        b.runner.clock = clock  # type: ignore[assignment]

        async def attempt(*how: Any) -> Any:
            clock.now_s += 1.5
            raise error

        async def pause(seconds: float, *how: Any) -> None:
            pauses.append(seconds)

        b.runner._attempt = attempt  # type: ignore[method-assign]
        b.runner._pause = pause  # type: ignore[method-assign]
        hold: Any = object()
        with pytest.raises(type(error)):
            await b.runner._candidate(b.plan(embedded=here), ModelRef("fake", "one"), 0, hold, 60.0, b.abort, print)
        assert pauses == ([5.0] if here else [])
        said = [line.partition(" error=")[0] for line in b.rig.logged]
        lanes = [f"[diagnostic] lane task error: lane={lane} durationMs=1500" for lane in ("main", f"session:{KEY}")]
        assert said == (lanes if told else [])


@pytest.mark.parametrize(
    ("messages", "compaction", "compacted"),
    [
        ([USER, ANSWER, {**USER, "idempotencyKey": "turn-2"}], "inside", True),
        ([USER, ANSWER, {**USER, "idempotencyKey": "turn-2"}, ANSWER], "inside", True),
        ([USER, ANSWER, {**USER, "idempotencyKey": "turn-2"}], "none", False),
        ([USER, ANSWER], "inside", False),  # what the user said last comes first: nothing stands before it
        ([ANSWER], "inside", False),
        ([], "inside", False),
    ],
)
async def test_a_compaction_leaves_out_what_stands_before_the_last_question(
    bench: MakeBench, messages: list[dict[str, Any]], compaction: str, compacted: bool
) -> None:
    async with bench({"one": QUICK}, compaction=compaction) as b:
        b.left(*messages)
        async with b.runner._locked(b.plan(), b.abort) as (plan, hold):
            transcript = await b.runner._open(plan, hold)
            kept = [entry.id for entry in transcript.entries if entry.role == "user"]
            before = len(transcript.entries)
            assert await b.runner._compact(plan, transcript, hold, b.abort) is compacted
            assert len(transcript.entries) == before + compacted
        if compacted:
            last = json.loads(b.file.read_text().splitlines()[-1])
            assert (last["type"], last["firstKeptEntryId"]) == ("compaction", kept[-1])
            assert last["summary"] == "Earlier messages were left out: together they no longer fit the model."


@pytest.mark.parametrize(
    ("error", "overflowed"),
    [(ModelFailure("x", "context_overflow"), True), (ModelFailure("x", "timeout"), False), (OSError("x"), False),
     (ModelFailure("x", "zzz"), False), (None, False)],
)  # fmt: skip
def test_only_a_model_that_says_so_overflowed(error: BaseException | None, overflowed: bool) -> None:
    assert embedded._overflowed(error) is overflowed


@pytest.mark.parametrize(("resume", "opened"), [(False, 0), (True, 1)])
async def test_a_transcript_that_is_not_there_is_opened_only_to_go_on_with_a_turn(
    bench: MakeBench, resume: bool, opened: int
) -> None:
    async with bench({"one": QUICK}) as b:
        opens, real = [], b.runner._open

        async def opening(plan: TurnPlan, hold: Any) -> Transcript:
            opens.append(plan)
            return await real(plan, hold)

        b.runner._open = opening  # type: ignore[method-assign]
        async with b.runner._locked(b.plan(resume=resume), b.abort) as (plan, hold):
            assert await b.runner._begun(plan, hold) is None
        assert len(opens) == opened


@pytest.mark.parametrize(("turn_id", "begun"), [("turn-1", True), ("turn-0", False), ("turn-2", False)])
async def test_a_run_that_was_not_told_to_go_on_takes_only_its_own_mark_for_its_turn(
    bench: MakeBench, turn_id: str, begun: bool
) -> None:
    async with bench({"one": QUICK}) as b:
        b.left({**USER, "idempotencyKey": turn_id}, ANSWER)
        assert await b.answer() == ("stored" if begun else "the answer")


async def test_a_transcript_begins_with_its_model_and_says_before_each_attempt_which_is_asked(
    bench: MakeBench,
) -> None:
    async with bench({"one": FAILS, "two": QUICK}) as b:
        await b.run()
        entries = [json.loads(line) for line in b.file.read_text().splitlines()]
        kinds = [entry.get("customType") or entry["type"] for entry in entries]
        assert kinds.count("model_change") == kinds.count("thinking_level_change") == 1
        assert kinds[1:4] == ["model_change", "thinking_level_change", "model-snapshot"]
        asked = [entry["data"]["modelId"] for entry in entries if entry.get("customType") == "model-snapshot"]
        assert asked == ["one", "two"]
        (failed,) = [entry["data"] for entry in entries if entry.get("customType") == "openclaw:prompt-error"]
        assert (failed["runId"], failed["sessionId"], failed["model"]) == ("turn-1", SESSION, "one")


@pytest.mark.parametrize("policy", ["takeover", "fresh-session"])
async def test_a_status_says_how_long_the_run_took_and_how_it_ended(bench: MakeBench, policy: str) -> None:
    async with bench({"one": QUICK}, policy=policy) as b:
        result = await b.run()
        entry = b.runner.store("main").read()[KEY]
        assert (entry["status"], entry["abortedLastRun"]) == ("done", False)
        assert 500 <= result["meta"]["durationMs"] <= entry["runtimeMs"] < 200_000  # the answer takes half a second
        assert 500 <= entry["endedAt"] - entry["startedAt"] < 200_000
        lifecycle = [data for stream, data in b.emitted if stream == "lifecycle"]
        assert [(data["phase"], data.get("aborted")) for data in lifecycle] == [("start", None), ("end", False)]


@pytest.mark.parametrize(
    ("status", "aborted"), [("killed", True), ("timeout", True), ("done", False), ("failed", False)]
)
async def test_only_a_stopped_run_counts_as_aborted(bench: MakeBench, status: str, aborted: bool) -> None:
    async with bench({"one": QUICK}) as b:
        await b.runner._begin_mark(b.plan())
        entry = b.runner.store("main").read()[KEY]
        assert (entry["status"], entry["abortedLastRun"]) == ("running", False)
        await b.runner._finish_mark(b.plan(), status, b.rig.clock.monotonic() - 5.0)
        entry = b.runner.store("main").read()[KEY]
        assert (entry["status"], entry["abortedLastRun"]) == (status, aborted)
        assert 5000 <= entry["runtimeMs"] < 60_000


@pytest.mark.parametrize(("policy", "wait_s"), [("takeover", 15.0), ("fresh-session", None)])
async def test_a_status_line_is_waited_for_a_quarter_of_a_minute_where_it_decides_nothing(
    bench: MakeBench, policy: str, wait_s: float | None
) -> None:
    async with bench({"one": QUICK}, policy=policy) as b:
        waits, real = [], b.runner.store

        def store(agent_id: str, wait_s: float | None = None) -> Any:
            waits.append(wait_s)
            return real(agent_id, wait_s)

        b.runner.store = store  # type: ignore[method-assign]
        await b.runner._begin_mark(b.plan())
        assert waits == [wait_s]


@pytest.mark.parametrize(("policy", "raised"), [("takeover", False), ("fresh-session", True)])
async def test_a_status_that_cannot_be_stored_ends_a_run_only_where_it_decides(
    bench: MakeBench, policy: str, raised: bool
) -> None:
    async with bench({"one": QUICK}, policy=policy) as b:

        async def mark(plan: TurnPlan, **fields: Any) -> None:
            raise SessionLocked("/s.lock", "pid=7", timeout_s=1, waited_s=1)

        b.runner._mark = mark  # type: ignore[method-assign]
        if raised:
            with pytest.raises(SessionLocked):
                await b.runner._begin_mark(b.plan())
        else:
            await b.runner._begin_mark(b.plan())
        await b.runner._finish_mark(b.plan(), "done", 0.0)
        line = f"[sessions] status of {KEY} not stored: sessions.json is busy (pid=7)"
        assert b.rig.logged == [line] * (1 if raised else 2)
        b.runner._not_stored(b.plan(), OSError("full"))
        assert b.rig.logged[-1] == f"[sessions] status of {KEY} not stored: full"


@pytest.mark.parametrize("late_s", [None, 20.0])
@pytest.mark.parametrize("late_settle", ["release", "reacquire"])
async def test_a_torn_down_attempt_says_so_and_is_kept_until_it_settles(
    bench: MakeBench, late_s: float | None, late_settle: str
) -> None:
    async with bench({"one": QUICK}, abort_settle_s=2.0, late_settle=late_settle) as b:

        async def settles() -> None:
            return None

        task = asyncio.ensure_future(settles())
        held: Any = HeldTwice()
        b.runner._tear_down(b.plan(), held, task, late_s)
        timeout = f"[agent/embedded] embedded run timeout: runId=run-1 sessionId={SESSION} timeoutMs=20000"
        settle = "[agent/embedded] embedded abort settle timed out: runId=run-1 timeoutMs=2000"
        assert b.rig.logged == ([settle] if late_s is None else [timeout, settle])
        assert bool(b.runner._unsettled) is (late_settle == "release")
        assert len(b.runner._background) == (late_settle == "reacquire")
        await asyncio.gather(*b.runner._background)
        await task
        assert held.resumed == (late_settle == "reacquire")


class HeldTwice:
    """A lock that counts how often it was taken back."""

    resumed = 0

    async def resume_async(self) -> None:
        self.resumed += 1


@pytest.mark.parametrize(
    ("snapshots", "failed", "deadline_passed", "asked"),
    [
        ([], [], False, "abc"),
        (["a"], [], False, "abc"),
        (["a"], [], True, "bca"),  # the user has waited too long for it
        (["a", "b"], ["m/a", "m/b"], True, "cba"),
        (["a", "b"], ["m/a", "m/b"], False, "bca"),  # an abort made b look failed
        (["a", "b"], ["m/a"], True, "cba"),
        (["c"], ["m/a"], False, "bca"),
    ],
)
def test_a_turn_that_was_taken_over_asks_the_untried_first(
    snapshots: list[str], failed: list[str], deadline_passed: bool, asked: str
) -> None:
    raw = [{"customType": "model-snapshot", "data": {"provider": "m", "modelId": name}} for name in snapshots]
    transcript: Any = SimpleNamespace(entries=[SimpleNamespace(raw=one) for one in [*raw, {"type": "message"}]])
    state: Any = SimpleNamespace(failed_models=failed)
    plan: Any = SimpleNamespace(deadline_passed=deadline_passed)
    chain = tuple(ModelRef("m", name) for name in "abc")
    found = embedded._untried_first(chain, state, transcript, plan)
    assert "".join(ref.model for ref in found) == asked


@pytest.mark.parametrize("how", ["limit", "abort"])
async def test_a_tool_that_is_stopped_is_noted_as_an_error(bench: MakeBench, how: str) -> None:
    sleeping = [{"tool_calls": [{"name": "exec", "arguments": {"command": "sleep 1000"}}]}]
    async with bench({"one": sleeping, "two": QUICK}) as b:
        running = asyncio.ensure_future(b.run(limit_s=20.0 if how == "limit" else 1e6))
        await b.rig.until("tool", "invoke")
        if how == "abort":
            b.abort.set()
            with pytest.raises(RunAborted):
                await running
        else:
            assert (await running)["payloads"][0]["text"] == "the answer"
        assert [(r.phase, r.data.get("is_error")) for r in b.rig.records("tool")] == [("invoke", None), ("info", True)]
        closed = next(m for m in read_entries(b.file).messages if m["role"] == "toolResult")
        assert closed["details"] == {"interrupted": True}


@pytest.mark.parametrize(("command", "is_error"), [("true", False), ("false", True)])
async def test_a_tool_that_ended_is_noted_as_it_ended(bench: MakeBench, command: str, is_error: bool) -> None:
    calls = [{"tool_calls": [{"name": "exec", "arguments": {"command": command}}], "times": 1}, *QUICK]
    async with bench({"one": calls}) as b:
        assert await b.answer() == "the answer"
        assert [r.data["is_error"] for r in b.rig.records("tool", "ok")] == [is_error]
        shown = [data for stream, data in b.emitted if stream == "tool"]
        assert [data["phase"] for data in shown] == ["start", "result"]
        assert shown[1]["isError"] is is_error


@pytest.mark.parametrize(
    ("stored", "follows", "moved"),
    [("another", True, True), (SESSION, True, False), ("another", False, False), (None, True, False), (7, True, False),
     ("aaa", True, True)],
)  # fmt: skip
async def test_a_run_follows_its_key_to_another_session(
    bench: MakeBench, stored: Any, follows: bool, moved: bool
) -> None:
    async with bench({"one": QUICK}, follows_rotation=follows) as b:
        fake: Any = SimpleNamespace(read=lambda: {KEY: {"sessionId": stored}} if stored else {})
        b.runner.store = lambda *how: fake  # type: ignore[method-assign]
        found = b.runner._moved(b.plan())
        assert (found is not None) is moved
        if found is not None:
            assert found == b.plan(session_id=stored, file=b.rig.sessions / f"{stored}.jsonl")


async def test_upstream_calls_only_the_first_time_out_of_a_transcript_one(bench: MakeBench) -> None:
    """The later ones are worded by the aborted message that the first has left in the file."""
    async with bench({"one": SLOW}, policy="fresh-session") as b:
        for text in ("LLM request timed out.", "Request was aborted"):
            with pytest.raises(ModelFailure) as ended:
                await b.run(limit_s=20.0)
            assert ended.value.message == text
        said = [line for line in b.rig.logged if "embedded run failover decision" in line]
        assert ["rawError=Request was aborted" in line for line in said] == [False, True]
