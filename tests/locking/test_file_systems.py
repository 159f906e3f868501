"""Odd file systems fail closed, and say so."""

import os

import pytest

from lockjaw.locking import LockStateError, SessionLock, file_systems, kernel


@pytest.fixture
def on_nfs(monkeypatch):
    kernel._resting.close_all()
    monkeypatch.setattr(file_systems, "odd_kind", lambda descriptor: "nfs")


def test_lock_on_a_network_file_system_is_refused_by_name(on_nfs, clock, session_file):
    with pytest.raises(LockStateError, match=r"locks may not hold.*LOCKJAW_TRUST_FILE_SYSTEM=1.*'nfs'"):
        SessionLock(session_file, clock=clock).acquire()


def test_user_may_trust_it(on_nfs, clock, session_file, monkeypatch):
    monkeypatch.setenv(file_systems.OPT_IN, "1")
    with SessionLock(session_file, clock=clock) as held, held.section():
        pass


def test_kernel_tells_the_file_system(tmp_path, monkeypatch):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    assert file_systems.odd_kind(descriptor) is None
    monkeypatch.setattr(file_systems.sys, "platform", "darwin")
    assert file_systems.odd_kind(descriptor) is None
    os.close(descriptor)
    proc = os.open("/proc", os.O_RDONLY)
    monkeypatch.undo()
    monkeypatch.setattr(file_systems, "_ODD", {0x9FA0: "proc"})
    assert file_systems.odd_kind(proc) == "proc"
    os.close(proc)
