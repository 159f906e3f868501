"""``lockjaw serve link``."""

from __future__ import annotations

from typing import Annotated

import typer

from lockjaw.cli.options import JournalFile, ReadyFd, Seed
from lockjaw.cli.serve.start import Start
from lockjaw.fakes.links.link import address_of
from lockjaw.fakes.links.service import LinkService
from lockjaw.fakes.links.toxics import parse_toxic
from lockjaw.fakes.links.toxiproxy_api import Links
from lockjaw.visible import tell

__all__ = ["link"]


def link(
    upstream: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where its connections lead.")],
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Address to bind; port 0 picks one.")
    ] = "127.0.0.1:0",
    toxic: Annotated[
        list[str] | None,
        typer.Option(metavar="TOXIC", help="A fault, such as 'latency latency_s=0.2 stream=upstream'. Repeatable."),
    ] = None,
    api: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Also serve an HTTP API that adds and heals toxics: Toxiproxy's."),
    ] = None,
    name: Annotated[str, typer.Option(help="What journal and API call it.")] = "link",
    journal: JournalFile = None,
    seed: Seed = 1,
    allow_remote: Annotated[
        bool,
        typer.Option(help="Allow addresses that are not loopback: others can then connect, and be connected to."),
    ] = False,
    ready_fd: ReadyFd = None,
) -> None:
    """Relay TCP connections with faults on the way.

    Point a client at it in place of the server; it relays to --upstream until SIGTERM or Ctrl-C.

    The toxics: latency, bandwidth, slicer, stall, limit_data, slow_close, reset_peer, loss, fail_first.
    docs/reference/toxics.md has their keys. They apply in the order in which they are given.
    """

    def told(url: str) -> None:
        tell(f"control API on {url}")

    toxics = [parse_toxic(text) for text in toxic or ()]
    host, port = address_of(listen)
    start = Start("link", host, port, journal, allow_remote, ready_fd)
    links = Links(clock=start.clock, seed=seed, journal=journal, allow_remote=allow_remote)
    start.run(LinkService(upstream, name=name, toxics=toxics, api=api, on_api=told, links=links))
