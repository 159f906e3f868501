"""Processes that want one session's lock, and nothing else: the smallest world in which a lock can be wrong.

Each contender takes the lock, appends an entry inside the write section, thinks a little, appends another one, and
gives the lock back, a few times over. It may begin with a lock file that a dead process left; a *taker* may fence
whoever does not let go; a *robber* may remove the lock file by hand, and somebody who cleans up the guard that nobody
uses. The history is judged by the same checkers as any other, and by two laws of locks alone, which hold here because a
grant and its record are one instant.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from lockjaw.errors import Fenced, LockStateError, SessionLocked
from lockjaw.history import Record
from lockjaw.history.holds import holds
from lockjaw.history.ordered import numbered
from lockjaw.locking import HeldLock, SessionLock
from lockjaw.locking.owner_record import OwnerRecord, body
from lockjaw.locking.paths import GUARD_SUFFIX
from lockjaw.seeds import Seeds
from lockjaw.sessions import Transcript
from lockjaw.verdict import CheckResult, Verdict

from ..judge.checkers import ScenarioFacts, run_checks
from ..play.aftermath import record_lock, record_transcript, try_next_turn
from .disk import Disk
from .engine import enclosed
from .files import SimFiles
from .locks import SimHost, Waiters
from .log import Step
from .process import HARNESS, Process, SimClock, SimRecorder
from .tape import Choice, Choices
from .windows import WindowsHost
from .world import EPOCH_MS, World

FOLDER = "/sim/state/agents/main/sessions"
SESSION = "11111111-1111-4111-8111-111111111111"
PATH = f"{FOLDER}/{SESSION}.jsonl"
CHECKS = ("one_writer", "no_lock_left", "transcript_whole", "recovered_within")
OF_GENERATIONS = ("one_writer", "generations_rise")
LIMIT_S = 900.0


@dataclass(frozen=True)
class Contention:
    """Durations in nominal seconds.

    Args:
        stale: a dead process's lock file lies there at the beginning.
        torn: a transcript whose last line is half written lies there at the beginning.
        taker_after_s: one more process fences the lock this long after it asked in vain; None: nobody does.
        robbed_at_s: the lock file is removed by hand then; None: never.
        turns: how often in a row each round takes the lock, with the same ``SessionLock``.
        pause_s: between rounds; None: ``think_s``.
        guard_removed_at_s: the guard is removed by hand as soon after that as nobody uses it; None: never. The
            generations begin anew with it, so what is judged then is who holds the lock beside whom.
        recovered_within_s: bound for the checker of that name.
        windows: all of it on Windows; see ``windows``.
    """

    algorithm: str = "guarded"
    contenders: int = 2
    rounds: int = 2
    think_s: float = 0.01
    timeout_s: float = 120.0
    stale: bool = False
    torn: bool = False
    taker_after_s: float | None = None
    robbed_at_s: float | None = None
    turns: int = 1
    pause_s: float | None = None
    guard_removed_at_s: float | None = None
    recovered_within_s: float = 400.0
    windows: bool = False


#: Each process takes the lock several times in a row, so that its guard rests with generations in reserve.
AGAIN_AND_AGAIN = Contention(rounds=3, turns=3, pause_s=0.2)


@dataclass(frozen=True)
class Contended:
    """What a run left."""

    history: list[Record]
    tape: list[Choice]
    checks: list[CheckResult]
    simulated_s: float
    log: tuple[Step, ...] = ()

    @property
    def violated(self) -> tuple[str, ...]:
        return tuple(check.name for check in self.checks if check.verdict == "VIOLATED")


def run_contention(setup: Contention, *, seed: int, choices: Choices) -> Contended:
    """Run once, and judge."""
    world = World(choices)
    arena = _Arena(world, setup, seed)
    enclosed(world, arena.play)
    choices.finish()
    facts = ScenarioFacts(recovered_within_s=setup.recovered_within_s)
    checks = [*run_checks(CHECKS, world.history, facts), one_holder(world.history), generations_rise(world.history)]
    if setup.guard_removed_at_s is not None:
        checks = [check for check in checks if check.name not in OF_GENERATIONS]
    return Contended(world.history, choices.tape, checks, world.now, tuple(world.log.steps))


def one_holder(history: Sequence[Record]) -> CheckResult:
    """No contender is granted the lock while another one holds it, unless it fences that one."""
    grants = holds(numbered(history))
    for hold in grants:
        beside = [h for h in grants if h is not hold and h.path == hold.path and h.live_at(hold.granted.i)]
        if beside and hold.granted.op == "lock":
            finding = f"{hold.actor} was granted the lock while {beside[0].actor} held it"
            return CheckResult("one_holder", Verdict.VIOLATED, finding, (beside[0].granted.i, hold.granted.i))
    return CheckResult("one_holder", Verdict.HELD if grants else Verdict.UNKNOWN, f"{len(grants)} grants")


def generations_rise(history: Sequence[Record]) -> CheckResult:
    """Each grant has a higher generation than every one before. UNKNOWN for a lock without generations."""
    grants = [hold for hold in holds(numbered(history)) if hold.generation]
    for before, hold in pairwise(grants):
        if hold.generation <= before.generation:
            finding = f"{hold.actor} was granted generation {hold.generation} after {before.generation}"
            return CheckResult("generations_rise", Verdict.VIOLATED, finding, (before.granted.i, hold.granted.i))
    return CheckResult("generations_rise", Verdict.HELD if grants else Verdict.UNKNOWN, f"{len(grants)} grants")


class _Arena:
    def __init__(self, world: World, setup: Contention, seed: int) -> None:
        self.world, self.setup = world, setup
        self.seeds = Seeds(seed).child("data")
        self.waiters = Waiters()
        self.disk = Disk(lambda: world.now)
        self.disk.changed = self.waiters.changed
        world.written_bytes = lambda: self.disk.written_bytes
        world.log.disk = self.disk
        self.disk.make_folder(FOLDER)
        self._in_use = 0  # contenders that have, want or give back the lock

    def process(self, name: str, role: str = "contender") -> Process:
        process = self.world.start(name, role)
        process.at_death.append(lambda: self.disk.close_all(process))
        process.at_death.append(self.waiters.changed)
        return process

    def host(self, process: Process) -> SimHost:
        return (WindowsHost if self.setup.windows else SimHost)(process, self.disk, self.waiters)

    def play(self) -> None:
        world, setup = self.world, self.setup
        harness = self.process(HARNESS, HARNESS)
        if setup.stale:
            self._leave_stale_lock()
        if setup.torn:
            self._leave_torn_transcript()
        names = [f"contender {n + 1}" for n in range(setup.contenders)]
        processes = [self._start(name, self._contend) for name in names]
        if setup.taker_after_s is not None:
            processes.append(self._start("taker", self._take))
        if setup.robbed_at_s is not None:
            world.at(setup.robbed_at_s, self._rob)
        if setup.guard_removed_at_s is not None:
            world.at(setup.guard_removed_at_s, self._remove_guard)
        for process in processes:
            SimRecorder(harness).record("actor.ready", role="contender", pid=process.pid, actor=process.name)
        world.run(LIMIT_S, done=lambda: not any(process.alive for process in processes))
        for process in processes:
            world.reap(process)
            SimRecorder(harness).record(
                "actor.exit", role="contender", pid=process.pid, code=process.code, actor=process.name
            )
        self._aftermath(harness)

    def _start(self, name: str, act: Callable[[Process], object]) -> Process:
        process = self.process(name)
        task = process.spawn(act(process), name)
        task.add_done_callback(lambda task: self._ended(process, task))
        return process

    def _ended(self, process: Process, task: object) -> None:
        error = None if task.cancelled() else task.exception()  # type: ignore[attr-defined]
        if error is not None and not isinstance(error, SessionLocked | LockStateError | Fenced | OSError):
            self.world.complain(process, {"message": "a contender failed", "exception": error})
        if process.alive:
            self.world.at(self.world.now, self.world.kill, process, 0)

    # ------------------------------------------------------------------ who is there

    async def _contend(self, process: Process) -> None:
        host, files, clock = self.host(process), SimFiles(process, self.disk), SimClock(process)
        ids = self.seeds.stream(process.name)
        for number in range(self.setup.rounds):
            owner = f"{process.name}/{number + 1}"
            lock = SessionLock(
                PATH, timeout=self.setup.timeout_s, algorithm=self.setup.algorithm, clock=clock,
                recorder=SimRecorder(process), owner=owner, host=host,
            )  # fmt: skip
            for _ in range(self.setup.turns):
                self._in_use += 1
                async with lock as held:
                    transcript = Transcript.open(
                        Path(PATH), session_id=SESSION, cwd=Path("/sim"), clock=clock, ids=ids, files=files,
                        recorder=SimRecorder(process), section=held.section, generation=held.generation, run_id=owner,
                    )  # fmt: skip
                    transcript.append_custom("contention", {"owner": owner})
                    await clock.sleep(self.setup.think_s)
                    transcript.append_custom("contention", {"owner": owner})
                self._in_use -= 1
            await clock.sleep(self.setup.think_s if self.setup.pause_s is None else self.setup.pause_s)

    async def _take(self, process: Process) -> None:
        """Asks, waits in vain, fences, writes."""
        host, files, clock = self.host(process), SimFiles(process, self.disk), SimClock(process)
        lock = SessionLock(
            PATH, timeout=self.setup.taker_after_s, algorithm=self.setup.algorithm, clock=clock,
            recorder=SimRecorder(process), owner="taker", host=host,
        )  # fmt: skip
        await clock.sleep(self.setup.think_s / 2)
        held: HeldLock
        try:
            held = await lock.acquire_async()
        except SessionLocked:
            held = await lock.fence_async()
        try:
            transcript = Transcript.open(
                Path(PATH), session_id=SESSION, cwd=Path("/sim"), clock=clock, ids=self.seeds.stream("taker"),
                files=files, recorder=SimRecorder(process), section=held.section, generation=held.generation,
                run_id="taker",
            )  # fmt: skip
            for _ in range(2):
                transcript.append_custom("contention", {"owner": "taker"})
                await clock.sleep(30.0)
        finally:
            await lock.release_async()

    def _rob(self) -> None:
        if f"{PATH}.lock" in self.disk.names:
            self.disk.unlink(f"{PATH}.lock")

    def _remove_guard(self) -> None:
        if self._in_use:
            self.world.at(self.world.now + 0.05, self._remove_guard)
        elif f"{PATH}{GUARD_SUFFIX}" in self.disk.names:
            self.disk.unlink(f"{PATH}{GUARD_SUFFIX}")

    def _leave_stale_lock(self) -> None:
        record = OwnerRecord(pid=77, created_at_ms=EPOCH_MS - 60_000, starttime=5)
        file = self.disk.open(f"{PATH}.lock", os.O_WRONLY | os.O_CREAT, None)
        self.disk.write(file, body(record), 0)
        self.disk.close(file.fd)

    def _leave_torn_transcript(self) -> None:
        header = (
            f'{{"type":"session","version":3,"id":"{SESSION}","timestamp":"2026-01-01T00:00:00.000Z","cwd":"/sim"}}'
        )
        file = self.disk.open(PATH, os.O_WRONLY | os.O_CREAT, None)
        self.disk.write(file, f'{header}\n{{"type":"custom","id":"0000'.encode(), 0)
        self.disk.close(file.fd)

    def _aftermath(self, harness: Process) -> None:
        host, files, clock = self.host(harness), SimFiles(harness, self.disk), SimClock(harness)
        recorder = SimRecorder(harness)
        for lock in self.disk.listing(FOLDER, ".lock"):
            record_lock(Path(lock), recorder, clock=clock, host=host)
        if PATH in self.disk.names:
            ids = self.seeds.stream("harness")

            def mend(path: Path, held: HeldLock) -> None:
                Transcript.open(
                    path, session_id=SESSION, cwd=Path("/sim"), clock=clock, ids=ids, section=held.section, files=files
                )

            task = harness.spawn(
                try_next_turn(Path(PATH), self.setup.algorithm, clock, recorder, host=host, use=mend), "next turn"
            )
            self.world.run(self.world.now + 600.0, done=task.done)
            record_transcript(Path(PATH), recorder, files=files)
        recorder.record("run.end", reason="done")


def violated_by(setup: Contention, *, seed: int, choices: Choices) -> Sequence[str]:
    """The laws that one run breaks."""
    return run_contention(setup, seed=seed, choices=choices).violated
