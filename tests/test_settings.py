"""Settings: OpenClaw's own file, the environment, flags; every refusal names file, key and expectation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lockjaw.behaviours import BEHAVIOURS, POLICIES
from lockjaw.errors import DocumentError, UsageError
from lockjaw.settings import (
    DEFAULT_PORT,
    DEFAULT_RUN_TIMEOUT_S,
    PACING_KEY,
    UNLIMITED_S,
    AgentSettings,
    ModelRef,
    Pacing,
    Provider,
    Settings,
    load,
)

Load = Callable[..., Settings]

FILE = """
// JSON5: comments, bare keys, single quotes, trailing commas
{
  gateway: { port: 4000, mode: 'local', bind: 'lan', auth: { mode: 'token', token: 'file-token' }, },
  models: { providers: {
    qiniu: { baseUrl: 'http://one/v1/', apiKey: '${QINIU_KEY}', models: [{id: 'a', maxTokens: 100}, {id: 'b'}, 7] },
    other: { baseUrl: 'http://two/v1', api: 'openai-completions', apiKey: 'plain' },
  } },
  agents: {
    defaults: {
      model: { primary: 'qiniu/deepseek/v3', fallbacks: ['other/x', 'qiniu/deepseek/v3'] },
      timeoutSeconds: 60, workspace: '~/work', llm: { idleTimeoutSeconds: 0 }, maxConcurrent: 2,
      systemPromptOverride: 'Be brief.',
    },
    list: [{ id: 'main' }, { id: 'work' }, 'nonsense'],
  },
  sessions: { store: 'sqlite' },
}
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    """``loaded(text, env, **flags)``: the settings of a state folder with that file (None: no file)."""

    def read(text: str | None = None, env: dict[str, str] | None = None, **flags: Any) -> Settings:
        if text is not None:
            (tmp_path / "openclaw.json").write_text(text, encoding="utf-8")
        return load({"HOME": "/home/me", "OPENCLAW_STATE_DIR": str(tmp_path), **(env or {})}, **flags)

    return read


# --------------------------------------------------------------------------- what is read


def test_every_key_that_concerns_us_is_read(loaded: Load) -> None:
    settings = loaded(FILE, {"QINIU_KEY": "secret"})

    assert (settings.gateway.port, settings.gateway.url) == (4000, "ws://127.0.0.1:4000")
    assert (settings.gateway.bind, settings.gateway.source) == ("lan", "local loopback")
    assert (settings.gateway.auth_mode, settings.gateway.token) == ("token", "file-token")
    assert settings.agent == AgentSettings(
        primary=ModelRef("qiniu", "deepseek/v3"),
        fallbacks=(ModelRef("other", "x"), ModelRef("qiniu", "deepseek/v3")),
        timeout_s=60,
        idle_timeout_s=0,
        workspace=Path("/home/me/work"),
        max_concurrent=2,
        system_prompt="Be brief.",
        agent_ids=("main", "work"),
    )
    assert settings.sessions == "sqlite"
    assert settings.candidates == (ModelRef("qiniu", "deepseek/v3"), ModelRef("other", "x"))
    assert settings.providers == {
        "qiniu": Provider("qiniu", "http://one/v1", "secret", {"a": 100}),
        "other": Provider("other", "http://two/v1", "plain", {}),
    }


def test_without_a_file_the_defaults_hold(loaded: Load, tmp_path: Path) -> None:
    settings = loaded()

    assert settings.config_path == tmp_path / "openclaw.json"
    assert settings.gateway.url == f"ws://127.0.0.1:{DEFAULT_PORT}"
    assert settings.agent == AgentSettings(workspace=tmp_path / "workspace")
    assert settings.candidates == ()
    assert settings.pacing == Pacing()


def test_the_state_folder_comes_from_flag_environment_or_home(tmp_path: Path) -> None:
    assert load({"HOME": "/h"}).state_dir == Path("/h/.openclaw")
    assert load({"HOME": "/h", "OPENCLAW_HOME": "/o"}).state_dir == Path("/o/.openclaw")
    assert load({"HOME": "/h", "OPENCLAW_STATE_DIR": "/s"}).state_dir == Path("/s")
    assert load({"HOME": "/h", "OPENCLAW_STATE_DIR": "/s"}, state_dir=Path("/f")).state_dir == Path("/f")
    assert load({"HOME": "/h", "OPENCLAW_CONFIG_PATH": "/c.json"}).config_path == Path("/c.json")
    (tmp_path / "d").write_text("{}")
    assert load({"OPENCLAW_CONFIG_PATH": "/c.json"}, config_path=tmp_path / "d").config_path == tmp_path / "d"


