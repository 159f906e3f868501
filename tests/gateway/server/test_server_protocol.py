"""One connection's server side without a socket: who gets in, who does not, and with which words."""

from __future__ import annotations

import json
import random

import pytest
from msgspec import UNSET

from lockjaw.gateway.auth import Credentials, FailureLimit, Peer
from lockjaw.gateway.identity import DeviceIdentity
from lockjaw.gateway.pairing import DeviceFiles, MemoryDocuments, Pairing
from lockjaw.gateway.server_protocol import (
    Call,
    Close,
    Gate,
    Log,
    Opened,
    Paired,
    Send,
    ServerProtocol,
    close_reason,
)

LOCAL = Peer("127.0.0.1", True)
REMOTE = Peer("203.0.113.9", False)
WALL_MS = 1_800_000_000_000
TOKEN = "a-token-that-must-not-show"


class Bench:
    """A gate, and connections to it at will."""

    def __init__(self, *, credentials: Credentials | None = None, versions: tuple[int, ...] = (3, 4)) -> None:
        self.documents = MemoryDocuments()
        self.limit = FailureLimit()
        self.identity = DeviceIdentity.generate(random.Random(7))
        self.now = 100.0
        pairing = Pairing(self.documents, ids=random.Random(3))
        self.gate = Gate(
            credentials or Credentials("token", TOKEN), self.limit, pairing, versions,
            lambda client: {"type": "hello-ok", "protocol": client.protocol},
        )  # fmt: skip

    def open(self, peer: Peer = LOCAL) -> ServerProtocol:
        return ServerProtocol(self.gate, peer, connection_id="conn-1", nonce="nonce-1", now=self.now, wall_ms=WALL_MS)

    challenge = {"nonce": "nonce-1", "ts": WALL_MS}  # noqa: RUF012

    def receive(self, protocol: ServerProtocol, frame: object) -> list:
        text = frame if isinstance(frame, (str, bytes)) else json.dumps(frame)
        return protocol.receive(text, now=self.now, wall_ms=WALL_MS)

    def connect(self, params: dict, peer: Peer = LOCAL) -> tuple[ServerProtocol, list]:
        protocol = self.open(peer)
        frame = {"type": "req", "id": "c1", "method": "connect", "params": params}
        return protocol, self.receive(protocol, frame)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def response(effects: list) -> dict:
    return next(json.loads(effect.text) for effect in effects if isinstance(effect, Send))


def refused(effects: list) -> tuple[str, str, dict | None, Close]:
    """Code, message, details and close of a refused connect."""
    answer = response(effects)
    assert not answer["ok"]
    assert isinstance(effects[-1], Close)
    assert not [effect for effect in effects if isinstance(effect, Opened)]
    assert TOKEN not in repr(effects)
    return answer["error"]["code"], answer["error"]["message"], answer["error"].get("details"), effects[-1]


# --------------------------------------------------------------------------- let in


def test_challenge_is_the_first_frame_and_has_no_seq(bench):
    (send,) = bench.open().challenge()
    assert json.loads(send.text) == {
        "type": "event", "event": "connect.challenge", "payload": {"nonce": "nonce-1", "ts": WALL_MS},
    }  # fmt: skip


@pytest.mark.parametrize("version", ["v3", "v2"])
def test_local_device_with_the_token_is_paired_and_let_in(bench, signed, version):
    protocol, effects = bench.connect(signed(bench.identity, bench.challenge, signature_version=version))
    hello = response(effects)["payload"]
    assert [type(effect) for effect in effects] == [Log, Paired, Send, Opened]
    line = f"[gateway] device pairing auto-approved device={bench.identity.device_id} role=operator"
    assert effects[0] == Log(line)
    assert hello["protocol"] == 3
    assert hello["auth"]["role"] == "operator"
    assert hello["auth"]["deviceToken"]
    assert protocol.next_deadline() is None
    client = effects[-1].client
    assert client.admin
    assert client.device_id == bench.identity.device_id


