"""``lockjaw serve link``: one link and, if asked for, the HTTP API that controls it, until a signal ends them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lockjaw.clock import Clock

from ..serving import FakeServer, Ready, serve_until_signal
from .link import address_of
from .toxics import Toxic
from .toxiproxy_api import ControlServer, Links


class LinkService(FakeServer):
    """A link, its toxics, and its control API as one server.

    Args:
        api: ``host:port`` of the control API; None: there is none. ``on_api`` is told where it listens.
    """

    def __init__(
        self,
        upstream: str,
        *,
        name: str,
        toxics: Sequence[Toxic],
        api: str | None,
        on_api: Callable[[str], None] | None,
        links: Links,
    ) -> None:
        self._upstream, self._name, self._toxics = upstream, name, toxics
        self._api, self._on_api = address_of(api) if api is not None else None, on_api
        self._links = links
        self._control = ControlServer(links)

    async def _listen(self, host: str, port: int) -> int:
        """The link first, then its API: whoever is told of the port can use both."""
        listen = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        link = await self._links.create(self._name, listen, self._upstream)
        for toxic in self._toxics:
            link.add(toxic)
        if self._api is not None:
            bound = await self._control.start(*self._api, allow_remote=self._allow_remote)
            if self._on_api is not None:
                self._on_api(f"http://{self._api[0]}:{bound}")
        return link.port

    async def stop(self) -> None:
        await self._control.stop()
        await self._links.stop()


async def serve_link(
    upstream: str,
    *,
    name: str = "link",
    toxics: Sequence[Toxic] = (),
    api: str | None = None,
    on_api: Callable[[str], None] | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    journal: str | Path | None = None,
    ready: Ready | None = None,
    clock: Clock | None = None,
    seed: int = 0,
    allow_remote: bool = False,
) -> None:
    """Serve a link until SIGTERM or SIGINT; then return.

    Args:
        ready: told ``(pid, port)`` once the link and its API listen and signals end them in order.

    Raises:
        LocalError: an address is malformed, taken, or not loopback and ``allow_remote`` is not set.
    """
    links = Links(clock=clock, seed=seed, journal=journal, allow_remote=allow_remote)
    service = LinkService(upstream, name=name, toxics=toxics, api=api, on_api=on_api, links=links)
    await serve_until_signal(service, host, port, allow_remote=allow_remote, ready=ready)
