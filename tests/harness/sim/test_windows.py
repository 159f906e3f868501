"""The lock on Windows, in virtual time: the runtime's own range locks on simulated calls, and nobody who rings."""

from __future__ import annotations

from typing import Any

import pytest

from lockjaw.harness.sim.contention import Contention, run_contention
from lockjaw.harness.sim.tape import EVERYDAY, ROUGH, Chances, RandomChoices
from lockjaw.locking.guard_record import OVERRULE
from lockjaw.locking.windows_locks import WindowsLocks
from lockjaw.seeds import Seeds

SETUPS = {
    "free": Contention(contenders=3, windows=True),
    "stale": Contention(contenders=3, stale=True, windows=True),
    "fenced": Contention(contenders=3, taker_after_s=2.5, think_s=2.0, windows=True),
    "robbed": Contention(contenders=3, stale=True, taker_after_s=5.0, robbed_at_s=0.5, windows=True),
}
SEEDS = range(1, 21)


def laws_broken(setup: Contention, seed: int, chances: Chances) -> set[str]:
    return set(run_contention(setup, seed=seed, choices=RandomChoices(Seeds(seed), chances)).violated)


@pytest.mark.parametrize("name", SETUPS)
def test_lock_on_windows_keeps_every_law_on_an_everyday_machine(name: str) -> None:
    for seed in SEEDS:
        assert not laws_broken(SETUPS[name], seed, EVERYDAY), seed


@pytest.mark.parametrize("name", SETUPS)
def test_lock_on_windows_is_safe_whoever_is_frozen_where(name: str) -> None:
    """In the middle of a look, too, which is a short lock there. Who was frozen for long may have waited in vain."""
    grants = 0
    for seed in SEEDS:
        found = run_contention(SETUPS[name], seed=seed, choices=RandomChoices(Seeds(seed), ROUGH))
        assert set(found.violated) <= {"recovered_within"}, (seed, found.checks)
        grants += sum(record.op == "lock" and record.phase == "ok" for record in found.history)
    assert grants > 3 * len(SEEDS)


def shares(self: WindowsLocks, handle: Any, offset: int, length: int, exclusive: bool) -> bool:
    return self._lock_bytes(handle.number, offset, length, False)


def looks_and_stays(self: WindowsLocks, handle: Any, offset: int, length: int = 1) -> bool:
    if offset == OVERRULE:
        return False  # with this one left behind nobody would get the lock at all
    return not self._try(handle, offset, length, False)


@pytest.mark.parametrize(
    ("method", "bug", "law"),
    [("_try", shares, "one_holder"), ("locked_elsewhere", looks_and_stays, "recovered_within")],
    ids=["every lock is a shared one", "a look leaves its lock behind"],
)
def test_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, method: str, bug: Any, law: str) -> None:
    monkeypatch.setattr(WindowsLocks, method, bug)
    impatient = Contention(timeout_s=2.0, windows=True)
    assert any(law in laws_broken(impatient, seed, EVERYDAY) for seed in SEEDS)
