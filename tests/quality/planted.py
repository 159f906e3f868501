"""``planted.py BUG lockjaw-arguments...``: Lockjaw's own command line, with one bug in it.

Each bug is something that the runtime could get wrong: one function or constant is replaced before the command runs.
The harness starts this file instead of ``python -m lockjaw``, and a checker must see the difference.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from msgspec import structs

Plant = Callable[[object, str, object], None]  # setattr, or a monkeypatch's

BUGS: dict[str, Callable[[Plant], None]] = {}


def bug(plant: Callable[[Plant], None]) -> Callable[[Plant], None]:
    BUGS[plant.__name__] = plant
    return plant


def actor() -> str:
    """Which process this is: ``gateway``, ``client`` or ``models``."""
    return os.environ.get("LOCKJAW_ACTOR", "")


# --------------------------------------------------------------------------- the fallback policy


@bug
def a_lock_error_ends_the_takeover(plant: Plant) -> None:
    """The lock wait that runs out is not caught: nobody fences, nobody forks."""
    from lockjaw.runner import session_taking

    plant(session_taking, "SessionLocked", ZeroDivisionError)


@bug
def a_lock_error_is_a_failover_reason(plant: Plant) -> None:
    """Upstream's idea: every candidate takes the lock for itself, and a lock error is the model's fault."""
    from lockjaw.behaviours import BEHAVIOURS
    from lockjaw.runner import policy

    BEHAVIOURS["takeover"] = replace(
        BEHAVIOURS["takeover"], lock_per_attempt=True, lock_error_is_failover=True, lock_timeout_s=5.0
    )
    policy.POLICY_FUNCTIONS["takeover"] = policy.reuse_session


@bug
def a_takeover_waits_again_for_the_lock(plant: Plant) -> None:
    """After a wait that ran out, another one, before the holder is fenced."""
    from lockjaw.runner.policy import TakeLock
    from lockjaw.runner.session_taking import SessionTaking

    once = SessionTaking.take

    async def twice(self: Any, effect: TakeLock, *where: Any) -> Any:
        reply = await once(self, effect, *where)
        return reply if reply.granted else await once(self, effect, *where)

    plant(SessionTaking, "take", twice)


@bug
def a_close_of_ones_own_counts_as_a_refusal(plant: Plant) -> None:
    """The code alone decides: the client that gives up a silent gateway says 1008 as a gateway that refuses does."""
    from lockjaw.errors import ConnectionLost
    from lockjaw.runner import policy

    def by_code(self: Any) -> bool:
        return isinstance(self.error, ConnectionLost) and self.error.code in (1002, 1008)

    plant(policy.GatewayFailure, "refused", property(by_code))


@bug
def bookkeeping_decides_whether_there_is_an_answer(plant: Plant) -> None:
    """A note in sessions.json that cannot be made fails the turn, and the owner of its lock is not overruled."""
    from lockjaw.behaviours import BEHAVIOURS
    from lockjaw.runner import agent

    strict = replace(BEHAVIOURS["takeover"], store_bound_s=None, bookkeeping_decides=True)
    plant(agent, "BEHAVIOURS", {**BEHAVIOURS, "takeover": strict})


@bug
def a_run_that_begins_late_does_not_look_whether_its_turn_is_done(plant: Plant) -> None:
    from lockjaw.runner.embedded import EmbeddedRunner

    begun = EmbeddedRunner._begun

    async def blind(self: Any, plan: Any, held: Any) -> Any:
        return await begun(self, plan, held) if plan.resume else None

    plant(EmbeddedRunner, "_begun", blind)


@bug
def a_transaction_waits_on_the_event_loop(plant: Plant) -> None:
    """Every other session of the process waits with it, for a minute."""
    from lockjaw.harness.sim import machine
    from lockjaw.sessions.rows import TranscriptRows

    async def here(self: Any, work: Callable[[], Any]) -> Any:
        return work()

    plant(TranscriptRows, "aside", here)
    patient = replace(machine.BEHAVIOURS["no-fallback"], store_wait_s=60.0)
    plant(machine, "BEHAVIOURS", {**machine.BEHAVIOURS, "no-fallback": patient})


@bug
def a_claim_outlives_its_run(plant: Plant) -> None:
    """Upstream's idea: a row in the session list, which the next run believes."""
    from lockjaw.behaviours import BEHAVIOURS
    from lockjaw.runner import agent, service

    believing = {**BEHAVIOURS, "takeover": replace(BEHAVIOURS["takeover"], durable_claims=True)}
    for module in (agent, service):
        if hasattr(module, "BEHAVIOURS"):
            plant(module, "BEHAVIOURS", believing)
    from lockjaw.harness.sim import machine

    plant(machine, "BEHAVIOURS", believing)


@bug
def a_busy_store_reads_as_a_missing_permission(plant: Plant) -> None:
    """Upstream's idea: what a tool may do is looked up under a lock, and what cannot be looked up is forbidden."""
    from lockjaw.behaviours import BEHAVIOURS
    from lockjaw.harness.sim import machine

    denying = replace(BEHAVIOURS["takeover"], approvals_need_store=True, store_wait_s=5.0)
    plant(machine, "BEHAVIOURS", {**BEHAVIOURS, "takeover": denying})


