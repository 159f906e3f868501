"""One request and its reply, whoever carries the bytes: its place at the model, its plan, and what is recorded of it.

Three carriers perform plans: sockets (``server``), virtual time (``memory``) and a client library's own transport
(``lockjaw.testing.in_process``). How bytes go out is theirs; what must not differ between them is here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from lockjaw.history import Recorder

from .reply_plan import Action
from .service import ModelService, Order, marked

__all__ = ["Exchange"]


class Exchange:
    """``began``: nominal instant from which the plan counts; ``sent``: tokens that went out whole."""

    __slots__ = ("_left", "_recorder", "began", "ended", "order", "sent", "service")

    def __init__(self, service: ModelService, order: Order, recorder: Recorder | None, now: float) -> None:
        self.service, self.order, self._recorder = service, order, recorder
        self.began, self.sent = now, 0
        self.ended = self._left = False

    @property
    def recorded(self) -> bool:
        """Questions about a model, and what is no request of any vendor's, are no part of a history."""
        return self._recorder is not None and self.order.what == "chat" and self.order.request is not None

    def ask(self) -> None:
        """Record that the request has come."""
        request = self.order.request
        if self._recorder is not None and self.recorded and request is not None:
            self._recorder.record(
                "provider.request", "invoke", request_id=self.order.request_id, model=request.model,
                messages=request.messages, **marked(self.order),
            )  # fmt: skip

    def enter(self, start: Callable[[], None]) -> None:
        """``start`` now, or when the model has a place free."""
        if self.order.step is None or self.service.enter(self.order, start):
            start()

    def plan(self, now: float) -> Iterator[Action]:
        """What the request gets, from the moment that it has entered. Only a model with places makes one wait."""
        if self.service.script.capacity:
            self.began = now
        return self.service.plan(self.order)

    def end(self, phase: Literal["ok", "fail"], now: float, **more: object) -> bool:
        """Record how it ended; False: it had ended before. Only the first end counts: a client that leaves while the
        last bytes are on their way is not news."""
        if self.ended:
            return False
        self.ended = True
        if self._recorder is not None and self.recorded:
            if phase == "fail":
                more = {"after_s": round(now - self.began, 6), **more}
            self._recorder.record(
                "provider.request", phase, request_id=self.order.request_id, sent=self.sent, **more
            )  # fmt: skip
        return True

    def leave(self) -> None:
        """Give the place at the model to the next one. Idempotent."""
        if not self._left:
            self._left = True
            if self.order.step is not None:
                self.service.leave(self.order)
