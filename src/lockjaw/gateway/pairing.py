"""Pairing: which devices the gateway knows, for which role and scopes, with which token.

The rules (``judge``) are pure. ``Pairing`` applies them to two JSON documents, which a ``Documents`` keeps:
``DeviceFiles`` under ``<stateDir>/devices`` or, in a simulation, plain memory. Both documents are read again
each time, so an approval by another program is seen at once. Fields that we do not know are kept.

A document that cannot be read is an error, never "nobody is paired": the next write would erase it.

Source: protocol facts A11 (rules), A5 (device tokens), D1 (files).
"""

from __future__ import annotations

import base64
import hmac
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeGuard

import msgspec

from lockjaw.errors import LocalError
from lockjaw.gateway.auth import scopes_allow
from lockjaw.seeds import uuid4
from lockjaw.whole_files import write_whole

PENDING_MS = 300_000  # a pending request is forgotten after five minutes
TOKEN_BYTES = 32

Document = dict[str, Any]
DocumentName = Literal["paired", "pending"]


class DevicesUnreadable(LocalError):
    """A devices document is malformed or may not be read. Fields: ``path``, ``reason``."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: {reason}; repair or remove it, then connect again")


class Documents(Protocol):
    """Where the two documents live. ``read`` gives {} for one that does not exist."""

    def read(self, name: DocumentName) -> Document: ...
    def write(self, name: DocumentName, value: Document) -> None: ...


class DeviceFiles:
    """``<stateDir>/devices/{paired,pending}.json``: mode 0600, replaced atomically."""

    def __init__(self, state_dir: Path) -> None:
        self._dir = state_dir / "devices"

    def read(self, name: DocumentName) -> Document:
        path = self._dir / f"{name}.json"
        try:
            value = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise DevicesUnreadable(str(path), str(error)) from error
        if not isinstance(value, dict) or not all(isinstance(entry, dict) for entry in value.values()):
            raise DevicesUnreadable(str(path), "not an object of objects")
        return value

    def write(self, name: DocumentName, value: Document) -> None:
        path = self._dir / f"{name}.json"
        try:
            self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, json.dumps(value, indent=2).encode(), mode=0o600, durable=True)
        except OSError as error:
            raise DevicesUnreadable(str(path), str(error)) from error


@dataclass
class MemoryDocuments:
    """Documents without a file system."""

    paired: Document = field(default_factory=dict, repr=False)
    pending: Document = field(default_factory=dict)

    def read(self, name: DocumentName) -> Document:
        return _copy(getattr(self, name))

    def write(self, name: DocumentName, value: Document) -> None:
        setattr(self, name, _copy(value))


def _copy(value: Document) -> Document:
    """As a file would give it back."""
    return msgspec.json.decode(msgspec.json.encode(value), type=dict[str, Any])


@dataclass(frozen=True)
class DeviceClaim:
    """What a connecting device, its signature already checked, says about itself.

    ``silent``: it may be paired without a person's approval (local, and no browser behind it).
    """

    device_id: str
    public_key: str
    client_id: str
    client_mode: str
    platform: str
    role: str
    scopes: tuple[str, ...]
    silent: bool
    device_family: str = ""
    display_name: str = ""
    address: str = ""


Reason = Literal["not-paired", "metadata-upgrade", "role-upgrade", "scope-upgrade"]


@dataclass(frozen=True)
class Known:
    """Paired already, and asks nothing new."""


@dataclass(frozen=True)
class Approved:
    """Paired, or given a new role, just now and silently."""

    reason: Reason


@dataclass(frozen=True)
class Required:
    """A person has to approve. ``request_id`` names the pending request (empty from ``judge``)."""

    reason: Reason
    request_id: str = ""


@dataclass(frozen=True)
class DeviceToken:
    """What ``hello-ok.auth`` tells the device. Milliseconds are Unix time."""

    token: str = field(repr=False)
    role: str
    scopes: tuple[str, ...]
    issued_ms: int


def judge(known: Mapping[str, Any] | None, claim: DeviceClaim) -> Known | Approved | Required:
    """Apply the rules to the record of a device (None: unknown). The order of the rules is upstream's."""
    if known is None or known.get("publicKey") != claim.public_key:
        return Approved("not-paired") if claim.silent else Required("not-paired")
    for pinned, claimed in (("platform", claim.platform), ("deviceFamily", claim.device_family)):
        if known.get(pinned) and _normal(known[pinned]) != _normal(claimed):
            return Required("metadata-upgrade")
    if claim.role not in _texts(known, "roles"):
        return Approved("role-upgrade") if claim.silent else Required("role-upgrade")
    if not scopes_allow(claim.scopes, _texts(known, "approvedScopes", "scopes")):
        return Required("scope-upgrade")  # never silent, even from this machine
    return Known()


