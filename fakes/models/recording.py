"""``lockjaw serve model --record UPSTREAM``: passes requests on, and writes what came back, and when, as a script.

What is written is a model script whose steps are ``recorded``: the bytes of each reply with their instants, in the
order of the requests of each model. Requests are not written at all; of the reply's headers only those that say how to
read it and when to come back; and keys are cut out of the replies, should a service repeat them.
"""

from __future__ import annotations

import asyncio
import codecs
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import yaml

from lockjaw.clock import Clock, ScaledClock
from lockjaw.errors import HarnessError, LocalError
from lockjaw.visible import tell

from ..http_connection import LAST_CHUNK, HttpConnection, HttpLimits, HttpRequest, Refused, chunk, head
from ..http_server import HttpServer
from ..journal import REDACTED, Journal
from .reply_plan import error_reply
from .wires import OPENAI_CHAT, Route, route
from .wires.surface import ApiError, Headers, RequestRefused

_KEPT_HEADERS = re.compile(r"content-type|retry-after(-ms)?|(x-|anthropic-)?ratelimit-.*")
_SECRET_HEADERS = ("authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie")
_SECRET_QUERY = ("key", "api_key", "token")
_LEAST_SECRET = 8  # characters: a shorter one would be found in ordinary words
_LOOKS_LIKE_A_KEY = r"\b(?:sk-|pk-|rk-|ghp_|xai-|gsk_|AIza)[-_A-Za-z0-9*]{8,}"
_HOPS = {"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "expect", "keep-alive", "te"}
_UPSTREAM_REAL_S = httpx.Timeout(600.0, connect=30.0)

Timed = tuple[float, str]


# --------------------------------------------------------------------------- what is written (pure)


def secrets_of(request: HttpRequest) -> list[str]:
    """What a request proves itself with: values of headers and of the query that must not be written."""
    found = [value for name in _SECRET_HEADERS if (value := request.header(name))]
    found += [value.partition(" ")[2] for value in found if value.lower().startswith(("bearer ", "basic "))]
    query = parse_qs(urlsplit(request.target).query)
    found += [value for name in _SECRET_QUERY for value in query.get(name, ())]
    return [value for value in found if len(value) >= _LEAST_SECRET]


def without_secrets(pieces: Sequence[Timed], secrets: Iterable[str]) -> list[Timed]:
    """The pieces with every secret replaced, also one that the network cut in two."""
    text = "".join(piece for _, piece in pieces)
    pattern = re.compile("|".join([*(re.escape(secret) for secret in secrets), _LOOKS_LIKE_A_KEY]))
    spans = [match.span() for match in pattern.finditer(text)]
    kept: list[Timed] = []
    start = 0
    for at_s, piece in pieces:
        end, position, parts = start + len(piece), start, []
        for low, high in spans:
            if low < end and high > start:
                parts.append(text[position : max(low, position)])
                if low >= start:
                    parts.append(REDACTED)
                position = min(high, end)
        parts.append(text[position:end])
        kept.append((at_s, "".join(parts)))
        start = end
    return kept


def as_text(pieces: Sequence[tuple[float, bytes]]) -> list[Timed]:
    """Bytes as text; a character that the network cut in two belongs to the piece that ends it."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    last = len(pieces) - 1
    return [(round(at_s, 6), decoder.decode(data, index == last)) for index, (at_s, data) in enumerate(pieces)]


def kept_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in headers if _KEPT_HEADERS.fullmatch(name) and value.isascii()}


def step_of(
    status: int, headers: dict[str, str], pieces: Sequence[Timed], *, stream: bool, broken: bool
) -> dict[str, object]:
    recorded: dict[str, object] = {"status": status, "headers": headers, "stream": stream}
    if broken:
        recorded["broken"] = True
    return {"recorded": recorded | {"pieces": [list(piece) for piece in pieces]}}


# --------------------------------------------------------------------------- the proxy


class RecordingProxy(HttpServer):
    """Stands between clients and a real endpoint.

    Args:
        upstream: its origin, such as ``https://api.openai.com``; the client's path is put behind it.
        script: file to write; written anew, whole, after each reply.

    Raises:
        LocalError: there is nothing to record from or into.
    """

    def __init__(
        self,
        upstream: str,
        script: str | Path,
        *,
        clock: Clock | None = None,
        journal: str | Path | None = None,
        say_problem: Callable[[str], None] = tell,
    ) -> None:
        parts = urlsplit(upstream)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise LocalError(f"--record takes the address of a model service, such as https://host, not {upstream!r}")
        self._upstream, self._script = upstream.rstrip("/"), Path(script)
        if self._script.exists():
            raise LocalError(f"{self._script} exists; give --script another name, or remove it, to record into it")
        folder = self._script.absolute().parent
        if not os.access(folder, os.W_OK | os.X_OK):
            raise LocalError(f"{self._script} cannot be recorded: the folder {folder} cannot be written")
        self._unwritten = ""  # why the last replies are not in the script
        self._clock = clock or ScaledClock.start()
        self._journal = Journal(journal, self._clock)
        self._say = say_problem
        super().__init__(HttpLimits(), self._journal.flush)
        self._client = httpx.AsyncClient(timeout=_UPSTREAM_REAL_S)
        self._tasks: dict[HttpConnection, asyncio.Task[None]] = {}
        self._count = 0
        self._models: dict[str, dict[int, dict[str, object]]] = {}  # model -> number of the request -> step

    async def stop(self) -> None:
        """Drop every connection. What was not finished is not recorded. Idempotent."""
        await self._close_door()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._drop_connections()
        await self._client.aclose()
        self._journal.close()

    # ------------------------------------------------------------------ the handler of the connections

    def gone(self, connection: HttpConnection) -> None:
        if connection in self._tasks:
            self._tasks[connection].cancel()

    def refuse(self, connection: HttpConnection, refused: Refused) -> tuple[int, Headers, bytes]:
        reply = error_reply(OPENAI_CHAT, ApiError(refused.status, refused.message, "invalid_request_error"), "")
        return reply.status, reply.headers, reply.body

    def serve(self, connection: HttpConnection, request: HttpRequest) -> None:
        self._count += 1
        task = asyncio.create_task(self._pass_on(connection, request, self._count), name=f"record {self._count}")
        self._tasks[connection] = task
        task.add_done_callback(lambda _: self._tasks.pop(connection, None))

    # ------------------------------------------------------------------ one request

    async def _pass_on(self, connection: HttpConnection, request: HttpRequest, number: int) -> None:
        path = request.target.partition("?")[0]
        found = route(request.method, path, request.header)
        model = _model_of(found, request)
        began = self._clock.monotonic()
        headers = [(name, value) for name, value in request.headers if name.decode("latin-1").lower() not in _HOPS]
        pieces: list[tuple[float, bytes]] = []
        begun = broken = False
        try:
            async with self._client.stream(
                request.method,
                self._upstream + request.target,
                headers=[*headers, (b"accept-encoding", b"identity")],
                content=request.body,
            ) as response:
                length = response.headers.get("content-length")
                kept = kept_headers(response.headers.items())
                framing = connection.framing(int(length) if length is not None else None)
                chunked = length is None and connection.takes_chunks
                connection.put_now(head(response.status_code, tuple(kept.items()), framing))
                begun = True
                try:
                    async for data in response.aiter_raw():
                        pieces.append((self._clock.monotonic() - began, data))
                        connection.put_now(chunk(data) if chunked else data)
                except httpx.TransportError:
                    broken = True
                status = response.status_code
        except httpx.TransportError as error:
            self._unreachable(connection, found, error)
            return
        except asyncio.CancelledError:
            self._journal.write("client-gone", model=model, begun=begun)
            raise
        if found.what == "chat" and model:
            text = without_secrets(as_text(pieces), secrets_of(request))
            self._models.setdefault(model, {})[number] = step_of(
                status, kept, text, stream=length is None, broken=broken
            )
            self._keep_script()
        after_s = round(self._clock.monotonic() - began, 6)
        self._journal.write("recorded", model=model, status=status, after_s=after_s, pieces=len(pieces), broken=broken)
        if chunked and not broken:
            connection.put(LAST_CHUNK)
        connection.finished(keep=not broken and (chunked or length is not None))

    def _unreachable(self, connection: HttpConnection, found: Route, error: httpx.TransportError) -> None:
        text = f"{self._upstream} cannot be reached: {type(error).__name__}: {error}"
        self._say(f"model recorder: {text}")
        self._journal.write("error", error=text)
        reply = error_reply(found.surface, ApiError(502, text), "")
        framing = connection.framing(len(reply.body))
        connection.put(head(reply.status, reply.headers, framing) + reply.body)
        connection.finished(keep=True)

    def _keep_script(self) -> None:
        """Write the script, or say once that it cannot be: the client has its answer, the next reply tries again."""
        before, self._unwritten = self._unwritten, ""
        try:
            self._write_script()
        except OSError as error:
            self._unwritten = error.strerror or str(error)
            if not before:
                self._say(f"model recorder: {self._script} cannot be written ({self._unwritten}); the next reply tries")

    def require_whole(self) -> None:
        """Raises HarnessError if the script lacks replies: the disk was full to the end."""
        if self._unwritten:
            raise HarnessError(f"{self._script} lacks the last replies: it could not be written ({self._unwritten})")

    def _write_script(self) -> None:
        """The whole file, in the order of the requests, and never half of it."""
        models = {model: [steps[number] for number in sorted(steps)] for model, steps in sorted(self._models.items())}
        text = yaml.safe_dump({"models": models}, sort_keys=False, allow_unicode=True, width=120)
        beside = self._script.with_name(f".{self._script.name}.{os.getpid()}")
        try:
            beside.write_text(text, encoding="utf-8")
            beside.replace(self._script)
        except OSError:
            beside.unlink(missing_ok=True)
            raise


def _model_of(found: Route, request: HttpRequest) -> str:
    """The model that a request names; empty if none."""
    if found.what != "chat":
        return ""
    try:
        return found.surface.parse(request.target, request.body).model
    except RequestRefused as refused:
        return refused.model
