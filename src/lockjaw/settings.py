"""Settings: OpenClaw's own ``openclaw.json`` (JSON5), the environment, and flags, in rising precedence.

Only the keys that concern us are read; the rest of the file belongs to OpenClaw. Nothing here is read at
import: ``load`` takes the environment as an argument.

Sources: key names and defaults from the protocol facts A1, A10, B7, B8, G1, G2.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import json5
import msgspec

from lockjaw.errors import UsageError

DEFAULT_PORT = 18789
DEFAULT_RUN_TIMEOUT_S = 172_800.0  # the gateway's own limit for a run when nobody names one
DEFAULT_CLIENT_TIMEOUT_S = 600.0  # the command line's T when nobody names one
CLIENT_GRACE_S = 30.0  # the command line waits T + 30 s in all, connecting included
UNLIMITED_S = 2_147_000.0  # what "0 = no limit" means upstream (2 147 000 000 ms)
PACING_KEY = "LOCKJAW_PACING"


@dataclass(frozen=True, order=True)
class ModelRef:
    """``provider/model``; the model part may itself contain slashes."""

    provider: str
    model: str

    @classmethod
    def parse(cls, text: str, *, source: str = "model") -> ModelRef:
        provider, slash, model = text.partition("/")
        if not (provider and slash and model):
            raise UsageError(source, "", "PROVIDER/MODEL", text)
        return cls(provider, model)

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True)
class Provider:
    """An OpenAI-compatible endpoint. ``base_url`` ends before ``/chat/completions``."""

    name: str
    base_url: str
    api_key: str = field(default="", repr=False)
    max_tokens: Mapping[str, int] = field(default_factory=dict)


class Pacing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the runtime's own steps take, in nominal seconds.

    All zero for a user: the steps take what they take. The harness sets them to what was measured on the
    real program, so that a time scale of 0.02 does not change the order of events.
    """

    connect_s: float = 0.0  # client: from its clock's start until the request is sent
    prepare_s: float = 0.0  # gateway: from accepting a run until it asks for the lock
    setup_s: float = 0.0  # any run: from getting the lock until the model is asked
    between_candidates_s: float = 0.0  # any run: lock free between two candidates of the chain
    embedded_prepare_s: float = 0.0  # fallback: before each candidate asks for the lock


@dataclass(frozen=True)
class GatewaySettings:
    """Where the gateway is and how to get in.

    ``source`` is what the client's error texts show: ``local loopback``, ``cli --url``,
    ``env OPENCLAW_GATEWAY_URL`` or ``config gateway.remote.url``. ``bind`` is empty for remote sources.
    """

    url: str = f"ws://127.0.0.1:{DEFAULT_PORT}"
    port: int = DEFAULT_PORT
    source: str = "local loopback"
    bind: str = "loopback"
    auth_mode: str = "token"
    token: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    tls_fingerprint: str | None = None
    allow_insecure_private: bool = False


@dataclass(frozen=True)
class AgentSettings:
    """``agents.defaults``. ``timeout_s`` is None when the configuration does not say; 0 means no limit."""

    primary: ModelRef | None = None
    fallbacks: tuple[ModelRef, ...] = ()
    timeout_s: float | None = None
    idle_timeout_s: float = 60.0  # between two chunks of a stream; 0 = off
    workspace: Path = Path("workspace")
    max_concurrent: int = 4
    system_prompt: str = "You are a helpful assistant."
    agent_ids: tuple[str, ...] = ("main",)


@dataclass(frozen=True)
class Settings:
    """Everything that the client, the gateway and the runner need to know."""

    state_dir: Path
    config_path: Path
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    agent: AgentSettings = field(default_factory=AgentSettings)
    providers: Mapping[str, Provider] = field(default_factory=dict)
    pacing: Pacing = field(default_factory=Pacing)

    @property
    def candidates(self) -> tuple[ModelRef, ...]:
        """Primary, then fallbacks, duplicates removed."""
        chain = ([self.agent.primary] if self.agent.primary else []) + list(self.agent.fallbacks)
        return tuple(dict.fromkeys(chain))

    def run_timeout_s(self, requested_s: float | None) -> float:
        """Limit of one attempt (nominal seconds): the request's, else the configuration's, else 48 hours."""
        value = self.agent.timeout_s if requested_s is None else requested_s
        if value is None:
            return DEFAULT_RUN_TIMEOUT_S
        return value or UNLIMITED_S

    def client_timeout_ms(self, requested_s: float | None) -> int:
        """How long the command line waits in all: max(10, T + 30) s; T = 0 means no limit."""
        value = requested_s if requested_s is not None else self.agent.timeout_s
        if value is None:
            value = DEFAULT_CLIENT_TIMEOUT_S
        if value == 0:
            return round(UNLIMITED_S * 1000)
        return max(10_000, round((value + CLIENT_GRACE_S) * 1000))


