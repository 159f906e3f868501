"""Where protocol versions differ, and what a gateway says about itself when it lets us in.

Sources: protocol facts A3, A6, A7, A13.
"""

from __future__ import annotations

from typing import Any

import msgspec

from lockjaw.errors import LocalError

DEFAULT_TICK_S = 30.0


class Dialect(msgspec.Struct, frozen=True):
    """What depends on the protocol version. Durations in nominal seconds.

    ``signs_challenge_ts``: the signature carries the challenge's instant instead of our own clock's.
    ``keeps_seq``: the last event number survives a reconnect. ``spares_deadlines``: the watchdog leaves a
    silent socket alone while every loss would be noticed by a request's own deadline.
    ``retries_clean_close``: a close 1000 before hello is tried once more.
    """

    version: int
    challenge_limit_s: float
    signs_challenge_ts: bool
    keeps_seq: bool
    spares_deadlines: bool
    retries_clean_close: bool


MAX_TICK_MS = 86_400_000  # a gateway that promises less than one sign of life a day has made a mistake

DIALECTS: dict[int, Dialect] = {
    3: Dialect(3, 10.0, False, True, False, False),
    4: Dialect(4, 15.0, True, False, True, True),
}


def dialect(version: int) -> Dialect:
    """Raises LocalError for a version that we do not speak."""
    if version not in DIALECTS:
        raise LocalError(f"protocol version {version}: we speak {', '.join(map(str, DIALECTS))}")
    return DIALECTS[version]


class HelloOk(msgspec.Struct, frozen=True):
    """The gateway's welcome, read leniently: the real client checks none of it either.

    ``tick_interval_s`` in nominal seconds; ``device_token`` is set when one was issued to us.
    """

    protocol: int | None = None
    server_version: str = ""
    conn_id: str = ""
    methods: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    tick_interval_s: float = DEFAULT_TICK_S
    role: str = ""
    scopes: tuple[str, ...] = ()
    device_token: str | None = None

    def __repr__(self) -> str:
        return f"HelloOk(protocol={self.protocol}, server={self.server_version!r}, conn_id={self.conn_id!r})"

    @classmethod
    def read(cls, payload: object) -> HelloOk:
        hello = _mapping(payload)
        server, features = _mapping(hello.get("server")), _mapping(hello.get("features"))
        auth, tick_ms = _mapping(hello.get("auth")), _mapping(hello.get("policy")).get("tickIntervalMs")
        if not isinstance(tick_ms, (int, float)) or isinstance(tick_ms, bool) or not 0 <= tick_ms <= MAX_TICK_MS:
            tick_ms = DEFAULT_TICK_S * 1000
        return cls(
            protocol=hello["protocol"] if isinstance(hello.get("protocol"), int) else None,
            server_version=_text(server.get("version")),
            conn_id=_text(server.get("connId")),
            methods=_texts(features.get("methods")),
            events=_texts(features.get("events")),
            tick_interval_s=tick_ms / 1000,
            role=_text(auth.get("role")),
            scopes=_texts(auth.get("scopes")),
            device_token=_text(auth.get("deviceToken")) or None,
        )


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
