"""What wakes a waiter, and what it makes of it."""

import subprocess
import sys

import pytest

from lockjaw.locking import bells
from lockjaw.locking.alarms import Alarms
from lockjaw.locking.kernel import Kernel
from lockjaw.locking.operations import Handle, WaitForRelease

pytestmark = [pytest.mark.real, pytest.mark.skipif(not bells.AVAILABLE, reason="no bells here")]


@pytest.fixture
def bell(clock, session_file):
    system = Kernel(clock)
    bell = system.open_bell(str(session_file), 7)
    yield bell
    system.close(bell)


@pytest.fixture
def alarms():
    alarms = Alarms()
    yield alarms
    alarms.close()


def wait_for(bell, pid=None, *, queued=True):
    return WaitForRelease(bell.path, None, 1.0, None if queued else Handle("q", 0), pid=pid, bell=bell, queued=queued)


@pytest.mark.parametrize("same", [True, False], ids=["as before", "for something else"])
def test_ring_is_told_once_and_forgotten_when_the_next_wait_begins(alarms, bell, same):
    alarms.set(wait_for(bell, queued=False))
    bells.ring(bell.path, 7)
    assert alarms.heard(alarms.sleep(1000))
    alarms.set(wait_for(bell, queued=not same))
    assert not alarms.sleep(0)


def test_who_was_rung_twice_looks_twice(alarms, bell):
    alarms.set(wait_for(bell))
    for _ in range(2):
        bells.ring(bell.path, 7)
    heard = []
    for _ in range(3):
        told = alarms.sleep(0)
        heard.append(alarms.heard(told))
        alarms.set(wait_for(bell))
    assert heard == [True, True, False]


def test_end_of_a_process_is_no_ring(alarms, bell):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    alarms.set(wait_for(bell, process.pid))
    process.communicate(b"\n")
    told = alarms.sleep(10_000)
    assert told
    assert not alarms.heard(told)
    bells.ring(bell.path, 7)
    assert alarms.heard(alarms.sleep(0))  # both told, and the ring counts


def test_bell_that_was_closed_over_its_ring_is_let_be(alarms, clock, session_file):
    system = Kernel(clock)
    first, second = (system.open_bell(str(session_file), ticket) for ticket in (7, 8))
    alarms.set(wait_for(first))
    bells.ring(first.path, 7)
    assert alarms.heard(alarms.sleep(1000))
    system.close(first)  # overtaken: it has another ticket now
    alarms.set(wait_for(second))
    assert not alarms.sleep(0)
    system.close(second)
