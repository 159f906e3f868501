"""The event stream decoder: any chunking gives the same events."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockjaw.runner.sse import EventStream, StreamTooLong

STREAM = (
    ": a comment\r\n"
    'data: {"a": "größe 🔒"}\r\n\r\n'
    "event: ping\ndata\n\n"
    "data:first\r\ndata:  second\nid: 7\n\n"
    "retry: 3\r\rdata: cr only\r\r"
    "data: last\n"
).encode()
EVENTS = ['{"a": "größe 🔒"}', "", "first\n second", "cr only", "last"]


def decode(chunks: list[bytes]) -> list[str]:
    stream = EventStream()
    events = [event for chunk in chunks for event in stream.feed(chunk)]
    return events + stream.close()


def test_stream_in_one_piece() -> None:
    assert decode([STREAM]) == EVENTS


@pytest.mark.parametrize("size", range(1, 11))
def test_stream_in_pieces_of_one_to_ten_bytes(size: int) -> None:
    assert decode([STREAM[i : i + size] for i in range(0, len(STREAM), size)]) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=12).map(sorted))
def test_any_cut_gives_the_same_events(cuts: list[int]) -> None:
    edges = [0, *cuts, len(STREAM)]
    assert decode([STREAM[a:b] for a, b in itertools.pairwise(edges)]) == EVENTS


@given(st.lists(st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=("Cs",)), max_size=9)),
       st.sampled_from(["\n", "\r\n", "\r"]), st.integers(1, 5))  # fmt: skip
def test_every_data_line_comes_out_whole(lines: list[str], end: str, size: int) -> None:
    raw = "".join(f"data: {line}{end}{end}" for line in lines).encode()
    assert decode([raw[i : i + size] for i in range(0, len(raw), size)]) == lines


def test_byte_order_mark_is_skipped() -> None:
    assert decode([b"\xef", b"\xbb\xbfda", b"ta: x\n\n"]) == ["x"]


def test_bytes_that_are_no_utf8_do_not_end_the_stream() -> None:
    assert decode([b"data: a\xffb\n\n"]) == ["a�b"]


@pytest.mark.parametrize(
    "chunks",
    [[b"data: 12", b"34567"], [b"data: 1234567890\n"], [b"data: 1234\n" * 3], [b": 123456789"], [b"data: ", b"12345"]],
    ids=["unfinished", "finished", "many lines", "comment", "in pieces"],
)
def test_line_or_event_over_the_limit_is_refused(chunks: list[bytes]) -> None:
    stream = EventStream(limit_bytes=10)
    for chunk in chunks[:-1]:
        stream.feed(chunk)
    with pytest.raises(StreamTooLong, match="longer than 10 bytes"):
        stream.feed(chunks[-1])


def test_event_at_the_limit_is_taken() -> None:
    assert EventStream(limit_bytes=10).feed(b"data: 1234\n\n") == ["1234"]
