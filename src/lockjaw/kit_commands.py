"""What ``lockjaw kit`` does, and what ``lockjaw replay`` needs to know of a kit: harness and reports meet here."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockjaw import __version__
from lockjaw.errors import LocalError
from lockjaw.harness.kit.making import make_kit
from lockjaw.harness.kit.reading import Kit
from lockjaw.reports import html

EXIT_MADE = 0


@dataclass(frozen=True)
class KitOptions:
    """Flags of ``lockjaw kit``."""

    out: Path
    keep_text: bool = False
    force: bool = False
    as_json: bool = False


def kit_command(run_dir: Path, options: KitOptions) -> int:
    """Make a kit, say what was replaced, and return 0."""
    made = make_kit(run_dir, options.out, render=html.render_run, keep_text=options.keep_text, force=options.force)
    for note in made.notes:
        print(f"lockjaw: {note}", file=sys.stderr)
    told: dict[str, Any] = {
        "lockjaw": __version__, "command": "kit", "kit": str(made.path), "bytes": made.path.stat().st_size,
        "scenario": made.manifest.scenario, "policy": made.manifest.policy, "engine": made.manifest.engine,
        "verdict": made.manifest.verdict, "event_hash": made.manifest.event_hash,
        "replay": f"lockjaw replay {made.path}", "redactions": made.redactions, "notes": list(made.notes),
    }  # fmt: skip
    if options.as_json:
        sys.stdout.write(json.dumps(told, indent=2, ensure_ascii=False) + "\n")
        return EXIT_MADE
    print(f"Kit: {_typed(made.path)} ({told['bytes'] / 1024:.0f} KB, {made.manifest.verdict})")
    print("Replaced by pseudonyms:")
    for kind, counts in made.redactions["replaced"].items():
        print(f"  {kind:<8} {counts['different']:>4} different, in {counts['places']} places")
    if not made.redactions["replaced"]:
        print("  nothing")
    print(f"Message texts: {made.redactions['message_texts']}. Left out: logs, state, home.")
    print("Look through it once yourself before you attach it. Whoever has it types:")
    print(f"lockjaw replay {_typed(made.path)}")
    return EXIT_MADE


def check_acts(kit: Kit, *, yes_real: bool) -> None:
    """Real processes would do what a stranger's script makes their tools do: only with consent.

    Raises:
        LocalError: names what it would do, and the flag.
    """
    if kit.manifest.engine != "real" or yes_real or not kit.acts:
        return
    shown = "\n".join(f"  {act[:200]}" for act in kit.acts[:10])
    raise LocalError(
        f"{kit.path}: a replay with real processes would run these tool calls on this machine:\n{shown}\n"
        "Read them. If you trust all of them, add --yes-real."
    )


def _typed(path: Path) -> str:
    path = path.absolute()
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