@bug
def a_deadline_counts_as_a_failure(plant: Plant) -> None:
    """The client knows the run's id, and asks for the same thing once more instead of for that run."""
    from lockjaw.runner import agent, policy

    plant(agent, "POLICY_FUNCTIONS", {**policy.POLICY_FUNCTIONS, "takeover": policy.fresh_session})


@bug
def nobody_falls_back(plant: Plant) -> None:
    from lockjaw.runner import policy

    policy.POLICY_FUNCTIONS["takeover"] = policy.no_fallback


@bug
def the_answer_goes_into_a_fresh_session(plant: Plant) -> None:
    from lockjaw.runner import policy

    policy.POLICY_FUNCTIONS["takeover"] = policy.fresh_session


@bug
def a_takeover_restarts_the_turn(plant: Plant) -> None:
    """The lock is taken as it should be, and then the turn begins anew instead of going on."""
    from lockjaw.runner import agent

    embedded = agent.TurnClient._embedded

    async def anew(self: Any, session: Any, run_id: str, started_ms: int, effect: Any, **how: Any) -> Any:
        return await embedded(self, session, run_id, started_ms, structs.replace(effect, resume=False), **how)

    plant(agent.TurnClient, "_embedded", anew)


@bug
def the_first_run_is_not_stopped(plant: Plant) -> None:
    """The stop is not sent, and the holder is overruled at once: two executions, though only one can write."""
    from lockjaw.locking.lock_report import LockReport
    from lockjaw.locking.session_lock import SessionLock
    from lockjaw.runner import agent
    from lockjaw.runner.policy import StopReply

    acquire = SessionLock.acquire_async

    async def stop(self: Any, effect: Any, session: Any) -> StopReply:
        return StopReply(confirmed=True, reachable=True)

    async def without_asking(self: Any) -> Any:
        conversation = actor() == "client" and self._paths.session.endswith(".jsonl")
        return await (self.fence_async() if conversation else acquire(self))

    plant(agent.TurnClient, "_stop", stop)
    plant(SessionLock, "acquire_async", without_asking)
    plant(LockReport, "fenced", LockReport.acquired)


@bug
def an_interrupted_command_is_run_again(plant: Plant) -> None:
    """Shell commands count as harmless, so a call whose outcome is unknown is simply repeated."""
    from lockjaw.runner import embedded

    options = embedded.options_for

    def reckless(ref: Any, tools: Any) -> Any:
        return structs.replace(options(ref, tools), harmless=frozenset(tools))

    plant(embedded, "options_for", reckless)


@bug
def a_failed_model_is_asked_again_and_again(plant: Plant) -> None:
    """A hundred tries at an overloaded model before the next one has its turn."""
    from lockjaw.errors import ModelFailure
    from lockjaw.runner.embedded import EmbeddedRunner

    attempt = EmbeddedRunner._attempt

    async def stubborn(self: Any, *how: Any) -> Any:
        for _ in range(120):
            try:
                return await attempt(self, *how)
            except ModelFailure:
                if actor() != "client":
                    break
        return await attempt(self, *how)

    plant(EmbeddedRunner, "_attempt", stubborn)


# --------------------------------------------------------------------------- the lock


@bug
def an_owner_that_is_frozen_in_its_section_cannot_be_overruled(plant: Plant) -> None:
    from lockjaw.errors import LockStateError
    from lockjaw.locking.algorithms import guarded

    def helpless(calls: Any, request: Any, *how: Any, **more: Any) -> None:
        raise LockStateError(request.paths.lock, "", "the lock cannot be fenced")

    plant(guarded, "overrule", helpless)


@bug
def an_overruled_owner_does_not_look_again(plant: Plant) -> None:
    """It passed its check, so it writes, whatever has become of its guard; and the file is the one that it has open."""
    from lockjaw.locking.held_lock import HeldLock
    from lockjaw.sessions import transcript_file

    plant(HeldLock, "_check", lambda self: None)
    plant(transcript_file, "is_due", lambda files, path: False)


@bug
def an_append_does_not_check_the_generation(plant: Plant) -> None:
    from lockjaw.locking.held_lock import HeldLock

    plant(HeldLock, "_enter", lambda self: None)


@bug
def a_dead_owner_counts_as_alive(plant: Plant) -> None:
    from lockjaw.locking.algorithms import findings, guarded

    examine = findings.examine

    def timid(calls: Any, request: Any, guard: Any) -> Any:
        finding = examine(calls, request, guard)
        if not isinstance(finding, findings.Dead):
            return finding
        wait = findings.WaitForRelease(request.paths.lock, calls.status(request.paths.lock), float("inf"))
        return findings.Busy(finding.owner, "Wait for it.", wait, finding.guard)

    plant(guarded, "examine", timid)


@bug
def a_waiter_oversleeps(plant: Plant) -> None:
    """The lock is given back, and whoever waits for it looks again only much later."""
    from lockjaw.locking.session_lock import SessionLock

    acquire = SessionLock.acquire_async

    async def late(self: Any) -> Any:
        if actor() == "client" and self._paths.session.endswith(".jsonl"):
            self._report.acquiring(self._timeout_s)
            await self._clock.sleep(25.0)
        return await acquire(self)

    plant(SessionLock, "acquire_async", late)


