"""Where pages go, what they link to, and what `lockjaw report` writes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from lockjaw.cli import pages
from lockjaw.errors import HarnessError
from lockjaw.history.run import Run

MakeRun = Callable[..., Any]


@pytest.fixture
def kept(make_run: MakeRun, tmp_path: Path) -> Callable[[str, str], Run]:
    def keep(scenario: str, policy: str) -> Run:
        folder = tmp_path / "runs" / scenario / f"2026 1-{policy}"
        folder.mkdir(parents=True)
        return make_run(policy, run_dir=str(folder), scenario=scenario)

    return keep


def links(page: Path) -> list[Path]:
    """The files that a page links to."""
    found = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend(value for name, value in attrs if name == "href" and value and not value.startswith("#"))

    Reader().feed(page.read_text())
    return [(page.parent / unquote(str(link))).resolve() for link in found]


def test_one_run_has_a_page_in_its_folder(kept: Callable[..., Run]) -> None:
    run = kept("s", "takeover")
    (line,) = pages.write_pages([run])
    page = run.run_dir / "report.html"
    assert line.endswith(str(page))
    assert list(run.run_dir.iterdir()) == [page]
    assert not (run.run_dir.parent / "report.html").exists()


def test_several_runs_of_a_scenario_have_one_page_that_leads_to_each(kept: Callable[..., Run]) -> None:
    runs = [kept("s", policy) for policy in ("reuse-session", "takeover")]
    (line,) = pages.write_pages(runs)
    page = runs[0].run_dir.parent / "report.html"
    assert line.endswith(str(page))
    assert links(page) == [run.run_dir / "report.html" for run in runs]


def test_several_scenarios_have_a_matrix_that_leads_to_all_pages(kept: Callable[..., Run], tmp_path: Path) -> None:
    runs = [kept(s, policy) for s in ("one", "two") for policy in ("reuse-session", "takeover")]
    (line,) = pages.write_pages(runs)
    matrix = tmp_path / "runs" / "report.html"
    assert line.endswith(str(matrix))
    scenarios = [tmp_path / "runs" / s / "report.html" for s in ("one", "two")]
    assert set(links(matrix)) == {*scenarios, *(run.run_dir / "report.html" for run in runs)}
    assert all(page.is_file() for page in links(matrix))


def test_a_run_whose_folder_was_pruned_is_drawn_and_not_linked(kept: Callable[..., Run]) -> None:
    runs = [kept("s", policy) for policy in ("reuse-session", "takeover")]
    runs[0].run_dir.rmdir()
    pages.write_pages(runs)
    assert not runs[0].run_dir.exists()
    page = runs[0].run_dir.parent / "report.html"
    assert links(page) == [runs[1].run_dir / "report.html"]
    assert page.read_text().count('class="chart"') == 2


def test_no_run_makes_no_page() -> None:
    assert pages.write_pages([]) == []


def test_a_page_that_cannot_be_written_names_itself_and_leaves_no_part(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(HarnessError, match=r"report\.html"):
        pages.write(tmp_path / "report.html", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_report_writes_a_page_and_a_trace(kept: Callable[..., Run], tmp_path: Path) -> None:
    run = kept("s", "takeover")
    page, trace = tmp_path / "a.html", tmp_path / "a.json"
    said = pages.write_files([run], html_file=page, trace_file=trace)
    assert [line.partition(":")[0] for line in said] == ["Page", "Trace"]
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert json.loads(trace.read_text())["traceEvents"]


def test_report_with_a_second_run_draws_both_or_says_where_they_part(kept: Callable[..., Run], tmp_path: Path) -> None:
    runs = [kept("s", "takeover"), kept("s", "reuse-session")]
    page = tmp_path / "a.html"
    pages.write_files(runs, html_file=page, trace_file=None)
    assert page.read_text().count('class="chart"') == 2
    told = pages.differences(runs)
    assert told[0] == "takeover and reuse-session part:"
    assert any("client: 'asks the gateway" in line for line in told[1:])


def lockjaw(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in its own process, in virtual time."""
    return subprocess.run(
        [sys.executable, "-m", "lockjaw", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_commands_write_pages_traces_and_differences(tmp_path: Path) -> None:
    ran = lockjaw(tmp_path, "run", "gateway_timeout", "--engine", "sim", "--policy", "all", "--out", "runs")
    assert ran.returncode == 1, ran.stderr
    page = tmp_path / "runs/gateway_timeout/report.html"
    assert f"picture: {page.relative_to(tmp_path)}\n" in ran.stdout
    assert ran.stdout.splitlines()[-1].startswith("lockjaw replay ")
    assert len(links(page)) == 4
    reuse, takeover = (next((tmp_path / "runs/gateway_timeout").glob(f"2*-{p}")) for p in ("reuse-session", "takeover"))
    assert "failed to get the session lock 3 times" in (reuse / "report.html").read_text()

    wrote = lockjaw(tmp_path, "report", str(takeover), "--html", "a.html", "--trace", "a.json", "--compare", str(reuse))
    assert wrote.returncode == 0, wrote.stderr
    assert [line.partition(":")[0] for line in wrote.stdout.splitlines()] == ["Page", "Trace"]
    assert (tmp_path / "a.html").read_text().count('class="chart"') == 2
    assert json.loads((tmp_path / "a.json").read_text())["otherData"]["policy"] == "takeover"

    told = lockjaw(tmp_path, "report", str(takeover), "--compare", str(reuse))
    assert told.stdout.startswith("takeover and reuse-session part:\n")
    assert "asks the gateway what became of the run" in told.stdout


@pytest.mark.parametrize("flag", ["--html", "--trace"])
def test_a_file_in_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path, flag: str) -> None:
    refused = lockjaw(tmp_path, "report", "runs", flag, "no/such/file")
    assert refused.returncode == 2
    assert "a file in a folder that exists" in refused.stderr
