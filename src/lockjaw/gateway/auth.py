"""Who may come in: shared credentials, the limit on failed attempts, roles and scopes of methods.

Pure; device signatures are checked in ``server_protocol``, pairing in ``pairing``. No text made here contains
a credential.

Source: protocol facts A9 (roles, scopes), A10 (modes, texts, rate limit), A11 (what "local" means).
"""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec

MAX_FAILURES = 10  # wrong credentials per address within WINDOW_S, then locked out for LOCKOUT_S
WINDOW_S = 60.0
LOCKOUT_S = 300.0

ADMIN, READ, WRITE, PAIRING = "operator.admin", "operator.read", "operator.write", "operator.pairing"
ROLES = ("operator", "node")

#: method -> the scope it needs; None: none at all. What is not listed needs operator.admin.
METHOD_SCOPES: dict[str, str | None] = {
    "health": None,
    "status": READ,
    "sessions.list": READ,
    "chat.history": READ,
    "agent": WRITE,
    "agent.wait": WRITE,
    "chat.send": WRITE,
    "chat.abort": WRITE,
    "sessions.abort": WRITE,
}


class Peer(msgspec.Struct, frozen=True):
    """The other end of a connection, as its upgrade request shows it.

    ``forwarded``: the request came through a proxy (so a loopback address proves nothing). ``origin``: the
    browser page behind the connection; no program sets it.
    """

    address: str
    loopback: bool
    forwarded: bool = False
    origin: str | None = None

    @property
    def local(self) -> bool:
        return self.loopback and not self.forwarded

    @property
    def foreign_page(self) -> bool:
        """A browser page that this machine did not serve: any site can open ws://127.0.0.1 in its visitors' browser."""
        if self.origin is None:
            return False
        try:
            host = urlsplit(self.origin).hostname
        except ValueError:  # an Origin that is no address at all
            host = None
        return not (self.local and host in ("localhost", "127.0.0.1", "::1"))


class Verdict(msgspec.Struct, frozen=True):
    """Outcome of a credential check. ``method`` when ok; ``reason`` (``token_mismatch``, ...) when not."""

    ok: bool
    method: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Credentials:
    """What the gateway expects. ``mode`` is ``none``, ``token`` or ``password``."""

    mode: str
    token: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def check(self, token: str | None, password: str | None) -> Verdict:
        """Compare in constant time. An empty expectation never matches."""
        if self.mode == "none":
            return Verdict(True, "none")
        expected, given = (self.password, password) if self.mode == "password" else (self.token, token)
        if not given:
            return Verdict(False, reason=f"{self.mode}_missing")
        if expected and hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogatepass")):
            return Verdict(True, self.mode)
        return Verdict(False, reason=f"{self.mode}_mismatch")


_ADVICE = {
    "token": "set gateway.remote.token to match gateway.auth.token",
    "password": "set gateway.remote.password to match gateway.auth.password",
}

#: reason -> (text after "unauthorized: ", details.code, recommendedNextStep)
_FAILURES: dict[str, tuple[str, str, str]] = {
    "token_missing": (
        f"gateway token missing ({_ADVICE['token']})", "AUTH_TOKEN_MISSING", "update_auth_configuration",
    ),
    "token_mismatch": (
        f"gateway token mismatch ({_ADVICE['token']})", "AUTH_TOKEN_MISMATCH", "update_auth_credentials",
    ),
    "password_missing": (
        f"gateway password missing ({_ADVICE['password']})", "AUTH_PASSWORD_MISSING", "update_auth_configuration",
    ),
    "password_mismatch": (
        f"gateway password mismatch ({_ADVICE['password']})", "AUTH_PASSWORD_MISMATCH", "update_auth_credentials",
    ),
    "rate_limited": (
        "too many failed authentication attempts (retry later)", "AUTH_RATE_LIMITED", "wait_then_retry",
    ),
    "device_token_mismatch": (
        "device token mismatch (rotate/reissue device token)", "AUTH_DEVICE_TOKEN_MISMATCH", "update_auth_credentials",
    ),
}  # fmt: skip


def failure_text(reason: str) -> str:
    return f"unauthorized: {_FAILURES[reason][0]}"


def failure_details(reason: str, *, can_retry_with_device_token: bool) -> dict[str, Any]:
    """The ``details`` of the rejected connect."""
    _, code, step = _FAILURES[reason]
    return {
        "code": code,
        "authReason": reason,
        "canRetryWithDeviceToken": can_retry_with_device_token,
        "recommendedNextStep": "retry_with_device_token" if can_retry_with_device_token else step,
    }


class FailureLimit:
    """Counts wrong credentials per address. Local peers are exempt; all times nominal monotonic seconds."""

    def __init__(self) -> None:
        self._failures: dict[str, deque[float]] = {}
        self._locked_until: dict[str, float] = {}

    def blocked(self, peer: Peer, now: float) -> bool:
        return not peer.local and now < self._locked_until.get(peer.address, now)

    def failed(self, peer: Peer, now: float) -> None:
        if peer.local:
            return
        recent = self._failures.setdefault(peer.address, deque())
        recent.append(now)
        while recent and now - recent[0] > WINDOW_S:
            recent.popleft()
        if len(recent) >= MAX_FAILURES:
            self._locked_until[peer.address] = now + LOCKOUT_S
            del self._failures[peer.address]

    def sweep(self, now: float) -> None:
        """Forget addresses that have been quiet, so that a scan leaves nothing behind."""
        self._locked_until = {a: until for a, until in self._locked_until.items() if until > now}
        self._failures = {a: recent for a, recent in self._failures.items() if now - recent[-1] <= WINDOW_S}


def scopes_allow(requested: Iterable[str], allowed: Collection[str]) -> bool:
    """Whether ``allowed`` covers every requested scope: admin covers all of operator's, write covers read."""
    return all(
        scope in allowed or (ADMIN in allowed and scope.startswith("operator.")) or (scope == READ and WRITE in allowed)
        for scope in requested
    )


def refusal(method: str, role: str, scopes: Collection[str]) -> str | None:
    """Why a connection may not call a method, as the text of the answer; None if it may.

    Every method here belongs to operators, but for ``health``, which anyone may call.
    """
    if method == "health":
        return None
    if role != "operator":
        return f"unauthorized role: {role}"
    needed = METHOD_SCOPES.get(method, ADMIN)
    if needed is not None and not scopes_allow([needed], scopes):
        return f"missing scope: {needed}"
    return None
