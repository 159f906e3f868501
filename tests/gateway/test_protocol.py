"""The client's protocol, without a socket and without a clock: every test hands in the text and the time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lockjaw.errors import ConnectionLost, LocalError, RemoteProtocolError, RequestRejected, RequestTimedOut
from lockjaw.gateway import protocol as module
from lockjaw.gateway.dialect import HelloOk, dialect
from lockjaw.gateway.frames import MAX_FRAME_BYTES
from lockjaw.gateway.identity import DeviceIdentity, select_connect_auth, signature_payload, verify_signature
from lockjaw.gateway.params import ConnectParams
from lockjaw.gateway.profile import CLI_SCOPES, ClientProfile, connect_params
from lockjaw.gateway.protocol import (
    TRANSITIONS,
    Accepted,
    Challenge,
    CloseNeeded,
    ConnectFailed,
    Event,
    EventReceived,
    Failed,
    GatewayProtocol,
    Replied,
    SeqGap,
    State,
    Welcomed,
)
from lockjaw.gateway.reconnect import HOPELESS, ReconnectPolicy, startup_delay_s

IDENTITY = DeviceIdentity.generate()
PROFILE = ClientProfile(platform="Linux")


def sign_in(challenge: Challenge) -> ConnectParams:
    auth = select_connect_auth(token="T", password=None, stored=None, scopes=CLI_SCOPES)
    signed_at_ms = 77 if challenge.ts is None else challenge.ts
    return connect_params(PROFILE, auth, IDENTITY, challenge, protocol_version=3, signed_at_ms=signed_at_ms)


def fresh(version: int = 3, *, now: float = 0.0, last_seq: int | None = None) -> GatewayProtocol:
    return GatewayProtocol(dialect(version), sign_in, connect_id="c", now=now, last_seq=last_seq)


def frame(**fields: Any) -> str:
    return json.dumps(fields)


def event(name: str, **fields: Any) -> str:
    return frame(type="event", event=name, **fields)


def answer(request_id: str, **fields: Any) -> str:
    return frame(type="res", id=request_id, **({"ok": True} | fields))


CHALLENGE = event("connect.challenge", payload={"nonce": "N", "ts": 5})


def opened(
    version: int = 3, *, tick_ms: float = 30_000, now: float = 0.0, last_seq: int | None = None
) -> GatewayProtocol:
    protocol = fresh(version, now=now, last_seq=last_seq)
    assert protocol.receive_text(CHALLENGE, now=now) == []
    assert len(protocol.text_to_send()) == 1
    events = protocol.receive_text(
        answer("c", payload={"type": "hello-ok", "policy": {"tickIntervalMs": tick_ms}}), now=now
    )
    assert [type(e) for e in events] == [Welcomed]
    return protocol


def ask(protocol: GatewayProtocol, request_id: str = "r", **options: Any) -> None:
    options = {"now": 0.0, "timeout_s": None, "expect_final": True} | options
    protocol.send_request(request_id, "agent", {"message": "x"}, **options)
    protocol.text_to_send()


ACCEPTED = answer("r", payload={"runId": "run", "status": "accepted", "acceptedAt": 1})
FINAL = answer("r", payload={"runId": "run", "status": "ok"})


def only(events: list[Event]) -> Event:
    assert len(events) == 1, events
    return events[0]


# --------------------------------------------------------------------------- handshake


def test_the_connect_answers_the_challenge_with_its_nonce_under_the_signature() -> None:
    protocol = fresh()
    assert protocol.text_to_send() == []
    protocol.receive_text(CHALLENGE, now=1.0)
    assert protocol.state is State.CONNECTING
    (text,) = protocol.text_to_send()
    connect = json.loads(text)
    params = connect["params"]
    assert (connect["type"], connect["id"], connect["method"]) == ("req", "c", "connect")
    assert (params["minProtocol"], params["maxProtocol"], params["role"]) == (3, 3, "operator")
    assert params["client"] == {"id": "cli", "mode": "cli", "version": "2026.4.8", "platform": "Linux"}
    assert params["scopes"] == list(CLI_SCOPES)
    assert params["auth"] == {"token": "T"}
    device = params["device"]
    assert (device["id"], device["nonce"], device["signedAt"]) == (IDENTITY.device_id, "N", 5)
    payload = signature_payload(
        "v3", device_id=IDENTITY.device_id, client_id="cli", client_mode="cli", role="operator", scopes=CLI_SCOPES,
        signed_at_ms=5, token="T", nonce="N", platform="linux", device_family="",
    )  # fmt: skip
    assert payload.split("|")[8] == "N"
    assert verify_signature(device["publicKey"], payload, device["signature"])


def test_without_a_device_and_credentials_neither_is_sent() -> None:
    auth = select_connect_auth(token=None, password=None, stored=None, scopes=())
    params = connect_params(PROFILE, auth, None, Challenge("N", None), protocol_version=4, signed_at_ms=1).to_wire()
    assert not {"device", "auth"} & set(params)
    assert params["maxProtocol"] == 4


@pytest.mark.parametrize(("version", "limit"), [(3, 10), (4, 15)])
def test_a_gateway_without_a_challenge_is_given_up_at_the_limit(version: int, limit: int) -> None:
    protocol = fresh(version, now=100.0)
    assert protocol.next_deadline() == 100.0 + limit
    assert protocol.tick(100.0 + limit - 0.001) == []
    failed, close = protocol.tick(100.0 + limit + 0.25)
    assert isinstance(failed, ConnectFailed)
    assert isinstance(failed.error, RemoteProtocolError)
    text = f"gateway connect challenge timeout (waited {limit * 1000 + 250}ms, limit {limit * 1000}ms)"
    assert str(failed.error) == text
    assert close == CloseNeeded(1008, "connect challenge timeout")
    assert (protocol.state, protocol.next_deadline(), protocol.tick(1e9)) == (State.CLOSED, None, [])


@pytest.mark.parametrize("payload", [None, {}, {"nonce": ""}, {"nonce": "  "}, {"nonce": 5}, [1]])
def test_a_challenge_without_a_nonce_is_refused(payload: object) -> None:
    protocol = fresh()
    failed, close = protocol.receive_text(event("connect.challenge", payload=payload), now=0.0)
    assert isinstance(failed, ConnectFailed)
    assert str(failed.error) == "gateway connect challenge missing nonce"
    assert close == CloseNeeded(1008, "connect challenge missing nonce")
    assert protocol.text_to_send() == []


def test_a_second_challenge_changes_nothing() -> None:
    protocol = fresh()
    protocol.receive_text(CHALLENGE, now=0.0)
    assert len(protocol.text_to_send()) == 1
    assert protocol.receive_text(event("connect.challenge", payload={"nonce": "M"}), now=1.0) == []
    assert protocol.text_to_send() == []


def test_a_refused_connect_carries_the_gateways_error_and_closes() -> None:
    protocol = fresh()
    protocol.receive_text(CHALLENGE, now=0.0)
    error = {"code": "INVALID_REQUEST", "message": "unauthorized", "details": {"code": "AUTH_TOKEN_MISMATCH"}}
    failed, close = protocol.receive_text(answer("c", ok=False, error=error), now=1.0)
    assert isinstance(failed, ConnectFailed)
    assert isinstance(failed.error, RequestRejected)
    assert (failed.error.code, failed.error.details) == ("INVALID_REQUEST", {"code": "AUTH_TOKEN_MISMATCH"})
    assert close == CloseNeeded(1008, "connect failed")


def test_a_connect_that_is_not_answered_times_out_after_thirty_seconds() -> None:
    protocol = fresh()
    protocol.receive_text(CHALLENGE, now=4.0)
    assert protocol.next_deadline() == 34.0
    failed, close = protocol.tick(34.0)
    assert isinstance(failed, ConnectFailed)
    assert isinstance(failed.error, RequestTimedOut)
    assert str(failed.error) == "gateway request timeout for connect"
    assert failed.error.definite
    assert close == CloseNeeded(1008, "connect failed")


@pytest.mark.parametrize("challenged", [False, True])
def test_a_socket_that_closes_before_hello_fails_the_connect_definitely(challenged: bool) -> None:
    protocol = fresh()
    if challenged:
        protocol.receive_text(CHALLENGE, now=0.0)
    failed = only(protocol.connection_lost(1008, "pairing required"))
    assert isinstance(failed, ConnectFailed)
    assert isinstance(failed.error, ConnectionLost)
    assert (failed.error.code, failed.error.reason, failed.error.definite) == (1008, "pairing required", True)
    assert protocol.connection_lost(1006) == []


def test_no_request_may_be_sent_before_hello_or_after_the_end() -> None:
    for protocol in (fresh(), opened()):
        protocol.stop()
        with pytest.raises(ConnectionLost, match="gateway not connected") as caught:
            ask(protocol)
        assert caught.value.definite


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (None, HelloOk()),
        ({"protocol": "3", "server": 1, "features": {"methods": "x"}, "policy": {"tickIntervalMs": None}}, HelloOk()),
        ({"policy": {"tickIntervalMs": True}}, HelloOk()),
        ({"policy": {"tickIntervalMs": -1}}, HelloOk()),
        (
            {
                "protocol": 4,
                "server": {"version": "v", "connId": "i"},
                "features": {"methods": ["m", 1], "events": ["e"]},
                "policy": {"tickIntervalMs": 500},
                "auth": {"deviceToken": "D", "role": "operator", "scopes": ["s"]},
            },
            HelloOk(4, "v", "i", ("m",), ("e",), 0.5, "operator", ("s",), "D"),
        ),
    ],
)
def test_the_welcome_is_read_leniently(payload: object, expected: HelloOk) -> None:
    assert HelloOk.read(payload) == expected
    assert "D" not in repr(expected).replace("HelloOk", "")


def test_an_unknown_protocol_version_is_our_mistake() -> None:
    with pytest.raises(LocalError, match="protocol version 5: we speak 3, 4"):
        dialect(5)


# --------------------------------------------------------------------------- requests


def test_a_run_is_accepted_and_then_finished() -> None:
    protocol = opened()
    ask(protocol)
    accepted = only(protocol.receive_text(ACCEPTED, now=1.0))
    assert accepted == Accepted("r", {"runId": "run", "status": "accepted", "acceptedAt": 1})
    assert only(protocol.receive_text(FINAL, now=2.0)) == Replied("r", {"runId": "run", "status": "ok"})


def test_without_expect_final_the_acceptance_is_the_answer() -> None:
    protocol = opened()
    ask(protocol, expect_final=False)
    assert isinstance(only(protocol.receive_text(ACCEPTED, now=1.0)), Replied)


def test_a_second_acceptance_is_dropped() -> None:
    protocol = opened()
    ask(protocol)
    protocol.receive_text(ACCEPTED, now=1.0)
    assert protocol.receive_text(ACCEPTED, now=1.5) == []
    assert protocol.dropped == 1


def test_a_second_final_is_dropped() -> None:
    protocol = opened()
    ask(protocol)
    protocol.receive_text(FINAL, now=1.0)
    assert protocol.receive_text(FINAL, now=2.0) == []
    assert protocol.dropped == 1


def test_an_answer_to_an_unknown_id_is_dropped() -> None:
    protocol = opened()
    assert protocol.receive_text(answer("nobody", payload=1), now=1.0) == []
    assert protocol.receive_text(answer("c", payload=1), now=1.0) == []
    assert protocol.dropped == 2


def test_a_reply_after_the_deadline_is_dropped() -> None:
    protocol = opened()
    ask(protocol, timeout_s=5.0)
    protocol.receive_text(ACCEPTED, now=1.0)
    assert protocol.tick(4.999) == []
    failed = only(protocol.tick(5.0))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, RequestTimedOut)
    assert str(failed.error) == "gateway request timeout for agent"
    assert (failed.error.timeout_ms, failed.error.run_id, failed.error.definite) == (5000, "run", False)
    assert protocol.receive_text(FINAL, now=5.0) == []
    assert protocol.dropped == 1


def test_a_request_that_was_never_written_times_out_definitely_and_stays_unwritten() -> None:
    protocol = opened()
    protocol.send_request("r", "agent", {}, now=0.0, timeout_s=1.0)
    failed = only(protocol.tick(1.0))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, RequestTimedOut)
    assert failed.error.definite
    assert protocol.text_to_send() == []


def test_a_rejection_keeps_what_says_when_to_try_again() -> None:
    protocol = opened()
    ask(protocol)
    error = {"code": "UNAVAILABLE", "message": "busy", "retryable": True, "retryAfterMs": 300}
    failed = only(protocol.receive_text(answer("r", ok=False, error=error, payload={"runId": "run"}), now=1.0))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, RequestRejected)
    assert (failed.error.retryable, failed.error.retry_after_ms, failed.error.payload) == (True, 300, {"runId": "run"})


def test_a_rejection_without_an_error_is_unavailable() -> None:
    protocol = opened()
    ask(protocol)
    failed = only(protocol.receive_text(answer("r", ok=False), now=1.0))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, RequestRejected)
    assert (failed.error.code, failed.error.message, failed.error.payload) == ("UNAVAILABLE", "unknown error", None)


def test_a_loss_fails_each_request_and_says_which_were_never_sent_and_which_accepted() -> None:
    protocol = opened()
    ask(protocol, "r")
    ask(protocol, "s")
    protocol.send_request("t", "health", now=0.0, timeout_s=None)
    protocol.receive_text(ACCEPTED, now=1.0)
    events = protocol.connection_lost(1012, "service restart")
    found = {}
    for failed in events:
        assert isinstance(failed, Failed)
        assert isinstance(failed.error, ConnectionLost)
        assert str(failed.error) == "gateway closed (1012): service restart"
        found[failed.request_id] = (failed.error.run_id, failed.error.definite)
    assert found == {"r": ("run", False), "s": (None, False), "t": (None, True)}
    assert protocol.text_to_send() == []


def test_an_acceptance_without_a_usable_run_id_names_none() -> None:
    protocol = opened()
    ask(protocol)
    protocol.receive_text(answer("r", payload={"status": "accepted", "runId": 5}), now=1.0)
    failed = only(protocol.connection_lost(1006))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ConnectionLost)
    assert (failed.error.run_id, failed.error.definite) == (None, False)


def test_stopping_fails_what_is_pending_with_its_own_words() -> None:
    protocol = opened()
    ask(protocol)
    failed, close = protocol.stop()
    assert isinstance(failed, Failed)
    assert str(failed.error) == "gateway client stopped"
    assert close == CloseNeeded(1000, "")
    assert protocol.receive_text(FINAL, now=1.0) == []
    assert protocol.stop() == []


def test_stopping_in_the_handshake_fails_the_connect() -> None:
    failed, close = fresh().stop()
    assert isinstance(failed, ConnectFailed)
    assert str(failed.error) == "gateway client stopped"
    assert close == CloseNeeded(1000, "")


def test_a_forgotten_request_gets_no_answer_and_unsent_it_is_not_sent() -> None:
    protocol = opened()
    ask(protocol, "r")
    protocol.send_request("s", "health", now=0.0, timeout_s=None)
    protocol.forget("r")
    protocol.forget("s")
    assert protocol.text_to_send() == []
    assert protocol.receive_text(FINAL, now=1.0) == []


@pytest.mark.parametrize("params", [{"a": object()}, {1.5: "x", "y": {3j}}, {"a": "\ud800"}])
def test_params_that_are_no_json_are_our_mistake(params: object) -> None:
    protocol = opened()
    with pytest.raises(LocalError, match="the params of agent are not JSON"):
        protocol.send_request("r", "agent", params, now=0.0, timeout_s=None)
    assert protocol.text_to_send() == []


@pytest.mark.parametrize("letter", ["x", "ä"])
def test_a_request_over_the_limit_is_refused_before_it_is_sent(letter: str) -> None:
    protocol = opened()
    message = letter * (MAX_FRAME_BYTES // len(letter.encode()))
    with pytest.raises(LocalError, match=f"a gateway accepts {MAX_FRAME_BYTES}"):
        protocol.send_request("r", "agent", {"message": message}, now=0.0, timeout_s=None)
    assert protocol.text_to_send() == []


# --------------------------------------------------------------------------- events


def test_events_are_passed_on_and_gaps_in_their_numbers_are_told_first() -> None:
    protocol = opened()
    first = only(protocol.receive_text(event("tick", payload={"ts": 1}, seq=7), now=1.0))
    assert isinstance(first, EventReceived)
    assert isinstance(only(protocol.receive_text(event("tick", seq=8), now=1.0)), EventReceived)
    gap, received = protocol.receive_text(event("agent", seq=11), now=1.0)
    assert gap == SeqGap(expected=9, received=11)
    assert isinstance(received, EventReceived)
    assert isinstance(only(protocol.receive_text(event("agent"), now=1.0)), EventReceived)
    assert protocol.last_seq == 11


def test_version_3_keeps_the_last_number_across_connections_and_version_4_does_not() -> None:
    old = opened(3, last_seq=4)
    assert old.receive_text(event("tick", seq=9), now=1.0)[0] == SeqGap(5, 9)
    new = opened(4, last_seq=4)
    assert isinstance(only(new.receive_text(event("tick", seq=9), now=1.0)), EventReceived)


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", '{"type":"event"}', '{"type":"res","id":"r"}', '{"type":"event","event":"x","extra":1}',
     '{"type":"req","id":"1","method":"m"}', b"\xff", "[" * 50_000],
)  # fmt: skip
def test_a_malformed_frame_is_ignored_and_counted(text: str | bytes) -> None:
    protocol = opened()
    ask(protocol)
    assert protocol.receive_text(text, now=1.0) == []
    assert (protocol.malformed, protocol.state) == (1, State.OPEN)
    assert only(protocol.receive_text(FINAL, now=1.0)) == Replied("r", {"runId": "run", "status": "ok"})


# --------------------------------------------------------------------------- watchdog


def test_the_watchdog_closes_at_the_first_check_after_two_intervals_of_silence() -> None:
    protocol = opened(tick_ms=30_000)
    protocol.receive_text(event("tick"), now=5.0)
    assert protocol.next_deadline() == 30.0
    assert protocol.tick(30.0) == []
    assert protocol.next_deadline() == 60.0
    assert protocol.tick(60.0) == []  # 55 s of silence are not more than 60
    ask(protocol, now=61.0)
    failed, close = protocol.tick(90.0)
    assert isinstance(failed, Failed)
    assert str(failed.error) == "gateway closed (4000): tick timeout"
    assert close == CloseNeeded(4000, "tick timeout")
    assert protocol.state is State.CLOSED


def test_silence_of_exactly_two_intervals_is_tolerated() -> None:
    protocol = opened(tick_ms=30_000)
    assert protocol.tick(60.0) == []
    assert protocol.tick(90.0) == [CloseNeeded(4000, "tick timeout")]


@pytest.mark.parametrize("sign_of_life", [event("tick"), event("agent"), answer("nobody")])
def test_any_valid_event_or_response_feeds_the_watchdog(sign_of_life: str) -> None:
    protocol = opened(tick_ms=30_000)
    protocol.receive_text(sign_of_life, now=40.0)
    assert protocol.tick(90.0) == []
    assert protocol.tick(120.0) == [CloseNeeded(4000, "tick timeout")]


def test_a_malformed_frame_does_not_feed_the_watchdog() -> None:
    protocol = opened(tick_ms=30_000)
    protocol.receive_text("{", now=40.0)
    assert protocol.tick(90.0) == [CloseNeeded(4000, "tick timeout")]


def test_short_tick_intervals_are_checked_once_a_second() -> None:
    protocol = opened(tick_ms=10)
    assert protocol.next_deadline() == 1.0
    assert protocol.tick(1.0) == [CloseNeeded(4000, "tick timeout")]


def test_a_process_that_slept_through_checks_makes_one_of_them() -> None:
    protocol = opened(tick_ms=30_000)
    protocol.receive_text(event("tick"), now=100.0)
    assert protocol.tick(130.0) == []
    assert protocol.next_deadline() == 150.0


def test_version_4_leaves_a_silent_socket_to_the_deadlines_of_its_requests() -> None:
    protocol = opened(4, tick_ms=30_000)
    ask(protocol, timeout_s=200.0)
    for check in (90.0, 120.0, 150.0, 180.0):
        assert protocol.tick(check) == []
    (failed,) = protocol.tick(200.0)
    assert isinstance(failed, Failed)
    assert protocol.tick(210.0) == [CloseNeeded(4000, "tick timeout")]


def test_version_4_watches_when_a_request_has_no_deadline() -> None:
    protocol = opened(4, tick_ms=30_000)
    ask(protocol, timeout_s=None)
    assert protocol.tick(90.0)[-1] == CloseNeeded(4000, "tick timeout")


# --------------------------------------------------------------------------- the table, and everything at once


def test_the_transition_table_leads_every_state_to_closed_and_never_back() -> None:
    order = [State.AWAITING_CHALLENGE, State.CONNECTING, State.OPEN, State.CLOSED]
    assert all(order.index(after) > order.index(before) for (before, _), after in TRANSITIONS.items())
    for state in order[:-1]:
        assert {TRANSITIONS[state, cause] for cause in ("lost", "stopped")} == {State.CLOSED}


IDS = ("a", "b", "c")


class AnyPeer(RuleBasedStateMachine):
    """Whatever a peer sends in whatever order: each request ends exactly once, and nothing raises."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol, self.now, self.asked = fresh(), 0.0, 0
        self.pending: set[str] = set()

    def take(self, events: list[Event]) -> None:
        for item in events:
            if isinstance(item, Replied | Failed):
                assert item.request_id in self.pending, "a request ended twice"
                self.pending.discard(item.request_id)
            if isinstance(item, Accepted):
                assert item.request_id in self.pending

    @rule()
    def challenge(self) -> None:
        self.take(self.protocol.receive_text(CHALLENGE, now=self.now))

    @rule(ok=st.booleans())
    def hello(self, ok: bool) -> None:
        self.take(self.protocol.receive_text(answer("c", ok=ok), now=self.now))

    @rule(timeout_s=st.sampled_from([None, 0.0, 1.0, 40.0]), expect_final=st.booleans())
    def request(self, timeout_s: float | None, expect_final: bool) -> None:
        self.asked += 1
        request_id = f"q{self.asked}"
        if self.protocol.state is State.OPEN:
            self.protocol.send_request(
                request_id, "agent", now=self.now, timeout_s=timeout_s, expect_final=expect_final
            )
            self.pending.add(request_id)

    @rule(number=st.integers(1, 5), status=st.sampled_from(["accepted", "ok"]), ok=st.booleans())
    def respond(self, number: int, status: str, ok: bool) -> None:
        payload = {"status": status, "runId": "run"}
        self.take(self.protocol.receive_text(answer(f"q{number}", ok=ok, payload=payload), now=self.now))

    @rule(step=st.sampled_from([0.0, 0.5, 31.0, 95.0]))
    def time_passes(self, step: float) -> None:
        self.now += step
        self.take(self.protocol.tick(self.now))

    @rule()
    def write(self) -> None:
        self.protocol.text_to_send()

    @rule(text=st.text(max_size=20))
    def garbage(self, text: str) -> None:
        self.take(self.protocol.receive_text(text, now=self.now))

    @rule()
    def lose(self) -> None:
        self.take(self.protocol.connection_lost(1006))

    @invariant()
    def nothing_is_left_when_closed(self) -> None:
        if self.protocol.state is State.CLOSED:
            assert self.pending == set()
            assert self.protocol.next_deadline() is None
            assert self.protocol.text_to_send() == []

    @invariant()
    def an_open_protocol_always_has_a_next_instant(self) -> None:
        if self.protocol.state is not State.CLOSED:
            assert self.protocol.next_deadline() is not None


