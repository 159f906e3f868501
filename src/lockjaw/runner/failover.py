"""Is this error a fault of the model's provider, and which one? Pure.

The signals are read in this order: what the error says of itself (``ModelFailure.reason``), the HTTP status
(given, or a number at the head of the text), the error code, the text. The text tests are a table that is
tried from top to bottom.

A lock error is not a model failure. The real 2026.4.8 did not know that: its text contains the word
"timeout", so it was taken for a slow model and cost every candidate of the chain its turn (or, where pid,
path or session id happened to contain the digits 429, for a rate limit). That behaviour is kept behind
``Behaviour.lock_error_is_failover``, to the letter, because it is what the harness reproduces.
"""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Iterator

from lockjaw.behaviours import Behaviour
from lockjaw.errors import Fenced, LocalError, LockStateError, ModelFailure, RemoteError, RunAborted, SessionLocked

OVERFLOW = "context_overflow"
LOCK_TEXT = "session file locked"  # how every version's lock error begins

#: Text tests in upstream's order: (reason, pattern searched in the lower-cased text).
TEXT_TESTS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (reason, re.compile("|".join(patterns)))
    for reason, patterns in (
        (
            "session_expired",
            (r"session (not found|has expired|expired|does not exist)", r"conversation not found", r"no such session"),
        ),
        (
            "model_not_found",
            (
                r"model[ _]not[ _]found",
                r"(unknown|no such) model",
                r"\bmodel\b.{0,120}\b(does not exist|not found)",
            ),
        ),
        (
            OVERFLOW,
            (
                r"context[ _](length|window|size|overflow)",
                r"maximum context",
                r"prompt is too long",
                r"request_too_large",
                r"input (is )?too long",
            ),
        ),
        # A 402 that says when it ends is a limit, not a bill.
        ("rate_limit", (r"(payment required|\b402\b).*(temporar|try again|retry|resets?\b|per (minute|hour|day))",)),
        ("billing", (r"payment required", r"http 402\b", r"status(?: code)?[ :=]+402\b")),
        ("rate_limit", (r"usage limit", r"(hourly|daily|weekly|monthly) limit")),
        (
            "rate_limit",
            (
                r"rate[ _-]?limit",
                r"too many requests",
                r"429",  # no word boundary upstream: digits of a pid, a path or a session id match as well
                r"quota exceeded|exceeded your current quota",
                r"resource[ _](has been )?exhausted",
                r"throttl",
                r"tokens per minute|\btpm\b",
            ),
        ),
        ("overloaded", (r"overloaded", r"high demand", r"(at|over) capacity")),
        (
            "billing",
            (r"insufficient (credits?|balance|funds|quota)", r"insufficient_quota", r"credit balance", r"\bbilling\b"),
        ),
        (
            "auth_permanent",
            (r"(key|token|account).{0,60}(revoked|deactivated|disabled|deleted)", r"(revoked|deactivated).{0,40}key"),
        ),
        (
            "auth",
            (
                r"(invalid|incorrect|no|missing)[ _](api[ _]?)?(key|token|credentials)",
                r"authenticat",
                r"unauthori[sz]ed",
                r"forbidden",
                r"access denied",
                r"insufficient permissions?",
                r"expired",
                r"\b401\b",
                r"\b403\b",
            ),
        ),
        ("timeout", (r"internal server error", r"bad gateway", r"server_error", r"service unavailable")),
        ("format", (r"invalid[ _]request", r"string should match pattern", r"roles must alternate", r"malformed")),
        (
            "timeout",
            (
                r"time ?out",
                r"timed out",
                r"deadline exceeded",
                r"(connection|network) error",
                r"connection reset",
                r"fetch failed",
                r"socket hang up",
                r"\becon\w+",
                r"\benotfound\b",
                r"(operation|request) (was )?aborted",
                r"stream (was )?(closed|aborted)",
                r"stop reason: (abort|error|network_error)",
            ),
        ),
    )
)  # fmt: skip

#: Error codes (upper case) of servers and of the operating system.
CODES: dict[str, str] = {
    **dict.fromkeys(
        ("RESOURCE_EXHAUSTED", "RATE_LIMIT", "RATE_LIMITED", "RATE_LIMIT_EXCEEDED", "TOO_MANY_REQUESTS"), "rate_limit"
    ),
    **dict.fromkeys(("OVERLOADED", "OVERLOADED_ERROR"), "overloaded"),
    **dict.fromkeys(
        (
            *("ETIMEDOUT", "ESOCKETTIMEDOUT", "ECONNRESET", "ECONNABORTED", "ECONNREFUSED", "ENETUNREACH"),
            *("EHOSTUNREACH", "EHOSTDOWN", "ENETRESET", "EPIPE", "EAI_AGAIN"),
        ),
        "timeout",
    ),
}

