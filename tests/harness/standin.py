"""Stand-ins for the three programs of a run: same handshake, same environment, standard library only.

``standin.py ROLE READY_FD GO_FD BEHAVIOUR``; go is -1 for roles that do not wait. A stand-in is deliberately
ignorant of Lockjaw: what the engine promises to any program is what is tested.
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

SCALE, ORIGIN_NS, _EPOCH = os.environ["LOCKJAW_CLOCK"].split(",")


def now() -> float:
    return (time.monotonic_ns() - int(ORIGIN_NS)) / 1e9 / float(SCALE)


def sleep(nominal_s: float) -> None:
    time.sleep(nominal_s * float(SCALE))


def record(op: str, phase: str = "info", **data: object) -> None:
    line = json.dumps({"t": now(), "actor": os.environ["LOCKJAW_ACTOR"], "op": op, "phase": phase, "data": data})
    with open(os.environ["LOCKJAW_EVENTS"], "ab", buffering=0) as events:
        events.write(line.encode() + b"\n")


def say_ready(fd: int, port: int) -> None:
    os.write(fd, json.dumps({"pid": os.getpid(), "port": port}).encode() + b"\n")
    os.close(fd)


def serve(role: str, ready: int, behaviour: str) -> None:
    if behaviour == "dies":
        print("no such thing", file=sys.stderr)
        sys.exit(3)
    if behaviour == "mute":
        os.close(ready)
    elif behaviour == "gibberish":
        os.write(ready, b"hello\n")
        os.close(ready)
    elif behaviour != "never_ready":
        if behaviour == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        else:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        if behaviour == "dies_soon":
            say_ready(ready, 1)
            sys.exit(4)
        say_ready(ready, 0 if behaviour == "no_port" else 40_000 + len(role))
    if role == "gateway":
        gateway(behaviour)
    while True:
        time.sleep(0.01)


def gateway(behaviour: str) -> None:
    record("gateway.accepted", run_id="run-1", session_id="s", session_key="agent:main:main")
    sessions = Path(os.environ["OPENCLAW_STATE_DIR"], "agents", "main", "sessions")
    if behaviour == "leaves_children":
        subprocess.Popen(["sleep", "600"])  # in the same group
        subprocess.Popen(["sleep", "600"], start_new_session=True)  # has left it
    if behaviour in ("leaves_lock", "leaves_dead_lock"):
        # Somebody who lives, is not the harness itself, and belongs to the same user: whoever started the harness.
        parent = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[1]
        pid = int(parent) if behaviour == "leaves_lock" else os.getpid()
        sessions.mkdir(parents=True, exist_ok=True)
        (sessions / "s.jsonl.lock").write_text(json.dumps({"pid": pid, "createdAt": "2099-01-01T00:00:00.000Z"}))
        when = "2026-01-01T00:00:00.000Z"
        lines: list[dict[str, object]] = [
            {"type": "session", "version": 3, "id": "s", "timestamp": when, "cwd": "/"},
            {"type": "message", "id": "00000001", "parentId": None, "timestamp": when,
             "message": {"role": "user", "content": "hello"}},
            {"type": "message", "id": "00000002", "parentId": "00000001", "timestamp": when,
             "message": {"role": "assistant", "content": [{"type": "text", "text": "hi"}]}},
        ]  # fmt: skip
        (sessions / "s.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        workspace = Path(os.environ["OPENCLAW_STATE_DIR"], "workspace")
        (workspace / "ledger.txt").write_text("paid\npaid\n\nsent\n")
    if behaviour == "finishes":
        sleep(2.0)
        record("gateway.final", run_id="run-1", status="ok")


def client(ready: int, go: int, behaviour: str) -> None:
    say_ready(ready, 0)
    os.read(go, 1)
    began = now()
    run_id = str(uuid.uuid4())
    record("client.call", "invoke", method="agent", run_id=run_id, session_key="agent:main:main")
    if behaviour == "never_ends":
        while True:
            time.sleep(0.01)
    if behaviour == "crashes":
        print("something broke", file=sys.stderr)
        sys.exit(70)
    sleep(20.0)
    record("client.call", "fail", method="agent", run_id=run_id, kind="timeout", timeout_ms=20_000, error="late")
    print(json.dumps({"waited_s": now() - began, "environment": dict(os.environ)}))
    record("client.result", answered=True, reply="hi", exit_code=0, session_id="s", session_key="agent:main:main",
           transport="embedded", duplicate_possible=False, degraded=False)  # fmt: skip
    sys.stdout.flush()
    while behaviour == "stays":
        time.sleep(0.01)


if __name__ == "__main__":
    role, ready_fd, go_fd, how = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    if role == "client":
        client(ready_fd, go_fd, how)
    else:
        serve(role, ready_fd, how)
