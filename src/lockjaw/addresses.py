"""Which host names are this machine's own, without asking a name server. Pure."""

from __future__ import annotations

import ipaddress

__all__ = ["address_of", "is_loopback"]


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that this is, that of IPv4 where it is written in IPv6's form; None: it is a name."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: ``localhost``, 127.0.0.0/8 or ::1."""
    address = address_of(host)
    return host == "localhost" if address is None else address.is_loopback
