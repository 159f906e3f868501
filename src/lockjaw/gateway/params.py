"""What each gateway method takes, as strict structs, and the texts for what is wrong with it.

A struct mirrors the wire letter by letter: a property that it does not name is refused, an optional one is
omitted and never ``null``. Knows nothing of frames, sockets or sessions.

Sources: protocol facts A4 (connect), A9 (error texts), B1 (agent), B4, B6.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
from msgspec import UNSET, Meta, UnsetType

from lockjaw.errors import RemoteProtocolError

Text = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Label = Annotated[str, Meta(min_length=1, max_length=512)]

ClientId = Literal[
    "webchat-ui",
    "openclaw-control-ui",
    "openclaw-tui",
    "webchat",
    "cli",
    "gateway-client",
    "openclaw-macos",
    "openclaw-ios",
    "openclaw-android",
    "node-host",
    "test",
    "fingerprint",
    "openclaw-probe",
]
ClientMode = Literal["webchat", "cli", "ui", "backend", "node", "probe", "test"]


class Params(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Base of every params struct. ``to_wire`` gives the plain object, unset properties left out."""

    def to_wire(self) -> dict[str, Any]:
        wire: dict[str, Any] = msgspec.to_builtins(self)
        return wire


class MethodParams(Params):
    """Base of those of a method, which ``method`` names."""

    method: ClassVar[str]

    @classmethod
    def read(cls, raw: object) -> Self:
        """The params of a request for this method, checked.

        Args:
            raw: ``RequestFrame.params`` as decoded from JSON; UNSET and None count as an empty object.

        Raises:
            RemoteProtocolError: ``invalid <method> params: ...`` -- the text that goes back to the peer.
        """
        try:
            return msgspec.convert({} if raw is UNSET or raw is None else raw, cls)
        except msgspec.ValidationError as error:
            raise RemoteProtocolError(f"invalid {cls.method} params: {explain(error)}") from None


# --------------------------------------------------------------------------- connect


class ClientInfo(Params):
    id: ClientId
    mode: ClientMode
    version: Text
    platform: Text
    displayName: Text | UnsetType = UNSET
    deviceFamily: Text | UnsetType = UNSET
    modelIdentifier: Text | UnsetType = UNSET
    instanceId: Text | UnsetType = UNSET


class DeviceParams(Params):
    """Proof that the client holds the private key of ``id``; ``signedAt`` in Unix milliseconds."""

    id: Text
    publicKey: Text
    signature: Text
    signedAt: Count
    nonce: Text


class AuthParams(Params):
    token: str | UnsetType = UNSET
    bootstrapToken: str | UnsetType = UNSET
    deviceToken: str | UnsetType = UNSET
    password: str | UnsetType = UNSET

    def __repr__(self) -> str:
        return f"AuthParams({', '.join(self.to_wire())})"  # names only: the values are secrets


class ConnectParams(MethodParams):
    method = "connect"

    minProtocol: Positive
    maxProtocol: Positive
    client: ClientInfo
    caps: list[str] | UnsetType = UNSET
    commands: list[str] | UnsetType = UNSET
    permissions: dict[str, bool] | UnsetType = UNSET
    pathEnv: str | UnsetType = UNSET
    role: Text | UnsetType = UNSET
    scopes: list[str] | UnsetType = UNSET
    device: DeviceParams | UnsetType = UNSET
    auth: AuthParams | UnsetType = UNSET
    locale: str | UnsetType = UNSET
    userAgent: str | UnsetType = UNSET


# --------------------------------------------------------------------------- methods


class AgentParams(MethodParams):
    """``timeout`` in seconds, 0 = none; ``idempotencyKey`` becomes the run id."""

    method = "agent"

    message: Text
    idempotencyKey: Text
    agentId: Text | UnsetType = UNSET
    sessionKey: str | UnsetType = UNSET
    sessionId: str | UnsetType = UNSET
    to: str | UnsetType = UNSET
    replyTo: str | UnsetType = UNSET
    channel: str | UnsetType = UNSET
    replyChannel: str | UnsetType = UNSET
    accountId: str | UnsetType = UNSET
    replyAccountId: str | UnsetType = UNSET
    threadId: str | UnsetType = UNSET
    groupId: str | UnsetType = UNSET
    groupChannel: str | UnsetType = UNSET
    groupSpace: str | UnsetType = UNSET
    provider: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    thinking: str | UnsetType = UNSET
    deliver: bool | UnsetType = UNSET
    bestEffortDeliver: bool | UnsetType = UNSET
    attachments: list[Any] | UnsetType = UNSET
    timeout: Count | UnsetType = UNSET
    lane: str | UnsetType = UNSET
    extraSystemPrompt: str | UnsetType = UNSET
    bootstrapContextMode: Literal["full", "lightweight"] | UnsetType = UNSET
    bootstrapContextRunKind: Literal["default", "heartbeat", "cron"] | UnsetType = UNSET
    internalEvents: list[Any] | UnsetType = UNSET
    inputProvenance: dict[str, Any] | UnsetType = UNSET
    label: Label | UnsetType = UNSET