def test_known_device_is_let_in_without_a_new_pairing(bench, signed):
    first = response(bench.connect(signed(bench.identity, bench.challenge))[1])["payload"]["auth"]
    _, effects = bench.connect(signed(bench.identity, bench.challenge))
    assert [type(effect) for effect in effects] == [Send, Opened]
    assert response(effects)["payload"]["auth"] == first


def test_device_token_opens_in_place_of_the_shared_one(bench, signed):
    issued = response(bench.connect(signed(bench.identity, bench.challenge))[1])["payload"]["auth"]["deviceToken"]
    auth = {"token": issued, "deviceToken": issued}
    _, effects = bench.connect(signed(bench.identity, bench.challenge, auth=auth))
    assert response(effects)["ok"]
    narrower = signed(bench.identity, bench.challenge, auth={"deviceToken": issued}, scopes=["operator.read"])
    assert response(bench.connect(narrower)[1])["ok"]


@pytest.mark.parametrize(
    ("wanted", "spoken", "negotiated"),
    [((3, 3), (3, 4), 3), ((3, 4), (3, 4), 4), ((4, 4), (3, 4), 4), ((1, 3), (3,), 3), ((3, 9), (3,), 3)],
)
def test_newest_common_protocol_is_spoken(signed, wanted, spoken, negotiated):
    bench = Bench(versions=spoken)
    _, effects = bench.connect(signed(bench.identity, bench.challenge, protocol=wanted))
    assert response(effects)["payload"]["protocol"] == negotiated
    assert effects[-1].client.protocol == negotiated


def test_protocol_4_always_tells_role_and_scopes(signed):
    bench = Bench()
    params = signed(None, bench.challenge, protocol=(4, 4), scopes=["operator.read"], client={"id": "openclaw-tui"})
    _, effects = bench.connect(params)
    assert response(effects)["payload"]["auth"] == {"role": "operator", "scopes": []}
    params = signed(None, bench.challenge, protocol=(3, 3))
    assert "auth" not in response(bench.connect(params)[1])["payload"]


def test_command_line_of_protocol_4_needs_no_device_on_the_gateways_own_machine(signed):
    bench = Bench()
    params = signed(None, bench.challenge, protocol=(4, 4), scopes=["operator.admin"])
    (opened,) = [e for e in bench.connect(params)[1] if isinstance(e, Opened)]
    assert opened.client.scopes == ("operator.admin",)
    assert [e.client.scopes for e in bench.connect(params, REMOTE)[1] if isinstance(e, Opened)] == [()]
    params = signed(None, bench.challenge, protocol=(3, 3), scopes=["operator.admin"])
    assert [e.client.scopes for e in bench.connect(params)[1] if isinstance(e, Opened)] == [()]


def test_shared_token_without_a_device_loses_every_scope(bench, signed):
    protocol, effects = bench.connect(signed(None, bench.challenge))
    assert effects[-1].client.scopes == ()
    answer = response(bench.receive(protocol, {"type": "req", "id": "1", "method": "agent"}))
    assert answer["error"] == {"code": "INVALID_REQUEST", "message": "missing scope: operator.write"}


def test_own_backend_is_let_in_unpaired(bench, signed):
    params = signed(bench.identity, bench.challenge, client={"id": "gateway-client", "mode": "backend"})
    _, effects = bench.connect(params)
    assert [type(effect) for effect in effects] == [Send, Opened]
    assert bench.documents.paired == {}
    _, effects = bench.connect(params, REMOTE)
    assert refused(effects)[1] == "pairing required"


def test_password_mode_takes_the_password(signed):
    bench = Bench(credentials=Credentials("password", password="p4ss"))
    good = signed(bench.identity, bench.challenge, auth={"password": "p4ss"})
    assert response(bench.connect(good)[1])["ok"]


