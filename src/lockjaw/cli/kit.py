"""``lockjaw kit``: harness and reports meet here to make one file of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lockjaw.cli.options import JsonFlag, RunDir, print_json
from lockjaw.folders import typed
from lockjaw.harness.kit.making import make_kit
from lockjaw.reports import html
from lockjaw.visible import show, tell

__all__ = ["EXIT_MADE", "kit"]

EXIT_MADE = 0


def kit(
    run_dir: RunDir,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="KIT.zip", help="The zip file to write.")],
    keep_text: Annotated[
        bool,
        typer.Option("--keep-text", help="Keep what users and models say (but not the secrets in it)."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: JsonFlag = False,
) -> int:
    """Pack a run into one zip that replays elsewhere and is safe to attach to a public issue.

    Tokens, keys, phone numbers, addresses, names of users and hosts, ids and message texts are replaced by pseudonyms.

    Exit status: 0 the kit was written, 2 usage, 4 the run does not repeat, or something private would have leaked.
    """
    made = make_kit(run_dir, out, render=html.render_run, keep_text=keep_text, force=force)
    for note in made.notes:
        tell(f"lockjaw: {note}")
    told: dict[str, Any] = {
        "kit": str(made.path), "bytes": made.path.stat().st_size,
        "scenario": made.manifest.scenario, "policy": made.manifest.policy, "engine": made.manifest.engine,
        "verdict": made.manifest.verdict, "event_hash": made.manifest.event_hash,
        "replay": f"lockjaw replay {made.path}", "redactions": made.redactions, "notes": list(made.notes),
    }  # fmt: skip
    if as_json:
        print_json("kit", told)
        return EXIT_MADE
    show(f"Kit: {typed(made.path)} ({told['bytes'] / 1024:.0f} KB, {made.manifest.verdict})")
    show("Replaced by pseudonyms:")
    for kind, counts in made.redactions["replaced"].items():
        show(f"  {kind:<8} {counts['different']:>4} different, in {counts['places']} places")
    if not made.redactions["replaced"]:
        show("  nothing")
    show(f"Message texts: {made.redactions['message_texts']}. Left out: logs, state, home.")
    show("Look through it once before you attach it. To replay it, on any machine:")
    show(f"lockjaw replay {typed(made.path)}")
    return EXIT_MADE
