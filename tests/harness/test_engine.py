"""The real engine against stand-ins: what it promises to any program, and that nothing outlives a run."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from lockjaw.errors import HarnessError
from lockjaw.harness.incident.scenario import Scenario
from lockjaw.harness.real.engine import Limits, Lived, RealWorld, run_real
from lockjaw.harness.store import RunDirectory, Store
from lockjaw.history import Record

pytestmark = pytest.mark.real

Small = Callable[..., Scenario]
Orphans = Callable[[], list[int]]
StandIns = Callable[..., type[RealWorld]]
QUICK = Limits(tick=0.004, ready=10.0, stop=2.0, run=5.0)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return Store(tmp_path).create("small", 1, "takeover")


async def live(
    scenario: Scenario,
    run: RunDirectory,
    world: type[RealWorld],
    *,
    limits: Limits = QUICK,
    policy: str = "takeover",
    progress: Callable[[Record], None] | None = None,
) -> Lived:
    made = world(scenario, policy=policy, seed=1, time_scale=scenario.time_scale, run=run, limits=limits)
    return await run_real(made, progress=progress)


def only(history: list[Record], op: str, **data: Any) -> list[Record]:
    return [r for r in history if r.op == op and data.items() <= r.data.items()]


# --------------------------------------------------------------------------- the ordinary run


async def test_run_goes_through_its_phases_in_order(
    small: Small, stand_ins: StandIns, run: RunDirectory, no_orphans: Orphans
) -> None:
    lived = await live(small(), run, stand_ins(gateway_does="finishes"))
    history = lived.history
    steps = [(r.op, r.data.get("actor")) for r in history if r.actor == "harness" and r.op != "next_turn"]
    assert steps[:4] == [
        ("actor.ready", "models"),
        ("actor.ready", "gateway"),
        ("actor.ready", "client"),
        ("run.start", None),
    ]
    assert {s for s in steps if s[0] == "actor.exit"} == {("actor.exit", n) for n in ("models", "gateway", "client")}
    assert steps[-1] == ("run.end", None)
    assert [r.i for r in history] == list(range(len(history)))
    assert [r.data["code"] for r in only(history, "actor.exit")] == [0, 0, 0]
    assert lived.never_due == ()


async def test_second_zero_is_the_clients_go(small: Small, stand_ins: StandIns, run: RunDirectory) -> None:
    lived = await live(small(), run, stand_ins())
    start = only(lived.history, "run.start")[0]
    call = only(lived.history, "client.call", method="agent")[0]
    late = next(r for r in lived.history if r.op == "client.call" and r.phase == "fail")
    assert start.t == pytest.approx(0.0, abs=0.5)
    assert 0.0 <= call.t < 10.0  # 200 real ms at this scale: the pipe wakes it
    assert 20.0 <= late.t - call.t < 30.0
    assert all(r.t < 0 for r in only(lived.history, "actor.ready"))
    assert lived.nominal_s == pytest.approx(only(lived.history, "client.result")[0].t, abs=0.01)


async def test_actors_get_the_rig_and_nothing_of_ours(
    small: Small, stand_ins: StandIns, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENCLAW_GATEWAY_URL", "ws://elsewhere:1")
    await live(small(pacing={"connect_s": 2.5}), run, stand_ins())
    environment = json.loads((run.logs / "client.stdout.log").read_text())["environment"]
    assert "OPENAI_API_KEY" not in environment
    assert "OPENCLAW_GATEWAY_URL" not in environment
    assert environment["OPENCLAW_GATEWAY_PORT"] == "40007"
    assert environment["OPENCLAW_STATE_DIR"] == str(run.state)
    assert environment["HOME"] == str(run.home)
    assert environment["LOCKJAW_ACTOR"] == "client"
    assert environment["LOCKJAW_CLOCK"].startswith("0.02,")
    assert json.loads(environment["LOCKJAW_PACING"])["connect_s"] == 2.5
    config = json.loads((run.state / "openclaw.json").read_text())
    assert config["models"]["providers"]["p"]["baseUrl"] == "http://127.0.0.1:40006/v1"
    assert config["agents"]["defaults"]["model"] == {"primary": "p/m", "fallbacks": []}


async def test_token_is_new_for_every_run_and_in_no_record(small: Small, stand_ins: StandIns, tmp_path: Path) -> None:
    tokens = []
    for _ in range(2):
        run = Store(tmp_path).create("small", 1, "takeover")
        lived = await live(small(), run, stand_ins())
        config = run.state / "openclaw.json"
        tokens.append(json.loads(config.read_text())["gateway"]["auth"]["token"])
        assert tokens[-1].encode() not in msgspec.json.encode(lived.history)
        assert config.stat().st_mode & 0o077 == 0
    assert tokens[0] != tokens[1]
    assert len(tokens[0]) >= 24


async def test_progress_sees_the_records_while_the_run_goes_on(
    small: Small, stand_ins: StandIns, run: RunDirectory
) -> None:
    seen: list[Record] = []
    lived = await live(small(), run, stand_ins(), progress=seen.append)
    assert [r.op for r in seen if r.actor == "client"] == [r.op for r in lived.history if r.actor == "client"]


# --------------------------------------------------------------------------- what is left


async def test_what_is_left_behind_is_recorded(small: Small, stand_ins: StandIns, run: RunDirectory) -> None:
    lived = await live(small(), run, stand_ins(gateway_does="leaves_dead_lock"))
    lock = only(lived.history, "leftover", kind="lock")[0]
    assert lock.data["alive"] is False
    assert lock.data["path"].endswith("/agents/main/sessions/s.jsonl.lock")
    assert {(r.data["key"], r.data["count"]) for r in only(lived.history, "ledger")} == {("paid", 2), ("sent", 1)}
    final = only(lived.history, "transcript.final")[0].data
    assert (final["session_id"], final["lines"], final["problems"]) == ("s", 3, [])
    assert (final["user_messages"], final["assistant_texts"]) == (["hello"], ["hi"])
    assert final["entry_ids"] == ["00000001", "00000002"]
    assert [r.phase for r in only(lived.history, "next_turn")] == ["ok"]  # a dead owner blocks nobody


async def test_lock_of_a_living_owner_blocks_the_next_turn(
    small: Small, stand_ins: StandIns, run: RunDirectory
) -> None:
    lived = await live(small(), run, stand_ins(gateway_does="leaves_lock"), policy="reuse-session")
    assert only(lived.history, "leftover", kind="lock")[0].data["alive"] is True
    blocked = only(lived.history, "next_turn")[0]
    assert blocked.phase == "fail"
    assert "session file locked" in blocked.data["error"]


async def test_children_of_actors_end_with_the_run_even_in_a_session_of_their_own(
    small: Small, stand_ins: StandIns, run: RunDirectory, no_orphans: Orphans
) -> None:
    lived = await live(small(settle_s=0), run, stand_ins(gateway_does="leaves_children"))
    assert no_orphans() == []
    assert "sleep" in {r.data["path"] for r in only(lived.history, "leftover", kind="process")}


async def test_actor_that_ignores_sigterm_is_killed_and_named(
    small: Small, stand_ins: StandIns, run: RunDirectory, no_orphans: Orphans
) -> None:
    lived = await live(small(settle_s=0), run, stand_ins(gateway_does="stubborn"), limits=replace(QUICK, stop=0.3))
    assert only(lived.history, "leftover", kind="process")[0].data["path"] == "gateway"
    assert only(lived.history, "actor.exit", role="gateway")[0].data["code"] == -signal.SIGKILL


async def test_client_that_told_its_result_and_stays_is_ended_and_named(
    small: Small, stand_ins: StandIns, run: RunDirectory, no_orphans: Orphans
) -> None:
    lived = await live(small(settle_s=0), run, stand_ins(client_does="stays"), limits=replace(QUICK, stop=0.3))
    assert only(lived.history, "leftover", kind="process")[0].data["path"] == "client"
    assert only(lived.history, "actor.exit", role="client")[0].data["code"] == -signal.SIGKILL


@pytest.mark.parametrize(("behaviour", "least", "most"), [("finishes", 0.0, 100.0), ("serves", 100.0, 150.0)])
async def test_gateway_may_go_on_until_its_run_is_over_or_the_scenarios_bound(
    small: Small, stand_ins: StandIns, run: RunDirectory, behaviour: str, least: float, most: float
) -> None:
    lived = await live(small(settle_s=100.0), run, stand_ins(gateway_does=behaviour))
    told = only(lived.history, "client.result")[0].t
    ended = only(lived.history, "actor.exit", role="gateway")[0].t
    assert least <= ended - told < most  # upper bounds: not the whole bound; SIGTERM and one real second


# --------------------------------------------------------------------------- failures of the harness


@pytest.mark.parametrize(
    ("does", "text"),
    [
        ({"models_do": "dies"}, "the models ended with code 3 before it was ready"),
        ({"gateway_does": "dies"}, "the gateway ended with code 3 before it was ready"),
        ({"gateway_does": "never_ready"}, "the gateway did not become ready within 1 real seconds"),
        ({"gateway_does": "mute"}, "the gateway did not become ready within 1 real seconds"),
        ({"gateway_does": "gibberish"}, "the gateway did not become ready within 1 real seconds"),
        ({"gateway_does": "no_port"}, "the gateway is ready and names no port"),
        ({"gateway_does": "dies_soon"}, "the gateway ended before the client started"),
        ({"client_does": "never_ends"}, "the client did not end within 2 real seconds"),
    ],
)
async def test_failure_of_an_actor_is_the_harnesss_and_names_the_run(
    small: Small, run: RunDirectory, no_orphans: Orphans, stand_ins: StandIns, does: dict[str, str], text: str
) -> None:
    limits = replace(QUICK, ready=1.0, run=1.0)
    with pytest.raises(HarnessError, match=text) as caught:
        await live(small(limit_s=50.0), run, stand_ins(**does), limits=limits)
    assert caught.value.run_dir == str(run.path)
    assert no_orphans() == []


async def test_failure_quotes_the_ends_of_the_logs(small: Small, stand_ins: StandIns, run: RunDirectory) -> None:
    with pytest.raises(HarnessError, match=r"(?s)gateway\.log.*no such thing"):
        await live(small(), run, stand_ins(gateway_does="dies"))


async def test_program_that_cannot_be_started_is_named(
    small: Small, stand_ins: StandIns, run: RunDirectory, no_orphans: Orphans, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = stand_ins()
    command = programs.command
    monkeypatch.setattr(
        programs, "command", lambda self, *how: ["/no/such/program"] if how[0] == "gateway" else command(self, *how)
    )
    with pytest.raises(HarnessError, match="the gateway cannot be started"):
        await live(small(), run, programs)


async def test_client_that_crashes_is_a_run_not_a_failure_of_the_harness(
    small: Small, stand_ins: StandIns, run: RunDirectory
) -> None:
    lived = await live(small(settle_s=0), run, stand_ins(client_does="crashes"))
    assert only(lived.history, "actor.exit", role="client")[0].data["code"] == 70
    assert only(lived.history, "client.result") == []
    assert lived.nominal_s > 0
    assert "something broke" in (run.logs / "client.log").read_text()


# --------------------------------------------------------------------------- the nemesis


async def test_kill_comes_at_its_time_and_stands_in_the_history(
    small: Small, stand_ins: StandIns, run: RunDirectory
) -> None:
    lived = await live(small(faults=[{"action": "kill", "target": "gateway", "at_s": 5.0}]), run, stand_ins())
    kill, end = only(lived.history, "nemesis")[0], only(lived.history, "actor.exit", role="gateway")[0]
    assert kill.data["action"] == "kill"
    assert kill.data["pid"] == end.data["pid"]
    assert 5.0 <= kill.t < 20.0  # never early; late by a tick
    assert kill.i < end.i
    assert end.data["code"] == -signal.SIGKILL


async def test_fault_follows_the_record_it_waits_for(small: Small, stand_ins: StandIns, run: RunDirectory) -> None:
    when = {"op": "client.call", "phase": "invoke", "actor": "client"}
    lived = await live(
        small(faults=[{"action": "terminate", "target": "gateway", "when": when, "after_s": 3.0}]), run, stand_ins()
    )
    call, act = only(lived.history, "client.call")[0], only(lived.history, "nemesis")[0]
    assert 3.0 <= act.t - call.t < 18.0
    assert only(lived.history, "actor.exit", role="gateway")[0].data["code"] == 0


async def test_fault_that_was_never_due_is_handed_back(small: Small, stand_ins: StandIns, run: RunDirectory) -> None:
    faults = [{"action": "kill", "target": "gateway", "when": {"op": "lock", "phase": "ok"}}]
    lived = await live(small(faults=faults), run, stand_ins())
    assert [str(fault) for fault in lived.never_due] == ["kill gateway"]
    assert only(lived.history, "nemesis") == []


async def test_paused_actor_is_resumed_before_it_is_ended(
    small: Small, stand_ins: StandIns, run: RunDirectory, no_orphans: Orphans
) -> None:
    lived = await live(
        small(settle_s=0, faults=[{"action": "pause", "target": "gateway", "at_s": 2.0}]), run, stand_ins()
    )
    assert [r.data["action"] for r in only(lived.history, "nemesis")] == ["pause", "resume"]
    assert only(lived.history, "actor.exit", role="gateway")[0].data["code"] == 0  # it obeyed SIGTERM


async def test_paused_client_goes_on_after_its_resume(small: Small, stand_ins: StandIns, run: RunDirectory) -> None:
    faults = [
        {"action": "pause", "target": "client", "at_s": 2.0},
        {"action": "resume", "target": "client", "at_s": 30.0},
    ]
    lived = await live(small(faults=faults), run, stand_ins())
    resumed = only(lived.history, "nemesis", action="resume")[0]
    assert only(lived.history, "client.result")[0].t > resumed.t >= 30.0


async def test_act_on_an_actor_that_has_ended_is_recorded_as_failed(
    small: Small, stand_ins: StandIns, run: RunDirectory
) -> None:
    faults = [
        {"action": "kill", "target": "gateway", "at_s": 2.0},
        {"action": "pause", "target": "gateway", "at_s": 12.0},
    ]
    lived = await live(small(faults=faults), run, stand_ins())
    assert [r.phase for r in only(lived.history, "nemesis")] == ["info", "fail"]


@pytest.mark.parametrize("before", [[], [{"action": "kill", "target": "gateway", "at_s": 1.0}]])
async def test_restarted_gateway_comes_back_on_its_port(
    small: Small, stand_ins: StandIns, run: RunDirectory, no_orphans: Orphans, before: list[dict[str, object]]
) -> None:
    faults = [*before, {"action": "restart", "target": "gateway", "at_s": 3.0}]
    lived = await live(small(faults=faults), run, stand_ins())
    ready = only(lived.history, "actor.ready", role="gateway")
    assert len({r.data["pid"] for r in ready}) == 2
    assert len(only(lived.history, "actor.exit", role="gateway")) == 2
    assert only(lived.history, "gateway.accepted")[-1].t > 3.0


async def test_stubborn_actor_is_restarted_by_force(small: Small, stand_ins: StandIns, run: RunDirectory) -> None:
    faults = [{"action": "restart", "target": "gateway", "at_s": 1.0}]
    lived = await live(small(faults=faults), run, stand_ins(gateway_does="stubborn"), limits=replace(QUICK, stop=0.0))
    assert len(only(lived.history, "actor.ready", role="gateway")) == 2


# --------------------------------------------------------------------------- interruption


async def test_cancelled_run_leaves_no_process(
    small: Small, stand_ins: StandIns, run: RunDirectory, no_orphans: Orphans
) -> None:
    up = asyncio.Event()

    def watch(record: Record) -> None:
        if record.op == "client.call":
            up.set()

    task = asyncio.create_task(live(small(), run, stand_ins(client_does="never_ends"), progress=watch))
    await asyncio.wait_for(up.wait(), 20)
    assert len(no_orphans()) == 3
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert no_orphans() == []


async def test_no_descriptor_stays_open(small: Small, stand_ins: StandIns, tmp_path: Path) -> None:
    async def one() -> None:
        await live(small(), Store(tmp_path).create("small", 1, "takeover"), stand_ins())

    await one()
    before = psutil.Process().num_fds()
    for _ in range(3):
        await one()
    with pytest.raises(HarnessError):  # the client waits for a go that never comes
        await live(
            small(), Store(tmp_path).create("small", 1, "takeover"), stand_ins(gateway_does="dies_soon"), limits=QUICK
        )
    assert psutil.Process().num_fds() == before


async def test_two_runs_at_once_do_not_meet(
    small: Small, stand_ins: StandIns, tmp_path: Path, no_orphans: Orphans
) -> None:
    runs = [Store(tmp_path).create("small", seed, "takeover") for seed in (1, 2)]
    one, two = await asyncio.gather(*(live(small(), run, stand_ins()) for run in runs))
    pids = [{r.data["pid"] for r in lived.history if r.op == "actor.ready"} for lived in (one, two)]
    assert len(pids[0]) == len(pids[1]) == 3
    assert not pids[0] & pids[1]
    assert only(one.history, "client.call")[0].data["run_id"] != only(two.history, "client.call")[0].data["run_id"]
