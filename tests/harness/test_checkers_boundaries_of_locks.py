"""Where the laws of locks and models begin and end: on the limit, one beside it, and what a finding counts."""

from __future__ import annotations

from typing import Any

import pytest

from lockjaw.harness.judge.checkers import ScenarioFacts
from lockjaw.harness.judge.checkers.examples import FOLDER, PATH
from lockjaw.verdict import Verdict
from tests.harness.told import END, H, Told, U, V, asks, judge, lock, result, story

OTHER = f"{FOLDER}/other.jsonl"
LOCKED = "session file locked (timeout 10ms)"


def turn(t: float, actor: str, phase: str, name: str = "t", run_id: str = "r") -> Told:
    return t, actor, f"turn {phase}", {"turn_id": name, "run_id": run_id}


class TestLockIsNotAModelFailure:
    NAME = "lock_is_not_a_model_failure"

    @pytest.mark.parametrize(("decision", "verdict"), [
        ("candidate_failed", V), ("skip_candidate", V), ("cooldown", V), ("cool_down", V), ("probe", V),
        ("candidate_succeeded", U), ("", U),
    ])  # fmt: skip
    @pytest.mark.parametrize("where", ["detail", "reason", "error"])
    def test_each_decision_that_costs_a_model_its_turn(self, decision: str, where: str, verdict: Verdict) -> None:
        decided = (1.0, "client", "model.decision", {"decision": decision, "candidate": "p/m", where: LOCKED})
        found = judge(self.NAME, story(asks(0.0), decided, decided))

        assert (found.verdict, found.witness) == (verdict, (1, 2) if verdict is V else ())
        if verdict is V:
            assert found.finding == "the fallback chain counted a lock error as a failure of p/m"

    def test_the_model_is_named_as_far_as_it_is_known(self) -> None:
        for data, name in (({"model": "m"}, "m"), ({}, "?"), ({"model": "m", "candidate": "p/m"}, "p/m")):
            failed = (1.0, "client", "model.call fail", {"error": LOCKED, **data})
            assert judge(self.NAME, story(failed)).finding.endswith(f"a failure of {name}")

    @pytest.mark.parametrize("between", [
        (2.5, "client", "model.call invoke", {}), (2.5, "client", "model.decision", {"decision": "x"}),
        (2.5, "client", "turn invoke", {}),
    ])  # fmt: skip
    def test_what_a_client_did_after_the_lock_error_takes_the_blame_off_the_lock(self, between: Told) -> None:
        decided = (3.0, "client", "model.decision", {"decision": "candidate_failed", "reason": "timeout"})

        assert judge(self.NAME, story(lock(2.0, "client", "lock fail"), decided)).verdict is V
        assert judge(self.NAME, story(lock(2.0, "client", "lock fail"), between, decided)).verdict is H
        for actor in ("a", "z"):  # what somebody else did does not
            other = (2.5, actor, *between[2:])
            assert judge(self.NAME, story(lock(2.0, "client", "lock fail"), other, decided)).verdict is V
            assert judge(self.NAME, story(lock(2.0, actor, "lock fail"), decided)).verdict is H
        assert judge(self.NAME, story((2.0, "client", "tool", {}), decided)).verdict is U

    @pytest.mark.parametrize(("told", "again"), [
        ([lock(1.0, "a", "lock fail"), lock(2.0, "a", "lock fail")], True),
        ([lock(1.0, "a", "lock fail"), lock(2.0, "b", "lock fail")], False),
        ([lock(1.0, "a", "lock fail"), lock(2.0, "a", "lock fail", path=OTHER)], False),
        ([lock(1.0, "a", "lock fail"), lock(2.0, "a", "lock fail", kind="cancelled")], False),
        ([turn(0.0, "a", "invoke"), lock(1.0, "a", "lock fail"), lock(2.0, "a", "lock fail")], True),
        ([turn(0.0, "a", "invoke"), lock(1.0, "a", "lock fail"), turn(1.5, "a", "fail"), lock(2.0, "a", "lock fail")],
         False),
        ([lock(1.0, "a", "lock fail"), turn(1.5, "a", "invoke"), lock(2.0, "a", "lock fail")], False),
        ([turn(0.0, "a", "invoke", "t1", "r1"), turn(0.0, "a", "invoke", "t2", "r2"), lock(1.0, "a", "lock fail"),
          turn(1.5, "a", "fail", "t2", "r2"), lock(2.0, "a", "lock fail")], False),
        ([turn(0.0, "b", "invoke"), lock(1.0, "a", "lock fail"), turn(1.5, "b", "fail"), lock(2.0, "a", "lock fail")],
         True),
        ([turn(0.0, "A", "invoke"), lock(1.0, "a", "lock fail"), turn(1.5, "A", "fail"), lock(2.0, "a", "lock fail")],
         True),
    ])  # fmt: skip
    def test_one_turn_waits_once_for_one_lock(self, told: list[Told], again: bool) -> None:
        found = judge(self.NAME, story(*told))
        waits = tuple(n for n, one in enumerate(told) if one[2] == "lock fail")

        assert (found.verdict, found.witness) == ((V, waits) if again else (H, ()))

    @pytest.mark.parametrize(("data", "verdict"), [
        ({"waited_s": 0.5}, H), ({"waited_s": 0.0}, U), ({}, U), ({"reclaimed": True}, H), ({"reclaimed": False}, U),
    ])  # fmt: skip
    def test_a_lock_was_in_the_way_if_its_grant_took_time_or_took_it_from_the_dead(
        self, data: dict[str, Any], verdict: Verdict
    ) -> None:
        asked = lock(1.0, "gateway", "lock invoke")
        assert judge(self.NAME, story(asked, lock(2.0, "gateway", "lock ok", **data))).verdict is verdict
        assert judge(self.NAME, story(asked)).verdict is U
        refused = story(asked, lock(2.0, "gateway", "lock fail", kind="cancelled", **data))
        assert judge(self.NAME, refused).verdict is U


