"""What every fake server does alike, whatever it speaks: addresses, start, stop."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from lockjaw.errors import LocalError
from lockjaw.fakes.gateway.script import GatewayScript
from lockjaw.fakes.gateway.server import MockGateway
from lockjaw.fakes.links.link import Link
from lockjaw.fakes.links.service import LinkService
from lockjaw.fakes.links.toxiproxy_api import ControlServer, Links
from lockjaw.fakes.models.recording import RecordingProxy
from lockjaw.fakes.models.script import load_model_script
from lockjaw.fakes.models.server import ModelServer
from lockjaw.fakes.serving import FakeServer

KINDS = ("model", "record", "gateway", "link", "control", "link and control")
NOWHERE = "127.0.0.1:9"


def made(kind: str, folder: Path) -> FakeServer:
    match kind:
        case "model":
            return ModelServer(load_model_script({"models": {"m": [{"text": "x"}]}}))
        case "record":
            return RecordingProxy("http://127.0.0.1:9", folder / "script.yaml")
        case "gateway":
            return MockGateway(GatewayScript())
        case "link":
            return Link(NOWHERE)
        case "control":
            return ControlServer(Links())
        case _:
            return LinkService(NOWHERE, name="l", toxics=(), api="127.0.0.1:0", on_api=None, links=Links())


@pytest.mark.parametrize("kind", KINDS)
async def test_a_fake_listens_until_it_is_stopped_and_may_be_stopped_twice(kind: str, tmp_path: Path) -> None:
    """A client that never says a word does not hold it up."""
    async with made(kind, tmp_path) as server:
        assert server.address == f"127.0.0.1:{server.port}"
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.timeout(5.0):  # real
            await server.stop()
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_fake_that_cannot_listen_says_why_and_what_to_do(kind: str, tmp_path: Path) -> None:
    server = made(kind, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as there:
        port = there.getsockname()[1]
        with pytest.raises(LocalError, match=f"port {port} on 127.0.0.1 is taken; .*port 0"):
            await server.start("127.0.0.1", port)
    with pytest.raises(LocalError, match=r"0\.0\.0\.0 is not a loopback address.*--allow-remote"):
        await server.start("0.0.0.0", 0)
    await server.stop()
