"""Every error that Lockjaw raises.

Fields first, sentence second: a handler reads the fields, a person reads ``str(error)``. Errors that may
cross a process boundary are rebuilt from their fields (``__reduce__``), so they pickle.

This module knows no other module of the project.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class LockjawError(Exception):
    """Base of everything that Lockjaw raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.args, dict(self.__dict__)))


def _rebuild(cls: type[LockjawError], args: tuple[Any, ...], state: dict[str, Any]) -> LockjawError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


# --------------------------------------------------------------------------- the caller misused us


class LocalError(LockjawError):
    """The caller misused us; fix the call. Nothing was sent and nothing was written."""


class UsageError(LocalError):
    """A flag, a setting or a named file is missing or malformed.

    Fields: ``source`` (file, flag or variable), ``key`` (dotted, may be empty), ``expected``, ``got``. A value that is
    nearly one of those that ``expected`` lists is answered with "did you mean".
    """

    def __init__(self, source: str, key: str, expected: str, got: object = None) -> None:
        self.source, self.key, self.expected, self.got = source, key, expected, got
        where = f"{source}: {key}" if key else source
        super().__init__(f"{where}: expected {_sentence(expected, got)}")


def unreadable(error: OSError | UnicodeDecodeError) -> str:
    """Why a file cannot be read, as a person says it: ``no file has this name``."""
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return "no file has this name"
        case IsADirectoryError():
            return "this is a folder"
        case UnicodeDecodeError():
            return f"byte {error.start} is not UTF-8"
        case _:
            return (error.strerror or str(error)).lower()


class DocumentError(UsageError):
    """A file that people write by hand (a scenario, a script, a configuration) is malformed.

    Fields: ``path``, ``line`` and ``column`` (1-based, 0 when unknown), ``key`` (dotted), ``expected``, ``got``,
    ``others`` (further mistakes in the same file).
    """

    def __init__(
        self,
        path: str,
        line: int,
        key: str,
        expected: str,
        got: object = None,
        *,
        column: int = 0,
        others: Sequence[DocumentError] = (),
    ) -> None:
        super().__init__(path, key, expected, got)
        self.path, self.line, self.column, self.others = path, line, column, tuple(others)
        place = ":".join([path, *(str(number) for number in (line, column) if number)])
        at = f" at {key}" if key else ""
        more = f" (and {len(others)} more: lockjaw scenario check shows all)" if others else ""
        self.args = (f"{place}:{at} expected {_sentence(expected, got)}{more}",)

    def with_others(self, others: Sequence[DocumentError]) -> DocumentError:
        """The same error, which names how many more there are."""
        return DocumentError(
            self.path, self.line, self.key, self.expected, self.got, column=self.column, others=others
        )  # fmt: skip


def _sentence(expected: str, got: object) -> str:
    """``one of 76 names, got 'gateway_timeot'; did you mean gateway_timeout?`` A short list is shown whole."""
    if got is None:
        return expected
    meant = _meant(expected, got) if isinstance(got, str) else None
    if meant is None:
        return f"{expected}, got {_short(got)}"
    head, _, names = expected.partition("one of")
    count = names.count(", ") + 1
    shown = f"{head}one of {count} names" if count > _SHOWN_NAMES else expected
    return f"{shown}, got {_short(got)}; did you mean {meant}?"


#: A list of more names hides the suggestion behind it.
_SHOWN_NAMES = 20


def _meant(expected: str, got: str) -> str | None:
    """The name in a list of what is allowed that is nearly the one that was given."""
    import difflib
    import re

    names = expected.partition(": ")[2] or expected.partition("one of ")[2]
    listed = re.findall(r"[\w.@-]*\w", names) if names else expected.split(" or ")
    close = difflib.get_close_matches(got, listed, 1, 0.6)
    if close:
        return close[0] if close[0] != got else None
    return next((name for name in _OTHER_WORDS.get(got.lower(), ()) if name in listed), None)