class TestNeverSessionLocked:
    NAME = "never_session_locked"

    @pytest.mark.parametrize(("count", "words"), [
        (0, "its attempt failed"), (1, "1 lock wait timed out"), (2, "2 lock waits timed out"),
    ])  # fmt: skip
    def test_lock_waits_are_counted(self, count: int, words: str) -> None:
        waits = [lock(2.0 + n, "client", "lock fail") for n in range(count)]
        told = result(9.0, answered=False, error=LOCKED)
        found = judge(self.NAME, story(asks(0.0), (1.0, "client", "fallback", {"step": "rerun"}), *waits, told))

        assert found.finding == f"the fallback found the session locked: {words}"
        assert found.witness == tuple(range(2, 3 + count))

    def test_of_several_users_those_who_met_the_lock_are_named(self) -> None:
        for good, bad in (("a", "b"), ("b", "a")):
            told = [asks(0.0, one) for one in (good, bad)]
            told += [result(1.0, good), result(1.0, bad, answered=False, error=LOCKED)]
            found = judge(self.NAME, story(*told))
            assert (found.verdict, found.witness) == (V, (3,))
            assert found.finding == f"the fallback of {bad} found the session locked: its attempt failed"

    def test_a_wait_before_the_trouble_is_no_attempt_of_the_fallback(self) -> None:
        wait, tried = lock(2.0, "client", "lock fail"), (2.0, "client", "fallback", {"step": "rerun"})
        ends = result(3.0, answered=True)

        assert judge(self.NAME, story(asks(0.0), tried, wait, ends)).verdict is V
        assert judge(self.NAME, story(asks(0.0), wait, tried, ends)).verdict is not V
        assert judge(self.NAME, story(asks(0.0), wait, ends)).verdict is not V

    @pytest.mark.parametrize(("actor", "what", "data", "verdict"), [
        ("client", "turn fail", {"error": LOCKED}, V), ("client", "model.call fail", {"error": LOCKED}, V),
        ("client", "fallback", {"detail": LOCKED, "step": "rerun"}, V),
        ("client", "client.result", {"error": LOCKED}, V),
        ("client", "model.decision", {"detail": LOCKED, "decision": "candidate_failed"}, V),
        ("client", "model.decision", {"detail": LOCKED, "decision": "candidate_succeeded"}, U),
        ("client", "model.decision", {"detail": LOCKED}, U), ("client", "turn fail", {"reason": "session_locked"}, V),
        ("client", "client.stderr", {"line": LOCKED}, V), ("client", "turn fail", {"text": LOCKED}, U),
        ("gateway", "turn fail", {"error": LOCKED}, U), ("a", "turn fail", {"error": LOCKED}, U),
        ("client", "tool fail", {"error": LOCKED}, U), ("gateway", "tool", {"line": LOCKED}, U),
    ])  # fmt: skip
    def test_which_records_tell_of_a_lock(self, actor: str, what: str, data: dict[str, Any], verdict: Verdict) -> None:
        found = judge(self.NAME, story(asks(0.0), (1.0, actor, what, data)))

        assert (found.verdict, found.witness) == (verdict, (1,) if verdict is V else ())


