"""A checker that no bug in the *runtime* can make fire is a defect, too.

Real processes play a short scenario twice: as they are, and with one bug planted (``planted.py``). The law that the
bug breaks must be HELD in the first run and VIOLATED in the second. Scenarios of the catalogue, which have more actors
than gateway and client, are played in the simulation.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from lockjaw.harness import Run
from lockjaw.harness.judge.checkers import CHECKERS
from lockjaw.harness.real.engine import Limits, RealWorld
from lockjaw.harness.real.rig import Launch
from lockjaw.harness.run import run_async
from lockjaw.verdict import Verdict

from .planted import BUGS

pytestmark = pytest.mark.real

HERE = Path(__file__).parent
LIMITS = Limits(stop=2.0)  # a process that does not exit shall not cost five seconds


@dataclass(frozen=True)
class Setting:
    """A scenario of this folder, a policy, and the policy of the gateway where that is another one.

    ``engine`` sim: a scenario of the catalogue, in this process.
    """

    scenario: str
    policy: str = "takeover"
    gateway: str = ""
    engine: str = "real"


SLOW, KILLED, BUSY, FROZEN = Setting("slow"), Setting("killed"), Setting("busy"), Setting("frozen")
NO_FALLBACK = Setting("slow", "no-fallback")
FOREIGN = Setting("frozen", gateway="fresh-session")  # upstream's lock cannot be fenced: the client forks
SUBAGENTS, NIGHTLY = Setting("subagents_announce", engine="sim"), Setting("reader_sees_nothing", engine="sim")
IN_APPEND = Setting("frozen_inside_append", engine="sim")
STORE = Setting("store_owner_stands_still", engine="sim")
HELD_DATABASE = Setting("store_call_stops_everybody", "no-fallback", engine="sim")
CLAIMED = Setting("orphaned_turn_claim", engine="sim")
BUSY_STORE = Setting("busy_store_reads_as_denial", engine="sim")
LONG_RUN = Setting("accepted_run_is_run_again", engine="sim")
STALLED = Setting("gateway_stalls_at_connect", engine="sim")


@dataclass(frozen=True)
class Planted:
    """``in_recovery``: whoever comes next (here: the harness) has the bug as well."""

    checker: str
    bug: str
    setting: Setting
    in_recovery: bool = False


PLANTED = [
    Planted("never_session_locked", "a_lock_error_ends_the_takeover", FROZEN),
    Planted("lock_is_not_a_model_failure", "a_lock_error_is_a_failover_reason", FROZEN),
    Planted("lock_is_not_a_model_failure", "a_takeover_waits_again_for_the_lock", FROZEN),
    Planted("answered", "nobody_falls_back", SLOW),
    Planted("answered", "bookkeeping_decides_whether_there_is_an_answer", STORE),
    Planted("executed_once", "a_run_that_begins_late_does_not_look_whether_its_turn_is_done", STORE),
    Planted("answered", "a_close_of_ones_own_counts_as_a_refusal", STALLED),
    Planted("executed_once", "a_takeover_restarts_the_turn", SLOW),
    Planted("executed_once", "the_first_run_is_not_stopped", SLOW),
    Planted("executed_once", "an_interrupted_command_is_run_again", KILLED),
    Planted("same_conversation", "the_answer_goes_into_a_fresh_session", SLOW),
    Planted("same_conversation", "the_answer_is_not_kept", SLOW),
    Planted("one_writer", "an_append_does_not_check_the_generation", FROZEN),
    Planted("same_conversation", "an_owner_that_is_frozen_in_its_section_cannot_be_overruled", IN_APPEND),
    Planted("one_writer", "an_overruled_owner_does_not_look_again", IN_APPEND),
    Planted("no_lock_left", "a_dead_owner_counts_as_alive", KILLED, in_recovery=True),
    Planted("recovered_within", "a_dead_owner_counts_as_alive", KILLED),
    Planted("recovered_within", "a_waiter_oversleeps", BUSY),
    Planted("transcript_whole", "a_line_is_not_ended", SLOW),
    Planted("transcript_whole", "a_repair_cuts_a_sound_line", SLOW),
    Planted("transcript_whole", "a_tool_result_is_dropped_on_resume", KILLED),
    Planted("degradation_visible", "a_fork_is_not_marked", FOREIGN),
    Planted("degradation_visible", "a_failure_exits_with_zero", NO_FALLBACK),
    Planted("degradation_visible", "a_fallback_answers_in_the_name_of_the_gateway", SLOW),
    Planted("degradation_visible", "the_process_does_not_exit", SLOW),
    Planted("amplification", "a_failed_model_is_asked_again_and_again", BUSY),
    Planted("nothing_held_after_end", "an_ended_run_takes_its_lock_again", NO_FALLBACK),
    Planted("all_delivered", "a_waiter_gives_up_early", SUBAGENTS),
    Planted("reads_are_true", "a_reader_stops_one_entry_early", NIGHTLY),
    Planted("store_delays_no_other", "a_transaction_waits_on_the_event_loop", HELD_DATABASE),
    Planted("claims_end", "a_claim_outlives_its_run", CLAIMED),
    Planted("lock_is_not_a_permission_verdict", "a_busy_store_reads_as_a_missing_permission", BUSY_STORE),
    Planted("accepted_turns_end_once", "a_deadline_counts_as_a_failure", LONG_RUN),
]


class PlantedWorld(RealWorld):
    """Lockjaw's programs, with a bug in them; the gateway may have a policy of its own."""

    python: ClassVar[Sequence[str] | None] = None
    gateway_policy: ClassVar[str] = ""

    def launch(self, name: str) -> Launch:
        launch = super().launch(name)
        policy = self.gateway_policy if name == "gateway" and self.gateway_policy else launch.policy
        return replace(launch, policy=policy, python=tuple(self.python or launch.python))