def load(
    env: Mapping[str, str] | None = None,
    *,
    state_dir: Path | None = None,
    config_path: Path | None = None,
    url: str | None = None,
    port: int | None = None,
    token: str | None = None,
    password: str | None = None,
) -> Settings:
    """Read the settings. Flags (the keyword arguments) beat the environment, which beats the file.

    A missing configuration file is no error (defaults hold); a malformed one is.

    Raises:
        UsageError: names the file or variable, the key, and what was expected.
    """
    env = os.environ if env is None else env
    home = Path(env.get("OPENCLAW_HOME") or env.get("HOME") or "~").expanduser()
    state = state_dir or _path(env.get("OPENCLAW_STATE_DIR")) or home / ".openclaw"
    path = config_path or _path(env.get("OPENCLAW_CONFIG_PATH")) or state / "openclaw.json"
    reader = _Reader(str(path), _read_config(path))
    settings = Settings(
        state_dir=state,
        config_path=path,
        gateway=_gateway(reader, env, url=url, port=port, token=token, password=password),
        agent=_agent(reader, home, state),
        providers=_providers(reader, env),
        pacing=_pacing(env),
    )
    for ref in settings.candidates:
        if settings.providers and ref.provider not in settings.providers:
            known = ", ".join(sorted(settings.providers))
            raise UsageError(str(path), "agents.defaults.model", f"a provider among: {known}", str(ref))
    return settings


def with_agent(settings: Settings, **changes: Any) -> Settings:
    """A copy with some agent settings replaced."""
    return replace(settings, agent=replace(settings.agent, **changes))


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text else None


