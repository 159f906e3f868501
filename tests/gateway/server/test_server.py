"""The gateway on a real loopback socket: start, stop, connections, events, hostile clients."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from itertools import pairwise

import pytest
from websockets.exceptions import ConnectionClosed

from lockjaw.errors import ConnectionLost, RequestRejected, UsageError
from lockjaw.gateway.auth import Peer
from lockjaw.gateway.client import GatewayClient
from lockjaw.gateway.identity import DeviceIdentity
from lockjaw.gateway.links import MAX_PREAUTH_SOCKETS
from lockjaw.gateway.listener import WebSocketLink
from lockjaw.gateway.params import AgentParams
from lockjaw.gateway.server import MAX_CALLS, ListenError
from lockjaw.gateway.server_events import Connection
from lockjaw.settings import AgentSettings, GatewaySettings

TOKEN = "a-token-that-must-not-show"


# --------------------------------------------------------------------------- start


async def test_port_that_is_taken_is_named_with_what_to_do(rig, tmp_path):
    async with rig() as r:
        with pytest.raises(ListenError) as caught:
            await type(r)(tmp_path / "second", "takeover").server.start(port=r.port)
        assert caught.value.port == r.port
        assert str(r.port) in str(caught.value)
        assert "stop the other gateway, or choose another port" in str(caught.value)
        assert (await (await r.client()).call("health"))["ok"]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.7.7", "example.invalid"])
async def test_only_this_machine_is_served_unless_told_otherwise(rig, tmp_path, host):
    async with rig() as r:
        with pytest.raises(ListenError, match="not an address of this machine alone"):
            await type(r)(tmp_path / "second", "takeover").server.start(host, 0)


async def test_all_addresses_are_served_when_told_so(rig, tmp_path):
    async with rig() as r:
        other = type(r)(tmp_path / "second", "takeover", allow_remote=True)
        other.port = await other.server.start("0.0.0.0", 0)
        await other.client()
        await other.close()


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("::1%nosuch", 0)])
async def test_address_that_cannot_be_listened_on_is_a_listen_error(rig, tmp_path, host, port):
    async with rig() as r:
        with pytest.raises(ListenError, match="choose another host or port"):
            await type(r)(tmp_path / "second", "takeover").server.start(host, port)


async def test_localhost_and_the_settings_port_are_understood(rig, tmp_path):
    async with rig() as r:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            free = probe.getsockname()[1]
        gateway = GatewaySettings(auth_mode="token", token=TOKEN, port=free)
        other = type(r)(tmp_path / "second", "takeover", gateway=gateway)
        other.port = await other.server.start("localhost")
        assert other.port == free
        await other.client()
        await other.close()


@pytest.mark.parametrize("mode", ["token", "password"])
async def test_gateway_without_its_credential_does_not_start(rig, tmp_path, mode):
    async with rig() as r:
        other = type(r)(tmp_path / "second", "takeover", gateway=GatewaySettings(auth_mode=mode))
        with pytest.raises(UsageError, match=rf"gateway\.auth\.{mode}: expected a {mode} .*OPENCLAW_GATEWAY_"):
            await other.server.start(port=0)


# --------------------------------------------------------------------------- hello, methods


async def test_hello_tells_everything_that_a_client_may_ask(rig):
    async with rig(tick_interval_s=45.0) as r:
        first = await r.client(client={"displayName": "laptop"})
        second = await r.open()
        hello = (await second.connect(r.identity, protocol=(3, 4), scopes=["operator.read"]))["payload"]
        assert hello["type"] == "hello-ok"
        assert hello["protocol"] == 4
        assert hello["server"]["version"] == "lockjaw"
        assert {"agent", "agent.wait", "chat.abort", "health"} <= set(hello["features"]["methods"])
        assert {"agent", "chat", "tick", "shutdown"} <= set(hello["features"]["events"])
        assert hello["policy"] == {"maxPayload": 26_214_400, "maxBufferedBytes": 52_428_800, "tickIntervalMs": 45_000}
        assert hello["auth"]["scopes"] == ["operator.admin", "operator.read", "operator.write", "operator.approvals",
                                           "operator.pairing"]  # fmt: skip
        snapshot = hello["snapshot"]
        assert snapshot["sessionDefaults"]["mainSessionKey"] == "agent:main:main"
        assert [entry["host"] for entry in snapshot["presence"]] == ["laptop"]
        assert snapshot["uptimeMs"] >= 0
        assert snapshot["health"]["ok"]
        assert not {"configPath", "stateDir", "authMode"} & set(snapshot), "that is for admins"
        third = await r.open()
        snapshot = (await third.connect(r.identity))["payload"]["snapshot"]
        assert snapshot["authMode"] == "token"
        assert snapshot["stateDir"] == str(r.settings.state_dir)
        assert TOKEN not in json.dumps(hello)
        await first.call("health")


async def test_unknown_method_and_bad_params_have_their_texts(rig):
    async with rig() as r:
        client = await r.client()
        unknown = await client.call("no.such", {})
        assert unknown["error"] == {"code": "INVALID_REQUEST", "message": "unknown method: no.such"}
        for method, params in {
            "agent.wait": {}, "chat.send": {"x": 1}, "chat.abort": {}, "chat.history": {"sessionKey": ""},
            "sessions.list": {"limit": 0}, "health": {"x": 1}, "status": {"x": 1}, "sessions.abort": [],
        }.items():  # fmt: skip
            refused = await client.call(method, params)
            assert refused["error"]["message"].startswith(f"invalid {method} params: "), refused


async def test_history_and_sessions_are_read_through_the_directory(rig):
    async with rig() as r:
        client = await r.client()
        r.sessions.ids = {"agent:main:main": "s1", "agent:main:work": "s2", "agent:ops:main": "s3"}
        r.sessions.messages["agent:main:main"] = [{"role": "user", "n": n} for n in range(5)]
        history = (await client.call("chat.history", {"sessionKey": "main", "limit": 2}))["payload"]
        assert history["sessionId"] == "s1"
        assert [message["n"] for message in history["messages"]] == [3, 4]
        empty = (await client.call("chat.history", {"sessionKey": "agent:main:none"}))["payload"]
        assert empty == {"sessionKey": "agent:main:none", "messages": []}
        for params, count in (
            ({}, 3), ({"limit": 2}, 2), ({"agentId": "Main"}, 2), ({"search": "WORK"}, 1), ({"activeMinutes": 5}, 0),
        ):  # fmt: skip
            listed = (await client.call("sessions.list", params))["payload"]
            assert (listed["count"], len(listed["sessions"])) == (count, count)


# --------------------------------------------------------------------------- events


async def test_run_is_told_to_everyone_in_numbered_events(rig, other_device):
    async with rig() as r:
        starter = await r.client()
        watcher = await r.client(other_device, scopes=[])
        await starter.call("agent", r.agent())
        step = await r.turn.next()
        step.emit("lifecycle", {"phase": "start", "startedAt": 1})
        step.emit("assistant", {"text": "he", "delta": "he"})
        step.emit("assistant", {"text": "hello", "delta": "llo"})  # within 150 ms: no delta of its own
        step.answer("hello")
        final = await watcher.event("chat", state="final")
        agent = [e["payload"] for e in watcher.events if e["event"] == "agent"]
        chat = [e["payload"] for e in watcher.events if e["event"] == "chat"]
        assert [(p["seq"], p["stream"]) for p in agent] == [
            (1, "lifecycle"), (2, "assistant"), (3, "assistant"), (4, "lifecycle"),
        ]  # fmt: skip
        assert agent[3]["data"]["phase"] == "end"
        assert {p["sessionKey"] for p in agent} == {"agent:main:main"}
        assert [p["message"]["content"][0]["text"] for p in chat] == ["he", "hello"]
        assert final["payload"]["message"]["content"][0]["text"] == "hello"
        numbers = [e["seq"] for e in watcher.events if "seq" in e] + [final["seq"]]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        step.emit("assistant", {"text": "too late"})
        assert (await watcher.call("health"))["ok"]
        assert not [e for e in watcher.events if "too late" in json.dumps(e)]


async def test_chat_deltas_come_at_most_every_150_ms(rig):
    async with rig() as r:
        client = await r.client()
        await client.call("agent", r.agent())
        step = await r.turn.next()
        r.clock.run_at(0.02)
        begin = r.clock.monotonic()
        for n in range(60):
            step.emit("assistant", {"text": "x" * (n + 1)})
            await r.clock.sleep(0.05)
        took = r.clock.monotonic() - begin
        step.answer()
        await client.event("chat", state="final")
        deltas = [e for e in client.events if e["event"] == "chat"]
        # 60 pieces in at least 3 s: some deltas, but no more than the time allows (and one to flush the rest).
        assert 2 <= len(deltas) <= took / 0.150 + 2


async def test_what_the_turn_left_open_is_closed_by_the_gateway(rig):
    async with rig() as r:
        client = await r.client()
        await client.call("agent", r.agent())
        step = await r.turn.next()
        step.emit("lifecycle", {"phase": "start", "startedAt": 1})
        step.fail(RuntimeError("broken"))
        event = (await client.event("chat", state="error"))["payload"]
        assert event["errorMessage"] == "Error: broken"
        last = [e["payload"]["data"] for e in client.events if e["event"] == "agent"][-1]
        assert (last["phase"], last["error"]) == ("error", "Error: broken")


async def test_aborted_lifecycle_ends_as_aborted(rig):
    async with rig() as r:
        client = await r.client()
        await client.call("agent", r.agent())
        step = await r.turn.next()
        step.emit("lifecycle", {"phase": "start", "startedAt": 1})
        await client.call("chat.abort", {"sessionKey": "main"})
        await client.event("chat", state="aborted")
        last = [e["payload"]["data"] for e in client.events if e["event"] == "agent"][-1]
        assert (last["phase"], last["aborted"], last["stopReason"]) == ("end", True, "rpc")


async def test_tool_events_go_to_those_who_wait_and_want_them(rig, other_device):
    async with rig() as r:
        starter = await r.client(caps=["tool-events"])
        plain = await r.client()
        stranger = await r.client(other_device, caps=["tool-events"])
        await starter.call("agent", r.agent())
        await plain.call("agent", r.agent())  # waits too, but did not ask for tool events
        step = await r.turn.next()
        step.emit("tool", {"phase": "result", "name": "exec", "result": "secret", "isError": False})
        step.answer()
        event = await starter.event("agent", stream="tool")
        assert event["payload"]["data"] == {"phase": "result", "name": "exec", "isError": False}
        assert "seq" not in event
        for other in (plain, stranger):
            await other.event("chat", state="final")
            assert not [e for e in other.events if e["payload"].get("stream") == "tool"]


async def test_ticks_come_while_nothing_happens(rig):
    async with rig(tick_interval_s=5.0) as r:
        client = await r.client()
        r.clock.run_at(0.01)
        ticks = [await client.event("tick") for _ in range(3)]
        stamps = [tick["payload"]["ts"] for tick in ticks]
        assert all(b - a >= 4_900 for a, b in pairwise(stamps))  # nominal milliseconds


async def test_health_is_refreshed_and_old_answers_are_swept(rig):
    async with rig(tick_interval_s=1e6) as r:
        client = await r.client()
        await client.call("agent", r.agent())
        (await r.turn.next()).answer()
        r.clock.run_at(0.001)
        versions = [(await client.event("health"))["stateVersion"]["health"] for _ in range(7)]
        assert versions == list(range(versions[0], versions[0] + 7))
        assert len(r.server._turns.dedupe) == 0


async def test_pairing_is_told_to_those_who_may_know(rig, other_device):
    async with rig() as r:
        admin = await r.client()
        reader = await r.client(scopes=["operator.read"])
        await r.client(other_device)
        event = await admin.event("device.pair.resolved", deviceId=other_device.device_id)
        assert event["payload"]["decision"] == "approved"
        assert (await reader.call("health"))["ok"]
        assert not [e for e in reader.events if e["event"] == "device.pair.resolved"]
        line = f"[gateway] device pairing auto-approved device={other_device.device_id} role=operator"
        assert line in r.lines


# --------------------------------------------------------------------------- stop


async def test_stop_lets_a_run_finish_and_its_client_hear_the_answer(rig):
    async with rig() as r:
        client = await r.client()
        request = await client.request("agent", r.agent())
        await client.response(request)
        step = await r.turn.next()
        stopping = asyncio.create_task(r.server.stop(drain_s=1000.0))
        assert (await client.event("shutdown"))["payload"] == {"reason": "service restart"}
        refused = await client.call("agent", r.agent("run-2"))
        assert refused["error"]["message"].startswith("GatewayDrainingError")
        refused = await client.call("chat.send", {"sessionKey": "main", "message": "x", "idempotencyKey": "c"})
        assert refused["error"]["retryable"] is True
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", r.port)
        step.answer("just in time")
        assert (await client.response(request))["payload"]["status"] == "ok"
        assert await client.closed() == (1012, "service restart")
        await stopping


async def test_stop_ends_runs_that_do_not_finish(rig):
    async with rig() as r:
        r.turn.ignores_abort = True
        client = await r.client()
        request = await client.request("agent", r.agent())
        await client.response(request)
        queued = await client.request("agent", r.agent("run-2"))
        await client.response(queued)
        step = await r.turn.next()
        begin = r.clock.monotonic()
        await r.server.stop(drain_s=0.2)
        # It had its time (a timer may fire one tick of the machine's clock early), and no more than it needs.
        assert 0.19 <= r.clock.monotonic() - begin < 20.0
        assert step.cancelled
        assert step.abort.is_set()
        for one in (request, queued):
            assert (await client.response(one))["payload"] == {
                "runId": "run-1" if one == request else "run-2",
                "status": "timeout", "summary": "aborted", "stopReason": "signal",
            }  # fmt: skip
        assert await client.closed() == (1012, "service restart")
        assert {data["status"] for data in r.ops("gateway.final")} == {"timeout"}


async def test_run_stopped_before_its_first_step_still_ends(rig):
    async with rig() as r:
        client = await r.client()
        await client.call("agent", r.agent("run-0"))
        await r.turn.next()
        start = r.server._turns.start

        def and_stop_at_once(*args, **kwargs):
            start(*args, **kwargs)
            r.server._turns.runs.get_active("run-1").signal_abort("signal")
            for task in r.server._turns._tasks:
                if task.get_name() == "run run-1":
                    task.cancel()

        r.server._turns.start = and_stop_at_once
        request = await client.request("agent", r.agent("run-1", sessionKey="agent:main:other"))
        await client.response(request)
        waited = (await client.call("agent.wait", {"runId": "run-1"}))["payload"]
        assert waited["status"] == "timeout"
        assert "endedAt" in waited


async def test_turn_that_refuses_to_stop_is_named_and_does_not_hang_the_stop(rig):
    async with rig() as r:
        release = asyncio.Event()

        async def stubborn(request, abort, emit):
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue
            return {}

        r.server._turns._run_turn = stubborn
        client = await r.client()
        await client.call("agent", r.agent())
        await client.call("health")
        r.clock.run_at(0.01)  # it is cancelled three times, five seconds apart
        await r.server.stop(drain_s=0.0)
        assert "[gateway] run run-1 does not stop; leaving it behind" in r.lines
        release.set()
        while r.server._turns._tasks:
            await asyncio.sleep(0)


async def test_stop_is_idempotent_and_closes_who_waits_in_the_handshake(rig):
    async with rig() as r:
        waiting = await r.open()
        reader, writer = await asyncio.open_connection("127.0.0.1", r.port)  # never sends its upgrade
        while not r.server._listener._opening:
            await asyncio.sleep(0)
        begin = r.clock.monotonic()
        await asyncio.gather(r.server.stop(drain_s=0.0), r.server.stop(drain_s=0.0))
        assert r.clock.monotonic() - begin < 9.0  # its upgrade alone could take ten
        assert await waiting.closed() == (1012, "service restart")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()


async def test_requests_still_being_looked_up_do_not_start_runs_after_the_drain(rig):
    async with rig() as r:
        r.sessions.gate = asyncio.Event()
        client = await r.client()
        agent = await client.request("agent", r.agent())
        while not r.sessions.asked:
            await asyncio.sleep(0)
        chat = await client.request("chat.send", {"sessionKey": "main", "message": "x", "idempotencyKey": "c"})
        await client.call("health")
        r.server._turns.draining = True
        r.sessions.gate.set()
        for request in (agent, chat):
            assert (await client.response(request))["error"]["message"].startswith("GatewayDrainingError")
        assert r.turn.steps == []


async def test_serve_until_stops_when_told_and_when_cancelled(rig):
    async with rig() as r:
        stop = asyncio.Event()
        serving = asyncio.create_task(r.server.serve_until(stop))
        client = await r.client()
        stop.set()
        assert await client.closed() == (1012, "service restart")
        await serving
    async with rig() as r:
        client = await r.client()
        await client.call("agent", r.agent())
        step = await r.turn.next()
        serving = asyncio.create_task(r.server.serve_until(asyncio.Event()))
        await asyncio.sleep(0)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert step.abort.is_set()
        assert await client.closed() == (1012, "service restart")


# --------------------------------------------------------------------------- refused on the wire


@pytest.mark.parametrize(
    ("bent", "code", "reason"),
    [
        ({"token": "wrong"}, 1008, "unauthorized: gateway token mismatch"),
        ({"token": None}, 1008, "unauthorized: gateway token missing"),
        ({"device": {"signature": "AAAA"}}, 1008, "device signature invalid"),
        ({"signed_at": 1}, 1008, "device signature expired"),
        ({"nonce": "other"}, 1008, "device nonce mismatch"),
        ({"protocol": (1, 2)}, 1002, "protocol mismatch"),
    ],
)
async def test_refused_connect_is_answered_then_closed(rig, bent, code, reason):
    async with rig() as r:
        wire = await r.open()
        answer = await wire.connect(r.identity, **bent)
        assert not answer["ok"]
        assert answer["error"]["message"].startswith(reason)
        close = await wire.closed()
        assert close[0] == code
        assert close[1].startswith(reason)


async def test_frame_before_connect_is_answered_then_closed(rig):
    async with rig() as r:
        wire = await r.open()
        answer = await wire.call("health")
        text = "invalid handshake: first request must be connect"
        assert answer["error"]["message"] == text
        assert await wire.closed() == (1008, text)


async def test_proxied_and_browser_connections_are_not_local(rig):
    async with rig() as r:
        for headers in ({"X-Forwarded-For": "203.0.113.9"}, {"Origin": "http://localhost:3000"}):
            wire = await r.open(**headers)
            assert (await wire.connect(r.identity))["error"]["message"] == "pairing required"
        wire = await r.open(Origin="https://evil.example")
        assert (await wire.connect(r.identity))["error"]["message"].startswith("origin not allowed")
        assert not r.settings.state_dir.joinpath("devices", "paired.json").exists()


# --------------------------------------------------------------------------- hostile clients


async def test_slow_handshake_is_closed_without_a_reason(rig):
    async with rig() as r:
        r.clock.run_at(0.01)
        begin = r.clock.monotonic()
        pipe = Pipe()
        await r.server.serve_link(pipe)
        assert pipe.closed == (1000, "")
        assert r.clock.monotonic() - begin >= 14.9  # protocol 4 is spoken: 15 s
        assert [line for line in r.lines if "handshake timeout" in line]


async def test_big_frames_are_refused_before_and_after_hello(rig):
    async with rig() as r:
        wire = await r.open()
        await wire.send("x" * 65_537)
        assert await wire.closed() == (1009, "preauth payload too large")
        client = await r.client()
        big = {"sessionKey": "main", "search": "x" * 1_000_000}
        assert not (await client.call("sessions.list", big))["ok"]
        sending = asyncio.create_task(client.send("x" * (26_214_400 + 1)))
        assert (await client.closed())[0] == 1009
        await asyncio.gather(sending, return_exceptions=True)
        assert (await (await r.client()).call("health"))["ok"]


async def test_garbage_harms_nobody(rig):
    async with rig() as r:
        client = await r.client()
        chance = random.Random(4)
        for junk in (
            "", "null", "{}", "[]", '{"type":"req"}', b"\xff\xfe\x00", "{" * 5000,
            '{"type":"req","id":"1","method":"agent","params":' + "[" * 200_000,
            '{"type":"req","id":"1","method":"agent","params":' + "[" * 900 + "]" * 900 + "}",
            *(bytes(chance.randrange(256) for _ in range(60)) for _ in range(20)),
        ):  # fmt: skip
            await client.send(junk)
        assert (await client.call("health"))["ok"]
        for raw in (b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 4096):
            _, writer = await asyncio.open_connection("127.0.0.1", r.port)
            writer.write(raw)
            await writer.drain()
            writer.close()
        assert (await client.call("health"))["ok"]
        assert r.turn.steps == []


async def test_silent_sockets_of_one_address_are_limited_and_shut_nobody_out(rig):
    async with rig() as r:
        known = await r.client()  # said hello: does not count
        silent = [await r.open() for _ in range(MAX_PREAUTH_SOCKETS)]
        newcomer = await r.open()  # another user of this machine: the oldest silent one goes
        with pytest.raises(ConnectionClosed):
            await silent[0].socket.recv()
        assert (await newcomer.connect(r.identity))["ok"]
        assert (await silent[1].connect(r.identity))["ok"], "and no other"
        assert (await known.call("health"))["ok"]


async def test_connection_with_too_many_open_requests_is_told_so(rig):
    async with rig() as r:
        client = await r.client()
        for _ in range(MAX_CALLS):
            await client.request("agent.wait", {"runId": "never", "timeoutMs": 10**9})
        refused = await client.call("health")
        assert refused["error"]["message"] == "too many unanswered requests"
        await client.socket.close()
        while r.server._calls:  # its waits end with it
            await asyncio.sleep(0)
        assert r.server._turns.runs._waiters == {}


async def test_slow_reader_is_closed_and_does_not_hold_up_the_run(rig, other_device):
    async with rig(max_buffered_bytes=1_000_000) as r:
        slow = await r.client(other_device)
        slow.socket.transport.pause_reading()
        client = await r.client()
        request = await client.request("agent", r.agent())
        await client.response(request)
        step = await r.turn.next()
        for n in range(400):
            step.emit("assistant", {"text": "x" * 50_000, "n": n})
            await asyncio.sleep(0)
            await client.event("agent")
        step.answer("done")
        assert (await client.response(request))["payload"]["status"] == "ok"
        slow.socket.transport.resume_reading()
        with pytest.raises(ConnectionClosed):
            await slow._read_all()
        assert len(r.server._audience) == 1


# --------------------------------------------------------------------------- without a socket


class Pipe:
    """A Link in memory whose ``send`` the test can hold."""

    def __init__(self) -> None:
        self.peer = Peer("127.0.0.1", True)
        self.sent: list[str] = []
        self.closed: tuple[int, str] | None = None
        self.buffered = 0
        self.open = asyncio.Event()
        self.open.set()
        self.said_hello = False
        self._inbox: asyncio.Queue[str] = asyncio.Queue()

    async def receive(self) -> str:
        text = await self._inbox.get()
        if text == "EOF":
            raise ConnectionLost(1006)
        return text

    async def send(self, text: str) -> None:
        await self.open.wait()
        if self.closed:
            raise ConnectionLost(1006)
        self.sent.append(text)

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def buffered_bytes(self) -> int:
        return self.buffered

    def authenticated(self) -> None:
        self.said_hello = True

    def put(self, text: str) -> None:
        self._inbox.put_nowait(text)


async def test_server_runs_over_any_link(rig, signed):
    async with rig() as r:
        pipe = Pipe()
        serving = asyncio.create_task(r.server.serve_link(pipe))
        while not pipe.sent:
            await asyncio.sleep(0)
        challenge = json.loads(pipe.sent[0])["payload"]
        params = signed(r.identity, challenge)
        pipe.put(json.dumps({"type": "req", "id": "1", "method": "connect", "params": params}))
        while len(pipe.sent) < 2:
            await asyncio.sleep(0)
        assert json.loads(pipe.sent[1])["ok"]
        assert pipe.said_hello
        pipe.put("EOF")
        await serving
        assert pipe.closed == (1000, "")
        assert len(r.server._audience) == 0


async def test_link_that_arrives_during_the_stop_is_closed(rig):
    async with rig() as r:
        await r.server.stop(drain_s=0.0)
        pipe = Pipe()
        await r.server.serve_link(pipe)
        assert pipe.closed == (1012, "service restart")


async def test_connection_drops_what_can_be_missed_and_closes_for_what_cannot():
    pipe = Pipe()
    connection = Connection("c", pipe, limit_bytes=100)
    pipe.buffered = 101
    connection.send("tick", droppable=True)
    assert connection.closing is None
    pipe.buffered = 0
    pipe.open.clear()
    writing = asyncio.create_task(connection.write())
    connection.send("x" * 60)
    connection.send("y" * 60)
    connection.send("tick", droppable=True)
    assert connection.buffered_bytes() == 120
    await asyncio.sleep(0)
    pipe.buffered = 101
    connection.send("must be heard")
    await writing  # although the link still takes nothing
    assert (connection.closing.code, connection.closing.reason) == (1008, "slow consumer")
    connection.close(1012, "later")
    connection.send("z")
    assert connection.closing.reason == "slow consumer"
    assert pipe.sent == []


async def test_connection_sends_what_is_queued_before_it_closes():
    pipe = Pipe()
    connection = Connection("c", pipe)
    for n in range(3):
        connection.send(str(n))
    connection.close(1000, "")
    await connection.write()
    assert pipe.sent == ["0", "1", "2"]


async def test_writing_ends_when_the_link_is_lost():
    pipe = Pipe()
    pipe.closed = (1006, "")
    connection = Connection("c", pipe)
    connection.send("x")
    await connection.write()
    assert pipe.sent == []


class ForgetfulSocket:
    """A socket whose transport was closed twice: websockets then meets None instead of a loop."""

    async def send(self, text: str) -> None:
        raise AttributeError("'NoneType' object has no attribute 'call_soon'")

    async def close(self, code: int, reason: str) -> None:
        raise AttributeError("'NoneType' object has no attribute 'call_soon'")


async def test_transport_that_forgot_its_loop_counts_as_lost():
    link = WebSocketLink(ForgetfulSocket(), Peer("127.0.0.1", True))
    with pytest.raises(ConnectionLost):
        await link.send("x")
    await link.close(1000, "")
    assert link.peer.local


# --------------------------------------------------------------------------- with the real client


@pytest.mark.parametrize("protocol", [3, 4])
async def test_our_own_client_runs_a_turn_and_keeps_its_device_token(rig, protocol, tmp_path):
    async with rig() as r:
        url = f"ws://127.0.0.1:{r.port}"
        settings = r.settings.__class__(
            tmp_path / "client", tmp_path / "client.json", GatewaySettings(url=url, token=TOKEN), AgentSettings()
        )
        identity = DeviceIdentity.generate(random.Random(9))
        client = GatewayClient(settings, clock=r.clock, identity=identity, protocol_version=protocol)
        hello = await client.connect()
        assert hello.protocol == protocol
        seen: list[dict] = []
        params = AgentParams(message="hi", idempotencyKey="k", agentId="main")
        asking = asyncio.create_task(client.request("agent", params, expect_final=True, on_accepted=seen.append))
        (await r.turn.next()).answer("there")
        assert (await asking)["result"]["payloads"][0]["text"] == "there"
        assert seen[0]["status"] == "accepted"
        with pytest.raises(RequestRejected, match="unknown agent id"):
            await client.request("agent", AgentParams(message="hi", idempotencyKey="k2", agentId="ghost"))
        await client.close()
        bare = settings.__class__(settings.state_dir, settings.config_path, GatewaySettings(url=url), AgentSettings())
        again = GatewayClient(bare, clock=r.clock, identity=identity, protocol_version=protocol)
        await again.connect()  # no token of its own: the stored device token opens
        assert (await again.request("health"))["ok"]
        await again.close()
