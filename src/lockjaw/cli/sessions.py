"""``lockjaw sessions export``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from lockjaw.cli.options import JsonFlag, StateDir, check_one_of, print_json
from lockjaw.clock import ScaledClock
from lockjaw.databases import DatabaseBusy
from lockjaw.errors import UsageError
from lockjaw.locking.listing import program_of
from lockjaw.locking.proc import kernel_lock_owners
from lockjaw.sessions.export import Copied, Source, export_file, export_folder, only, sources, transcript_bytes
from lockjaw.settings import state_folder
from lockjaw.visible import show, show_json, tell

__all__ = ["EXIT_HELD", "export"]

EXIT_HELD = 1
STORES = ("jsonl", "sqlite")
_STDOUT = Path("-")


def export(
    session: Annotated[
        str | None, typer.Argument(help="Session id, or a key that leads to it (default: every session).")
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="New state folder to make. With SESSION also a new FILE.jsonl, or - for stdout.",
        ),
    ] = _STDOUT,
    agent: Annotated[str | None, typer.Option(help="This agent alone.")] = None,
    kept_in: Annotated[
        str | None, typer.Option("--sessions", help="Those kept in jsonl or in sqlite, where there are both.")
    ] = None,
    state_dir: StateDir = None,
    as_json: JsonFlag = False,
) -> int:
    """Write sessions as OpenClaw's files, a .jsonl each and sessions.json.

    Reads each session in one short snapshot; gateways and agents may be at work meanwhile, and nothing of the store is
    changed. Never replaces what is there; an export that is interrupted leaves nothing under the name that was asked
    for. Files and folders are for you alone (0600, 0700).

    Nothing is redacted: an export holds whatever was said, secrets included. To share an incident make a kit.

    Exit status: 0 written, 1 another process keeps a database to itself, 2 usage.
    """  # fmt: skip
    if kept_in is not None:
        check_one_of("--sessions", STORES, kept_in)
    to_stdout = out == _STDOUT
    if to_stdout and (session is None or as_json):
        raise UsageError("--out", "", "a new name (stdout is for one SESSION, without --json)", "-")
    clock = ScaledClock.start()
    directory = state_dir or state_folder(os.environ)
    try:
        found = sources(directory, clock=clock, agent=agent, kept_in=kept_in)
        one = only(found, session) if session is not None else None
        if to_stdout:
            assert one is not None
            return _print(one, clock)
        if one is not None and out.suffix == ".jsonl":
            copied = [export_file(one, out, clock=clock)]
        else:
            copied = export_folder(found if one is None else [one], out, clock=clock)
    except DatabaseBusy as busy:
        tell(f"Error: {_held(busy)}")
        return EXIT_HELD
    if as_json:
        print_json("sessions export", {"out": str(out), "sessions": msgspec.to_builtins(copied)})
    else:
        _tell(copied)
        lines = sum(one.lines for one in copied)
        show(
            f"{out}: {len(copied)} {'session' if len(copied) == 1 else 'sessions'}, {lines} lines; nothing is redacted"
        )
    return 0


def _print(source: Source, clock: ScaledClock) -> int:
    data, copied = transcript_bytes(source, clock=clock)
    _tell([copied])
    if sys.stdout.isatty():
        show_json(data.decode(errors="replace"))  # the same values, and nothing that the terminal would act on
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
    return 0


def _tell(copied: list[Copied]) -> None:
    tell(*(f"{one.session_id}: {problem}" for one in copied for problem in one.problems))


def _held(busy: DatabaseBusy) -> str:
    """Which process is in the way, as far as the kernel shows it, and what to do."""
    owners = kernel_lock_owners(busy.path) or kernel_lock_owners(f"{busy.path}-shm")
    named = ", ".join(f"pid {pid} ({program_of(pid) or 'unknown program'})" for pid in owners)
    return (
        f"{busy.path} is kept by {named or 'another process'}, which lets no other one read; nothing was written. "
        "Let it finish or stop it, then export again"
    )
