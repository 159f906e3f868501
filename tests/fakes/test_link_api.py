"""The control API of links, through a client that was written for Toxiproxy, and by hand where that one is silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from lockjaw.fakes.links.toxics import TOXICS, Latency, Stall, toxic_of
from lockjaw.fakes.links.toxiproxy_api import ControlServer, Links
from lockjaw.fakes.links.toxiproxy_shapes import BadToxic, shape_of, toxic_from

PATIENCE_S = 20.0


class Rig:
    def __init__(self) -> None:
        self.links = Links()
        self.control = ControlServer(self.links)
        self.upstream = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.control.port}"


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65_536):
                writer.write(piece)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    made = Rig()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    made.upstream = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await made.control.start()
    yield made
    await made.control.stop()
    await made.links.stop()
    server.close()
    await asyncio.sleep(0)


@pytest.fixture
async def http(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=PATIENCE_S) as client:
        yield client


async def test_a_client_of_toxiproxy_takes_the_api_for_the_real_thing(rig: Rig) -> None:
    toxiproxy = pytest.importorskip("toxiproxy")
    toxiproxy_errors = pytest.importorskip("toxiproxy.exceptions")

    def session() -> None:
        server = toxiproxy.Toxiproxy()
        server.update_api_consumer("127.0.0.1", rig.control.port)
        assert server.running()
        assert b"2.12.0" in server.version()
        proxy = server.create(upstream=rig.upstream, name="model")
        assert proxy.enabled
        assert not proxy.listen.endswith(":0")
        proxy.add_toxic(type="latency", attributes={"latency": 200, "jitter": 10})
        proxy.add_toxic(type="timeout", stream="upstream", attributes={"timeout": 0}, toxicity=0.5)
        toxics = proxy.toxics()
        assert list(toxics) == ["latency_downstream", "timeout_upstream"]
        assert toxics["latency_downstream"].attributes == {"latency": 200, "jitter": 10}
        assert (toxics["timeout_upstream"].type, toxics["timeout_upstream"].toxicity) == ("timeout", 0.5)
        with proxy.down():
            assert not server.get_proxy("model").enabled
        assert server.get_proxy("model").enabled
        with pytest.raises(toxiproxy_errors.InvalidToxic):
            proxy.add_toxic(type="nonsense")
        with pytest.raises(toxiproxy_errors.ProxyExists):
            server.create(upstream=rig.upstream, name="model")
        with pytest.raises(toxiproxy_errors.NotFound):
            proxy.destroy_toxic("nobody")
        assert proxy.destroy_toxic("timeout_upstream")
        assert server.reset()
        assert proxy.toxics() == {}
        populated = server.populate([{"name": "other", "upstream": rig.upstream, "listen": "127.0.0.1:0"}])
        assert [one.name for one in populated] == ["other"]
        assert set(server.proxies()) == {"model", "other"}
        server.destroy_all()
        assert server.proxies() == {}

    await asyncio.to_thread(session)


async def test_a_toxic_that_is_added_and_healed_over_http_acts_on_open_connections(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    made = (await http.post("/proxies", json={"name": "a", "upstream": rig.upstream})).json()
    host, _, port = made["listen"].partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    stall = {"type": "stall", "attributes": {"trigger": "STOP"}}
    assert (await http.post("/proxies/a/toxics", json=stall)).json()["attributes"] == {
        "timeout_s": 0.0, "discard": False, "trigger": "STOP",
    }  # fmt: skip
    writer.write(b"go STOP held")
    async with asyncio.timeout(PATIENCE_S):
        assert await reader.readexactly(7) == b"go STOP"
        (link,) = rig.links
        while not link.held_bytes:
            await asyncio.sleep(0.001)
        assert (await http.delete("/proxies/a/toxics/stall_downstream")).status_code == 204
        assert await reader.readexactly(5) == b" held"
    writer.transport.abort()


async def test_every_answer_has_toxiproxys_shape_and_status(rig: Rig, http: httpx.AsyncClient) -> None:
    made = await http.post("/proxies", json={"name": "a", "upstream": rig.upstream, "enabled": False})
    assert made.status_code == 201
    assert made.json() | {"listen": ""} == {
        "name": "a", "listen": "", "upstream": rig.upstream, "enabled": False, "toxics": [],
    }  # fmt: skip
    body = {"type": "latency", "name": "slow", "attributes": {"latency": 5}}
    added = await http.post("/proxies/a/toxics", json=body)
    assert (added.status_code, added.json()) == (200, {
        "name": "slow", "type": "latency", "stream": "downstream", "toxicity": 1.0,
        "attributes": {"latency": 5, "jitter": 0},
    })  # fmt: skip
    changed = await http.patch("/proxies/a/toxics/slow", json={"attributes": {"jitter": 2}, "toxicity": 0.25})
    assert changed.json()["attributes"] == {"latency": 5, "jitter": 2}  # what was not mentioned stays
    assert (await http.get("/proxies/a/toxics/slow")).json() == changed.json()
    moved = await http.post("/proxies/a", json={"upstream": "127.0.0.1:9", "enabled": True})
    assert (moved.json()["upstream"], moved.json()["enabled"]) == ("127.0.0.1:9", True)
    assert moved.json()["toxics"] == [changed.json()]
    assert (await http.delete("/proxies/a")).status_code == 204


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "said"),
    [
        ("GET", "/proxies/x", "", 404, "proxy not found"),
        ("POST", "/proxies", "{", 400, "bad request body"),
        ("POST", "/proxies", "[]", 400, "expected an object"),
        ("POST", "/proxies", '{"upstream":"127.0.0.1:1"}', 400, "missing required field: name"),
        ("POST", "/proxies", '{"name":"b"}', 400, "missing required field: upstream"),
        ("POST", "/proxies", '{"name":7}', 400, "name must be a text"),
        ("POST", "/proxies", '{"name":"b","upstream":"nowhere"}', 400, "expected HOST:PORT"),
        ("POST", "/proxies", '{"name":"b","upstream":"192.0.2.1:80"}', 400, "not a loopback address"),
        ("POST", "/proxies", '{"name":"b","upstream":"127.0.0.1:1","listen":"0.0.0.0:0"}', 400, "not a loopback"),
        ("POST", "/proxies", '{"name":"a","upstream":"127.0.0.1:1"}', 409, "proxy already exists"),
        ("POST", "/proxies/a/toxics", '{"type":"lag"}', 400, "invalid toxic type"),
        ("POST", "/proxies/a/toxics", '{"type":"latency","stream":"up"}', 400, "stream was invalid"),
        ("POST", "/proxies/a/toxics", '{"type":"latency","attributes":{"lag":1}}', 400, "only latency, jitter"),
        ("POST", "/proxies/a/toxics", '{"type":"latency","attributes":{"latency":"1"}}', 400, "must be a number"),
        ("POST", "/proxies/a/toxics", '{"type":"latency","attributes":{"latency":-1}}', 400, ">= 0"),
        ("GET", "/proxies/a/toxics/x", "", 404, "toxic not found"),
        ("DELETE", "/proxies/a/toxics/x", "", 404, "toxic not found"),
        ("POST", "/populate", "{}", 400, "expected a list"),
        ("PUT", "/proxies/a", "{}", 405, "GET, POST, PATCH, DELETE would be"),
        ("GET", "/nowhere", "", 404, "no such path"),
    ],
)
async def test_a_bad_request_is_told_what_is_wrong(
    rig: Rig, http: httpx.AsyncClient, method: str, path: str, content: str, status: int, said: str
) -> None:
    await rig.links.create("a", "127.0.0.1:0", "127.0.0.1:1")
    answer = await http.request(method, path, content=content)
    assert answer.status_code == status
    assert answer.json()["status"] == status
    assert said in answer.json()["error"]
    assert (await http.get("/version")).status_code == 200  # on the same connection: it was kept


async def test_a_browser_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.get("/proxies", headers={"user-agent": "Mozilla/5.0"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000, 431),
        (b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 2_000_000, 413),
    ],
)
async def test_what_is_not_a_fair_request_is_cut_off(rig: Rig, sent: bytes, status: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.control.port)
    writer.write(sent)
    async with asyncio.timeout(PATIENCE_S):
        try:
            head = await reader.readline()
        except ConnectionError:
            head = b""  # it went on sending: the reset of the closed connection came first
    writer.transport.abort()
    assert head.startswith(b"HTTP/1.1 %d " % status) or (not head and len(sent) > 100_000)


def test_every_toxic_survives_the_way_there_and_back() -> None:
    values: dict[str, dict[str, Any]] = {
        "latency": {"latency_s": 0.25, "jitter_s": 0.001}, "bandwidth": {"rate_bytes_per_s": 5000},
        "slicer": {"average_bytes": 10, "variation_bytes": 3, "delay_s": 0.0005}, "stall": {"timeout_s": 3.0},
        "limit_data": {"limit_bytes": 7}, "slow_close": {"delay_s": 1.5}, "reset_peer": {"after_s": 2.0},
        "loss": {"rate": 0.5}, "fail_first": {"connections": 3, "how": "silence"},
    }  # fmt: skip
    assert values.keys() == TOXICS.keys()
    for kind, fields in values.items():
        toxic = toxic_of({"type": kind, "name": "n", "stream": "upstream", "trigger": "x", **fields})
        back = toxic_from(shape_of(toxic))
        assert shape_of(back) == shape_of(toxic)
        assert back == toxic
    assert isinstance(toxic_from({"type": "timeout"}), Stall)
    assert toxic_from({"type": "timeout"}).label == "timeout_downstream"
    known = Latency(name="n", latency_s=1.0)
    assert toxic_from({"name": "other", "type": "stall", "stream": "upstream"}, known) == known
    with pytest.raises(BadToxic):
        toxic_from({"type": "latency", "attributes": [1]})
