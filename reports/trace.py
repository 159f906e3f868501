"""The run as Chrome trace events, for Perfetto (ui.perfetto.dev) and chrome://tracing. Pure.

One process "run" with a track per actor, one process "session locks" with a track per lock. Times are nominal, in
whole microseconds from the first record, so none is negative. Format: "Trace Event Format" (Google); what Perfetto
adds to it: slices of one track must nest, and an end of a flow binds to a slice of its track. So an operation that
overlaps another one without lying inside it becomes an async pair, and a step that a message begins or ends at
becomes a slice of one microsecond.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from lockjaw import __version__
from lockjaw.history.run import Run

from .html_strings import excerpt, folder_shortener
from .sentences import sentence, session_of
from .swimlane import Swimlane, swimlane

Event = dict[str, Any]

RUN, LOCKS = 1, 2  # process ids in the trace
MAX_VALUE = 2000  # characters of one value: Perfetto keeps all of them in memory, and shows a line


def render(run: Run) -> str:
    """The trace of a run as one JSON document with a final newline."""
    return json.dumps(trace(run), ensure_ascii=True, allow_nan=False) + "\n"


def trace(run: Run) -> Event:
    """The JSON object format: ``traceEvents`` in the order of ``ts``, metadata first."""
    lane = swimlane(run.history)
    origin = lane.history[0].t if lane.history else 0.0
    times = [round((record.t - origin) * 1e6) for record in lane.history]
    writer = _Writer(lane, times, folder_shortener(run.folder))
    facts = {key: str(getattr(run, key)) for key in ("scenario", "policy", "engine", "target", "seed", "verdict")}
    return {
        "traceEvents": writer.events(),
        "displayTimeUnit": "ms",
        "otherData": {"lockjaw": __version__, "time": "nominal", **facts},
    }


class _Writer:
    def __init__(self, lane: Swimlane, times: Sequence[int], short: Callable[[str], str]) -> None:
        self._lane, self._times, self._short = lane, times, short
        self._end = times[-1] if times else 0

    def events(self) -> list[Event]:
        body = [*self._holds(), *self._bars(), *self._steps(), *self._flows()]
        body.sort(key=lambda event: (event["ts"], -event.get("dur", 0)))
        return [*self._names(), *body]

    def _names(self) -> list[Event]:
        """Metadata: what processes and tracks are called, and their order."""
        named = [_meta("process_name", RUN, 0, name="run"), _meta("process_name", LOCKS, 0, name="session locks")]
        named += [
            _meta("process_sort_index", LOCKS, 0, sort_index=0),
            _meta("process_sort_index", RUN, 0, sort_index=1),
        ]
        for n, lock in enumerate(self._lane.locks):
            named.append(_meta("thread_name", LOCKS, n + 1, name=f"lock of {self._show(session_of(lock))}"))
        for n, lane in enumerate(self._lane.lanes):
            named.append(_meta("thread_name", RUN, n + 1, name=self._show(lane.actor)))
            named.append(_meta("thread_sort_index", RUN, n + 1, sort_index=n))
        return named

    def _holds(self) -> list[Event]:
        tracks = {lock: n + 1 for n, lock in enumerate(self._lane.locks)}
        found = []
        for hold in self._lane.holds:
            name = f"{self._show(hold.owner)}{' (dead)' if hold.dead else ''}"
            found.append(self._span(LOCKS, tracks[hold.lock], "lock", name, hold.start, hold.end, {"how": hold.how}))
        return _nested(found)

    def _bars(self) -> list[Event]:
        return _nested([
            self._span(RUN, bar.lane + 1, bar.kind, bar.labels[0], bar.start, bar.end, self._values(bar.start))
            for bar in self._lane.bars
        ])  # fmt: skip

    def _span(self, pid: int, tid: int, cat: str, name: str, start: int, end: int | None, args: Event) -> Event:
        begin = self._times[start]
        until = self._end if end is None else self._times[end]
        more = args if end is not None else {**args, "end": "never: the record ends first"}
        return {
            "name": self._show(name), "cat": cat, "ph": "X", "ts": begin, "dur": max(until - begin, 1), "pid": pid,
            "tid": tid, "args": more,
        }  # fmt: skip

    def _steps(self) -> list[Event]:
        """Every record as an instant; one that a message begins or ends at as a slice, see the module's docstring."""
        bound = {at for arrow in self._lane.arrows for at in (arrow.start, arrow.end)}
        found = []
        for at, record in enumerate(self._lane.history):
            shape: Event = {"ph": "X", "dur": 1} if at in bound else {"ph": "i", "s": "t"}
            found.append({
                "name": self._show(sentence(record)), "cat": record.op, "ts": self._times[at], "pid": RUN,
                "tid": self._lane.lane_of[at] + 1, "args": self._values(at), **shape,
            })  # fmt: skip
        return found

    def _flows(self) -> list[Event]:
        found = []
        for number, arrow in enumerate(self._lane.arrows):
            for at, ends in ((arrow.start, {"ph": "s"}), (arrow.end, {"ph": "f", "bp": "e"})):
                found.append({
                    "name": self._show(arrow.label), "cat": "message", "id": number + 1, "ts": self._times[at],
                    "pid": RUN, "tid": self._lane.lane_of[at] + 1, **ends,
                })  # fmt: skip
        return found

    def _values(self, at: int) -> Event:
        record = self._lane.history[at]
        shown = {self._show(key): excerpt(value, MAX_VALUE, self._short) for key, value in record.data.items()}
        return {"record": at, "phase": record.phase, **shown}

    def _show(self, text: str) -> str:
        return excerpt(text, MAX_VALUE, self._short)


def _meta(kind: str, pid: int, tid: int, **args: object) -> Event:
    return {"name": kind, "ph": "M", "ts": 0, "pid": pid, "tid": tid, "args": args}


def _nested(slices: Sequence[Event]) -> list[Event]:
    """Slices that overlap another one of their track without lying inside it become async pairs."""
    found: list[Event] = []
    open_until: dict[tuple[int, int], list[int]] = {}
    for number, event in enumerate(sorted(slices, key=lambda e: (e["ts"], -e["dur"]))):
        ends = open_until.setdefault((event["pid"], event["tid"]), [])
        while ends and ends[-1] <= event["ts"]:
            ends.pop()
        end = event["ts"] + event["dur"]
        if not ends or end <= ends[-1]:
            ends.append(end)
            found.append(event)
            continue
        pair = {key: value for key, value in event.items() if key not in ("dur", "args")} | {
            "id": f"{event['cat']}-{number}"
        }
        found += [pair | {"ph": "b", "args": event["args"]}, pair | {"ph": "e", "ts": end}]
    return found
