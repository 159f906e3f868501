"""The replayed incident prints what the real program printed (logs of real runs in ``data/``)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lockjaw.harness.judge.normalise import normalised
from lockjaw.harness.run import Run, run_policies
from lockjaw.history import Record

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    out = tmp_path_factory.mktemp("runs")
    found = run_policies("gateway_timeout", ["reuse-session", "fresh-session"], seed=7, out=out)
    return {run.policy: run for run in found}


def of(run: Run, op: str, phase: str, actor: str | None = None) -> list[Record]:
    return [r for r in run.history if r.op == op and r.phase == phase and actor in (None, r.actor)]


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "version"), [("reuse-session", "2026.4.8"), ("fresh-session", "2026.5.7")], ids=lambda value: value
)
def test_client_prints_what_the_real_program_printed(runs: dict[str, Run], policy: str, version: str) -> None:
    evidence = (DATA / f"openclaw-{version}-cli.stderr.log").read_text()
    replayed = (runs[policy].run_dir / "logs" / "client.log").read_text()
    assert normalised(replayed) == normalised(evidence)


@pytest.mark.real
@pytest.mark.slow
def test_each_candidate_waits_as_long_as_in_the_real_program(runs: dict[str, Run]) -> None:
    waits = [
        record.data["waited_s"]
        for record in of(runs["reuse-session"], "lock", "fail", "client")
        if str(record.data["path"]).endswith(".jsonl.lock")
    ]
    assert len(waits) == 3
    # Twenty tries sleep 10.5 s in all, so less would be another algorithm; the real program took 10.86 to 10.98 s
    # with its set-up, and more than 11.5 s would shift the cascade.
    assert all(10.4 <= wait <= 11.5 for wait in waits), waits


@pytest.mark.real
@pytest.mark.slow
def test_gateway_gives_up_at_the_nominal_deadline(runs: dict[str, Run]) -> None:
    (asked,) = of(runs["reuse-session"], "client.call", "invoke")
    (failed,) = of(runs["reuse-session"], "client.call", "fail")
    assert failed.data["timeout_ms"] == 90_000
    assert failed.data["error"] == "gateway timeout after 90000ms"
    # Not before the deadline, and no later than a loaded machine wakes a process (50 ms of real time).
    assert 89.99 <= failed.t - asked.t < 91.5


@pytest.mark.real
@pytest.mark.slow
def test_outcome_of_reuse_session_is_that_of_the_report(runs: dict[str, Run]) -> None:
    outcome = runs["reuse-session"].outcome
    assert not outcome.answered
    assert outcome.exit_code == 1
    assert outcome.session_locked_errors == 3
    assert outcome.turn_executions == 1
    assert outcome.error is not None
    assert outcome.error.startswith(
        "FallbackSummaryError: All models failed (3): qiniu/deepseek-v3: session file locked"
    )


@pytest.mark.real
@pytest.mark.slow
def test_fresh_session_asks_models_twice_at_the_same_time_as_the_real_program_did(runs: dict[str, Run]) -> None:
    lines = (DATA / "openclaw-2026.5.7-model-requests.jsonl").read_text().splitlines()
    real = [(event["t"], event["ev"], event["model"]) for event in map(json.loads, lines)]
    journal = (runs["fresh-session"].run_dir / "logs" / "model-requests.jsonl").read_text().splitlines()
    ours = [(event["t"], event["ev"], event["model"]) for event in map(json.loads, journal)]
    assert sorted(model for _, kind, model in ours if kind == "req") == sorted(
        m for _, kind, m in real if kind == "req"
    )
    for events in (real, ours):
        assert _most_at_once(events) == 2


def _most_at_once(events: list[tuple[float, str, str]]) -> int:
    open_now = most = 0
    for _, kind, _ in sorted(events):
        open_now += 1 if kind == "req" else -1
        most = max(most, open_now)
    return most
