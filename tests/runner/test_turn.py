"""The turn machine: order of effects, once-ness, resuming, aborting."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockjaw.runner import result as results
from lockjaw.runner import turn as turns
from lockjaw.runner.completion import ModelReply
from lockjaw.runner.tools import ToolOutcome, built_in_tools
from lockjaw.runner.turn import (
    AppendMessage,
    CallModel,
    Effect,
    Finish,
    IllegalTransition,
    Input,
    RunTool,
    State,
    ToolCall,
    Turn,
    TurnOptions,
    calls_of,
    options_for,
)
from lockjaw.settings import ModelRef

REF = ModelRef("qiniu", "deepseek-v3")
OPTIONS = options_for(REF, built_in_tools())
PROMPT = {"role": "user", "content": [{"type": "text", "text": "long task"}], "timestamp": 1}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def call(call_id: str = "c1", name: str = "exec", **arguments: Any) -> dict[str, Any]:
    return {"type": "toolCall", "id": call_id, "name": name, "arguments": arguments}


def reply(*parts: dict[str, Any], stop: str = "stop", **more: Any) -> ModelReply:
    return ModelReply(list(parts), turns.zero_usage(), stop, **more)


def started(**options: Any) -> Turn:
    turn = Turn([], options.pop("options", OPTIONS), prompt=PROMPT, **options)
    turn.start(10)
    return turn


def appended(effects: list[Effect]) -> list[dict[str, Any]]:
    return [effect.message for effect in effects if isinstance(effect, AppendMessage)]


# --------------------------------------------------------------------------- the ordinary way


def test_fresh_turn_appends_the_prompt_and_asks_the_model() -> None:
    first, second = Turn([], OPTIONS, prompt=PROMPT).start(10)
    assert first == AppendMessage(PROMPT)
    assert second == CallModel((PROMPT,), 1)


def test_answer_is_appended_as_upstream_writes_it_and_finishes_the_turn() -> None:
    turn = started()
    answer, finish = turn.model_replied(reply(text("hello"), response_id="c1"), 20)
    assert isinstance(answer, AppendMessage)
    assert answer.message == {
        "role": "assistant",
        "content": [text("hello")],
        "api": "openai-completions",
        "provider": "qiniu",
        "model": "deepseek-v3",
        "usage": turns.zero_usage(),
        "stopReason": "stop",
        "timestamp": 10,
        "responseId": "c1",
    }
    assert finish == Finish("hello", "stop")
    assert turn.state is State.ENDED


def test_assistant_message_with_its_calls_is_appended_before_any_tool_runs() -> None:
    turn = started()
    effects = turn.model_replied(reply(text("so"), call("a"), call("b"), stop="toolUse"), 20)
    assert [type(effect) for effect in effects] == [AppendMessage, RunTool]
    assert [c.id for c in calls_of(appended(effects)[0])] == ["a", "b"]
    assert turn.messages[-1]["stopReason"] == "toolUse"


def test_each_result_is_appended_before_the_next_tool_starts() -> None:
    turn = started()
    turn.model_replied(reply(call("a"), call("b", "read", path="x"), stop="toolUse"), 20)
    first = turn.tool_finished("a", ToolOutcome("1", details={"exitCode": 0}), 30)
    assert first[0] == AppendMessage(
        {
            "role": "toolResult",
            "toolCallId": "a",
            "toolName": "exec",
            "content": [text("1")],
            "details": {"exitCode": 0},
            "isError": False,
            "timestamp": 30,
        }
    )
    assert first[1] == RunTool(ToolCall("b", "read", {"path": "x"}))
    second = turn.tool_finished("b", ToolOutcome("no", True), 40)
    assert appended(second)[0]["isError"] is True
    assert second[-1] == CallModel(turn.messages, 2)


def test_unknown_tool_gets_an_error_result_and_is_not_run() -> None:
    turn = started()
    effects = turn.model_replied(reply(call("a", "launch"), stop="toolUse"), 20)
    assert [type(effect) for effect in effects] == [AppendMessage, AppendMessage, CallModel]
    result = appended(effects)[1]
    assert result["isError"] is True
    assert "Unknown tool 'launch'" in result["content"][0]["text"]


def test_call_with_broken_arguments_gets_an_error_result_and_is_not_run() -> None:
    turn = started()
    effects = turn.model_replied(
        reply(call("a"), stop="toolUse", invalid_arguments={"a": '{"command": "rm -rf /t'}), 20
    )
    assert not any(isinstance(effect, RunTool) for effect in effects)
    assert "no JSON object" in appended(effects)[1]["content"][0]["text"]


def test_call_ids_stay_unique_in_the_conversation_when_the_server_starts_anew() -> None:
    turn = started()
    turn.model_replied(reply(call("call_0"), stop="toolUse"), 20)
    turn.tool_finished("call_0", ToolOutcome("1"), 30)
    effects = turn.model_replied(reply(call("call_0"), call("call_0"), call(""), stop="toolUse"), 40)
    assert [c.id for c in calls_of(appended(effects)[0])] == ["call_0_2", "call_0_3", "call"]
    assert effects[-1] == RunTool(ToolCall("call_0_2", "exec", {}))


def test_calls_are_run_even_if_the_server_says_stop() -> None:
    turn = started()
    effects = turn.model_replied(reply(call("a"), stop="stop"), 20)
    assert isinstance(effects[-1], RunTool)
    assert turn.messages[-1]["stopReason"] == "toolUse"


def test_tool_use_without_a_call_is_an_ordinary_end() -> None:
    effects = started().model_replied(reply(text("done"), stop="toolUse"), 20)
    assert effects[-1] == Finish("done", "stop")


def test_empty_answer_becomes_an_error_payload() -> None:
    assert started().model_replied(reply(), 20)[-1] == Finish(turns.EMPTY_TEXT, "stop", is_error=True)


@pytest.mark.parametrize(("name", "expected"), [("exec", turns.EMPTY_AFTER_TOOLS_TEXT), ("read", turns.EMPTY_TEXT)])
def test_empty_answer_warns_when_a_tool_may_have_changed_something(name: str, expected: str) -> None:
    turn = started()
    turn.model_replied(reply(call("a", name), stop="toolUse"), 20)
    turn.tool_finished("a", ToolOutcome("1"), 30)
    assert turn.model_replied(reply(text(" ")), 40)[-1] == Finish(expected, "stop", is_error=True)


def test_model_that_goes_in_circles_is_ended_at_the_round_limit() -> None:
    turn = started(options=options_for(REF, built_in_tools(), max_rounds=2))
    for n in range(2):
        turn.model_replied(reply(call(f"c{n}"), stop="toolUse"), 20)
        effects = turn.tool_finished(f"c{n}", ToolOutcome("1"), 30)
    finish = effects[-1]
    assert isinstance(finish, Finish)
    assert "limit 2" in finish.text
    assert (finish.stop_reason, finish.is_error) == ("error", True)
    assert turn.messages[-1]["stopReason"] == "error"


# --------------------------------------------------------------------------- failing and stopping


def test_failed_attempt_keeps_what_was_said_but_no_cut_off_call() -> None:
    turn = started()
    error = RuntimeError("boom")
    effects = turn.model_failed(error, 20, [text("half"), call("a")])
    message = appended(effects)[0]
    assert message["content"] == [text("half")]
    assert (message["stopReason"], message["errorMessage"]) == ("error", "boom")
    assert effects[-1] == Finish("", "error", is_error=True, error=error, partial="half")


def test_attempt_that_hit_the_run_limit_is_written_as_upstream_writes_it() -> None:
    effects = started().model_failed(RuntimeError("LLM request timed out."), 20, [text("..")], stop_reason="aborted")
    assert appended(effects)[0]["stopReason"] == "aborted"
    assert appended(effects)[0]["errorMessage"] == "Request was aborted"


def test_abort_while_the_model_streams_keeps_the_partial_text() -> None:
    effects = started().aborted(20, [text("....")], response_id="c1")
    message = appended(effects)[0]
    assert message["content"] == [text("....")]
    assert (message["stopReason"], message["errorMessage"]) == ("aborted", "Request was aborted")
    assert message["responseId"] == "c1"
    assert effects[-1] == Finish(turns.TIMEOUT_TEXT, "aborted", is_error=True, partial="....")


def test_abort_while_a_tool_runs_closes_it_as_interrupted_and_the_rest_as_not_started() -> None:
    turn = started()
    turn.model_replied(reply(call("a"), call("b"), stop="toolUse"), 20)
    running, waiting, last = appended(turn.aborted(30))
    assert running["details"] == {"interrupted": True}
    assert "outcome is unknown" in running["content"][0]["text"]
    assert waiting["details"] == {"interrupted": True, "started": False}
    assert "was not run" in waiting["content"][0]["text"]
    assert last["stopReason"] == "aborted"


def test_abort_before_the_start_still_keeps_the_users_message() -> None:
    effects = Turn([], OPTIONS, prompt=PROMPT).aborted(5)
    assert effects[0] == AppendMessage(PROMPT)
    assert appended(effects)[1]["timestamp"] == 5
    assert isinstance(effects[-1], Finish)


def test_abort_before_the_start_of_a_continued_turn_closes_its_calls() -> None:
    effects = Turn([PROMPT], OPTIONS, pending=[ToolCall("a", "read", {})]).aborted(5)
    assert [message["role"] for message in appended(effects)] == ["toolResult", "assistant"]


def test_input_that_crossed_the_end_is_dropped() -> None:
    turn = started()
    turn.aborted(20)
    assert turn.aborted(21) == []
    assert turn.model_replied(reply(text("late")), 22) == []
    assert turn.model_failed(RuntimeError("late"), 23) == []
    assert turn.tool_finished("a", ToolOutcome("late"), 24) == []


def test_input_that_the_table_does_not_know_is_refused() -> None:
    turn = started()
    with pytest.raises(IllegalTransition, match="waiting for the model cannot take 'start'"):
        turn.start(20)
    with pytest.raises(IllegalTransition):
        turn.tool_finished("a", ToolOutcome("x"), 20)
    turn.model_replied(reply(call("a"), stop="toolUse"), 20)
    with pytest.raises(IllegalTransition):
        turn.tool_finished("other", ToolOutcome("x"), 20)


def test_table_ends_every_state_by_an_abort_and_leaves_the_end_by_nothing() -> None:
    for state in State:
        assert turns.TRANSITIONS[state, Input.ABORTED] == {State.ENDED}
    assert all(to == {State.ENDED} for (state, _), to in turns.TRANSITIONS.items() if state is State.ENDED)


# --------------------------------------------------------------------------- continuing


def test_continued_turn_closes_an_interrupted_call_and_does_not_run_it_again() -> None:
    context = [PROMPT, {"role": "assistant", "content": [call("a", command="x")], "stopReason": "toolUse"}]
    effects = Turn(context, OPTIONS, pending=[ToolCall("a", "exec", {"command": "x"})]).start(10)
    assert [type(effect) for effect in effects] == [AppendMessage, CallModel]
    result = appended(effects)[0]
    assert result["isError"] is True
    assert result["details"] == {"interrupted": True}


def test_continued_turn_runs_a_harmless_call_again() -> None:
    pending = [ToolCall("a", "read", {"path": "x"}), ToolCall("b", "exec", {})]
    turn = Turn([PROMPT], OPTIONS, pending=pending)
    assert turn.start(10) == [RunTool(pending[0], rerun=True)]
    effects = turn.tool_finished("a", ToolOutcome("1"), 20)
    assert [message["toolCallId"] for message in appended(effects)] == ["a", "b"]
    assert isinstance(effects[-1], CallModel)


def test_continued_turn_with_an_empty_end_warns_about_the_interrupted_call() -> None:
    turn = Turn([PROMPT], OPTIONS, pending=[ToolCall("a", "exec", {})])
    turn.start(10)
    assert turn.model_replied(reply(), 20)[-1] == Finish(turns.EMPTY_AFTER_TOOLS_TEXT, "stop", is_error=True)


def test_calls_of_reads_only_well_formed_assistant_messages() -> None:
    assert calls_of({"role": "user", "content": [call("a")]}) == []
    assert calls_of({"role": "assistant", "content": "text"}) == []
    broken = {"role": "assistant", "content": [None, {"type": "toolCall", "id": "a", "name": "x", "arguments": "?"}]}
    assert calls_of(broken) == [ToolCall("a", "x", {})]
    assert turns.text_of(None) == ""
    assert turns.text_of("plain") == "plain"


# --------------------------------------------------------------------------- invariants


@st.composite
def replies(draw: st.DrawFn) -> ModelReply:
    ids = st.sampled_from(["", "c", "call_0", "x1"])
    names = st.sampled_from(["exec", "read", "write", "nothing"])
    # Ids are unique within a reply (completion sees to it) but not between replies.
    calls = draw(st.lists(st.tuples(ids, names), max_size=3, unique_by=lambda c: c[0]))
    parts = [text(draw(st.sampled_from(["", "words"])))] + [call(i, n) for i, n in calls]
    broken = {i: "{" for i, _ in calls if draw(st.booleans())}
    return reply(*parts, stop=draw(st.sampled_from(["stop", "length", "toolUse"])), invalid_arguments=broken)


@st.composite
def walks(draw: st.DrawFn) -> tuple[Turn, list[Effect]]:
    """A turn driven to its end by random inputs; all its effects in order."""
    names = draw(st.lists(st.sampled_from(["exec", "read", "gone"]), max_size=3))
    pending = [ToolCall(f"old{n}", name, {}) for n, name in enumerate(names)]
    content = [call(old.id, old.name) for old in pending]
    context = [PROMPT, {"role": "assistant", "content": content, "stopReason": "toolUse"}] if pending else []
    options = TurnOptions(REF, frozenset({"exec", "read", "write"}), frozenset({"read"}), max_rounds=4)
    turn = Turn(context, options, prompt=None if pending else PROMPT, pending=pending)
    effects: list[Effect] = []
    if draw(st.integers(0, 9)) == 0:
        effects += turn.aborted(1)
    else:
        effects += turn.start(1)
    while turn.state is not State.ENDED:
        choice = draw(st.integers(0, 9))
        last = effects[-1]
        if choice == 0:
            effects += turn.aborted(2, [text("part"), call("cut")])
        elif isinstance(last, RunTool):
            effects += turn.tool_finished(last.call.id, ToolOutcome("out", draw(st.booleans())), 2)
        elif choice == 1:
            effects += turn.model_failed(RuntimeError("x"), 2, [text("part"), call("cut")])
        else:
            effects += turn.model_replied(draw(replies()), 2)
    return turn, effects


@given(walks())
def test_every_call_gets_exactly_one_result(walk: tuple[Turn, list[Effect]]) -> None:
    turn, _ = walk
    calls = [c.id for message in turn.messages for c in calls_of(message)]
    results = [message["toolCallId"] for message in turn.messages if message["role"] == "toolResult"]
    assert sorted(calls) == sorted(results)
    assert len(set(calls)) == len(calls)


@given(walks())
def test_no_tool_runs_before_its_assistant_message_is_on_disk(walk: tuple[Turn, list[Effect]]) -> None:
    turn, effects = walk
    on_disk = {c.id for message in turn.context for c in calls_of(message)}
    done: set[str] = set()
    for effect in effects:
        if isinstance(effect, AppendMessage):
            on_disk |= {c.id for c in calls_of(effect.message)}
            done |= {effect.message["toolCallId"]} if effect.message["role"] == "toolResult" else set()
        elif isinstance(effect, RunTool):
            assert effect.call.id in on_disk
            assert effect.call.id not in done
            assert effect.call.name in turn.options.known
            assert not effect.rerun or effect.call.name in turn.options.harmless


@given(walks())
def test_turn_ends_once_with_an_assistant_message_last(walk: tuple[Turn, list[Effect]]) -> None:
    turn, effects = walk
    assert [isinstance(effect, Finish) for effect in effects].count(True) == 1
    assert isinstance(effects[-1], Finish)
    assert turn.messages[-1]["role"] == "assistant"
    assert sum(isinstance(effect, CallModel) for effect in effects) <= turn.options.max_rounds


# --------------------------------------------------------------------------- marks and boundaries


@pytest.mark.parametrize("broken", [call("a", "launch"), call("a")], ids=["unknown", "no object"])
def test_a_call_that_could_not_be_made_is_marked_as_an_error(broken: dict[str, Any]) -> None:
    invalid = {"a": "{" * 600} if broken["name"] == "exec" else {}
    effects = started().model_replied(reply(broken, stop="toolUse", invalid_arguments=invalid), 20)
    (result,) = [message for message in appended(effects) if message["role"] == "toolResult"]
    assert (result["isError"], result["timestamp"], result.get("details")) == (True, 20, None)
    if invalid:
        assert result["content"] == [text(f"The arguments of exec are no JSON object: {'{' * 500}")]
    else:
        assert result["content"] == [text("Unknown tool 'launch'. Available tools: exec, read, write.")]


def test_a_call_that_was_not_begun_is_marked_as_an_error() -> None:
    turn = started()
    turn.model_replied(reply(call("a"), call("b"), stop="toolUse"), 20)
    running, waiting, last = appended(turn.aborted(30, usage={"input": 1}))
    assert (running["isError"], waiting["isError"]) == (True, True)
    assert (last["timestamp"], last["usage"]) == (10, {"input": 1})  # when the model was asked
    effects = Turn([PROMPT], OPTIONS, pending=[ToolCall("a", "read", {})]).aborted(5)
    assert appended(effects)[0]["details"] == {"interrupted": True}, "it may have been begun by the run before"


def test_a_turn_has_thirty_two_rounds() -> None:
    assert options_for(REF, {}).max_rounds == TurnOptions(REF).max_rounds == 32
    turn, asked = started(options=options_for(REF, built_in_tools(), max_rounds=3)), 1
    effects: list[Effect] = []
    while turn.state is not State.ENDED:
        turn.model_replied(reply(call(f"c{asked}"), stop="toolUse"), 20)
        effects = turn.tool_finished(f"c{asked}", ToolOutcome("1"), 30)
        asked += isinstance(effects[-1], CallModel)
    assert (asked, turn.round) == (3, 3)
    said = "The turn ended after 3 model calls without an answer (limit 3)."
    assert effects[-1] == Finish(f"⚠️ {said}", "error", is_error=True)
    assert turn.messages[-1]["errorMessage"] == said


def test_defaults_of_what_goes_out() -> None:
    assert (RunTool(ToolCall("a", "x", {})).rerun, Finish("x", "stop").is_error) == (False, False)
    assert Turn([], OPTIONS).round == 0
    assert set(turns.zero_usage().pop("cost").values()) == {0}
    assert [value for value in turns.zero_usage().values() if not isinstance(value, dict)] == [0] * 5
    assert "errorMessage" not in appended(started().model_replied(reply(text("x")), 20))[0]
    assert "responseId" not in appended(started().model_replied(reply(text("x")), 20))[0]


@pytest.mark.parametrize(
    ("stop", "expected"), [("stop", "stop"), ("length", "length"), ("toolUse", "stop"), ("a", "a")]
)
def test_an_answer_without_calls_ends_as_its_server_says(stop: str, expected: str) -> None:
    assert started().model_replied(reply(text("x"), stop=stop), 20)[-1] == Finish("x", expected)


def test_ids_of_the_context_are_taken() -> None:
    context = [PROMPT, {"role": "assistant", "content": [call("c"), call("c_2")], "stopReason": "toolUse"}]
    turn = Turn(context, OPTIONS)
    turn.start(1)
    effects = turn.model_replied(reply(call("c"), call("d"), stop="toolUse"), 2)
    assert [one.id for one in calls_of(appended(effects)[0])] == ["c_3", "d"]


@pytest.mark.parametrize(
    ("content", "said"),
    [([text("a"), text("b")], "a\nb"), ([{"type": "image", "text": "x"}, text("b")], "b"), ([None, "x"], ""),
     ([{"type": "text"}], ""), ({}, ""), ("a", "a"), ([{"type": "zzz", "text": "x"}], "")],
)  # fmt: skip
def test_text_is_what_text_parts_say(content: Any, said: str) -> None:
    assert turns.text_of(content) == said
    kept = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    assert turns.without_calls([*kept, call("a"), {"type": "zzz"}, {"type": "aaa"}]) == [
        *kept, {"type": "zzz"}, {"type": "aaa"},
    ]  # fmt: skip


def test_calls_are_parts_of_that_type_in_messages_of_an_assistant() -> None:
    parts = [{"type": "aaa", "id": "x"}, call("a"), {"type": "zzz", "id": "y"}, {"type": "toolCall"}]
    assert calls_of({"role": "assistant", "content": parts}) == [ToolCall("a", "exec", {}), ToolCall("", "", {})]
    for role in ("aaa", "user", "toolResult"):
        assert calls_of({"role": role, "content": parts}) == []


def test_an_answer_in_a_transcript_is_shown_as_one() -> None:
    usage = {"input": 1, "output": 2, "cacheRead": 3, "cacheWrite": 4, "totalTokens": 10}
    message = {"content": [text("x")], "provider": "p", "model": "m", "usage": usage, "stopReason": "length"}
    counted = {"input": 1, "output": 2, "cacheRead": 3, "cacheWrite": 4, "total": 10}
    assert results.result_of(message, "s") == {
        "payloads": [{"text": "x", "mediaUrl": None}],
        "meta": {
            "durationMs": 0, "aborted": False, "stopReason": "length",
            "agentMeta": {"sessionId": "s", "provider": "p", "model": "m", "usage": counted},
        },
    }  # fmt: skip
    bare = results.result_of({"usage": 5}, "s")["meta"]
    assert (bare["stopReason"], set(bare["agentMeta"]["usage"].values())) == ("stop", {0})
    timed_out = results.timed_out_result("s", REF, limit_s=1.5)
    assert timed_out["payloads"] == [{"text": turns.TIMEOUT_TEXT, "mediaUrl": None, "isError": True}]
    assert (timed_out["meta"]["aborted"], timed_out["meta"]["stopReason"]) == (True, "aborted")
    assert timed_out["meta"]["error"] == {"kind": "timeout", "message": "run limit of 1500ms passed"}