class TestNoLockLeft:
    NAME = "no_lock_left"

    def test_locks_that_were_not_given_back_are_shown(self) -> None:
        taken = [lock(float(n), f"a{n}", "lock ok", path=f"{FOLDER}/{name}.jsonl.lock") for n, name in enumerate("yx")]
        found = judge(self.NAME, story(*taken, END))

        assert (found.verdict, found.witness) == (V, (0, 1))
        assert found.finding == "no process gave back the lock of x.jsonl, y.jsonl"

    @pytest.mark.parametrize(("alive", "verdict"), [(True, V), (None, V), (False, U)])
    def test_what_was_left_counts_unless_its_owner_is_dead(self, alive: bool | None, verdict: Verdict) -> None:
        for kind, met in (("lock", verdict), ("file", U), ("a", U), ("z", U)):
            left = (9.0, "harness", "leftover", {"kind": kind, "path": PATH + ".lock", "alive": alive})
            found = judge(self.NAME, story(left, left, END))
            assert (found.verdict, found.witness) == (met, (0, 1) if met is V else ())
            if met is V:
                assert found.finding.endswith("the lock of 9e051a52.jsonl")

    @pytest.mark.parametrize(("told", "verdict"), [
        ([(8.0, "h", "next_turn ok", {}), (9.0, "h", "leftover", {"kind": "lock", "path": PATH, "alive": False})], U),
        ([(8.0, "h", "leftover", {"kind": "lock", "path": PATH, "alive": True}), (9.0, "h", "next_turn ok", {})], U),
        ([lock(1.0, "a", "lock ok"), (9.0, "h", "next_turn ok", {"path": PATH})], H),
        ([lock(1.0, "a", "lock ok"), (9.0, "h", "next_turn ok", {"path": OTHER})], V),
        ([lock(1.0, "a", "lock ok"), (9.0, "h", "next_turn invoke", {"path": PATH}), END], V),
        ([lock(1.0, "a", "lock ok"), (9.0, "h", "next_turn info", {"path": PATH}), END], V),
        ([lock(1.0, "a", "lock ok"), lock(2.0, "a", "lock.release")], U),
        ([lock(1.0, "a", "lock ok"), lock(2.0, "a", "lock.release"), END], H),
        ([lock(1.0, "a", "lock ok"), lock(2.0, "a", "lock.release"), (9.0, "h", "next_turn ok", {})], H),
        ([(8.0, "h", "next_turn fail", {"path": PATH}), (9.0, "h", "next_turn ok", {})], V),
        ([(8.0, "h", "next_turn fail", {"error": "x"}), (9.0, "h", "next_turn ok", {}), END], U),
        ([(8.0, "h", "next_turn fail", {"error": LOCKED}), END], V),
        ([(9.0, "h", "next_turn ok", {"path": PATH}), lock(9.5, "a", "lock ok"), END], V),
    ])  # fmt: skip
    def test_a_later_next_turn_on_this_path_or_on_all_gets_past(self, told: list[Told], verdict: Verdict) -> None:
        assert judge(self.NAME, story(*told)).verdict is verdict

    def test_how_it_was_seen(self) -> None:
        whole = [lock(1.0, "a", "lock ok"), lock(2.0, "a", "lock.release"), END]
        assert judge(self.NAME, story(*whole)).finding == "every owner gave its lock back"
        asked: Told = (99.0, "harness", "next_turn ok", {})
        assert judge(self.NAME, story(*whole, asked)).finding == "the next turn got its lock"


