"""What a run left behind, looked at when every actor has ended: locks, effects, sessions; then whether the next turn
could begin, and last the conversations, as that next turn has found or mended them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lockjaw.behaviours import BEHAVIOURS, Behaviour
from lockjaw.clock import Clock
from lockjaw.errors import LockStateError, SessionLocked
from lockjaw.files import Files
from lockjaw.history import Recorder
from lockjaw.history.holds import is_session_list
from lockjaw.locking import HeldLock, SessionLock, inspect_lock
from lockjaw.locking.host import Host
from lockjaw.sessions import RowStore, SessionStore, Transcript
from lockjaw.sessions.paths import JSONL, SQLITE
from lockjaw.sessions.report import read_entries

from ..incident.scenario import Scenario
from .world import HARNESS, Wait, Waits, World

NEXT_TURN_LIMIT_S = 600.0  # for all conversations; each waits as long as the policy's runs do


def aftermath(world: World, scenario: Scenario, policy: str) -> Waits:
    """Record ``leftover``, ``session.final``, ``ledger``, ``next_turn`` and ``transcript.final``."""
    found = world.files()
    _record_left(world, found)
    if scenario.effects is not None:
        ledger, files = world.state / "workspace" / scenario.effects.ledger, world.machine().files
        if files.exists(ledger):
            record_ledger(files.read(ledger).decode(errors="replace"), world.recorder)
    turns = world.work(_next_turns(world, conversations(found), BEHAVIOURS[policy]))
    yield Wait(turns.done, NEXT_TURN_LIMIT_S, "run", "the next turn did not end")
    turns.result()
    for path in transcripts(world.files()):
        record_transcript(path, world.recorder, files=world.machine().files)


def _record_left(world: World, found: Sequence[str]) -> None:
    machine, clock, recorder = world.machine(), world.clock, world.recorder
    folders = sorted({path.rpartition("/")[0] for path in found})
    for folder in folders:
        inside = [path for path in found if path.rpartition("/")[0] == folder]
        for path in inside:
            if path.endswith(".lock"):
                record_lock(Path(path), recorder, clock=clock, host=machine.locks)
        for path in inside:
            if ".tmp" in path.rpartition("/")[2]:
                recorder.record("leftover", kind="temporary", path=path, pid=None, alive=None)
    for folder in folders:
        if f"{folder}/sessions.json" in found:
            store = SessionStore(Path(f"{folder}/sessions.json"), clock=clock, lock=_unlocked, files=machine.files)
            record_keys(store.read(), recorder)
        if f"{folder}/sessions{SQLITE}" in found:
            rows = RowStore(Path(f"{folder}/sessions{SQLITE}"), clock=clock, wait_s=0.0, files=machine.files)
            record_keys(rows.read(), recorder)


def transcripts(found: Sequence[str]) -> list[Path]:
    """The conversations among these paths. OpenClaw 2026.5 and later keeps a debug log beside each one."""
    named = (path for path in found if path.endswith((JSONL, SQLITE)) and not path.endswith(".trajectory.jsonl"))
    return [Path(path) for path in named if not is_session_list(path)]


def conversations(found: Sequence[str]) -> list[Path]:
    """The transcripts, and those that are not there yet: a run that was killed before its first line leaves a lock and
    no transcript, which blocks all the same."""
    locked = {Path(path.removesuffix(".lock")) for path in found if path.endswith((f"{JSONL}.lock", f"{SQLITE}.lock"))}
    return sorted({*transcripts(found), *locked})


async def _next_turns(world: World, paths: Sequence[Path], behaviour: Behaviour) -> None:
    machine, ids = world.machine(), world.ids(HARNESS)

    def mend(path: Path, held: HeldLock) -> None:
        # Recovery's chance includes the torn tail that a killed writer leaves, and its calls without a result.
        if machine.files.exists(path):
            transcript = Transcript.open(
                path, session_id=path.stem, cwd=world.state, clock=world.clock, ids=ids, section=held.section,
                generation=held.generation, files=machine.files,
            )  # fmt: skip
            if behaviour.durable_user_message:
                transcript.close_open_calls()

    use = mend if world.mends else None
    for path in paths:
        await try_next_turn(
            path, behaviour.lock_algorithm, world.clock, world.recorder, host=machine.locks, use=use
        )  # fmt: skip


async def try_next_turn(
    path: Path,
    algorithm: str,
    clock: Clock,
    recorder: Recorder,
    *,
    host: Host,
    use: Callable[[Path, HeldLock], None] | None = None,
) -> None:
    """Can the next process get this conversation's lock, and ``use`` it? That is recovery's chance."""
    lock = SessionLock(path, algorithm=algorithm, clock=clock, owner="next-turn", host=host)
    try:
        held = await lock.acquire_async()
    except (SessionLocked, LockStateError) as error:
        recorder.record("next_turn", "fail", path=str(path), error=str(error))
    else:
        if use is not None:
            use(path, held)
        await lock.release_async()
        recorder.record("next_turn", "ok", path=str(path))


def record_keys(store: Mapping[str, Mapping[str, Any]], recorder: Recorder) -> None:
    for key, entry in sorted(store.items()):
        recorder.record("session.final", key=key, session_id=entry.get("sessionId"))


def _unlocked(path: Path) -> Any:
    raise AssertionError(f"{path} is written when every actor has ended")


def record_ledger(text: str, recorder: Recorder) -> None:
    lines = (line.strip() for line in text.splitlines())
    for key, count in sorted(Counter(line for line in lines if line).items()):
        recorder.record("ledger", key=key, count=count)


def record_lock(lock: Path, recorder: Recorder, *, clock: Clock, host: Host) -> None:
    view = inspect_lock(lock.with_name(lock.name.removesuffix(".lock")), clock=clock, host=host)
    if view.exists:
        recorder.record(
            "leftover", kind="lock", path=str(lock), pid=view.pid, alive=view.alive, dead_reason=view.dead_reason
        )


def record_transcript(path: Path, recorder: Recorder, *, files: Files) -> None:
    report = read_entries(path, files=files)
    header = report.header or {}
    recorder.record(
        "transcript.final",
        path=str(path),
        session_id=str(header.get("id") or path.stem),
        lines=report.lines,
        problems=list(report.problems),
        entry_ids=[entry.id for entry in report.entries],
        user_messages=[_text(m) for m in report.messages if m.get("role") == "user"],
        assistant_texts=[_text(m) for m in report.messages if m.get("role") == "assistant"],
    )


def _text(message: dict[str, object]) -> str:
    """The text of a message, whose content is a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(p.get("text", "")) for p in parts if isinstance(p, dict) and p.get("type") == "text")
