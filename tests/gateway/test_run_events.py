"""What one run tells the world: each start has one end, nothing comes after the last word, tools stay private."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.gateway.runs import Run
from lockjaw.gateway.server_events import RunEvents


class Heard:
    """An audience that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    def broadcast(self, event: str, payload: dict[str, Any], *, droppable: bool = False) -> None:
        self.told.append((event, payload))

    def tell(self, connection_ids: Any, event: str, payload: dict[str, Any]) -> None:
        assert not list(connection_ids)

    def get(self, connection_id: str) -> None:
        return None

    def phases(self) -> list[str]:
        return [p["data"]["phase"] for event, p in self.told if event == "agent" and p["stream"] == "lifecycle"]


def events() -> tuple[RunEvents, Heard]:
    heard = Heard()
    run = Run(
        run_id="r", session_key="agent:main:main", session_id="s", kind="agent", starter=None,  # type: ignore[arg-type]
        accepted_ms=0, accepted_at=0.0, abort=asyncio.Event(),
    )  # fmt: skip
    return RunEvents(run, heard, ScaledClock.start(0.01), lambda: ()), heard  # type: ignore[arg-type]


@pytest.mark.parametrize(("state", "end"), [("final", "end"), ("aborted", "end"), ("error", "error")])
def test_what_the_turn_left_open_is_closed_once(state: str, end: str) -> None:
    run, heard = events()
    run.emit("lifecycle", {"phase": "start"})
    run.finish(state, text="")
    assert heard.phases() == ["start", end]


@pytest.mark.parametrize("phase", ["end", "error"])
def test_what_the_turn_closed_itself_is_not_closed_again(phase: str) -> None:
    run, heard = events()
    run.emit("lifecycle", {"phase": "start"})
    run.emit("lifecycle", {"phase": phase})
    run.finish("final", text="the answer")
    assert heard.phases() == ["start", phase]


def test_a_run_that_began_nothing_has_nothing_to_close() -> None:
    run, heard = events()
    run.finish("final", text="")
    assert heard.phases() == []


def test_nothing_comes_after_the_last_word_and_numbers_have_no_gaps() -> None:
    run, heard = events()
    run.emit("lifecycle", {"phase": "start"})
    run.emit("assistant", {"text": "the"})
    run.emit("assistant", {"text": "the answer"})
    run.finish("final", text="the answer")
    run.emit("assistant", {"text": "too late"})
    run.emit("lifecycle", {"phase": "start"})

    chats = [p for event, p in heard.told if event == "chat"]
    assert [p["state"] for p in chats] == ["delta", "delta", "final"]
    assert [p["seq"] for event, p in heard.told if event == "agent"] == [1, 2, 3, 4]
    assert "too late" not in str(heard.told)