@bug
def an_ended_run_takes_its_lock_again(plant: Plant) -> None:
    """The cleanup of a run that has ended takes the session lock once more."""
    from lockjaw.runner.embedded import EmbeddedRunner

    run = EmbeddedRunner.run

    async def tidy(self: Any, plan: Any, **how: Any) -> Any:
        try:
            return await run(self, plan, **how)
        finally:
            if plan.held is None:
                async with self._session_lock(plan):
                    pass

    plant(EmbeddedRunner, "run", tidy)


@bug
def a_waiter_gives_up_early(plant: Plant) -> None:
    """Whoever waits for a lock gives up after a second, whatever it was told."""
    from lockjaw.locking.session_lock import SessionLock

    acquire = SessionLock.acquire_async

    async def hasty(self: Any, timeout: float | None = None, **more: Any) -> Any:
        return await acquire(self, min(self._timeout_s if timeout is None else timeout, 1.0), **more)

    plant(SessionLock, "acquire_async", hasty)


# --------------------------------------------------------------------------- the transcript


@bug
def a_reader_stops_one_entry_early(plant: Plant) -> None:
    from lockjaw.sessions import report

    entries_of = report.entries_of
    plant(report, "entries_of", lambda header, values: entries_of(header, values[:-1]))


@bug
def a_line_is_not_ended(plant: Plant) -> None:
    """The client's lines have no line feed, and the next one does not look."""
    from lockjaw.sessions import disk

    append = disk.append

    def torn(files: Any, fd: int, data: bytes, **how: Any) -> None:
        append(files, fd, data.strip(b"\n") if actor() == "client" else data, **how)

    plant(disk, "append", torn)


@bug
def a_repair_cuts_a_sound_line(plant: Plant) -> None:
    """Opening a transcript throws its last entry away, torn or not."""
    from lockjaw.sessions.transcript_file import TranscriptFile

    make_sound = TranscriptFile.make_sound

    def careless(self: Any, found: Any) -> Any:
        if actor() == "client" and found.size:
            data = self.path.read_bytes()
            os.truncate(self.path, data.rstrip(b"\n").rindex(b"\n") + 1)
            from lockjaw.sessions.repair import survey

            found = survey(self._files, self.path)
        return make_sound(self, found)

    plant(TranscriptFile, "make_sound", careless)


@bug
def a_tool_result_is_dropped_on_resume(plant: Plant) -> None:
    """The call of an interrupted run gets neither a new result nor one that says what happened."""
    from lockjaw.runner.embedded import EmbeddedRunner

    prompt = EmbeddedRunner._prompt

    async def forgetful(self: Any, transcript: Any, hold: Any, plan: Any, index: int) -> Any:
        message, pending = await prompt(self, transcript, hold, plan, index)
        return (self._user("Go on.", plan), ()) if pending else (message, pending)

    plant(EmbeddedRunner, "_prompt", forgetful)


@bug
def the_answer_is_not_kept(plant: Plant) -> None:
    """The client shows the answer and does not write it."""
    from lockjaw.runner.attempt import Play

    append = Play._append

    async def skip(self: Any, effect: Any) -> None:
        if not (actor() == "client" and effect.message["role"] == "assistant"):
            await append(self, effect)

    plant(Play, "_append", skip)


# --------------------------------------------------------------------------- what the user sees


@bug
def a_fork_is_not_marked(plant: Plant) -> None:
    from lockjaw.runner import policy

    answer = policy.Answer
    plant(policy, "Answer", lambda *parts, duplicate_possible=False: answer(*parts))


@bug
def a_failure_exits_with_zero(plant: Plant) -> None:
    from lockjaw.runner import agent

    plant(agent, "EXIT_FAILED", 0)


@bug
def a_fallback_answers_in_the_name_of_the_gateway(plant: Plant) -> None:
    from lockjaw.runner import agent

    answered = agent.TurnClient._answered

    def silent(self: Any, answer: Any) -> Any:
        result = {"status": "ok", "result": answer.result} if answer.transport == "embedded" else answer.result
        return answered(self, structs.replace(answer, result=result, transport="gateway", marks={}))

    plant(agent.TurnClient, "_answered", silent)


@bug
def the_process_does_not_exit(plant: Plant) -> None:
    """A forgotten thread keeps the process alive after it has told its result."""
    from lockjaw.runner import agent

    answered = agent.TurnClient._answered

    def stay(self: Any, answer: Any) -> Any:
        threading.Thread(target=threading.Event().wait, name="forgotten").start()
        return answered(self, answer)

    plant(agent.TurnClient, "_answered", stay)


def main() -> None:
    name, *arguments = sys.argv[1:]
    if arguments[:1] != ["serve"]:  # the fakes are not the runtime
        BUGS[name](setattr)
    sys.argv = ["lockjaw", *arguments]
    from lockjaw.cli import main as lockjaw

    lockjaw()


if __name__ == "__main__":
    main()