class AgentWaitParams(MethodParams):
    method = "agent.wait"

    runId: Text
    timeoutMs: Count | UnsetType = UNSET


class ChatSendParams(MethodParams):
    method = "chat.send"

    sessionKey: Text
    message: str
    idempotencyKey: Text
    sessionId: Text | UnsetType = UNSET
    thinking: str | UnsetType = UNSET
    deliver: bool | UnsetType = UNSET
    attachments: list[Any] | UnsetType = UNSET
    timeoutMs: Count | UnsetType = UNSET


class ChatAbortParams(MethodParams):
    method = "chat.abort"

    sessionKey: Text
    runId: Text | UnsetType = UNSET


class ChatHistoryParams(MethodParams):
    method = "chat.history"

    sessionKey: Text
    limit: Annotated[int, Meta(ge=1, le=1000)] | UnsetType = UNSET
    maxChars: Annotated[int, Meta(ge=1, le=500_000)] | UnsetType = UNSET


class SessionsAbortParams(MethodParams):
    method = "sessions.abort"

    key: Text | UnsetType = UNSET
    runId: Text | UnsetType = UNSET


class SessionsListParams(MethodParams):
    method = "sessions.list"

    limit: Positive | UnsetType = UNSET
    activeMinutes: Positive | UnsetType = UNSET
    includeGlobal: bool | UnsetType = UNSET
    includeUnknown: bool | UnsetType = UNSET
    includeDerivedTitles: bool | UnsetType = UNSET
    includeLastMessage: bool | UnsetType = UNSET
    label: Label | UnsetType = UNSET
    spawnedBy: Text | UnsetType = UNSET
    agentId: Text | UnsetType = UNSET
    search: str | UnsetType = UNSET


class HealthParams(MethodParams):
    method = "health"

    probe: bool | UnsetType = UNSET


class StatusParams(MethodParams):
    method = "status"


# --------------------------------------------------------------------------- texts

_PLACE = re.compile(r" - at `(?:key` in `)?\$(?P<path>.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>.*)`$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<name>.*)`$", re.DOTALL)
_LENGTH = re.compile(r"^Expected `\w+` of length (?P<sign>[<>]=) (?P<limit>\d+)$")
_RANGE = re.compile(r"^Expected `\w+` (?P<sign>[<>]=) (?P<limit>-?\d+)$")
_KIND = re.compile(r"^Expected `(?P<kind>\w+)(?:`| \|)")
_KINDS = {"str": "string", "int": "integer", "bool": "boolean", "float": "number"}


def explain(error: msgspec.ValidationError) -> str:
    """A validation error of msgspec, in the words that the real gateway uses for the same fault.

    ``at /timeout: must be integer``, ``at root: unexpected property 'x'``, ``must have required property 'y'``.
    """
    text = str(error)
    place = _PLACE.search(text)
    path = ""
    if place:
        text = text[: place.start()]
        path = place["path"].replace("[...]", "").replace(".", "/").replace("[", "/").replace("]", "")
    if found := _UNKNOWN.match(text):
        return f"at {path or 'root'}: unexpected property '{found['name']}'"
    where = f"at {path}: " if path else ""
    if found := _MISSING.match(text):
        return f"{where}must have required property '{found['name']}'"
    if found := _LENGTH.match(text):
        less = "fewer" if found["sign"] == ">=" else "more"
        return f"{where}must NOT have {less} than {found['limit']} characters"
    if found := _RANGE.match(text):
        return f"{where}must be {found['sign']} {found['limit']}"
    if text.startswith("Invalid "):  # "Invalid enum value 'x'", "Invalid value 'x'" (of a tag)
        return f"{where}must be equal to one of the allowed values"
    if found := _KIND.match(text):
        return f"{where}must be {_KINDS.get(found['kind'], found['kind'])}"
    return f"{where}{text}"
