"""What the fake model server does with a request, whoever carries it: routes, script, quotas, queues. Pure.

The socket server, the simulation and the in-process transport each hand their requests to a ``ModelService`` and
perform the plan they get. It knows nominal instants, but no clock; it writes nothing down, and says what is worth it.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from lockjaw.seeds import Seeds

from .progress import NoStepFits, ScriptProgress
from .reply_plan import Action, Circumstances, Whole, error_reply, json_reply, plan
from .script import ANY_MODEL, Capacity, ModelScript, Quota, Step
from .wires import OPENAI_CHAT, route
from .wires.surface import (
    EPOCH,
    ApiError,
    ChatRequest,
    ErrorKind,
    Headers,
    Question,
    RequestRefused,
    Surface,
)

_SHOWN = 200  # characters of a path in an error
_MARKER = re.compile(rb"\bLJ-\d{1,9}\b")


def no_header(name: str) -> str:
    return ""


@dataclass(slots=True, eq=False)
class Order:
    """One request, and what it gets.

    ``step`` None: no step answers it, ``answer`` does. ``problem``: what was wrong with it, in one sentence;
    ``unexpected``: nobody wrote a script for it. ``headers``: of the reply, beside the plan's own.
    """

    request_id: str
    surface: Surface
    what: Literal["chat", "models", "question", "probe", "unknown"]
    headers: Headers
    request: ChatRequest | None = None
    step: Step | None = None
    answer: Whole | None = None
    model: str = ""
    problem: str = ""
    unexpected: bool = False
    number: int = 0
    quota: Headers = ()
    markers: dict[str, int] = field(default_factory=dict)  # see ``markers_in``
    aside: bool = False  # a request of the program's own, such as a title
    start: Callable[[], None] | None = field(default=None, repr=False)  # while it waits for its turn

    @property
    def stays(self) -> bool:
        return self.step is not None and self.step.ignore_disconnect


def markers_in(body: bytes) -> dict[str, int]:
    """The scenario's own markers (``LJ-1``, ``LJ-2``) in a request's body, and how often each stands there.

    They let a journal tell whose question a prompt held without keeping a word of any text. Sorted by name.
    """
    if b"LJ-" not in body:
        return {}
    return dict(sorted(Counter(found.decode() for found in _MARKER.findall(body)).items()))


def marked(order: Order) -> dict[str, Any]:
    """The fields that a journal or a record has more: the markers that a request holds, those of the user's last
    message among them (``asks``), and whether it is no part of a turn."""
    more: dict[str, Any] = {"aside": True} if order.aside else {}
    if order.markers:
        asks = sorted(markers_in(order.request.text.encode())) if order.request is not None else []
        more |= {"markers": order.markers, "asks": asks}
    return more


class Bucket:
    """A quota's tokens. They come back with time, not with a task."""

    def __init__(self, quota: Quota) -> None:
        self._quota, self._tokens, self._at = quota, float(quota.requests), 0.0

    def take(self, now: float) -> tuple[bool, int, float]:
        """-> whether there was one; how many are left; seconds until the next one, or (if there was) until it is full.

        Args:
            now: nominal seconds; must not go back.
        """
        quota = self._quota
        self._tokens = min(float(quota.requests), self._tokens + (now - self._at) / quota.refill_s)
        self._at = now
        if self._tokens < 1.0 - 1e-9:
            return False, 0, (1.0 - self._tokens) * quota.refill_s
        self._tokens -= 1.0
        return True, int(self._tokens + 1e-9), (quota.requests - self._tokens) * quota.refill_s


class _Desk:
    """One model's requests under way, and those that wait for their turn."""

    def __init__(self, capacity: Capacity | None) -> None:
        self._capacity, self.active = capacity, 0
        self.waiting: deque[Order] = deque()

    @property
    def full(self) -> bool:
        return self._capacity is not None and self.active >= self._capacity.concurrent

    @property
    def crowded(self) -> bool:
        """No room even to wait."""
        capacity = self._capacity
        return capacity is not None and self.full and capacity.queue is not None and len(self.waiting) >= capacity.queue