def test_a_model_may_be_one_string(loaded: Load) -> None:
    assert loaded("{agents: {defaults: {model: 'p/m'}}}").candidates == (ModelRef("p", "m"),)


def test_secrets_are_in_no_repr(loaded: Load) -> None:
    settings = loaded(FILE, {"QINIU_KEY": "from-env", "OPENCLAW_GATEWAY_PASSWORD": "hush"})

    assert not [word for word in ("from-env", "plain", "file-token", "hush") if word in repr(settings)]


# --------------------------------------------------------------------------- precedence


@pytest.mark.parametrize(
    ("env", "flags", "port"),
    [
        ({}, {}, 4000),
        ({"OPENCLAW_GATEWAY_PORT": "5000"}, {}, 5000),
        ({"OPENCLAW_GATEWAY_PORT": "127.0.0.1:5001"}, {}, 5001),
        ({"OPENCLAW_GATEWAY_PORT": "[::1]:5002"}, {}, 5002),
        ({"OPENCLAW_GATEWAY_PORT": "5000"}, {"port": 6000}, 6000),
        ({"OPENCLAW_GATEWAY_PORT": "5000"}, {"port": 0}, 0),
    ],
)
def test_a_port_from_a_flag_beats_the_environment_beats_the_file(
    env: dict[str, str], flags: dict[str, Any], port: int, loaded: Load
) -> None:
    assert loaded(FILE, env, **flags).gateway.port == port


REMOTE = """{gateway: {mode: 'remote', auth: {token: 'local-token'}, remote: {
  url: 'wss://far:1', token: 'remote-token', password: 'remote-password', tlsFingerprint: 'ab'}}}"""


@pytest.mark.parametrize(
    ("text", "env", "flags", "url", "source"),
    [
        (FILE, {}, {}, "ws://127.0.0.1:4000", "local loopback"),
        (REMOTE, {}, {}, "wss://far:1", "config gateway.remote.url"),
        (REMOTE, {"OPENCLAW_GATEWAY_URL": "ws://env:2"}, {}, "ws://env:2", "env OPENCLAW_GATEWAY_URL"),
        (REMOTE, {"OPENCLAW_GATEWAY_URL": "ws://env:2"}, {"url": "ws://flag:3"}, "ws://flag:3", "cli --url"),
        ("{gateway: {mode: 'remote'}}", {}, {}, f"ws://127.0.0.1:{DEFAULT_PORT}",
         "missing gateway.remote.url (fallback local)"),
        ("{gateway: {tls: {enabled: true}}}", {}, {}, f"wss://127.0.0.1:{DEFAULT_PORT}", "local loopback"),
    ],
)  # fmt: skip
def test_an_address_from_a_flag_beats_the_environment_beats_the_file(
    text: str, env: dict[str, str], flags: dict[str, Any], url: str, source: str, loaded: Load
) -> None:
    gateway = loaded(text, env, **flags).gateway

    assert (gateway.url, gateway.source) == (url, source)
    assert bool(gateway.bind) == source.startswith(("local", "missing"))


def test_a_token_from_a_flag_beats_the_environment_beats_the_file(loaded: Load) -> None:
    env = {"OPENCLAW_GATEWAY_TOKEN": "env-token"}

    assert loaded(FILE).gateway.token == "file-token"
    assert loaded(FILE, env).gateway.token == "env-token"
    assert loaded(FILE, env, token="flag-token").gateway.token == "flag-token"


def test_a_remote_gateway_of_the_file_has_credentials_of_its_own(loaded: Load) -> None:
    gateway = loaded(REMOTE).gateway

    assert (gateway.token, gateway.password, gateway.tls_fingerprint) == ("remote-token", "remote-password", "ab")


@pytest.mark.parametrize(
    ("text", "env", "mode"),
    [
        ("{}", {}, "token"),
        ("{}", {"OPENCLAW_GATEWAY_PASSWORD": "p"}, "password"),
        ("{}", {"OPENCLAW_GATEWAY_PASSWORD": "p", "OPENCLAW_GATEWAY_TOKEN": "t"}, "token"),
        ("{gateway: {auth: {mode: 'none'}}}", {"OPENCLAW_GATEWAY_PASSWORD": "p"}, "none"),
    ],
)
def test_the_mode_follows_the_credentials_unless_it_is_named(
    text: str, env: dict[str, str], mode: str, loaded: Load
) -> None:
    assert loaded(text, env).gateway.auth_mode == mode


