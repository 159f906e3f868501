"""Strict checks of ``connect``, for scripts that say ``strict_auth``. Pure.

The order and the texts are the real gateway's (protocol facts A5, A9, A10); the signature itself is checked with the
project's own identity module, the one thing this fake shares with the client.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from lockjaw.gateway.identity import device_id_of, signature_payload, verify_signature

from .script import Rejection

MAX_SKEW_MS = 120_000
_TOKEN_HINT = "(set gateway.remote.token to match gateway.auth.token)"  # noqa: S105 - a hint, not a token


def check_connect(
    params: dict[str, Any], *, token: str | None, issued: Collection[str], nonce: str, now_ms: int
) -> Rejection | None:
    """Why a connect is refused; None: it is not.

    Args:
        token: the shared token; None: any client may come.
        issued: device tokens that this gateway gave out.
        nonce: the challenge of this socket.
    """
    auth, device = _mapping(params.get("auth")), _mapping(params.get("device"))
    offered = auth.get("token") or auth.get("deviceToken")
    if token is not None and offered is None:
        return _refuse(f"unauthorized: gateway token missing {_TOKEN_HINT}", "AUTH_TOKEN_MISSING", "token_missing")
    if token is not None and offered != token and offered not in issued:
        return _refuse(f"unauthorized: gateway token mismatch {_TOKEN_HINT}", "AUTH_TOKEN_MISMATCH", "token_mismatch")
    if not device:
        details = {"code": "DEVICE_IDENTITY_REQUIRED"}
        return Rejection(code="NOT_PAIRED", message="device identity required", details=details)
    return _check_device(params, device, auth, nonce, now_ms)


def _check_device(
    params: dict[str, Any], device: dict[str, Any], auth: dict[str, Any], nonce: str, now_ms: int
) -> Rejection | None:
    key, signed_at, shown = str(device.get("publicKey")), device.get("signedAt"), device.get("nonce")
    device_id = device_id_of(key)
    if device_id is None:
        return _device("device public key invalid", "PUBLIC_KEY_INVALID")
    if device.get("id") != device_id:
        return _device("device identity mismatch", "DEVICE_ID_MISMATCH")
    if not isinstance(signed_at, int) or abs(now_ms - signed_at) > MAX_SKEW_MS:
        return _device("device signature expired", "SIGNATURE_EXPIRED")
    if not isinstance(shown, str) or not shown:
        return _device("device nonce required", "NONCE_REQUIRED")
    if shown != nonce:
        return _device("device nonce mismatch", "NONCE_MISMATCH")
    client = _mapping(params.get("client"))
    tokens = (auth.get("token"), auth.get("deviceToken"), auth.get("bootstrapToken"))
    signed = next((offered for offered in tokens if offered is not None), "")
    for version in ("v3", "v2"):
        text = signature_payload(
            version,
            device_id=device_id,
            client_id=str(client.get("id", "")),
            client_mode=str(client.get("mode", "")),
            role=str(params.get("role") or "operator"),
            scopes=[str(scope) for scope in params.get("scopes") or []],
            signed_at_ms=signed_at,
            token=signed,
            nonce=nonce,
            platform=client.get("platform"),
            device_family=client.get("deviceFamily"),
        )
        if verify_signature(key, text, str(device.get("signature"))):
            return None
    return _device("device signature invalid", "SIGNATURE_INVALID")


def _refuse(text: str, code: str, reason: str) -> Rejection:
    return Rejection(message=text, details={"code": code, "authReason": reason})


def _device(text: str, code: str) -> Rejection:
    return Rejection(message=text, details={"code": f"DEVICE_AUTH_{code}", "reason": text.replace(" ", "-")})


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