TestAnyPeer = AnyPeer.TestCase
TestAnyPeer.settings = settings(deadline=None)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.binary(max_size=60), max_size=5))
def test_no_bytes_break_an_open_connection(texts: list[bytes]) -> None:
    protocol = opened()
    for text in texts:
        protocol.receive_text(text, now=0.0)
    assert protocol.state is State.OPEN


# --------------------------------------------------------------------------- reconnecting


def rejected(code: str | None = None, **fields: Any) -> RequestRejected:
    return RequestRejected(fields.pop("top", "INVALID_REQUEST"), "no", {"code": code} if code else None, **fields)


def test_the_delay_doubles_from_1_to_30_seconds_and_hello_resets_it() -> None:
    policy = ReconnectPolicy()
    assert [policy.next_delay_s() for _ in range(7)] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    policy.welcomed()
    assert policy.next_delay_s() == 1.0


@pytest.mark.parametrize("code", sorted(HOPELESS))
def test_a_refusal_that_only_a_person_can_mend_pauses_reconnecting(code: str) -> None:
    policy = ReconnectPolicy()
    policy.refused(rejected(code), has_spare_token=True)
    assert (policy.paused, policy.next_delay_s()) == (code, None)


def test_any_other_refusal_is_tried_again() -> None:
    policy = ReconnectPolicy()
    policy.refused(rejected("SOMETHING"), has_spare_token=False)
    policy.refused(rejected(None), has_spare_token=False)
    assert policy.next_delay_s() == 1.0