class TestNothingHeldAfterEnd:
    NAME = "nothing_held_after_end"

    @pytest.mark.parametrize(("after_s", "verdict"), [(-0.5, H), (0.0, H), (5.0, H), (5.25, V)])
    def test_a_run_has_five_seconds_to_give_its_lock_back(self, after_s: float, verdict: Verdict) -> None:
        ends, gives = turn(3.0, "a", "ok"), lock(3.0 + after_s, "a", "lock.release", owner="r")
        told = [turn(1.0, "a", "invoke"), lock(2.0, "a", "lock ok", owner="r")]
        told += [gives, ends] if after_s < 0 else [ends, gives]
        found = judge(self.NAME, story(*told))

        assert (found.verdict, found.witness) == (verdict, (1, 2, 3) if verdict is V else ())
        if verdict is V:
            assert found.finding == "a kept the session lock for 5.2 s after its run had ended"

    @pytest.mark.parametrize(("told", "verdict"), [
        ([lock(2.0, "a", "lock ok", owner="r"), turn(3.0, "a", "ok"), END], V),  # never given back
        ([turn(3.0, "a", "ok"), lock(4.0, "a", "lock ok", owner="r")], V),
        ([turn(3.0, "a", "ok"), lock(4.0, "a", "lock ok", owner="q")], U),
        ([turn(3.0, "a", "ok"), lock(4.0, "a", "lock ok", owner="s")], U),
        ([turn(3.0, "a", "ok"), lock(4.0, "A", "lock ok", owner="r")], U),
        ([turn(3.0, "a", "ok"), lock(4.0, "b", "lock ok", owner="r")], U),
        ([turn(3.0, "a", "ok"), lock(4.0, "a", "lock ok", owner="r", path=f"{FOLDER}/sessions.json.lock")], U),
        ([lock(2.0, "a", "lock ok", owner="r"), (3.0, "a", "actor.exit", {}), END], U),  # it died
        ([lock(2.0, "a", "lock ok", owner="r"), END], U),
    ])  # fmt: skip
    def test_the_lock_is_the_runs_own(self, told: list[Told], verdict: Verdict) -> None:
        assert judge(self.NAME, story(turn(1.0, "a", "invoke"), *told)).verdict is verdict

    def test_one_run_that_kept_nothing_does_not_hide_one_that_did(self) -> None:
        for n in (0, 1):
            told = [turn(1.0, "a", "invoke", "t0", "r0"), turn(1.0, "a", "invoke", "t1", "r1")]
            told += [lock(1.0, "a", "lock ok", owner=f"r{one}", path=f"{FOLDER}/{one}.jsonl.lock") for one in (0, 1)]
            told += [lock(2.0, "a", "lock.release", owner=f"r{n}", path=f"{FOLDER}/{n}.jsonl.lock")]
            told += [turn(3.0, "a", "ok", f"t{one}", f"r{one}") for one in (0, 1)]
            found = judge(self.NAME, story(*told, END))
            assert (found.verdict, found.witness) == (V, (3 - n, 6 - n, 7))

    def test_a_hold_from_before_the_run_is_not_its_own(self) -> None:
        told = [lock(0.0, "a", "lock ok", owner="r"), turn(1.0, "a", "invoke"), turn(2.0, "a", "ok"), END]
        assert judge(self.NAME, story(*told)).verdict is U

    def test_how_long_ago_the_run_had_ended(self) -> None:
        told = [turn(1.0, "a", "invoke"), turn(2.0, "a", "fail"), lock(6.5, "a", "lock ok", owner="r")]
        found = judge(self.NAME, story(*told))
        assert found.finding == "a took the session lock for a run that had ended 4.5 s ago"
        assert found.witness == (1, 2)


