"""Who we are to a gateway: an Ed25519 device key, the signature over a challenge, and the issued tokens.

The private key stays in one file of mode 0600 and in memory; no ``repr``, record or error shows it.
Source: protocol facts A5.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import random
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import UNSET

from lockjaw.clock import Clock
from lockjaw.errors import LocalError, UsageError
from lockjaw.gateway.params import AuthParams
from lockjaw.whole_files import write_whole

_RAW = serialization.Encoding.Raw, serialization.PublicFormat.Raw


class _KeyFile(msgspec.Struct):
    version: int
    deviceId: str
    publicKeyPem: str
    privateKeyPem: str
    createdAtMs: int


class DeviceIdentity:
    """A device: key pair, id, and the ability to sign. Load it with ``load_or_create``."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        raw = private_key.public_key().public_bytes(*_RAW)
        self.device_id = hashlib.sha256(raw).hexdigest()
        self.public_key_b64url = b64url(raw)

    def __repr__(self) -> str:
        return f"DeviceIdentity({self.device_id})"

    @classmethod
    def generate(cls, ids: random.Random | None = None) -> DeviceIdentity:
        """A new key; from a seeded stream in a simulation, from the operating system otherwise."""
        return cls(Ed25519PrivateKey.from_private_bytes((ids or random.SystemRandom()).randbytes(32)))

    @classmethod
    def load_or_create(cls, state_dir: Path, clock: Clock, ids: random.Random | None = None) -> DeviceIdentity:
        """The device of this state folder (``identity/device.json``), created on first use.

        Two processes that create it at once end with the same one: the file appears under its name complete,
        by a hard link that only the first of them gets, and the others read the winner's.

        Raises:
            UsageError: the file is there and is no key file. It is never overwritten: every gateway that
                knows the old key would ask for a new pairing.
            LocalError: the file cannot be read or created.
        """
        path = state_dir / "identity" / "device.json"
        try:
            found = cls._read(path)
            if found is None:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with suppress(FileExistsError):  # another process was first; its file counts
                    write_whole(path, cls.generate(ids)._file(clock), mode=0o600, replace=False, durable=True)
                found = cls._read(path)
        except OSError as error:
            raise LocalError(f"{path}: cannot read or create the device key ({error})") from error
        if found is None:
            raise LocalError(f"{path}: the device key was removed while it was being created; try again")
        return found

    @classmethod
    def _read(cls, path: Path) -> DeviceIdentity | None:
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            key = serialization.load_pem_private_key(
                msgspec.json.decode(raw, type=_KeyFile).privateKeyPem.encode(), password=None
            )
        except (msgspec.DecodeError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            kind = type(error).__name__  # the text of the error could quote the file
            raise UsageError(
                str(path), "", f"an Ed25519 device key; move the file away to pair anew ({kind})"
            ) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise UsageError(str(path), "privateKeyPem", "an Ed25519 key", type(key).__name__)
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        return cls(key)

    def _file(self, clock: Clock) -> bytes:
        public = self._private_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        private = self._private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = _KeyFile(1, self.device_id, public.decode(), private.decode(), clock.wall_ms())
        return msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n"

    def sign(self, payload: str) -> str:
        """The signature over a payload of ``signature_payload``, base64url without padding."""
        return b64url(self._private_key.sign(payload.encode()))


# --------------------------------------------------------------------------- signatures


def signature_payload(
    version: str = "v3",
    *,
    device_id: str,
    client_id: str,
    client_mode: str,
    role: str,
    scopes: Sequence[str],
    signed_at_ms: int,
    token: str | None,
    nonce: str,
    platform: str | None = None,
    device_family: str | None = None,
) -> str:
    """The text that a device signs: its fields joined with ``|``.

    ``v3`` ends with platform and device family (trimmed, ASCII lower case); ``v2`` has neither. The nonce
    binds the signature to one socket, the token to one credential; the password is never part of it.

    Raises:
        LocalError: another version.
    """
    parts = [version, device_id, client_id, client_mode, role, ",".join(scopes)]
    parts += [str(signed_at_ms), token or "", nonce.strip()]
    if version == "v3":
        parts += [_folded(platform), _folded(device_family)]
    elif version != "v2":
        raise LocalError(f"device signatures have the versions v2 and v3, not {version!r}")
    return "|".join(parts)


def _folded(text: str | None) -> str:
    """Trimmed, ASCII letters lower-cased; other letters stay, as in the real program."""
    return "".join(c.lower() if c.isascii() else c for c in (text or "").strip())


def verify_signature(public_key: str, payload: str, signature: str) -> bool:
    """Whether ``signature`` is ``public_key``'s over ``payload``. False, too, for a malformed key or signature."""
    raw, signed = _raw_key(public_key), _decoded(signature)
    if raw is None or signed is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(signed, payload.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def device_id_of(public_key: str) -> str | None:
    """The device id that belongs to a public key (base64url or PEM); None when it is no Ed25519 key."""
    raw = _raw_key(public_key)
    return None if raw is None else hashlib.sha256(raw).hexdigest()


def _raw_key(public_key: str) -> bytes | None:
    if "BEGIN" in public_key:
        try:
            key = serialization.load_pem_public_key(public_key.encode())
        except (ValueError, UnsupportedAlgorithm):
            return None
        return key.public_bytes(*_RAW) if isinstance(key, Ed25519PublicKey) else None
    raw = _decoded(public_key)
    return raw if raw is not None and len(raw) == 32 else None


def b64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: str) -> bytes | None:
    """Base64 of either alphabet, padding or not: the real server's decoder is as lenient."""
    plain = text.strip().rstrip("=").replace("+", "-").replace("/", "_")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None


# --------------------------------------------------------------------------- issued tokens


class StoredToken(msgspec.Struct, frozen=True):
    """A token that a gateway issued to this device for a role. ``updatedAtMs`` in Unix milliseconds."""

    token: str
    role: str
    scopes: list[str]
    updatedAtMs: int

    def __repr__(self) -> str:
        return f"StoredToken(role={self.role!r}, scopes={self.scopes!r})"


class _TokenFile(msgspec.Struct):
    version: int
    deviceId: str
    tokens: dict[str, StoredToken]


class DeviceTokens:
    """``identity/device-auth.json``: the issued token of each role.

    A lost or malformed file costs nothing but one more pairing, so it reads as empty and is replaced by the
    next ``store``.
    """

    def __init__(self, state_dir: Path, clock: Clock) -> None:
        self.path = state_dir / "identity" / "device-auth.json"
        self._clock = clock

    def load(self, device_id: str, role: str) -> StoredToken | None:
        return self._tokens(device_id).get(role)

    def store(self, device_id: str, role: str, token: str, scopes: Sequence[str]) -> None:
        tokens = self._tokens(device_id)
        tokens[role] = StoredToken(token, role, list(scopes), self._clock.wall_ms())
        self._write(device_id, tokens)

    def erase(self, device_id: str, role: str) -> None:
        """Forget a token that the gateway no longer accepts."""
        tokens = self._tokens(device_id)
        if tokens.pop(role, None) is not None:
            self._write(device_id, tokens)

    def _tokens(self, device_id: str) -> dict[str, StoredToken]:
        try:
            file = msgspec.json.decode(self.path.read_bytes(), type=_TokenFile)
        except (OSError, msgspec.DecodeError, UnicodeError):
            return {}
        return dict(file.tokens) if file.deviceId == device_id else {}

    def _write(self, device_id: str, tokens: dict[str, StoredToken]) -> None:
        raw = msgspec.json.format(msgspec.json.encode(_TokenFile(1, device_id, tokens)), indent=2) + b"\n"
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(self.path, raw, mode=0o600, durable=True)


# --------------------------------------------------------------------------- which credential


class ConnectAuth(msgspec.Struct, frozen=True):
    """What one connect presents, and the scopes that it asks for. ``reuses_stored``: the issued token is part of it."""

    given: AuthParams
    scopes: tuple[str, ...]
    reuses_stored: bool = False


def select_connect_auth(
    *,
    token: str | None,
    password: str | None,
    stored: StoredToken | None,
    scopes: Sequence[str],
    retry_with_device_token: bool = False,
) -> ConnectAuth:
    """Choose what to present to the gateway.

    An explicit token or password wins. The stored device token is used when there is neither; it then goes
    out as ``token`` and as ``deviceToken``, and brings the scopes that it was issued for.
    ``retry_with_device_token``: the gateway refused the explicit token, and this one more try sends the stored
    device token beside it.
    """
    chosen, secret = (token or "").strip() or UNSET, (password or "").strip() or UNSET
    if stored is not None and not chosen and not secret:
        given = AuthParams(token=stored.token, deviceToken=stored.token)
    elif stored is not None and chosen and retry_with_device_token:
        given = AuthParams(token=chosen, deviceToken=stored.token, password=secret)
    else:
        return ConnectAuth(AuthParams(token=chosen, password=secret), tuple(scopes))
    return ConnectAuth(given, tuple(stored.scopes or scopes), reuses_stored=True)
