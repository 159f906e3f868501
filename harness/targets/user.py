"""The user of a runtime that is not ours: asks, gives up, falls back. ``python -P -m ... user PLAN READY_FD GO_FD``.

Most command lines of these runtimes have no deadline of their own, so the harness plays who gives up: it ends the
program after the plan's deadline (SIGTERM to its process group, as a wrapper would) and starts the next attempt. What
is recorded is what a user sees: exit status, words, whether an answer was printed, and whether the words tell of a
locked session. Everything is loaded before the process says that it is ready; it begins at its go.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from lockjaw.clock import Clock, ScaledClock
from lockjaw.history import Recorder
from lockjaw.process import perform_at_go, recorder_from_environment, watch_lifeline

__all__ = ["MOST_OUTPUT", "Attempt", "Plan", "User", "Way"]

KILL_AFTER_REAL_S = 3.0  # from SIGTERM to SIGKILL: a wrapper does not wait for ever
POLL_REAL_S = 0.02
MOST_OUTPUT = 1 << 20  # bytes of an attempt's output that are read; a looping program prints without end
LAST_LINES = 5

Way = Literal["gateway", "own"]


class Attempt(msgspec.Struct, frozen=True):
    """One try of the user's. ``deadline_s``: nominal seconds after which the user gives up.

    ``once_asked_s``: the same, counted from SIGUSR1, by which the harness tells that the question is with the model. A
    program may need seconds to start on a busy machine, and giving up before it has asked would prove nothing.
    """

    way: Way
    command: tuple[str, ...]
    deadline_s: float
    once_asked_s: float | None = None
    waits_s: float = 0.0  # before it begins


class Plan(msgspec.Struct, frozen=True):
    """What the process is told.

    ``answers``: texts of which any, printed, is the answer. ``locked``: the program's words for a locked session.
    ``lock_path``: how the session's lock is called in records.
    """

    attempts: tuple[Attempt, ...]
    answers: tuple[str, ...]
    locked: tuple[str, ...]
    lock_path: str
    session: str
    logs: str  # a folder


class Ended(msgspec.Struct, frozen=True):
    """How an attempt ended. ``code`` None: the user gave up."""

    code: int | None
    took_s: float
    output: str


class User:
    """Performs a plan. Records ``client.call``, ``fallback``, ``lock`` failures and ``client.result``."""

    def __init__(self, plan: Plan, recorder: Recorder, clock: Clock) -> None:
        self._plan, self._recorder, self._clock = plan, recorder, clock
        self._locked = [re.compile(pattern) for pattern in plan.locked]
        self._question_is_there = asyncio.Event()
        self._enough = asyncio.Event()

    def question_is_there(self) -> None:
        """The question of the attempt under way has reached the model."""
        self._question_is_there.set()

    def enough(self) -> None:
        """The harness ends it: a bound of the scenario was crossed. The attempt under way is the last one."""
        self._enough.set()

    async def run(self) -> int:
        """Returns the exit status that the user ends with: that of the last attempt, 124 after giving up."""
        code: int | None = None
        for number, attempt in enumerate(self._plan.attempts):
            if number:
                again = attempt.way == self._plan.attempts[number - 1].way
                self._recorder.record("fallback", policy="outside", step="rerun" if again else "continue", detail="")
                await self._clock.sleep(attempt.waits_s)
            ended = await self._attempt(number, attempt)
            code = ended.code
            reply = next((text for text in self._plan.answers if text in ended.output), None)
            if code == 0 or reply is not None or self._enough.is_set():
                break
        self._result(attempt, ended, reply)
        return 124 if code is None else code

    async def _attempt(self, number: int, attempt: Attempt) -> Ended:
        run_id, began = f"try-{number}", self._clock.monotonic()
        method = "agent" if attempt.way == "gateway" else "own"
        self._recorder.record("client.call", "invoke", method=method, run_id=run_id, session_key=self._plan.session)
        if attempt.way == "own":  # a process that runs the turn itself wants the session
            self._recorder.record("lock", "invoke", path=self._plan.lock_path, owner=run_id, timeout_s=0.0)
        log = Path(self._plan.logs) / f"{os.environ.get('LOCKJAW_ACTOR', 'client')}-{run_id}.log"
        code = await self._performed(attempt, log)
        output = _beginning(log)
        ended = Ended(code, round(self._clock.monotonic() - began, 3), output)
        words = self._words_of_a_lock(output)
        if words:
            if attempt.way == "gateway":
                self._recorder.record("lock", "invoke", path=self._plan.lock_path, owner=run_id, timeout_s=0.0)
            self._recorder.record(
                "lock", "fail", path=self._plan.lock_path, error=words, kind="timeout", waited_s=ended.took_s, owner=""
            )
        for line in output.splitlines()[-LAST_LINES:]:
            self._recorder.record("client.stderr", line=line[:400])
        if code == 0:
            self._recorder.record("client.call", "ok", method=method, run_id=run_id, status="ok")
        elif code is None:
            ms = round(ended.took_s * 1000)
            who = "the harness ended it" if self._enough.is_set() else "the user gave up"
            error = f"{who} after {ended.took_s:g} s"
            self._recorder.record(
                "client.call", "fail", method=method, run_id=run_id, error=error, kind="timeout", timeout_ms=ms
            )
        else:
            error = words or f"exit status {code}"
            self._recorder.record(
                "client.call", "fail", method=method, run_id=run_id, error=error, kind="rejected", code=code
            )
        return ended

    async def _performed(self, attempt: Attempt, log: Path) -> int | None:
        """The program's exit status; None: it was ended at the deadline or a bound. Its process group is ended in any
        case."""
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *attempt.command, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=asyncio.subprocess.STDOUT,
                process_group=0,
            )  # fmt: skip
        reasons = [asyncio.ensure_future(self._impatience(attempt)), asyncio.ensure_future(self._enough.wait())]
        ended = asyncio.ensure_future(process.wait())
        try:
            await asyncio.wait({*reasons, ended}, return_when=asyncio.FIRST_COMPLETED)
            return process.returncode
        finally:
            for reason in reasons:
                reason.cancel()
            await _end_group(process)
            await ended

    async def _impatience(self, attempt: Attempt) -> None:
        """Ends when the user gives up."""
        self._question_is_there.clear()
        if attempt.once_asked_s is None:
            await self._clock.sleep(attempt.deadline_s)
            return
        try:
            await asyncio.wait_for(self._question_is_there.wait(), self._clock.real_s(attempt.deadline_s))
        except TimeoutError:
            return
        await self._clock.sleep(attempt.once_asked_s)

    def _words_of_a_lock(self, output: str) -> str:
        lines = (line for line in output.splitlines() if any(pattern.search(line) for pattern in self._locked))
        return next(lines, "").strip()[:400]

    def _result(self, attempt: Attempt, ended: Ended, reply: str | None) -> None:
        """Status 0 without an answer is no answer: opencode's ``run --attach`` exits so."""
        lines = [line for line in ended.output.splitlines() if line.strip()]
        error = None if reply is not None else (self._words_of_a_lock(ended.output) or (lines or ["no output"])[-1])
        fell_back = attempt is not self._plan.attempts[0]
        self._recorder.record(
            "client.result", answered=reply is not None, reply=reply, exit_code=ended.code, error=error and error[:400],
            session_id=self._plan.session, session_key=self._plan.session,
            transport="embedded" if attempt.way == "own" else "gateway", duplicate_possible=False, degraded=fell_back,
        )  # fmt: skip


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """End what the program and its children have left running: ask first, then kill."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        if await _group_ends(process.pid):
            break
    await process.wait()


async def _group_ends(group: int) -> bool:
    """Whether the group is gone within the time that it has for that. A zombie whose parent has ended counts as there
    until init collects it."""
    for _ in range(round(KILL_AFTER_REAL_S / POLL_REAL_S)):
        if not _group_lives(group):
            return True
        await asyncio.sleep(POLL_REAL_S)
    return False


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _beginning(log: Path) -> str:
    with log.open("rb") as file:
        return file.read(MOST_OUTPUT).decode(errors="replace")


def main(arguments: Sequence[str]) -> int:
    plan_file, ready_fd, go_fd = arguments
    plan = msgspec.json.decode(Path(plan_file).read_bytes(), type=Plan)
    watch_lifeline(os.environ)
    clock = ScaledClock.from_environment()
    user = User(plan, recorder_from_environment(os.environ, clock), clock)

    async def perform() -> int:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, user.question_is_there)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, user.enough)
        return await user.run()

    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # until the loop listens
    return perform_at_go(perform, int(ready_fd), int(go_fd))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