def write(t: float, actor: str, **data: Any) -> Told:
    return t, actor, "append", {"path": PATH, **data}


class TestOneWriter:
    NAME = "one_writer"

    @pytest.mark.parametrize(("generation", "verdict"), [(3, V), (4, U), (5, U), (0, U), (None, U)])
    def test_a_write_of_an_older_generation_is_stale_once_a_newer_one_was_granted(
        self, generation: int | None, verdict: Verdict
    ) -> None:
        told = [lock(float(n), "a", "lock ok", generation=n) for n in (2, 4)]
        told.insert(1, lock(3.0, "a", "lock.release", generation=2))
        later = lock(7.0, "a", "lock ok", generation=9)
        found = judge(self.NAME, story(*told, write(6.0, "a", generation=generation), later))

        assert (found.verdict, found.witness) == (verdict, (2, 3) if verdict is V else ())
        if verdict is V:
            assert found.finding == "a wrote with generation 3 after generation 4 was granted to a"

    def test_the_newest_generation_is_named(self) -> None:
        told: list[Told] = []
        for n, generation in enumerate((2, 5, 3)):
            told += [
                lock(n, "a", "lock ok", generation=generation),
                lock(n, "a", "lock.release", generation=generation),
            ]
        found = judge(self.NAME, story(*told, write(6.0, "a", generation=1)))

        assert (found.verdict, found.witness) == (V, (2, 6))

    @pytest.mark.parametrize("path", [f"{FOLDER}/0.jsonl", f"{FOLDER}/x.jsonl"])
    def test_another_transcripts_lock_says_nothing(self, path: str) -> None:
        told = [lock(1.0, "a", "lock ok", path=path, generation=7), write(2.0, "b", generation=1)]
        assert judge(self.NAME, story(*told)).verdict is U
        told = [lock(0.0, "b", "lock ok", generation=1), *told]
        assert judge(self.NAME, story(*told)).verdict is U

    def test_who_had_the_lock_when_somebody_wrote_without_it(self) -> None:
        found = judge(self.NAME, story(lock(1.0, "a", "lock ok"), write(2.0, "b")))
        assert (found.verdict, found.witness) == (V, (0, 1))
        assert found.finding == "b wrote to a transcript without the lock, which belonged to a"
        stolen = story(lock(1.0, "b", "lock ok"), lock(1.5, "a", "lock ok"), write(2.0, "b"))
        assert judge(self.NAME, stolen).finding == "b wrote to a transcript after the lock had gone on to a"

    def test_a_lock_that_was_had_in_the_middle_of_anothers_hold_is_seen_after_it_was_let_go(self) -> None:
        told = [lock(1.0, "a", "lock ok"), lock(2.0, "b", "lock ok"), lock(3.0, "b", "lock.release")]
        found = judge(self.NAME, story(*told, write(4.0, "a")))
        assert (found.verdict, found.witness) == (V, (0, 1, 3))
        assert found.finding == "a and b both had the lock of a transcript, and wrote"

        before = [lock(0.0, "b", "lock ok"), lock(0.5, "b", "lock.release"), told[0], write(4.0, "a")]
        assert judge(self.NAME, story(*before)).verdict is U
        after = [told[0], write(1.5, "a"), lock(1.8, "a", "lock.release"), *told[1:]]
        assert judge(self.NAME, story(*after)).verdict is U

    @pytest.mark.parametrize(("what", "verdict"), [
        ("append", H), ("append.refused", H), ("lock.fence fail", H), ("lock invoke", H), ("read", U), ("lock.lost", U),
    ])  # fmt: skip
    def test_who_wanted_a_transcript(self, what: str, verdict: Verdict) -> None:
        history = story(write(1.0, "a"), (2.0, "b", what, {"path": PATH}))
        assert judge(self.NAME, history).verdict is verdict
        for path in (f"{FOLDER}/0.jsonl", f"{FOLDER}/x.jsonl"):
            assert judge(self.NAME, story(write(1.0, "a"), (2.0, "b", what, {"path": path}))).verdict is U

    def outside(self, *told: Told, second_s: float = 4.0, **data: Any) -> tuple[Verdict, tuple[int, ...]]:
        def request(t: float, name: str, phase: str) -> Told:
            return t, "models", f"provider.request {phase}", {"request_id": name, **data}

        asked = [request(1.0, "1", "invoke"), request(3.0, "1", "ok"), request(second_s, "2", "invoke")]
        found = judge(self.NAME, story(*sorted([*told, *asked], key=lambda one: one[0])))
        return found.verdict, found.witness

    def test_a_runtime_that_records_no_writes_is_judged_by_its_requests(self) -> None:
        trouble: Told = (0.5, "client", "client.call fail", {"method": "agent"})
        marks = {"markers": ["LJ-1"]}
        assert self.outside(second_s=2.0, **marks) == (V, (0, 1))
        assert self.outside(second_s=2.0) == (U, ())
        assert self.outside(second_s=3.0, **marks) == (U, ())
        assert self.outside(turn(0.0, "a", "invoke"), second_s=2.0, **marks) == (U, ())
        assert self.outside(lock(0.0, "a", "lock ok")) == (U, ())
        assert self.outside(lock(0.0, "a", "lock ok"), trouble) == (H, ())
        assert self.outside(trouble) == (U, ())
        assert self.outside(lock(0.0, "a", "lock ok"), lock(0.1, "b", "lock ok")) == (H, ())
        listed = f"{FOLDER}/sessions.json.lock"
        assert self.outside(lock(0.0, "a", "lock ok", path=listed), lock(0.1, "b", "lock ok", path=listed)) == (U, ())
        silent = judge(self.NAME, story(lock(0.0, "a", "lock ok"), lock(0.1, "b", "lock ok")))
        assert (silent.verdict, silent.finding) == (U, "no process wrote to a transcript")

    def test_why_nothing_is_known(self) -> None:
        asked: Told = (1.0, "models", "provider.request invoke", {"request_id": "1"})
        assert judge(self.NAME, story(asked)).finding.startswith("no two turns were under way at the same time")
        assert judge(self.NAME, story(write(1.0, "a"))).finding == "no two owners wanted the same transcript"


