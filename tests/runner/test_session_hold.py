"""A run whose section another process keeps: real files and kernel locks; what is frozen is an open file of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.errors import Fenced, LockStateError
from lockjaw.files import OVERRULED_SUFFIX
from lockjaw.locking import HeldLock, SessionLock, release_all_held
from lockjaw.locking.guard_record import SECTION
from lockjaw.locking.kernel import Kernel
from lockjaw.runner.session_hold import SessionHold
from lockjaw.sessions import Transcript

CLOCK = ScaledClock.start(0.01)  # the section is waited for 0.25 real seconds


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "s.jsonl"


class Stuck:
    """A process that stands still inside the section of the guard that lies there now."""

    def __init__(self, file: Path) -> None:
        self.kernel = Kernel(CLOCK)
        self.guard = self.kernel.open_guard(f"{file}.guard", f"{file}.body.guard")
        assert self.kernel.lock(self.guard, SECTION)


def hold_of(lock: SessionLock, file: Path, said: list[str]) -> SessionHold:
    return SessionHold(lock.acquire(), another=lambda: SessionLock(file, clock=CLOCK), clock=CLOCK, log=said.append)


def opened(hold: SessionHold, file: Path) -> Transcript:
    return Transcript.open(
        file, session_id="s", cwd=file.parent, clock=CLOCK, section=hold.held.section, generation=hold.held.generation
    )


def appends(transcript: Transcript, text: str) -> Callable[[], Awaitable[str]]:
    message = {"role": "user", "content": [{"type": "text", "text": text}]}
    return lambda: transcript.aside(lambda: transcript.append_message(message))


def texts(file: Path) -> list[str]:
    again = Transcript.open(file, session_id="s", cwd=file.parent, clock=CLOCK, read_only=True)
    return [message["content"][0]["text"] for message in again.context()]


async def test_an_append_goes_on_under_a_new_guard_where_another_process_stands_still_in_the_section(
    file: Path,
) -> None:
    lock, said = SessionLock(file, clock=CLOCK), []
    hold = hold_of(lock, file, said)
    first, transcript = hold.held, opened(hold, file)
    await hold.perform(appends(transcript, "one"), transcript)
    stuck, late = Stuck(file), file.open("ab")

    await hold.perform(appends(transcript, "two"), transcript)
    late.write(b"what the frozen process writes when it wakes\n")
    late.close()
    stuck.kernel.close(stuck.guard)
    await hold.perform(appends(transcript, "three"), transcript)

    assert texts(file) == ["one", "two", "three"]
    assert (first.generation, hold.held.generation) == (1, 2)
    assert len(said) == 1
    assert not file.with_name(file.name + OVERRULED_SUFFIX).exists()
    with pytest.raises(Fenced), first.section():
        pytest.fail("the old grant counts no longer")
    await hold.end(first)
    await lock.release_async()
    assert not lock.path.exists()
    with SessionLock(file, clock=CLOCK, timeout=0) as next_one:
        assert next_one.generation == 3


async def test_a_run_that_may_not_take_the_lock_anew_says_what_it_met(file: Path) -> None:
    """A gateway's: the process in the section may be its own client, in the middle of overruling it."""
    lock = SessionLock(file, clock=CLOCK)
    hold = SessionHold(lock.acquire(), another=None, clock=CLOCK, log=lambda line: None)
    transcript, stuck = opened(hold, file), Stuck(file)

    with pytest.raises(LockStateError, match="paused inside the section"):
        await hold.perform(appends(transcript, "mine"), transcript)
    stuck.kernel.close(stuck.guard)
    await lock.release_async()


async def test_a_run_that_was_overruled_meanwhile_overrules_nobody(file: Path) -> None:
    lock, said = SessionLock(file, clock=CLOCK), []
    hold = hold_of(lock, file, said)
    transcript = opened(hold, file)
    newer = await SessionLock(file, clock=CLOCK).fence_async()
    stuck = Stuck(file)

    with pytest.raises(Fenced):
        await hold.perform(appends(transcript, "mine"), transcript)
    stuck.kernel.close(stuck.guard)

    newer.verify()
    assert (said, hold.held.generation, newer.generation) == ([], 1, 2)
    await lock.release_async()
    newer.release()


