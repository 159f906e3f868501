"""The page: self-contained, small, and blind to markup in what models, tools and peers have sent."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockjaw.harness.judge.checkers.examples import EXAMPLES, PATH, Story
from lockjaw.harness.judge.skeleton import skeleton
from lockjaw.history import Record
from lockjaw.reports import html, html_data
from lockjaw.reports.html_strings import excerpt, folder_shortener, to_script_json, visible
from lockjaw.reports.swimlane import swimlane
from lockjaw.reports.view import run_view
from lockjaw.verdict import CheckResult, Verdict

from .busy import busy_history

MakeRun = Callable[..., Any]
HOSTILE = [
    "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"><svg onload=alert(1)>", "' onclick='x",
    "{{ 7*7 }}{% raw %}", "<!-- --><![CDATA[", "\u2028\u2029", "\x00\x1b[31m\x9b", "\ud800", "\u202egnp.exe",
    "javascript:alert(1)", "&lt;b&gt;", "]]>", "\\u003cscript\\u003e",
]  # fmt: skip


class Page(HTMLParser):
    """The elements of a page with their attributes' names, and its data block."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.scripts: list[str] = []
        self.text = ""
        self._in = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "wbr" and not attrs:
            return  # a place where a long name may go on in the next line: no reader sees it, and it can do nothing
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action", "data", "srcset")]
        self._in = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in == "script":
            self.scripts[-1] += data
        elif self._in != "style":
            self.text += data

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.scripts[0])


def told(page: Page, number: int = 0) -> list[tuple[int, str, str, str, str, dict[str, str]]]:
    """(t in us, lane, op, phase, sentence, data) of each record, read back from a page's data as the script does."""
    data = page.data
    strings, shapes, entry = data["strings"], data["shapes"], data["runs"][number]
    flat, found, at, t = entry["records"], [], 0, 0
    while at < len(flat):
        op, phase, keys = shapes[flat[at + 2]]
        t += flat[at]
        values = [strings[n] for n in flat[at + 4 : at + 4 + len(keys)]]
        lane = entry["lanes"][flat[at + 1]][0]
        shown = dict(zip((strings[k] for k in keys), values, strict=True))
        found.append((t, lane, strings[op], strings[phase], strings[flat[at + 3]], shown))
        at += 4 + len(keys)
    return found


def pages(make_run: MakeRun) -> list[str]:
    runs = [make_run(policy) for policy in EXAMPLES]
    return [html.render_run(runs[0]), html.render_compare(runs, skeleton), html.render_matrix(runs)]


def test_no_page_asks_for_anything_from_outside(make_run: MakeRun) -> None:
    for text in pages(make_run):
        page = Page(text)
        assert all(link.startswith("#") for link in page.links)
        assert not re.search(r"https?://(?!www\.w3\.org)|url\((?!#)|@import|//cdn", text.replace("ws://", ""))
        policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
        assert policy is not None
        assert "default-src 'none'" in policy[1]