class Pairing:
    """The devices that a gateway knows.

    Args:
        ids: source of request ids and of device tokens; a real gateway's is ``random.SystemRandom()``.
    """

    def __init__(self, documents: Documents, *, ids: random.Random) -> None:
        self._documents, self._ids = documents, ids

    def admit(self, claim: DeviceClaim, now_ms: int) -> Known | Approved | Required:
        """Judge a device and keep what follows: the pairing, or a pending request.

        Raises:
            DevicesUnreadable: the gateway's own records cannot be read or written.
        """
        paired = self._documents.read("paired")
        outcome = judge(paired.get(claim.device_id), claim)
        match outcome:
            case Approved():
                self._keep(paired, claim, now_ms)
            case Required(reason=reason):
                return Required(reason, self._pend(claim, claim.device_id in paired, now_ms))
        return outcome

    def issue(self, claim: DeviceClaim, now_ms: int) -> DeviceToken:
        """The token of a paired device for its role: the old one while its scopes suffice, else a new one."""
        paired = self._documents.read("paired")
        tokens = paired[claim.device_id].setdefault("tokens", {})
        entry = tokens.get(claim.role)
        if not (_usable(entry) and scopes_allow(claim.scopes, _texts(entry, "scopes"))):
            entry = {
                "token": base64.urlsafe_b64encode(self._ids.randbytes(TOKEN_BYTES)).rstrip(b"=").decode(),
                "role": claim.role,
                "scopes": list(claim.scopes),
                "createdAtMs": now_ms,
            }
            tokens[claim.role] = entry
            self._documents.write("paired", paired)
        issued = entry.get("rotatedAtMs") or entry.get("createdAtMs") or now_ms
        return DeviceToken(entry["token"], claim.role, tuple(_texts(entry, "scopes")), issued)

    def token_valid(self, claim: DeviceClaim, token: str) -> bool:
        """Whether this is the device's token for this role, and covers the requested scopes."""
        known = self._documents.read("paired").get(claim.device_id) or {}
        entry = (known.get("tokens") or {}).get(claim.role)
        return (
            _usable(entry)
            and hmac.compare_digest(entry["token"].encode(), token.encode("utf-8", "surrogatepass"))
            and scopes_allow(claim.scopes, _texts(entry, "scopes"))
        )

    def approve(self, request_id: str, now_ms: int) -> str | None:
        """A person approved a pending request. Returns the device's id; None: unknown or expired request."""
        pending = _fresh(self._documents.read("pending"), now_ms)
        request = pending.pop(request_id, None)
        if request is None:
            return None
        claim = DeviceClaim(
            request["deviceId"], request["publicKey"], request["clientId"], request["clientMode"],
            request["platform"], request["role"], tuple(request["scopes"]), True,
            request.get("deviceFamily", ""), request.get("displayName", ""), request.get("remoteIp", ""),
        )  # fmt: skip
        self._keep(self._documents.read("paired"), claim, now_ms)
        self._documents.write("pending", pending)
        return claim.device_id

    def _keep(self, paired: Document, claim: DeviceClaim, now_ms: int) -> None:
        old = paired.get(claim.device_id) or {}
        if old.get("publicKey") != claim.public_key:
            old = {}
        scopes = list(dict.fromkeys([*_texts(old, "approvedScopes", "scopes"), *claim.scopes]))
        paired[claim.device_id] = {
            **old,
            **_described(claim),
            "roles": list(dict.fromkeys([*_texts(old, "roles"), claim.role])),
            "scopes": scopes,
            "approvedScopes": scopes,
            "tokens": old.get("tokens") or {},
            "createdAtMs": old.get("createdAtMs") or now_ms,
            "approvedAtMs": now_ms,
        }
        self._documents.write("paired", paired)

    def _pend(self, claim: DeviceClaim, repair: bool, now_ms: int) -> str:
        pending = _fresh(self._documents.read("pending"), now_ms)
        described = {**_described(claim), "roles": [claim.role], "scopes": list(claim.scopes)}
        for request_id, request in pending.items():
            if all(request.get(key) == value for key, value in described.items()):
                return request_id  # the device asked the same before: one request, one approval
        request_id = uuid4(self._ids)
        pending[request_id] = {
            "requestId": request_id, **described, "silent": False, "isRepair": repair, "ts": now_ms,
        }  # fmt: skip
        self._documents.write("pending", pending)
        return request_id


def _described(claim: DeviceClaim) -> dict[str, Any]:
    fields = {
        "deviceId": claim.device_id,
        "publicKey": claim.public_key,
        "displayName": claim.display_name,
        "platform": claim.platform,
        "deviceFamily": claim.device_family,
        "clientId": claim.client_id,
        "clientMode": claim.client_mode,
        "role": claim.role,
        "remoteIp": "" if claim.silent else claim.address,
    }
    return {key: value for key, value in fields.items() if value}


def _fresh(pending: Document, now_ms: int) -> Document:
    return {
        request_id: request
        for request_id, request in pending.items()
        if isinstance(request.get("ts"), int) and now_ms - request["ts"] <= PENDING_MS
    }


def _normal(text: object) -> str:
    return str(text).strip().lower()


def _texts(record: Mapping[str, Any], *names: str) -> list[str]:
    """The first of these lists that is there, its texts only; [] when none is."""
    for name in names:
        if isinstance(record.get(name), list):
            return [item for item in record[name] if isinstance(item, str)]
    return []


def _usable(entry: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(entry, dict) and isinstance(entry.get("token"), str) and not entry.get("revokedAtMs")
