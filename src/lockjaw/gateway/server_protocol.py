"""The gateway's side of one connection, pure: frames and instants in, effects out.

Knows no socket, task or clock. Three states: *waiting* for ``connect``, *open*, *closed*. Whatever a peer
sends while waiting is judged in the order of the real gateway, because the order decides which text a client
prints: frame, params, protocol version, role, browser origin, missing device, device signature, credentials,
pairing. Only after all of that do its requests reach a method.

The shell performs effects in their order and calls ``tick`` when ``next_deadline`` has passed.

Source: protocol facts A3 to A6, A8 to A11, A13.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from lockjaw.errors import InvalidFrame, RemoteProtocolError
from lockjaw.gateway import auth
from lockjaw.gateway.auth import ADMIN, Credentials, FailureLimit, Peer
from lockjaw.gateway.frames import (
    MAX_PREAUTH_BYTES,
    ErrorCode,
    ErrorShape,
    EventFrame,
    RequestFrame,
    ResponseFrame,
    decode_frame,
    encode_frame,
)
from lockjaw.gateway.identity import device_id_of, signature_payload, verify_signature
from lockjaw.gateway.pairing import Approved, DeviceClaim, DevicesUnreadable, DeviceToken, Pairing, Required
from lockjaw.gateway.params import AuthParams, ConnectParams, DeviceParams

HANDSHAKE_S = {3: 10.0, 4: 15.0}  # from accepting the socket to hello-ok, by the newest protocol spoken
SIGNATURE_SKEW_MS = 120_000
MAX_UNAUTHORIZED = 10  # calls of the wrong role before the connection is closed
REASON_BYTES = 120  # a close frame carries at most 123


# --------------------------------------------------------------------------- effects


@dataclass(frozen=True)
class Send:
    """A frame to send; it may hold a token."""

    text: str = field(repr=False)


class Close(msgspec.Struct, frozen=True):
    code: int
    reason: str = ""


class Opened(msgspec.Struct, frozen=True):
    """hello-ok was sent: from here on events go to this connection."""

    client: Client


class Paired(msgspec.Struct, frozen=True):
    """A device was paired, or got a new role, without a person."""

    device_id: str
    role: str


@dataclass(frozen=True)
class Call:
    """A request that its sender may make. ``params`` are unchecked."""

    request_id: str
    method: str
    params: Any = field(repr=False)


class Log(msgspec.Struct, frozen=True):
    line: str


Effect = Send | Close | Opened | Paired | Call | Log


# --------------------------------------------------------------------------- what all connections share


class Client(msgspec.Struct, frozen=True):
    """Who is behind an open connection. ``protocol`` is the version that both sides speak now."""

    connection_id: str
    role: str
    scopes: tuple[str, ...]
    caps: tuple[str, ...]
    protocol: int
    client_id: str
    client_mode: str
    version: str
    platform: str
    device_id: str | None
    address: str
    display_name: str = ""

    @property
    def admin(self) -> bool:
        return ADMIN in self.scopes


class Gate(msgspec.Struct, frozen=True):
    """What every connection of one gateway is judged by.

    ``hello`` gives the payload of hello-ok without ``auth`` for a client that is let in. ``versions``: the
    protocol versions spoken, ascending.
    """

    credentials: Credentials
    limit: FailureLimit
    pairing: Pairing
    versions: tuple[int, ...]
    hello: Callable[[Client], dict[str, Any]]

    @property
    def handshake_s(self) -> float:
        return HANDSHAKE_S[3 if self.versions[-1] <= 3 else 4]


class _Rejected(Exception):
    """The connect request is refused: the error to answer with, and how to close."""

    def __init__(self, code: str, message: str, details: Any = None, *, close_code: int = 1008) -> None:
        self.code, self.message, self.details, self.close_code = code, message, details, close_code
        super().__init__(message)


class ServerProtocol:
    """One connection.

    Args:
        nonce: of the challenge; never reused.
        now: nominal monotonic seconds at which the socket was accepted.
        wall_ms: the same instant in Unix milliseconds (the challenge's ``ts``).
    """

    def __init__(self, gate: Gate, peer: Peer, *, connection_id: str, nonce: str, now: float, wall_ms: int) -> None:
        self.connection_id, self.peer = connection_id, peer
        self.client: Client | None = None
        self._gate, self._nonce, self._challenge_ms = gate, nonce, wall_ms
        self._deadline: float | None = now + gate.handshake_s
        self._closed = False
        self._unauthorized = 0

    def challenge(self) -> list[Effect]:
        """The first thing on the wire. It carries no seq."""
        payload = {"nonce": self._nonce, "ts": self._challenge_ms}
        return [Send(encode_frame(EventFrame("connect.challenge", payload)))]

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do (nominal monotonic seconds), or None."""
        return self._deadline

    def tick(self, now: float) -> list[Effect]:
        if self._deadline is None or now < self._deadline:
            return []
        return [Log(f"[ws] handshake timeout conn={self.connection_id}"), self._close(1000)]

    def receive(self, text: str | bytes, *, now: float, wall_ms: int) -> list[Effect]:
        """Take one message. Never raises for what a peer sent; nothing comes of it after a close."""
        if self._closed:
            return []
        if self.client is None:
            return self._receive_first(text, now, wall_ms)
        try:
            frame = decode_frame(text)
        except InvalidFrame as error:
            if not error.is_json:
                return [Log(f"[ws] message that is not JSON ignored conn={self.connection_id}")]
            return [Send(_failure(error.frame_id or "invalid", ErrorCode.INVALID_REQUEST, str(error)))]
        if not isinstance(frame, RequestFrame):
            text = "invalid request frame: at /type: must be equal to constant"
            frame_id = frame.id if isinstance(frame, ResponseFrame) else "invalid"
            return [Send(_failure(frame_id, ErrorCode.INVALID_REQUEST, text))]
        return self._receive_request(frame, self.client)

    def _receive_request(self, frame: RequestFrame, client: Client) -> list[Effect]:
        refusal = auth.refusal(frame.method, client.role, client.scopes)
        if refusal is None:
            return [Call(frame.id, frame.method, frame.params)]
        effects: list[Effect] = [Send(_failure(frame.id, ErrorCode.INVALID_REQUEST, refusal))]
        if refusal.startswith("unauthorized role"):
            self._unauthorized += 1
            if self._unauthorized > MAX_UNAUTHORIZED:
                effects.append(self._close(1008, "repeated unauthorized calls"))
        return effects

    # ----------------------------------------------------------------------- before hello

    def _receive_first(self, text: str | bytes, now: float, wall_ms: int) -> list[Effect]:
        size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
        if size > MAX_PREAUTH_BYTES:
            return [self._close(1009, "preauth payload too large")]
        try:
            frame = decode_frame(text)
        except InvalidFrame as error:
            return [self._close(1008, "invalid request frame") if error.is_json else self._close(1000)]
        if not isinstance(frame, RequestFrame):
            return [self._close(1008, "invalid request frame")]
        try:
            if frame.method != "connect":
                raise _invalid("invalid handshake: first request must be connect")
            return self._connect(frame.id, ConnectParams.read(frame.params), now, wall_ms)
        except RemoteProtocolError as error:
            rejected = _invalid(str(error))
        except DevicesUnreadable as error:
            rejected = _Rejected(ErrorCode.UNAVAILABLE, str(error), close_code=1011)
        except _Rejected as error:
            rejected = error
        return [
            Send(_failure(frame.id, rejected.code, rejected.message, rejected.details)),
            Log(f"[ws] connect refused conn={self.connection_id} remote={self.peer.address}: {rejected.message}"),
            self._close(rejected.close_code, rejected.message),
        ]

    def _connect(self, request_id: str, params: ConnectParams, now: float, wall_ms: int) -> list[Effect]:
        protocol = self._negotiate(params)
        role = params.role or "operator"
        if role not in auth.ROLES:
            raise _invalid("invalid role")
        if self.peer.foreign_page:
            raise _invalid("origin not allowed (open the page from the gateway host)")
        device, given = params.device or None, params.auth or AuthParams()
        scopes = tuple(params.scopes or ())
        shared = self._gate.credentials.check(given.token or None, given.password or None)
        blocked = self._gate.limit.blocked(self.peer, now)
        if device is None:
            self._check_missing_device(role, given, shared, blocked, now)
            if protocol < 4 or not self._is_local_cli(params, shared):
                scopes = ()  # scopes belong to a device; a shared secret alone opens nothing
        else:
            self._check_signature(device, params, role, protocol, wall_ms)
        claim = device and self._claim(device, params, role, scopes)
        if blocked or not shared.ok:
            self._check_device_token(claim, given, shared, blocked, now)
        effects, token = self._pair(claim, shared, wall_ms)
        info = params.client
        self.client = Client(
            self.connection_id, role, scopes, tuple(params.caps or ()), protocol, info.id, info.mode, info.version,
            info.platform, device.id if device else None, self.peer.address, info.displayName or "",
        )  # fmt: skip
        self._deadline = None
        hello = self._gate.hello(self.client)
        if token is not None:
            hello["auth"] = {
                "deviceToken": token.token,
                "role": token.role,
                "scopes": list(token.scopes),
                "issuedAtMs": token.issued_ms,
            }
        elif protocol >= 4:
            hello["auth"] = {"role": role, "scopes": list(scopes)}
        return [*effects, Send(encode_frame(ResponseFrame(request_id, True, hello))), Opened(self.client)]

    def _is_local_cli(self, params: ConnectParams, shared: auth.Verdict) -> bool:
        """From protocol 4 on the real command line sends no device to a gateway on its own machine: knowing the shared
        secret there is enough (seen on 2026.9.6)."""
        info, here = params.client, self.peer.local and self.peer.origin is None
        return here and (info.id, info.mode) == ("cli", "cli") and shared.ok and shared.method in ("token", "password")

    def _negotiate(self, params: ConnectParams) -> int:
        """The newest version that both speak."""
        common = [v for v in self._gate.versions if params.minProtocol <= v <= params.maxProtocol]
        if not common:
            expected = {"expectedProtocol": self._gate.versions[-1]}
            raise _Rejected(ErrorCode.INVALID_REQUEST, "protocol mismatch", expected, close_code=1002)
        return common[-1]

    def _check_missing_device(
        self, role: str, given: AuthParams, shared: auth.Verdict, blocked: bool, now: float
    ) -> None:
        if role == "operator" and shared.ok and shared.method != "none":
            return
        if not shared.ok and (given.token or given.password):
            self._check_device_token(None, given, shared, blocked, now)
        raise _Rejected(ErrorCode.NOT_PAIRED, "device identity required", {"code": "DEVICE_IDENTITY_REQUIRED"})

    def _check_signature(
        self, device: DeviceParams, params: ConnectParams, role: str, protocol: int, wall_ms: int
    ) -> None:
        """The device holds its private key, and signed this socket's challenge just now for just this request."""
        given = params.auth or AuthParams()
        derived = device_id_of(device.publicKey)
        if derived is None:
            raise _device_failure("device public key invalid", "PUBLIC_KEY_INVALID", "device-public-key")
        if derived != device.id:
            raise _device_failure("device identity mismatch", "DEVICE_ID_MISMATCH", "device-id-mismatch")
        stale = abs(wall_ms - device.signedAt) > SIGNATURE_SKEW_MS
        if stale or (protocol >= 4 and device.signedAt != self._challenge_ms):
            raise _device_failure("device signature expired", "SIGNATURE_EXPIRED", "device-signature-stale")
        nonce = device.nonce.strip()
        if not nonce:
            raise _device_failure("device nonce required", "NONCE_REQUIRED", "device-nonce-missing")
        if nonce != self._nonce:
            raise _device_failure("device nonce mismatch", "NONCE_MISMATCH", "device-nonce-mismatch")
        for version in ("v3", "v2"):
            payload = signature_payload(
                version,
                device_id=device.id,
                client_id=params.client.id,
                client_mode=params.client.mode,
                role=role,
                scopes=params.scopes or (),
                signed_at_ms=device.signedAt,
                token=_first(given.token, given.deviceToken, given.bootstrapToken),
                nonce=nonce,
                platform=params.client.platform,
                device_family=params.client.deviceFamily or None,
            )
            if verify_signature(device.publicKey, payload, device.signature):
                return
        raise _device_failure("device signature invalid", "SIGNATURE_INVALID", "device-signature")

    def _claim(self, device: DeviceParams, params: ConnectParams, role: str, scopes: tuple[str, ...]) -> DeviceClaim:
        info = params.client
        return DeviceClaim(
            device_id=device.id,
            public_key=device.publicKey,
            client_id=info.id,
            client_mode=info.mode,
            platform=info.platform,
            role=role,
            scopes=scopes,
            silent=self.peer.local and self.peer.origin is None,
            device_family=info.deviceFamily or "",
            display_name=info.displayName or "",
            address=self.peer.address,
        )

    def _check_device_token(
        self, claim: DeviceClaim | None, given: AuthParams, shared: auth.Verdict, blocked: bool, now: float
    ) -> None:
        """The shared secret does not open: the device's own token may. Counts one failed attempt if not.

        A client sends a stored device token both as ``token`` and as ``deviceToken``; to count the shared
        check as a failure of its own would lock out a device that did nothing wrong.
        """
        reason = shared.reason
        if blocked:
            reason = "rate_limited"
        elif claim is not None and (candidate := given.deviceToken or given.token):
            if self._gate.pairing.token_valid(claim, candidate):
                return
            if given.deviceToken:
                reason = "device_token_mismatch"
        if reason.endswith("mismatch"):
            self._gate.limit.failed(self.peer, now)
        retry = reason == "token_mismatch" and claim is not None and not given.deviceToken
        details = auth.failure_details(reason, can_retry_with_device_token=retry)
        raise _Rejected(ErrorCode.INVALID_REQUEST, auth.failure_text(reason), details)

    def _pair(
        self, claim: DeviceClaim | None, shared: auth.Verdict, wall_ms: int
    ) -> tuple[list[Effect], DeviceToken | None]:
        if claim is None:
            return [], None
        own_backend = claim.client_id == "gateway-client" and claim.client_mode == "backend"
        if own_backend and self.peer.local and shared.ok and shared.method != "none":
            return [], None
        effects: list[Effect] = []
        match self._gate.pairing.admit(claim, wall_ms):
            case Required(reason=reason, request_id=pending):
                details = {"code": "PAIRING_REQUIRED", "requestId": pending, "reason": reason}
                raise _Rejected(ErrorCode.NOT_PAIRED, "pairing required", details)
            case Approved():
                effects = [
                    Log(f"[gateway] device pairing auto-approved device={claim.device_id} role={claim.role}"),
                    Paired(claim.device_id, claim.role),
                ]
        return effects, self._gate.pairing.issue(claim, wall_ms)

    def _close(self, code: int, reason: str = "") -> Close:
        self._closed, self._deadline = True, None
        return Close(code, close_reason(reason))


def close_reason(text: str) -> str:
    """Cut to what a close frame can carry, never in the middle of a character."""
    return text.encode("utf-8", "replace")[:REASON_BYTES].decode("utf-8", "ignore")


def _first(*candidates: str | UnsetType) -> str | None:
    """The first that was sent at all, even if empty (JavaScript's ``??``)."""
    return next((text for text in candidates if not isinstance(text, UnsetType)), None)


def _invalid(message: str) -> _Rejected:
    return _Rejected(ErrorCode.INVALID_REQUEST, message)


def _device_failure(message: str, code: str, reason: str) -> _Rejected:
    details = {"code": f"DEVICE_AUTH_{code}", "reason": reason}
    return _Rejected(ErrorCode.INVALID_REQUEST, message, details)


def _failure(request_id: str, code: str, message: str, details: Any = None) -> str:
    shape = ErrorShape(code, message, UNSET if details is None else details)
    return encode_frame(ResponseFrame(request_id, False, error=shape))