def test_the_policy_of_the_page_allows_its_own_script_and_no_other(make_run: MakeRun) -> None:
    text = html.render_run(make_run("takeover"))
    script = Page(text).scripts[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert "'unsafe-inline'" not in re.findall(r"script-src[^;]*;", text)[0]


def test_the_data_holds_every_record_with_its_values(make_run: MakeRun) -> None:
    run = make_run("reuse-session")
    read = told(Page(html.render_run(run)))
    assert len(read) == len(run.history)
    begun = next(r.t for r in run.history if r.op.startswith("client."))
    for (t, lane, op, phase, _, shown), record in zip(read, run.history, strict=True):
        assert t == round((record.t - begun) * 1e6)
        assert (op, phase) == (record.op, record.phase)
        assert lane in (record.actor, record.data.get("actor"))
        assert list(shown) == list(record.data)
    locks = [shown["path"] for _, _, op, _, _, shown in read if op == "lock"]
    assert set(locks) == {"<state>/agents/main/sessions/9e051a52.jsonl.lock"}


def test_a_finding_points_at_its_witnesses(make_run: MakeRun) -> None:
    run = make_run("reuse-session")
    data = Page(html.render_run(run)).data["runs"][0]
    checks = {name: positions for name, _, _, positions in data["checks"]}
    expected = {c.name: sorted(set(c.witness)) for c in run.checks}
    assert {name: checks[name] for name in expected} == expected
    assert checks["never_session_locked"]


# --------------------------------------------------------------------------- hostile content


def poisoned(text: str) -> list[Record]:
    """The reuse example with ``text`` wherever a peer, a model or a tool could have put it."""
    story = Story()
    story.add(0.0, "client", "client.call", "invoke", method="agent", run_id="r")
    story.add(1.0, text, "lock", "ok", path=f"/x/{text}/agents/main/sessions/{text}.jsonl.lock", owner=text)
    story.add(2.0, "client", "lock", "invoke", path=f"/x/{text}/agents/main/sessions/{text}.jsonl.lock")
    story.add(3.0, "client", "lock", "fail", path=f"/x/{text}/agents/main/sessions/{text}.jsonl.lock", error=text)
    story.add(4.0, "gateway", "model.call", "invoke", call_id="c", model=text, provider=text)
    story.add(5.0, "gateway", "tool", "invoke", name=text, tool_call_id="t", **{text or "k": text})
    story.add(6.0, "client", "fallback", step=text, detail=text)
    story.add(7.0, "client", "client.result", answered=False, error=text, reply=[text, {text: None}], exit_code=1)
    return story.history()


def hostile_run(make_run: MakeRun, text: str) -> Any:
    run = make_run(
        text, history=poisoned(text), scenario=text, engine=text, target=text, verdict="VIOLATED",
        checks=(), run_dir=f"runs/{text}", outcome={"error": text, "reply": text}, story=text,
    )  # fmt: skip
    return replace(run, checks=(CheckResult("never_session_locked", Verdict.VIOLATED, text, (3,)),))


def structure(make_run: MakeRun, text: str) -> list[list[tuple[str, tuple[str, ...]]]]:
    run = hostile_run(make_run, text)
    other = make_run("takeover")
    written = (
        html.render_run(run),
        html.render_compare([run, other], skeleton, {run.folder: "a.html"}),
        html.render_matrix([run], {text: "a.html"}),
    )
    for page in written:
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", page)
    return [Page(page).elements for page in written]


@pytest.mark.parametrize("text", HOSTILE)
def test_known_attacks_add_no_element_and_no_attribute(make_run: MakeRun, text: str) -> None:
    assert structure(make_run, text) == structure(make_run, "harmless")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    st.lists(
        st.sampled_from([*HOSTILE, "a", "<", ">", "&", '"', "'", "/", "\n"]) | st.text(max_size=6),
        min_size=1,
        max_size=8,
    )
)
def test_no_text_adds_an_element_or_an_attribute(make_run: MakeRun, parts: list[str]) -> None:
    text = "x" + "".join(parts)
    assert structure(make_run, text) == structure(make_run, "harmless")


