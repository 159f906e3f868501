"""The gateway's memory of answers: a request sent again gets the answer again and is not executed again.

Pure: the time comes in as an argument. Keys are ``<method>:<idempotencyKey>``. While a run goes on, the
stored answer is its *accepted* one; when it ends, the final answer replaces it. What a second caller sees in
the meantime is decided by whoever asks (see ``server_methods``), not here.

Source: protocol facts B2 (dedupe store) and its bounds there.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from lockjaw.gateway.frames import ErrorShape

TTL_S = 300.0  # upstream forgets after 5 minutes
LIMIT = 1000  # entries; the oldest go first


class Answer(msgspec.Struct, frozen=True):
    """What goes into a response frame."""

    ok: bool
    payload: Any = None
    error: ErrorShape | UnsetType = UNSET


class Dedupe:
    """Answers by key.

    An entry's age counts from its last ``put``: the final answer of a run that took an hour is remembered
    for five minutes from its end.
    """

    def __init__(self, *, ttl_s: float = TTL_S, limit: int = LIMIT) -> None:
        self._ttl_s, self._limit = ttl_s, limit
        self._entries: OrderedDict[str, tuple[float, Answer]] = OrderedDict()  # oldest put first

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str, now: float) -> Answer | None:
        """The stored answer, unless it is older than the TTL at ``now`` (nominal monotonic seconds)."""
        entry = self._entries.get(key)
        if entry is None or now - entry[0] > self._ttl_s:
            return None
        return entry[1]

    def put(self, key: str, answer: Answer, now: float) -> None:
        self._entries[key] = (now, answer)
        self._entries.move_to_end(key)
        while len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def sweep(self, now: float) -> int:
        """Drop what is older than the TTL; how many went."""
        old = [key for key, (at, _) in self._entries.items() if now - at > self._ttl_s]
        for key in old:
            del self._entries[key]
        return len(old)
