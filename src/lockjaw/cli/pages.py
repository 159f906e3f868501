"""Where the HTML pages of runs go: one in each run folder, one per scenario that compares its runs, one for all.

``<out>/<scenario>/<run>/report.html``, ``<out>/<scenario>/report.html`` (the newest comparison), ``<out>/report.html``
(the newest matrix). Pages of comparisons are replaced by the next one, so the store stays bounded.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from lockjaw.errors import HarnessError
from lockjaw.folders import typed
from lockjaw.harness.judge.skeleton import skeleton
from lockjaw.history.run import Run
from lockjaw.reports import compare, html, trace
from lockjaw.whole_files import write_whole

REPORT = "report.html"
MAX_COMPARED = html.MAX_PICTURES


def write_pages(runs: Sequence[Run]) -> list[str]:
    """Write every page that these runs make, and say in one line where to look.

    A run whose folder was pruned meanwhile has no page of its own; comparisons still draw it.

    Raises:
        HarnessError: a page cannot be written.
    """
    kept = [run for run in runs if run.run_dir.is_dir()]
    for run in kept:
        write(run.run_dir / REPORT, html.render_run(run))
    if not kept:
        return []
    shown = kept[0].run_dir / REPORT
    scenarios: dict[Path, list[Run]] = {}
    for run in runs:
        scenarios.setdefault(run.run_dir.parent, []).append(run)
    compared: dict[str, Path] = {}
    for folder, group in scenarios.items():
        if len(group) > 1 and folder.is_dir():
            compared[group[0].scenario] = shown = folder / REPORT
            page = html.render_compare(group, skeleton, _links(kept, folder), worst_first=True)
            write(shown, page)
    if len(scenarios) > 1:
        root = kept[0].run_dir.parent.parent
        shown = root / REPORT
        links = _links(kept, root) | {name: _link(page, root) for name, page in compared.items()}
        write(shown, html.render_matrix(runs, links))
    return [f"Who held the lock when, as a picture: {typed(shown)}"]


def write_files(runs: Sequence[Run], *, html_file: Path | None, trace_file: Path | None) -> list[str]:
    """``lockjaw report``: a page of one run or of several, and the trace of the first. Returns what was written."""
    written = []
    if html_file is not None:
        page = html.render_compare(runs, skeleton) if len(runs) > 1 else html.render_run(runs[0])
        write(html_file, page)
        written.append(f"Page: {typed(html_file)} (open it in any browser)")
    if trace_file is not None:
        write(trace_file, trace.render(runs[0]))
        written.append(f"Trace: {typed(trace_file)} (open it on ui.perfetto.dev, which keeps it in the browser)")
    return written


def differences(runs: Sequence[Run]) -> list[str]:
    """Where each run parts from the first, as text."""
    names = html.names(runs)
    return [
        line
        for name, run in zip(names[1:], runs[1:], strict=True)
        for line in compare.lines((names[0], name), compare.divergences(runs[0].history, run.history, skeleton))
    ]


def write(path: Path, text: str) -> None:
    """A reader, such as a browser that reloads, sees the old page or the new one."""
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise HarnessError(f"cannot write {path}: {error}", str(path.parent)) from error


def _links(runs: Sequence[Run], folder: Path) -> dict[str, str]:
    return {run.folder: _link(run.run_dir / REPORT, folder) for run in runs}


def _link(page: Path, folder: Path) -> str:
    return quote(os.path.relpath(page, folder))
