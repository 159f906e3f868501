"""A link between real sockets: what each toxic does to them, and that healing, changing and closing lose nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.errors import LocalError
from lockjaw.fakes.links.link import Link, LinkLimits, address_of
from lockjaw.fakes.links.service import LinkService
from lockjaw.fakes.links.toxics import (
    Bandwidth,
    FailFirst,
    Latency,
    LimitData,
    Loss,
    ResetPeer,
    Slicer,
    SlowClose,
    Stall,
    Toxic,
)
from lockjaw.fakes.links.toxiproxy_api import Links
from lockjaw.fakes.serving import serve

PATIENCE_S = 20.0  # real seconds after which a test gives up; never what it measures
DATA = bytes(range(256)) * 40  # 10 KiB


class Side:
    """One end of a connection that the test holds itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        """To the end of the stream. Raises ConnectionResetError if it ends with a RST."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()

    async def cut(self) -> bool:
        """Whether the stream ends with a RST (True) or in order (False)."""
        try:
            await self.rest()
        except ConnectionResetError:
            return True
        return False

    def finish(self) -> None:
        self.writer.write_eof()

    def reset(self) -> None:
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()


class Rig:
    """A link whose upstream is the test; 1 nominal second is one real millisecond."""

    def __init__(self, server: asyncio.Server, arrivals: asyncio.Queue[Side], options: dict[str, Any]) -> None:
        self.clock = ScaledClock.start(options.pop("scale", 0.001))
        self.entries: list[dict[str, Any]] = []
        self.upstream = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self.link = Link(self.upstream, clock=self.clock, on_entry=self.entries.append, **options)
        self._arrivals, self.sides = arrivals, list[Side]()

    async def client(self) -> Side:
        side = Side(*await asyncio.open_connection("127.0.0.1", self.link.port))
        self.sides.append(side)
        return side

    async def upstream_side(self) -> Side:
        async with asyncio.timeout(PATIENCE_S):
            side = await self._arrivals.get()
        self.sides.append(side)
        return side

    async def pair(self) -> tuple[Side, Side]:
        return await self.client(), await self.upstream_side()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that no event tells."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.001)

    @property
    def settled(self) -> int:
        """How many connections have reached the upstream or have ended."""
        return self._arrivals.qsize() + len(self.events("close"))

    def events(self, ev: str) -> list[dict[str, Any]]:
        return [entry for entry in self.entries if entry["ev"] == ev]


@pytest.fixture
async def rig() -> AsyncIterator[Callable[..., Awaitable[Rig]]]:
    rigs: list[tuple[Rig, asyncio.Server]] = []

    async def start(*toxics: Toxic, **options: Any) -> Rig:
        arrivals: asyncio.Queue[Side] = asyncio.Queue()

        async def arrived(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            arrivals.put_nowait(Side(reader, writer))

        server = await asyncio.start_server(arrived, "127.0.0.1", 0)
        made = Rig(server, arrivals, {"toxics": toxics, **options})
        rigs.append((made, server))
        await made.link.start()
        return made

    yield start
    for made, server in rigs:
        await made.link.stop()
        server.close()
        while not made._arrivals.empty():
            made.sides.append(made._arrivals.get_nowait())
        for side in made.sides:
            side.writer.transport.abort()
        assert made.link.connections == 0
    await asyncio.sleep(0)  # the turn in which aborted transports close their sockets


# --------------------------------------------------------------------------- a link without toxics


async def test_bytes_and_half_closes_pass_both_ways(rig: Any) -> None:
    r = await rig()
    client, upstream = await r.pair()
    await client.send(DATA)
    client.finish()
    assert await upstream.rest() == DATA
    await upstream.send(DATA[::-1])  # the other direction goes on
    assert await client.read(len(DATA)) == DATA[::-1]
    upstream.finish()
    assert await client.rest() == b""
    await r.until(lambda: r.link.connections == 0)
    (closed,) = r.events("close")
    assert closed["why"] == "finished by both sides"
    assert (closed["upstream_bytes"], closed["downstream_bytes"]) == (len(DATA), len(DATA))


@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_a_reset_of_one_side_is_a_reset_for_the_other(rig: Any, who: str) -> None:
    r = await rig()
    client, upstream = await r.pair()
    sides = {"client": client, "upstream": upstream}
    one = sides.pop(who)
    (other,) = sides.values()
    await one.send(b"x")
    assert await other.read(1) == b"x"
    one.reset()
    assert await other.cut()


async def test_an_upstream_that_cannot_be_reached_resets_the_client(rig: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()[1]
    r = await rig()
    await r.link.move(f"127.0.0.1:{nobody}", "127.0.0.1", 0)
    assert await (await r.client()).cut()
    await r.until(lambda: len(r.events("close")) == 1)
    assert "cannot be reached" in r.events("close")[0]["why"]


async def test_a_side_that_does_not_read_stops_the_other_and_loses_nothing(rig: Any) -> None:
    r = await rig()
    client, upstream = await r.pair()
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while sent < 64_000_000:
            await client.send(b"z" * 65_536)
            sent += 65_536
        client.finish()

    task = asyncio.create_task(flood())
    before = -1
    while before != sent:  # until the flood has stood still for as long as 200 turns of the loop
        before = sent
        for _ in range(200):
            await asyncio.sleep(0)
    assert sent < 64_000_000, "kernel buffers and a piece of ours, not the flood"
    got = 0
    async with asyncio.timeout(PATIENCE_S):
        while piece := await upstream.reader.read(1_000_000):
            got += len(piece)
    await task
    assert got == sent


# --------------------------------------------------------------------------- effect

EFFECTS: dict[str, tuple[Toxic, float]] = {
    # toxic -> nominal seconds that 10 KiB and the end of the stream take at least
    "latency": (Latency(latency_s=30), 30),
    "jitter": (Latency(latency_s=30, jitter_s=10), 20),
    "bandwidth": (Bandwidth(rate_bytes_per_s=256), 40),
    "slicer": (Slicer(average_bytes=1024, delay_s=4), 36),
    "slow_close": (SlowClose(delay_s=40), 40),
    "loss": (Loss(rate=0.9, segment_bytes=2048, retransmit_s=10), 10),
    "triggered": (Latency(latency_s=30, trigger="\x00\x01\x02"), 30),
}


@pytest.mark.parametrize("direction", ["upstream", "downstream"])
@pytest.mark.parametrize(("toxic", "at_least_s"), EFFECTS.values(), ids=EFFECTS)
async def test_a_toxic_takes_its_time_and_no_byte(rig: Any, toxic: Toxic, at_least_s: float, direction: Any) -> None:
    r = await rig(_with(toxic, stream=direction), Latency(name="another", stream=direction))
    client, upstream = await r.pair()
    sender, receiver = (client, upstream) if direction == "upstream" else (upstream, client)
    began = r.clock.monotonic()
    await sender.send(DATA)
    sender.finish()
    assert await receiver.rest() == DATA
    # Lower bound: not a byte is early. (Upper: that it comes at all; a busy machine may delay any of them.)
    assert r.clock.monotonic() - began >= at_least_s
    await receiver.send(b"back")  # the other direction is not concerned, and still open
    assert await sender.read(4) == b"back"


@pytest.mark.parametrize("reset", [False, True])
async def test_limit_data_ends_the_connection_behind_its_last_byte(rig: Any, reset: bool) -> None:
    r = await rig(LimitData(limit_bytes=1000, reset=reset))
    client, upstream = await r.pair()
    await upstream.send(DATA)
    if reset:
        assert await client.cut()
        assert await upstream.cut()
    else:
        assert await client.rest() == DATA[:1000]
        assert await upstream.rest() == b""


@pytest.mark.parametrize("toxic", [LimitData(limit_bytes=5000), Stall(timeout_s=1000.0, stream="upstream")])
async def test_a_client_that_is_still_sending_hears_the_close_and_all_that_came_before(rig: Any, toxic: Toxic) -> None:
    """A close with unread bytes would be a RST, which takes away what was written before it: the link reads on."""
    r = await rig(toxic, limits=LinkLimits(linger_real_s=PATIENCE_S))
    client, upstream = await r.pair()
    sending = asyncio.create_task(client.send(b"x" * 16_000_000))  # more than all buffers on the way
    await upstream.send(DATA)
    received = await client.rest()  # raises ConnectionResetError if the end is a RST
    async with asyncio.timeout(PATIENCE_S):
        await sending  # and it could say all it had to say, as HTTP clients do before they read the answer
    assert received == (DATA[:5000] if isinstance(toxic, LimitData) else DATA)
    client.writer.close()


async def test_reset_peer_is_a_real_reset_on_both_sides_at_its_time(rig: Any) -> None:
    r = await rig(ResetPeer(after_s=50))
    began = r.clock.monotonic()
    client, upstream = await r.pair()
    await upstream.send(b"before")
    assert await client.read(6) == b"before"
    assert await client.cut()
    assert await upstream.cut()
    assert r.clock.monotonic() - began >= 50
    assert r.events("close")[0]["why"] == "reset by a toxic"


async def test_a_stall_with_a_limit_closes_both_sides(rig: Any) -> None:
    r = await rig(Stall(timeout_s=30))
    began = r.clock.monotonic()
    client, upstream = await r.pair()
    await upstream.send(DATA)
    assert await client.rest() == b""
    assert await upstream.rest() == b""
    assert r.clock.monotonic() - began >= 30


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_the_first_connections_fail_and_the_upstream_never_sees_them(rig: Any, how: Any) -> None:
    r = await rig(FailFirst(connections=2, how=how))
    for _ in range(2):
        assert await (await r.client()).cut() == (how == "reset")
    client, upstream = await r.pair()  # the first that the upstream sees
    await client.send(b"third")
    assert await upstream.read(5) == b"third"
    r.link.heal("fail_first_downstream")
    r.link.add(FailFirst(connections=1, how=how))  # counted from here; this connection was there before
    await upstream.send(b"still here")
    assert await client.read(10) == b"still here"


async def test_a_cue_that_the_client_sends_cuts_what_the_upstream_answers(rig: Any) -> None:
    r = await rig(ResetPeer(trigger="POST /v1", trigger_stream="upstream"))
    client, upstream = await r.pair()
    await client.send(b"GET / POS")
    await upstream.send(b"fine")
    assert await client.read(4) == b"fine"
    await client.send(b"T /v1")
    assert await client.cut()
    assert await upstream.cut()


async def test_chance_is_drawn_from_the_seed_per_connection_and_toxic(rig: Any) -> None:
    async def hits(seed: int, *more: Toxic) -> list[bool]:
        r = await rig(*more, ResetPeer(toxicity=0.5), seed=seed)
        for number in range(1, 13):
            await r.client()
            await r.until(lambda number=number: r.settled == number)
        cut = {entry["conn"] for entry in r.events("close")}
        return [number in cut for number in range(1, 13)]

    first = await hits(1)
    assert 0 < sum(first) < 12
    assert await hits(1) == first
    assert await hits(1, Latency(name="another")) == first  # a new toxic does not move the draws of the others
    assert await hits(2) != first


# --------------------------------------------------------------------------- heal

HOLDING: dict[str, Toxic] = {
    "latency": Latency(latency_s=1e6),
    "bandwidth": Bandwidth(rate_bytes_per_s=0),
    "slicer": Slicer(average_bytes=100, delay_s=1e6),
    "stall": Stall(),
    "loss": Loss(rate=0.9, segment_bytes=100, retransmit_s=1e6),
    "slow_close": SlowClose(delay_s=1e6),
    "limit_data": LimitData(limit_bytes=len(DATA) + 1),
    "reset_peer": ResetPeer(after_s=1e6),
    "fail_first": FailFirst(connections=1, how="silence"),
    "triggered": Stall(trigger="\x00\x01"),
}
holding = pytest.mark.parametrize("toxic", HOLDING.values(), ids=HOLDING)
PASSES = ("slow_close", "limit_data", "reset_peer")  # these hold no bytes


@holding
async def test_what_a_toxic_held_back_flows_on_when_it_is_healed(rig: Any, toxic: Toxic) -> None:
    r = await rig(toxic)
    client, upstream = await r.pair()
    await upstream.send(DATA)
    if toxic.type not in PASSES:
        await r.until(lambda: r.link.held_bytes > 0)
    r.link.heal(toxic.label)
    assert r.link.toxics == ()
    await upstream.send(b"after")
    upstream.finish()
    assert await client.rest() == DATA + b"after"  # nothing lost, nothing doubled, in order
    await client.send(b"and back")
    assert await upstream.read(8) == b"and back"


@pytest.mark.parametrize("later", ["a first-in line", "one more chunk"])
async def test_healing_one_of_two_toxics_leaves_the_other(rig: Any, later: str) -> None:
    first = Stall() if later == "a first-in line" else Latency(latency_s=1e6)
    r = await rig(first, Latency(latency_s=20, name="slow"))
    client, upstream = await r.pair()
    await upstream.send(b"abc")
    await r.until(lambda: r.link.held_bytes > 0)
    began = r.clock.monotonic()
    r.link.heal(first.label)
    assert await client.read(3) == b"abc"
    assert r.clock.monotonic() - began >= 20
    r.link.heal_all()
    assert r.link.toxics == ()


async def test_a_stall_that_is_healed_lets_a_stopped_sender_go_on(rig: Any) -> None:
    r = await rig(Stall(), limits=LinkLimits(held_bytes=100_000))
    client, upstream = await r.pair()
    task = asyncio.create_task(upstream.send(b"s" * 20_000_000))
    await r.until(lambda: r.link.held_bytes > 100_000)
    assert r.link.held_bytes < 500_000, "the limit and one piece that was read before it"
    r.link.heal("stall_downstream")
    assert await client.read(20_000_000) == b"s" * 20_000_000
    await task


# --------------------------------------------------------------------------- interrupted


@holding
async def test_a_toxic_may_be_changed_while_it_holds_something(rig: Any, toxic: Toxic) -> None:
    r = await rig(toxic)
    client, upstream = await r.pair()
    await upstream.send(DATA)
    if toxic.type not in PASSES:
        await r.until(lambda: r.link.held_bytes > 0)
    harmless = {
        "latency": {"latency_s": 1.0}, "bandwidth": {"rate_bytes_per_s": 10**9}, "slicer": {"delay_s": 0.0},
        "loss": {"rate": 0.0}, "limit_data": {"limit_bytes": 10**9}, "slow_close": {"delay_s": 0.0},
        "stall": {"toxicity": 0.0}, "fail_first": {"toxicity": 0.0},
    }.get(toxic.type, {})  # fmt: skip
    r.link.change(_with(toxic, **harmless))
    upstream.finish()
    assert await client.rest() == DATA


@holding
async def test_a_link_that_stops_leaves_nothing_behind(rig: Any, toxic: Toxic) -> None:
    r = await rig(toxic)
    client, upstream = await r.pair()
    await upstream.send(DATA)
    await client.send(DATA)
    if toxic.type not in PASSES:
        await r.until(lambda: r.link.held_bytes > 0)
    await r.link.stop()
    assert (r.link.connections, r.link.held_bytes) == (0, 0)
    assert len(r.events("close")) == 1
    for side in (client, upstream):
        await side.cut()  # either end, but an end
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", r.link.port)


@holding
async def test_a_client_that_is_cut_while_something_is_held_is_forgotten(rig: Any, toxic: Toxic) -> None:
    r = await rig(toxic)
    client, upstream = await r.pair()
    await upstream.send(DATA)
    if toxic.type not in PASSES:
        await r.until(lambda: r.link.held_bytes > 0)
    else:
        assert await client.read(len(DATA)) == DATA
    client.reset()  # its news goes upstream, where no toxic is in the way
    assert await upstream.cut()
    await r.until(lambda: r.link.connections == 0)
    assert r.link.held_bytes == 0


async def test_a_client_that_leaves_before_the_upstream_answered_the_dial_is_forgotten(rig: Any) -> None:
    r = await rig()
    client = await r.client()
    client.reset()
    await r.until(lambda: r.link.connections == 0)


# --------------------------------------------------------------------------- race at close


CLOSING: dict[str, Toxic] = {
    "latency": Latency(latency_s=5),
    "bandwidth": Bandwidth(rate_bytes_per_s=1_000_000),
    "slicer": Slicer(average_bytes=500, variation_bytes=100, delay_s=0.5),
    "stall": Stall(),
    "loss": Loss(rate=0.5, segment_bytes=1000, retransmit_s=1),
    "slow_close": SlowClose(delay_s=5),
    "limit_data": LimitData(limit_bytes=len(DATA) + 1),
    "reset_peer": ResetPeer(after_s=1e6),
    "fail_first": FailFirst(connections=1, how="silence"),
    "triggered": Latency(latency_s=5, trigger="\x7f"),
}


@pytest.mark.parametrize("toxic", CLOSING.values(), ids=CLOSING)
async def test_a_sender_that_closes_at_once_is_heard_to_the_end(rig: Any, toxic: Toxic) -> None:
    r = await rig(toxic)
    client, upstream = await r.pair()
    upstream.writer.write(DATA)
    upstream.writer.close()  # bytes and FIN leave together
    if toxic.type in ("stall", "fail_first"):
        await r.until(lambda: r.link.held_bytes >= len(DATA))
    if toxic.type in ("stall", "fail_first", "slow_close", "latency"):
        r.link.heal(toxic.label)  # healed in the very race
    assert await client.rest() == DATA
    client.writer.close()
    await r.until(lambda: r.link.connections == 0)


@pytest.mark.parametrize("toxic", CLOSING.values(), ids=CLOSING)
async def test_both_sides_closing_at_once_end_the_connection(rig: Any, toxic: Toxic) -> None:
    r = await rig(toxic)
    client, upstream = await r.pair()
    for side in (client, upstream):
        side.writer.write(DATA)
        side.finish()
    if toxic.type in ("stall", "fail_first"):
        await r.until(lambda: r.link.held_bytes >= len(DATA))
        r.link.heal(toxic.label)
    assert await client.rest() == DATA
    assert await upstream.rest() == DATA
    await r.until(lambda: r.link.connections == 0)
    assert r.events("close")[0]["why"] == "finished by both sides"


@pytest.mark.parametrize("toxic", CLOSING.values(), ids=CLOSING)
async def test_a_reset_of_the_sender_arrives_behind_what_it_sent_or_not_at_all(rig: Any, toxic: Toxic) -> None:
    r = await rig(toxic)
    client, upstream = await r.pair()
    await upstream.send(DATA)
    if toxic.type in ("stall", "fail_first"):
        await r.until(lambda: r.link.held_bytes > 0)
    upstream.reset()
    if toxic.type in ("stall", "fail_first"):
        r.link.heal(toxic.label)
    assert await client.cut()
    await r.until(lambda: r.link.connections == 0)


async def test_a_toxic_that_comes_while_a_connection_closes_does_no_harm(rig: Any) -> None:
    r = await rig()
    client, upstream = await r.pair()
    upstream.writer.write(DATA)
    upstream.writer.close()
    client.writer.close()
    r.link.add(Latency(latency_s=5))
    r.link.add(ResetPeer(after_s=5, name="cut"))
    r.link.heal("cut")
    await r.until(lambda: r.link.connections == 0)


# --------------------------------------------------------------------------- the link as a whole


async def test_a_disabled_link_refuses_and_drops_and_comes_back_on_its_port(rig: Any) -> None:
    r = await rig()
    client, upstream = await r.pair()
    port = r.link.port
    await r.link.disable()
    await r.link.disable()
    assert not r.link.enabled
    await client.cut()
    await upstream.cut()
    with pytest.raises(ConnectionRefusedError):
        await r.client()
    await r.link.enable()
    await r.link.enable()
    assert r.link.port == port
    client, upstream = await r.pair()
    await client.send(b"again")
    assert await upstream.read(5) == b"again"


async def test_cutting_a_link_resets_what_is_open_and_serves_what_comes(rig: Any) -> None:
    r = await rig()
    client, upstream = await r.pair()
    r.link.cut()
    assert await client.cut()
    assert await upstream.cut()
    client, upstream = await r.pair()
    await upstream.send(b"new")
    assert await client.read(3) == b"new"


async def test_a_toxic_that_is_there_or_is_not_is_refused_by_name(rig: Any) -> None:
    r = await rig(Latency(latency_s=1))
    with pytest.raises(LocalError, match="a toxic 'latency_downstream' already; heal it"):
        r.link.add(Latency())
    with pytest.raises(LocalError, match=r"no toxic 'x' to heal; there are: latency_downstream"):
        r.link.heal("x")
    with pytest.raises(LocalError, match="no stall toxic 'x' on downstream to change"):
        r.link.change(Stall(name="x"))
    with pytest.raises(LocalError, match="no latency toxic"):
        r.link.change(Latency(name="latency_downstream", stream="upstream"))


async def test_a_link_stays_on_loopback_unless_told_otherwise(rig: Any) -> None:
    with pytest.raises(LocalError, match=r"0\.0\.0\.0 is not a loopback address"):
        await Link("127.0.0.1:1").start("0.0.0.0")
    with pytest.raises(LocalError, match=r"upstream 192\.0\.2\.1 is not a loopback.*--allow-remote"):
        Link("192.0.2.1:80")
    Link("192.0.2.1:80", allow_remote=True)
    r = await rig()
    with pytest.raises(LocalError, match="is taken"):
        await Link("127.0.0.1:1").start(port=r.link.port)
    port = r.link.port
    with pytest.raises(LocalError, match="is not a loopback"):
        await r.link.move("example.org:80", "127.0.0.1", 0)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(LocalError, match="is taken"):
        await r.link.move(r.upstream, "127.0.0.1", taken.getsockname()[1])
    assert (r.link.enabled, r.link.port) == (True, port)  # as it was


@pytest.mark.parametrize("text", ["", "8080", "host:", ":80", "host:http", "host:70000", "host:-1"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(LocalError, match="expected HOST:PORT"):
        address_of(text)
    assert address_of("[::1]:80") == ("::1", 80)


async def test_the_journal_tells_connections_and_toxics_and_no_byte(rig: Any, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    r = await rig(Latency(latency_s=1), journal=path)
    client, upstream = await r.pair()
    await client.send(b"sk-secret")
    await upstream.read(9)
    r.link.heal("latency_downstream")
    client.finish()
    upstream.finish()
    await r.until(lambda: r.link.connections == 0)
    await r.link.stop()
    text = path.read_text(encoding="utf-8")
    assert "sk-secret" not in text
    entries = [json.loads(line) for line in text.splitlines()]
    assert [entry["ev"] for entry in entries] == ["toxic", "open", "healed", "close"]
    assert {entry["link"] for entry in entries} == {"link"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_a_served_link_and_its_api_in_order(number: int) -> None:
    told: list[Any] = []

    def ready(pid: int, port: int) -> None:
        told.append(port)
        os.kill(pid, number)

    async with asyncio.timeout(PATIENCE_S):
        service = LinkService(
            "127.0.0.1:1", name="link", toxics=(), api="127.0.0.1:0", on_api=told.append, links=Links()
        )  # fmt: skip
        await serve(service, ready=ready)
    at = address_of(told[0].removeprefix("http://"))
    for port in (told[1], at[1]):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


def _with(toxic: Toxic, **changes: Any) -> Toxic:
    fields = {name: getattr(toxic, name) for name in toxic.__struct_fields__}
    return type(toxic)(**{**fields, **changes})
