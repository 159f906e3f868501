"""Settings: OpenClaw's own ``openclaw.json`` (JSON5), the environment, and flags, in rising precedence.

Only the keys that concern us are read; the rest of the file belongs to OpenClaw. Nothing here is read at
import: ``load`` takes the environment as an argument.

Sources: key names and defaults from the protocol facts A1, A10, B7, B8, G1, G2.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as default
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct, field

from lockjaw.documents import Document, convert
from lockjaw.documents.json5 import read_json5
from lockjaw.errors import UsageError

DEFAULT_PORT = 18789
DEFAULT_RUN_TIMEOUT_S = 172_800.0  # the gateway's own limit for a run without one
DEFAULT_CLIENT_TIMEOUT_S = 600.0  # the command line's T when no flag names one
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
    api_key: str = default(default="", repr=False)
    max_tokens: Mapping[str, int] = default(default_factory=dict)


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
    token: str | None = default(default=None, repr=False)
    password: str | None = default(default=None, repr=False)
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
    gateway: GatewaySettings = default(default_factory=GatewaySettings)
    agent: AgentSettings = default(default_factory=AgentSettings)
    providers: Mapping[str, Provider] = default(default_factory=dict)
    pacing: Pacing = default(default_factory=Pacing)
    sessions: Literal["jsonl", "sqlite"] = "jsonl"  # what new sessions are kept in

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


# --------------------------------------------------------------------------- what is read of openclaw.json

NotNegative = Annotated[float, Meta(ge=0)]


class TlsConfig(Struct, frozen=True):
    enabled: bool | None = None  # speak `wss` to the local gateway


class AuthConfig(Struct, frozen=True):
    mode: Literal["none", "token", "password"] | None = None  # none, token or password
    token: str | None = None  # shared token
    password: str | None = None  # shared password


class RemoteConfig(Struct, frozen=True):
    url: str | None = None  # address of a remote gateway
    token: str | None = None  # its token
    password: str | None = None  # its password
    tls_fingerprint: str | None = field(default=None, name="tlsFingerprint")  # the only certificate that is accepted


class GatewayConfig(Struct, frozen=True):
    mode: str | None = None  # `remote`: use `gateway.remote.url`
    bind: str | None = None  # shown in connection errors
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None  # port of the local gateway
    tls: TlsConfig | None = None
    auth: AuthConfig | None = None
    remote: RemoteConfig | None = None


class ModelChain(Struct, frozen=True):
    primary: str | None = None  # the first model that is asked
    fallbacks: tuple[str, ...] | None = None  # the models after it, in order


class LlmConfig(Struct, frozen=True):
    #: longest silence in a model's stream; 0: off
    idle_timeout_s: NotNegative | None = field(default=None, name="idleTimeoutSeconds")


class AgentConfig(Struct, frozen=True):
    model: str | ModelChain | None = None  # the model, or primary and fallbacks
    workspace: str | None = None  # where tools work
    #: limit of one run; the client waits 30 s longer; 0: no limit
    timeout_s: NotNegative | None = field(default=None, name="timeoutSeconds")
    llm: LlmConfig | None = None
    #: runs at a time in one gateway
    max_concurrent: Annotated[float, Meta(ge=1)] | None = field(default=None, name="maxConcurrent")
    system_prompt: str | None = field(default=None, name="systemPromptOverride")  # system prompt


class AgentsConfig(Struct, frozen=True):
    defaults: AgentConfig | None = None
    list: tuple[Any, ...] | None = None  # agents, by `id`


class ProviderConfig(Struct, frozen=True):
    base_url: str = field(name="baseUrl")  # the address of an OpenAI-compatible server
    api: Literal["openai-completions"] = "openai-completions"  # all that the runner speaks
    api_key: str = field(default="", name="apiKey")  # `${NAME}`: from the environment
    models: tuple[Any, ...] | None = None  # `id` and `maxTokens` of each


class ModelsConfig(Struct, frozen=True):
    providers: dict[str, ProviderConfig] | None = None  # servers by name


class SessionsConfig(Struct, frozen=True):
    store: Literal["jsonl", "sqlite"] | None = None  # what new sessions are kept in: a file each, or a database each


class Config(Struct, frozen=True):
    """The part of ``openclaw.json`` that concerns us; the rest of the file belongs to OpenClaw. null: not there."""

    gateway: GatewayConfig | None = None
    agents: AgentsConfig | None = None
    models: ModelsConfig | None = None
    sessions: SessionsConfig | None = None


# --------------------------------------------------------------------------- reading


#: What is expected where no model is configured: eight lines that are a configuration.
A_MODEL = """\
at least one PROVIDER/MODEL, as in this file:
{
  models: { providers: {
    mine: { baseUrl: "http://127.0.0.1:8000/v1", apiKey: "${MY_KEY}" },
  } },
  agents: { defaults: {
    model: { primary: "mine/model-name", fallbacks: [] },
  } },
}"""


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

    Without a configuration file the defaults hold; one that a flag names must be there, and none may be malformed.

    Raises:
        UsageError: names the file (with line and column) or the variable, the key, and what was expected.
    """
    env = os.environ if env is None else env
    home = _home(env)
    state = state_dir or state_folder(env)
    path = config_path or _path(env.get("OPENCLAW_CONFIG_PATH")) or state / "openclaw.json"
    try:
        document = read_json5(path)
    except FileNotFoundError:
        if config_path is not None:
            raise UsageError("--config", "", "a file that exists", str(config_path)) from None
        document = Document.of({}, str(path))
    config = convert(document, Config)
    settings = Settings(
        state_dir=state,
        config_path=path,
        gateway=_gateway(config, env, url=url, port=port, token=token, password=password),
        agent=_agent(config, document, home, state),
        providers=_providers(config, env),
        pacing=_pacing(env),
        sessions=(config.sessions or SessionsConfig()).store or "jsonl",
    )
    for ref in settings.candidates:
        if settings.providers and ref.provider not in settings.providers:
            known = ", ".join(sorted(settings.providers))
            raise document.error(("agents", "defaults", "model"), f"a provider among: {known}", str(ref))
    return settings