#: What people write first, and the words of this project for it.
_OTHER_WORDS = {
    "acquire": ("take",), "continue": ("resume",), "delay": ("sleep", "toxic"), "disconnect": ("cut",),
    "freeze": ("pause",), "get": ("take",), "lock": ("take",), "match": ("when",), "partition": ("part",),
    "reset": ("cut",), "sigcont": ("resume",), "sigkill": ("kill",), "sigstop": ("pause",), "sigterm": ("terminate",),
    "stop": ("pause", "terminate"), "suspend": ("pause",), "thaw": ("resume",), "unlock": ("release",),
    "wait": ("sleep",), "wake": ("resume",), "write": ("append",),
}  # fmt: skip


def _short(got: object) -> str:
    shown = repr(got)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


class InvalidSessionId(LocalError):
    """A session id that could leave the sessions folder or that OpenClaw would refuse. Field: ``session_id``."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        super().__init__(f"Invalid session ID: {session_id}")


# --------------------------------------------------------------------------- the peer


class RemoteError(LockjawError):
    """The peer broke the protocol, refused, or went away."""


class RemoteProtocolError(RemoteError):
    """The peer sent something that the protocol does not allow; field ``close_code`` is what to close with."""

    def __init__(self, message: str, close_code: int = 1008) -> None:
        self.close_code = close_code
        super().__init__(message)


class InvalidFrame(RemoteProtocolError):
    """A text frame that the protocol does not know.

    Fields: ``is_json`` (False: not even JSON), ``frame_id`` (its ``id``, if it had one that is a string).
    """

    def __init__(self, message: str, *, is_json: bool = False, frame_id: str | None = None) -> None:
        self.is_json, self.frame_id = is_json, frame_id
        super().__init__(message)


class ConnectionLost(RemoteError):
    """The socket closed, or never opened.

    Fields: ``code`` (WebSocket close code, 1006 for a lost TCP connection), ``reason``, ``definite``: True
    when it is certain that the request was never sent, ``run_id`` when the peer had accepted a run.
    ``refused``: the peer turned us away while we connected, or is not the peer that we trust; only a person can
    mend that. A close of our own, because the peer said nothing in time, has the same code and is no refusal.
    ``message`` replaces the first line for the two cases that are not a close: never connected, stopped by us.
    """

    def __init__(
        self,
        code: int,
        reason: str = "",
        *,
        definite: bool = False,
        details: str = "",
        run_id: str | None = None,
        message: str = "",
        refused: bool = False,
    ) -> None:
        self.code, self.reason, self.definite, self.details = code, reason, definite, details
        self.run_id, self.message, self.refused = run_id, message, refused
        hint = {1000: " normal closure", 1006: " abnormal closure (no close frame)"}.get(code, "")
        text = message or f"gateway closed ({code}{hint}): {reason or 'no close reason'}"
        super().__init__(f"{text}\n{details}" if details else text)


class RequestTimedOut(RemoteError, TimeoutError):
    """A deadline of ours passed; whether the peer did the work is unknown, unless ``definite``.

    Fields: ``timeout_ms`` (nominal milliseconds), ``method`` (empty: the whole call), ``run_id`` when the
    peer had accepted a run, ``definite``: True when it is certain that the request was never sent.
    """

    def __init__(
        self,
        timeout_ms: int,
        method: str = "",
        *,
        details: str = "",
        run_id: str | None = None,
        definite: bool = False,
    ) -> None:
        self.timeout_ms, self.method, self.details, self.run_id = timeout_ms, method, details, run_id
        self.definite = definite
        text = f"gateway request timeout for {method}" if method else f"gateway timeout after {timeout_ms}ms"
        super().__init__(f"{text}\n{details}" if details else text)


class RequestRejected(RemoteError):
    """The peer answered ``ok: false``.

    Fields: ``code`` (``INVALID_REQUEST``, ``UNAVAILABLE``, ...), ``message``, ``details``, ``retryable``,
    ``retry_after_ms``, ``payload`` (the response's payload, which a failed run carries).
    """

    def __init__(
        self,
        code: str,
        message: str,
        details: Any = None,
        *,
        retryable: bool | None = None,
        retry_after_ms: int | None = None,
        payload: Any = None,
    ) -> None:
        self.code, self.message, self.details = code, message, details
        self.retryable, self.retry_after_ms, self.payload = retryable, retry_after_ms, payload
        super().__init__(message)


# --------------------------------------------------------------------------- locks


class SessionLocked(LockjawError, TimeoutError):
    """The session lock was not free before the deadline. Never counts as a model failure.

    Fields: ``path`` (of the lock file), ``owner`` (text such as ``pid=47321``), ``waited_s`` and
    ``timeout_s`` (nominal seconds), ``advice`` (what to do; empty for the upstream algorithms, whose text
    is kept to the letter).
    """

    def __init__(self, path: str, owner: str, *, timeout_s: float, waited_s: float, advice: str = "") -> None:
        self.path, self.owner, self.timeout_s, self.waited_s, self.advice = path, owner, timeout_s, waited_s, advice
        text = f"session file locked (timeout {round(timeout_s * 1000)}ms): {owner} {path}"
        super().__init__(f"{text}. {advice}" if advice else text)


class FileLocked(SessionLocked):
    """The lock of a file that is no session's was not free in time (``FileLock``). Fields as SessionLocked."""

    def __init__(self, path: str, owner: str, *, timeout_s: float, waited_s: float, advice: str = "") -> None:
        super().__init__(path, owner, timeout_s=timeout_s, waited_s=waited_s, advice=advice)
        text = f"file locked (waited {waited_s:.1f} s of {timeout_s:g} s): {owner} {path}"
        self.args = (f"{text}. {advice}" if advice else text,)


class StoreLocked(SessionLocked):
    """The lock of the session store was not free in time, in the words of the version (``text``)."""

    def __init__(self, locked: SessionLocked, text: str) -> None:
        super().__init__(locked.path, locked.owner, timeout_s=locked.timeout_s, waited_s=locked.waited_s)
        self.args = (text,)


class TurnClaimed(LockjawError):
    """A row in the session list says that another run has the session (upstream's durable claim).

    Fields: ``session_id``, ``run_id`` (of the claim; whether it still runs, the row does not say).
    """

    def __init__(self, session_id: str, run_id: str) -> None:
        self.session_id, self.run_id = session_id, run_id
        super().__init__(f'Session "{session_id}" already has an active turn claim (run {run_id})')


class StateInUse(LockjawError):
    """A gateway runs on this state folder, and this version's embedded runs refuse beside one. Fields: ``path``,
    ``port``."""

    def __init__(self, path: str, port: int) -> None:
        self.path, self.port = path, port
        super().__init__(f"another process owns the state directory {path}: a gateway on port {port}; stop it first")


class SessionChanged(LockjawError):
    """The transcript changed while its lock was given back for a prompt (upstream's takeover fence).

    Field: ``path``.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"session file changed while embedded prompt lock was released: {path}")


class LockStateError(LockjawError, OSError):
    """A lock is in a state in which going on could overlap two holders. Fields: ``path``, ``record``, ``reason``."""

    def __init__(self, path: str, record: object, reason: str) -> None:
        self.path, self.record, self.reason = path, record, reason
        super().__init__(f"{path}: {reason} (found: {record!r})")


class OwnerChanged(LockStateError):
    """Another owner has the lock than the one that was to be overruled; nobody was. Look again.

    Fields: ``path`` (of the lock file), ``seen`` and ``current`` (the generation that was to be overruled, and the one
    that has the lock).
    """

    def __init__(self, path: str, seen: int, current: int) -> None:
        self.seen, self.current = seen, current
        super().__init__(path, current, f"the owner of generation {seen} has the lock no longer, and another one has")


class Fenced(LockjawError):
    """A newer generation was granted: this holder may no longer write.

    Fields: ``path`` (of the file), ``generation`` (ours), ``current`` (the newest granted).
    """

    def __init__(self, path: str, generation: int, current: int) -> None:
        self.path, self.generation, self.current = path, generation, current
        super().__init__(f"{path}: generation {generation} was superseded by {current}; this run may no longer write")


class LockLost(Fenced):
    """The lock file was taken away from outside, or given back: this holder may no longer write.

    Fields: as Fenced, ``current`` being our own generation; ``reason``.
    """

    def __init__(self, path: str, generation: int, reason: str) -> None:
        self.path, self.generation, self.current, self.reason = path, generation, generation, reason
        LockjawError.__init__(
            self, f"{path}: generation {generation} has lost its lock ({reason}); this run may no longer write"
        )


# --------------------------------------------------------------------------- models


class ModelFailure(LockjawError):
    """One model attempt failed.

    Fields: ``message``, ``reason`` (``rate_limit``, ``overloaded``, ``timeout``, ``auth``, ``auth_permanent``,
    ``billing``, ``format``, ``model_not_found``, ``context_overflow``, ``unknown``), ``status`` (HTTP, or
    None), ``retry_after_s``, ``provider``, ``model``.
    """

    def __init__(
        self,
        message: str,
        reason: str = "unknown",
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        provider: str = "",
        model: str = "",
    ) -> None:
        self.message, self.reason, self.status = message, reason, status
        self.retry_after_s, self.provider, self.model = retry_after_s, provider, model
        super().__init__(message)


@dataclass(frozen=True)
class Attempt:
    """One failed candidate of a fallback chain. ``error`` is the message, ``reason`` as in ModelFailure."""

    provider: str
    model: str
    error: str
    reason: str = "unknown"

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}: {self.error} ({self.reason})"


class ModelsFailed(LockjawError):
    """Every candidate of the fallback chain failed. Field: ``attempts``."""

    def __init__(self, attempts: Sequence[Attempt]) -> None:
        self.attempts = tuple(attempts)
        parts = " | ".join(str(attempt) for attempt in self.attempts)
        super().__init__(f"All models failed ({len(self.attempts)}): {parts}")


class RunAborted(LockjawError):
    """A run was stopped on request. Fields: ``run_id``, ``origin`` (``rpc``, ``signal``, ``fenced``)."""

    def __init__(self, run_id: str, origin: str = "rpc") -> None:
        self.run_id, self.origin = run_id, origin
        super().__init__(f"run {run_id} was aborted ({origin})")


# --------------------------------------------------------------------------- the harness


class ReplayDiverged(LockjawError):
    """A replay left the recorded path. Fields: ``step``, ``expected``, ``actual``."""

    def __init__(self, step: int, expected: object, actual: object) -> None:
        self.step, self.expected, self.actual = step, expected, actual
        super().__init__(f"replay diverged at step {step}: expected {expected!r}, got {actual!r}")


class HarnessError(LockjawError):
    """Our bug, or a machine that cannot run the harness; ``run_dir`` names what was kept."""

    def __init__(self, message: str, run_dir: str = "") -> None:
        self.run_dir = run_dir
        super().__init__(f"{message} (kept: {run_dir})" if run_dir else message)


# --------------------------------------------------------------------------- how errors are printed

_PRINTED_NAMES: dict[type[BaseException], str] = {
    ModelsFailed: "FallbackSummaryError",
    ModelFailure: "FailoverError",
    RequestRejected: "GatewayClientRequestError",
    SessionChanged: "EmbeddedAttemptSessionTakeoverError",
}


def printed(error: BaseException, *, transport_name: str = "Error") -> str:
    """The error as the real program's ``String(err)`` prints it, class name included.

    Args:
        transport_name: ``Error`` (2026.4.8) or ``GatewayTransportError`` (2026.5.7 and later) for lost
            connections and deadlines; see the protocol's error texts.
    """
    if isinstance(error, (ConnectionLost, RequestTimedOut)):
        return f"{transport_name}: {error}"
    for cls, name in _PRINTED_NAMES.items():
        if isinstance(error, cls):
            return f"{name}: {error}"
    return f"Error: {error}"
