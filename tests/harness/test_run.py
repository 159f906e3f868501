"""Judging a history, and the public functions around a run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lockjaw.errors import DocumentError, HarnessError, LocalError, UsageError
from lockjaw.harness import Run, run_async, run_policies, run_scenario
from lockjaw.harness.incident.scenario import Scenario
from lockjaw.harness.real import engine
from lockjaw.harness.real.engine import LIMITS, RealWorld
from lockjaw.harness.real.rig import command_of
from lockjaw.harness.run import judge
from lockjaw.history import Record, read_records
from lockjaw.verdict import Verdict

Small = Callable[..., Scenario]
StandIns = Callable[..., type[RealWorld]]


def told(answered: bool) -> list[Record]:
    return [
        Record(0.0, "client", "client.call", "invoke", {"method": "agent", "run_id": "r"}, 0),
        Record(5.0, "client", "client.call", "fail", {"method": "agent", "run_id": "r", "kind": "timeout"}, 1),
        Record(9.0, "client", "client.result", "info", {"answered": answered, "reply": "hi", "exit_code": 0}, 2),
    ]


def judged(scenario: Scenario, history: list[Record], never_due: tuple[str, ...] = ()) -> Run:
    return judge(
        scenario, history, never_due=never_due, policy="takeover", engine="real", seed=1, nominal_s=9.04, wall_s=0.36,
        run_dir=Path.cwd() / "runs" / "x",
    )  # fmt: skip


MET = [{"says": "it timed out", "seen": {"op": "client.call", "phase": "fail"}}]
UNMET = [{"says": "it was fenced", "seen": {"op": "lock.fence"}}]


@pytest.mark.parametrize(
    ("sometimes", "answered", "never_due", "verdict"),
    [
        (MET, True, (), Verdict.HELD),
        (UNMET, True, (), Verdict.UNKNOWN),
        (MET, True, ("kill gateway",), Verdict.UNKNOWN),
        (UNMET, False, (), Verdict.VIOLATED),
        (MET, False, (), Verdict.VIOLATED),
    ],
)
def test_run_that_never_reached_the_danger_is_unknown_unless_a_law_was_broken(
    small: Small, sometimes: list[Any], answered: bool, never_due: tuple[str, ...], verdict: Verdict
) -> None:
    run = judged(small(sometimes=sometimes), told(answered), never_due)
    assert run.verdict is verdict
    assert [r.met for r in run.reached] == [sometimes is MET] + [False] * len(never_due)


def test_document_has_the_shape_that_scripts_read(small: Small) -> None:
    run = judged(small(sometimes=MET), told(True))
    document = json.loads(json.dumps(run.document()))
    assert {k: document[k] for k in ("scenario", "policy", "engine", "target", "seed", "verdict")} == {
        "scenario": "small", "policy": "takeover", "engine": "real", "target": "builtin", "seed": 1, "verdict": "HELD",
    }  # fmt: skip
    assert (document["nominal_s"], document["wall_s"]) == (9.0, 0.4)
    assert document["outcome"]["answered"] is True
    assert document["checks"][0]["name"] == "answered"
    assert document["sometimes"] == [{"says": "it timed out", "met": True, "witness": 1}]
    assert document["run_dir"] == "runs/x"
    assert document["replay"] == "lockjaw replay runs/x"
    assert run.check("answered").verdict is Verdict.HELD
    assert replace(run, run_dir=Path("/elsewhere/x")).document()["run_dir"] == "/elsewhere/x"


@pytest.mark.real
async def test_run_is_judged_kept_and_described_in_its_folder(
    small: Small, stand_ins: StandIns, tmp_path: Path
) -> None:
    seen: list[tuple[str, str]] = []
    run = await run_async(
        small(), out=tmp_path, world=stand_ins(), progress=lambda policy, record: seen.append((policy, record.op))
    )
    assert run.verdict is Verdict.HELD
    assert run.outcome.reply == "hi"
    assert ("takeover", "client.call") in seen
    assert read_records(run.run_dir / "history.jsonl") == list(run.history)
    assert json.loads((run.run_dir / "verdict.json").read_text()) == run.document()
    manifest = json.loads((run.run_dir / "manifest.json").read_text())
    assert (manifest["state"], manifest["verdict"], manifest["time_scale"]) == ("finished", "HELD", 0.02)
    assert json.loads((run.run_dir / "scenario.json").read_text())["message"] == "hello"
    assert not (run.run_dir / "events").exists()
    assert (tmp_path / "latest").resolve() == run.run_dir


@pytest.mark.real
async def test_failed_run_keeps_its_folder_and_its_reason(small: Small, stand_ins: StandIns, tmp_path: Path) -> None:
    with pytest.raises(HarnessError) as caught:
        await run_async(small(), out=tmp_path, world=stand_ins(client_does="never_ends"), time_scale=0.001,
                        limits=replace(LIMITS, run=0.5))  # fmt: skip
    manifest = json.loads(Path(caught.value.run_dir, "manifest.json").read_text())
    assert manifest["state"] == "failed"
    assert "HarnessError: the client did not end" in manifest["error"]
    assert list(Path(caught.value.run_dir, "events").glob("*.jsonl"))


@pytest.mark.real
def test_policies_run_at_the_same_time_in_folders_of_their_own(
    small: Small, stand_ins: StandIns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "RealWorld", stand_ins())
    runs = run_policies(small(), ["reuse-session", "takeover"], out=tmp_path)
    assert [run.policy for run in runs] == ["reuse-session", "takeover"]
    assert len({run.run_dir for run in runs}) == 2
    begun = [json.loads((run.run_dir / "manifest.json").read_text())["started"] for run in runs]
    assert begun[0][:16] == begun[1][:16]
    assert runs[0].event_hash != runs[1].event_hash  # the policy is part of the skeleton
    assert run_scenario(small(), out=tmp_path).verdict is Verdict.HELD


@pytest.mark.real
def test_failure_of_one_policy_ends_the_others_and_is_what_is_raised(
    small: Small,
    stand_ins: StandIns,
    tmp_path: Path,
    no_orphans: Callable[[], list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = iter([{"gateway_does": "dies"}, {"client_does": "never_ends"}])
    monkeypatch.setattr(engine, "RealWorld", lambda *a, **how: stand_ins(**next(made))(*a, **how))
    with pytest.raises(HarnessError, match="the gateway ended with code 3"):
        run_policies(small(), ["reuse-session", "takeover"], out=tmp_path)
    assert no_orphans() == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"policy": "hope"}, "one of reuse-session"),
        ({"engine": "dream"}, "one of real"),
        ({"time_scale": 0.0}, "above 0 and at most 1"),
        ({"time_scale": 2.0}, "above 0 and at most 1"),
        ({"seed": -1}, "whole number >= 0"),
    ],
)
def test_wrong_argument_is_refused_before_anything_starts(
    small: Small, tmp_path: Path, arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises(UsageError, match=text):
        run_scenario(small(), out=tmp_path, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_unknown_scenario_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="gateway_timeout"):
        run_scenario("no_such", out=tmp_path)


async def test_blocking_call_inside_an_event_loop_is_refused(small: Small, tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="run_async"):
        run_scenario(small(), out=tmp_path)


def test_commands_of_the_builtin_programs_carry_the_handshake(small: Small, tmp_path: Path) -> None:
    from lockjaw.harness.real.actors import Descriptors
    from lockjaw.harness.real.rig import Launch

    launch = Launch(small(message="--hello {there}"), "takeover", 7, tmp_path / "m.yaml", tmp_path, port=4711)
    fds = Descriptors(ready=5, go=6)
    client = command_of("client", launch, fds)
    assert client[client.index("--message") + 1] == "--hello {there}"
    assert client[-4:] == ["--ready-fd", "5", "--go-fd", "6"]
    assert command_of("gateway", launch, fds)[-4:] == ["--drain", "0", "--ready-fd", "5"]
    assert command_of("gateway", launch, fds)[-8:-4] == ["--port", "4711", "--policy", "takeover"]
    assert "--seed" in command_of("models", launch, fds)


def test_runs_work_outside_the_main_thread(
    small: Small, stand_ins: StandIns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "RealWorld", stand_ins())
    runs: list[Run] = []

    async def main() -> None:
        runs.append(await asyncio.to_thread(run_scenario, small(), out=tmp_path))

    asyncio.run(main())
    assert runs[0].verdict is Verdict.HELD
