"""Loss: lost segments, as TCP shows them to a program: as pauses.

A program on a TCP connection never misses bytes; it waits for them, and for everything behind them, until the sender
has noticed the loss and sent them again.
"""

from __future__ import annotations

import random

from lockjaw.documents import FieldError

from .stage import Cutting, Positive, Probability, Seconds, Stage, Toxic

TRIES = 7  # after so many losses in a row a segment arrives anyway; a real stack would go on for minutes


class Loss(Toxic, frozen=True, kw_only=True, tag="loss"):
    """Each segment is lost with this probability and arrives ``retransmit_s`` late; lost again, twice that later.

    Which segments are lost depends on the seed and on their place in the stream, not on how it was sent.
    """

    rate: Probability
    segment_bytes: Positive = 1460  # an Ethernet segment
    retransmit_s: Seconds = 0.2  # Linux waits at least this long (TCP_RTO_MIN)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rate == 1:
            raise FieldError("rate", "less than 1 (for a link that passes nothing use stall)", self.rate)

    def stage(self, stream: random.Random, nth: int) -> Stage:
        return _Lossy(self, stream)


class _Lossy(Cutting):
    def __init__(self, toxic: Loss, stream: random.Random) -> None:
        super().__init__()
        self._toxic, self._stream = toxic, stream
        self._left, self._late_s = 0, 0.0  # of the segment at hand: bytes up to its end, how late it is

    def cut(self, available: int, at: float) -> tuple[int, float]:
        if not self._left:
            self._left, self._late_s = self._toxic.segment_bytes, self._drawn()
        size = min(available, self._left)
        self._left -= size
        return size, at + self._late_s

    def _drawn(self) -> float:
        late_s, wait_s = 0.0, self._toxic.retransmit_s
        for _ in range(TRIES):
            if self._stream.random() >= self._toxic.rate:
                break
            late_s, wait_s = late_s + wait_s, wait_s * 2
        return late_s
