"""The plan: absolute instants, and the same bytes for the same ids."""

from __future__ import annotations

from typing import Any

import pytest

from lockjaw.fakes.models.reply_plan import Action, Break, Chunk, Circumstances, Open, Silence, Whole, plan
from lockjaw.fakes.models.script import Step, load_model_script
from lockjaw.fakes.models.wires import OPENAI_CHAT
from lockjaw.fakes.models.wires.surface import ChatRequest
from lockjaw.seeds import Seeds


def actions(step: dict[str, Any], *, stream: bool = True, seed: int = 1) -> list[Action]:
    value: Step = load_model_script({"models": {"m": [step]}}).models["m"][0]
    request = ChatRequest("m", stream, False, 1, (), 3)
    return list(plan(value, OPENAI_CHAT, request, Circumstances(1, Seeds(seed))))


def dues(step: dict[str, Any], **kwargs: Any) -> list[tuple[str, float]]:
    return [(type(action).__name__, action.at_s) for action in actions(step, **kwargs)]


def test_token_k_is_due_at_first_token_plus_k_times_inter_token() -> None:
    step = {"first_token_s": 0.5, "inter_token_s": 2.0, "token": ".", "count": 4}
    # the finish comes with the last token; headers at once
    assert dues(step) == [("Open", 0.0), ("Chunk", 0.5), ("Chunk", 2.5), ("Chunk", 4.5), ("Chunk", 6.5), ("Chunk", 6.5)]
    assert dues(step, stream=False) == [("Whole", 6.5)]
    last = actions(step)[-1]
    assert isinstance(last, Chunk)
    assert last.last
    assert b"[DONE]" in last.data


def test_a_stall_moves_everything_after_it() -> None:
    step = {"inter_token_s": 1.0, "tokens": ["a", "b", "c"], "stall_s": 10}
    assert [due for _, due in dues(step)] == [0.0, 0.0, 1.0, 2.0, 12.0]  # by default it comes before the finish
    assert [due for _, due in dues(step | {"stall_after_tokens": 1})] == [0.0, 0.0, 11.0, 12.0, 12.0]
    assert [due for _, due in dues(step | {"stall_after_tokens": 0})] == [0.0, 10.0, 11.0, 12.0, 12.0]
    assert dues(step, stream=False) == [("Whole", 12.0)]


def test_a_stall_for_ever_is_silence_after_its_last_token() -> None:
    step = {"first_token_s": 3.0, "tokens": ["a", "b"], "stall_s": "forever"}
    assert dues(step) == [("Open", 0.0), ("Chunk", 3.0), ("Chunk", 3.0), ("Silence", 3.0)]
    assert dues(step | {"stall_after_tokens": 0}) == [("Open", 0.0), ("Silence", 3.0)]
    assert dues(step, stream=False) == [("Silence", 0.0)]
    assert dues({"never_answer": True}) == [("Silence", 0.0)]


@pytest.mark.parametrize("how", ["rst", "fin"])
def test_a_break_follows_its_token_at_once(how: str) -> None:
    step = {"first_token_s": 1.0, "inter_token_s": 2.0, "tokens": ["a", "b", "c"]}
    cut = {"disconnect": {"after_tokens": 2, "how": how}}
    assert dues(step | cut) == [("Open", 0.0), ("Chunk", 1.0), ("Chunk", 3.0), ("Break", 3.0)]
    assert dues(step | {"disconnect": {"how": how}}) == [("Open", 0.0), ("Break", 1.0)]
    end = {"disconnect": {"after_tokens": 3, "how": how}}
    assert dues(step | end)[-1] == ("Break", 5.0)
    assert actions(step | cut, stream=False) == [Break(3.0, how)]


def test_half_a_chunk_goes_out_when_the_whole_would_have() -> None:
    step = {"inter_token_s": 2.0, "tokens": ["a", "b"], "disconnect": {"after_tokens": 1, "how": "mid_chunk"}}
    broken = actions(step)[-1]
    assert isinstance(broken, Break)
    assert isinstance(broken.half, Chunk)
    assert broken.at_s == 2.0
    assert b'"b"' in broken.half.data
    at_finish = actions(step | {"disconnect": {"after_tokens": 2, "how": "mid_chunk"}})[-1]
    assert isinstance(at_finish, Break)
    assert isinstance(at_finish.half, Chunk)
    assert b"[DONE]" in at_finish.half.data
    whole = actions(step, stream=False)[-1]
    assert isinstance(whole, Break)
    assert isinstance(whole.half, Whole)


def test_an_error_comes_first_token_s_after_the_request_with_its_headers() -> None:
    (reply,) = actions({"first_token_s": 4, "error": {"status": 429, "message": "m", "headers": {"retry-after": "2"}}})
    assert isinstance(reply, Whole)
    assert (reply.at_s, reply.status) == (4, 429)
    assert ("retry-after", "2") in reply.headers


def test_the_same_ids_give_the_same_bytes_and_tool_calls_are_tokens() -> None:
    step = {
        "text": "go",
        "inter_token_s": 1,
        "tool_calls": [{"name": "f"}, {"name": "g", "arguments": "{bro", "id": "x"}],
    }
    assert actions(step) == actions(step)
    assert actions(step) != actions(step, seed=2)
    assert [due for _, due in dues(step)] == [0.0, 0.0, 1.0, 2.0, 2.0]
    wire = b"".join(action.data for action in actions(step) if isinstance(action, Chunk))
    assert b'"arguments":"{bro"' in wire
    assert b'"finish_reason":"tool_calls"' in wire
    assert isinstance(actions(step)[0], Open)
    assert not any(isinstance(action, Silence) for action in actions(step))
