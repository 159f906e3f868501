"""A turn at an OpenHands agent server, by REST: ``python -m ... ask|own PORT CONVERSATION FOLDER MODEL_URL TEXT``.

``ask``: at the server that listens on PORT; it makes the conversation where there is none, with a first turn, so that
the title that the server asks a model for is not that of the question. ``own``: at a second server on the same folder
of conversations, started here and ended with us: the only fallback that there is. It asks again while the conversation
"is not found": that is how a lease that somebody else holds is told, and the lease of a server that stands still runs
out. Prints the answer. Exit status 0 if there is one, else 1 with the server's words.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Refused", "Server", "main"]

SECOND_PORT_AFTER = 10  # beside the first server's
POLL_REAL_S = 0.25
FIRST = "LJ-0 Hello."


class Refused(Exception):
    """The server answered with a status other than 2xx. ``status``: that of HTTP."""

    def __init__(self, status: int, said: str) -> None:
        self.status = status
        super().__init__(f"{status} {said}")


class Server:
    """One agent server, as far as a turn needs it. Raises Refused, and OSError where it cannot be reached."""

    def __init__(self, port: int, pause: Callable[[float], None] = time.sleep) -> None:
        self._root, self._pause = f"http://127.0.0.1:{port}", pause

    def ready(self) -> bool:
        try:
            self._call("GET", "/health")
        except (Refused, OSError):
            return False
        return True

    def begin(self, conversation: str, folder: str, model_url: str) -> None:
        """Make the conversation with its first turn, unless it is there."""
        try:
            self._call("GET", f"/api/conversations/{conversation}")
        except Refused as error:
            if error.status != 404:
                raise
            llm = {
                "model": "openai/fake-a", "base_url": model_url, "api_key": "sk-fake", "usage_id": "main",
                "num_retries": 0, "native_tool_calling": True,
            }  # fmt: skip
            agent = {
                "kind": "Agent",
                "llm": llm,
                "tools": [{"name": "terminal"}],
                "include_default_tools": ["FinishTool"],
            }
            place = {"kind": "LocalWorkspace", "working_dir": folder}
            made = {"workspace": place, "conversation_id": conversation, "agent": agent}
            self._call("POST", "/api/conversations", made)
            self.turn(conversation, FIRST)

    def turn(self, conversation: str, text: str) -> str:
        """Ask, and wait until the server works on it no longer. The agent's last words."""
        said = {"role": "user", "content": [{"type": "text", "text": text}], "run": True}
        self._call("POST", f"/api/conversations/{conversation}/events", said)
        self._pause(POLL_REAL_S)
        while self._state(conversation) == "running":
            self._pause(POLL_REAL_S)
        state = self._state(conversation)
        if state != "finished":
            raise Refused(200, f"the turn ended as {state}")
        return str(self._call("GET", f"/api/conversations/{conversation}/agent_final_response").get("response", ""))

    def _state(self, conversation: str) -> str:
        return str(self._call("GET", f"/api/conversations/{conversation}").get("execution_status"))

    def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self._root}{path}", data, {"content-type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request) as answer:  # noqa: S310
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read().decode(errors="replace")[:300]) from None
        try:
            found = json.loads(text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def until_found(act: Callable[[], str], pause: Callable[[float], None] = time.sleep, most: int = 90) -> str:
    """The result of ``act``, tried once a second while the conversation is not found. Raises what the last try did."""
    for _ in range(most - 1):
        try:
            return act()
        except Refused as error:
            if error.status != 404:
                raise
            pause(1.0)
    return act()


def main(arguments: list[str]) -> int:
    way, port, conversation, folder, model_url, text = arguments
    second = None
    try:
        if way == "own":
            mine = int(port) + SECOND_PORT_AFTER
            command = ["agent-server", "--host", "127.0.0.1", "--port", str(mine)]
            with Path("second-server.log").open("ab") as log:
                second = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            server = Server(mine)
            while not server.ready():
                if second.poll() is not None:
                    raise Refused(0, f"the second server ended with status {second.returncode}")
                time.sleep(POLL_REAL_S)
            print(until_found(lambda: server.turn(conversation, text)))
        else:
            server = Server(int(port))
            server.begin(conversation, folder, model_url)
            print(server.turn(conversation, text))
    except (Refused, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    finally:
        if second is not None:
            second.terminate()
            second.wait(30)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
