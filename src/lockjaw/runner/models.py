"""The model client: streaming chat completions over HTTP.

A thin shell around ``sse`` (bytes to events) and ``completion`` (events to an answer). It never tries again:
what a failure means for the turn is for the fallback chain to decide, and a hidden second request would be
paid for without appearing in any record.

Time limits here are only between two events of a stream; the limit of a whole attempt belongs to the caller,
who cancels. Cancelling closes the connection before ``complete`` returns, so the server sees the client leave.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.clock import Clock
from lockjaw.errors import ModelFailure, UsageError
from lockjaw.runner.completion import (
    Delta,
    ModelReply,
    Partial,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    error_code,
    error_text,
)
from lockjaw.runner.failover import classify
from lockjaw.runner.sse import MAX_LINE_BYTES, EventStream, StreamTooLong
from lockjaw.runner.turn import zero_usage
from lockjaw.runner.wire import wire_messages
from lockjaw.settings import ModelRef, Provider

__all__ = [
    "Delta",
    "ModelClient",
    "ModelReply",
    "ModelRequest",
    "Partial",
    "TextDelta",
    "ThinkingDelta",
    "ToolCallDelta",
    "wire_messages",
    "zero_usage",
]

MAX_OUTPUT_TOKENS = 32_000  # upstream's ceiling for max_completion_tokens
MAX_REPLY_CHARS = 64 * 1024 * 1024  # an answer that does not end is cut off here
MAX_ERROR_BYTES = 64 * 1024  # of the body of an error answer
DRAIN_S = 0.25  # nominal: how long the end of the body may take after the last event
DONE = "[DONE]"


@dataclass(frozen=True)
class ModelRequest:
    """One request. ``messages`` and ``tools`` have the shape of the wire; ``max_tokens`` None: the model's own."""

    ref: ModelRef
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] = field(default_factory=list)
    max_tokens: int | None = None


def _ignore(delta: Delta) -> None:
    return None


class ModelClient:
    """Asks OpenAI-compatible servers. One per process; safe for concurrent calls.

    Args:
        providers: by name; a request to another provider is a ``UsageError``.
        clock: for the idle limit and for Retry-After dates.
        transport: instead of real sockets (tests, simulation).
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        *,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._providers = providers
        self._clock = clock
        # httpx's transport and not its client: redirects, cookies, environment proxies and limits in real seconds are
        # what the client adds, and all of it would have to be switched off: the key goes to the configured address
        # only. No idle connections are kept: one that the server closed meanwhile would fail a request that has no
        # second try.
        self._transport = transport or httpx.AsyncHTTPTransport(
            trust_env=False, limits=httpx.Limits(max_connections=None, max_keepalive_connections=0)
        )
        self._urls: dict[str, httpx.URL] = {}

    async def aclose(self) -> None:
        """Close what is still open."""
        await self._transport.aclose()

    async def complete(
        self,
        request: ModelRequest,
        *,
        idle_timeout_s: float,
        on_delta: Callable[[Delta], None] = _ignore,
        partial: Partial | None = None,
    ) -> ModelReply:
        """Ask, and read the answer to its end.

        Args:
            idle_timeout_s: nominal seconds until the first event and between two; 0 for no limit. Comments
                of the server (keep-alives) do not count as events.
            on_delta: called for each piece, in order, at once.
            partial: collects what has arrived; the caller reads it after a failure or a cancellation.

        Raises:
            ModelFailure: classified (``reason``), with ``status`` and ``retry_after_s`` where known.
            UsageError: unknown provider.

        Cancelling closes the connection; ``partial`` keeps what had arrived.
        """
        provider = self._providers.get(request.ref.provider)
        if provider is None:
            known = ", ".join(sorted(self._providers)) or "none"
            raise UsageError("models.providers", request.ref.provider, f"a provider among: {known}")
        partial = Partial() if partial is None else partial

        def take(chunk: object) -> None:
            idle.heard()
            for delta in partial.take(chunk):
                on_delta(delta)
            if partial.size > MAX_REPLY_CHARS:
                raise ModelFailure(f"the answer is longer than {MAX_REPLY_CHARS} characters", "format")

        idle = _IdleLimit(self._clock.real_s(idle_timeout_s) if idle_timeout_s > 0 else None)
        try:
            async with idle:
                await self._exchange(provider, request, take)
                return partial.finish()
        except TimeoutError as error:
            if not idle.expired():
                raise  # of on_delta: not ours
            text = f"LLM idle timeout ({idle_timeout_s:g}s): no response from model"
            raise self._named(ModelFailure(text, "timeout"), request.ref) from error
        except ModelFailure as error:
            raise self._named(error, request.ref) from error.__cause__
        except StreamTooLong as error:
            raise self._named(ModelFailure(str(error), "format"), request.ref) from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            # Refused, reset, or cut in the middle of a chunk: whether the server worked on it is unknown.
            text = f"connection error: {_oneline(error)}"
            raise self._named(ModelFailure(text, "timeout"), request.ref) from error

    # ------------------------------------------------------------------ the wire

    async def _exchange(self, provider: Provider, request: ModelRequest, take: Callable[[object], None]) -> None:
        """Ask, and hand on the JSON values of the answer as they come: many of a stream, one of a plain answer.

        The connection is closed when this returns or raises, also when ``take`` did.
        """
        response = await self._transport.handle_async_request(
            httpx.Request("POST", self._url(provider), content=_body(provider, request), headers=_headers(provider))
        )
        try:
            if response.status_code != 200:
                raise await self._refusal(provider, response)
            kind = response.headers.get("content-type", "")
            if "json" in kind:
                take(_json(await _read(response, MAX_LINE_BYTES)))
                return
            events = EventStream()
            seen = False
            pieces = _pieces(response)
            async for piece in pieces:
                for data in events.feed(piece):
                    if data.strip() == DONE:
                        await self._drain(pieces)
                        return
                    seen = True
                    take(_json(data))
            for data in events.close():
                if data.strip() != DONE:
                    seen = True
                    take(_json(data))
            if not seen:
                raise ModelFailure(f"the answer held no event ({kind or 'no content type'})")
        finally:
            await response.aclose()

    def _url(self, provider: Provider) -> httpx.URL:
        url = self._urls.get(provider.base_url)
        if url is None:
            url = self._urls[provider.base_url] = httpx.URL(f"{provider.base_url}/chat/completions")
        return url

    async def _drain(self, pieces: AsyncIterator[bytes]) -> None:
        """Let the server finish its body, so that it does not see a client that hung up."""
        try:
            async with asyncio.timeout(self._clock.real_s(DRAIN_S)):
                async for _ in pieces:
                    pass
        except (TimeoutError, httpx.HTTPError, httpx.StreamError):
            pass  # the answer is complete; how the body ends does not matter

    async def _refusal(self, provider: Provider, response: httpx.Response) -> ModelFailure:
        body = await _read(response, MAX_ERROR_BYTES, truncate=True)
        try:
            value = json.loads(body)
        except ValueError:
            value = None
        text = error_text(value) or body.decode("utf-8", errors="replace").strip()[:500] or "status code (no body)"
        message = _without_key(f"{response.status_code} {text}", provider)
        reason = classify(message, response.status_code, error_code(value), behaviour=BEHAVIOURS["takeover"])
        return ModelFailure(
            message,
            reason or "unknown",
            status=response.status_code,
            retry_after_s=retry_after_s(response.headers, self._clock.wall_ms()),
        )

    def _named(self, failure: ModelFailure, ref: ModelRef) -> ModelFailure:
        """The failure with the candidate's name, the key cut out, and a reason where the text gives one."""
        message = _without_key(failure.message, self._providers[ref.provider])
        reason = failure.reason
        if reason == "unknown":
            reason = classify(message, failure.status, behaviour=BEHAVIOURS["takeover"]) or "unknown"
        return ModelFailure(
            message,
            reason,
            status=failure.status,
            retry_after_s=failure.retry_after_s,
            provider=ref.provider,
            model=ref.model,
        )


