"""The report in Chromium: what a person sees and does."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from lockjaw.harness.judge.checkers.examples import EXAMPLES, PATH, Story
from lockjaw.harness.judge.skeleton import skeleton
from lockjaw.reports import html

from ..reports.busy import busy_history
from .conftest import Opened

Open = Callable[..., Opened]
Keep = Callable[[Opened, str], bytes]
MakeRun = Callable[..., Any]

FINDING = "#run0/finding/never_session_locked"


@pytest.fixture
def reuse(make_run: MakeRun) -> Any:
    return make_run("reuse-session")


def boxes(opened: Opened, selector: str) -> list[dict[str, float]]:
    return [box for item in opened.page.locator(selector).all() if (box := item.bounding_box()) is not None]


@pytest.mark.parametrize("kind", ["run", "compare", "matrix"])
def test_a_page_opens_without_a_complaint_and_asks_for_nothing(
    open_page: Open, keep: Keep, four_runs: list[Any], kind: str
) -> None:
    text = {
        "run": lambda: html.render_run(four_runs[0]),
        "compare": lambda: html.render_compare(four_runs, skeleton),
        "matrix": lambda: html.render_matrix(four_runs),
    }[kind]()
    opened = open_page(text)
    keep(opened, kind)
    assert opened.said == []
    assert [url for url in opened.asked if not url.startswith("file:") or not url.endswith("/report.html")] == []
    assert len(opened.asked) == 1


def test_the_picture_alone_says_who_held_the_lock_when_the_fallback_failed(open_page: Open, reuse: Any) -> None:
    opened = open_page(html.render_run(reuse))
    held = boxes(opened, "svg .held")
    causes = boxes(opened, "svg .cause")
    assert len(causes) == 3
    for cause in causes:
        over = [h for h in held if h["x"] <= cause["x"] <= h["x"] + h["width"]]
        assert len(over) == 1, "below one owner of the band"
        assert abs(cause["y"] - (over[0]["y"] + over[0]["height"])) < 4, "and up to it"
    words = opened.page.locator("svg text").all_text_contents()
    assert any(re.fullmatch(r"locked by gateway( · pid 101)?", text) for text in words)
    assert sum("gateway" in text and text.startswith(("waits", "locked by", "locked out by")) for text in words) >= 4
    assert sum(text == "locked out by gateway" for text in words) == 3
    assert "NO ANSWER (exit 1)" in words


def test_with_two_locks_the_line_of_a_failed_wait_leads_to_the_one_that_was_held(
    open_page: Open, make_run: MakeRun
) -> None:
    story = Story().add(0.0, "client", "client.call", "invoke", method="agent")
    other = PATH.replace("9e051a52", "other")
    story.add(1.0, "gateway", "lock", "ok", path=PATH + ".lock")
    story.add(2.0, "keeper", "lock", "ok", path=other + ".lock")
    story.add(3.0, "client", "lock", "invoke", path=other + ".lock")
    story.add(13.0, "client", "lock", "fail", path=other + ".lock")
    opened = open_page(html.render_run(make_run("takeover", history=story.history(), checks=())))
    (cause,) = boxes(opened, "svg .cause")
    (second,) = [box for box in boxes(opened, "svg .held") if abs(box["y"] + box["height"] - cause["y"]) < 4]
    lowest = max(boxes(opened, "svg .held"), key=lambda box: box["y"])
    assert second == lowest
    assert "locked by keeper" in opened.page.locator("svg text").all_text_contents()


def test_a_click_on_a_finding_shows_its_witnesses_and_nothing_else(open_page: Open, keep: Keep, reuse: Any) -> None:
    opened = open_page(html.render_run(reuse))
    before = opened.window()
    opened.page.locator(f'a.finding[href="{FINDING}"]').click()
    opened.settle()
    keep(opened, "finding")
    (check,) = [c for c in reuse.checks if c.name == "never_session_locked"]
    hit = {int(at) for at in opened.page.locator("svg .hit").evaluate_all("all => all.map(one => one.dataset.at)")}
    ends = {bar for bar in hit if bar not in check.witness}
    assert set(check.witness) <= hit
    assert all(reuse.history[bar].phase == "invoke" for bar in ends), "the bars that a witness ends"
    assert opened.page.url.endswith(FINDING)
    assert opened.window() != before
    for box in boxes(opened, "svg .witness.hit"):
        assert 0 < box["x"] < 1200
        assert 0 < box["y"] < 900
    dimmed = opened.page.locator("svg .hit-able:not(.hit):not(.held)").first
    assert float(dimmed.evaluate("one => getComputedStyle(one).opacity")) < 0.5
    assert opened.count(".findings li.chosen") == 1


def test_the_address_of_a_finding_leads_there(open_page: Open, reuse: Any) -> None:
    page = html.render_run(reuse)
    clicked = open_page(page)
    clicked.page.locator(f'a.finding[href="{FINDING}"]').click()
    clicked.settle()
    sent = open_page(page, FINDING)
    assert sent.window() == clicked.window()
    assert sent.count("svg .witness.hit") == clicked.count("svg .witness.hit") > 0


@pytest.mark.parametrize(
    "fragment", ["#run9/finding/x", "#run0/record/99999", "#run0/finding/%E0%A4%A", "#x", "#run0/record/-1"]
)
def test_an_address_that_leads_nowhere_does_no_harm(open_page: Open, reuse: Any, fragment: str) -> None:
    opened = open_page(html.render_run(reuse), fragment)
    assert opened.said == []
    assert opened.count("svg .held") > 0


def test_compare_mode_marks_the_first_difference_in_both_runs(open_page: Open, keep: Keep, make_run: MakeRun) -> None:
    opened = open_page(
        html.render_compare([make_run("reuse-session"), make_run("takeover")], skeleton), size=(1200, 1400)
    )
    keep(opened, "compare-two")
    assert opened.page.locator("svg .divergence").all_text_contents() == [
        "≠ first difference from takeover", "≠ first difference from reuse-session",
    ]  # fmt: skip
    first = opened.page.locator("#differences li.first a")
    target = str(first.get_attribute("href"))
    first.click()
    opened.settle()
    assert opened.page.url.endswith(target)
    assert opened.count("svg .chosen") == 1
    assert opened.page.locator("#card").is_visible()


def test_the_runs_of_a_comparison_share_one_time_axis(open_page: Open, make_run: MakeRun) -> None:
    runs = [make_run("takeover", seed=1), make_run("takeover", seed=2)]
    opened = open_page(html.render_compare(runs, skeleton))
    one, two = (
        [(box["x"], box["width"]) for box in boxes(opened, f'[data-run="{n}"] svg .held')] for n in (0, 1)
    )  # fmt: skip
    assert one == two != []
    assert "The same steps, actor by actor." in opened.page.locator("#differences").inner_text()


# --------------------------------------------------------------------------- time


def waits_and_race() -> list[Any]:
    story = Story()
    story.add(0.0, "client", "client.call", "invoke", method="agent", run_id="r")
    story.add(90.0, "client", "client.call", "fail", run_id="r", method="agent", kind="timeout", timeout_ms=90000)
    story.add(90.002, "gateway", "lock", "ok", path=PATH + ".lock")
    story.add(90.004, "client", "append.refused", path=PATH, generation=1, current=2)
    return story.history()


def place(opened: Opened, at: int) -> float:
    box = opened.page.locator(f'svg .tick[data-at="{at}"]').first.bounding_box()
    assert box is not None
    return float(box["x"] + box["width"] / 2)


def test_ninety_seconds_of_waiting_and_two_milliseconds_of_race_are_on_one_page(
    open_page: Open, keep: Keep, make_run: MakeRun
) -> None:
    opened = open_page(html.render_run(make_run("takeover", history=waits_and_race(), checks=())))
    keep(opened, "waits-and-race")
    assert place(opened, 1) - place(opened, 0) > 400
    assert place(opened, 2) - place(opened, 1) > 8
    assert place(opened, 3) - place(opened, 2) > 8
    assert "90 s" in opened.page.locator("#axis text.soft").all_text_contents(), "the fold says how long it is"
    assert opened.count("#axis .zigzag") == 1
    opened.press("f")
    assert opened.count("#axis .zigzag") == 0
    assert opened.page.locator("#fold").inner_text() == "linear time"
    assert place(opened, 3) - place(opened, 1) < 1, "the race is one point on a linear axis"
    opened.press("f")
    assert opened.count("#axis .zigzag") == 1


def test_twenty_thousand_events_are_drawn_within_two_seconds(open_page: Open, keep: Keep, make_run: MakeRun) -> None:
    history = busy_history(20_000)
    page = html.render_run(make_run("takeover", history=history, checks=()))
    taken = []
    for _ in range(3):
        opened = open_page(page)
        taken.append(
            opened.page.evaluate("() => performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
        )
    keep(opened, "twenty-thousand")
    assert min(taken) < 2000, taken  # of three: the machine may be busy with something else
    assert opened.said == []
    drawn = opened.count("svg *")
    assert 200 < drawn < 4500, "what does not fit on the screen is drawn as one"  # 7 rows of 1000 px / 4 px, and bars
    more = opened.page.locator("svg [data-more$=' steps']").evaluate_all("all => all.map(one => one.dataset.more)")
    stood_for = sum(int(text.split()[0]) for text in more) + opened.count("svg .tick[data-at]")
    assert stood_for == len(history), "every record is in a mark that says how many it stands for"
    painted = []
    for _ in range(8):
        opened.press("+")
        painted.append(float(opened.page.evaluate("() => document.documentElement.dataset.painted")))
    assert min(painted) < 500
    assert opened.count("svg .held") > 0, "closer up owners stand on their own"
    assert opened.said == []


# --------------------------------------------------------------------------- hands


def test_keys_zoom_pan_and_come_back(open_page: Open, reuse: Any) -> None:
    opened = open_page(html.render_run(reuse))
    whole = opened.window()
    seen = [whole]
    for key in ("+", "+", "ArrowRight", "ArrowLeft", "-"):
        opened.press(key)
        assert opened.window() != seen[-1]
        seen.append(opened.window())
    opened.press("0")
    assert opened.window() == whole
    opened.press("0")
    assert opened.window() != whole, "again: setting up and clearing up too"
    opened.press("0")
    assert opened.window() == whole


def test_n_and_p_go_through_the_findings_and_escape_lets_go(open_page: Open, reuse: Any) -> None:
    opened = open_page(html.render_run(reuse))
    names = [c.name for c in reuse.checks if c.witness]
    assert len(names) > 1
    for name in (*names, names[0]):
        opened.press("n")
        assert opened.page.url.endswith(f"#run0/finding/{name}")
    opened.press("p")
    assert opened.page.url.endswith(f"#run0/finding/{names[-1]}")
    opened.press("Escape")
    assert "#" not in opened.page.url
    assert opened.count("svg .hit") == 0


def test_slash_searches_and_enter_goes_to_the_match(open_page: Open, keep: Keep, reuse: Any) -> None:
    opened = open_page(html.render_run(reuse))
    opened.press("/")
    opened.page.keyboard.type("kimi")
    opened.settle()
    found = int(str(opened.page.locator("#found").inner_text()).split()[0])
    expected = sum("kimi" in str(record).lower() for record in reuse.history)
    assert 0 < found == expected
    opened.press("Enter")
    keep(opened, "search")
    assert opened.count("svg .match") > 0
    assert opened.count("svg .chosen") == 1
    assert "kimi" in opened.page.locator("#card").inner_text().lower()
    opened.press("Escape")
    assert opened.count("svg .match") == 0


def test_question_mark_lists_the_keys(open_page: Open, reuse: Any) -> None:
    opened = open_page(html.render_run(reuse))
    assert not opened.page.locator("#keys").is_visible()
    opened.press("?")
    assert opened.page.locator("#keys").is_visible()
    assert "next and previous finding" in opened.page.locator("#keys").inner_text()


def test_arrows_step_through_the_records_when_the_picture_has_the_focus(open_page: Open, reuse: Any) -> None:
    opened = open_page(html.render_run(reuse), "#run0/record/12")
    opened.page.locator("#runs").focus()
    opened.press("ArrowDown")
    assert "record 13" in opened.page.locator("#card").inner_text()
    opened.press("ArrowUp", "ArrowUp")
    assert "record 11" in opened.page.locator("#card").inner_text()


def test_the_wheel_zooms_where_it_points_and_dragging_pans(open_page: Open, reuse: Any) -> None:
    opened = open_page(html.render_run(reuse))
    (box, *_) = boxes(opened, ".chart")
    x, y = box["x"] + 700, box["y"] + 60
    whole = opened.window()
    opened.page.mouse.move(x, y)
    opened.page.mouse.wheel(0, -300)
    opened.settle()
    assert opened.window() == whole, "without the focus the wheel scrolls the page"
    opened.page.evaluate("() => window.scrollTo(0, 0)")
    opened.page.locator("#runs").focus()
    opened.page.mouse.wheel(0, -300)
    opened.settle()
    zoomed = opened.window()
    assert zoomed != whole
    opened.page.mouse.down()
    opened.page.mouse.move(x - 200, y, steps=4)
    opened.page.mouse.up()
    opened.settle()
    assert opened.window() != zoomed


def test_the_card_shows_the_record_under_the_pointer(open_page: Open, keep: Keep, reuse: Any) -> None:
    opened = open_page(html.render_run(reuse))
    opened.page.locator("svg .held").last.hover()
    card = opened.page.locator("#card")
    keep(opened, "card")
    text = card.inner_text()
    assert "gateway gets the lock" in f"gateway {text}"
    assert "<state>/agents/main/sessions/9e051a52.jsonl.lock" in text


# --------------------------------------------------------------------------- looks


def luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, two: str) -> float:
    bright, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_text_is_readable_in_light_and_dark(open_page: Open, keep: Keep, reuse: Any, dark: bool) -> None:
    opened = open_page(html.render_run(reuse), dark=dark)
    keep(opened, "dark" if dark else "light")
    ground = opened.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (luminance(ground) < 0.2) is dark
    for selector, key in (
        ("body", "color"), (".badge.VIOLATED", "color"), (".badge.HELD", "color"), (".badge.UNKNOWN", "color"),
        ("a.finding", "color"), ("svg .soft", "fill"), ("svg .bad", "fill"), ("svg .name", "fill"),
    ):  # fmt: skip
        found = opened.page.locator(selector).first.evaluate(f"one => getComputedStyle(one).{key}")
        assert contrast(found, ground) >= 4.5, (selector, found, ground)


def test_colour_is_never_the_only_sign(open_page: Open, make_run: MakeRun) -> None:
    story = Story()
    story.add(0.0, "client", "client.call", "invoke", method="agent", run_id="r")
    story.add(1.0, "gateway", "lock", "ok", path=PATH + ".lock")
    story.add(2.0, "client", "lock", "invoke", path=PATH + ".lock")
    story.add(5.0, "harness", "nemesis", "info", action="kill", target="gateway")
    story.add(9.0, "client", "lock", "ok", path=PATH + ".lock", reclaimed="dead process")
    story.add(12.0, "client", "client.result", answered=True, exit_code=0)
    opened = open_page(html.render_run(make_run("takeover", history=story.history(), checks=())))
    fills = opened.page.locator("svg .held").evaluate_all("all => all.map(one => one.getAttribute('fill'))")
    assert [fill.startswith("url(#d") for fill in fills] == [False, True, False], "a dead owner has a pattern"
    wait = opened.page.locator("svg .wait").first.get_attribute("fill")
    assert str(wait).startswith("url(#w"), "so has a wait"
    words = " | ".join(opened.page.locator("svg text").all_text_contents())
    for sign in ("locked by gateway", "(dead)", "locked by client", "gateway killed", "ANSWER from the gateway"):
        assert sign in words
    assert opened.count("svg .faultline") == 1


def test_on_paper_the_tools_are_gone_and_the_picture_fits(open_page: Open, keep: Keep, reuse: Any) -> None:
    opened = open_page(html.render_run(reuse))
    opened.page.emulate_media(media="print", color_scheme="light")
    opened.page.set_viewport_size({"width": 720, "height": 1000})
    opened.settle()
    keep(opened, "print")
    for selector in ("#search", "#fold", "#help", ".replay button"):
        assert not opened.page.locator(selector).is_visible()
    assert opened.page.locator("#legend").is_visible()
    (svg, *_) = boxes(opened, ".chart svg")
    assert svg["x"] + svg["width"] <= 722
    pdf = opened.page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 20_000


def test_nothing_in_a_run_becomes_part_of_the_page(open_page: Open, make_run: MakeRun) -> None:
    attack = "</script><img src=x onerror=\"document.title='pwned'\"><b class=pwned>{{7*7}}"
    story = Story().add(0.0, "client", "client.call", "invoke", method="agent", run_id="r")
    story.add(1.0, attack, "lock", "ok", path=f"/x/{attack}.jsonl.lock", owner=attack)
    story.add(2.0, "client", "client.result", answered=False, exit_code=1, error=attack, reply=attack)
    run = make_run("reuse-session", history=story.history(), checks=(), scenario=attack, run_dir=attack)
    opened = open_page(html.render_run(run), "#run0/record/1")
    assert opened.said == []
    assert len(opened.asked) == 1
    assert opened.count("img, .pwned") == 0
    assert "pwned" in opened.page.title(), "shown as text"
    assert opened.page.title() != "pwned"
    assert attack in opened.page.locator("#card").inner_text()


def test_without_javascript_the_steps_are_still_there(browser: Any, tmp_path: Any, reuse: Any) -> None:
    file = tmp_path / "report.html"
    file.write_text(html.render_run(reuse), encoding="utf-8")
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(file.as_uri())
    try:
        assert "NO answer" in page.locator("table.steps").inner_text()
        assert "needs JavaScript" in page.locator("noscript").first.inner_text()
    finally:
        context.close()


def test_every_example_opens_without_a_complaint(open_page: Open, make_run: MakeRun) -> None:
    for policy in EXAMPLES:
        opened = open_page(html.render_run(make_run(policy)))
        assert opened.said == []
        assert (opened.count("svg .held") > 0) is (policy != "databases")  # whose owners hold a row, and no lock file


def test_two_owners_at_once_are_two_rows_in_one_red_frame_with_words(
    open_page: Open, keep: Keep, make_run: MakeRun
) -> None:
    story = Story().add(0.0, "client", "client.call", "invoke", method="agent")
    story.add(1.0, "worker", "lock", "ok", path=PATH + ".lock")
    story.add(9.0, "gateway", "lock", "ok", path=PATH + ".lock", reclaimed="too-old")
    story.add(12.0, "worker", "append", "ok", path=PATH, role="user")
    story.add(20.0, "worker", "lock.release", "ok", path=PATH + ".lock")
    story.add(30.0, "gateway", "lock.release", "ok", path=PATH + ".lock")
    opened = open_page(html.render_run(make_run("takeover", history=story.history(), checks=())))
    keep(opened, "two-owners")
    first, second = boxes(opened, "svg .held")
    (frame,) = boxes(opened, "svg .doubled")
    assert second["y"] >= first["y"] + first["height"], "one below the other"
    assert frame["y"] <= first["y"]
    assert frame["y"] + frame["height"] >= second["y"] + second["height"]
    assert abs(frame["x"] - second["x"]) < 3
    assert abs(frame["x"] + frame["width"] - first["x"] - first["width"]) < 3
    assert "✗ TWO OWNERS AT ONCE: worker and gateway" in opened.page.locator("svg text").all_text_contents()


def test_a_lock_file_that_nobody_made_is_in_the_band_and_failed_waits_lead_to_it(
    open_page: Open, keep: Keep, make_run: MakeRun
) -> None:
    story = Story().add(0.0, "client", "client.call", "invoke", method="agent")
    for start in (1.0, 13.0):
        story.add(start, "gateway", "lock", "invoke", path=PATH + ".lock")
        story.add(start + 10, "gateway", "lock", "fail", path=PATH + ".lock", owner="pid=4711")
    opened = open_page(html.render_run(make_run("takeover", history=story.history(), checks=())))
    keep(opened, "ownerless")
    (file,) = boxes(opened, "svg .ownerless")
    causes = boxes(opened, "svg .cause")
    assert len(causes) == 2
    assert all(file["x"] < cause["x"] <= file["x"] + file["width"] + 3 for cause in causes)
    assert "lock file names pid 4711" in opened.page.locator("svg text").all_text_contents()


def test_what_the_nemesis_does_is_written_above_the_bands_and_never_twice_in_one_place(
    open_page: Open, keep: Keep, make_run: MakeRun
) -> None:
    story = Story().add(0.0, "client", "client.call", "invoke", method="agent")
    story.add(5.0, "harness", "nemesis", "info", action="block", target="gateway")
    story.add(5.1, "harness", "nemesis", "info", action="kill", target="client")
    story.add(40.0, "harness", "nemesis", "info", action="resume", target="gateway")
    opened = open_page(html.render_run(make_run("takeover", history=story.history(), checks=())))
    keep(opened, "faults")
    words = [text for text in opened.page.locator("svg text").all_text_contents() if text[:1] in "⚡✚"]
    assert words == ["⚡ gateway stuck in a busy loop", "✚ gateway woken"], "there is no room for the one between"
    assert opened.count("svg .faultline") == 3
    right = boxes(opened, "svg text.good")[-1]
    assert right["x"] + right["width"] <= 1200, "nothing is cut off at the edge"


def test_a_lane_where_nothing_happens_takes_no_room(open_page: Open, make_run: MakeRun) -> None:
    def height(*, busy: bool) -> float:
        story = Story().add(0.0, "harness", "actor.ready", role="models", pid=1, actor="models")
        story.add(0.0, "client", "client.call", "invoke", method="agent")
        if busy:
            story.add(1.0, "models", "provider.request", "invoke", request_id="r", model="m")
        story.add(2.0, "client", "client.result", answered=True, exit_code=0)
        opened = open_page(html.render_run(make_run("takeover", history=story.history(), checks=())))
        (box,) = boxes(opened, ".chart svg")
        return box["height"]

    assert height(busy=False) < height(busy=True) - 15


# --------------------------------------------------------------------------- small screens

WIDTHS = (1400, 800, 500, 400)
COLLISIONS = """() => {
  const found = [];
  for (const svg of document.querySelectorAll("svg")) {
    const host = svg.getBoundingClientRect();
    const words = (node) => node.firstChild ? node.firstChild.textContent : "";
    const texts = [...svg.querySelectorAll("text")].map((node) => [words(node), node.getBoundingClientRect()])
      .filter(([text, box]) => text && box.width && box.right > host.left && box.left < host.right);
    texts.forEach(([one, a], n) => texts.slice(n + 1).forEach(([two, b]) => {
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (wide > 1 && high > 4) found.push(`${one} / ${two}`);
    }));
  }
  return found;
}"""
BROKEN_WORDS = """() => {
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    if (node.parentElement.closest("script, style, pre, svg, input, [hidden]")) continue;
    for (const word of node.textContent.matchAll(/[\\p{L}\\d_]+/gu)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 1) found.push(word[0]);
    }
  }
  return found;
}"""


def all_pages(four_runs: list[Any]) -> dict[str, str]:
    return {
        **{run.policy: html.render_run(run) for run in four_runs},
        "compare": html.render_compare(four_runs, skeleton),
        "matrix": html.render_matrix(four_runs),
    }


@pytest.mark.parametrize("width", WIDTHS)
def test_on_no_screen_do_labels_collide_words_break_or_the_page_move_sideways(
    open_page: Open, keep: Keep, four_runs: list[Any], width: int
) -> None:
    for name, text in all_pages(four_runs).items():
        opened = open_page(text, size=(width, 900))
        keep(opened, f"{name}-{width}")
        assert opened.page.evaluate(COLLISIONS) == [], name
        assert opened.page.evaluate(BROKEN_WORDS) == [], name
        beyond = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert opened.page.evaluate(beyond) == 0, name


def test_a_phone_shows_that_the_picture_moves_and_begins_at_the_first_proof(open_page: Open, reuse: Any) -> None:
    wide = open_page(html.render_run(reuse))
    assert not wide.page.locator("#where").is_visible(), "the whole story is in view"
    phone = open_page(html.render_run(reuse), size=(400, 900))
    assert phone.page.locator("#hint").inner_text().startswith("Drag the picture sideways")
    (track,), (thumb,) = boxes(phone, "#where"), boxes(phone, "#where div")
    assert thumb["width"] < 0.7 * track["width"]
    assert phone.count("svg .witness") > 0
    phone.press("ArrowLeft")
    (moved,) = boxes(phone, "#where div")
    assert moved["x"] < thumb["x"]
    phone.press("0")
    assert not phone.page.locator("#where").is_visible()


def test_the_picture_stands_above_the_table_and_violated_findings_come_first(
    open_page: Open, four_runs: list[Any]
) -> None:
    opened = open_page(html.render_compare(four_runs, skeleton))
    (picture,), (table,) = boxes(opened, "#picture"), boxes(opened, "#laws table")
    assert picture["y"] < table["y"]
    for section in opened.page.locator("section.findings").all():
        order = [
            ("VIOLATED", "UNKNOWN", "HELD").index(str(item.get_attribute("class")))
            for item in section.locator("li").all()
        ]
        assert order == sorted(order)
        assert len(order) > 5
