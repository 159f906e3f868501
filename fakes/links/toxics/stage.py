"""What every toxic has in common: its value, and the stage that it becomes in one direction of one connection.

Pure: bytes and the time in, bytes and deadlines out. No stage knows a socket, a clock or another stage.

Theory of operation
    A stage is a queue whose items have instants. ``put`` takes an item with the instant at which it arrived, ``take``
    gives those whose instant has come *with that instant*, not with the time of the call, so a chain of stages keeps
    its absolute deadlines however late its driver wakes up. Order is never changed: an item is never ready before
    the one in front of it.

    The end of a stream is an item like any other (a FIN and a RST are segments too): it waits behind the bytes that
    were sent before it, and a stage may hold it back or send one of its own.
"""

from __future__ import annotations

import random
from collections import deque
from enum import Enum
from math import inf
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lockjaw.documents import FieldError

Direction = Literal["upstream", "downstream"]
DIRECTIONS: tuple[Direction, Direction] = ("upstream", "downstream")

Seconds = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Probability = Annotated[float, Meta(ge=0, le=1)]


class Ending(Enum):
    """How a stream ends."""

    FIN = "fin"  # the sender has finished; the other direction goes on
    CLOSE = "close"  # both directions end in good order, after what was sent before
    RESET = "reset"  # both directions are cut


Item = bytes | Ending

ITEM_COST_BYTES = 128  # what an item costs beside its bytes; else a client that sends single bytes could hold 100 times
# as much of our memory as we think
Timed = tuple[float, Item]  # nominal seconds at which it is (or was) ready


def cost(item: Item) -> int:
    """Bytes of memory that holding an item takes, about."""
    return ITEM_COST_BYTES + (len(item) if isinstance(item, bytes) else 0)


class Stage:
    """Passes everything on at once; the toxics differ in ``begin``, ``put`` and sometimes ``take``.

    ``held_bytes``: memory that it takes now; its driver stops reading when that is too much.
    """

    def __init__(self) -> None:
        self._queue: deque[Timed] = deque()
        self._last = -inf
        self.held_bytes = 0

    def begin(self, at: float) -> None:
        """The toxic applies from now on: called once, before the first ``put``."""

    def put(self, item: Item, at: float) -> None:
        """An item has arrived."""
        self.hold(item, at)

    def hold(self, item: Item, until: float) -> None:
        """Keep an item until then, or until the one in front of it has gone, whichever is later."""
        self._last = max(self._last, until)
        self._queue.append((self._last, item))
        self.held_bytes += cost(item)

    def take(self, now: float) -> list[Timed]:
        """What is ready, in order, with the instants at which it was."""
        ready = []
        while self._queue and self._queue[0][0] <= now:
            ready.append(self._queue.popleft())
        self.held_bytes -= sum(cost(item) for _, item in ready)
        return ready

    def next_deadline(self) -> float | None:
        """When ``take`` may give something; None: only after a ``put``, or when it is healed."""
        return self._queue[0][0] if self._queue and self._queue[0][0] < inf else None

    def heal(self, now: float) -> list[Timed]:
        """All that is held back, in order. The stage is not used afterwards."""
        held = [(min(now, at), item) for at, item in self._queue]
        self.drop()
        return held

    def drop(self) -> None:
        """Forget what is held."""
        self._queue.clear()
        self.held_bytes = 0


class Cutting(Stage):
    """Gives bytes in pieces, each with an instant of its own: ``cut`` says how large and when.

    Cuts when it gives, not when it takes: a megabyte in pieces of one byte would be two hundred megabytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._uncut: deque[Timed] = deque()
        self._start = 0  # of what is left of the first of them
        self._next: Timed | None = None

    def cut(self, available: int, at: float) -> tuple[int, float]:
        """Size (1 to ``available``) and instant of the next piece of bytes that arrived ``at``. Asked once for each."""
        raise NotImplementedError

    def end(self, at: float) -> float:
        """When an ending that arrived ``at`` may go."""
        return at

    def put(self, item: Item, at: float) -> None:
        self._uncut.append((at, item))
        self.held_bytes += cost(item)
        self._cut_next()

    def take(self, now: float) -> list[Timed]:
        ready = []
        while self._next is not None and self._next[0] <= now:
            ready.append(self._next)
            item, self._next = self._next[1], None
            self.held_bytes -= len(item) if isinstance(item, bytes) else 0
            self._cut_next()
        return ready

    def next_deadline(self) -> float | None:
        return self._next[0] if self._next is not None and self._next[0] < inf else None

    def heal(self, now: float) -> list[Timed]:
        held = [] if self._next is None else [self._next]
        if self._uncut and self._start:
            at, item = self._uncut.popleft()
            assert isinstance(item, bytes), "only bytes are begun and not finished"
            held.append((at, item[self._start :]))
        held += self._uncut
        self.drop()
        return [(min(now, at), item) for at, item in held]

    def drop(self) -> None:
        super().drop()
        self._uncut.clear()
        self._next, self._start = None, 0

    def _cut_next(self) -> None:
        if self._next is not None or not self._uncut:
            return
        at, item = self._uncut[0]
        if isinstance(item, bytes):
            size, until = self.cut(len(item) - self._start, at)
            piece: Item = item[self._start : self._start + size]
            self._start += size
        else:
            piece, until = item, self.end(at)
        if not isinstance(item, bytes) or self._start == len(item):
            self._uncut.popleft()
            self._start = 0
            self.held_bytes -= ITEM_COST_BYTES
        self._last = max(self._last, until)
        self._next = (self._last, piece)


class Toxic(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type"):
    """What all toxics can say.

    ``trigger``: the toxic applies to a connection from the moment that this text has passed (its ``trigger_nth``
    time), to the first byte behind it; wherever the network cut the text in two.
    """

    name: str = ""  # to heal it by; `<type>_<stream>` if not given
    stream: Direction = "downstream"  # upstream: what the client sends; downstream: what it receives
    toxicity: Probability = 1.0  # share of the connections that it applies to, drawn from the seed
    trigger: str | None = None
    trigger_nth: Positive = 1
    trigger_stream: Direction | None = None  # where the text is looked for; the toxic's own stream if not given

    def __post_init__(self) -> None:
        if self.trigger == "":
            raise FieldError("trigger", "a text that is not empty")
        if self.trigger is None and (self.trigger_stream is not None or self.trigger_nth != 1):
            raise FieldError("trigger", "a text, beside trigger_nth or trigger_stream")

    @property
    def type(self) -> str:
        return str(self.__struct_config__.tag)

    @property
    def label(self) -> str:
        """The name that it is healed by."""
        return self.name or f"{self.type}_{self.stream}"

    def stage(self, stream: random.Random, nth: int) -> Stage:
        """Its stage for one connection.

        Args:
            stream: randomness of this connection and this toxic alone.
            nth: the connection is the nth since the toxic was added; 0: it was there before.
        """
        raise NotImplementedError
