"""A turn through Codex's app server, for versions whose own command line cannot: ``python -m ... ask URL THREAD TEXT``.

What an editor's plug-in or a relay does: JSON-RPC over a WebSocket, ``initialize``, ``thread/resume``, ``turn/start``,
then wait until the turn is completed. Prints the answer. Exit status 0 if the turn was completed, else 1, with the
server's error on stderr. It has no deadline and does not interrupt the turn when it is ended, as those clients do not.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from typing import Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

__all__ = ["Refused", "ask"]

CLIENT = {"name": "lockjaw", "title": "Lockjaw", "version": "1"}


class Refused(Exception):
    """The server answered a request with an error, or the turn did not end well."""


def ask(url: str, thread: str, text: str) -> str:
    """The answer. Raises Refused; OSError and WebSocketException where the connection breaks."""
    with connect(url, max_size=None, compression=None, open_timeout=60, ping_interval=None) as socket:
        numbers = itertools.count(1)
        _call(socket, next(numbers), "initialize", {"clientInfo": CLIENT})
        socket.send(json.dumps({"method": "initialized"}))
        _call(socket, next(numbers), "thread/resume", {"threadId": thread})
        said = [{"type": "text", "text": text, "text_elements": []}]
        turn = _call(socket, next(numbers), "turn/start", {"threadId": thread, "input": said})["turn"]["id"]
        return _answer(_messages(socket), turn)


def _call(socket: ClientConnection, number: int, method: str, params: dict[str, Any]) -> Any:
    socket.send(json.dumps({"id": number, "method": method, "params": params}))
    for message in _messages(socket):
        if message.get("id") == number and "method" not in message:
            if "error" in message:
                raise Refused(f"{method}: {message['error'].get('message')}")
            return message["result"]
    raise Refused(f"{method}: the server closed the connection")


def _answer(messages: Iterator[dict[str, Any]], turn: str) -> str:
    """The agent's words of this turn. A turn of another client on the same thread is told to us, too."""
    words: list[str] = []
    for message in messages:
        params = message.get("params") or {}
        if message.get("method") == "item/completed" and params.get("turnId") == turn:
            item = params["item"]
            words += [str(item["text"])] if item["type"] == "agentMessage" else []
        elif message.get("method") == "turn/completed" and params["turn"]["id"] == turn:
            if params["turn"]["status"] != "completed":
                raise Refused(f"turn {params['turn']['status']}: {(params['turn'].get('error') or {}).get('message')}")
            return "\n".join(words)
    raise Refused("the server closed the connection")


def _messages(socket: ClientConnection) -> Iterator[dict[str, Any]]:
    return (json.loads(text) for text in socket)


def main(arguments: list[str]) -> int:
    try:
        print(ask(*arguments))
    except (Refused, OSError, WebSocketException) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
