"""OpenHands: what is read of its events, and what our client makes of its server's words."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from lockjaw.harness.targets.openhands.ask import Refused, Server, main, until_found
from lockjaw.harness.targets.openhands.target import from_events
from lockjaw.harness.targets.session import Message

CONVERSATION = "5e551000-0000-4000-8000-000000000001"


def test_messages_calls_and_results_are_read_and_nothing_else() -> None:
    said = {"kind": "MessageEvent", "llm_message": {"role": "user", "content": [{"type": "text", "text": "LJ-1 Pay."}]}}
    events: list[dict[str, Any]] = [
        {"kind": "ConversationStateUpdateEvent", "key": "execution_status", "value": "running"},
        said,
        {"kind": "ActionEvent", "tool_call_id": "c1", "tool_name": "terminal"},
        {"kind": "ObservationEvent", "tool_call_id": "c1", "observation": {}},
        {"kind": "AgentErrorEvent", "tool_call_id": "c2", "error": "interrupted"},
    ]
    assert from_events(events) == [
        Message("user", "LJ-1 Pay."),
        Message("assistant", "", ("c1",)),
        Message("tool", "", (), "c1"),
        Message("tool", "", (), "c2"),
    ]


@contextmanager
def agent_server(states: list[str], known: bool = True, refused: int = 0) -> Iterator[tuple[int, list[Any]]]:
    """``states``: of the conversation, one each time it is asked for, the last for ever. ``refused``: so many of its
    events are answered with 404."""
    seen: list[Any] = []
    left = {"refused": refused, "known": known}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.endswith("agent_final_response"):
                self._answer(200, {"response": "Paid."})
            elif self.path == "/health" or left["known"]:
                state = states.pop(0) if len(states) > 1 else states[0]
                self._answer(200, {"execution_status": state})
            else:
                self._answer(404, {"detail": f"Conversation not found: {CONVERSATION}"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.path.rpartition("/")[2], body))
            if left["refused"]:
                left["refused"] -= 1
                self._answer(404, {"detail": "Conversation not found"})
            else:
                left["known"] = True
                self._answer(200, {"success": True})

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1], seen
        finally:
            server.shutdown()
            thread.join()


def test_a_conversation_that_is_missing_begins_with_a_turn_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with agent_server(["finished"], known=False) as (port, seen):
        assert main(["ask", str(port), CONVERSATION, "/work", "http://m/v1", "LJ-1 Pay."]) == 0
    assert capsys.readouterr().out == "Paid.\n"
    assert [place for place, _ in seen] == ["conversations", "events", "events"]
    assert [body["content"][0]["text"] for place, body in seen if place == "events"] == ["LJ-0 Hello.", "LJ-1 Pay."]
    assert seen[0][1]["agent"]["llm"]["base_url"] == "http://m/v1"


def test_a_turn_is_waited_for_and_one_that_failed_is_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    with agent_server(["idle", "running", "running", "error"]) as (port, _):
        assert main(["ask", str(port), CONVERSATION, "/work", "http://m/v1", "x"]) == 1
    assert capsys.readouterr() == ("", "Error: 200 the turn ended as error\n")


def test_a_lease_of_somebody_else_is_waited_for_and_other_errors_are_not() -> None:
    pauses: list[float] = []
    with agent_server(["finished"], refused=2) as (port, seen):
        server = Server(port, lambda _: None)
        assert until_found(lambda: server.turn(CONVERSATION, "LJ-1 Pay."), pauses.append) == "Paid."
        assert (len(seen), pauses) == (3, [1.0, 1.0])

    def broken() -> str:
        raise Refused(409, "owned by another agent server instance")

    with pytest.raises(Refused, match="409 owned by another"):
        until_found(broken, pauses.append)
    assert len(pauses) == 2
