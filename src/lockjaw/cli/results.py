"""What runs came to: the files that were asked for, then the report or one JSON document, then the exit status."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lockjaw.cli.repeats import shares_document, shares_said
from lockjaw.harness.judge.agreement import Agreement
from lockjaw.harness.judge.baseline import Comparison
from lockjaw.harness.judge.shares import Repeats
from lockjaw.harness.run import Run
from lockjaw.reports import document, text
from lockjaw.visible import show

__all__ = ["EXIT_DISAGREE", "hand_over"]

EXIT_DISAGREE = 4  # the engines do: one of them is wrong, whatever the verdicts are


def hand_over(
    runs: Sequence[Run],
    *,
    as_json: bool,
    repeats: Repeats,
    notes: Sequence[str] = (),
    junit_file: Path | None = None,
    markdown_file: Path | None = None,
    since: Comparison | None = None,
    compared: Sequence[Agreement] = (),
) -> int:
    """Write and show the runs of one command. Returns the exit status.

    Args:
        notes: lines at the report's head; those of a baseline and of repeats are added.
        since: what has changed against a baseline: then its verdict decides the exit status.
        compared: whether the worlds agree; one that does not decides the exit status.
    """
    changed = [] if since is None else since.lines()
    status = document.exit_status(runs) if since is None else since.verdict.exit_status
    if since is not None and status != document.exit_status(runs):
        changed.append(f"Only what got worse counts: exit status {status}.")
    if junit_file is not None:
        from lockjaw.reports import junit

        junit_file.write_text(junit.render(runs), encoding="utf-8")
    if markdown_file is not None:
        from lockjaw.reports import markdown

        below = f"\n{markdown.fence(chr(10).join(changed), 'text')}\n" if since is not None else ""
        markdown_file.write_text(markdown.render(runs) + below, encoding="utf-8")
    if as_json:
        more = shares_document(runs, repeats)
        if compared:
            more["agreement"] = [one.document() for one in compared]
        if since is not None:
            more["baseline"] = since.document()
        sys.stdout.write(document.to_json(document.document(runs, **more)))
    else:
        text.print_report(runs, notes=[*changed, *shares_said(runs, repeats), *notes])
        for one in compared:
            show(one.sentence())
    if not all(one.agrees for one in compared):
        return EXIT_DISAGREE
    return status
