"""``lockjaw report``: show a kept run again."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from lockjaw.cli import pages
from lockjaw.cli.options import LATEST, JsonFlag, RunDir, check_file_to_write
from lockjaw.errors import UsageError
from lockjaw.harness.store import read_run
from lockjaw.reports import document, text
from lockjaw.visible import show, show_text

__all__ = ["report"]


def report(
    run_dir: RunDir = LATEST,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Markdown for an issue, on stdout.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the page with the picture to this file.")] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Write the run as Chrome trace JSON (for ui.perfetto.dev) to this file.")
    ] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN_DIR",
            help="Say where that run parts from this one; with --html draw both. May be given 4 times.",
        ),
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser (without --html: the run's own).")
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with the status of the verdict (with --compare: of all runs).")
    ] = False,
    as_json: JsonFlag = False,
) -> int:
    """Show a kept run again: as text, Markdown, a page with a picture, or a trace.

    Exit status: 0 shown or written, 2 usage; with --exit-code that of the verdict.
    """
    check_file_to_write(html, trace)
    if open_page:
        html = html or run_dir / pages.REPORT
    compare = compare or []
    if len(compare) >= pages.MAX_COMPARED:
        most = f"at most {pages.MAX_COMPARED - 1} runs beside the first"
        raise UsageError("--compare", "", most, len(compare))
    runs = [read_run(folder) for folder in (run_dir, *compare)]
    written = pages.write_files(runs, html_file=html, trace_file=trace)
    if as_json:
        sys.stdout.write(document.to_json(document.document(runs, command="report")))
    elif as_markdown:
        from lockjaw.reports import markdown

        show_text(markdown.render(runs))
    elif written:
        show(*written)
    elif compare:
        show(*pages.differences(runs))
    else:
        text.print_report(runs)
    if open_page and html is not None:
        webbrowser.open(html.absolute().as_uri())
    return document.exit_status(runs) if exit_code else 0
