"""What the fake model server saw of a runtime that records nothing itself: requests, and which were under way at once.

Pure. A request carries markers of the scenario (``LJ-1``) where its texts held some: ``asks`` are those of the user's
last message. ``aside``: a request of the program's own (a title, a summary), which is no part of a turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lockjaw.history import Record
from lockjaw.history.spans import Span, spans

__all__ = ["at_once", "markers_in", "requests_of_turns", "same_question"]

_MARKER = re.compile(r"\bLJ-\d+\b")


def requests_of_turns(history: Sequence[Record]) -> list[Span]:
    """The requests since second 0, in order of their start, but for those aside."""
    found = spans(history, "provider.request", "request_id")
    return [request for request in found if request.start.t >= 0 and not request.start.data.get("aside")]


def at_once(requests: Sequence[Span]) -> Iterator[tuple[Span, Span]]:
    """Each pair of requests of which the later began before the earlier had ended."""
    for n, late in enumerate(requests):
        yield from ((early, late) for early in requests[:n] if late.start.t < early.end_s)


def same_question(one: Span, other: Span) -> bool:
    """Both ask for the answer to one question; without markers every request of a run is taken for that."""
    asked, also = one.start.data.get("asks"), other.start.data.get("asks")
    return asked is None or also is None or bool(set(asked) & set(also))


def markers_in(text: str) -> set[str]:
    """The scenario's own words (``LJ-1``) in a text, by which a request is known to hold it."""
    return set(_MARKER.findall(text))