class TestRecoveredWithin:
    NAME = "recovered_within"

    @pytest.mark.parametrize(("after_s", "held_up_s", "verdict"), [
        (2.0, 0.0, H), (2.25, 0.0, V), (2.25, 0.25, H), (2.5, 0.25, V), (0.0, 0.0, H),
    ])  # fmt: skip
    @pytest.mark.parametrize("asked_s", [1.0, 5.0, 8.0])
    def test_the_bound_itself_is_in_time(
        self, after_s: float, held_up_s: float, verdict: Verdict, asked_s: float
    ) -> None:
        """The clock starts when the lock is free, or when somebody wants it, whichever is later."""
        begins = max(5.0, asked_s)
        told = [
            lock(0.0, "a", "lock ok"), lock(5.0, "a", "lock.release"), lock(asked_s, "b", "lock invoke"),
            (begins + held_up_s, "h", "held_up", {"for_s": held_up_s}), lock(begins + after_s, "b", "lock ok"),
        ]  # fmt: skip
        found = judge(self.NAME, story(*sorted(told, key=lambda one: one[0])), ScenarioFacts(recovered_within_s=2.0))

        assert found.verdict is verdict
        if verdict is H:
            assert found.finding == f"the slowest recovery took {after_s:.2f} s; the bound is 2 s"
        else:
            assert found.finding == f"{after_s:.2f} s passed after a let go; the bound is {2.0 + held_up_s:g} s"

    @pytest.mark.parametrize("name", ["0", "x"])
    def test_a_hold_of_another_lock_does_not_hide_a_late_recovery(self, name: str) -> None:
        told = [lock(0.0, "c", "lock ok", path=f"{FOLDER}/{name}.jsonl.lock"), lock(0.0, "a", "lock ok")]
        told += [lock(1.0, "b", "lock invoke"), lock(2.0, "a", "lock.release"), lock(9.0, "b", "lock ok")]
        assert judge(self.NAME, story(*told)).witness == (3, 4)

    def test_the_slowest_recovery_is_told(self) -> None:
        for waits in ((0.5, 1.5, 1.0), (1.5, 0.5, 1.0), (0.5, 1.0, 1.5)):
            told, t = [lock(0.0, "a", "lock ok", owner="0")], 0.0
            for n, wait_s in enumerate(waits):
                told += [lock(t, "b", "lock invoke"), lock(t, "a", "lock.release")]
                t += wait_s
                told += [
                    lock(t, "b", "lock ok"),
                    lock(t, "b", "lock.release"),
                    lock(t, "a", "lock ok", owner=str(n + 1)),
                ]
            assert "1.50 s" in judge(self.NAME, story(*told)).finding

    def test_a_waiter_that_did_not_get_the_lock_is_shown(self) -> None:
        told = [lock(0.0, "a", "lock ok"), lock(1.0, "b", "lock invoke"), lock(1.0, "c", "lock invoke")]
        died: Told = (2.0, "a", "actor.exit", {})
        found = judge(self.NAME, story(*told, died, lock(2.5, "c", "lock fail"), lock(2.6, "b", "lock fail")))
        assert (found.verdict, found.finding) == (V, "a died, and b still did not get the lock")
        assert found.witness == (3, 5, 4)

        waits = judge(self.NAME, story(*told, died, END))
        assert (waits.verdict, waits.witness) == (V, (3, 1))
        assert waits.finding == "97.00 s passed after a died; the bound is 2 s"

    @pytest.mark.parametrize(("told", "verdict"), [
        ([lock(1.0, "b", "lock invoke"), lock(1.5, "b", "lock fail"), lock(2.0, "a", "lock.release")], U),
        ([lock(2.0, "a", "lock.release"), lock(9.0, "b", "lock ok")], U),  # it is not known since when it was wanted
        ([lock(1.0, "b", "lock invoke", path=OTHER), lock(2.0, "a", "lock.release")], U),
        ([lock(1.0, "b", "lock invoke"), lock(2.0, "a", "lock.release"), lock(2.1, "b", "lock fail", kind="os")], U),
        ([lock(1.0, "b", "lock invoke"), lock(2.0, "a", "lock.release"), lock(2.1, "b", "lock ok")], H),
        ([lock(1.0, "b", "lock invoke"), lock(2.0, "b", "lock.fence"), lock(90.0, "a", "lock.lost")], U),
    ])  # fmt: skip
    def test_who_waited_for_a_lock_that_became_free(self, told: list[Told], verdict: Verdict) -> None:
        assert judge(self.NAME, story(lock(0.0, "a", "lock ok"), *told, END)).verdict is verdict


def test_facts_demand_nothing_that_a_scenario_does_not_name() -> None:
    facts = ScenarioFacts()

    assert (facts.message, facts.chain, facts.fault_s) == ("", (), 0.0)
    assert (dict(facts.messages), dict(facts.answers_s), dict(facts.ledger)) == ({}, {}, {})
    named = (facts.budget_s, facts.recovered_within_s, facts.amplification, facts.bystander_s, facts.calls)
    assert named == (None,) * 5
    assert facts.first_answer_s is None
    assert not facts.answer_possible
    assert ScenarioFacts(answers_s={"m": 3.0, "n": None, "o": 2.0}).first_answer_s == 2.0
