"""What ``lockjaw serve link`` serves: one link and, if asked for, the HTTP API that controls it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..serving import FakeServer
from .link import address_of
from .toxics import Toxic
from .toxiproxy_api import ControlServer, Links


class LinkService(FakeServer):
    """A link, its toxics, and its control API as one server.

    Args:
        api: ``host:port`` of the control API; None: there is none. ``on_api`` is told where it listens.

    Raises:
        LocalError: the address of the API is malformed.
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
