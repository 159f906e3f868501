"""The user of somebody else's program: gives up, goes on, and tells an answer from an exit status."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from lockjaw.clock import ScaledClock
from lockjaw.harness.targets.user import Attempt, Plan, User
from lockjaw.history import MemoryRecorder, Record


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def records(tmp_path: Path, *attempts: Attempt, asked: bool = False) -> tuple[int, list[Record]]:
    clock = ScaledClock.start(1.0)
    recorder = MemoryRecorder(clock, "client")
    plan = Plan(attempts, ("Paid.",), (r"is locked",), "s.jsonl.lock", "s", str(tmp_path))

    async def perform() -> int:
        user = User(plan, recorder, clock)
        task = asyncio.ensure_future(user.run())
        if asked:
            while not recorder.records:
                await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(0.2, user.question_is_there)
        return await task

    return asyncio.run(perform()), recorder.records


def result(found: list[Record]) -> dict[str, object]:
    return next(record.data for record in found if record.op == "client.result")


def test_an_exit_status_of_0_without_an_answer_is_no_answer(tmp_path: Path) -> None:
    code, found = records(tmp_path, Attempt("gateway", python("print('> build')"), 20))
    assert (code, result(found)["answered"], result(found)["error"]) == (0, False, "> build")


def test_a_user_who_gives_up_goes_on_with_the_next_attempt_and_sees_the_lock(tmp_path: Path) -> None:
    locked = python("import sys; sys.exit('session s is locked')")
    code, found = records(tmp_path, Attempt("gateway", python("input()"), 0.3), Attempt("own", locked, 20))
    told = [(r.op, r.phase, r.data.get("kind")) for r in found if r.op != "client.stderr"]
    # input() ends at once: standard input is empty; so this attempt is refused, not given up
    assert told[:2] == [("client.call", "invoke", None), ("client.call", "fail", "rejected")]
    assert ("lock", "fail", "timeout") in told
    assert (code, result(found)["answered"], result(found)["error"]) == (1, False, "session s is locked")


def test_patience_counts_from_when_the_model_has_the_question(tmp_path: Path) -> None:
    sleeper = python("import time; time.sleep(60)")
    answer = Attempt("own", python("print('Paid.')"), 20)
    code, found = records(tmp_path, Attempt("gateway", sleeper, 20, once_asked_s=0.2), answer, asked=True)
    gave_up = next(r for r in found if r.op == "client.call" and r.phase == "fail")
    assert gave_up.data["kind"] == "timeout"
    assert 300 <= gave_up.data["timeout_ms"] < 10_000  # later than both delays, long before the deadline
    assert (code, result(found)["reply"], result(found)["transport"]) == (0, "Paid.", "embedded")


def test_a_bound_of_the_scenario_ends_the_attempt_and_there_is_no_further_one(tmp_path: Path) -> None:
    sleeper = Attempt("gateway", python("import time; time.sleep(60)"), 50)
    clock = ScaledClock.start(1.0)
    recorder = MemoryRecorder(clock, "client")

    async def perform() -> int:
        user = User(Plan((sleeper, sleeper), ("Paid.",), (), "s.lock", "s", str(tmp_path)), recorder, clock)
        asyncio.get_running_loop().call_later(0.1, user.enough)
        return await asyncio.wait_for(user.run(), 20)

    assert asyncio.run(perform()) == 124
    errors = [r.data["error"] for r in recorder.records if r.op == "client.call" and r.phase == "fail"]
    assert len(errors) == 1
    assert str(errors[0]).startswith("the harness ended it after")
    assert result(recorder.records)["answered"] is False


def test_what_an_attempt_leaves_in_its_process_group_is_ended(tmp_path: Path) -> None:
    code = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
open({str(tmp_path / "pid")!r}, 'w').write(str(child.pid))
"""
    records(tmp_path, Attempt("gateway", python(code), 20))
    pid = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "ZX"
