"""The gateway's final answer to ``agent``, read once, by type. Pure.

A gateway may be of any version, or broken. What its answer holds is converted here and nowhere else: a shape that does
not fit is a failure of the gateway (``MalformedReply``), which the fallback policy answers like a lost one. Keys that
we do not read may hold whatever they like; they are printed with ``--json`` as they came.

Source: protocol facts B3 (the result), and what gateways of six versions sent.
"""

from __future__ import annotations

from typing import Any

import msgspec

from lockjaw.errors import RemoteProtocolError

__all__ = ["AbortReply", "AgentReply", "MalformedReply", "Payload", "Shown", "WaitReply", "read", "shown"]

MAX_DEPTH = 100  # of a document that is printed again; printing recurses


class MalformedReply(RemoteProtocolError):
    """The gateway's answer is unusable. Fields: ``run_id``, ``reason``."""

    def __init__(self, run_id: str, reason: str) -> None:
        self.run_id, self.reason = run_id, reason
        super().__init__(f"gateway sent a malformed answer: {reason}")


class Payload(msgspec.Struct, frozen=True):
    """One message to the user."""

    text: str | None = None
    mediaUrl: str | None = None
    mediaUrls: tuple[str, ...] | None = None
    isError: bool | None = None

    @property
    def lines(self) -> list[str]:
        urls = self.mediaUrls or ((self.mediaUrl,) if self.mediaUrl else ())
        return [(self.text or "").strip(), *(f"MEDIA:{url}" for url in urls)]


class AgentMeta(msgspec.Struct, frozen=True):
    sessionId: str | None = None


class Meta(msgspec.Struct, frozen=True):
    agentMeta: AgentMeta | None = None
    aborted: bool | None = None
    stopReason: str | None = None


class Result(msgspec.Struct, frozen=True):
    payloads: tuple[Payload, ...] | None = None
    meta: Meta | None = None


class AgentReply(msgspec.Struct, frozen=True):
    """The payload of the final answer."""

    status: str | None = None
    summary: str | None = None
    stopReason: str | None = None
    result: Result | None = None

    @property
    def aborted(self) -> bool:
        """The run was stopped and has nothing to show."""
        return self.status == "timeout" and self.result in (None, Result())


class WaitReply(msgspec.Struct, frozen=True):
    """What ``agent.wait`` answers. ``endedAt`` is there once the run is over."""

    status: str = ""
    endedAt: float | str | None = None
    error: str | None = None


class AbortReply(msgspec.Struct, frozen=True):
    """What ``chat.abort`` answers."""

    aborted: bool = False
    runIds: tuple[str, ...] = ()


class Shown(msgspec.Struct, frozen=True):
    """An answer as the user gets it. ``document``: for ``--json``, marks included."""

    document: dict[str, Any]
    text: str
    payloads: tuple[Payload, ...]
    session_id: str | None

    @property
    def failed(self) -> bool:
        """Nothing but errors."""
        return bool(self.payloads) and all(payload.isError for payload in self.payloads)


def read(payload: object, run_id: str) -> AgentReply:
    """Raises MalformedReply."""
    if _deeper_than(payload, MAX_DEPTH):
        raise MalformedReply(run_id, f"nested more than {MAX_DEPTH} deep")
    try:
        return msgspec.convert(payload, AgentReply)
    except msgspec.ValidationError as error:
        raise MalformedReply(run_id, str(error)) from None


def shown(document: dict[str, Any], *, wrapped: bool, marks: dict[str, Any]) -> Shown:
    """What the user sees of an answer.

    Args:
        document: a gateway's final answer (``wrapped``: the result is its ``result``), which ``read`` has understood,
            or the result of a turn that ran here.
        marks: what shows in ``result.meta`` of anything degraded.
    """
    reply = msgspec.convert(document if wrapped else {"result": document}, AgentReply)
    result = reply.result or Result()
    inner = {**((document.get("result") or {}) if wrapped else document)}
    inner["payloads"] = inner.get("payloads") or []
    inner["meta"] = {**(inner.get("meta") or {}), **marks}
    payloads = result.payloads or ()
    lines = [line for payload in payloads for line in payload.lines]
    agent_meta = result.meta.agentMeta if result.meta else None
    return Shown(
        {**document, "result": inner} if wrapped else inner,
        "\n".join(lines) if payloads else reply.summary or "No reply from agent.",
        payloads,
        agent_meta.sessionId if agent_meta else None,
    )


def _deeper_than(value: object, limit: int) -> bool:
    """Level by level: a function that called itself would meet the very limit that this guards."""
    level = [value]
    for _ in range(limit):
        inner: list[object] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
        if not inner:
            return False
        level = inner
    return True
