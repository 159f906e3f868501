"""The device: one key per state folder, signatures that bind, tokens that stay secret."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from lockjaw.clock import ScaledClock
from lockjaw.errors import LocalError, UsageError
from lockjaw.gateway.identity import (
    DeviceIdentity,
    DeviceTokens,
    StoredToken,
    device_id_of,
    select_connect_auth,
    signature_payload,
    verify_signature,
)

CLOCK = ScaledClock(1.0, 0, 1_700_000_000_000)
KEY = DeviceIdentity.generate(random.Random(1))
FIELDS = {
    "device_id": "d",
    "client_id": "cli",
    "client_mode": "cli",
    "role": "operator",
    "scopes": ("a", "b"),
    "signed_at_ms": 5,
    "token": "t",
    "nonce": " n ",
}


def test_the_key_file_has_the_shape_and_mode_that_the_real_program_reads(tmp_path: Path) -> None:
    identity = DeviceIdentity.load_or_create(tmp_path, CLOCK)
    path = tmp_path / "identity" / "device.json"
    file = json.loads(path.read_text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(file) == ["version", "deviceId", "publicKeyPem", "privateKeyPem", "createdAtMs"]
    assert (file["version"], file["deviceId"]) == (1, identity.device_id)
    der = base64.b64decode("".join(file["publicKeyPem"].splitlines()[1:-1]))
    assert hashlib.sha256(der[-32:]).hexdigest() == identity.device_id
    assert base64.urlsafe_b64encode(der[-32:]).rstrip(b"=").decode() == identity.public_key_b64url
    assert sorted(p.name for p in path.parent.iterdir()) == ["device.json"]


def test_the_same_folder_gives_the_same_device(tmp_path: Path) -> None:
    first = DeviceIdentity.load_or_create(tmp_path, CLOCK)
    second = DeviceIdentity.load_or_create(tmp_path, CLOCK)
    assert first.device_id == second.device_id
    assert verify_signature(first.public_key_b64url, "x", second.sign("x"))


def test_a_seeded_stream_gives_the_same_key(tmp_path: Path) -> None:
    one = DeviceIdentity.load_or_create(tmp_path / "a", CLOCK, random.Random(7))
    two = DeviceIdentity.load_or_create(tmp_path / "b", CLOCK, random.Random(7))
    assert one.device_id == two.device_id


CREATOR = """
import pathlib, sys
from lockjaw.clock import ScaledClock
from lockjaw.gateway.identity import DeviceIdentity
print("ready", flush=True)
sys.stdin.readline()
print(DeviceIdentity.load_or_create(pathlib.Path(sys.argv[1]), ScaledClock.start()).device_id, flush=True)
"""


@pytest.mark.real
def test_processes_that_create_the_device_at_once_end_with_the_same_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CREATOR, str(tmp_path)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        found = [process.communicate(timeout=60)[0].strip() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert found == [DeviceIdentity.load_or_create(tmp_path, CLOCK).device_id] * 3
    assert [p.name for p in (tmp_path / "identity").iterdir()] == ["device.json"]


def test_the_second_creator_takes_the_key_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_generate = DeviceIdentity.generate
    winners: list[DeviceIdentity] = []

    def generate_after_another_process(ids: random.Random | None = None) -> DeviceIdentity:
        monkeypatch.setattr(DeviceIdentity, "generate", real_generate)
        winners.append(DeviceIdentity.load_or_create(tmp_path, CLOCK))  # between our look and our creation
        return real_generate(ids)

    monkeypatch.setattr(DeviceIdentity, "generate", generate_after_another_process)
    assert DeviceIdentity.load_or_create(tmp_path, CLOCK).device_id == winners[0].device_id


def test_a_file_that_is_removed_under_us_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lockjaw.gateway.identity.write_whole", lambda *what, **how: None)
    with pytest.raises(LocalError, match="removed while it was being created"):
        DeviceIdentity.load_or_create(tmp_path, CLOCK)


def _pem(key: Ed25519PrivateKey | X25519PrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '{"version":1,"deviceId":"x","publicKeyPem":"","privateKeyPem":"S3CRET","createdAtMs":1}',
        json.dumps(
            {
                "version": 1,
                "deviceId": "x",
                "publicKeyPem": "",
                "privateKeyPem": _pem(X25519PrivateKey.generate()),
                "createdAtMs": 1,
            }
        ),
    ],
)
def test_a_file_that_is_no_key_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "identity" / "device.json"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(UsageError) as caught:
        DeviceIdentity.load_or_create(tmp_path, CLOCK)
    assert str(path) in str(caught.value)
    assert "S3CRET" not in str(caught.value)
    assert path.read_text() == content


def test_a_folder_that_cannot_be_written_is_a_local_error(tmp_path: Path) -> None:
    (tmp_path / "identity").write_text("a file where a folder should be")
    with pytest.raises(LocalError, match="cannot read or create the device key"):
        DeviceIdentity.load_or_create(tmp_path, CLOCK)


def test_a_key_that_others_may_read_is_made_private(tmp_path: Path) -> None:
    DeviceIdentity.load_or_create(tmp_path, CLOCK)
    path = tmp_path / "identity" / "device.json"
    path.chmod(0o644)
    DeviceIdentity.load_or_create(tmp_path, CLOCK)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# --------------------------------------------------------------------------- signatures


def test_the_payloads_are_the_documented_texts() -> None:
    v3 = signature_payload("v3", **FIELDS, platform="  LinuÄX ", device_family=None)  # type: ignore[arg-type]
    assert v3 == "v3|d|cli|cli|operator|a,b|5|t|n|linuÄx|"
    v2 = signature_payload("v2", **FIELDS | {"token": None}, platform="x")  # type: ignore[arg-type]
    assert v2 == "v2|d|cli|cli|operator|a,b|5||n"
    with pytest.raises(LocalError, match="v2 and v3, not 'v9'"):
        signature_payload("v9", **FIELDS)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_every_field_of_the_payload_binds_the_signature(name: str) -> None:
    signature = KEY.sign(signature_payload("v3", **FIELDS))  # type: ignore[arg-type]
    value = FIELDS[name]
    changed = value + 1 if isinstance(value, int) else ("a",) if isinstance(value, tuple) else f"{value}x"
    assert verify_signature(KEY.public_key_b64url, signature_payload("v3", **FIELDS), signature)  # type: ignore[arg-type]
    other = signature_payload("v3", **FIELDS | {name: changed})  # type: ignore[arg-type]
    assert not verify_signature(KEY.public_key_b64url, other, signature)


def _public_pem(key: Ed25519PrivateKey | X25519PrivateKey) -> str:
    kinds = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(*kinds).decode()


def test_a_public_key_is_taken_as_pem_and_in_either_base64() -> None:
    key = Ed25519PrivateKey.from_private_bytes(random.Random(1).randbytes(32))
    raw = base64.urlsafe_b64decode(KEY.public_key_b64url + "=")
    for text in (KEY.public_key_b64url, base64.b64encode(raw).decode(), _public_pem(key)):
        assert device_id_of(text) == KEY.device_id
        assert verify_signature(text, "x", KEY.sign("x"))


@pytest.mark.parametrize(
    "text",
    ["", "%%%", "AAAA", "x" * 44, "é", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
     _public_pem(X25519PrivateKey.generate())],
)  # fmt: skip
def test_what_is_no_key_has_no_id_and_verifies_nothing(text: str) -> None:
    assert device_id_of(text) is None
    assert not verify_signature(text, "x", KEY.sign("x"))


@settings(deadline=None)  # the machine may be busy
@given(st.text())
def test_no_text_is_a_signature_and_none_crashes(text: str) -> None:
    assert not verify_signature(KEY.public_key_b64url, "x", text)


def test_no_repr_shows_a_key_or_a_token() -> None:
    assert repr(KEY) == f"DeviceIdentity({KEY.device_id})"
    assert "S3CRET" not in repr(StoredToken("S3CRET", "operator", [], 1))
    auth = select_connect_auth(token="S3CRET", password="S3CRET", stored=None, scopes=())
    assert "S3CRET" not in repr(auth)
    assert "AuthParams(token, password)" in repr(auth)


# --------------------------------------------------------------------------- issued tokens


def test_tokens_are_kept_by_role_in_a_private_file(tmp_path: Path) -> None:
    tokens = DeviceTokens(tmp_path, CLOCK)
    assert tokens.load("d", "operator") is None
    tokens.store("d", "operator", "T1", ["a"])
    tokens.store("d", "node", "T2", [])
    assert stat.S_IMODE(tokens.path.stat().st_mode) == 0o600
    file = json.loads(tokens.path.read_text())
    assert list(file) == ["version", "deviceId", "tokens"]
    assert list(file["tokens"]["operator"]) == ["token", "role", "scopes", "updatedAtMs"]
    stored = tokens.load("d", "operator")
    assert stored is not None
    assert (stored.token, stored.scopes) == ("T1", ["a"])
    tokens.erase("d", "operator")
    assert tokens.load("d", "operator") is None
    assert tokens.load("d", "node") is not None
    before = tokens.path.stat().st_mtime_ns
    tokens.erase("d", "operator")
    assert tokens.path.stat().st_mtime_ns == before


def test_tokens_of_another_device_do_not_count(tmp_path: Path) -> None:
    tokens = DeviceTokens(tmp_path, CLOCK)
    tokens.store("old", "operator", "T1", [])
    assert tokens.load("new", "operator") is None
    tokens.store("new", "node", "T2", [])
    assert list(json.loads(tokens.path.read_text())["tokens"]) == ["node"]


def test_a_malformed_token_file_reads_as_empty_and_is_replaced(tmp_path: Path) -> None:
    tokens = DeviceTokens(tmp_path, CLOCK)
    tokens.path.parent.mkdir()
    tokens.path.write_bytes(b"\xff{")
    assert tokens.load("d", "operator") is None
    tokens.store("d", "operator", "T1", [])
    assert tokens.load("d", "operator") is not None


def test_a_failed_replace_leaves_no_temporary_file(tmp_path: Path) -> None:
    tokens = DeviceTokens(tmp_path, CLOCK)
    tokens.path.mkdir(parents=True)
    with pytest.raises(OSError):
        tokens.store("d", "operator", "T1", [])
    assert [p.name for p in tokens.path.parent.iterdir()] == [tokens.path.name]


# --------------------------------------------------------------------------- which credential

STORED = StoredToken("DT", "operator", ["s"], 1)


@pytest.mark.parametrize(
    ("given_token", "password", "stored", "retry", "wire", "scopes"),
    [
        ("T", None, None, False, {"token": "T"}, ("w",)),
        ("T", None, STORED, False, {"token": "T"}, ("w",)),
        (None, "P", STORED, False, {"password": "P"}, ("w",)),
        (None, None, STORED, False, {"token": "DT", "deviceToken": "DT"}, ("s",)),
        (" ", "", STORED, False, {"token": "DT", "deviceToken": "DT"}, ("s",)),
        (None, "P", None, False, {"password": "P"}, ("w",)),
        ("T", None, STORED, True, {"token": "T", "deviceToken": "DT"}, ("s",)),
        ("T", None, None, True, {"token": "T"}, ("w",)),
        (None, None, None, False, {}, ("w",)),
        (None, None, StoredToken("DT", "operator", [], 1), False, {"token": "DT", "deviceToken": "DT"}, ("w",)),
    ],
)  # fmt: skip
def test_the_credential_is_chosen_as_the_real_client_chooses(
    given_token: str | None,
    password: str | None,
    stored: StoredToken | None,
    retry: bool,
    wire: dict[str, str],
    scopes: tuple[str, ...],
) -> None:
    auth = select_connect_auth(
        token=given_token,
        password=password,
        stored=stored,
        scopes=["w"],
        retry_with_device_token=retry,
    )
    assert auth.given.to_wire() == wire
    assert auth.scopes == scopes
    assert auth.reuses_stored == ("deviceToken" in wire)


def test_the_key_is_created_under_a_strict_mode_from_the_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    real_open = os.open

    def spy(path: str | os.PathLike[str], flags: int, mode: int = 0o777, **rest: int) -> int:
        if flags & os.O_CREAT:
            modes.append(mode)
        return real_open(path, flags, mode, **rest)

    monkeypatch.setattr(os, "open", spy)
    DeviceIdentity.load_or_create(tmp_path, CLOCK)
    assert modes == [0o600]
