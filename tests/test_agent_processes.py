"""``lockjaw agent`` through ``lockjaw gateway run`` with a fake model: it answers, and whatever is killed at whatever
moment, the next turn works and nothing is left behind."""

from __future__ import annotations

import json
import resource
import signal
import socket
from pathlib import Path

import psutil
import pytest

from lockjaw.sessions import read_entries

from .live import SECRET, TOKEN, Live, Process, fake_models, live

pytestmark = pytest.mark.real

NOTE = [
    {"tool_calls": [{"name": "write", "arguments": {"path": "note.txt", "content": "noted\n"}}]},
    {"text": "It is noted."},
]
PAY = [
    {"tool_calls": [{"name": "exec", "arguments": {"command": "echo paid >> ledger.txt"}}]},
    {"text": "It is paid."},
]
ENDLESS = [{"token": ".", "count": 10_000, "inter_token_s": 1.0}]


async def test_the_agent_answers_in_text_with_a_tool_that_writes_a_file(tmp_path: Path) -> None:
    async with live(tmp_path) as one:
        await one.models({"m": NOTE})
        gateway = await one.gateway()

        answer = await one.ask(gateway=gateway)

        assert answer == "It is noted.\n"
        assert (one.workspace / "note.txt").read_text() == "noted\n"
        assert [r.data["name"] for r in gateway.records("tool", "ok")] == ["write"]
        assert one.problems() == []


async def test_the_agent_answers_in_json_and_nothing_else_stands_on_stdout(tmp_path: Path) -> None:
    async with live(tmp_path) as one:
        await one.models({"m": NOTE})
        gateway = await one.gateway()
        agent = one.agent("--agent", "main", "--json", gateway=gateway)

        assert await agent.ended() == 0
        document = json.loads(agent.stdout())

        assert document["status"] == "ok"
        assert [p["text"] for p in document["result"]["payloads"]] == ["It is noted."]
        assert document["result"]["meta"]["agentMeta"]["model"] == "m"
        assert agent.stderr() == ""
        assert gateway.records("gateway.final")[0].data["status"] == "ok"


async def test_two_turns_are_one_conversation(tmp_path: Path) -> None:
    async with live(tmp_path) as one:
        await one.models({"m": [{"text": "first"}, {"text": "second"}]})
        gateway = await one.gateway()

        assert await one.ask(gateway=gateway, message="one?") == "first\n"
        assert await one.ask("--json", gateway=gateway, message="two?") != ""

        (path,) = one.sessions.glob("*.jsonl")
        said = [m["content"][0]["text"] for m in read_entries(path).messages]
        assert [text.rpartition("] ")[2] for text in said] == ["one?", "first", "two?", "second"]


async def test_without_a_gateway_the_turn_runs_in_the_client(tmp_path: Path) -> None:
    async with live(tmp_path) as one:
        await one.models({"m": NOTE})
        agent = one.agent("--agent", "main", "--json")

        assert await agent.ended() == 0
        document = json.loads(agent.stdout())

        assert document["meta"]["transport"] == "embedded"
        assert document["meta"]["fallbackFrom"] == "gateway"
        assert "no gateway is running" in agent.stderr()
        assert (one.workspace / "note.txt").read_text() == "noted\n"
        assert one.problems() == []


async def test_a_local_turn_asks_no_gateway(tmp_path: Path) -> None:
    async with live(tmp_path) as one:
        await one.models({"m": NOTE})
        gateway = await one.gateway()

        assert await one.ask("--local", gateway=gateway) == "It is noted.\n"
        assert gateway.records("gateway.accepted") == []


async def test_no_secret_reaches_a_log_or_a_record(tmp_path: Path) -> None:
    async with live(tmp_path) as one:
        await one.models({"m": NOTE})
        gateway = await one.gateway()
        await one.ask("--json", gateway=gateway)
        gateway.send(signal.SIGTERM)
        assert await gateway.ended() == 0

        private = [one.state / "openclaw.json", one.state / "identity" / "device.json"]
        leaks = [
            path
            for path in tmp_path.rglob("*")
            if path.is_file() and path not in private
            if any(secret.encode() in path.read_bytes() for secret in (TOKEN, SECRET))
        ]
        assert leaks == []


