"""One turn in one process: whatever an earlier run has left in the transcript, it goes on from there, once."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.errors import Fenced, ModelFailure, ModelsFailed, RunAborted, SessionLocked
from lockjaw.locking import SessionLock, inspect_lock
from lockjaw.runner.attempt import TurnPlan
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
