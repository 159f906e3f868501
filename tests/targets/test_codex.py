"""Codex CLI: which versions ask the app server themselves, and what our client makes of the server's words."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync.server import ServerConnection, serve

from lockjaw.harness.targets.codex import ask
from lockjaw.harness.targets.registry import choose, program_of

TURN = {"id": "turn-2", "status": "completed"}


def said(text: str, turn: str) -> dict[str, Any]:
    item = {"type": "agentMessage", "text": text}
    return {"method": "item/completed", "params": {"threadId": "t", "turnId": turn, "item": item}}


def completed(turn: str, status: str = "completed", **more: Any) -> dict[str, Any]:
    return {"method": "turn/completed", "params": {"threadId": "t", "turn": {"id": turn, "status": status, **more}}}


@contextmanager
def app_server(after: list[dict[str, Any]], **errors: str) -> Iterator[tuple[str, list[Any]]]:
    """Answers each request, or refuses the methods of ``errors``; ``after``: notifications when a turn has begun."""
    seen: list[Any] = []

    def handle(socket: ServerConnection) -> None:
        for text in socket:
            message = json.loads(text)
            seen.append(message)
            if "id" not in message:
                continue
            name = message["method"].replace("/", "_")
            if name in errors:
                socket.send(json.dumps({"id": message["id"], "error": {"code": -32600, "message": errors[name]}}))
                continue
            socket.send(json.dumps({"method": "thread/status/changed", "params": {}}))
            socket.send(json.dumps({"id": message["id"], "result": {"turn": TURN}}))
            if name == "turn_start":
                for one in after:
                    socket.send(json.dumps(one))

    with serve(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}", seen
        finally:
            server.shutdown()
            thread.join()


def test_the_answer_is_that_of_our_turn(capsys: pytest.CaptureFixture[str]) -> None:
    notes = [said("another's", "turn-1"), completed("turn-1"), said("ours", "turn-2"), completed("turn-2")]
    with app_server(notes) as (url, seen):
        assert ask.main([url, "thread-7", "the question"]) == 0
    assert capsys.readouterr().out == "ours\n"
    assert [message["method"] for message in seen] == ["initialize", "initialized", "thread/resume", "turn/start"]
    assert seen[2]["params"] == {"threadId": "thread-7"}
    assert seen[3]["params"]["input"][0]["text"] == "the question"


def test_what_the_server_refuses_is_told_with_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    with app_server([], thread_resume="thread 7 already has an active writer") as (url, _):
        assert ask.main([url, "7", "x"]) == 1
    assert capsys.readouterr().err == "Error: thread/resume: thread 7 already has an active writer\n"


def test_a_turn_that_failed_is_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    failed = completed("turn-2", "failed", error={"message": "stream disconnected"})
    with app_server([said("half", "turn-2"), failed]) as (url, _):
        assert ask.main([url, "7", "x"]) == 1
    assert capsys.readouterr() == ("", "Error: turn failed: stream disconnected\n")


@pytest.mark.parametrize(("version", "own"), [("0.130.0", False), ("0.169.0", False), ("0.171.0", True)])
def test_versions_without_a_client_of_their_own_get_ours(version: str, own: bool) -> None:
    program = program_of(choose(f"codex@{version}"))
    assert ("--remote" in program.turn("gateway")) is own
    assert "{session}" in program.turn("gateway")
    assert program.turn("own")[:2] == ("codex", "exec")
