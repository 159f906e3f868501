"""Kits and run folders that a stranger forged: every sum fits, and nothing in them is true."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from lockjaw import __version__

Plain = dict[str, Any]


def scenario(*steps: Plain, **changes: Any) -> Plain:
    """A scenario whose model does these steps, and then says that it is done."""
    return {
        "name": "evil", "story": "s", "message": "hi", "chain": ["p/m"], "checks": ["answered"], "time_scale": 0.02,
        "models": {"m": [*steps, {"text": "done"}]},
    } | changes  # fmt: skip


def call(command: str, **more: Any) -> Plain:
    return {"tool_calls": [{"name": "exec", "arguments": {"command": command}}], **more}


def recorded(command: str, *, stream: bool = True) -> Plain:
    """The same call as bytes that somebody once recorded."""
    function = {"name": "exec", "arguments": json.dumps({"command": command})}
    one = {"id": "c1", "type": "function", "index": 0, "function": function}
    if not stream:
        choice = {"index": 0, "message": {"role": "assistant", "tool_calls": [one]}, "finish_reason": "tool_calls"}
        return {"recorded": {"headers": {"content-type": "application/json"},
                             "pieces": [[0.0, json.dumps({"id": "x", "choices": [choice]})]]}}  # fmt: skip
    deltas = [({"role": "assistant", "tool_calls": [one]}, None), ({}, "tool_calls")]
    events = [json.dumps({"id": "x", "choices": [{"index": 0, "delta": d, "finish_reason": f}]}) for d, f in deltas]
    body = "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"])
    headers = {"content-type": "text/event-stream"}
    return {"recorded": {"headers": headers, "pieces": [[0.0, body]], "stream": True}}


def forged(path: Path, plain: Plain, /, *, tape: list[Any] | None = None, **manifest: Any) -> Path:
    files = {
        "scenario.json": json.dumps(plain).encode(),
        "history.jsonl": b"",
        "verdicts.json": json.dumps({"run": {"verdict": manifest.get("verdict", "HELD")}}).encode(),
    }
    if tape is not None:
        files["tape.jsonl"] = b"".join(json.dumps(choice).encode() + b"\n" for choice in tape)
    kit = {
        "format": "lockjaw-kit-1", "lockjaw": __version__, "python": platform.python_version(), "system": "Linux",
        "scenario": plain["name"], "policy": "takeover", "engine": "real", "target": "builtin", "seed": 1,
        "time_scale": 0.02, "verdict": "HELD", "event_hash": "sha256:" + "0" * 64,
        "replay": "lockjaw replay KIT.zip", "kept_text": False,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    } | manifest  # fmt: skip
    files["kit.json"] = json.dumps(kit).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def lockjaw(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a folder, with a home of its own."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    bare = {"HOME": str(home), "PATH": os.defpath} | environment
    return subprocess.run(
        [sys.executable, "-m", "lockjaw", *arguments],
        cwd=folder, env=bare, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
