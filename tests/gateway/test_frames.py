"""Frames and params: strict, and unbreakable by whatever bytes arrive."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from lockjaw.errors import InvalidFrame, RemoteProtocolError
from lockjaw.gateway.frames import (
    ErrorShape,
    EventFrame,
    RequestFrame,
    ResponseFrame,
    StateVersion,
    decode_frame,
    encode_frame,
)
from lockjaw.gateway.params import AgentParams, AuthParams, ConnectParams, MethodParams

METHODS = {one.method: one for one in MethodParams.__subclasses__()}
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | FLOATS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
NAMES = st.text(min_size=1)
COUNTS = st.integers(0, 2**53)
FRAMES = st.one_of(
    st.builds(RequestFrame, NAMES, NAMES, JSON_VALUES | st.just(UNSET)),
    st.builds(
        ResponseFrame,
        NAMES,
        st.booleans(),
        JSON_VALUES | st.just(UNSET),
        st.just(UNSET)
        | st.builds(ErrorShape, NAMES, NAMES, JSON_VALUES, st.booleans() | st.just(UNSET), COUNTS | st.just(UNSET)),
    ),
    st.builds(
        EventFrame,
        NAMES,
        JSON_VALUES,
        COUNTS | st.just(UNSET),
        st.builds(StateVersion, COUNTS, COUNTS) | st.just(UNSET),
    ),
)  # fmt: skip

ENUM = "must be equal to one of the allowed values"
AGENT: dict[str, Any] = {"message": "x", "idempotencyKey": "k"}
CLIENT: dict[str, Any] = {"id": "cli", "mode": "cli", "version": "1", "platform": "linux"}
CONNECT: dict[str, Any] = {"minProtocol": 3, "maxProtocol": 3, "client": CLIENT}


def outcome(function: Callable[..., object], *args: object) -> object:
    """The class of what a decoder gives, or the beginning of its complaint; any other exception passes through."""
    try:
        return type(function(*args))
    except RemoteProtocolError as error:
        return str(error).partition(":")[0]


@settings(deadline=None)  # the machine may be busy
@given(FRAMES)
def test_every_frame_survives_the_wire(frame: RequestFrame | ResponseFrame | EventFrame) -> None:
    assert decode_frame(encode_frame(frame)) == frame


def test_unset_properties_are_omitted_and_never_null() -> None:
    assert json.loads(encode_frame(RequestFrame("1", "health"))) == {"type": "req", "id": "1", "method": "health"}
    assert json.loads(encode_frame(EventFrame("tick", {"ts": 1}))) == {
        "type": "event",
        "event": "tick",
        "payload": {"ts": 1},
    }


@settings(deadline=None)  # the machine may be busy
@given(
    st.binary(max_size=200) | st.text(st.characters(exclude_categories=[]), max_size=200) | JSON_VALUES.map(json.dumps)
)
def test_no_text_crashes_the_decoder(text: bytes | str) -> None:
    assert outcome(decode_frame, text) in (RequestFrame, ResponseFrame, EventFrame, "invalid request frame")


@pytest.mark.parametrize("depth", [10, 1_000, 200_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deep_nesting_is_refused_and_does_not_crash(depth: int, opening: str) -> None:
    text = '{"type":"event","event":"x","payload":' + opening * depth
    with pytest.raises(RemoteProtocolError):
        decode_frame(text)


def test_closed_deep_nesting_either_decodes_or_is_refused() -> None:
    text = '{"type":"event","event":"x","payload":' + "[" * 100_000 + "]" * 100_000 + "}"
    with pytest.raises(InvalidFrame, match="not JSON"):
        decode_frame(text)


@pytest.mark.parametrize(
    ("text", "message", "frame_id"),
    [
        ('{"type":"req","id":"7","method":"x","extra":1}', "at root: unexpected property 'extra'", "7"),
        ('{"type":"req","id":"7"}', "must have required property 'method'", "7"),
        ('{"type":"req","id":"","method":"x"}', "at /id: must NOT have fewer than 1 characters", None),
        ('{"type":"req","id":"7","method":5}', "at /method: must be string", "7"),
        ('{"type":"nope","id":"7"}', "at /type: must be equal to one of the allowed values", "7"),
        ('{"id":"7","method":"x"}', "must have required property 'type'", "7"),
        ('{"type":"event","event":"x","seq":null}', "at /seq: must be integer", None),
        ('{"type":"event","event":"x","seq":-1}', "at /seq: must be >= 0", None),
        (
            '{"type":"event","event":"x","stateVersion":{"presence":1,"health":1,"z":1}}',
            "at /stateVersion: unexpected property 'z'",
            None,
        ),
        ('{"type":"res","id":"7","ok":1}', "at /ok: must be boolean", "7"),
        ('{"type":"res","id":"7","ok":false,"error":null}', "at /error: must be object", "7"),
        ("[1]", "must be object", None),
        ('"text"', "must be object", None),
    ],
)  # fmt: skip
def test_an_invalid_frame_is_named_with_its_place_and_id(text: str, message: str, frame_id: str | None) -> None:
    with pytest.raises(InvalidFrame) as caught:
        decode_frame(text)
    assert str(caught.value) == f"invalid request frame: {message}"
    assert (caught.value.is_json, caught.value.frame_id) == (True, frame_id)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.is_json, again.frame_id, str(again)) == (True, frame_id, str(caught.value))


@pytest.mark.parametrize("text", [b"\xff\xfe", "", "{", '{"type":"req"', "\ud800", '{"type":"nope","id":"7",,'])
def test_what_is_not_json_says_so_and_has_no_id(text: str | bytes) -> None:
    with pytest.raises(InvalidFrame) as caught:
        decode_frame(text)
    assert caught.value.frame_id is None


@pytest.mark.parametrize(
    ("method", "raw", "message"),
    [
        ("agent", AGENT | {"timeout": 1.5}, "at /timeout: must be integer"),
        ("agent", AGENT | {"timeout": -1}, "at /timeout: must be >= 0"),
        ("agent", AGENT | {"timeout": None}, "at /timeout: must be integer"),
        ("agent", AGENT | {"timeout": True}, "at /timeout: must be integer"),
        ("agent", AGENT | {"x": 1}, "at root: unexpected property 'x'"),
        ("agent", {"message": "x"}, "must have required property 'idempotencyKey'"),
        ("agent", {"message": "", "idempotencyKey": "k"}, "at /message: must NOT have fewer than 1 characters"),
        ("agent", AGENT | {"label": "x" * 513}, "at /label: must NOT have more than 512 characters"),
        ("agent", AGENT | {"deliver": "yes"}, "at /deliver: must be boolean"),
        ("agent", AGENT | {"bootstrapContextMode": "half"}, f"at /bootstrapContextMode: {ENUM}"),
        ("agent", [], "must be object"),
        ("agent", None, "must have required property 'message'"),
        ("agent.wait", {"runId": "r", "timeoutMs": "5"}, "at /timeoutMs: must be integer"),
        ("chat.history", {"sessionKey": "k", "limit": 1001}, "at /limit: must be <= 1000"),
        ("connect", CONNECT | {"client": CLIENT | {"id": "me"}}, f"at /client/id: {ENUM}"),
        ("connect", CONNECT | {"client": CLIENT | {"mode": "operator"}}, f"at /client/mode: {ENUM}"),
        ("connect", CONNECT | {"client": CLIENT | {"z": 1}}, "at /client: unexpected property 'z'"),
        ("connect", CONNECT | {"device": {"id": "x"}}, "at /device: must have required property 'publicKey'"),
        ("connect", CONNECT | {"scopes": ["a", 1]}, "at /scopes/1: must be string"),
        ("connect", CONNECT | {"permissions": {"a": 1}}, "at /permissions: must be boolean"),
        ("connect", CONNECT | {"minProtocol": 0}, "at /minProtocol: must be >= 1"),
        ("status", {"x": 1}, "at root: unexpected property 'x'"),
    ],
)  # fmt: skip
def test_invalid_params_are_named_as_the_real_gateway_names_them(method: str, raw: object, message: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        METHODS[method].read(raw)
    assert str(caught.value) == f"invalid {method} params: {message}"


@settings(deadline=None)  # the machine may be busy
@given(st.sampled_from(sorted(METHODS)), JSON_VALUES)
def test_no_value_crashes_the_params(method: str, raw: object) -> None:
    assert outcome(METHODS[method].read, raw) in (METHODS[method], f"invalid {method} params")


def test_params_go_to_the_wire_as_they_came() -> None:
    raw = {"message": "x", "idempotencyKey": "k", "timeout": 60, "attachments": [{"a": 1}]}
    params = AgentParams.read(raw)
    assert params.to_wire() == raw
    assert isinstance(params, AgentParams)
    assert ConnectParams.read(CONNECT).to_wire() == CONNECT


def test_no_repr_shows_a_secret() -> None:
    params = ConnectParams.read(CONNECT | {"auth": {"token": "S3CRET", "password": "S3CRET"}})
    assert isinstance(params, ConnectParams)
    assert "S3CRET" not in repr(params)
    assert repr(AuthParams(token="S3CRET")) == "AuthParams(token)"
    assert "S3CRET" not in repr(RequestFrame("1", "connect", params.to_wire()))
    assert "S3CRET" not in repr(ResponseFrame("1", True, {"auth": {"deviceToken": "S3CRET"}}))


def test_an_error_on_the_wire_becomes_a_rejection_with_all_its_fields() -> None:
    full = ErrorShape("UNAVAILABLE", "later", {"reason": "r"}, True, 500).to_error({"runId": "r"})
    assert (full.code, full.message, full.details) == ("UNAVAILABLE", "later", {"reason": "r"})
    assert (full.retryable, full.retry_after_ms, full.payload) == (True, 500, {"runId": "r"})
    bare = ErrorShape("X", "m").to_error()
    assert (bare.details, bare.retryable, bare.retry_after_ms, bare.payload) == (None, None, None, None)
