"""The toxics as pure functions of bytes and time: no socket, no clock, no waiting."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockjaw.errors import LocalError
from lockjaw.fakes.links.toxics import (
    TOXICS,
    Bandwidth,
    Conversation,
    Ending,
    FailFirst,
    Item,
    Latency,
    LimitData,
    Loss,
    ResetPeer,
    Slicer,
    SlowClose,
    Stall,
    Stream,
    Toxic,
    parse_toxic,
)
from lockjaw.fakes.links.toxics.stage import Stage, Timed
from lockjaw.fakes.links.toxics.trigger import Matcher

#: One of each that loses nothing by itself.
LOSSLESS: dict[str, Toxic] = {
    "latency": Latency(latency_s=0.2, jitter_s=0.15),
    "bandwidth": Bandwidth(rate_bytes_per_s=100),
    "line that is cut": Bandwidth(rate_bytes_per_s=0),
    "slicer": Slicer(average_bytes=7, variation_bytes=3, delay_s=0.05),
    "stall": Stall(),
    "slow_close": SlowClose(delay_s=3),
    "loss": Loss(rate=0.4, segment_bytes=10),
    "limit that is far": LimitData(limit_bytes=10**9),
    "reset that is far": ResetPeer(after_s=10**9),
    "fail_first, silent": FailFirst(connections=1, how="silence"),
    "triggered latency": Latency(latency_s=5, trigger="ab"),
    "triggered stall": Stall(trigger="b"),
}
ENDLESS = {"line that is cut", "stall", "fail_first, silent", "triggered stall"}
lossless = pytest.mark.parametrize("toxic", LOSSLESS.values(), ids=LOSSLESS)

#: Pieces with the pause before each.
arrivals = st.lists(st.tuples(st.floats(0, 2), st.text("ab", min_size=1, max_size=30).map(str.encode)), max_size=8)


def conversation_with(*toxics: Toxic, seed: int = 1, nth: int = 1, now: float = 0.0) -> Conversation:
    talk = Conversation()
    for toxic in toxics:
        talk.add(toxic, random.Random(seed), nth=nth, now=now)
    return talk


def stage_of(toxic: Toxic, *, seed: int = 1, nth: int = 1) -> Stage:
    stage = toxic.stage(random.Random(seed), nth)
    stage.begin(0.0)
    return stage


def bytes_of(items: list[Item]) -> bytes:
    return b"".join(item for item in items if isinstance(item, bytes))


def by_byte(timed: list[Timed]) -> list[tuple[float, int | Ending]]:
    """The instant of each byte, however they were cut."""
    return [(at, b) for at, item in timed for b in (item if isinstance(item, bytes) else [item])]


# --------------------------------------------------------------------------- laws of all of them


@lossless
@settings(max_examples=30)
@given(arrivals=arrivals, takes=st.lists(st.floats(0, 5), max_size=5), seed=st.integers(0, 9), heal_at=st.floats(0, 20))
def test_a_healed_toxic_has_lost_nothing_and_changed_no_order(
    toxic: Toxic, arrivals: list[tuple[float, bytes]], takes: list[float], seed: int, heal_at: float
) -> None:
    talk, now, out = conversation_with(toxic, seed=seed), 0.0, []
    wake = sorted(takes)
    for pause, piece in arrivals:
        now += pause
        while wake and wake[0] <= now:
            out += talk.take("downstream", wake.pop(0))
        talk.put("downstream", piece, now)
    talk.put("downstream", Ending.FIN, now)
    now = max(now, heal_at)
    out += talk.take("downstream", now)
    talk.heal(toxic.label, now=now)
    out += talk.take("downstream", now)
    assert bytes_of(out) == b"".join(piece for _, piece in arrivals)
    assert out[-1] is Ending.FIN  # the end comes behind the bytes
    assert talk.held_bytes("downstream") == 0
    assert talk.untouched("downstream")
    assert talk.next_deadline() is None


@lossless
@settings(max_examples=30)
@given(arrivals=arrivals, takes=st.lists(st.floats(0, 5), max_size=6), seed=st.integers(0, 9))
def test_when_a_byte_is_ready_does_not_depend_on_when_we_look(
    toxic: Toxic, arrivals: list[tuple[float, bytes]], takes: list[float], seed: int
) -> None:
    def driven(looks: list[float]) -> list[Timed]:
        talk = conversation_with(toxic, seed=seed)
        stage = talk.streams["downstream"].stage(toxic.label)
        now, out, looks = 0.0, [], sorted(looks)
        for pause, piece in arrivals:
            now += pause
            while looks and looks[0] <= now:
                out += stage.take(looks.pop(0))
            stage.put(piece, now)
        return out + stage.take(10_000.0)

    assert by_byte(driven(takes)) == by_byte(driven([]))


@lossless
@settings(max_examples=30)
@given(arrivals=arrivals, seed=st.integers(0, 9))
def test_a_driver_that_wakes_at_each_deadline_sees_everything_in_the_end(
    toxic: Toxic, arrivals: list[tuple[float, bytes]], seed: int
) -> None:
    talk, now, out = conversation_with(toxic, seed=seed), 0.0, []
    for pause, piece in arrivals:
        now += pause
        talk.put("upstream", piece, now)  # the other direction is not concerned
        talk.put("downstream", piece, now)
    sent = b"".join(piece for _, piece in arrivals)
    assert bytes_of(talk.take("upstream", now)) == sent
    out += talk.take("downstream", now)
    while (deadline := talk.next_deadline()) is not None and deadline < 10**6:
        assert deadline >= now, "a deadline in the past after a take would spin"
        now = deadline
        out += talk.take("downstream", now)
    endless = LOSSLESS_NAMES[toxic] in ENDLESS
    assert bytes_of(out) == sent[: len(bytes_of(out))]
    assert endless or bytes_of(out) == sent


LOSSLESS_NAMES = {toxic: name for name, toxic in LOSSLESS.items()}


@given(
    data=st.binary(min_size=1, max_size=200),
    cuts=st.sets(st.integers(1, 199)),
    toxic=st.sampled_from([LOSSLESS["slicer"], LOSSLESS["loss"], LOSSLESS["triggered latency"]]),
)
def test_where_a_toxic_strikes_does_not_depend_on_how_the_bytes_were_sent(
    data: bytes, cuts: set[int], toxic: Toxic
) -> None:
    def times(pieces: list[bytes]) -> list[Any]:
        talk = conversation_with(toxic)
        stage = talk.streams["downstream"].stage(toxic.label)
        for piece in pieces:
            stage.put(piece, 1.0)
        return by_byte(stage.take(10_000.0))

    borders = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    assert times([data[a:b] for a, b in itertools.pairwise(borders)]) == times([data])


@lossless
def test_what_a_toxic_holds_is_counted_with_what_keeping_it_costs(toxic: Toxic) -> None:
    talk = conversation_with(toxic)
    for _ in range(100):
        talk.put("downstream", b"b", 0.0)
        talk.take("downstream", 0.0)
    left = 100 - len(bytes_of(talk.take("downstream", 0.0)))
    held = talk.held_bytes("downstream")
    assert held >= 0
    if LOSSLESS_NAMES[toxic] in ("stall", "latency", "line that is cut"):
        assert held > 100 * left - 200, "a hundred single bytes are not a hundred bytes of memory"
    talk.heal(toxic.label, now=0.0)
    talk.take("downstream", 0.0)
    assert talk.held_bytes("downstream") == 0


def test_slicing_a_megabyte_into_single_bytes_does_not_take_a_hundred() -> None:
    stage = stage_of(Slicer(average_bytes=1, delay_s=1))
    stage.put(b"x" * 1_000_000, 0.0)
    assert len(stage.take(9.0)) == 10
    assert 999_000 < stage.held_bytes < 1_001_000
    (at, rest), *_ = stage.heal(10.0)[1:]
    assert (at, len(rest)) == (0.0, 999_989)  # cut where it is given, not where it is taken


# --------------------------------------------------------------------------- effects


def test_latency_delays_each_piece_from_its_own_arrival_and_keeps_the_order() -> None:
    stage = stage_of(Latency(latency_s=2.0))
    stage.put(b"a", 1.0)
    stage.put(b"b", 2.5)
    stage.put(Ending.FIN, 2.5)
    assert stage.take(2.999) == []
    assert stage.next_deadline() == 3.0
    assert stage.take(100.0) == [(3.0, b"a"), (4.5, b"b"), (4.5, Ending.FIN)]
    jittery = stage_of(Latency(latency_s=1.0, jitter_s=1.0))
    for n in range(200):
        jittery.put(bytes([n]), 0.0)
    times = [at for at, _ in jittery.take(100.0)]
    assert times == sorted(times)
    assert 0 <= times[0] < 1.5 < times[-1] <= 2.0


def test_bandwidth_carries_its_rate_and_not_more_however_late_it_is_looked_at() -> None:
    stage = stage_of(Bandwidth(rate_bytes_per_s=100))
    stage.put(b"x" * 1000, 5.0)
    assert 490 <= len(bytes_of([item for _, item in stage.take(10.0)])) <= 500
    timed = stage.take(100.0)
    assert timed[-1][0] == pytest.approx(15.0)
    stage.put(b"y" * 100, 50.0)  # an idle line saves nothing up
    assert stage.take(100.0)[-1][0] == pytest.approx(51.0)


def test_slicer_gives_pieces_of_its_size_with_its_pause_between() -> None:
    stage = stage_of(Slicer(average_bytes=10, variation_bytes=4, delay_s=0.5))
    stage.put(b"z" * 1000, 0.0)
    timed = stage.take(1000.0)
    sizes = [len(item) for _, item in timed if isinstance(item, bytes)]
    assert all(6 <= size <= 14 for size in sizes[:-1])
    assert len(set(sizes)) > 3
    assert [at for at, _ in timed] == pytest.approx([0.5 * n for n in range(len(timed))])


def test_stall_holds_everything_and_closes_when_its_time_is_over() -> None:
    for_ever = stage_of(Stall())
    for_ever.put(b"a", 0.0)
    for_ever.put(Ending.RESET, 0.0)  # the news of a reset does not arrive either
    assert for_ever.take(10**9) == []
    assert for_ever.next_deadline() is None
    limited = stage_of(Stall(timeout_s=9))
    limited.put(b"a", 0.0)
    assert limited.next_deadline() == 9.0
    assert limited.take(8.9) == []
    assert limited.take(10.0) == [(9.0, Ending.CLOSE)]
    assert limited.take(11.0) == []


def test_a_stall_that_discards_can_only_be_healed_by_closing() -> None:
    stage = stage_of(Stall(discard=True))
    assert stage.heal(1.0) == []  # nothing was lost yet
    stage = stage_of(Stall(discard=True))
    stage.put(b"a", 0.0)
    assert stage.held_bytes == 0
    assert stage.heal(1.0) == [(1.0, Ending.CLOSE)]  # a stream with a hole in it must not go on


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("pieces", [[b"abcdefghij"], [b"abc", b"def", b"g"], [b"abcde", b"f"]])
def test_limit_data_passes_exactly_its_bytes(pieces: list[bytes], reset: bool) -> None:
    stage = stage_of(LimitData(limit_bytes=5, reset=reset))
    for piece in pieces:
        stage.put(piece, 1.0)
    stage.put(Ending.FIN, 2.0)
    items = [item for _, item in stage.take(9.0)]
    assert bytes_of(items) == b"abcde"
    assert items[-1] is (Ending.RESET if reset else Ending.CLOSE)
    assert items.count(items[-1]) == 1
    none = stage_of(LimitData(limit_bytes=0))
    none.put(b"a", 0.0)
    assert none.take(0.0) == [(0.0, Ending.CLOSE)]
    under = stage_of(LimitData(limit_bytes=5))
    under.put(b"abcd", 0.0)
    under.put(Ending.FIN, 0.0)
    assert [item for _, item in under.take(0.0)] == [b"abcd", Ending.FIN]


@pytest.mark.parametrize("ending", Ending)
def test_slow_close_delays_the_end_alone(ending: Ending) -> None:
    stage = stage_of(SlowClose(delay_s=7))
    stage.put(b"a", 1.0)
    stage.put(ending, 2.0)
    assert stage.take(100.0) == [(1.0, b"a"), (9.0, ending)]


def test_reset_peer_lets_bytes_pass_until_its_hour_and_none_after() -> None:
    stage = stage_of(ResetPeer(after_s=3))
    assert stage.next_deadline() == 3.0
    stage.put(b"a", 1.0)
    assert stage.take(1.0) == [(1.0, b"a")]
    stage.put(b"b", 2.9)
    stage.put(b"c", 3.0)
    assert stage.take(5.0) == [(2.9, b"b"), (3.0, Ending.RESET)]
    stage.put(b"d", 6.0)
    assert stage.take(9.0) == []
    assert stage.next_deadline() is None


def test_loss_delays_segments_by_whole_retransmissions_and_all_behind_them() -> None:
    stage = stage_of(Loss(rate=0.3, segment_bytes=100, retransmit_s=0.2))
    segments = 2000
    for n in range(segments):
        stage.put(b"s" * 100, n * 30.0)  # far apart: no segment waits for another
    lates = [round(at - n * 30.0, 6) for n, (at, _) in enumerate(stage.take(10**9))]
    counted = Counter(lates)
    assert set(counted) <= {round(0.2 * (2**k - 1), 6) for k in range(8)}
    # 600 expected, standard deviation 20: five of them on either side.
    assert 500 < segments - counted[0.0] < 700
    together = stage_of(Loss(rate=0.3, segment_bytes=100, retransmit_s=0.2))
    together.put(b"s" * 10_000, 0.0)
    times = [at for at, _ in together.take(10**9)]
    assert times == sorted(times)
    assert times[-1] > 0


@pytest.mark.parametrize(("how", "ending"), [("reset", Ending.RESET), ("close", Ending.CLOSE)])
def test_fail_first_fails_so_many_connections_and_no_older_ones(how: Any, ending: Ending) -> None:
    toxic = FailFirst(connections=2, how=how)
    outcomes = []
    for nth in range(5):
        talk = conversation_with(toxic, nth=nth)
        talk.put("downstream", b"a", 0.0)
        outcomes.append(talk.take("downstream", 0.0))
    assert outcomes == [[b"a"], [ending], [ending], [b"a"], [b"a"]]


# --------------------------------------------------------------------------- triggers


@given(st.text("ab", max_size=60).map(str.encode), st.sets(st.integers(1, 59)), st.integers(1, 4))
def test_the_cue_is_found_wherever_the_stream_was_cut(data: bytes, cuts: set[int], nth: int) -> None:
    pattern = b"aba"
    starts, at = [], 0
    while (at := data.find(pattern, at)) >= 0:
        starts.append(at)
        at += len(pattern)
    expected = starts[nth - 1] + len(pattern) if len(starts) >= nth else None
    matcher, found, before = Matcher(pattern, nth), None, 0
    borders = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    for a, b in itertools.pairwise(borders):
        offset = matcher.feed(data[a:b])
        if offset is not None:
            found = a + offset
            break
        before = b
    assert found == expected
    assert before <= len(data)


def test_a_triggered_toxic_applies_to_the_first_byte_behind_its_cue() -> None:
    talk = conversation_with(Latency(latency_s=5, trigger="[DONE]"))
    for piece in (b"data: [DO", b"NE]", b"\n\n"):
        talk.put("downstream", piece, 1.0)
    assert bytes_of(talk.take("downstream", 1.0)) == b"data: [DONE]"
    assert talk.next_deadline() == 6.0
    assert talk.take("downstream", 6.0) == [b"\n\n"]


def test_a_cue_on_the_other_stream_starts_the_clock_there() -> None:
    talk = conversation_with(ResetPeer(after_s=2, stream="downstream", trigger="POST", trigger_stream="upstream"))
    talk.put("downstream", b"POST", 0.0)  # not where it is looked for
    talk.put("upstream", b"GET /", 1.0)
    assert talk.take("downstream", 1.0) == [b"POST"]
    assert talk.next_deadline() == 1.0
    assert talk.take("upstream", 1.0) == [b"GET /"]
    assert not talk.untouched("upstream")  # somebody listens: no short way
    talk.put("upstream", b"PO", 4.0)
    talk.put("upstream", b"ST", 5.0)
    assert bytes_of(talk.take("upstream", 5.0)) == b"POST"
    assert talk.next_deadline() == 7.0
    assert talk.take("downstream", 7.5) == [Ending.RESET]
    assert talk.untouched("upstream")


def test_healing_a_toxic_that_waits_for_its_cue_forgets_the_cue() -> None:
    talk = conversation_with(Stall(trigger="x", trigger_stream="upstream"))
    talk.heal("stall_downstream", now=0.0)
    talk.put("upstream", b"x", 1.0)
    talk.put("downstream", b"a", 1.0)
    assert talk.take("downstream", 1.0) == [b"a"]


# --------------------------------------------------------------------------- chains, changes, chance


def test_toxics_apply_in_the_order_in_which_they_were_added() -> None:
    talk = conversation_with(Slicer(average_bytes=2), Latency(latency_s=1))
    talk.put("downstream", b"abcd", 0.0)
    assert talk.take("downstream", 0.5) == []
    assert talk.take("downstream", 1.0) == [b"ab", b"cd"]
    limited = conversation_with(LimitData(limit_bytes=2), SlowClose(delay_s=5))
    limited.put("downstream", b"abcd", 0.0)
    assert limited.take("downstream", 1.0) == [b"ab"]
    assert limited.take("downstream", 5.0) == [Ending.CLOSE]  # the end that one toxic makes passes the next


def test_a_toxic_healed_in_the_middle_of_a_chain_gives_what_it_held_to_the_next() -> None:
    talk = conversation_with(Stall(), Latency(latency_s=3))
    talk.put("downstream", b"abc", 0.0)
    talk.heal("stall_downstream", now=10.0)
    assert talk.take("downstream", 12.9) == []
    talk.put("downstream", b"def", 12.9)
    assert talk.take("downstream", 13.0) == [b"abc"]
    assert talk.take("downstream", 15.9) == [b"def"]


def test_a_toxic_does_not_concern_what_arrived_before_it() -> None:
    talk = Conversation()
    talk.put("downstream", b"before", 0.0)
    talk.add(Stall(), random.Random(1), nth=0, now=0.0)
    talk.put("downstream", b"after", 0.0)
    assert talk.take("downstream", 9.0) == [b"before"]


@pytest.mark.parametrize("new", [Latency(latency_s=1), Latency(latency_s=100), Latency()])
def test_a_changed_toxic_treats_what_it_holds_anew(new: Latency) -> None:
    talk = conversation_with(Latency(latency_s=50))
    talk.put("downstream", b"a", 0.0)
    talk.put("downstream", b"b", 0.0)
    talk.change(new, random.Random(1), nth=1, now=10.0)
    talk.put("downstream", Ending.FIN, 10.0)
    assert talk.take("downstream", 10.0 + new.latency_s) == [b"a", b"b", Ending.FIN]


def test_a_changed_toxic_remembers_that_its_cue_has_come() -> None:
    talk = conversation_with(Latency(latency_s=50, trigger="x"))
    talk.put("downstream", b"xa", 0.0)
    assert talk.take("downstream", 0.0) == [b"x"]
    talk.change(Latency(latency_s=1, trigger="x"), random.Random(1), nth=1, now=10.0)
    talk.put("downstream", b"b", 10.0)
    assert talk.take("downstream", 10.5) == []
    assert talk.take("downstream", 11.0) == [b"a", b"b"]


def test_toxicity_is_a_share_of_connections_and_a_greater_one_spares_none_that_was_hit() -> None:
    def hit(toxicity: float) -> set[int]:
        toxic, found = Stall(toxicity=toxicity), set()
        for number in range(1000):
            talk = Conversation()
            talk.add(toxic, random.Random(number), nth=1, now=0.0)
            if not talk.untouched("downstream"):
                found.add(number)
        return found

    assert hit(0.0) == set()
    assert len(hit(1.0)) == 1000
    assert 200 < len(hit(0.25)) < 300
    assert hit(0.25) < hit(0.5)


def test_healing_what_spared_this_connection_changes_nothing() -> None:
    talk = conversation_with(Stall(toxicity=0.0))
    talk.put("downstream", b"a", 0.0)
    talk.heal("stall_downstream", now=0.0)
    assert talk.take("downstream", 0.0) == [b"a"]
    changed = conversation_with(Stall(toxicity=0.0))
    changed.change(Stall(), random.Random(1), nth=1, now=0.0)
    changed.put("downstream", b"a", 0.0)
    assert changed.take("downstream", 0.0) == []
    changed.change(Stall(toxicity=0.0), random.Random(1), nth=1, now=1.0)
    assert changed.take("downstream", 1.0) == [b"a"]


def test_an_untouched_stream_says_so() -> None:
    stream = Stream()
    assert stream.untouched
    stream.put(b"a", 0.0)
    assert not stream.untouched
    assert stream.next_deadline() == 0.0
    assert stream.take(0.0) == [b"a"]
    assert stream.untouched


# --------------------------------------------------------------------------- what people type


def test_a_toxic_is_read_as_people_type_it() -> None:
    assert parse_toxic("latency latency_s=0.2 jitter_s=0.05 stream=upstream") == Latency(
        latency_s=0.2, jitter_s=0.05, stream="upstream"
    )
    assert parse_toxic("stall trigger='data: [DONE]' trigger_nth=2 name=end").label == "end"
    assert parse_toxic("limit_data limit_bytes=10 reset=true") == LimitData(limit_bytes=10, reset=True)
    assert parse_toxic("bandwidth rate_bytes_per_s=1000 toxicity=0.5").toxicity == 0.5
    assert {parse_toxic(f"{name} {more}").type for name, more in REQUIRED.items()} == set(TOXICS)


REQUIRED = {
    "latency": "", "bandwidth": "rate_bytes_per_s=1", "slicer": "average_bytes=1", "stall": "", "loss": "rate=0.1",
    "limit_data": "limit_bytes=1", "slow_close": "delay_s=1", "reset_peer": "", "fail_first": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no toxic is called ''; there are latency, bandwidth"),
        ("lag latency_s=1", "no toxic is called 'lag'; there are latency"),
        ("latency 5", "expected key=value, got '5'"),
        ("latency 'x", "No closing quotation"),
        ("latency delay_s=1", "toxic latency: no key 'delay_s'; there are jitter_s, latency_s, name"),
        ("latency latency_s=-1", "at latency_s expected a number >= 0, got -1"),
        ("latency latency_s=soon", "at latency_s expected a number >= 0, got 'soon'"),
        ("latency stream=sideways", "at stream expected upstream or downstream, got 'sideways'"),
        ("latency toxicity=1.1", "<= 1"),
        ("bandwidth", "at rate_bytes_per_s expected this key (it is required)"),
        ("slicer average_bytes=3 variation_bytes=3", "at variation_bytes expected less than average_bytes, got 3"),
        ("loss rate=1", "for a link that passes nothing use stall"),
        ("stall trigger=''", "at trigger expected a text that is not empty"),
        ("stall trigger_nth=2", "at trigger expected a text, beside trigger_nth or trigger_stream"),
        ("fail_first how=slowly", "at how expected one of: reset, close, silence, got 'slowly'"),
    ],
)
def test_a_toxic_that_makes_no_sense_is_refused_with_what_is_allowed(text: str, said: str) -> None:
    with pytest.raises(LocalError) as caught:
        parse_toxic(text)
    assert said in str(caught.value)