def test_mode_none_needs_a_device_and_nothing_else(signed):
    bench = Bench(credentials=Credentials("none"))
    assert response(bench.connect(signed(bench.identity, bench.challenge, token=None))[1])["ok"]
    code, message, _, close = refused(bench.connect(signed(None, bench.challenge, token=None))[1])
    assert (code, message, close) == ("NOT_PAIRED", "device identity required", Close(1008, "device identity required"))


# --------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("bent", "message", "code"),
    [
        ({"device": {"id": "0" * 64}}, "device identity mismatch", "DEVICE_AUTH_DEVICE_ID_MISMATCH"),
        ({"device": {"publicKey": "AAAA"}}, "device public key invalid", "DEVICE_AUTH_PUBLIC_KEY_INVALID"),
        ({"signed_at": WALL_MS - 120_001}, "device signature expired", "DEVICE_AUTH_SIGNATURE_EXPIRED"),
        ({"signed_at": WALL_MS + 120_001}, "device signature expired", "DEVICE_AUTH_SIGNATURE_EXPIRED"),
        ({"device": {"nonce": " "}}, "device nonce required", "DEVICE_AUTH_NONCE_REQUIRED"),
        ({"nonce": "of-another-socket"}, "device nonce mismatch", "DEVICE_AUTH_NONCE_MISMATCH"),
        ({"device": {"signature": "AAAA"}}, "device signature invalid", "DEVICE_AUTH_SIGNATURE_INVALID"),
    ],
)
def test_bad_device_proof_is_refused(bench, signed, bent, message, code):
    _, effects = bench.connect(signed(bench.identity, bench.challenge, **bent))
    answer = refused(effects)
    assert answer[:2] == ("INVALID_REQUEST", message)
    assert answer[2]["code"] == code
    assert answer[2]["reason"].startswith("device-")
    assert answer[3] == Close(1008, message)
    assert bench.documents.paired == {}


@pytest.mark.parametrize("skew", [-120_000, 120_000])
def test_signature_at_the_edge_of_the_window_is_taken(bench, signed, skew):
    assert response(bench.connect(signed(bench.identity, bench.challenge, signed_at=WALL_MS + skew))[1])["ok"]


@pytest.mark.parametrize(
    "change",
    [
        {"scopes": ["operator.admin"]},
        {"role": "node"},
        {"client": {"id": "test", "mode": "cli", "version": "1", "platform": "linux"}},
        {"client": {"id": "cli", "mode": "cli", "version": "1", "platform": "darwin"}},
        {"auth": {"token": "another"}},
    ],
)
def test_signature_covers_what_the_device_asks_for(bench, signed, change):
    params = {**signed(bench.identity, bench.challenge, scopes=["operator.read"]), **change}
    assert refused(bench.connect(params)[1])[1] == "device signature invalid"


def test_signature_of_another_device_is_refused(bench, signed, other_device):
    stolen = signed(other_device, bench.challenge)["device"]["signature"]
    params = signed(bench.identity, bench.challenge, device={"signature": stolen})
    assert refused(bench.connect(params)[1])[1] == "device signature invalid"


def test_protocol_4_signs_the_instant_of_the_challenge(bench, signed):
    late = signed(bench.identity, bench.challenge, protocol=(4, 4), signed_at=WALL_MS + 1)
    assert refused(bench.connect(late)[1])[1] == "device signature expired"
    exact = signed(bench.identity, bench.challenge, protocol=(4, 4))
    assert response(bench.connect(exact)[1])["ok"]