def _home(env: Mapping[str, str]) -> Path:
    return Path(env.get("OPENCLAW_HOME") or env.get("HOME") or "~").expanduser()


def state_folder(env: Mapping[str, str]) -> Path:
    """Where OpenClaw keeps its state: ``OPENCLAW_STATE_DIR``, else ``.openclaw`` in the home folder."""
    return _path(env.get("OPENCLAW_STATE_DIR")) or _home(env) / ".openclaw"


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text else None


def _gateway(
    config: Config,
    env: Mapping[str, str],
    *,
    url: str | None,
    port: int | None,
    token: str | None,
    password: str | None,
) -> GatewaySettings:
    of = config.gateway or GatewayConfig()
    auth, far = of.auth or AuthConfig(), of.remote or RemoteConfig()
    if port is None:
        port = _port(env.get("OPENCLAW_GATEWAY_PORT")) or of.port or DEFAULT_PORT
    source, bind = "local loopback", of.bind or "loopback"
    remote = far.url if of.mode == "remote" else None
    if url:
        source = "cli --url"
    elif env.get("OPENCLAW_GATEWAY_URL"):
        url, source = env["OPENCLAW_GATEWAY_URL"], "env OPENCLAW_GATEWAY_URL"
    elif remote:
        url, source = remote, "config gateway.remote.url"
    else:
        if of.mode == "remote":
            source = "missing gateway.remote.url (fallback local)"
        url = f"{'wss' if (of.tls or TlsConfig()).enabled else 'ws'}://127.0.0.1:{port}"
    local = source.startswith(("local", "missing"))
    if urlsplit(url).scheme not in ("ws", "wss"):
        raise UsageError(source, "", "a ws:// or wss:// address", url)
    token = token or env.get("OPENCLAW_GATEWAY_TOKEN") or auth.token
    password = password or env.get("OPENCLAW_GATEWAY_PASSWORD") or auth.password
    if remote and source.startswith("config"):
        token = far.token or token
        password = far.password or password
    auth_mode = auth.mode or ("password" if password and not token else "token")
    return GatewaySettings(
        url=url,
        port=port,
        source=source,
        bind=bind if local else "",
        auth_mode=auth_mode,
        token=token,
        password=password,
        tls_fingerprint=far.tls_fingerprint,
        allow_insecure_private=env.get("OPENCLAW_ALLOW_INSECURE_PRIVATE_WS") == "1",
    )


def _port(text: str | None) -> int | None:
    if not text:
        return None
    digits = text.rpartition(":")[2] if ":" in text else text
    if not digits.isdigit() or not 0 < int(digits) < 65536:
        raise UsageError("OPENCLAW_GATEWAY_PORT", "", "PORT, HOST:PORT or [V6]:PORT", text)
    return int(digits)


def _agent(config: Config, document: Document, home: Path, state: Path) -> AgentSettings:
    usual = AgentSettings()
    agents = config.agents or AgentsConfig()
    defaults = agents.defaults or AgentConfig()
    model = defaults.model
    chain = ModelChain(primary=model) if isinstance(model, str) else model or ModelChain()
    refs = [_ref(text, document) for text in (*([chain.primary] if chain.primary else ()), *(chain.fallbacks or ()))]
    primary, fallbacks = (refs[0], refs[1:]) if chain.primary else (None, refs)
    ids = tuple(one["id"] for one in agents.list or () if isinstance(one, dict) and isinstance(one.get("id"), str))
    idle = (defaults.llm or LlmConfig()).idle_timeout_s
    folder = defaults.workspace
    return AgentSettings(
        primary=primary, fallbacks=tuple(fallbacks), timeout_s=defaults.timeout_s,
        idle_timeout_s=usual.idle_timeout_s if idle is None else idle,
        workspace=Path(folder.replace("~", str(home), 1) if folder.startswith("~") else folder)
        if folder
        else state / "workspace",
        max_concurrent=int(defaults.max_concurrent or usual.max_concurrent),
        system_prompt=defaults.system_prompt or usual.system_prompt,
        agent_ids=ids or usual.agent_ids,
    )  # fmt: skip


def _ref(text: str, document: Document) -> ModelRef:
    try:
        return ModelRef.parse(text)
    except UsageError as error:
        raise document.error(("agents", "defaults", "model"), error.expected, text) from None


def _providers(config: Config, env: Mapping[str, str]) -> dict[str, Provider]:
    found: dict[str, Provider] = {}
    for name, one in ((config.models or ModelsConfig()).providers or {}).items():
        key = one.api_key
        if key.startswith("${") and key.endswith("}"):
            key = env.get(key[2:-1], "")
        limits = {
            m["id"]: int(m["maxTokens"])
            for m in one.models or ()
            if isinstance(m, dict) and isinstance(m.get("id"), str) and isinstance(m.get("maxTokens"), int)
        }
        found[name] = Provider(name, one.base_url.rstrip("/"), key, limits)
    return found


def _pacing(env: Mapping[str, str]) -> Pacing:
    text = env.get(PACING_KEY)
    if not text:
        return Pacing()
    try:
        return msgspec.json.decode(text, type=Pacing)
    except msgspec.DecodeError as error:
        raise UsageError(PACING_KEY, "", f"JSON of step durations in seconds ({error})") from error
