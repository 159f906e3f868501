"""The history: whole lines, one order, one hash."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.errors import HarnessError
from lockjaw.history import (
    OPERATIONS,
    FileRecorder,
    MemoryRecorder,
    NullRecorder,
    Record,
    event_hash,
    merge,
    read_records,
    write_history,
)


def record(t: float, actor: str, op: str = "turn", **data: object) -> Record:
    return Record(t, actor, op, "info", dict(data))


def test_what_a_file_recorder_writes_is_read_back(tmp_path: Path) -> None:
    recorder = FileRecorder(tmp_path / "events", ScaledClock.start(), "client")
    recorder.record("turn", "invoke", turn_id="1", message="ünï\n")
    recorder.record("append")
    recorder.close()

    first, second = read_records(tmp_path / "events")

    assert (first.actor, first.op, first.phase, first.data) == (
        "client",
        "turn",
        "invoke",
        {"turn_id": "1", "message": "ünï\n"},
    )
    assert (second.op, second.phase, second.data) == ("append", "info", {})
    assert first.t <= second.t
    assert stat.S_IMODE(os.stat(tmp_path / "events").st_mode) == 0o600


def test_recorders_of_two_processes_may_share_a_file(tmp_path: Path) -> None:
    clock = ScaledClock.start()
    one, two = FileRecorder(tmp_path / "e", clock, "one"), FileRecorder(tmp_path / "e", clock, "two")
    for _ in range(3):
        one.record("turn")
        two.record("turn")
    one.close()
    two.close()

    assert [r.actor for r in read_records(tmp_path / "e")] == ["one", "two"] * 3


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_torn_last_line_is_left_out_wherever_it_was_cut(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "events"
    recorder = FileRecorder(path, ScaledClock.start(), "client")
    recorder.record("turn", n=1)
    whole = path.read_bytes()
    recorder.record("turn", n=2)
    recorder.close()
    path.write_bytes(path.read_bytes()[: len(whole) + cut])

    assert [r.data for r in read_records(path)] == [{"n": 1}]


def test_a_line_that_is_no_record_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_bytes(b'\n{"t":1}\n[]\n{"t":1,"actor":"a","op":"turn","phase":"maybe"}\n'
                     b'{"t":1,"actor":"a","op":"turn","phase":"ok"}\n')  # fmt: skip

    assert [r.phase for r in read_records(path)] == ["ok"]


def test_merging_orders_by_time_then_actor_then_each_actors_own_order() -> None:
    b = [record(1.0, "b", n=1), record(1.0, "b", n=2), record(3.0, "b", n=3)]
    a = [record(1.0, "a", n=4), record(2.0, "a", n=5)]

    merged = merge([b, a])

    assert [(r.actor, r.data["n"]) for r in merged] == [("a", 4), ("b", 1), ("b", 2), ("a", 5), ("b", 3)]
    assert [r.i for r in merged] == [0, 1, 2, 3, 4]
    assert merged == merge([a, b])


def test_merging_nothing_is_an_empty_history() -> None:
    assert merge([]) == []
    assert merge([[], []]) == []


def test_a_history_is_written_and_read_with_its_indices(tmp_path: Path) -> None:
    history = merge([[record(1.0, "a", x={"deep": [1, None]}), record(2.0, "b")]])
    write_history(tmp_path / "history.jsonl", history)

    assert read_records(tmp_path / "history.jsonl") == history


def test_the_hash_does_not_depend_on_the_order_of_keys_and_does_on_everything_else() -> None:
    one = [Record(1.0, "a", "turn", "ok", {"x": 1, "y": {"b": 1, "a": 2}})]
    same = [Record(1.0, "a", "turn", "ok", {"y": {"a": 2, "b": 1}, "x": 1})]
    others = [
        [Record(1.5, "a", "turn", "ok", one[0].data)],
        [Record(1.0, "b", "turn", "ok", one[0].data)],
        [Record(1.0, "a", "lock", "ok", one[0].data)],
        [Record(1.0, "a", "turn", "fail", one[0].data)],
        [Record(1.0, "a", "turn", "ok", {"x": 2})],
        [*one, *one],
        [],
    ]

    assert event_hash(one) == event_hash(same)
    assert event_hash(one).startswith("sha256:")
    assert len({event_hash(history) for history in (one, *others)}) == len(others) + 1


def test_the_hash_of_a_known_history_never_changes() -> None:
    # Kept runs and kits compare by it: a new release must read the old ones.
    known = [Record(1.0, "client", "turn", "invoke", {"turn_id": "1"})]

    assert event_hash(known) == "sha256:94ca12144d179c4183aa4b303d2ac3b12a723b15eb3c9f111e52065594596a40"


def test_a_memory_recorder_keeps_records_and_a_null_recorder_none() -> None:
    recorder = MemoryRecorder(ScaledClock.start(), "a")
    recorder.record("turn", "ok", n=1)
    NullRecorder().record("turn", "ok", n=1)

    assert [(r.actor, r.op, r.phase, r.data) for r in recorder.records] == [("a", "turn", "ok", {"n": 1})]


def test_data_may_be_called_op_or_phase() -> None:
    recorder = MemoryRecorder(ScaledClock.start(), "a")
    recorder.record("turn", op="x", phase="y")

    assert recorder.records[0].data == {"op": "x", "phase": "y"}


def test_every_operation_says_what_it_means() -> None:
    assert all(text and op == op.lower() for op, text in OPERATIONS.items())


def test_a_history_in_which_time_falls_is_not_written(tmp_path: Path) -> None:
    history = [record(2.0, "a"), record(1.5, "b")]
    with pytest.raises(HarnessError, match=r"time falls in the history, from 2\.0 to 1\.5 s"):
        write_history(tmp_path / "history.jsonl", history)
    assert not (tmp_path / "history.jsonl").exists()