UNAUTHORIZED = {
    "token missing": ({"token": None}, "AUTH_TOKEN_MISSING", "gateway token missing (set gateway.remote.token"),
    "token mismatch": ({"token": "wrong"}, "AUTH_TOKEN_MISMATCH", "gateway token mismatch (set gateway.remote.token"),
    "device token mismatch": (
        {"auth": {"token": "x", "deviceToken": "x"}}, "AUTH_DEVICE_TOKEN_MISMATCH", "device token mismatch",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNAUTHORIZED)
def test_wrong_credentials_are_refused(bench, signed, case):
    bent, code, text = UNAUTHORIZED[case]
    answer = refused(bench.connect(signed(bench.identity, bench.challenge, **bent))[1])
    assert answer[0] == "INVALID_REQUEST"
    assert answer[1].startswith(f"unauthorized: {text}")
    assert answer[2]["code"] == code
    assert answer[2]["canRetryWithDeviceToken"] is (case == "token mismatch")
    assert answer[3].code == 1008
    assert answer[1].startswith(answer[3].reason)
    assert bench.documents.paired == {}


def test_password_failures_have_their_own_texts(signed):
    bench = Bench(credentials=Credentials("password", password="p4ss"))
    for auth, code in (({}, "AUTH_PASSWORD_MISSING"), ({"password": "no"}, "AUTH_PASSWORD_MISMATCH")):
        params = signed(bench.identity, bench.challenge, auth=auth)
        assert refused(bench.connect(params)[1])[2]["code"] == code


def test_deviceless_client_with_a_wrong_token_hears_about_the_token(bench, signed):
    assert refused(bench.connect(signed(None, bench.challenge, token="wrong"))[1])[2]["code"] == "AUTH_TOKEN_MISMATCH"
    assert refused(bench.connect(signed(None, bench.challenge, token=None))[1])[1] == "device identity required"
    assert refused(bench.connect(signed(None, bench.challenge, role="node"))[1])[1] == "device identity required"


def test_remote_address_is_locked_out_after_ten_failures_and_this_machine_never(bench, signed):
    wrong = signed(bench.identity, bench.challenge, token="wrong")
    right = signed(bench.identity, bench.challenge)
    for _ in range(10):
        assert refused(bench.connect(wrong, REMOTE)[1])[2]["code"] == "AUTH_TOKEN_MISMATCH"
        assert refused(bench.connect(wrong)[1])[2]["code"] == "AUTH_TOKEN_MISMATCH"
    locked = refused(bench.connect(right, REMOTE)[1])
    assert locked[1] == "unauthorized: too many failed authentication attempts (retry later)"
    assert locked[2]["code"] == "AUTH_RATE_LIMITED"
    deviceless = refused(bench.connect(signed(None, bench.challenge, token="wrong"), REMOTE)[1])
    assert deviceless[2]["code"] == "AUTH_RATE_LIMITED"
    assert response(bench.connect(right)[1])["ok"]
    bench.now += 300
    assert response(bench.connect(right, REMOTE)[1])["ok"]


def test_lockout_holds_against_a_deviceless_client_with_the_right_token(bench, signed):
    wrong, right = (signed(None, bench.challenge, token=token) for token in ("wrong", TOKEN))
    for _ in range(10):
        bench.connect(wrong, REMOTE)
    assert refused(bench.connect(right, REMOTE)[1])[2]["code"] == "AUTH_RATE_LIMITED"


def test_remote_device_needs_a_person_and_asks_once(bench, signed):
    params = signed(bench.identity, bench.challenge)
    answers = [refused(bench.connect(params, REMOTE)[1]) for _ in range(2)]
    assert answers[0][:2] == ("NOT_PAIRED", "pairing required")
    assert answers[0][2]["code"] == "PAIRING_REQUIRED"
    assert answers[0][2]["reason"] == "not-paired"
    assert answers[0][2]["requestId"] == answers[1][2]["requestId"]
    bench.gate.pairing.approve(answers[0][2]["requestId"], WALL_MS)
    assert response(bench.connect(params, REMOTE)[1])["ok"]


@pytest.mark.parametrize(
    "peer", [Peer("127.0.0.1", True, forwarded=True), Peer("127.0.0.1", True, origin="http://localhost:1")]
)
def test_proxied_client_and_browser_are_never_paired_silently(bench, signed, peer):
    assert refused(bench.connect(signed(bench.identity, bench.challenge), peer)[1])[1] == "pairing required"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://[", "http://127.0.0.1.evil.example"])
def test_page_of_another_site_is_refused(bench, signed, origin):
    peer = Peer("127.0.0.1", True, origin=origin)
    assert refused(bench.connect(signed(bench.identity, bench.challenge), peer)[1])[1].startswith("origin not allowed")


def test_known_device_that_asks_for_more_needs_a_person(bench, signed):
    bench.connect(signed(bench.identity, bench.challenge, scopes=["operator.write"]))
    more = refused(bench.connect(signed(bench.identity, bench.challenge, scopes=["operator.admin"]))[1])
    assert more[2]["reason"] == "scope-upgrade"
    moved = refused(bench.connect(signed(bench.identity, bench.challenge, scopes=[], platform="darwin"))[1])
    assert moved[2]["reason"] == "metadata-upgrade"


@pytest.mark.parametrize("window", [(1, 2), (5, 9)])
def test_protocol_mismatch_closes_with_1002(bench, signed, window):
    code, message, details, close = refused(bench.connect(signed(bench.identity, bench.challenge, protocol=window))[1])
    assert (code, message, details) == ("INVALID_REQUEST", "protocol mismatch", {"expectedProtocol": 4})
    assert close == Close(1002, "protocol mismatch")


def test_unknown_role_is_refused(bench, signed):
    answer = refused(bench.connect(signed(bench.identity, bench.challenge, role="boss"))[1])
    assert (answer[1], answer[3]) == ("invalid role", Close(1008, "invalid role"))


def test_bad_connect_params_are_named(bench, signed):
    answer = refused(bench.connect({**signed(bench.identity, bench.challenge), "x": 1})[1])
    assert answer[1] == "invalid connect params: at root: unexpected property 'x'"
    assert answer[3] == Close(1008, answer[1])
    answer = refused(bench.connect(signed(bench.identity, bench.challenge, client={"id": "nobody"}))[1])
    assert answer[1].startswith("invalid connect params: at /client/id: ")


def test_first_request_must_be_connect(bench):
    answer = refused(bench.receive(bench.open(), {"type": "req", "id": "1", "method": "agent"}))
    assert answer[1] == "invalid handshake: first request must be connect"
    assert answer[3] == Close(1008, answer[1])


@pytest.mark.parametrize(
    ("frame", "close"),
    [
        ({"type": "event", "event": "x"}, Close(1008, "invalid request frame")),
        ({"type": "res", "id": "1", "ok": True}, Close(1008, "invalid request frame")),
        ({"type": "req", "id": "", "method": "connect"}, Close(1008, "invalid request frame")),
        ([1, 2], Close(1008, "invalid request frame")),
        ("{not json", Close(1000)),
        (b"\xff\xfe", Close(1000)),
        ('{"type":"req","id":"1","method":"connect","params":' + "[" * 30_000, Close(1000)),
        ('"' + "x" * 65_535 + '"', Close(1009, "preauth payload too large")),
        ("é" * 40_000, Close(1009, "preauth payload too large")),
    ],
)
def test_first_frame_that_is_no_request_closes(bench, frame, close):
    protocol = bench.open()
    assert bench.receive(protocol, frame) == [close]
    assert bench.receive(protocol, {"type": "req", "id": "1", "method": "health"}) == []


def test_unreadable_pairing_records_refuse_and_erase_nothing(bench, signed, tmp_path):
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "paired.json").write_text("{torn")
    gate = bench.gate
    pairing = Pairing(DeviceFiles(tmp_path), ids=random.Random(1))
    bench.gate = Gate(gate.credentials, gate.limit, pairing, (3,), gate.hello)
    code, message, _, close = refused(bench.connect(signed(bench.identity, bench.challenge))[1])
    assert code == "UNAVAILABLE"
    assert "paired.json" in message
    assert close.code == 1011
    assert (tmp_path / "devices" / "paired.json").read_text() == "{torn"


