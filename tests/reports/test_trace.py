"""The trace: the rules that Perfetto's JSON importer sets, held against every example and random histories."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockjaw.harness.judge.checkers.examples import EXAMPLES, PATH, Story
from lockjaw.history.run import Outcome, Run
from lockjaw.reports import trace
from lockjaw.verdict import Verdict

from .busy import busy_history

Event = dict[str, Any]

PHASES = {"M", "X", "i", "s", "f", "b", "e"}


def render(history: list[Any]) -> Event:
    outcome = Outcome(False, None, 0, 0, 0, 0, False, None, None)
    return trace.trace(
        Run("s", "p", "sim", 1, Verdict.HELD, (), (), outcome, "sha256:0", 1.0, 1.0, Path("run"), history)
    )  # fmt: skip


def check_rules(document: Event) -> None:
    """Required keys, phases, order, nesting and flows, as the format and Perfetto's importer want them."""
    assert set(document) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert document["displayTimeUnit"] in ("ms", "ns")
    events = document["traceEvents"]
    threads = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    last = 0
    for event in events:
        assert event["ph"] in PHASES
        assert {"name", "ph", "ts", "pid", "tid"} <= set(event)
        assert all(type(event[key]) is int for key in ("ts", "pid", "tid"))
        assert type(event["name"]) is str
        assert event["ts"] >= last, "the order of time"
        last = event["ts"]
        if event["ph"] != "M":
            assert (event["pid"], event["tid"]) in threads, "a track with a name"
            assert event["cat"]
        if event["ph"] == "X":
            assert type(event["dur"]) is int
            assert event["dur"] >= 0
        if event["ph"] == "i":
            assert event["s"] == "t"
    check_nesting(events)
    check_flows(events)
    pairs = Counter((e["cat"], e["id"], e["pid"], e["ph"]) for e in events if e["ph"] in "be")
    assert all(pairs[cat, id_, pid, "b" if ph == "e" else "e"] == n == 1 for (cat, id_, pid, ph), n in pairs.items())


def check_nesting(events: list[Event]) -> None:
    tracks = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            tracks[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for slices in tracks.values():
        around: list[int] = []
        for begin, end in sorted(slices, key=lambda s: (s[0], -s[1])):
            while around and around[-1] <= begin:
                around.pop()
            assert not around or end <= around[-1], "slices of one track nest"
            around.append(end)


def check_flows(events: list[Event]) -> None:
    flows = defaultdict(list)
    for event in events:
        if event["ph"] in ("s", "f"):
            flows[event["cat"], event["id"]].append(event)
            inside = [
                e for e in events
                if e["ph"] == "X" and (e["pid"], e["tid"]) == (event["pid"], event["tid"])
                and e["ts"] <= event["ts"] <= e["ts"] + e["dur"]
            ]  # fmt: skip
            assert inside, "a flow begins and ends in a slice of its track"
    for start, end in flows.values():
        assert (start["ph"], end["ph"], end["bp"]) == ("s", "f", "e")
        assert start["ts"] <= end["ts"]


@pytest.mark.parametrize("policy", list(EXAMPLES))
def test_every_example_keeps_the_rules(policy: str) -> None:
    document = render(EXAMPLES[policy]())
    check_rules(document)
    assert json.loads(json.dumps(document)) == document


def test_a_long_history_keeps_the_rules() -> None:
    check_rules(render(busy_history(1500)))


SPAN = st.tuples(st.sampled_from(["gateway", "client"]), st.floats(0, 3), st.floats(0, 3), st.sampled_from(["m", "n"]))


@given(st.lists(SPAN, max_size=12), st.floats(-200, 5))
def test_operations_that_cross_each_other_keep_the_rules(
    spans: list[tuple[str, float, float, str]], start: float
) -> None:
    events: list[tuple[float, int, int]] = []
    for n, (_, a, b, _) in enumerate(spans):
        events += [(start + min(a, b), 0, n), (start + max(a, b), 1, n)]
    story = Story()
    for t, end, n in sorted(events):
        actor, _, _, model = spans[n]
        story.add(t, actor, "model.call", "ok" if end else "invoke", call_id=f"c{n}", model=model)
        story.add(t, "models", "provider.request", "ok" if end else "invoke", request_id=f"q{n}", model=model)
    check_rules(render(story.history()))


def test_two_holders_of_one_lock_at_once_are_both_in_the_trace() -> None:
    story = Story()
    for t, actor, name in (
        (0.0, "a", "lock"),
        (1.0, "b", "lock"),
        (2.0, "a", "lock.release"),
        (3.0, "b", "lock.release"),
    ):
        story.add(t, actor, name, "ok", path=PATH + ".lock")
    document = render(story.history())
    check_rules(document)
    owners = [e["name"] for e in document["traceEvents"] if e["pid"] == trace.LOCKS and e["ph"] in "Xb"]
    assert owners == ["a", "b"]


def test_tracks_are_named_after_actors_and_locks() -> None:
    events = render(EXAMPLES["takeover"]())["traceEvents"]
    names = {(e["pid"], e["args"]["name"]) for e in events if e["name"] == "thread_name"}
    assert {(trace.RUN, "client"), (trace.RUN, "gateway"), (trace.LOCKS, "lock of 9e051a52")} <= names
    held = [e["name"] for e in events if e["pid"] == trace.LOCKS and e["ph"] == "X"]
    assert held[0] == "gateway"
    assert held[-1] == "client"


def test_times_are_nominal_microseconds_from_the_first_record() -> None:
    story = Story()
    story.add(-2.5, "client", "client.call", "invoke", method="agent", run_id="r")
    story.add(1.000001, "gateway", "gateway.accepted", run_id="r")
    events = render(story.history())["traceEvents"]
    steps = [e["ts"] for e in events if e.get("cat") in ("client.call", "gateway.accepted")]
    assert steps == [0, 3_500_001]


def test_an_operation_that_never_ends_lasts_to_the_end_and_says_so() -> None:
    story = Story()
    story.add(0.0, "gateway", "model.call", "invoke", call_id="c", model="m")
    story.add(4.0, "client", "client.result", answered=False)
    (bar,) = [e for e in render(story.history())["traceEvents"] if e.get("cat") == "model"]
    assert bar["dur"] == 4_000_000
    assert "never" in bar["args"]["end"]


def test_the_rendered_trace_names_no_folder_of_the_machine(make_run: Callable[..., Any]) -> None:
    text = trace.render(make_run("reuse-session"))
    assert "/home/somebody" not in text
    assert "<state>/agents/main/sessions" in text
    assert text.isascii()
    assert json.loads(text)["otherData"]["policy"] == "reuse-session"


def test_an_empty_history_is_a_valid_trace() -> None:
    check_rules(render([]))