async def play(setting: Setting, out: Path, python: Sequence[str] | None = None) -> Run:
    if setting.engine == "sim":
        return await run_async(setting.scenario, policy=setting.policy, engine="sim", out=out)
    world = type("World", (PlantedWorld,), {"python": python, "gateway_policy": setting.gateway})
    return await run_async(
        HERE / f"{setting.scenario}.yaml", policy=setting.policy, out=out, world=world, limits=LIMITS
    )


async def play_for(
    enough: Callable[[Run], bool], setting: Setting, out: Path, python: Sequence[str] | None = None
) -> Run:
    """A run, or a second one if the first was not enough: on a busy machine real processes may miss the race."""
    run = await play(setting, out / "first", python)
    return run if enough(run) or setting.engine == "sim" else await play(setting, out / "second", python)


def told(run: Run) -> str:
    """For the message of a failing test."""
    lines = [f"{c.name}: {c.verdict} {c.finding}" for c in run.checks]
    return "\n".join([str(run.run_dir), *lines, *(f"{r.says}: {r.met}" for r in run.reached)])


@pytest.mark.parametrize(
    "setting", sorted({p.setting for p in PLANTED}, key=str), ids=lambda s: "-".join(filter(None, vars(s).values()))
)
async def test_the_laws_are_held_before_a_bug_is_planted(setting: Setting, tmp_path: Path) -> None:
    wanted = {p.checker for p in PLANTED if p.setting == setting}
    run = await play_for(lambda run: all(condition.met for condition in run.reached), setting, tmp_path)

    assert {name: run.check(name).verdict for name in wanted} == dict.fromkeys(wanted, Verdict.HELD), told(run)
    assert all(condition.met for condition in run.reached), told(run)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda p: f"{p.checker}: {p.bug}")
async def test_a_checker_catches_the_bug_in_the_runtime(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if planted.in_recovery or planted.setting.engine == "sim":
        BUGS[planted.bug](monkeypatch.setattr)

    python = (sys.executable, "-P", str(HERE / "planted.py"), planted.bug)
    run = await play_for(
        lambda run: run.check(planted.checker).verdict is Verdict.VIOLATED, planted.setting, tmp_path, python
    )

    check = run.check(planted.checker)
    assert check.verdict is Verdict.VIOLATED, told(run)
    assert check.witness


def test_every_registered_checker_has_a_bug_planted_in_the_runtime() -> None:
    assert {planted.checker for planted in PLANTED} == set(CHECKERS)


def test_every_bug_is_planted_somewhere() -> None:
    assert {planted.bug for planted in PLANTED} == set(BUGS)
