"""The model script: strict to read, and a counter per model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockjaw.documents.yaml import load_document
from lockjaw.errors import DocumentError
from lockjaw.fakes.models.progress import ScriptProgress
from lockjaw.fakes.models.script import ModelScript, Step, load_model_script, split_tokens

EXAMPLE = """\
models:
  deepseek-v3:
    - first_token_s: 0.5
      text: "Hello, world"
      inter_token_s: 2
      tool_calls: [{name: exec, arguments: {command: ls}}]
      finish: tool_calls
      usage: {prompt: 10, completion: 20}
      times: 2
    - token: "."
      count: 75
      stall_s: forever
      stall_after_tokens: 3
    - {error: {status: 429, message: slow down, headers: {retry-after: "2"}}, first_token_s: 1}
    - {tokens: [a, b], disconnect: {after_tokens: 1, how: mid_chunk}}
  silent:
    - {never_answer: true, ignore_disconnect: true}
"""


def script(*steps: dict[str, Any]) -> ModelScript:
    return load_model_script({"models": {"m": list(steps)}})


def test_the_documented_example_loads_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(EXAMPLE, encoding="utf-8")
    loaded = load_model_script(path)
    first, slow, refused, torn = loaded.models["deepseek-v3"]
    assert first.pieces == ("Hello", ",", " world")
    assert (first.token_count, first.finish_reason, first.times) == (4, "tool_calls", 2)
    assert slow.pieces == (".",) * 75
    assert slow.stall_s == "forever"
    assert refused.error is not None
    assert (refused.error.status, refused.error.headers) == (429, {"retry-after": "2"})
    assert torn.disconnect is not None
    assert (torn.disconnect.after_tokens, torn.disconnect.how) == (1, "mid_chunk")
    assert loaded.models["silent"][0].never_answer


def test_a_script_inside_a_scenario_is_blamed_by_the_scenarios_lines() -> None:
    document = load_document("story: once\nmodels:\n  m:\n    - {first_token_s: 1}\n    - {txt: x}\n", "s.yaml")
    with pytest.raises(DocumentError) as caught:
        load_model_script(document, at=("models",))
    assert (caught.value.path, caught.value.line, caught.value.key) == ("s.yaml", 5, "models.m[1].txt")
    good = load_document("story: once\nmodels: {m: [{text: hi}]}\n", "s.yaml")
    assert load_model_script(good, at=("models",)).models["m"][0].text == "hi"


@pytest.mark.parametrize(
    ("step", "key", "expected"),
    [
        ({"first_token_s": -1}, "first_token_s", "a number >= 0"),
        ({"inter_token_s": "2s"}, "inter_token_s", "a number >= 0"),
        ({"stall_s": "ever"}, "stall_s", "a number >= 0 or forever"),
        ({"times": 0}, "times", "a whole number >= 1"),
        ({"count": 3}, "count", "a token that it repeats"),
        ({"text": "a", "token": "b"}, "token", "only one of text, tokens and token (text is given too)"),
        ({"tokens": ["a"], "token": "b"}, "token", "only one of text, tokens and token (tokens is given too)"),
        ({"finish": "tool_calls"}, "finish", "stop or length (the step calls no tool)"),
        ({"finish": "done"}, "finish", "one of: stop, length, tool_calls, content_filter"),
        ({"text": "a b", "disconnect": {"after_tokens": 3}}, "disconnect", "after_tokens of at most 2"),
        (
            {"disconnect": {"how": "rudely"}},
            "disconnect.how",
            "mid_chunk, mid_header, mid_event, mid_utf8",
        ),
        ({"disconnect": {}, "finish": "stop"}, "finish", "no such key beside disconnect"),
        ({"disconnect": {}, "usage": {"prompt": 1, "completion": 1}}, "usage", "no such key beside disconnect"),
        ({"stall_after_tokens": 0}, "stall_after_tokens", "stall_s as well"),
        ({"text": "a", "stall_s": 1, "stall_after_tokens": 2}, "stall_after_tokens", "at most 1"),
        ({"stall_s": "forever", "finish": "stop"}, "finish", "no such key beside stall_s: forever"),
        ({"stall_s": "forever", "disconnect": {}}, "disconnect", "no such key beside stall_s: forever"),
        ({"error": {"status": 500}, "text": "x"}, "text", "no such key beside error"),
        ({"error": {"status": 500}, "never_answer": True}, "never_answer", "no such key beside error"),
        ({"error": {"status": 200}}, "error.status", "a whole number >= 400 and <= 599"),
        ({"error": {"status": 429, "headers": {"bad name": "x"}}}, "error.headers", "HTTP header names"),
        ({"error": {"status": 429, "headers": {"X": "a\r\nY: b"}}}, "error.headers", "printable ASCII"),
        ({"error": {"status": 429, "headers": {"Content-Length": "3"}}}, "error.headers", "no header that frames"),
        ({"error": {"status": 429, "headers": {"retry-after": 2}}}, "error.headers.retry-after", "text"),
        ({"never_answer": True, "text": "x"}, "text", "no such key beside never_answer"),
        ({"never_answer": True, "first_token_s": 1}, "first_token_s", "no such key beside never_answer"),
        ({"tool_calls": [{"arguments": {}}]}, "tool_calls[0].name", "this key"),
        ({"tool_calls": [{"name": "f", "arguments": []}]}, "tool_calls[0].arguments", "text or a mapping"),
        ({"usage": {"prompt": 1}}, "usage.completion", "this key"),
        ({"inter_token": 2}, "inter_token", "one of: count, disconnect, error"),
    ],
)
def test_contradictions_and_mistakes_are_refused_by_key(step: dict[str, Any], key: str, expected: str) -> None:
    with pytest.raises(DocumentError) as caught:
        script({"text": "fine"}, step)
    assert caught.value.key == f"models.m[1].{key}"
    assert caught.value.expected.startswith(expected) or caught.value.expected.endswith(expected)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ({}, "models"),
        ({"models": {}}, "models"),
        ({"models": {"m": []}}, "models.m"),
        ({"models": {"m": [{}]}, "x": 1}, "x"),
    ],
)
def test_a_script_names_at_least_one_model_with_one_step_and_nothing_else(value: dict[str, Any], key: str) -> None:
    with pytest.raises(DocumentError) as caught:
        load_model_script(value, path="inline")
    assert (caught.value.path, caught.value.key) == ("inline", key)


@given(st.text(max_size=80))
def test_the_tokens_of_a_text_are_the_text(text: str) -> None:
    assert "".join(split_tokens(text)) == text
    assert all(split_tokens(text)) or not text


def test_a_dotted_text_is_one_token_per_dot() -> None:
    assert split_tokens("....") == (".",) * 4
    assert Step(token=".").pieces == (".",)
    assert Step().pieces == ()


def test_steps_follow_each_other_by_times_and_the_last_repeats() -> None:
    progress = ScriptProgress(script({"text": "a", "times": 2}, {"text": "b"}, {"text": "c"}))
    taken = [progress.take("m") for _ in range(6)]
    assert [step.text for step, _ in taken] == ["a", "a", "b", "c", "c", "c"]
    assert [number for _, number in taken] == [1, 2, 3, 4, 5, 6]


def test_models_do_not_share_a_counter() -> None:
    steps = [{"text": "first"}, {"text": "second"}]
    progress = ScriptProgress(load_model_script({"models": {"a": steps, "b": steps}}))
    order = [(model, progress.take(model)[0].text) for model in ("a", "b", "b", "a")]
    assert order == [("a", "first"), ("b", "first"), ("b", "second"), ("a", "second")]


def test_unused_steps_are_named_with_how_often_they_were_used() -> None:
    progress = ScriptProgress(script({"text": "a", "times": 2}, {"text": "b"}))
    progress.take("m")
    assert progress.unused() == ["models.m[0] was used 1 of 2 times", "models.m[1] was used 0 of 1 times"]
    progress.take("m")
    assert progress.unused() == ["models.m[1] was used 0 of 1 times"]
    progress.take("m")
    progress.take("m")
    assert progress.unused() == []
    with pytest.raises(KeyError):
        progress.take("other")