#: Statuses whose meaning no text changes.
STATUSES: dict[int, str] = {429: "rate_limit", 529: "overloaded", 413: OVERFLOW}

_STATUS_AT_HEAD = re.compile(r"^\s*(?:http\s*)?([45]\d\d)\b", re.IGNORECASE)


def is_abort(error: BaseException) -> bool:
    """A client or a signal asked the run to stop. The chain ends; no model failed."""
    return isinstance(error, (RunAborted, asyncio.CancelledError, KeyboardInterrupt))


def is_lock_error(error: BaseException | str) -> bool:
    """The session lock was refused: locked, fenced, or in a state that no program may change."""
    if isinstance(error, str):
        return error.startswith(LOCK_TEXT)
    return isinstance(error, (SessionLocked, Fenced, LockStateError))


def is_disk_error(error: BaseException) -> bool:
    """A file of the session could not be read or written. (What goes wrong on the way to a model is a ModelFailure.)"""
    return isinstance(error, OSError) and not isinstance(error, (RemoteError, ConnectionError, TimeoutError))


def classify(
    error: BaseException | str, status: int | None = None, code: str | None = None, *, behaviour: Behaviour
) -> str | None:
    """The failover reason of an error, or None if it is not (known to be) a fault of the provider.

    Args:
        error: the error, or its text.
        status: HTTP status; where absent, that of the error, or a number at the head of the text.
        code: error code such as ``ECONNRESET`` or ``rate_limit_exceeded``.
        behaviour: decides what a lock error is, see the module's docstring.

    Returns:
        ``rate_limit``, ``overloaded``, ``timeout``, ``auth``, ``auth_permanent``, ``billing``, ``format``,
        ``model_not_found``, ``session_expired``, ``context_overflow``, or None.
    """
    if is_lock_error(error):
        upstream = behaviour.lock_error_is_failover and (isinstance(error, (str, SessionLocked)))
        return by_text(str(error)) if upstream else None
    if isinstance(error, BaseException):
        if is_abort(error) or isinstance(error, LocalError):
            return None
        for link in _chain(error):
            found = _by_error(link, status, code)
            if found is not None:
                return found
            status = code = None  # they were the outermost error's
        return None
    return _by_signals(error, status, code)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its explicit causes. A lock error or an abort underneath decides nothing."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen and not is_abort(link) and not is_lock_error(link):
        seen.add(id(link))
        yield link
        link = link.__cause__


def _by_error(error: BaseException, status: int | None, code: str | None) -> str | None:
    if isinstance(error, ModelFailure):
        if error.reason != "unknown":
            return error.reason
        return _by_signals(error.message, status or error.status, code)
    if isinstance(error, OSError) and code is None and error.errno is not None:
        code = errno.errorcode.get(error.errno)
    found = _by_signals(str(error), status, code)
    if found is None and isinstance(error, TimeoutError):
        return "timeout"
    return found


def _by_signals(text: str, status: int | None, code: str | None) -> str | None:
    if status is None and (head := _STATUS_AT_HEAD.match(text)):
        status = int(head[1])
    found = by_status(status, text) if status is not None else None
    if found is None and code is not None:
        upper = code.upper()
        found = CODES.get(upper, "rate_limit" if upper.startswith("THROTTL") else None)
    return found if found is not None else by_text(text)


def by_text(text: str) -> str | None:
    """The first text test that matches."""
    lowered = text.lower()
    return next((reason for reason, pattern in TEXT_TESTS if pattern.search(lowered)), None)


def by_status(status: int, text: str) -> str | None:
    """The reason by HTTP status, refined by the text where one status has several meanings."""
    if status in STATUSES:
        return STATUSES[status]
    said = by_text(text)
    match status:
        case 402:
            return "rate_limit" if said == "rate_limit" else "billing"
        case 401 | 403:
            return said if said in ("auth_permanent", "billing") else "auth"
        case 404:
            return said if said == "session_expired" else "model_not_found"
        case 410:
            return said if said in ("session_expired", "billing", "auth", "auth_permanent") else "timeout"
        case 400 | 422:
            return said or "format"
        case 499 | 503:
            return "overloaded" if said == "overloaded" else "timeout"
        case 408:
            return "timeout"
        case _ if 500 <= status <= 599:
            return OVERFLOW if said == OVERFLOW else "timeout"
    return None