def _read_config(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(str(path), "", "a readable JSON5 file", str(error)) from error
    try:
        value = json5.loads(text)
    except ValueError as error:
        raise UsageError(str(path), "", f"JSON5 ({error})") from error
    if not isinstance(value, dict):
        raise UsageError(str(path), "", "a JSON5 object", type(value).__name__)
    return value


@dataclass(frozen=True)
class _Reader:
    """Typed look-ups by dotted key, with the file and key in every error."""

    source: str
    root: dict[str, Any]

    def get(self, key: str, kind: type | tuple[type, ...], expected: str) -> Any:
        value: Any = self.root
        walked: list[str] = []
        for part in key.split("."):
            if not isinstance(value, dict):
                raise UsageError(self.source, ".".join(walked), "an object", value)
            walked.append(part)
            value = value.get(part)
            if value is None:
                return None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise UsageError(self.source, key, expected, value)
        return value

    def text(self, key: str) -> str | None:
        value: str | None = self.get(key, str, "a string")
        return value

    def number(self, key: str, *, minimum: float = 0) -> float | None:
        value: float | None = self.get(key, (int, float), f"a number >= {minimum:g}")
        if value is not None and not minimum <= value < float("inf"):
            raise UsageError(self.source, key, f"a number >= {minimum:g}", value)
        return value


def _gateway(
    reader: _Reader,
    env: Mapping[str, str],
    *,
    url: str | None,
    port: int | None,
    token: str | None,
    password: str | None,
) -> GatewaySettings:
    if port is None:
        port = _port(env.get("OPENCLAW_GATEWAY_PORT"), reader)
    mode = reader.text("gateway.mode")
    source, bind = "local loopback", reader.text("gateway.bind") or "loopback"
    remote = reader.text("gateway.remote.url") if mode == "remote" else None
    if url:
        source = "cli --url"
    elif env.get("OPENCLAW_GATEWAY_URL"):
        url, source = env["OPENCLAW_GATEWAY_URL"], "env OPENCLAW_GATEWAY_URL"
    elif remote:
        url, source = remote, "config gateway.remote.url"
    else:
        if mode == "remote":
            source = "missing gateway.remote.url (fallback local)"
        tls = reader.get("gateway.tls.enabled", bool, "true or false")
        url = f"{'wss' if tls else 'ws'}://127.0.0.1:{port}"
    local = source.startswith(("local", "missing"))
    if urlsplit(url).scheme not in ("ws", "wss"):
        raise UsageError(source, "", "a ws:// or wss:// address", url)
    token = token or env.get("OPENCLAW_GATEWAY_TOKEN") or reader.text("gateway.auth.token")
    password = password or env.get("OPENCLAW_GATEWAY_PASSWORD") or reader.text("gateway.auth.password")
    if remote and source.startswith("config"):
        token = reader.text("gateway.remote.token") or token
        password = reader.text("gateway.remote.password") or password
    auth_mode = reader.text("gateway.auth.mode") or ("password" if password and not token else "token")
    if auth_mode not in ("none", "token", "password"):
        raise UsageError(reader.source, "gateway.auth.mode", "none, token or password", auth_mode)
    return GatewaySettings(
        url=url,
        port=port,
        source=source,
        bind=bind if local else "",
        auth_mode=auth_mode,
        token=token,
        password=password,
        tls_fingerprint=reader.text("gateway.remote.tlsFingerprint"),
        allow_insecure_private=env.get("OPENCLAW_ALLOW_INSECURE_PRIVATE_WS") == "1",
    )


def _port(text: str | None, reader: _Reader) -> int:
    if text:
        digits = text.rpartition(":")[2] if ":" in text else text
        if not digits.isdigit() or not 0 < int(digits) < 65536:
            raise UsageError("OPENCLAW_GATEWAY_PORT", "", "PORT, HOST:PORT or [V6]:PORT", text)
        return int(digits)
    value = reader.number("gateway.port", minimum=1)
    if value is not None and (value != int(value) or value > 65535):
        raise UsageError(reader.source, "gateway.port", "a port, 1 to 65535", value)
    return DEFAULT_PORT if value is None else int(value)


def _agent(reader: _Reader, home: Path, state: Path) -> AgentSettings:
    defaults = AgentSettings()
    model = reader.get("agents.defaults.model", (str, dict), "PROVIDER/MODEL or {primary, fallbacks}")
    primary: str | None = model if isinstance(model, str) else None
    fallbacks: list[Any] = []
    if isinstance(model, dict):
        primary = reader.text("agents.defaults.model.primary")
        fallbacks = reader.get("agents.defaults.model.fallbacks", list, "a list of PROVIDER/MODEL") or []
    where = f"{reader.source}: agents.defaults.model"
    for item in fallbacks:
        if not isinstance(item, str):
            raise UsageError(reader.source, "agents.defaults.model.fallbacks", "a list of PROVIDER/MODEL", item)
    workspace = reader.text("agents.defaults.workspace")
    listed = reader.get("agents.list", list, "a list of agents") or []
    ids = tuple(entry["id"] for entry in listed if isinstance(entry, dict) and isinstance(entry.get("id"), str))
    idle = reader.number("agents.defaults.llm.idleTimeoutSeconds")
    concurrent = reader.number("agents.defaults.maxConcurrent", minimum=1)
    return AgentSettings(
        primary=ModelRef.parse(primary, source=where) if primary else None,
        fallbacks=tuple(ModelRef.parse(item, source=where) for item in fallbacks),
        timeout_s=reader.number("agents.defaults.timeoutSeconds"),
        idle_timeout_s=defaults.idle_timeout_s if idle is None else idle,
        workspace=Path(workspace.replace("~", str(home), 1) if workspace.startswith("~") else workspace)
        if workspace
        else state / "workspace",
        max_concurrent=int(concurrent or defaults.max_concurrent),
        system_prompt=reader.text("agents.defaults.systemPromptOverride") or defaults.system_prompt,
        agent_ids=ids or defaults.agent_ids,
    )


def _providers(reader: _Reader, env: Mapping[str, str]) -> dict[str, Provider]:
    found: dict[str, Provider] = {}
    for name, entry in (reader.get("models.providers", dict, "an object") or {}).items():
        key = f"models.providers.{name}"
        if not isinstance(entry, dict) or not isinstance(entry.get("baseUrl"), str):
            raise UsageError(reader.source, f"{key}.baseUrl", "the address of an OpenAI-compatible server")
        api = entry.get("api", "openai-completions")
        if api != "openai-completions":
            raise UsageError(reader.source, f"{key}.api", "openai-completions (all that the runner speaks)", api)
        api_key = entry.get("apiKey", "")
        if not isinstance(api_key, str):
            raise UsageError(reader.source, f"{key}.apiKey", "a string")
        if api_key.startswith("${") and api_key.endswith("}"):
            api_key = env.get(api_key[2:-1], "")
        limits = {
            m["id"]: int(m["maxTokens"])
            for m in entry.get("models") or []
            if isinstance(m, dict) and isinstance(m.get("id"), str) and isinstance(m.get("maxTokens"), int)
        }
        found[name] = Provider(name, entry["baseUrl"].rstrip("/"), api_key, limits)
    return found


def _pacing(env: Mapping[str, str]) -> Pacing:
    text = env.get(PACING_KEY)
    if not text:
        return Pacing()
    try:
        return msgspec.json.decode(text, type=Pacing)
    except msgspec.DecodeError as error:
        raise UsageError(PACING_KEY, "", f"JSON of step durations in seconds ({error})") from error
