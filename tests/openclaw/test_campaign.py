from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lockjaw.cli import progress
from lockjaw.cli.openclaw import matrix as matrix_verb
from lockjaw.cli.openclaw.tables import table
from lockjaw.errors import HarnessError
from lockjaw.harness.incident.scenario import Scenario, load_scenario
from lockjaw.harness.run import Reached, Run
from lockjaw.harness.targets.bisection import Bisection
from lockjaw.harness.targets.openclaw import campaign, fidelity
from lockjaw.harness.targets.openclaw.campaign import Cell, Options, bisect, matrix
from lockjaw.harness.targets.openclaw.versions import Version
from lockjaw.history import Record
from lockjaw.verdict import CheckResult, Verdict

CHECK = "never_session_locked"
VERSIONS = [Version(f"2026.4.{day}") for day in range(1, 21)]


class Fake:
    """Versions from ``changed`` on HOLD; ``broken`` cannot be run, ``unknown`` have no verdict, ``shaky`` have
    none at first. Keeps what it was asked."""

    def __init__(
        self, changed: int, broken: tuple[int, ...] = (), unknown: tuple[int, ...] = (), shaky: tuple[int, ...] = ()
    ) -> None:
        self.changed, self.broken, self.unknown, self.shaky = changed, broken, unknown, shaky
        self.asked: list[str] = []

    def __call__(self, scenario: Scenario, version: Version, *rest: Any) -> Run:
        first = str(version) not in self.asked
        self.asked.append(str(version))
        day = version.key[2]
        if day in self.broken:
            raise HarnessError("it does not start")
        verdict = Verdict.HELD if day >= self.changed else Verdict.VIOLATED
        verdict = Verdict.UNKNOWN if day in self.unknown or (first and day in self.shaky) else verdict
        from lockjaw.harness.judge.outcome import outcome_of

        return Run(
            scenario.name, "p", "real", 1, verdict, (CheckResult(CHECK, verdict, "x"),), (), outcome_of(()), "sha256:0",
            1.0, 1.0, Path("."), (),
        )  # fmt: skip


def search(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Bisection[Cell]:
    monkeypatch.setattr(campaign, "run_version", fake)
    quiet = lambda *_: None  # noqa: E731
    return bisect(VERSIONS, load_scenario("gateway_timeout"), CHECK, Options(), quiet, quiet)


@pytest.mark.parametrize("changed", range(2, 21))
def test_search_finds_the_version_that_changed_the_verdict(changed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(changed)
    found = search(fake, monkeypatch)
    assert (found.first, found.before) == (f"2026.4.{changed}", f"2026.4.{changed - 1}")
    assert not found.skipped
    assert len(fake.asked) == len(set(fake.asked)) <= 2 + 5


def test_version_without_a_clear_verdict_is_skipped_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(10, broken=(9, 15), unknown=(8,))
    found = search(fake, monkeypatch)
    assert (found.first, found.before) == ("2026.4.10", "2026.4.7")
    assert found.in_doubt == ("2026.4.8", "2026.4.9")
    assert {one.version: one.why for one in found.skipped} == {"2026.4.8": "x", "2026.4.9": "it does not start"}
    assert "it may have changed in 2026.4.8, 2026.4.9, skipped" in found.sentence()


def test_run_without_a_clear_verdict_is_repeated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(10, broken=(9,), unknown=(8,), shaky=(1, 10, 20))
    found = search(fake, monkeypatch)
    assert (found.first, found.before) == ("2026.4.10", "2026.4.7")
    asked = {day: fake.asked.count(f"2026.4.{day}") for day in (1, 7, 8, 9, 10, 20)}
    assert asked == {1: 2, 7: 1, 8: 2, 9: 1, 10: 2, 20: 2}


@pytest.mark.parametrize(
    ("fake", "text"),
    [
        (Fake(1), "nothing to search"),
        (Fake(5, broken=(1,)), "does not start; choose another end"),
        (Fake(5, unknown=(20,)), "2026.4.20 gives no clear verdict of never_session_locked: x"),
    ],
)
def test_search_between_ends_that_do_not_differ_is_an_error(
    fake: Fake, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HarnessError, match=text):
        search(fake, monkeypatch)


@pytest.mark.parametrize("day", [1, 9])
def test_run_that_did_not_reach_the_danger_says_nothing_of_a_law(day: int) -> None:
    run = Fake(5)(load_scenario("gateway_timeout"), Version(f"2026.4.{day}"))
    cell = Cell(f"2026.4.{day}", "gateway_timeout", replace(run, reached=(Reached("danger", None),)))
    assert cell.verdict(CHECK) is Verdict.UNKNOWN
    assert Cell("2026.4.2", "x", run).verdict(CHECK) is run.verdict


def test_table_goes_on_after_a_version_that_cannot_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "run_version", Fake(3, broken=(2,)))
    told: list[Cell] = []
    scenario = load_scenario("gateway_timeout")
    cells = matrix(VERSIONS[:3], [scenario], Options(), lambda _: None, told.append)
    assert [str(cell.verdict()) for cell in cells] == ["VIOLATED", "None", "HELD"]
    assert told == cells
    rows = [row.split() for row in table(cells).splitlines()]
    assert rows[0] == ["gateway_timeout", "2026.4.1", "2026.4.2", "2026.4.3"]
    assert rows[1] == ["verdict", "VIOLATED", "not", "run", "HELD"]
    assert rows[2] == [CHECK, "VIOLATED", "HELD"]
    assert table(cells).endswith("2026.4.2 was not run: it does not start")
    one = [row.split() for row in table(cells, CHECK).splitlines()]
    assert one[1][:3] == ["2026.4.1", "VIOLATED", "VIOLATED"]
    assert one[2] == ["2026.4.2", "not", "run"]


def test_table_of_many_versions_stays_within_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "run_version", Fake(3))
    versions = [Version(f"2026.12.{day}-beta.1") for day in range(10, 16)]
    quiet = lambda *_: None  # noqa: E731
    scenarios = [load_scenario("gateway_timeout"), load_scenario("gateway_timeout_fast_backup")]
    cells = matrix(versions, scenarios, Options(), quiet, quiet)
    assert max(map(len, table(cells).splitlines())) <= 80
    for version in versions:
        assert table(cells).count(str(version)) == 2  # once for each scenario