# --------------------------------------------------------------------------- time


@pytest.mark.parametrize(("versions", "limit_s"), [((3,), 10.0), ((3, 4), 15.0)])
def test_handshake_that_takes_too_long_is_closed_without_a_reason(versions, limit_s):
    bench = Bench(versions=versions)
    protocol = bench.open()
    assert protocol.next_deadline() == bench.now + limit_s
    assert protocol.tick(bench.now + limit_s - 0.001) == []
    assert protocol.tick(bench.now + limit_s)[-1] == Close(1000)
    assert protocol.next_deadline() is None
    assert protocol.tick(bench.now + 100) == []


# --------------------------------------------------------------------------- after hello


@pytest.fixture
def opened(bench, signed):
    protocol, _ = bench.connect(signed(bench.identity, bench.challenge))
    return protocol


def test_request_after_hello_becomes_a_call(bench, opened):
    frame = {"type": "req", "id": "1", "method": "agent", "params": {"x": 1}, "traceparent": "00-1"}
    assert bench.receive(opened, frame) == [Call("1", "agent", {"x": 1})]


def test_message_that_is_not_json_is_ignored_after_hello(bench, opened):
    for text in ("{", b"\xff", '{"type":"req","id":"1","method":"agent","params":' + "[" * 100_000):
        (log,) = bench.receive(opened, text)
        assert "not JSON" in log.line


