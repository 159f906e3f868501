"""The real command line against our gateway and our mock; our client against the real gateway."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from lockjaw.harness.incident.scenario import Scenario, load_scenario
from lockjaw.harness.targets.namespace import Namespace
from lockjaw.harness.targets.openclaw.cache import Installed
from lockjaw.sessions.report import read_entries

from .stage import Stage

pytestmark = [pytest.mark.openclaw, pytest.mark.timeout(1200)]

Get = Callable[[str], Installed]
Make = Callable[..., Stage]
OLD, ABORTS, NEW = "2026.4.8", "2026.5.7", "2026.9.6"
ANSWER = "The model's answer."


def quick(timeout_s: float = 30.0) -> Scenario:
    """One model that answers at once. The client's deadline is 30 s after the run's limit."""
    base = load_scenario("gateway_timeout")
    models = {"deepseek-v3": [{"first_token_s": 0.2, "text": ANSWER}]}
    return msgspec.structs.replace(base, chain=("qiniu/deepseek-v3",), models=models, timeout_s=timeout_s, answers_s={})


@pytest.fixture
def stage(tmp_path: Path, namespace: Namespace, installed: Get) -> Make:
    def make(version: str, scenario: Scenario | None = None) -> Stage:
        return Stage(tmp_path / "stage", namespace.doors, scenario or quick(), installed(version))

    return make


# --------------------------------------------------------------------------- the real command line, our gateways


@pytest.mark.parametrize("version", [OLD, ABORTS, NEW])
def test_real_command_line_gets_its_answer_from_our_gateway(version: str, stage: Make) -> None:
    with stage(version) as scene:
        scene.our_gateway()
        first = scene.agent("hello", "--json")
        second = scene.agent("and now?")
        assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
        document = json.loads(first.stdout)
        assert document["status"] == "ok"
        assert document["result"]["payloads"][0]["text"] == ANSWER
        assert second.stdout.strip() == ANSWER
        (transcript,) = scene.transcripts()
        users = [m for m in read_entries(transcript).messages if m.get("role") == "user"]
        assert len(users) == 2  # one conversation
        assert scene.requests()[1]["nmsgs"] > scene.requests()[0]["nmsgs"]


@pytest.mark.parametrize("version", [OLD, NEW])
def test_late_final_is_still_an_answer(version: str, stage: Make) -> None:
    with stage(version) as scene:
        scene.mock_gateway(protocol=4 if version == NEW else 3, methods={"agent": [{"final": {"after_s": 6.0}}]})
        done = scene.agent("hello")
        assert (done.returncode, done.stdout.strip()) == (0, "Hello from the mock gateway."), done.stderr
        assert scene.requests() == []


def test_old_command_line_runs_the_turn_itself_when_the_gateway_restarts(stage: Make) -> None:
    with stage(OLD) as scene:
        scene.mock_gateway(methods={"agent": [{"close": {"code": 1012, "reason": "service restart", "after_s": 0.5}}]})
        done = scene.agent("hello")
        assert (
            "Gateway agent failed; falling back to embedded: Error: gateway closed (1012): service restart"
            in done.stderr
        )
        assert (done.returncode, done.stdout.strip()) == (0, ANSWER)
        assert len(scene.requests()) == 1


def test_new_command_line_gives_up_when_the_gateway_restarts(stage: Make) -> None:
    with stage(NEW) as scene:
        close = {"code": 1012, "reason": "service restart", "after_s": 0.5}
        scene.mock_gateway(protocol=4, methods={"agent": [{"close": close}]})
        done = scene.agent("hello")
        assert done.returncode == 1
        assert "may still be running this turn" in done.stderr
        assert scene.requests() == []


def test_old_command_line_falls_back_at_its_deadline_when_no_final_comes(stage: Make) -> None:
    with stage(OLD, quick(5)) as scene:
        scene.mock_gateway(methods={"agent": [{"silence": True}]})
        done = scene.agent("hello")
        assert "falling back to embedded: Error: gateway timeout after 35000ms" in done.stderr
        assert (done.returncode, done.stdout.strip()) == (0, ANSWER)


def test_old_command_line_hangs_up_on_a_gateway_without_ticks(stage: Make) -> None:
    with stage(OLD) as scene:
        # Ticks are promised every 2 s and do not come: it looks every 2 s and leaves after more than 4.
        scene.mock_gateway(tick_interval_ms=2000, ticks=False, methods={"agent": [{"silence": True}]})
        done = scene.agent("hello")
        assert "gateway closed (4000): tick timeout" in done.stderr
        assert (done.returncode, done.stdout.strip()) == (0, ANSWER)


# --------------------------------------------------------------------------- our client, the real gateway


@pytest.mark.parametrize("version", [OLD, ABORTS, NEW])
def test_our_client_gets_its_answer_from_the_real_gateway(version: str, stage: Make) -> None:
    with stage(version) as scene:
        scene.real_gateway()
        done = scene.our_agent("hello", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["result"]["payloads"][0]["text"] == ANSWER
        assert len(scene.requests()) == 1


def test_real_program_goes_on_from_what_a_takeover_left(stage: Make) -> None:
    slow = [{"first_token_s": 1.0, "inter_token_s": 1.0, "token": ".", "count": 60}]
    models = {"deepseek-v3": slow, "kimi-k2": slow, "glm-4.5": [{"first_token_s": 0.2, "text": ANSWER}]}
    scenario = msgspec.structs.replace(load_scenario("gateway_timeout_fast_backup"), models=models, timeout_s=40)
    with stage(ABORTS, scenario) as scene:
        scene.real_gateway()
        # At 70 s our client stops waiting; the gateway has given up one model and is at its second.
        done = scene.our_agent("long task", "--json")
        assert "taking over in the same session" in done.stderr, done.stderr
        assert done.returncode == 0
        (transcript,) = scene.transcripts()
        left = [m for m in read_entries(transcript).messages if m.get("role") == "assistant"]
        assert ANSWER in json.dumps(left[-1])
        asked = len(scene.requests())
        again = scene.agent("and now?")
        entries = read_entries(transcript).entries
        by_id = {entry.id: entry for entry in entries}
        after = scene.requests()[asked]
        assert after["nmsgs"] >= 4, again.stderr  # system, the long task, its answer, the new question
        answer = next(e for e in entries if ANSWER in json.dumps(e.raw.get("message", {})))
        walk, at = [], entries[-1].id
        while at is not None:
            walk.append(at)
            at = by_id[at].parent_id
        assert answer.id in walk