def retry_after_s(headers: Mapping[str, str], wall_ms: int) -> float | None:
    """Seconds that the server asks to be left alone: ``retry-after-ms``, or ``retry-after`` in seconds or as a date."""
    try:
        if "retry-after-ms" in headers:
            return _seconds(float(headers["retry-after-ms"]) / 1000)
        return _seconds(float(headers["retry-after"]))
    except KeyError:
        return None
    except ValueError:
        pass
    try:
        instant = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return _seconds(instant.timestamp() - wall_ms / 1000)


def _seconds(value: float) -> float | None:
    """A usable waiting time: not negative, not infinite, not NaN."""
    return max(0.0, value) if value < float("inf") else None


class _IdleLimit:
    """``asyncio.timeout`` that is put off by each event, at the price of one assignment: the timer is only set anew
    when it rings too early. Raises TimeoutError out of the block; ``expired`` says that it was ours."""

    def __init__(self, limit_s: float | None) -> None:
        self._limit_s, self._timeout = limit_s, asyncio.timeout(None)
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        if self._limit_s is not None:
            self._timer = self._loop.call_at(self._heard_at + self._limit_s, self._look)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def heard(self) -> None:
        self._heard_at = self._loop.time()

    def expired(self) -> bool:
        return self._timeout.expired()

    def _look(self) -> None:
        assert self._limit_s is not None
        due = self._heard_at + self._limit_s
        if due > self._loop.time():
            self._timer = self._loop.call_at(due, self._look)
        else:
            self._timeout.reschedule(due)  # in the past: it expires at once


def _body(provider: Provider, request: ModelRequest) -> bytes:
    body: dict[str, Any] = {"model": request.ref.model, "messages": request.messages, "stream": True}
    limit = request.max_tokens or provider.max_tokens.get(request.ref.model)
    if limit:
        body["max_completion_tokens"] = min(limit, MAX_OUTPUT_TOKENS)
    if request.tools:
        body["tools"] = request.tools
    return json.dumps(body).encode()


def _headers(provider: Provider) -> dict[str, str]:
    headers = {
        "content-type": "application/json",
        "accept": "text/event-stream, application/json",
        "accept-encoding": "identity",  # a stream is small; a decompression bomb is not
        "user-agent": "lockjaw",
    }
    if provider.api_key:
        headers["authorization"] = f"Bearer {provider.api_key}"
    return headers


def _pieces(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body as it comes. We ask for no encoding: a server that obeys needs no decoder between it and us."""
    if "content-encoding" in response.headers:
        return response.aiter_bytes()
    assert isinstance(response.stream, httpx.AsyncByteStream), "an asynchronous transport gave it"
    return aiter(response.stream)


async def _read(response: httpx.Response, limit: int, *, truncate: bool = False) -> bytes:
    body = bytearray()
    async for piece in _pieces(response):
        body += piece
        if len(body) > limit:
            if truncate:
                return bytes(body[:limit])
            raise StreamTooLong(limit)
    return bytes(body)


def _json(text: str | bytes) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass  # NaN, half of a surrogate pair: no JSON, and yet sent
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFailure(f"unreadable stream chunk: {text[:200]!r}") from error


def _without_key(text: str, provider: Provider) -> str:
    """Servers like to quote the key that they refuse. Very short keys are rig placeholders."""
    return text.replace(provider.api_key, "***") if len(provider.api_key) >= 8 else text


def _oneline(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