async def test_a_process_that_leaves_the_section_in_time_is_not_overruled(file: Path) -> None:
    lock, said = SessionLock(file, clock=CLOCK), []
    hold = hold_of(lock, file, said)
    transcript, stuck = opened(hold, file), Stuck(file)

    class Waking(ScaledClock):
        async def sleep(self, nominal_s: float) -> None:
            stuck.kernel.close(stuck.guard)

    hold._clock = Waking.start(0.01)
    await hold.perform(appends(transcript, "mine"), transcript)

    assert (texts(file), said, hold.held.generation) == (["mine"], [], 1)
    await lock.release_async()


@pytest.mark.parametrize("gives_back", [False, True])
async def test_a_run_that_was_overruled_in_that_very_moment_stops_and_overrules_nobody(
    gives_back: bool, file: Path
) -> None:
    class Racing(SessionLock):
        async def fence_async(self, only: int | None = None) -> HeldLock:
            faster = await SessionLock(file, clock=CLOCK, max_hold_s=inf).fence_async()
            if gives_back:
                await faster.release_async()
            return await super().fence_async(only)

    lock, said = SessionLock(file, clock=CLOCK), []
    hold = SessionHold(lock.acquire(), another=lambda: Racing(file, clock=CLOCK), clock=CLOCK, log=said.append)
    transcript, stuck = opened(hold, file), Stuck(file)

    with pytest.raises(Fenced, match=f"generation 1 was superseded by {3 if gives_back else 2}"):
        await hold.perform(appends(transcript, "mine"), transcript)

    stuck.kernel.close(stuck.guard)
    await lock.release_async()
    assert lock.path.exists() is not gives_back  # the faster one has it still
    assert not file.exists()
    release_all_held()


async def test_a_section_that_cannot_be_overruled_is_said_as_it_was_found(file: Path) -> None:
    lock, said = SessionLock(file, clock=CLOCK), []
    hold = hold_of(lock, file, said)
    transcript = opened(hold, file)
    stuck = Stuck(file)
    lock.path.unlink()
    lock.path.write_text('{"pid": 1, "createdAt": "2026-05-14T07:35:46.405Z"}')  # a foreign program's

    with pytest.raises(LockStateError, match="paused inside the section"):
        await hold.perform(appends(transcript, "mine"), transcript)
    stuck.kernel.close(stuck.guard)
    await lock.release_async()


class Grant:
    """A lock as a run holds it; ``generation`` 0: an algorithm that has none."""

    def __init__(self, generation: int = 1, overruled: int = 0) -> None:
        self.generation, self.overruled, self.released, self.section = generation, overruled, 0, None

    def verify(self) -> None:
        return None

    async def release_async(self) -> None:
        self.released += 1


@pytest.mark.parametrize(
    ("generation", "stuck_for", "may_take_anew", "tries", "slept_s"),
    [(0, 9, True, 1, []), (1, 0, True, 1, []), (1, 1, True, 2, [8.0]), (1, 2, True, 3, [8.0]), (1, 9, False, 2, [8.0])],
)
async def test_a_run_waits_eight_seconds_looks_and_tries_again(
    generation: int, stuck_for: int, may_take_anew: bool, tries: int, slept_s: list[float]
) -> None:
    """Twice 2 s for the section and the 8 s between are as long as a takeover waits for an owner."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    first, second, tried = Grant(generation), Grant(2, overruled=1), []

    async def fence_async(only: int) -> Grant:
        assert only == first.generation
        return second

    hold: Any = SessionHold(
        first,  # type: ignore[arg-type]
        another=(lambda: SimpleNamespace(fence_async=fence_async)) if may_take_anew else None,  # type: ignore[arg-type,return-value]
        clock=SimpleNamespace(sleep=sleep),  # type: ignore[arg-type]
        log=lambda line: None,
    )

    async def work() -> str:
        tried.append(1)
        if len(tried) <= stuck_for:
            raise LockStateError("/s", {}, "paused inside the section")
        return "done"

    if stuck_for < 9:
        assert await hold.perform(work) == "done"
    else:
        with pytest.raises(LockStateError):
            await hold.perform(work)
    assert (len(tried), slept) == (tries, slept_s)
    anew = stuck_for == 2
    assert (hold.held is second, first.released, second.released) == (anew, anew, 0)
    await hold.end(first)
    assert (first.released, second.released) == (anew, anew)
