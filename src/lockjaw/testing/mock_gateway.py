"""The ``mock_gateway`` fixture: a scripted gateway for one test, served in a thread of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockjaw.clock import ScaledClock
from lockjaw.errors import LocalError
from lockjaw.fakes.gateway import scripts
from lockjaw.fakes.gateway.script import GatewayScript, load_gateway_script
from lockjaw.fakes.gateway.server import MockGateway
from lockjaw.testing.background import Background


@dataclass(frozen=True)
class GatewayCall:
    """One request frame that a client sent. Secrets in ``params`` are replaced."""

    connection: int
    method: str
    params: Mapping[str, Any]


class GatewayFixture:
    """Handle of one test's mock gateway. Without a script it answers as a healthy gateway does."""

    def __init__(self, *, clock: ScaledClock, seed: int = 1) -> None:
        self._clock, self._seed = clock, seed
        self._script: GatewayScript | None = None
        self._background = Background("lockjaw-mock-gateway")
        self._server: MockGateway | None = None
        self._entries: list[dict[str, Any]] = []
        self._closed = False

    def script(self, source: str | Path | Mapping[str, Any]) -> GatewayFixture:
        """Say what the gateway does: once, before a client connects.

        Args:
            source: the name of a script that comes with Lockjaw, such as ``"never_final"`` (``lockjaw serve gateway
                --list`` shows all); ``{"methods": {"agent": [{"silence": True}]}}``; or the path of a YAML script.

        Raises:
            DocumentError: malformed; names the key. LocalError: no script has this name, the gateway has a script
                already, or a client is connected already.
        """
        if self._script is not None:
            raise LocalError("mock_gateway has a script already; write all of it in one")
        if any(entry["ev"] == "open" for entry in list(self._entries)):
            raise LocalError("a client has connected to mock_gateway already; give it its script first")
        if isinstance(source, Mapping):
            data = source if source.keys() == {"gateway"} else {"gateway": source}
            self._script = load_gateway_script(data, path="mock_gateway.script(...)")
        elif isinstance(source, str) and source.isidentifier() and not Path(source).exists():
            self._script = scripts.load(source).gateway
        else:
            self._script = load_gateway_script(source)
        if self._server is not None:  # a client may know the address: the scripted gateway takes it over
            port = self._server.port
            self._background.call(self._server.stop())
            self._start(port)
        return self

    @property
    def url(self) -> str:
        """Such as ``ws://127.0.0.1:41234``. Starts the gateway if need be."""
        if self._server is None:
            self._start(0)
        assert self._server is not None
        return self._server.url

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead ``lockjaw agent`` and ``openclaw agent`` here."""
        return {"OPENCLAW_GATEWAY_URL": self.url, "OPENCLAW_GATEWAY_TOKEN": "lockjaw-test"}

    @property
    def calls(self) -> tuple[GatewayCall, ...]:
        """Every request frame so far, ``connect`` included, in the order of arrival."""
        frames = [(e["conn"], e["frame"]) for e in list(self._entries) if e["ev"] == "in" and "frame" in e]
        return tuple(
            GatewayCall(number, str(frame.get("method", "")), frame.get("params") or {})
            for number, frame in frames
            if isinstance(frame, dict) and frame.get("type") == "req"
        )

    def account(self) -> list[str]:
        """What this fake saw, for the report of a failed test: a line for each request."""
        return [f"connection {call.connection}: {call.method}" for call in self.calls]

    def verify(self, *, unused: bool = True) -> list[str]:
        """What did not go by the script, one sentence each; empty: all is well. The plugin asks after each test.

        Args:
            unused: also name the steps that were used less often than the script says.
        """
        if self._server is not None:
            if not self._closed:
                self._background.call(self._server.settle())
            return self._server.verify(strict=unused and self._script is not None)
        if self._script is not None and unused:
            return ["the script was not used: the test never asked for mock_gateway.url"]
        return []

    def close(self) -> None:
        """Stop the gateway and its thread. Idempotent."""
        self._closed = True
        if self._server is not None:
            self._background.call(self._server.stop())
        self._background.close()

    def _start(self, port: int) -> None:
        server = MockGateway(
            self._script or GatewayScript(), clock=self._clock, seed=self._seed, on_entry=self._entries.append
        )
        self._background.call(server.start(port=port))
        self._server = server
