"""When to try again: the delays between connections, and the refusals after which trying is pointless.

Pure; the shell sleeps. Sources: protocol facts A5, A7, A13.
"""

from __future__ import annotations

from typing import Any

from lockjaw.errors import RequestRejected

FIRST_DELAY_S = 1.0
MAX_DELAY_S = 30.0
DEVICE_RETRY_DELAY_S = 0.25

#: Detail codes that only a person can mend; trying again would just fill the gateway's log.
HOPELESS = frozenset(
    {
        "AUTH_TOKEN_MISSING",
        "AUTH_BOOTSTRAP_TOKEN_INVALID",
        "AUTH_PASSWORD_MISSING",
        "AUTH_PASSWORD_MISMATCH",
        "AUTH_RATE_LIMITED",
        "PAIRING_REQUIRED",
        "CONTROL_UI_DEVICE_IDENTITY_REQUIRED",
        "DEVICE_IDENTITY_REQUIRED",
    }
)


class ReconnectPolicy:
    """1 s, doubling to 30 s, back to 1 s at each hello; no jitter, as upstream.

    ``paused`` names the detail code that stopped the reconnecting. ``device_retry`` asks the next connect to
    send the stored device token beside a refused explicit one; that happens once.
    """

    def __init__(self) -> None:
        self.paused: str | None = None
        self.device_retry = False
        self._device_retry_used = False
        self._delay_s = FIRST_DELAY_S

    def welcomed(self) -> None:
        """A hello arrived."""
        self._delay_s = FIRST_DELAY_S
        self.paused = None
        self.device_retry = self._device_retry_used = False

    def refused(self, error: RequestRejected, *, has_spare_token: bool) -> None:
        """A connect was answered ``ok: false``.

        Args:
            has_spare_token: an explicit token was sent alone, a stored device token exists, and the endpoint
                may see it (loopback, or wss with a pinned certificate).
        """
        code = detail(error, "code")
        self.device_retry = False
        if code == "AUTH_TOKEN_MISMATCH":
            if has_spare_token and not self._device_retry_used:
                self.device_retry = self._device_retry_used = True
                self._delay_s = min(self._delay_s, DEVICE_RETRY_DELAY_S)
            else:
                self.paused = code
        elif code in HOPELESS:
            self.paused = code

    def next_delay_s(self) -> float | None:
        """Nominal seconds until the next try; None when trying is paused."""
        if self.paused:
            return None
        delay_s = self._delay_s
        self._delay_s = min(MAX_DELAY_S, delay_s * 2)
        return delay_s


def startup_delay_s(error: RequestRejected) -> float | None:
    """How long a gateway that is still starting wants to be left alone (0.1 to 2 s); None for other refusals."""
    if error.code != "UNAVAILABLE" or detail(error, "reason") != "startup-sidecars":
        return None
    return min(2000, max(100, error.retry_after_ms or 0)) / 1000


def detail(error: RequestRejected, key: str) -> str | None:
    details: Any = error.details
    value = details.get(key) if isinstance(details, dict) else None
    return value if isinstance(value, str) else None
