"""A runtime of a hundred lines: a server and a command line that share a conversation under a flock.

    tiny.py serve PORT MODEL_URL          owns a conversation while it works on it
    tiny.py ask PORT SESSION MESSAGE      a turn through the server
    tiny.py own MODEL_URL SESSION MESSAGE a turn in a process of its own: the fallback

``TINY_MANNERS=rude`` is the planted bug: the fallback fails on a lock that is held instead of waiting. ``patient``
mends it: the fallback waits, and what it then finds answered it does not ask again. ``blind`` takes no lock at all.
``chatty`` does not either, and its command line takes each answer for another question. ``alone``: a second server
refuses to start beside the first. ``forgetful``: an answer is thrown away while somebody else holds the store.

A turn of its own leaves a process behind that is in no group of ours, as a terminal multiplexer would.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

STATE = Path(os.environ["HOME"]) / "tiny"
MANNERS = os.environ.get("TINY_MANNERS", "patient")


@contextmanager
def owned(session: str, *, wait: bool) -> Iterator[None]:
    STATE.mkdir(exist_ok=True)
    if MANNERS in ("blind", "chatty"):
        yield
        return
    with (STATE / f"{session}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            sys.exit(f"tiny: session {session} is locked by another process")
        yield


def entries(session: str) -> list[dict[str, str]]:
    path = STATE / f"{session}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append(session: str, role: str, content: str) -> None:
    with (STATE / "store").open("w") as store, (STATE / f"{session}.jsonl").open("a") as file:
        try:
            fcntl.flock(store, fcntl.LOCK_EX | (fcntl.LOCK_NB if MANNERS == "forgetful" else 0))
        except BlockingIOError:
            return
        file.write(json.dumps({"role": role, "content": content}) + "\n")


def turn(model_url: str, session: str, message: str, *, wait: bool) -> str:
    with owned(session, wait=wait):
        known = entries(session)
        if MANNERS not in ("blind", "chatty") and [e["content"] for e in known[-2:-1]] == [message]:
            return known[-1]["content"]  # answered while we waited
        append(session, "user", message)
        talk = [*known, {"role": "user", "content": message}]
        body = json.dumps({"model": "tiny", "messages": talk}).encode()
        request = urllib.request.Request(f"{model_url}/chat/completions", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            text = str(json.load(answer)["choices"][0]["message"]["content"])
        append(session, "assistant", text)
        return text


def serve(port: int, model_url: str) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("ok")

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(turn(model_url, asked["session"], asked["message"], wait=True))

        def _answer(self, text: str) -> None:
            try:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(text.encode())
            except BrokenPipeError:
                pass  # the client has given up; its turn is done all the same

        def log_message(self, format: str, *args: object) -> None:
            print(format % args, flush=True)

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def ask(port: int, session: str, message: str) -> str:
    body = json.dumps({"session": session, "message": message}).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", body, timeout=120) as answer:
        return str(answer.read().decode())


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "serve" and MANNERS == "alone":
        STATE.mkdir(exist_ok=True)
        with (STATE / "server").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                sys.exit("tiny: the state is locked by another process")
            serve(int(rest[0]), rest[1])
    elif verb == "serve":
        serve(int(rest[0]), rest[1])
    elif verb == "ask":
        print(ask(int(rest[0]), rest[1], rest[2]))
    else:
        left = subprocess.Popen(["sleep", "100"], start_new_session=True)
        with (STATE / "left").open("a") as pids:
            pids.write(f"{left.pid}\n")
        while True:
            print(turn(rest[0], rest[1], rest[2], wait=MANNERS != "rude"))
            if MANNERS != "chatty" or "LJ-9" in rest[2]:  # the next turn is to end
                break
