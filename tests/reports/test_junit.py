"""JUnit XML: well-formed, by the rules that the common schemas share, and red where a run is not green."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from lockjaw.harness.judge.checkers.examples import EXAMPLES, changed, op
from lockjaw.history.run import Outcome, Run
from lockjaw.reports import junit
from lockjaw.verdict import CheckResult, Verdict

COUNTS = ("tests", "failures", "errors", "skipped")
#: element -> (required attributes, other attributes, children): what the schema of Jenkins' xUnit plugin (junit-10,
#: which pytest holds its own output to) allows, as far as we use it, and what GitLab reads.
RULES = {
    "testsuites": ({"name", "tests", "failures", "errors", "time"}, set(), {"testsuite"}),
    "testsuite": ({"name", *COUNTS, "time"}, {"timestamp", "hostname", "id", "package"}, {"properties", "testcase"}),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, set(), set()),
    "testcase": ({"name", "classname", "time"}, set(), {"failure", "error", "skipped"}),
    "failure": ({"message", "type"}, set(), set()),
    "error": ({"message", "type"}, set(), set()),
    "skipped": ({"message"}, set(), set()),
}


def problems(element: ET.Element) -> list[str]:
    """Breaches of the schema rules below an element."""
    if element.tag not in RULES:
        return [f"unknown element {element.tag}"]
    required, optional, children = RULES[element.tag]
    found = [f"{element.tag} lacks {name}" for name in required - element.attrib.keys()]
    found += [f"{element.tag} may not have {name}" for name in element.attrib.keys() - required - optional]
    found += [f"{element.tag} may not hold {child.tag}" for child in element if child.tag not in children]
    if "time" in element.attrib and not re.fullmatch(r"[0-9]+\.[0-9]{3}", element.get("time", "")):
        found.append("a time is seconds with three digits, without separators")
    if element.tag == "testcase" and len(element) > 1:
        found.append("a testcase has one outcome")
    if element.tag == "testsuite":
        if [child.tag for child in element if child.tag == "properties"] != [element[0].tag]:
            found.append("properties stand once, and first")
        names = [(case.get("classname"), case.get("name")) for case in element.iter("testcase")]
        found += ["two testcases of one name"] if len(set(names)) < len(names) else []
    if element.tag in ("testsuite", "testsuites"):
        counted = [
            len(list(element.iter("testcase"))),
            *(len(list(element.iter(tag))) for tag in ("failure", "error", "skipped")),
        ]
        counts = COUNTS[: 4 if element.tag == "testsuite" else 3]
        if [element.get(name) for name in counts] != [str(n) for n in counted[: len(counts)]]:
            found.append(f"{element.tag} counts wrong: {[element.get(n) for n in COUNTS]} for {counted}")
    return found + [problem for child in element for problem in problems(child)]


def test_the_document_keeps_the_schemas_rules(four_runs: list[Any], make_run: Callable[..., Any]) -> None:
    source = junit.render([*four_runs, make_run("takeover", scenario="other")])
    root = ET.fromstring(source)

    assert source.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites')
    assert problems(root) == []
    assert [suite.get("name") for suite in root] == ["gateway_timeout", "other"]


def test_the_rules_catch_a_document_that_breaks_them() -> None:
    broken = ET.fromstring('<testsuite name="a" tests="2" failures="0" errors="0" skipped="0"><b/></testsuite>')

    assert len(problems(broken)) >= 4


def test_violated_is_a_failure_and_unknown_is_an_error(make_run: Callable[..., Any]) -> None:
    root = ET.fromstring(junit.render([make_run("reuse-session")]))
    cases = {case.get("name", "").partition(" ")[0]: case for case in root.iter("testcase")}

    failure = cases["never_session_locked"].find("failure")
    assert failure is not None
    assert failure.get("message", "").startswith("the fallback found the session locked")
    assert failure.text is not None
    assert "seed: 1\nrepeat: lockjaw replay .lockjaw/runs/" in failure.text
    assert "lock: gateway" in failure.text
    error = cases["same_conversation"].find("error")
    assert error is not None
    assert error.get("type") == "UNKNOWN"
    assert len(cases["executed_once"]) == 0


def test_unknown_is_skipped_for_who_asks(make_run: Callable[..., Any]) -> None:
    root = ET.fromstring(junit.render([make_run("reuse-session")], unknown="skipped"))

    assert problems(root) == []
    assert root.get("errors") == "0"
    assert root[0].get("skipped") == "2"


def test_a_danger_that_was_not_reached_is_not_green(make_run: Callable[..., Any]) -> None:
    unmet = [{"says": "the lock was held", "met": False, "witness": None}]
    root = ET.fromstring(junit.render([make_run("quiet", checks=["answered"], sometimes=unmet, verdict="UNKNOWN")]))

    assert (root.get("tests"), root.get("errors")) == ("2", "1")


def test_a_run_without_checks_is_still_a_testcase(make_run: Callable[..., Any]) -> None:
    root = ET.fromstring(junit.render([make_run("takeover", history=[], checks=[])]))

    (case,) = root.iter("testcase")
    assert case.get("name") == "verdict [real seed 1]"
    assert case.find("error") is not None


def test_seed_engine_and_replay_line_are_properties(make_run: Callable[..., Any]) -> None:
    root = ET.fromstring(junit.render([make_run("takeover", seed=7)]))
    found = {p.get("name"): p.get("value") for p in root.iter("property")}

    assert found["takeover.real.seed-7.seed"] == "7"
    assert found["takeover.real.seed-7.replay"] == (
        "lockjaw replay .lockjaw/runs/gateway_timeout/20261122T192700-7-takeover"
    )


@settings(max_examples=30, deadline=None)
@given(st.text())
@example("\x00\x1b[31m\ud800\ufffe]]> <&\"'")
def test_whatever_a_run_prints_the_document_is_well_formed(text: str) -> None:
    history = changed(EXAMPLES["reuse-session"](), op("model.decision"), reason=text)
    outcome = Outcome(False, 1, 0, 0, 0, 0, False, None, text)
    check = CheckResult("answered", Verdict.VIOLATED, text, (25,))
    run = Run(text, "p", "real", 1, Verdict.VIOLATED, (check,), (), outcome, "", 1.0, 1.0, Path(text), history)

    source = junit.render([run])
    root = ET.fromstring(source.encode())

    assert problems(root) == []
    assert not junit._ILLEGAL.search(source)