# --------------------------------------------------------------------------- fidelity


def incident(
    shift_s: float = 0.0, *, wait_s: float = 10.9, line: str = "Error: pid=1", path: str = "/a/state/"
) -> list[Record]:
    lock = f"{path}agents/main/sessions/s.jsonl.lock"
    parts: list[tuple[float, str, str, Any, dict[str, Any]]] = [
        (0.0, "client", "client.call", "invoke", {"method": "agent", "run_id": "r"}),
        (1.0, "gateway", "gateway.accepted", "info", {"run_id": "r"}),
        (2.0, "gateway", "lock", "ok", {"path": lock}),
        (90.0 + shift_s, "client", "client.call", "fail", {"method": "agent", "kind": "timeout", "timeout_ms": 90000}),
        (90.0 + shift_s, "client", "client.stderr", "info", {"line": line}),
        (90.1 + shift_s, "client", "fallback", "info", {"step": "rerun"}),
        (101.0, "client", "lock", "fail", {"path": lock, "waited_s": wait_s}),
        (102.0, "client", "client.result", "info", {"answered": False}),
        (120.0, "gateway", "lock.release", "ok", {"path": lock}),
    ]
    return [Record(t, actor, op, phase, data, i) for i, (t, actor, op, phase, data) in enumerate(parts)]


def unexplained(model: list[Record]) -> list[str]:
    return [row.what for row in fidelity.compare("real", incident(), "model", model).unexplained]


def test_equal_incidents_differ_in_nothing() -> None:
    assert unexplained(incident(line="Error: pid=2", path="/other/place/state/")) == []


def test_another_duration_is_a_difference_from_ten_percent_on() -> None:
    assert unexplained(incident(8.0)) == []
    assert "client asks the gateway -> client gives up" in unexplained(incident(12.0))


def test_another_order_is_a_difference() -> None:
    other = incident()
    other[5], other[6] = (
        Record(other[6].t, other[5].actor, other[5].op, other[5].phase, other[5].data, 5),
        Record(other[5].t, other[6].actor, other[6].op, other[6].phase, other[6].data, 6),
    )
    assert "order of the client's events" in unexplained([*other[:5], other[6], other[5], *other[7:]])


def test_lock_in_other_hands_is_a_difference() -> None:
    assert "who holds the lock at each of the client's events" in unexplained(
        [
            r if r.op != "lock" or r.phase != "ok" else Record(91.0, "client", r.op, r.phase, r.data, r.i)
            for r in incident()
        ]
    )


@pytest.mark.parametrize("asks_s", [95.0, 101.5])
def test_a_gateway_that_got_further_may_have_let_go_only_from_then_on(asks_s: float) -> None:
    """It gives the lock back at 101 s, before the user's end; asking another model, a step that the other one did not
    come to, shows that it was ahead. Ahead by the time of the end, but not yet when the client's wait ran out."""
    asked = Record(asks_s, "gateway", "model.call", "invoke", {"call_id": "c", "model": "m"})
    release = Record(100.0, "gateway", "lock.release", "ok", {"path": "/a/state/agents/main/sessions/s.jsonl.lock"})
    further = sorted([*incident()[:-1], asked, release], key=lambda r: r.t)
    holder = "who holds the lock at each of the client's events"
    assert (holder in unexplained(further)) == (asks_s > 101.0)


def test_another_line_is_a_difference() -> None:
    assert "a line" in unexplained(incident(line="Error: another"))


def test_known_difference_names_its_cause() -> None:
    table = fidelity.compare("real", incident(wait_s=12.4), "model", incident())
    (row,) = [row for row in table.rows if not row.same]
    assert row.what == "client does not get the lock: how long"
    assert "set-up" in row.why
    assert row.why in table.markdown()


@pytest.mark.parametrize("as_json", [False, True])
def test_a_log_gets_a_sign_of_life_each_minute_and_json_none(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def slow(scenario: Scenario, version: Version, options: Options, say: Any, progress: Any) -> Run:
        for at in range(0, 150, 5):
            now[0] += 5.0
            progress("p", Record(float(at), "gateway", "lock" if at else "run.start", "ok", {"path": "s.jsonl.lock"}))
        return Fake(1)(scenario, version)

    monkeypatch.setattr(campaign, "run_version", slow)
    matrix_verb.matrix("2026.4.8,2026.5.7", as_json=as_json)
    said = [line for line in capsys.readouterr().err.splitlines() if "still running" in line]
    assert said == ([] if as_json else [f"  {at} s: still running" for at in (55, 115, 25, 85, 145)])
