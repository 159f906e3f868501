"""JUnit XML for CI: one testsuite per scenario, one testcase per run and check.

HELD passes. VIOLATED is a ``failure``. UNKNOWN is an ``error`` of type UNKNOWN: the test could not decide, and a run
that never reached the danger must not look green to a CI that reads nothing but this file. Who wants it otherwise
asks for ``unknown="skipped"``. A run without checks is one testcase named ``verdict``.

Seeds, engine, target and replay line are properties of the suite, one set per run, because the common schema
allows them nowhere else. Characters that XML 1.0 does not know are replaced.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from typing import Literal

from lockjaw.history.run import Run
from lockjaw.verdict import CheckResult, Verdict

from .view import RunView, ScenarioView, important, view

_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(runs: Iterable[Run], *, unknown: Literal["error", "skipped"] = "error") -> str:
    """The document, XML declaration included."""
    scenarios = view(runs)
    root = ET.Element("testsuites", name="lockjaw")
    totals = [0, 0, 0, 0]
    time_s = 0.0
    for scenario in scenarios:
        suite, counts, suite_s = _suite(scenario, unknown)
        root.append(suite)
        totals = [a + b for a, b in zip(totals, counts, strict=True)]
        time_s += suite_s
    _count(root, totals, time_s)
    del root.attrib["skipped"]  # Jenkins' schema has it for a suite, and not for all of them
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def legal(text: str) -> str:
    """The text with every character that XML 1.0 forbids replaced by U+FFFD."""
    return _ILLEGAL.sub("\ufffd", text)


def _count(element: ET.Element, counts: list[int], time_s: float) -> None:
    for name, count in zip(("tests", "failures", "errors", "skipped"), counts, strict=True):
        element.set(name, str(count))
    element.set("time", f"{time_s:.3f}")


def _suite(scenario: ScenarioView, unknown: str) -> tuple[ET.Element, list[int], float]:
    suite = ET.Element("testsuite", name=legal(scenario.name))
    properties = ET.SubElement(suite, "properties")
    counts = [0, 0, 0, 0]
    time_s = sum(run.wall_s for run in scenario.runs)
    for run in scenario.runs:
        label = f"{run.policy}.{run.engine}.seed-{run.seed}"
        facts = {"seed": str(run.seed), "engine": run.engine, "target": run.target, "policy": run.policy}
        facts |= {"verdict": str(run.verdict), "replay": run.replay, "run_dir": run.run_dir}
        for name, value in facts.items():
            ET.SubElement(properties, "property", name=legal(f"{label}.{name}"), value=legal(value))
        checks = run.checks or (CheckResult("verdict", run.verdict, run.headline),)
        for check in checks:
            case, kind = _case(scenario, run, check, run.wall_s / len(checks), unknown)
            suite.append(case)
            counts[0] += 1
            if kind:
                counts[("failure", "error", "skipped").index(kind) + 1] += 1
    _count(suite, counts, time_s)
    return suite, counts, time_s


def _case(
    scenario: ScenarioView, run: RunView, check: CheckResult, time_s: float, unknown: str
) -> tuple[ET.Element, str | None]:
    classname = f"lockjaw.{scenario.name}.{run.policy}"
    name = f"{check.name} [{run.engine} seed {run.seed}]"
    case = ET.Element("testcase", classname=legal(classname), name=legal(name), time=f"{time_s:.3f}")
    if check.verdict is Verdict.HELD:
        return case, None
    kind = "failure" if check.verdict is Verdict.VIOLATED else unknown
    problem = ET.SubElement(case, kind, message=legal(check.finding))
    if kind != "skipped":
        problem.set("type", str(check.verdict))
        problem.text = legal(_story(run, check))
    return case, kind


def _story(run: RunView, check: CheckResult) -> str:
    """What a person needs who sees nothing but the CI's page: finding, timeline, seed, the line that repeats it."""
    lines = [check.finding, "", f"{run.title}: {run.headline}", ""]
    for row in important(run.rows):
        hit = ">" if row.index in check.witness else " "
        lines.append(f"{hit} {row.at_s:8.1f} s  lock: {row.lock:12}  {row.actor}: {row.text}")
    for who, error in run.errors:
        lines += ["", f"{who} saw: {error}"]
    return "\n".join([*lines, "", f"seed: {run.seed}", f"repeat: {run.replay}"])