@given(
    st.recursive(
        st.text() | st.sampled_from(HOSTILE), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_the_data_block_is_inert_and_reads_back_the_same(value: Any) -> None:
    text = to_script_json(value)
    assert text.isascii()
    assert not set("<>&") & set(text)
    assert json.loads(text) == value


@given(st.text() | st.sampled_from(HOSTILE))
def test_visible_text_hides_and_reorders_nothing(text: str) -> None:
    shown = visible(text)
    assert len(shown) == len(text)
    shown.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", shown)


def test_a_megabyte_of_message_is_cut_and_says_so(make_run: MakeRun) -> None:
    for filling in ("<b>", "/"):
        text = filling * (1_000_000 // len(filling))
        page = html.render_run(hostile_run(make_run, text))
        assert len(page) < 2_000_000
        assert "characters in all)" in page


# --------------------------------------------------------------------------- size


def test_twenty_thousand_events_stay_below_two_megabytes(make_run: MakeRun) -> None:
    run = make_run("takeover", history=busy_history(20_000), checks=())
    page = html.render_run(run)
    assert len(page.encode()) < 2_000_000
    assert len(told(Page(page))) == len(run.history)


def test_a_page_that_would_grow_too_large_cuts_values_and_says_so(make_run: MakeRun) -> None:
    story = Story().add(0.0, "client", "client.call", "invoke", method="agent")
    for n in range(3000):
        story.add(1.0 + n, "client", "client.stderr", line=f"{n} " + "y" * 1500)
    run = make_run("takeover", history=story.history(), checks=())
    page = html.render_run(run)
    assert len(page) < 2_000_000
    note = Page(page).data["runs"][0]["clipped"]
    assert "2 MB" in note
    assert "history.jsonl" in note


def test_beyond_every_cut_only_witnesses_keep_their_values(make_run: MakeRun) -> None:
    run = make_run("reuse-session")
    picture = html_data.RunPicture(run_view(run), swimlane(run.history))
    data = json.loads(html_data.page_json([picture], limit_bytes=1))
    entry = data["runs"][0]
    assert "only the steps that a finding points at carry their values" in entry["clipped"]
    keys = [len(shape[2]) for shape in data["shapes"]]
    sizes, at = [], 0
    while at < len(entry["records"]):
        sizes.append(keys[entry["records"][at + 2]])
        at += 4 + sizes[-1]
    pointed = {n for _, _, _, positions in entry["checks"] for n in positions}
    assert all((size > 0) == (n in pointed) for n, size in enumerate(sizes))


# --------------------------------------------------------------------------- words and links


def test_the_header_answers_who_held_the_lock(make_run: MakeRun) -> None:
    page = Page(html.render_run(make_run("reuse-session")))
    words = " ".join(page.text.split())
    assert "VIOLATED" in words
    assert "gateway (pid 101) had it" in words
    assert "The user got NO answer" in words


def test_folders_of_the_machine_are_shortened_and_the_replay_line_stays_whole(make_run: MakeRun) -> None:
    run_dir = "runs/gateway_timeout/2026-1-takeover"
    story = Story().add(0.0, "client", "client.stderr", line=f"Config: /srv/ci/job-7/{run_dir}/state/openclaw.json")
    run = make_run("takeover", history=story.history(), checks=(), run_dir=run_dir, replay=f"lockjaw replay {run_dir}")
    page = html.render_run(run)
    assert "/srv/ci" not in page
    assert "Config: \\u003crun\\u003e/state/openclaw.json" in page
    assert f'value="lockjaw replay {run_dir}"' in page


def test_an_excerpt_never_shows_half_of_a_folder() -> None:
    short = folder_shortener("runs/s/t")
    text = "x" * 95 + " /home/somebody/runs/s/t/state/file" + "z" * 100
    assert excerpt(text, 100, short) == "x" * 95 + " <run" + "... (230 characters in all)"


def test_the_comparison_marks_the_first_difference_in_both_runs(make_run: MakeRun) -> None:
    page = Page(html.render_compare([make_run("reuse-session"), make_run("takeover")], skeleton))
    marked = [run["marks"] for run in page.data["runs"]]
    assert [[mark[2] for mark in marks].count(1) for marks in marked] == [1, 1]
    against = [page.data["strings"][marks[0][3]] for marks in marked]
    assert against == ["takeover", "reuse-session"]
    assert "(the first that a law or the outcome hangs on)" in page.text


def test_the_table_of_a_comparison_links_each_violation_to_its_picture(make_run: MakeRun) -> None:
    page = Page(html.render_compare([make_run(policy) for policy in EXAMPLES], skeleton))
    assert "#run0/finding/never_session_locked" in page.links
    names = [[check[0] for check in run["checks"]] for run in page.data["runs"]]
    for link in page.links:
        found = re.fullmatch(r"#run(\d+)/finding/(\w+)", link)
        assert found is None or found[2] in names[int(found[1])]


def test_of_many_runs_the_violated_ones_are_drawn_and_the_rest_is_counted(make_run: MakeRun) -> None:
    runs = [make_run("takeover", seed=n) for n in range(1, 7)] + [make_run("reuse-session", seed=9)]
    page = Page(html.render_compare(runs, skeleton))
    assert len(page.data["runs"]) == html.MAX_PICTURES
    assert "reuse-session (real, seed 9)" in [run["title"] for run in page.data["runs"]]
    assert "2 more count in the table" in " ".join(page.text.split())


def test_the_worst_runs_are_drawn_first_when_asked(make_run: MakeRun) -> None:
    runs = [make_run("takeover"), make_run("reuse-session")]
    drawn = Page(html.render_compare(runs, skeleton, worst_first=True)).data["runs"]
    assert [run["verdict"] for run in drawn] == ["VIOLATED", "HELD"]
    assert [run["verdict"] for run in Page(html.render_compare(runs, skeleton)).data["runs"]] == ["HELD", "VIOLATED"]


def test_of_three_runs_only_the_first_difference_is_marked(make_run: MakeRun) -> None:
    runs = [make_run(policy) for policy in ("reuse-session", "fresh-session", "takeover")]
    marks = [run["marks"] for run in Page(html.render_compare(runs, skeleton)).data["runs"]]
    assert [[first for _, _, first, _ in marked] for marked in marks] == [[1], [1], [1]]


def test_pages_tell_the_story_of_the_scenario(make_run: MakeRun) -> None:
    run = make_run("takeover", story="A user asks. Nobody <answers>. It ends.")
    for page in (html.render_run(run), html.render_compare([run, run], skeleton)):
        assert "The incident.</b> A user asks. Nobody &lt;answers&gt;. It ends." in page
    assert "A user asks.</small>" in html.render_matrix([run])
    assert "The incident" not in html.render_run(make_run("takeover"))


def test_policies_of_one_era_share_a_column_before_the_last(make_run: MakeRun) -> None:
    runs = [
        make_run(policy, scenario=name, run_dir=f"{name}/{policy}")
        for name in ("one", "two", "three") for policy in ("reuse-session", "takeover")
    ]  # fmt: skip
    runs.insert(2, make_run("no-fallback", scenario="two", policy="busy-store", run_dir="two/busy"))
    page = html.render_matrix(runs)
    heads = re.findall(r'<th scope="col">([^<]*)</th>', page)
    assert heads == ["scenario", "reuse-session", "as in its own era", "takeover"]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page, re.S)
    assert ["busy-store" in cell for cell in cells] == [False, False, False, False, True, False, False, False, False]
    assert cells[1].strip() == cells[7].strip() == "-"


def test_the_matrix_links_scenarios_and_runs(make_run: MakeRun) -> None:
    runs = [make_run("reuse-session"), make_run("takeover")]
    links = {"gateway_timeout": "gateway_timeout/report.html", runs[0].folder: "a/report.html"}
    page = Page(html.render_matrix(runs, links))
    assert page.links == ["gateway_timeout/report.html", "a/report.html"]
    assert "never_session_locked" in page.text


def test_runs_are_named_by_what_tells_them_apart(make_run: MakeRun) -> None:
    takeover = make_run("takeover")
    assert html.names([make_run("reuse-session"), takeover]) == ["reuse-session", "takeover"]
    assert html.names([takeover, make_run("takeover", engine="sim")]) == ["real", "sim"]
    assert html.names([takeover, make_run("takeover", seed=2)]) == ["seed 1", "seed 2"]
    assert html.names([takeover, takeover]) == ["run 1", "run 2"]


def test_a_run_without_any_record_has_a_page(make_run: MakeRun) -> None:
    assert "No process took a session lock" in html.render_run(make_run("takeover", history=[], checks=()))


def test_positions_follow_time_even_when_records_do_not(make_run: MakeRun) -> None:
    records = [
        Record(2.0, "client", "client.result", "info", {"answered": True}, 0),
        Record(1.0, "client", "lock", "ok", {"path": PATH}, 1),
    ]
    check = CheckResult("answered", Verdict.VIOLATED, "f", (0,))
    run = replace(make_run("takeover", checks=()), history=records, checks=(check,))
    entry = Page(html.render_run(run)).data["runs"][0]
    assert next(positions for name, _, _, positions in entry["checks"] if name == "answered") == [1]
