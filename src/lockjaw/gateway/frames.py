"""The frames of the gateway protocol: one JSON object per WebSocket text frame.

Strict on purpose: a property that is not named here makes the frame invalid, and an optional property is
omitted, never ``null``. Field names are those of the wire. Knows no socket, no clock and no method.

Sources: protocol facts A1 (sizes), A2 (frames), A9 (bad input). ``traceparent`` came with protocol 4.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from lockjaw.errors import InvalidFrame, RequestRejected
from lockjaw.gateway.params import Count, Text, explain

__all__ = [
    "MAX_BUFFERED_BYTES",
    "MAX_FRAME_BYTES",
    "MAX_PREAUTH_BYTES",
    "ErrorCode",
    "ErrorShape",
    "EventFrame",
    "Frame",
    "RequestFrame",
    "ResponseFrame",
    "StateVersion",
    "decode_frame",
    "encode_frame",
]

MAX_PREAUTH_BYTES = 65_536  # what a server accepts from a peer that has not said hello yet
MAX_FRAME_BYTES = 26_214_400  # 25 MiB, both directions, after hello
MAX_BUFFERED_BYTES = 52_428_800  # a client that lets this much pile up is a slow consumer


class ErrorCode:
    """The codes that the gateway itself uses. The wire allows any other text."""

    NOT_LINKED = "NOT_LINKED"
    NOT_PAIRED = "NOT_PAIRED"
    AGENT_TIMEOUT = "AGENT_TIMEOUT"
    INVALID_REQUEST = "INVALID_REQUEST"
    APPROVAL_NOT_FOUND = "APPROVAL_NOT_FOUND"
    UNAVAILABLE = "UNAVAILABLE"


class ErrorShape(msgspec.Struct, forbid_unknown_fields=True):
    code: Text
    message: Text
    details: Any | UnsetType = UNSET
    retryable: bool | UnsetType = UNSET
    retryAfterMs: Count | UnsetType = UNSET

    def to_error(self, payload: Any = None) -> RequestRejected:
        """The exception that a caller of the method sees."""
        return RequestRejected(
            self.code,
            self.message,
            None if self.details is UNSET else self.details,
            retryable=None if isinstance(self.retryable, UnsetType) else self.retryable,
            retry_after_ms=None if isinstance(self.retryAfterMs, UnsetType) else self.retryAfterMs,
            payload=payload,
        )


class StateVersion(msgspec.Struct, forbid_unknown_fields=True):
    presence: Count
    health: Count


class RequestFrame(msgspec.Struct, tag_field="type", tag="req", forbid_unknown_fields=True):
    id: Text
    method: Text
    params: Any | UnsetType = UNSET
    traceparent: str | UnsetType = UNSET

    def __repr__(self) -> str:
        # The params of connect hold credentials; those of the other methods hold the user's text.
        return f"RequestFrame(id={self.id!r}, method={self.method!r})"


class ResponseFrame(msgspec.Struct, tag_field="type", tag="res", forbid_unknown_fields=True):
    id: Text
    ok: bool
    payload: Any | UnsetType = UNSET
    error: ErrorShape | UnsetType = UNSET

    def __repr__(self) -> str:
        return f"ResponseFrame(id={self.id!r}, ok={self.ok}, error={self.error!r})"  # hello-ok holds a token


class EventFrame(msgspec.Struct, tag_field="type", tag="event", forbid_unknown_fields=True):
    event: Text
    payload: Any | UnsetType = UNSET
    seq: Count | UnsetType = UNSET
    stateVersion: StateVersion | UnsetType = UNSET


Frame = RequestFrame | ResponseFrame | EventFrame

_decoder: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(RequestFrame | ResponseFrame | EventFrame)
_encoder = msgspec.json.Encoder()


def decode_frame(text: str | bytes) -> Frame:
    """One text frame as a struct.

    Raises:
        InvalidFrame (a RemoteProtocolError): not UTF-8, not JSON, nested too deeply, or no frame of ours;
            its ``is_json`` and ``frame_id`` say how to answer.
    """
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError as error:
        message = f"invalid request frame: {explain(error)}"
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        # UnicodeError: lone surrogates in a str. RecursionError: thousands of brackets in a payload.
        raise InvalidFrame(f"invalid request frame: not JSON ({error})") from None
    frame_id = _id_of(text)
    raise InvalidFrame(message, is_json=True, frame_id=frame_id)


def _id_of(text: str | bytes) -> str | None:
    """The ``id`` of a frame that is otherwise invalid."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None  # validation had stopped before it reached the place that is not even JSON
    found = value.get("id") if isinstance(value, dict) else None
    return found if isinstance(found, str) and found else None


def encode_frame(frame: Frame) -> str:
    """One frame as text; unset properties are left out."""
    return _encoder.encode(frame).decode()