@pytest.mark.parametrize(("value", "allowed"), [("1", True), ("0", False), ("", False)])
def test_plaintext_in_a_private_network_needs_the_users_word(value: str, allowed: bool, loaded: Load) -> None:
    assert loaded(None, {"OPENCLAW_ALLOW_INSECURE_PRIVATE_WS": value}).gateway.allow_insecure_private is allowed


def test_pacing_comes_from_the_harness(loaded: Load) -> None:
    assert loaded(None, {PACING_KEY: '{"connect_s": 2.5}'}).pacing == Pacing(connect_s=2.5)


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("{gateway: 7}", "gateway", "a mapping"),
        ("{gateway: {port: 'x'}}", "gateway.port", "a whole number >= 1 and <= 65535"),
        ("{gateway: {port: true}}", "gateway.port", "a whole number >= 1"),
        ("{gateway: {port: 0}}", "gateway.port", "a whole number >= 1"),
        ("{gateway: {port: 80.5}}", "gateway.port", "a whole number >= 1 and <= 65535"),
        ("{gateway: {port: 70000}}", "gateway.port", "a whole number >= 1 and <= 65535"),
        ("{gateway: {port: Infinity}}", "gateway.port", "a whole number >= 1"),
        ("{gateway: {mode: 7}}", "gateway.mode", "text"),
        ("{gateway: {auth: {mode: 'guess'}}}", "gateway.auth.mode", "one of: none, token, password"),
        ("{gateway: {tls: {enabled: 1}}}", "gateway.tls.enabled", "true or false"),
        ("{agents: {defaults: {model: 7}}}", "agents.defaults.model", "text or a mapping"),
        ("{agents: {defaults: {model: 'm'}}}", "agents.defaults.model", "PROVIDER/MODEL"),
        ("{agents: {defaults: {model: {primary: '/m'}}}}", "agents.defaults.model", "PROVIDER/MODEL"),
        ("{agents: {defaults: {model: {fallbacks: 'p/m'}}}}", "agents.defaults.model.fallbacks", "a list"),
        ("{agents: {defaults: {model: {fallbacks: [7]}}}}", "agents.defaults.model.fallbacks[0]", "text"),
        ("{agents: {defaults: {timeoutSeconds: -1}}}", "agents.defaults.timeoutSeconds", "a number >= 0"),
        ("{agents: {defaults: {timeoutSeconds: NaN}}}", "agents.defaults.timeoutSeconds", "a number >= 0"),
        ("{agents: {defaults: {maxConcurrent: 0}}}", "agents.defaults.maxConcurrent", "a number >= 1"),
        ("{agents: {list: {}}}", "agents.list", "a list"),
        ("{models: {providers: []}}", "models.providers", "a mapping"),
        ("{models: {providers: {p: {}}}}", "models.providers.p.baseUrl", "this key (it is required)"),
        ("{models: {providers: {p: 7}}}", "models.providers.p", "a mapping"),
        ("{models: {providers: {p: {baseUrl: 'u', api: 'x'}}}}", "models.providers.p.api", "openai-completions"),
        ("{models: {providers: {p: {baseUrl: 'u', apiKey: 7}}}}", "models.providers.p.apiKey", "text"),
        ("{models: {providers: {p: {baseUrl: 'u'}}}, agents: {defaults: {model: 'q/m'}}}", "agents.defaults.model",
         "a provider among: p"),
    ],
)  # fmt: skip
def test_every_refusal_names_file_key_and_expectation(
    text: str, key: str, expected: str, loaded: Load, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        loaded(text)

    error = caught.value
    assert isinstance(error, DocumentError)
    assert (error.path, error.line) == (str(tmp_path / "openclaw.json"), 1)
    assert f"at {key} expected {expected}" in str(error)
    last = key.rpartition(".")[2].partition("[")[0]
    at = text[error.column - 1 :]
    assert at.startswith((last, "7", "p:")), at


def test_the_place_of_a_key_is_found_behind_comments_strings_lists_and_empty_objects(loaded: Load) -> None:
    text = """{
  // gateway: {port: 1}
  "other": ['}', "]\\"", [], {}, {a: [1, {b: {}}],}], /* { */ "empty": {},
  'models': {providers: {"a/b": {baseUrl: "u", models: [{id: 'x'}], apiKey: 7},},},
}"""
    with pytest.raises(DocumentError) as caught:
        loaded(text)
    assert (caught.value.line, caught.value.column) == (4, 69)
    assert text.splitlines()[3][68:].startswith("apiKey")


@pytest.mark.parametrize(
    ("env", "source"),
    [
        ({"OPENCLAW_GATEWAY_PORT": "many"}, "OPENCLAW_GATEWAY_PORT: expected PORT, HOST:PORT or [V6]:PORT, got 'many'"),
        ({"OPENCLAW_GATEWAY_PORT": "0"}, "OPENCLAW_GATEWAY_PORT: expected PORT, HOST:PORT"),
        ({"OPENCLAW_GATEWAY_PORT": "host:99999"}, "OPENCLAW_GATEWAY_PORT: expected PORT, HOST:PORT"),
        (
            {"OPENCLAW_GATEWAY_URL": "far:1"},
            "env OPENCLAW_GATEWAY_URL: expected a ws:// or wss:// address, got 'far:1'",
        ),
        ({PACING_KEY: "{"}, f"{PACING_KEY}: expected JSON of step durations in seconds"),
        ({PACING_KEY: '{"nap_s": 1}'}, f"{PACING_KEY}: expected JSON of step durations in seconds"),
    ],
)
def test_a_bad_variable_is_refused_by_its_name(env: dict[str, str], source: str, loaded: Load) -> None:
    with pytest.raises(UsageError) as caught:
        loaded(None, env)

    assert str(caught.value).startswith(source)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"{", "JSON5"),
        (b"[]", "a JSON5 object, got 'list'"),
        (b"", "JSON5"),
        (b'{"a": "\xff"}', "a readable JSON5 file"),
    ],
)
def test_a_file_that_is_no_json5_object_is_refused(data: bytes, expected: str, loaded: Load, tmp_path: Path) -> None:
    (tmp_path / "openclaw.json").write_bytes(data)

    with pytest.raises(UsageError, match=expected) as caught:
        loaded()
    assert caught.value.source == str(tmp_path / "openclaw.json")


