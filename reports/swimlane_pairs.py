"""What belongs together in a history: beginnings with their ends, messages with their arrival. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

import msgspec

from lockjaw.history import Record
from lockjaw.history.ordered import numbered
from lockjaw.history.spans import spans

#: op -> the keys of ``data`` that tell two operations of one actor apart.
_IDENTITY: dict[str, tuple[str, ...]] = {
    "client.call": ("method", "run_id"),
    "lane.wait": ("run_id", "lane"),
    "lock": ("path",),
    "turn": ("turn_id",),
    "model.call": ("call_id",),
    "tool": ("tool_call_id",),
    "provider.request": ("request_id",),
    "next_turn": ("path",),
    "deliver": ("text",),
    "read": ("path",),
}


#: Faults that last -> what they share with their healing.
_LASTS = {"pause": "paused", "block": "paused", "part": "parted", "toxic": "parted"}
_HEALS = {"resume": "paused", "restart": "paused", "kill": "paused", "heal": "parted"}


class Stay(msgspec.Struct, frozen=True):
    """One operation, or one fault that lasts, from position ``start`` to ``end``; None: it never ended.

    ``cut``: its actor died in it.
    """

    start: int
    end: int | None
    cut: bool = False


class Arrow(msgspec.Struct, frozen=True):
    """A message: sent at position ``start``, seen at position ``end``."""

    start: int
    end: int
    label: str


def stays(history: Sequence[Record]) -> tuple[Stay, ...]:
    """What takes time, in the order in which it began: operations, and faults until they are healed."""
    ordered = numbered(history)
    found = [
        Stay(span.start.i, None if span.end is None else span.end.i, span.outcome == "died")
        for op, keys in _IDENTITY.items()
        for span in spans(ordered, op, *keys)
    ]
    found += _faults(ordered)
    return tuple(sorted(found, key=lambda stay: (stay.start, stay.end or len(ordered))))


def _faults(history: Sequence[Record]) -> Iterator[Stay]:
    """A fault that lasts (frozen, stuck, cut off) does so until it is healed, or for as long as it says."""
    times = [record.t for record in history]
    current: dict[tuple[object, ...], int] = {}
    for at, record in enumerate(history):
        if record.op == "nemesis" and record.phase != "invoke":
            action = str(record.data.get("action"))
            lasting = action if record.data.get("lasts") else _LASTS.get(action)
            kept = (lasting or record.data.get("heals") or _HEALS.get(action), record.data.get("target"))
            if (begun := current.pop(kept, None)) is not None:
                yield Stay(begun, at)
            if lasting:
                current[kept] = at
    for begun in current.values():
        yield Stay(begun, _over_by_itself(history[begun], times))


def _over_by_itself(begin: Record, times: Sequence[float]) -> int | None:
    """Where a fault that says how long it lasts is over; None: it does not say, or the history ends before."""
    for_s = begin.data.get("for_s")
    if not isinstance(for_s, int | float):
        return None
    until = bisect_left(times, begin.t + for_s)
    return until if until < len(times) else None


def arrows(history: Sequence[Record]) -> tuple[Arrow, ...]:
    """Messages between actors that the history shows at both ends, in the order of their sending.

    Client and gateway share the run id. A provider request carries no id of its caller: it belongs to the oldest
    call of that model that no request has been matched with. That is a guess when two calls of one model are on
    their way at once, and a wrong guess only crosses two arrows.
    """
    found: list[Arrow] = []
    asked: dict[str, int] = {}  # run id -> the client's call
    answered: dict[str, int] = {}  # run id -> the gateway's final answer
    stopping: int | None = None
    calls: dict[str, list[int]] = {}  # model -> calls that no request has been matched with
    caller: dict[tuple[str, str], int] = {}  # (actor, request id) -> the call
    result: dict[int, int] = {}  # call -> position where the provider was done with it
    open_calls: dict[tuple[str, str], int] = {}  # (actor, call id) -> the call
    for at, record in enumerate(history):
        data = record.data
        run_id = str(data.get("run_id"))
        match record.op, record.phase:
            case "client.call", "invoke":
                asked[run_id] = at
            case "client.call", "ok" if run_id in answered:
                found.append(Arrow(answered.pop(run_id), at, "answer"))
            case "gateway.accepted", _ if run_id in asked:
                found.append(Arrow(asked[run_id], at, "run the turn"))
            case "gateway.final", _:
                answered[run_id] = at
            case "fallback", _ if data.get("step") == "stop":
                stopping = at
            case "gateway.abort", _ if stopping is not None:
                found.append(Arrow(stopping, at, "stop"))
                stopping = None
            case "model.call", "invoke":
                calls.setdefault(str(data.get("model")), []).append(at)
                open_calls[record.actor, str(data.get("call_id"))] = at
            case "model.call", _:
                call = open_calls.pop((record.actor, str(data.get("call_id"))), None)
                if call is not None and call in result:
                    found.append(Arrow(result.pop(call), at, "reply"))
            case "provider.request", "invoke":
                waiting = calls.get(str(data.get("model")))
                if waiting:
                    call = waiting.pop(0)
                    found.append(Arrow(call, at, str(data.get("model"))))
                    caller[record.actor, str(data.get("request_id"))] = call
            case "provider.request", "ok":
                call = caller.pop((record.actor, str(data.get("request_id"))), None)
                if call is not None:
                    result[call] = at
            case _:
                pass
    return tuple(sorted(found, key=lambda arrow: (arrow.start, arrow.end)))
