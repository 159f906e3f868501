"""The texts in lock and guard files, and what they prove. Pure."""

import json
import os

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockjaw.locking import identity
from lockjaw.locking.guard_record import LENGTH, SLOT_BYTES, GuardRecord, UnreadableGuard, decode, encode
from lockjaw.locking.identity import ProcessIdentity, process_state, this_process
from lockjaw.locking.operations import ProcessState
from lockjaw.locking.owner_record import NOBODY, Judgement, OwnerRecord, body, fingerprint, judge, parse

ME = ProcessIdentity(50, 5000, 400)


@given(
    st.builds(
        OwnerRecord,
        pid=st.integers(1, 2**22),
        created_at_ms=st.integers(0, 4_000_000_000_000),
        starttime=st.none() | st.integers(0, 2**63),
        max_hold_ms=st.none() | st.integers(0, 2**31),
        pid_namespace=st.none() | st.integers(1, 2**32),
    )
)
def test_owner_record_survives_the_file(record):
    text = body(record)
    assert parse(text) == record
    assert fingerprint(text.ljust(2000)) == fingerprint(text)
    for cut in range(len(text)):
        assert parse(text[:cut]) == NOBODY


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_nobody(data):
    assert isinstance(parse(data), OwnerRecord)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ('{"pid": 7.0}', "pid", 7),
        ('{"pid": 7.5}', "pid", None),
        ('{"pid": "7"}', "pid", None),
        ('{"pid": 7, "starttime": -1}', "starttime", None),
        ('{"pid": 7, "createdAt": "yesterday"}', "created_at_ms", None),
        ('{"pid": 7, "createdAt": 12}', "created_at_ms", None),
        ('{"pid": 7, "createdAt": "1970-01-01T00:00:01.500Z"}', "created_at_ms", 1500),
        ('{"pid": 7, "createdAt": "0001-13-01T00:00:00Z"}', "created_at_ms", None),
    ],
)
def test_fields_are_read_as_upstream_reads_them(text, field, value):
    assert getattr(parse(text.encode()), field) == value


@pytest.mark.parametrize(
    ("record", "state", "held_here", "judgement"),
    [
        (OwnerRecord(7, 0), ProcessState(True), False, Judgement(True)),
        (OwnerRecord(7, 0, 9), ProcessState(True, starttime=9), False, Judgement(True)),
        (OwnerRecord(7, 0, 9), ProcessState(True), False, Judgement(True)),
        (OwnerRecord(7, 0), ProcessState(True, signalable=False), False, Judgement(True)),
        (OwnerRecord(7, 0), ProcessState(False), False, Judgement(False, "dead-pid")),
        (OwnerRecord(7, 0), ProcessState(True, zombie=True), False, Judgement(False, "zombie")),
        (OwnerRecord(7, 0, 9), ProcessState(True, starttime=8), False, Judgement(False, "recycled-pid")),
        (OwnerRecord(50, 0), ProcessState(True, starttime=5000), False, Judgement(False, "orphan-self-pid")),
        (OwnerRecord(50, 0), ProcessState(True, starttime=5000), True, Judgement(True)),
        (OwnerRecord(50, 0, 5000), ProcessState(True, starttime=5000), False, Judgement(False, "orphan-self-pid")),
        (OwnerRecord(50, 0, 5000), ProcessState(True, starttime=5000), True, Judgement(True)),
        (OwnerRecord(7, 0, pid_namespace=401), ProcessState(False), False, Judgement(None, "other-pid-namespace")),
        (OwnerRecord(7, 0, pid_namespace=400), ProcessState(False), False, Judgement(False, "dead-pid")),
    ],
)
def test_only_proof_makes_an_owner_dead(record, state, held_here, judgement):
    assert judge(record, state, ME, held_here=held_here) == judgement


def guard(**generations):
    record = GuardRecord(pid=7, starttime=1, pid_namespace=2, granted_ms=3, fingerprint="f", replaces="r")
    return b"".join(encode(record._replace(generation=g)) for g in generations.values())


def test_guard_tells_the_newest_grant_and_where_the_next_one_goes():
    assert decode(b"") == (GuardRecord(), 0)
    assert decode(guard(a=1))[0].generation == 1
    assert decode(guard(a=1))[1] == SLOT_BYTES
    assert (decode(guard(a=1, b=2))[0].generation, decode(guard(a=1, b=2))[1]) == (2, 0)
    assert (decode(guard(a=3, b=2))[0].generation, decode(guard(a=3, b=2))[1]) == (3, SLOT_BYTES)


@given(st.integers(1, 2**63), st.data())
def test_guard_torn_at_any_byte_tells_the_grant_before(generation, data):
    whole = guard(a=generation, b=generation + 1)
    cut = data.draw(st.integers(0, SLOT_BYTES - 8))
    newer, offset = decode(whole[: SLOT_BYTES + cut])
    assert newer.generation in (generation, generation + 1)
    assert (newer.generation == generation) == (offset == SLOT_BYTES)
    torn_newer = bytearray(whole)
    torn_newer[SLOT_BYTES + 9 : SLOT_BYTES + 12] = b"???"
    assert decode(bytes(torn_newer))[0].generation == generation


@pytest.mark.parametrize("data", [b"x" * SLOT_BYTES + b"y", b"x" * LENGTH, b"x" * (SLOT_BYTES - 1) + b"\n"])
def test_guard_without_a_valid_record_is_never_read_as_new(data):
    with pytest.raises(UnreadableGuard):
        decode(data)


def test_guard_names_the_owner_and_the_one_it_replaces():
    record = GuardRecord(generation=1, fingerprint="a", replaces="b")
    assert [record.names(text) for text in ("a", "b", "c", "")] == [True, True, False, False]
    assert not GuardRecord().names("")


def test_this_process_knows_itself():
    me = this_process()
    assert process_state(me.pid) == ProcessState(True, True, False, me.starttime)
    assert me.starttime > 0
    assert me.pid_namespace > 0


def test_pid_that_cannot_exist_is_dead():
    assert not process_state(4194303).exists
    assert not process_state(2**70).exists


def test_process_of_another_user_lives(monkeypatch):
    def refuse(pid, number):
        raise PermissionError

    monkeypatch.setattr(identity.os, "kill", refuse)
    state = process_state(1)
    assert (state.exists, state.signalable) == (True, False)
    assert state.starttime is not None


def test_without_proc_psutil_tells_who_is_dead(monkeypatch):
    monkeypatch.setattr(identity, "_stat_fields", lambda pid: (None, None))
    assert process_state(this_process().pid) == ProcessState(True, True, False, None)

    class Zombie:
        def __init__(self, pid):
            pass

        def status(self):
            return psutil.STATUS_ZOMBIE

    monkeypatch.setattr(psutil, "Process", Zombie)
    assert process_state(this_process().pid).zombie

    def gone(pid):
        raise psutil.NoSuchProcess(pid)

    monkeypatch.setattr(psutil, "Process", gone)
    assert not process_state(this_process().pid).zombie


def test_machine_without_proc_has_no_namespace(monkeypatch):
    def missing(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(identity.os, "stat", missing)
    namespace = identity._identify(os.getpid()).pid_namespace
    monkeypatch.undo()
    assert namespace is None


def test_record_is_json_a_person_can_read():
    assert json.loads(encode(GuardRecord(generation=3)).split(b" ", 1)[1])["generation"] == 3