async def test_a_turn_of_a_new_named_session_is_taken_over_where_it_stands(tmp_path: Path) -> None:
    """The gateway gives a session that it does not know an id of its own; the takeover must go there."""
    async with live(tmp_path, scale=0.2) as one:
        models = await one.models({"m": [PAY[0], {**ENDLESS[0], "times": 1}, {"text": "It is paid."}]})
        gateway = await one.gateway()
        agent = one.agent("--session-id", "my-session", "--json", gateway=gateway)
        await models.until_record("provider.request", "invoke", count=2)

        gateway.send(signal.SIGKILL)

        assert await agent.ended() == 0, agent.stderr()
        (transcript,) = one.sessions.glob("*.jsonl")
        document = json.loads(agent.stdout())
        assert document["meta"]["agentMeta"]["sessionId"] == transcript.stem
        assert (one.workspace / "ledger.txt").read_text() == "paid\n"
        assert one.problems() == []


# --------------------------------------------------------------------------- interrupted on purpose


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_interrupted_agent_stops_the_gateways_run_and_says_so_in_its_status(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    async with live(tmp_path) as one:
        models = await one.models({"m": [{**ENDLESS[0], "times": 1}, {"text": "again"}]})
        gateway = await one.gateway()
        agent = one.agent("--agent", "main", gateway=gateway)
        await models.until_record("provider.request", "invoke")

        agent.send(number)

        assert await agent.ended() == status
        await gateway.until_record("gateway.final")
        assert [r.data["origin"] for r in gateway.records("gateway.abort")] == ["rpc"]
        assert gateway.records("turn", "fail")
        assert agent.stdout() == ""
        assert await one.ask(gateway=gateway) == "again\n"
        assert one.problems() == []


async def test_an_interrupted_embedded_turn_leaves_no_lock_and_no_command(tmp_path: Path) -> None:
    async with live(tmp_path) as one:
        hang = {"tool_calls": [{"name": "exec", "arguments": {"command": "echo begun > begun; sleep 600"}}], "times": 1}
        await one.models({"m": [hang, {"text": "again"}]})
        agent = one.agent("--agent", "main", "--local")
        await agent.until((one.workspace / "begun").exists, "command")

        agent.send(signal.SIGINT)

        assert await agent.ended() == 130
        assert one.orphans() == []
        assert list(one.sessions.glob("*.lock")) == []
        assert await one.ask("--local") == "again\n"
        assert one.problems() == []


async def test_a_gateway_that_is_told_to_end_stops_its_run_and_leaves_nothing(tmp_path: Path) -> None:
    async with live(tmp_path, scale=0.2) as one:
        models = await one.models({"m": [{**ENDLESS[0], "times": 1}, {"text": "taken over"}]})
        gateway = await one.gateway("--drain", "0")
        agent = one.agent("--agent", "main", "--json", gateway=gateway)
        await models.until_record("provider.request", "invoke")

        gateway.send(signal.SIGTERM)

        assert await gateway.ended() == 0
        assert await agent.ended() == 0, agent.stderr()
        assert json.loads(agent.stdout())["meta"]["fallbackReason"] == "gateway_lost"
        assert one.problems() == []


# --------------------------------------------------------------------------- killed at any moment


async def turn_with_a_kill(one: Live, session: str, moment: int, number: signal.Signals, victims: str) -> bool:
    """One turn in which ``victims`` get the signal after the n-th record of the first of them, and one more turn.

    Returns whether the moment was reached before the turn had ended.
    """
    paid = one.workspace / "ledger.txt"
    paid.unlink(missing_ok=True)
    gateway = await one.gateway("--drain", "2")
    agent = one.agent("--session-id", session, gateway=gateway)
    doomed: dict[str, list[Process]] = {"gateway": [gateway], "agent": [agent], "both": [gateway, agent]}
    reached = await doomed[victims][0].until_events(moment, while_alive=agent)

    for process in doomed[victims]:
        process.send(number)
    for process in doomed[victims]:
        await process.ended()
    status = await agent.ended()

    if victims == "gateway":
        assert status == 0, agent.stderr()
        assert agent.stdout() == "It is paid.\n"
    assert not paid.exists() or paid.read_text() == "paid\n", "at most once"
    if gateway.alive:  # it goes on with a run whose client was killed; the next turn waits for it in its lane
        answer = await one.ask(session=session, gateway=gateway, message="and now?")
        gateway.send(signal.SIGTERM)
        assert await gateway.ended() == 0
    else:
        answer = await one.ask("--local", session=session, message="and now?")
    assert answer == "It is paid.\n"
    assert not paid.exists() or paid.read_text() == "paid\n", "still at most once"
    problems = one.problems()
    if victims == "both":  # nobody went on with that turn: a call without a result is the truth about it
        problems = [problem for problem in problems if "unpaired tool call" not in problem]
    assert problems == [], f"{victims} {number.name} after record {moment}"
    assert one.orphans() == []
    return reached


LAST = 22  # the lock is released: the turn may be over by then


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victims", "number", "moments"),
    [
        ("gateway", signal.SIGKILL, (6, 10, 13)),  # lock, user message, model asked
        ("gateway", signal.SIGKILL, (14, 16, 17, 20)),  # call written, tool, result, asked again
        ("gateway", signal.SIGTERM, (8, 16)),
        ("agent", signal.SIGKILL, (2, 3)),
        ("both", signal.SIGKILL, (12, 15)),
        ("both", signal.SIGTERM, (13, 15)),
        # accepted, header, tool, released
        pytest.param("gateway", signal.SIGKILL, (1, 8, 12, 15, 18, 22), marks=pytest.mark.nightly),
        pytest.param("gateway", signal.SIGTERM, (3, 13, 22), marks=pytest.mark.nightly),
        pytest.param("agent", signal.SIGKILL, (1,), marks=pytest.mark.nightly),
        pytest.param("agent", signal.SIGTERM, (1, 2), marks=pytest.mark.nightly),
        pytest.param("both", signal.SIGKILL, (4, 8, 17), marks=pytest.mark.nightly),
        pytest.param("both", signal.SIGTERM, (7,), marks=pytest.mark.nightly),
    ],
    ids=lambda v: v if isinstance(v, str) else v.name if isinstance(v, signal.Signals) else f"from-{v[0]}",
)
async def test_whoever_is_killed_at_whatever_moment_the_next_turn_works(
    victims: str, number: signal.Signals, moments: tuple[int, ...], tmp_path: Path
) -> None:
    reached = {}
    async with live(tmp_path, scale=0.2) as one:
        for moment in moments:
            async with fake_models(one, {"m": PAY}):
                reached[moment] = await turn_with_a_kill(one, f"session-{moment}", moment, number, victims)
    assert all(reached[moment] for moment in moments if moment < LAST), (
        "the turn was over before the moment had come: a turn leaves fewer records than it did"
    )


