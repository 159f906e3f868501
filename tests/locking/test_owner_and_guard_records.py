"""The texts in lock and guard files, and what they prove. Pure."""

import json
import zlib

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockjaw.locking import proc
from lockjaw.locking.guard_record import (
    LENGTH,
    SLOT_BYTES,
    GuardRecord,
    UnreadableGuard,
    encode,
    fingerprints,
    signature,
    state,
)
from lockjaw.locking.identity import ProcessIdentity, process_state, this_process
from lockjaw.locking.operations import ProcessState
from lockjaw.locking.owner_record import NOBODY, Judgement, OwnerRecord, body, fingerprint, judge, parse

ME = ProcessIdentity(50, 5000, 400)


@settings(deadline=None)
@given(
    st.builds(
        OwnerRecord,
        pid=st.integers(1, 2**22),
        created_at_ms=st.integers(0, 4_000_000_000_000),
        starttime=st.none() | st.integers(0, 2**63),
        max_hold_ms=st.none() | st.integers(0, 2**31),
        pid_namespace=st.none() | st.integers(1, 2**32),
        generation=st.none() | st.integers(1, 2**63),
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


OWNER = GuardRecord(pid=7, starttime=1, pid_namespace=2, owner='a "run"')


def slot(generation, epoch=0, ticket=0, more=b""):
    return encode(signature(OWNER), 3, generation, epoch, ticket, more)


def guard(*generations):
    return b"".join(slot(generation) for generation in generations)


def test_guard_tells_the_newest_grant_and_where_the_next_one_goes():
    said = [(state(data).generation, state(data).slot) for data in (b"", guard(1), guard(1, 2), guard(3, 2))]
    assert said == [(0, 0), (1, SLOT_BYTES), (2, 0), (3, SLOT_BYTES)]
    assert state(guard(1, 2)).record == OWNER._replace(granted_ms=3)
    assert state(guard(1)[:300]).record == OWNER._replace(granted_ms=3)  # torn behind its text, then overtaken by NULs
    assert state(guard(1)[:300].ljust(SLOT_BYTES, b"\0")).record == OWNER._replace(granted_ms=3)
    assert state(b"").record == GuardRecord()


def test_guard_after_a_grant_is_what_the_next_read_tells():
    before = state(b"")
    for generation in range(1, 5):
        text = slot(generation, epoch=2, ticket=generation)
        expected = before.granted(text, generation, 2, generation)
        data = before.data[: before.slot].ljust(before.slot, b"\0") + text + before.data[before.slot + SLOT_BYTES :]
        before = state(data)
        assert before._replace(issued=0) == expected._replace(issued=0)


@settings(deadline=None)
@given(st.integers(1, 2**63), st.data())
def test_guard_torn_at_any_byte_tells_the_grant_before(generation, data):
    whole = guard(generation, generation + 1)
    cut = data.draw(st.integers(0, SLOT_BYTES - 8))
    newer = state(whole[: SLOT_BYTES + cut])
    assert newer.generation in (generation, generation + 1)
    assert (newer.generation == generation) == (newer.slot == SLOT_BYTES)
    torn_newer = bytearray(whole)
    torn_newer[SLOT_BYTES + 9 : SLOT_BYTES + 12] = b"???"
    assert state(bytes(torn_newer)).generation == generation


@pytest.mark.parametrize("data", [b"x" * SLOT_BYTES + b"y", b"x" * LENGTH, b"x" * (SLOT_BYTES - 1) + b"\n"])
def test_guard_without_a_valid_record_is_never_read_as_new(data):
    with pytest.raises(UnreadableGuard):
        state(data)


def test_guard_of_the_first_version_is_understood_and_its_owner_keeps_its_byte():
    text = json.dumps({"generation": 7, "pid": 9, "starttime": 1, "pid_namespace": 2, "granted_ms": 3,
                       "fingerprint": "f", "replaces": "", "owner": "x", "ticket": 4},
                      separators=(",", ":")).encode()  # fmt: skip
    old = state((b"%08x %b" % (zlib.crc32(text), text)).ljust(SLOT_BYTES - 1) + b"\n")
    assert (old.generation, old.epoch, old.ticket, old.plain) == (7, 7, 4, False)
    assert (old.record.pid, old.record.owner, old.record.fingerprint) == (9, "x", "f")


def test_guard_names_the_owner_and_the_one_it_replaces():
    said = state(slot(1, more=fingerprints("a", "b")))
    assert [said.record.names(text) for text in ("a", "b", "c", "")] == [True, True, False, False]
    assert not said.plain
    assert state(slot(1)).plain
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

    monkeypatch.setattr(proc.os, "kill", refuse)
    state = process_state(1)
    assert (state.exists, state.signalable) == (True, False)
    assert state.starttime is not None


def test_without_proc_psutil_tells_who_is_dead(monkeypatch):
    monkeypatch.setattr(proc, "_stat_fields", lambda pid: (None, None))
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

    monkeypatch.setattr(proc.os, "stat", missing)
    namespace = proc.pid_namespace()
    monkeypatch.undo()
    assert namespace is None


def test_record_is_json_a_person_can_read():
    assert json.loads(slot(3).split(b" ", 4)[4])["owner"] == 'a "run"'