class ModelService:
    """Serves one script; ``receive`` a request, ``enter``, ``plan``, and ``leave`` when its reply has ended.

    Args:
        progress: the script, and where it stands; may be shared.
        seed: root of all ids; equal seeds and an equal order of requests per model give equal bytes.
    """

    def __init__(self, progress: ScriptProgress, seed: int) -> None:
        self._progress = progress
        self._seeds = Seeds(seed).child("model-server")
        self._of_model: dict[str, Seeds] = {}
        self._buckets: dict[str, Bucket] = {}
        self._desks: dict[str, _Desk] = {}
        self._count = 0

    @property
    def script(self) -> ModelScript:
        return self._progress.script

    def receive(
        self, method: str, target: str, body: bytes, now: float, header: Callable[[str], str] = no_header
    ) -> Order:
        """Decide what a request gets.

        Args:
            target: path and query.
            now: nominal instant, for the quotas.
            header: value of a header by its lower-case name, empty if absent.
        """
        self._count += 1
        request_id = f"req-{self._count}"
        path = target.partition("?")[0]
        found = route(method, path, header)
        surface = found.surface
        order = Order(request_id, surface, found.what, surface.reply_headers(request_id))
        if found.what == "chat":
            self._receive_chat(order, target, body, now, header)
        elif found.question is not None:
            self._answer(order, found.question, body)
        elif found.what == "models":
            names = sorted(name for name in self.script.models if name != ANY_MODEL)
            order.answer = json_reply(surface.models(names, EPOCH))
        else:
            if found.what != "probe":
                order.problem, order.unexpected = f"unexpected request: {method} {path[:_SHOWN]}", True
            self._fail(
                order,
                "not_found",
                f"Invalid URL ({method} {path[:_SHOWN]})",
                type="invalid_request_error" if surface is OPENAI_CHAT else None,
                code="unknown_url" if surface is OPENAI_CHAT else None,
            )
        return order

    def _receive_chat(self, order: Order, target: str, body: bytes, now: float, header: Callable[[str], str]) -> None:
        surface = order.surface
        order.markers = markers_in(body)
        try:
            request = order.request = surface.parse(target, body)
        except RequestRefused as refused:
            self._refuse(order, refused)
            return
        model = order.model = request.model
        script = self.script
        order.aside = model in script.aside
        if (model in script.quotas or ANY_MODEL in script.quotas) and not self._within_quota(order, now):
            return
        desk = self._desk(model)
        if desk.crowded:
            self._fail(order, "overloaded")
            return
        try:
            order.step, order.number = self._progress.take(model, request, header)
        except NoStepFits:
            order.problem, order.unexpected = f"unexpected request: no step of model {model!r} fits it", True
            self._fail(order, "model_not_found")
        except KeyError:
            self._fail_unknown(order)

    def _answer(self, order: Order, question: Callable[[Surface, bytes], Question], body: bytes) -> None:
        try:
            asked = question(order.surface, body)
        except RequestRefused as refused:
            self._refuse(order, refused)
            return
        order.model = asked.model
        order.request = ChatRequest(asked.model, False, False, 0, (), 0)
        if asked.model in self.script.models or ANY_MODEL in self.script.models:
            order.answer = json_reply(asked.answer)
        else:
            self._fail_unknown(order)

    def _refuse(self, order: Order, refused: RequestRefused) -> None:
        order.model, order.problem = refused.model, refused.error.message
        order.answer = error_reply(order.surface, refused.error, order.request_id)

    def _fail_unknown(self, order: Order) -> None:
        known = ", ".join(sorted(self.script.models))
        missing = f"is not in the script (it has: {known})" if known else "has no script"
        order.problem = f"unexpected request: model {order.model!r} {missing}"
        order.unexpected = True
        self._fail(order, "model_not_found")

    def _within_quota(self, order: Order, now: float) -> bool:
        quotas = self.script.quotas
        quota = quotas.get(order.model) or quotas[ANY_MODEL]
        bucket = self._buckets.get(order.model)
        if bucket is None:
            bucket = self._buckets[order.model] = Bucket(quota)
        had, left, reset_s = bucket.take(now)
        order.quota = order.surface.quota_headers(quota.requests, left, reset_s)
        order.headers = (*order.headers, *order.quota)
        if not had:
            self._fail(order, "rate_limit", retry_after_s=reset_s)
        return had

    def _fail(
        self,
        order: Order,
        kind: ErrorKind,
        message: str = "",
        *,
        type: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        surface = order.surface
        error = ApiError(
            surface.error_status(kind),
            message or surface.error_message(kind, order.request),
            type,
            code,
            kind=kind,
            retry_after_s=retry_after_s,
        )
        order.answer = error_reply(surface, error, order.request_id)

    # ------------------------------------------------------------------ whose turn it is

    def _desk(self, model: str) -> _Desk:
        desk = self._desks.get(model)
        if desk is None:
            capacity = self.script.capacity
            desk = self._desks[model] = _Desk(capacity.get(model) or capacity.get(ANY_MODEL))
        return desk

    def enter(self, order: Order, start: Callable[[], None]) -> bool:
        """Begin to serve an order that has a step. False: it waits, and ``start`` will be called in its turn."""
        desk = self._desk(order.model)
        if desk.full:
            order.start = start
            desk.waiting.append(order)
            return False
        desk.active += 1
        return True

    def leave(self, order: Order) -> None:
        """An order that entered has ended, or will not wait any longer. The next one starts."""
        desk = self._desks[order.model]
        if order.start is not None:
            order.start = None
            desk.waiting.remove(order)
            return
        desk.active -= 1
        while desk.waiting and not desk.full:
            following = desk.waiting.popleft()
            start, following.start = following.start, None
            desk.active += 1
            assert start is not None
            start()

    def plan(self, order: Order) -> Iterator[Action]:
        """What a request gets; for one with a step: from the moment that it has entered."""
        if order.step is None:
            assert order.answer is not None
            return iter((order.answer,))
        assert order.request is not None
        model = order.model
        seeds = self._of_model.get(model)
        if seeds is None:
            seeds = self._of_model[model] = self._seeds.child(model)
        active = self._desks[model].active
        around = Circumstances(order.number, seeds, active, order.request_id, order.quota)
        return plan(order.step, order.surface, order.request, around)