def test_a_folder_in_the_files_place_is_refused(loaded: Load, tmp_path: Path) -> None:
    (tmp_path / "openclaw.json").mkdir()

    with pytest.raises(UsageError, match="a readable JSON5 file"):
        loaded()


# --------------------------------------------------------------------------- limits and behaviours


def with_timeout(settings: Settings, timeout_s: float | None) -> Settings:
    return replace(settings, agent=replace(settings.agent, timeout_s=timeout_s))


@pytest.mark.parametrize(
    ("requested", "configured", "run_s", "client_ms"),
    [
        (None, None, DEFAULT_RUN_TIMEOUT_S, 630_000),
        (None, 60, 60, 90_000),
        (5, 60, 5, 35_000),
        (0, 60, UNLIMITED_S, 2_147_000_000),
        (None, 0, UNLIMITED_S, 2_147_000_000),
        (0.5, None, 0.5, 30_500),
    ],
)
def test_the_client_waits_30_s_longer_than_a_run_may_take(
    requested: float | None, configured: float | None, run_s: float, client_ms: int, loaded: Load
) -> None:
    settings = with_timeout(loaded(), configured)

    assert settings.run_timeout_s(requested) == run_s
    assert settings.client_timeout_ms(requested) == client_ms


def test_the_client_waits_at_least_10_s(loaded: Load) -> None:
    assert with_timeout(loaded(), -25.0).client_timeout_ms(None) == 10_000


def test_each_policy_has_its_behaviour() -> None:
    assert set(POLICIES) == {"reuse-session", "fresh-session", "no-fallback", "takeover"}
    assert {behaviour.fallback for behaviour in BEHAVIOURS.values()} == set(POLICIES)
    assert all(name == behaviour.policy for name, behaviour in BEHAVIOURS.items())
    assert [name for name, behaviour in BEHAVIOURS.items() if behaviour.lock_error_is_failover] == ["reuse-session"]
    assert [name for name, behaviour in BEHAVIOURS.items() if behaviour.durable_user_message] == ["takeover"]


@pytest.mark.parametrize("text", ["", "p", "p/", "/m", "/"])
def test_a_model_without_provider_or_name_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="PROVIDER/MODEL"):
        ModelRef.parse(text)


def test_a_model_name_may_hold_slashes() -> None:
    assert str(ModelRef.parse("openrouter/meta/llama")) == "openrouter/meta/llama"
    assert ModelRef.parse("openrouter/meta/llama") == ModelRef("openrouter", "meta/llama")