def test_a_token_mismatch_is_tried_once_more_with_the_stored_device_token() -> None:
    policy = ReconnectPolicy()
    policy.refused(rejected("AUTH_TOKEN_MISMATCH"), has_spare_token=True)
    assert (policy.device_retry, policy.next_delay_s()) == (True, 0.25)
    policy.refused(rejected("AUTH_TOKEN_MISMATCH"), has_spare_token=True)
    assert (policy.device_retry, policy.next_delay_s()) == (False, None)


def test_a_token_mismatch_without_a_device_token_pauses() -> None:
    policy = ReconnectPolicy()
    policy.refused(rejected("AUTH_TOKEN_MISMATCH"), has_spare_token=False)
    assert policy.next_delay_s() is None


@pytest.mark.parametrize(("asked_ms", "waited_s"), [(None, 0.1), (5, 0.1), (700, 0.7), (9000, 2.0)])
def test_a_starting_gateway_is_left_alone_for_a_tenth_to_two_seconds(asked_ms: int | None, waited_s: float) -> None:
    error = RequestRejected("UNAVAILABLE", "starting", {"reason": "startup-sidecars"}, retry_after_ms=asked_ms)
    assert startup_delay_s(error) == waited_s


def test_other_refusals_are_no_starting_gateway() -> None:
    assert startup_delay_s(RequestRejected("UNAVAILABLE", "busy", {"reason": 5}, retry_after_ms=300)) is None
    for code in ("X", "ABORTED", ""):
        assert startup_delay_s(RequestRejected(code, "starting", {"reason": "startup-sidecars"})) is None


def test_the_constants_are_those_of_the_documentation() -> None:
    assert (module.CONNECT_LIMIT_S, module.MIN_WATCHDOG_S) == (30.0, 1.0)
