"""Flags that several verbs have, and the shape of a JSON document on stdout. Imports nothing that is slow."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from lockjaw import __version__, settings
from lockjaw.behaviours import BEHAVIOURS
from lockjaw.errors import UsageError
from lockjaw.settings import Settings
from lockjaw.visible import show_json

__all__ = [
    "LATEST", "AllowNetwork", "AllowRemote", "CacheFolder", "ConfigFile", "Host", "JournalFile", "JsonFlag", "Out",
    "Password", "Port", "ReadyFd", "RunDir", "Seed", "StateDir", "TimeoutS", "Token", "check_file_to_write",
    "check_one_of", "check_policy", "print_json", "runtime_settings",
]  # fmt: skip

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
Out = Annotated[Path | None, typer.Option(help="Where run folders go (default: .lockjaw/runs).")]
Seed = Annotated[int, typer.Option(min=0, help="Root of all randomness.")]
#: The newest run of the store that commands fill where they are typed.
LATEST = Path(".lockjaw/runs/latest")
RunDir = Annotated[Path, typer.Argument(help="A run folder, such as .lockjaw/runs/latest.")]

# the runtime
StateDir = Annotated[Path | None, typer.Option(help="State folder (default: OPENCLAW_STATE_DIR or ~/.openclaw).")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="openclaw.json to read.")]
Token = Annotated[str | None, typer.Option(help="Gateway token (better: OPENCLAW_GATEWAY_TOKEN).")]
Password = Annotated[str | None, typer.Option(help="Gateway password (better: OPENCLAW_GATEWAY_PASSWORD).")]
ReadyFd = Annotated[int | None, typer.Option(hidden=True, help="Inherited descriptor for the ready line.")]

# fakes
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to bind; 0 picks one.")]
Host = Annotated[str, typer.Option(help="Address to bind.")]
JournalFile = Annotated[Path | None, typer.Option("--journal", help="Append requests and events to this JSONL file.")]
AllowRemote = Annotated[bool, typer.Option(help="Allow an address that is not loopback (no fake checks who calls).")]

# programs of others
CacheFolder = Annotated[Path | None, typer.Option(help="Where versions are installed (default: the user's cache).")]
AllowNetwork = Annotated[
    bool, typer.Option(help="Run the program with the machine's network where no namespace can be made.")
]
TimeoutS = Annotated[float | None, typer.Option(min=1, help="Instead of the scenario's timeout_s: shorter runs.")]


def print_json(command: str, document: dict[str, Any]) -> None:
    """The one document of ``--json`` on stdout."""
    whole = {"lockjaw": __version__, "command": command, **document}
    show_json(json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False))


def check_one_of(flag: str, known: tuple[str, ...], given: str) -> None:
    """Raises UsageError if a flag's value is not among those that it may have."""
    if given not in known:
        raise UsageError(flag, "", f"one of {', '.join(known)}", given)


def check_policy(name: str, *further: str) -> str:
    """The policy, if it is one (or one of the ``further`` names)."""
    check_one_of("--policy", (*further, *BEHAVIOURS), name)
    return name


def runtime_settings(*, needs_models: bool, state_dir: Path | None, **flags: Any) -> Settings:
    """The settings of a verb of the runtime, with what is missing named before anything is written.

    Raises:
        UsageError: ``--state-dir`` or ``--config`` names what is not there, the state folder cannot be written, or no
            model is configured and the verb needs one.
    """
    if state_dir is not None and not state_dir.is_dir():
        raise UsageError("--state-dir", "", "a folder that exists; `mkdir` makes one", str(state_dir))
    known = settings.load(os.environ, state_dir=state_dir, **flags)
    there = next((path for path in (known.state_dir, *known.state_dir.parents) if path.exists()), known.state_dir)
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise UsageError(str(known.state_dir), "", f"a state folder that can be written ({there} cannot)")
    if needs_models and not known.candidates:
        raise UsageError(str(known.config_path), "agents.defaults.model", settings.A_MODEL)
    return known


def check_file_to_write(*files: Path | None) -> None:
    """Raises UsageError if one of the files could not be written; the run before it would be lost."""
    for file in files:
        if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
            raise UsageError(str(file), "", "a file in a folder that exists")
