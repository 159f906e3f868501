"""How we introduce ourselves: the connect params that answer a challenge. Pure.

Source: protocol facts A4, A5; the values are those of the real command line.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from msgspec import UNSET

from lockjaw.gateway.identity import ConnectAuth, DeviceIdentity, signature_payload
from lockjaw.gateway.params import ClientId, ClientInfo, ClientMode, ConnectParams, DeviceParams
from lockjaw.gateway.protocol import Challenge

#: What the command line asks for, in its order. All of it at the first pairing: asking for more later needs
#: a person's approval.
CLI_SCOPES: tuple[str, ...] = (
    "operator.admin",
    "operator.read",
    "operator.write",
    "operator.approvals",
    "operator.pairing",
    "operator.talk.secrets",
)


@dataclass(frozen=True)
class ClientProfile:
    """Who connects. ``platform`` is pinned by the gateway at pairing: keep it constant."""

    version: str = "2026.4.8"
    client_id: ClientId = "cli"
    mode: ClientMode = "cli"
    role: str = "operator"
    scopes: tuple[str, ...] = CLI_SCOPES
    caps: tuple[str, ...] = ()
    platform: str = field(default_factory=lambda: sys.platform)
    instance_id: str = ""


def connect_params(
    profile: ClientProfile,
    auth: ConnectAuth,
    identity: DeviceIdentity | None,
    challenge: Challenge,
    *,
    protocol_version: int,
    signed_at_ms: int,
) -> ConnectParams:
    """The connect of this client, signed for this challenge (version 3 of the payload)."""
    device: DeviceParams | None = None
    if identity is not None:
        payload = signature_payload(
            "v3",
            device_id=identity.device_id,
            client_id=profile.client_id,
            client_mode=profile.mode,
            role=profile.role,
            scopes=auth.scopes,
            signed_at_ms=signed_at_ms,
            token=auth.given.token or None,
            nonce=challenge.nonce,
            platform=profile.platform,
        )
        device = DeviceParams(
            id=identity.device_id,
            publicKey=identity.public_key_b64url,
            signature=identity.sign(payload),
            signedAt=signed_at_ms,
            nonce=challenge.nonce,
        )
    return ConnectParams(
        minProtocol=protocol_version,
        maxProtocol=protocol_version,
        client=ClientInfo(
            id=profile.client_id,
            mode=profile.mode,
            version=profile.version,
            platform=profile.platform,
            instanceId=profile.instance_id or UNSET,
        ),
        caps=list(profile.caps),
        role=profile.role,
        scopes=list(auth.scopes),
        device=device or UNSET,
        auth=auth.given if auth.given.to_wire() else UNSET,
    )