async def test_openclaw_takes_the_processes_that_hold_locks_for_its_own(tmp_path: Path) -> None:
    """2026.7.1 takes a lock from a live owner none of whose arguments is, or ends in, ``/openclaw``."""
    async with live(tmp_path) as one:
        await one.models({"m": ENDLESS})
        gateway = await one.gateway()
        agent = one.agent("--agent", "main", gateway=gateway, message="do not tell")
        await gateway.until_record("lock", "ok")
        for process in (gateway, agent):
            seen = psutil.Process(process.pid)
            assert [argument for argument in seen.cmdline() if argument.strip().endswith("/openclaw")]
            assert "do not tell" not in " ".join(seen.cmdline())
            environment = seen.environ()
            assert environment["LOCKJAW_ACTOR"] == process.name  # the title has not taken its room
            assert "SPT_NOENV" not in environment


@pytest.mark.parametrize("upgraded", [False, True], ids=["plain sockets", "silent WebSockets"])
async def test_a_gateway_without_descriptors_says_so_once_and_goes_on_serving(tmp_path: Path, upgraded: bool) -> None:
    async with live(tmp_path) as one:
        await one.models({"m": [{"text": "still here"}] * 2})
        gateway = await one.gateway()
        _, most = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (72, most))
        strangers = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(120)]
        try:
            if upgraded:
                for stranger in strangers:
                    stranger.sendall(UPGRADE)

            assert await one.ask(gateway=gateway) == "still here\n"
        finally:
            for stranger in strangers:
                stranger.close()
        assert await one.ask(gateway=gateway) == "still here\n"
        assert len(gateway.stderr().splitlines()) < 30
        assert gateway.stderr().count("no more connections for now") <= 2
        assert "Traceback" not in gateway.stderr()


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
