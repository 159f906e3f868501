"""The watchdog of a simulated process: as the real one (``lockjaw.locking.process_holds``), without its thread."""

from __future__ import annotations

from lockjaw.harness import load_scenario
from lockjaw.harness.sim.engine import run_sim
from lockjaw.harness.sim.tape import Place, SparseChoices


def test_an_error_while_an_overdue_lock_is_given_back_ends_no_run() -> None:
    """Its disk fails in that moment. The real watchdog goes on; the simulated one let the error end the simulation."""
    fails = SparseChoices({Place("worker: RangeLock #1.jsonl.guard", 11): 14})
    history = run_sim(load_scenario("force_release_while_writing"), policy="takeover", seed=1, choices=fails).history
    worker = [(r.op, r.phase) for r in history if r.actor == "worker"]
    assert worker[-3:] == [("lock.release", "invoke"), ("lock.limit", "info"), ("append.refused", "fail")]
    assert [r.data["answered"] for r in history if r.op == "client.result"] == [True]
