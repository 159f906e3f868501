"""Where a gateway is, whether we may talk to it in the clear, and how error texts describe it. Pure.

Sources: protocol facts A1 (plaintext, pin), B9 (the lines under an error).
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit, urlunsplit

from lockjaw.addresses import address_of, is_loopback
from lockjaw.errors import LocalError
from lockjaw.settings import GatewaySettings, Settings

_CGNAT = ipaddress.ip_network("100.64.0.0/10")  # what private overlay networks hand out
_PRIVATE = tuple(
    ipaddress.ip_network(net)
    for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10")
)


def is_local(url: str) -> bool:
    """Whether the host of an address is this machine."""
    return is_loopback(_host(url))


def is_private(url: str) -> bool:
    """Whether the host is an address of a private range. A name never is: it may resolve to anything."""
    address = address_of(_host(url))
    if address is None:
        return False
    return any(address in net for net in (*_PRIVATE, _CGNAT) if net.version == address.version)


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").rstrip(".")


def refuse_unsafe(gateway: GatewaySettings) -> None:
    """Refuse an address to which credentials and conversation would travel readable by others.

    Raises:
        LocalError: plaintext ``ws://`` to a host that is not this machine, and no override for private
            ranges; or a certificate pin without TLS, or one that is no SHA-256.
    """
    url = gateway.url
    scheme = urlsplit(url).scheme
    if gateway.tls_fingerprint:
        if scheme != "wss":
            raise LocalError(f"gateway tls fingerprint requires a wss:// gateway url, got {redacted(url)}")
        pinned_digest(gateway.tls_fingerprint)
    if scheme == "wss" or is_local(url) or (gateway.allow_insecure_private and is_private(url)):
        return
    host = _host(url) or url
    raise LocalError(
        f'SECURITY ERROR: Cannot connect to "{host}" over plaintext ws://. Credentials and messages would be '
        "readable on the way. Use a wss:// address, or keep the gateway on loopback and reach it through an SSH "
        "tunnel. For an address in a private network that you trust: OPENCLAW_ALLOW_INSECURE_PRIVATE_WS=1."
    )


def may_see_device_token(gateway: GatewaySettings) -> bool:
    """Whether a stored device token may go out beside a refused token: this machine, or a pinned certificate."""
    return is_local(gateway.url) or (urlsplit(gateway.url).scheme == "wss" and bool(gateway.tls_fingerprint))


def pinned_digest(fingerprint: str) -> str:
    """A SHA-256 fingerprint as 64 lower-case hex digits; colons, spaces and a ``sha256:`` prefix are taken.

    Raises:
        LocalError: it is no SHA-256.
    """
    text = re.sub(r"^sha-?256[:=\s]\s*", "", fingerprint.strip().lower())
    digits = re.sub(r"[:\s]", "", text)
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise LocalError(f"gateway tls fingerprint: expected a SHA-256 in hex (64 digits), got {fingerprint!r}")
    return digits


def redacted(url: str) -> str:
    """An address without the secrets that people put into one: user name, password, query."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"***@{host}" if at and user else host, query="***" if parts.query else ""))


def connection_details(settings: Settings) -> str:
    """The lines under a transport error: target, source, configuration and, for local targets, bind."""
    gateway = settings.gateway
    lines = [
        f"Gateway target: {redacted(gateway.url)}",
        f"Source: {gateway.source}",
        f"Config: {settings.config_path}",
    ]
    if gateway.bind:
        lines.append(f"Bind: {gateway.bind}")
    return "\n".join(lines)
