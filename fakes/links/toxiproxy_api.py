"""Links controlled over HTTP, with Toxiproxy's own paths and JSON, so that its clients work.

``GET|POST /proxies``, ``GET|POST|PATCH|DELETE /proxies/NAME``, ``GET|POST /proxies/NAME/toxics``,
``GET|POST|PATCH|DELETE /proxies/NAME/toxics/TOXIC``, ``POST /populate``, ``POST /reset``, ``GET /version``.
A proxy is a link here; what its JSON says about toxics is in ``toxiproxy_shapes``.

Different from Toxiproxy on purpose: an unknown attribute is an error and not silence; addresses must be loopback unless
the links may be remote; ``reset_peer`` counts from the moment at which it applies, not from the next byte.

Browsers are refused, as there: a page on the web could otherwise reach a control port on loopback.
Source: Toxiproxy 2.12, ``README`` and ``api.go``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from lockjaw import __version__
from lockjaw.clock import Clock, ScaledClock
from lockjaw.errors import LocalError

from ..http_connection import Headers, HttpConnection, HttpLimits, HttpRequest, Refused, head
from ..http_server import HttpServer
from ..journal import Listener
from .link import Link, address_of
from .toxics import Toxic
from .toxiproxy_shapes import BadToxic, shape_of, toxic_from

API_VERSION = "2.12.0"  # the Toxiproxy whose API this is

_LIMITS = HttpLimits(header_bytes=16_384, body_bytes=1_048_576, header_real_s=15.0, request_real_s=15.0)
_CONNECTIONS = 64
_JSON: Headers = (("content-type", "application/json"),)


class ApiRefusal(Exception):
    """What the client is told: ``{"error": message, "status": status}``."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Links:
    """The links of one process, by name.

    Args:
        clock, seed, journal, allow_remote: of the links that are created here.
        on_entry: sees the journal entries of all of them.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        seed: int = 0,
        journal: str | Path | None = None,
        on_entry: Listener | None = None,
        allow_remote: bool = False,
    ) -> None:
        self.clock = clock or ScaledClock.start()
        self._seed, self._journal, self._on_entry, self._allow_remote = seed, journal, on_entry, allow_remote
        self._links: dict[str, Link] = {}

    def __iter__(self) -> Iterator[Link]:
        return iter(list(self._links.values()))

    def get(self, name: str) -> Link:
        if name not in self._links:
            raise ApiRefusal(404, "proxy not found")
        return self._links[name]

    async def create(self, name: str, listen: str, upstream: str, *, enabled: bool = True) -> Link:
        """Raises ApiRefusal: there is one of this name. LocalError: an address cannot be used."""
        if name in self._links:
            raise ApiRefusal(409, "proxy already exists")
        link = Link(
            upstream, name=name, clock=self.clock, seed=self._seed, journal=self._journal,
            on_entry=self._on_entry, allow_remote=self._allow_remote,
        )  # fmt: skip
        await link.start(*_listen_at(listen), allow_remote=self._allow_remote)
        if not enabled:
            await link.disable()
        self._links[name] = link
        return link

    async def update(self, name: str, *, listen: str, upstream: str, enabled: bool) -> Link:
        """Another address or another upstream restarts the link and drops its connections; its toxics stay."""
        link = self.get(name)
        if (listen, upstream) != (link.address, link.upstream):
            await link.move(upstream, *_listen_at(listen), allow_remote=self._allow_remote)
        if enabled:
            await link.enable()
        else:
            await link.disable()
        return link

    async def remove(self, name: str) -> None:
        await self.get(name).stop()
        del self._links[name]

    async def stop(self) -> None:
        for link in self:
            await link.stop()


def _listen_at(listen: str) -> tuple[str, int]:
    host, port = address_of(f"127.0.0.1{listen}" if listen.startswith(":") else listen)
    return "127.0.0.1" if host == "localhost" else host, port  # two sockets, else, and two ports


class ControlServer(HttpServer):
    """The HTTP side of ``Links``. A client that leaves changes nothing: a change of a link is made whole or not at
    all."""

    def __init__(self, links: Links) -> None:
        super().__init__(_LIMITS, lambda: None, most=_CONNECTIONS)
        self._links = links
        self._one_at_a_time = asyncio.Lock()  # a change of a link takes several steps
        self._answers: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        await self._close_door()
        answers = list(self._answers)
        for task in answers:
            task.cancel()
        await asyncio.gather(*answers, return_exceptions=True)
        await self._drop_connections()

    # ------------------------------------------------------------------ the handler of the connections

    def serve(self, connection: HttpConnection, request: HttpRequest) -> None:
        task = asyncio.ensure_future(self._answer_to(connection, request))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    def refuse(self, connection: HttpConnection, refused: Refused) -> tuple[int, Headers, bytes]:
        return refused.status, _JSON, _error(refused.status, f"bad request: {refused.message}")

    async def _answer_to(self, connection: HttpConnection, request: HttpRequest) -> None:
        answer = await self._answer(request)
        if answer.status == HTTPStatus.NO_CONTENT:
            connection.put(head(answer.status, (), "" if request.keep_alive else "connection: close\r\n"))
        else:
            connection.put(head(answer.status, _JSON, connection.framing(len(answer.body))) + answer.body)
        connection.finished(keep=True)

    async def _answer(self, request: HttpRequest) -> _Answer:
        if request.header("user-agent").startswith("Mozilla/"):
            return _Answer(403, _error(403, "User agent not allowed"))
        path = urlsplit(request.target).path
        try:
            async with self._one_at_a_time:
                return await self._route(request.method, path, request.body)
        except ApiRefusal as error:
            return _Answer(error.status, _error(error.status, error.message))
        except LocalError as error:
            return _Answer(400, _error(400, str(error)))

    # ------------------------------------------------------------------ routes

    async def _route(self, method: str, path: str, body: bytes) -> _Answer:
        allowed: list[str] = []
        for pattern, methods, handler in self._routes():
            if (matched := pattern.fullmatch(path)) is None:
                continue
            if method in methods:
                return await handler(body, *(unquote(part) for part in matched.groups()))
            allowed.extend(methods)
        if allowed:
            raise ApiRefusal(405, f"method not allowed: {method[:20]}; {', '.join(allowed)} would be")
        raise ApiRefusal(404, f"no such path: {path[:100]}")

    def _routes(self) -> tuple[_Route, ...]:
        name = "([^/]+)"
        return (
            (re.compile("/version"), ("GET",), self._version),
            (re.compile("/reset"), ("POST",), self._reset),
            (re.compile("/populate"), ("POST",), self._populate),
            (re.compile("/proxies"), ("GET",), self._list),
            (re.compile("/proxies"), ("POST",), self._create),
            (re.compile(f"/proxies/{name}"), ("GET",), self._show),
            (re.compile(f"/proxies/{name}"), ("POST", "PATCH"), self._update),
            (re.compile(f"/proxies/{name}"), ("DELETE",), self._remove),
            (re.compile(f"/proxies/{name}/toxics"), ("GET",), self._toxics),
            (re.compile(f"/proxies/{name}/toxics"), ("POST",), self._add_toxic),
            (re.compile(f"/proxies/{name}/toxics/{name}"), ("GET",), self._show_toxic),
            (re.compile(f"/proxies/{name}/toxics/{name}"), ("POST", "PATCH"), self._change_toxic),
            (re.compile(f"/proxies/{name}/toxics/{name}"), ("DELETE",), self._heal_toxic),
        )

    async def _version(self, body: bytes) -> _Answer:
        return _Answer.json(200, {"version": API_VERSION, "server": f"lockjaw {__version__}"})

    async def _reset(self, body: bytes) -> _Answer:
        for link in self._links:
            await link.enable()
            link.heal_all()
        return _Answer(204, b"")

    async def _list(self, body: bytes) -> _Answer:
        return _Answer.json(200, {link.name: _proxy(link) for link in self._links})

    async def _create(self, body: bytes) -> _Answer:
        return _Answer.json(201, _proxy(await self._created(_mapping(body))))

    async def _created(self, data: Mapping[str, Any]) -> Link:
        fields = _proxy_fields(data, {"listen": "127.0.0.1:0", "enabled": True})
        for field in ("name", "upstream"):
            if not fields.get(field):
                raise ApiRefusal(400, f"missing required field: {field}")
        return await self._links.create(fields["name"], fields["listen"], fields["upstream"], enabled=fields["enabled"])

    async def _populate(self, body: bytes) -> _Answer:
        """Proxies that are as described stay as they are; the others are replaced."""
        wanted = _decoded(body)
        if not isinstance(wanted, list) or not all(isinstance(one, dict) for one in wanted):
            raise ApiRefusal(400, "bad request body: expected a list of proxies")
        made = []
        for data in wanted:
            there = {link.name: link for link in self._links}.get(str(data.get("name")))
            if there is not None and (data.get("upstream"), data.get("listen")) == (there.upstream, there.address):
                made.append(there)
                continue
            if there is not None:
                await self._links.remove(there.name)
            made.append(await self._created(data))
        return _Answer.json(201, {"proxies": [_proxy(link) for link in made]})

    async def _show(self, body: bytes, name: str) -> _Answer:
        return _Answer.json(200, _proxy(self._links.get(name)))

    async def _update(self, body: bytes, name: str) -> _Answer:
        link = self._links.get(name)
        known = {"listen": link.address, "upstream": link.upstream, "enabled": link.enabled}
        fields = _proxy_fields(_mapping(body), known)
        link = await self._links.update(
            name, listen=fields["listen"], upstream=fields["upstream"], enabled=fields["enabled"]
        )
        return _Answer.json(200, _proxy(link))

    async def _remove(self, body: bytes, name: str) -> _Answer:
        await self._links.remove(name)
        return _Answer(204, b"")

    async def _toxics(self, body: bytes, name: str) -> _Answer:
        return _Answer.json(200, [shape_of(toxic) for toxic in self._links.get(name).toxics])

    async def _add_toxic(self, body: bytes, name: str) -> _Answer:
        link, toxic = self._links.get(name), toxic_from(_mapping(body))
        if any(toxic.label == one.label for one in link.toxics):
            raise ApiRefusal(409, "toxic already exists")
        link.add(toxic)
        return _Answer.json(200, shape_of(toxic))

    async def _show_toxic(self, body: bytes, name: str, toxic: str) -> _Answer:
        return _Answer.json(200, shape_of(self._toxic(name, toxic)))

    async def _change_toxic(self, body: bytes, name: str, toxic: str) -> _Answer:
        changed = toxic_from(_mapping(body), self._toxic(name, toxic))
        self._links.get(name).change(changed)
        return _Answer.json(200, shape_of(changed))

    async def _heal_toxic(self, body: bytes, name: str, toxic: str) -> _Answer:
        self._toxic(name, toxic)
        self._links.get(name).heal(toxic)
        return _Answer(204, b"")

    def _toxic(self, name: str, toxic: str) -> Toxic:
        for one in self._links.get(name).toxics:
            if one.label == toxic:
                return one
        raise ApiRefusal(404, "toxic not found")


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes

    @classmethod
    def json(cls, status: int, data: object) -> _Answer:
        return cls(status, msgspec.json.encode(data))


_Route = tuple[re.Pattern[str], tuple[str, ...], Callable[..., Awaitable[_Answer]]]


def _error(status: int, message: str) -> bytes:
    return msgspec.json.encode({"error": message, "status": status})


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiRefusal(400, f"bad request body: {error}") from error


def _mapping(body: bytes) -> dict[str, Any]:
    data = _decoded(body)
    if not isinstance(data, dict):
        raise ApiRefusal(400, "bad request body: expected an object")
    return data


def _proxy_fields(data: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {"name": str, "listen": str, "upstream": str, "enabled": bool}
    fields = dict(known)
    for field, kind in kinds.items():
        value = data.get(field)
        if value is None or value == "":
            continue
        if not isinstance(value, kind):
            raise ApiRefusal(400, f"bad request body: {field} must be {'true or false' if kind is bool else 'a text'}")
        fields[field] = value
    return fields


def _proxy(link: Link) -> dict[str, Any]:
    return {
        "name": link.name, "listen": link.address, "upstream": link.upstream, "enabled": link.enabled,
        "toxics": [shape_of(toxic) for toxic in link.toxics],
    }  # fmt: skip


__all__ = ["API_VERSION", "ApiRefusal", "BadToxic", "ControlServer", "Links"]
