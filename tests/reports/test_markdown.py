"""Markdown: what a run says is shown and never taken for markup."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from lockjaw.harness.judge.checkers.examples import EXAMPLES, changed, op
from lockjaw.reports import markdown
from lockjaw.visible import visible

READER = MarkdownIt("commonmark").enable("table").enable("strikethrough")


def shown(source: str) -> str:
    """The plain text that a Markdown reader shows for one line inside a table cell."""
    (inline,) = [t for t in READER.parse(f"| x |\n|---|\n| c {source} |\n") if t.type == "inline" and t.content != "x"]
    assert inline.children is not None
    return "".join(t.content for t in inline.children if t.type != "html_inline").removeprefix("c").strip()


@given(st.text(st.characters(codec="utf-8")))
@example("# [a](b) ![c](d) `e` *f* __g__ ~~h~~ <b>i</b> &amp; \\| j | k")
@example("@somebody owner/repo#123 http://x.example www.example.org")
@example("never_session_locked _emphasis_ 1_000")
def test_escaped_text_is_shown_as_it_was(text: str) -> None:
    expected = visible(" ".join(markdown._CONTROL.sub(" ", text).split()))

    assert shown(markdown.escape(text)) == expected


@given(st.text(st.characters(codec="utf-8")))
@example("```\n</details>\n`````")
def test_no_content_closes_its_fence(text: str) -> None:
    source = markdown.fence(text, "text")
    (token,) = READER.parse(source)

    assert token.type == "fence"
    assert token.info == "text"


def test_what_links_by_itself_is_kept_from_linking() -> None:
    escaped = markdown.escape("see owner/repo#12, @user, http://x and www.x.example")

    for linking in ("#12", "@user", "://", "www."):
        assert linking not in escaped


def test_the_report_is_one_block_for_an_issue(four_runs: list[Any]) -> None:
    report = markdown.render(four_runs)

    assert report.startswith("## Lockjaw: gateway_timeout: VIOLATED\n")
    assert "| never_session_locked | X VIOLATED | + HELD | + HELD | + HELD |" in report
    assert report.count("<details>") == report.count("</details>") == 3
    assert "seed 1" in report
    assert report.rstrip().endswith("no-fallback\n```")
    assert "To repeat:\n\n```console\nlockjaw replay" in report
    assert "/home/" not in report


def test_a_held_run_needs_no_details(make_run: Callable[..., Any]) -> None:
    report = markdown.render([make_run("takeover")])

    assert "<details>" not in report
    assert "To repeat" not in report


def test_several_seeds_are_counted_in_the_table(make_run: Callable[..., Any]) -> None:
    runs = [
        make_run("takeover", seed=1, checks=["answered"]),
        make_run("reuse-session", seed=2, checks=["answered"], policy="takeover"),
    ]

    assert "| answered | X VIOLATED 1/2 |" in markdown.render(runs)


def test_an_error_with_back_ticks_and_html_stays_in_its_fence(make_run: Callable[..., Any]) -> None:
    error = "boom ``` </details> <script>"
    history = changed(EXAMPLES["reuse-session"](), op("client.result"), error=error)
    report = markdown.render([make_run("reuse-session", history=history)])

    assert f"````text\n{error}\n````" in report


def test_a_run_without_steps_has_no_empty_table(make_run: Callable[..., Any]) -> None:
    report = markdown.render([make_run("takeover", history=[], checks=[])])

    assert "what happened |" not in report
    assert "<details><summary>takeover (real, seed 1): what happened</summary>" in report


def test_no_runs_are_said_so() -> None:
    assert markdown.render([]) == "No run to report.\n"
