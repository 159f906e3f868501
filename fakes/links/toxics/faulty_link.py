"""A link apart from who carries its bytes: its toxics, and what they are to each of its connections."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Protocol

from lockjaw.errors import LocalError
from lockjaw.seeds import Seeds

from .conversation import Conversation
from .stage import Toxic

__all__ = ["Carried", "FaultyLink"]


class Carried(Protocol):
    """One connection of the link. ``number``: the first one has 1."""

    number: int
    conversation: Conversation

    def pump(self) -> None:
        """Deliver what has come out."""


class FaultyLink:
    """The base of links over sockets and of simulated ones. Pure but for what connections do when they are pumped.

    Args:
        name: what the seed's streams and the errors call it.
        seed: root of all chance, which is drawn per connection and toxic.
        now: nominal instant.
        carried: the connections that are open, by number; kept by the link.
    """

    def __init__(self, name: str, seed: int, *, now: Callable[[], float], carried: Mapping[int, Carried]) -> None:
        self.name, self._now, self._carried = name, now, carried
        self._seeds = Seeds(seed).child("link").child(name)
        self._toxics: dict[str, Toxic] = {}
        self._since: dict[str, int] = {}  # toxic -> connections that were there before it
        self._numbers = 0

    @property
    def toxics(self) -> tuple[Toxic, ...]:
        """In the order in which bytes pass them."""
        return tuple(self._toxics.values())

    def add(self, toxic: Toxic) -> None:
        """Apply a toxic, to open connections too. Raises LocalError if there is one of this name."""
        if toxic.label in self._toxics:
            raise LocalError(f"link {self.name}: there is a toxic {toxic.label!r} already; heal it, or give a name")
        self._toxics[toxic.label] = toxic
        self._since[toxic.label] = self._numbers
        self._changed("toxic", toxic)
        for one in list(self._carried.values()):
            self._apply(toxic, one)
            one.pump()

    def change(self, toxic: Toxic) -> None:
        """Give the toxic of this name other values. Raises LocalError if there is none, or its stream differs."""
        old = self._toxics.get(toxic.label)
        if old is None or old.stream != toxic.stream or old.type != toxic.type:
            raise LocalError(f"link {self.name}: no {toxic.type} toxic {toxic.label!r} on {toxic.stream} to change")
        self._toxics[toxic.label] = toxic
        self._changed("changed", toxic)
        for one in list(self._carried.values()):
            draws, nth = self._draws(toxic, one)
            one.conversation.change(toxic, draws, nth=nth, now=self._now())
            one.pump()

    def heal(self, name: str) -> None:
        """Take a toxic away; what it held back flows on. Raises LocalError if there is none of this name."""
        healed = self._toxics.pop(name, None)
        if healed is None:
            there = ", ".join(self._toxics) or "none"
            raise LocalError(f"link {self.name}: no toxic {name!r} to heal; there are: {there}")
        self._changed("healed", healed)
        for one in list(self._carried.values()):
            one.conversation.heal(name, now=self._now())
            one.pump()

    def heal_all(self) -> None:
        for name in list(self._toxics):
            self.heal(name)

    def _changed(self, what: str, toxic: Toxic) -> None:
        """Called before a change shows in any connection: toxic, changed or healed."""

    def _next_number(self) -> int:
        """For a connection that comes now."""
        self._numbers += 1
        return self._numbers

    def _begin(self, one: Carried) -> None:
        """A connection has come: everything that is there applies to it."""
        for toxic in self._toxics.values():
            self._apply(toxic, one)

    def _apply(self, toxic: Toxic, one: Carried) -> None:
        draws, nth = self._draws(toxic, one)
        one.conversation.add(toxic, draws, nth=nth, now=self._now())

    def _draws(self, toxic: Toxic, one: Carried) -> tuple[random.Random, int]:
        stream = self._seeds.child(toxic.label).stream(str(one.number))
        return stream, max(0, one.number - self._since[toxic.label])
