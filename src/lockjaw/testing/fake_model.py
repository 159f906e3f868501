"""The ``fake_model`` fixture: a scripted model server for one test, loud about everything that the script does not say.

Reached over a real socket (``base_url``), as an httpx transport (``transport``) or through respx routes
(``respx_routes``); all three perform the same script and share its counters. It speaks as OpenAI,
Anthropic, Gemini or Ollama, by the path that is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from lockjaw.clock import ScaledClock
from lockjaw.errors import LocalError
from lockjaw.fakes.models.progress import NO_REQUEST, ScriptProgress
from lockjaw.fakes.models.script import ModelScript, Step, load_model_script
from lockjaw.fakes.models.server import ModelServer
from lockjaw.fakes.models.service import no_header
from lockjaw.fakes.models.wires.surface import ChatRequest
from lockjaw.testing.background import Background

if TYPE_CHECKING:
    from lockjaw.testing.in_process import ScriptTransport


@dataclass(frozen=True)
class ModelRequest:
    """One chat completion that was asked for. ``body`` is the whole JSON body; not JSON: empty."""

    model: str
    messages: Sequence[Mapping[str, Any]]
    stream: bool
    body: Mapping[str, Any]


class SharedProgress(ScriptProgress):
    """A script that may grow, and that requests of several threads walk through."""

    def __init__(self) -> None:
        super().__init__(ModelScript(models={}))
        self._turns = threading.Lock()
        self.seen: list[str] = []  # one line for each request: its model, and what it got

    def add(self, script: ModelScript) -> None:
        """Raises LocalError if a model has a script already: which of the two would count?"""
        known = self.script.models.keys() & script.models.keys()
        if known:
            raise LocalError(f"fake_model has a script for {', '.join(sorted(known))} already; write all steps in one")
        self.script = ModelScript(models={**self.script.models, **script.models})

    def take(
        self, model: str, request: ChatRequest = NO_REQUEST, header: Callable[[str], str] = no_header
    ) -> tuple[Step, int]:
        with self._turns:
            try:
                step, number = super().take(model, request, header)
            except LookupError:
                self.seen.append(f"{model[:80]}: refused, because the script has no step for it")
                raise
            self.seen.append(f"{model[:80]}: {step.in_words()}")
            return step, number


class FakeModel:
    """Handle of one test's model server.

    Args:
        clock: nominal time of the script's durations.
        seed: root of the ids in the replies.
    """

    def __init__(self, *, clock: ScaledClock, seed: int = 1) -> None:
        self._clock, self._seed = clock, seed
        self._progress = SharedProgress()
        self._background = Background("lockjaw-fake-model")
        self._server: ModelServer | None = None
        self._transports: list[ScriptTransport] = []
        self._requests: list[ModelRequest] = []

    def script(self, source: str | Path | Mapping[str, Any]) -> FakeModel:
        """Say what models do. May be called again for other models, before or after ``base_url`` is used.

        Args:
            source: ``{"gpt-4o": "Hello."}``, ``{"gpt-4o": [{"text": "Hello.", "first_token_s": 30.0}, "Again."]}``,
                or the path of a YAML script. A step that is only a text may be that text; a single step needs no list.

        Raises:
            DocumentError: malformed; names the key. LocalError: a model that has a script already.
        """
        if isinstance(source, Mapping):
            models = source["models"] if source.keys() == {"models"} else source
            written = {"models": {name: _steps(steps) for name, steps in models.items()}}
            self._progress.add(load_model_script(written, path="fake_model.script(...)"))
        else:
            self._progress.add(load_model_script(source))
        return self

    @property
    def base_url(self) -> str:
        """Such as ``http://127.0.0.1:41234/v1``: what OpenAI clients take. Starts the server if need be."""
        if self._server is None:
            server = ModelServer(self._progress, clock=self._clock, seed=self._seed, on_body=self._saw)
            self._background.call(server.start())
            self._server = server
        return self._server.base_url

    @property
    def origin(self) -> str:
        """Such as ``http://127.0.0.1:41234``: what clients of Anthropic, Gemini and Ollama take."""
        return self.base_url.removesuffix("/v1")

    def transport(self) -> Any:
        """A transport for clients of httpx, and of SDKs that carry a fork of it: no socket is opened (sync or async).

        Such as ``openai.OpenAI(http_client=openai.DefaultHttpxClient(transport=fake_model.transport()), ...)``.
        """
        from lockjaw.testing.in_process import ScriptTransport

        transport = ScriptTransport(self._progress, clock=self._clock, seed=self._seed, on_body=self._saw)
        self._transports.append(transport)
        return transport

    def respx_routes(self, router: Any, base_url: str = "https://api.openai.com/v1") -> list[Any]:
        """Route everything below an address to this script, whichever vendor's it is.

        A request that no vendor answers is an unexpected one, and fails the test. respx patches httpx only; the SDKs of
        ``openai`` and ``anthropic`` use httpx2 today and take ``transport()``.

        Args:
            router: the ``respx_mock`` fixture, or any ``respx.MockRouter``.
            base_url: such as ``https://api.anthropic.com``.
        """
        below = f"{base_url.rstrip('/')}/"
        return [router.route(url__startswith=below).mock(side_effect=self.transport().answer)]

    @property
    def requests(self) -> tuple[ModelRequest, ...]:
        """Every chat completion that was asked for, in the order of arrival, refused ones included."""
        return tuple(self._requests)

    def account(self) -> list[str]:
        """What this fake saw, for the report of a failed test: a line for each request, and what it got."""
        return [f"request {number}, model {line}" for number, line in enumerate(list(self._progress.seen), 1)]

    def verify(self, *, unused: bool = True) -> list[str]:
        """What did not go by the script, one sentence each; empty: all is well. The plugin asks after each test.

        Args:
            unused: also name the steps that were used less often than the script says.
        """
        problems = list(self._server.verify()) if self._server is not None else []
        for transport in self._transports:
            problems += transport.problems
        return problems + (self._progress.unused() if unused else [])

    def close(self) -> None:
        """Stop the server and its thread. Idempotent."""
        if self._server is not None:
            self._background.call(self._server.stop())
        self._background.close()

    def _saw(self, body: bytes) -> None:
        try:
            value = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            value = None
        fields: Mapping[str, Any] = value if isinstance(value, dict) else {}
        messages = fields.get("messages")
        self._requests.append(
            ModelRequest(
                model=str(fields.get("model", "")),
                messages=messages if isinstance(messages, list) else (),
                stream=fields.get("stream") is True,
                body=fields,
            )
        )


def _steps(steps: Any) -> Any:
    """Steps as a script file has them. The script's reader refuses what is neither a text, a mapping nor a list."""
    listed = [steps] if isinstance(steps, str | Mapping) else steps
    if not isinstance(listed, list | tuple):
        return listed
    return [{"text": step} if isinstance(step, str) else step for step in listed]
