"""Fixtures of the session tests: a clock that stands still until told otherwise, and openers with defaults."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lockjaw.history import MemoryRecorder
from lockjaw.sessions import Transcript

START_MS = 1_795_364_487_099  # 2026-11-22T16:21:27.099Z, when the recorded 2026.4.8 session began


class ManualClock:
    """A ``Clock`` moved by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def wall_ms(self) -> int:
        return START_MS + round(self.now_s * 1000)

    def real_s(self, nominal_s: float) -> float:
        return 0.0

    async def sleep(self, nominal_s: float) -> None:
        self.now_s += nominal_s

    def sleep_blocking(self, nominal_s: float) -> None:
        self.now_s += nominal_s


@pytest.fixture(scope="session")
def data() -> Path:
    return Path(__file__).parent / "data"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def recorder(clock: ManualClock) -> MemoryRecorder:
    return MemoryRecorder(clock, "test")


@pytest.fixture(scope="session")
def open_transcript() -> Callable[..., Transcript]:
    """``open_transcript(path, **overrides)`` with a seeded id stream."""

    def open_(path: Path, **overrides: Any) -> Transcript:
        arguments: dict[str, Any] = {
            "session_id": path.stem,
            "cwd": Path("/ws"),
            "clock": ManualClock(),
            "ids": random.Random(7),
        }
        return Transcript.open(path, **{**arguments, **overrides})

    return open_


def _user(text: str, **extra: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}], "timestamp": START_MS, **extra}


def _assistant(
    text: str = "", *, calls: tuple[str, ...] = (), stop: str = "", model: str = "m", **extra: Any
) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    content += [{"type": "toolCall", "id": call, "name": "exec", "arguments": {"command": call}} for call in calls]
    stop = stop or ("toolUse" if calls else "stop")
    message = {"role": "assistant", "content": content, "api": "openai-completions", "provider": "p", "model": model}
    return {**message, "stopReason": stop, "timestamp": START_MS, **extra}


def _result(call: str) -> dict[str, Any]:
    content = [{"type": "text", "text": "done"}]
    return {
        "role": "toolResult", "toolCallId": call, "toolName": "exec",
        "content": content, "isError": False, "timestamp": START_MS,
    }  # fmt: skip


class Messages:
    user = staticmethod(_user)
    assistant = staticmethod(_assistant)
    result = staticmethod(_result)


@pytest.fixture(scope="session")
def say() -> type[Messages]:
    """Builders of message objects: ``say.user(text)``, ``say.assistant(text, calls=...)``, ``say.result(call)``."""
    return Messages


@pytest.fixture(params=[".jsonl", ".sqlite"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where a session is to be kept: a file, or a database. Only the interface is the same."""
    folder = tmp_path / "sessions"
    folder.mkdir()
    return folder / f"s{request.param}"
