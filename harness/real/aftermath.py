"""What a run left behind, read when every actor has ended: locks, effects, transcripts; and whether the next turn
could begin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lockjaw.clock import Clock, ScaledClock
from lockjaw.errors import LockStateError, SessionLocked
from lockjaw.files import LOCAL_FILES, Files
from lockjaw.history import Recorder
from lockjaw.locking import HeldLock, SessionLock, inspect_lock
from lockjaw.locking.host import THIS_HOST, Host
from lockjaw.sessions import SessionStore
from lockjaw.sessions.report import read_entries


def record_aftermath(state_dir: Path, ledger: Path | None, recorder: Recorder) -> None:
    """Record ``leftover``, ``ledger`` and ``transcript.final``."""
    folders = sorted((state_dir / "agents").glob("*/sessions"))
    for folder in folders:
        for lock in sorted(folder.glob("*.lock")):
            record_lock(lock, recorder)
        for temporary in sorted(folder.glob("*.tmp*")):
            recorder.record("leftover", kind="temporary", path=str(temporary), pid=None, alive=None)
        record_keys(SessionStore(folder / "sessions.json", clock=ScaledClock.start(), lock=unlocked).read(), recorder)
    if ledger is not None and ledger.is_file():
        record_ledger(ledger.read_text(encoding="utf-8", errors="replace"), recorder)
    for folder in folders:
        for path in transcripts(folder):
            record_transcript(path, recorder)


def transcripts(folder: Path) -> list[Path]:
    """The conversations in a sessions folder. OpenClaw 2026.5 and later keeps a debug log beside each one."""
    return [path for path in sorted(folder.glob("*.jsonl")) if not path.name.endswith(".trajectory.jsonl")]


async def record_next_turn(state_dir: Path, algorithm: str, clock: Clock, recorder: Recorder) -> None:
    """Record ``next_turn`` for each conversation below a state folder.

    Call it after ``record_aftermath``: what it finds is what recovery starts from.
    """
    for folder in sorted((state_dir / "agents").glob("*/sessions")):
        # A run that was killed before its first line leaves a lock and no transcript; it blocks all the same.
        locked = {lock.with_suffix("") for lock in folder.glob("*.jsonl.lock")}
        for path in sorted({*transcripts(folder), *locked}):
            await try_next_turn(path, algorithm, clock, recorder)


async def try_next_turn(
    path: Path,
    algorithm: str,
    clock: Clock,
    recorder: Recorder,
    *,
    host: Host = THIS_HOST,
    use: Callable[[Path, HeldLock], None] | None = None,
) -> None:
    """Can whoever comes next get this conversation's lock, and ``use`` it? That is recovery's chance."""
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


def unlocked(path: Path) -> Any:
    raise AssertionError(f"nobody writes {path} when all is over")


def record_ledger(text: str, recorder: Recorder) -> None:
    lines = (line.strip() for line in text.splitlines())
    for key, count in sorted(Counter(line for line in lines if line).items()):
        recorder.record("ledger", key=key, count=count)


def record_lock(lock: Path, recorder: Recorder, *, clock: Clock | None = None, host: Host = THIS_HOST) -> None:
    view = inspect_lock(lock.with_name(lock.name.removesuffix(".lock")), clock=clock, host=host)
    if view.exists:
        recorder.record(
            "leftover", kind="lock", path=str(lock), pid=view.pid, alive=view.alive, dead_reason=view.dead_reason
        )


def record_transcript(path: Path, recorder: Recorder, *, files: Files = LOCAL_FILES) -> None:
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
