"""Which addresses the client talks to in the clear, what a pin may look like, and what error texts show."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockjaw.errors import LocalError
from lockjaw.gateway.endpoint import (
    connection_details,
    is_local,
    is_private,
    may_see_device_token,
    pinned_digest,
    redacted,
    refuse_unsafe,
)
from lockjaw.settings import GatewaySettings, Settings

LOOPBACK = ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"]
PRIVATE = ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.0.1", "100.64.0.1", "[fd00::1]",
           "[fe80::1%25eth0]", "[::ffff:10.0.0.1]"]  # fmt: skip
PUBLIC = ["example.com", "gateway", "8.8.8.8", "0.0.0.0", "172.32.0.1", "100.128.0.1", "[2001:db8::1]",
          "127.0.0.1.example.com", "localhost.example.com", "127.0.0.1@example.com", "2130706433",
          "[::ffff:8.8.8.8]", ""]  # fmt: skip


@pytest.mark.parametrize("host", LOOPBACK)
def test_this_machine_may_be_talked_to_in_the_clear(host: str) -> None:
    assert is_local(f"ws://{host}:18789")
    refuse_unsafe(GatewaySettings(url=f"ws://{host}:18789/path"))


@pytest.mark.parametrize("host", PRIVATE)
def test_a_private_address_needs_the_override(host: str) -> None:
    assert is_private(f"ws://{host}:1")
    with pytest.raises(LocalError, match="OPENCLAW_ALLOW_INSECURE_PRIVATE_WS=1"):
        refuse_unsafe(GatewaySettings(url=f"ws://{host}:1"))
    refuse_unsafe(GatewaySettings(url=f"ws://{host}:1", allow_insecure_private=True))


@pytest.mark.parametrize("override", [False, True])
@pytest.mark.parametrize("host", PUBLIC)
def test_any_other_address_needs_tls_whatever_the_override_says(host: str, override: bool) -> None:
    for scheme in ("ws", "WS"):
        with pytest.raises(LocalError, match=r"^SECURITY ERROR: Cannot connect to "):
            refuse_unsafe(GatewaySettings(url=f"{scheme}://{host}", allow_insecure_private=override))
    refuse_unsafe(GatewaySettings(url=f"wss://{host}"))


def test_a_pin_needs_tls() -> None:
    with pytest.raises(LocalError, match="gateway tls fingerprint requires a wss:// gateway url"):
        refuse_unsafe(GatewaySettings(tls_fingerprint="00" * 32))


@pytest.mark.parametrize(
    "text", ["ab" * 32, "AB" * 32, ":".join(["ab"] * 32), "sha256:" + "ab" * 32, " SHA-256=" + "ab" * 32]
)
def test_a_pin_is_taken_in_every_usual_spelling(text: str) -> None:
    assert pinned_digest(text) == "ab" * 32


@pytest.mark.parametrize("text", ["ab", "zz" * 32, "ab" * 20])
def test_a_pin_that_is_no_sha_256_is_refused(text: str) -> None:
    with pytest.raises(LocalError, match="expected a SHA-256"):
        refuse_unsafe(GatewaySettings(url="wss://x", tls_fingerprint=text))


def test_a_device_token_goes_only_where_nobody_else_can_stand() -> None:
    assert may_see_device_token(GatewaySettings())
    assert may_see_device_token(GatewaySettings(url="wss://x", tls_fingerprint="00" * 32))
    assert not may_see_device_token(GatewaySettings(url="wss://x"))
    assert not may_see_device_token(GatewaySettings(url="ws://10.0.0.1", allow_insecure_private=True))


def test_secrets_in_an_address_are_not_printed() -> None:
    assert redacted("wss://user:S3CRET@host:1/p?token=S3CRET") == "wss://***@host:1/p?***"
    assert redacted("ws://127.0.0.1:18789") == "ws://127.0.0.1:18789"


def test_a_remote_target_has_no_bind_line() -> None:
    gateway = GatewaySettings(url="wss://h", source="config gateway.remote.url", bind="")
    settings = Settings(state_dir=Path("/s"), config_path=Path("/s/openclaw.json"), gateway=gateway)
    assert connection_details(settings) == (
        "Gateway target: wss://h\nSource: config gateway.remote.url\nConfig: /s/openclaw.json"
    )