@pytest.mark.parametrize(
    ("frame", "frame_id"),
    [
        ({"type": "req", "id": "7", "method": "x", "extra": 1}, "7"),
        ({"type": "req", "id": 7, "method": "x"}, "invalid"),
        ({"type": "res", "id": "7", "ok": True}, "7"),
        ({"type": "event", "event": "x"}, "invalid"),
        ([], "invalid"),
    ],
)
def test_invalid_frame_after_hello_is_answered(bench, opened, frame, frame_id):
    answer = response(bench.receive(opened, frame))
    assert answer["id"] == frame_id
    assert answer["error"]["code"] == "INVALID_REQUEST"
    assert answer["error"]["message"].startswith("invalid request frame: ")


def test_method_that_nobody_classified_needs_admin(bench, signed):
    bench.connect(signed(bench.identity, bench.challenge))
    protocol, _ = bench.connect(signed(bench.identity, bench.challenge, scopes=["operator.write"]))
    answer = response(bench.receive(protocol, {"type": "req", "id": "1", "method": "x.y"}))
    assert answer["error"]["message"] == "missing scope: operator.admin"
    assert bench.receive(protocol, {"type": "req", "id": "1", "method": "status"})[0].method == "status"
    assert bench.receive(protocol, {"type": "req", "id": "1", "method": "health"})[0].method == "health"


def test_more_than_ten_calls_of_the_wrong_role_close(bench, signed):
    protocol, effects = bench.connect(signed(bench.identity, bench.challenge, role="node", scopes=[]))
    assert response(effects)["ok"]
    assert bench.receive(protocol, {"type": "req", "id": "1", "method": "health"}) == [Call("1", "health", UNSET)]
    for _ in range(10):
        (send,) = bench.receive(protocol, {"type": "req", "id": "1", "method": "agent"})
        assert json.loads(send.text)["error"]["message"] == "unauthorized role: node"
    effects = bench.receive(protocol, {"type": "req", "id": "1", "method": "agent"})
    assert effects[-1] == Close(1008, "repeated unauthorized calls")


def test_missing_scopes_do_not_count_as_wrong_role(bench, signed):
    protocol, _ = bench.connect(signed(None, bench.challenge))
    for _ in range(20):
        assert len(bench.receive(protocol, {"type": "req", "id": "1", "method": "agent"})) == 1


@pytest.mark.parametrize(
    ("text", "cut"), [("x" * 200, "x" * 120), ("é" * 100, "é" * 60), ("x" + "é" * 100, "x" + "é" * 59), ("", "")]
)
def test_close_reason_is_cut_between_characters(text, cut):
    assert close_reason(text) == cut
