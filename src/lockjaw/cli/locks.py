"""``lockjaw locks list`` and ``lockjaw locks clean``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lockjaw.cli.options import JsonFlag, print_json
from lockjaw.locking import cleaning, listing
from lockjaw.process import appear_as_openclaw
from lockjaw.settings import state_folder
from lockjaw.visible import columns, show_text

__all__ = ["clean_locks", "list_locks"]

Directory = Annotated[
    Path | None,
    typer.Argument(help="A folder, or one locked file (default: OPENCLAW_STATE_DIR or ~/.openclaw)."),
]


def list_locks(directory: Directory = None, as_json: JsonFlag = False) -> None:
    """List locks of sessions and of `FileLock`: owner, alive or not and why, age, limit, waiters. Changes nothing."""
    directory = directory or state_folder(os.environ)
    rows = listing.list_locks(directory)
    if as_json:
        print_json("locks list", {"locks": [row.document() for row in rows]})
    else:
        show_text(listing.render_locks(rows, directory, width=columns()))


def clean_locks(
    directory: Directory = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    as_json: JsonFlag = False,
) -> int:
    """Remove the locks whose owners are proven dead, and say why each other one stays.

    It never removes the lock of a live owner, however old; nor a lock for its age alone, one from another pid
    namespace, or a file that cannot be read or names no owner. Safe while gateways and clients are running.

    Exit status: 0 every lock that is left has a live owner, 1 a lock was refused, 2 usage.
    """
    directory = directory or state_folder(os.environ)
    appear_as_openclaw("locks")  # it holds each lock for a moment
    cleaned = cleaning.clean_locks(directory, dry_run=dry_run)
    if as_json:
        print_json("locks clean", {"dry_run": dry_run, "locks": [one.document() for one in cleaned]})
    else:
        show_text(cleaning.render_cleaned(cleaned, directory, width=columns()))
    return cleaning.exit_status(cleaned)
