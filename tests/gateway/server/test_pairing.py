"""Pairing: the rules, the records, the tokens."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace

import pytest

from lockjaw.gateway.pairing import (
    Approved,
    DeviceClaim,
    DeviceFiles,
    DevicesUnreadable,
    Known,
    MemoryDocuments,
    Pairing,
    Required,
    judge,
)

CLAIM = DeviceClaim(
    "d1", "key", "cli", "cli", "linux", "operator", ("operator.write",), silent=True, address="127.0.0.1"
)
RECORD = {
    "publicKey": "key", "platform": "Linux", "roles": ["operator"], "approvedScopes": ["operator.write"],
}  # fmt: skip


@pytest.fixture(params=["memory", "files"])
def documents(request, tmp_path):
    return MemoryDocuments() if request.param == "memory" else DeviceFiles(tmp_path)


@pytest.fixture
def pairing(documents) -> Pairing:
    return Pairing(documents, ids=random.Random(5))


@pytest.mark.parametrize(
    ("record", "claim", "outcome"),
    [
        (None, CLAIM, Approved("not-paired")),
        (None, replace(CLAIM, silent=False), Required("not-paired")),
        ({**RECORD, "publicKey": "other"}, replace(CLAIM, silent=False), Required("not-paired")),
        (RECORD, CLAIM, Known()),
        (RECORD, replace(CLAIM, scopes=("operator.read",)), Known()),
        (RECORD, replace(CLAIM, platform="darwin"), Required("metadata-upgrade")),
        ({**RECORD, "deviceFamily": "mac"}, CLAIM, Required("metadata-upgrade")),
        ({**RECORD, "platform": ""}, replace(CLAIM, platform="darwin"), Known()),
        (RECORD, replace(CLAIM, role="node"), Approved("role-upgrade")),
        (RECORD, replace(CLAIM, role="node", silent=False), Required("role-upgrade")),
        (RECORD, replace(CLAIM, scopes=("operator.admin",)), Required("scope-upgrade")),
        ({**RECORD, "approvedScopes": None, "scopes": ["operator.admin", 7]}, CLAIM, Known()),
        ({"publicKey": "key"}, replace(CLAIM, silent=False), Required("role-upgrade")),
    ],
)
def test_rules(record, claim, outcome):
    assert judge(record, claim) == outcome


def test_paired_device_is_known_and_keeps_its_token(pairing, documents):
    assert pairing.admit(CLAIM, 1000) == Approved("not-paired")
    first = pairing.issue(CLAIM, 1000)
    assert pairing.admit(CLAIM, 2000) == Known()
    assert pairing.issue(CLAIM, 2000) == first
    assert first.scopes == ("operator.write",)
    assert first.issued_ms == 1000
    assert first.token not in repr(first)
    record = documents.read("paired")["d1"]
    assert record["approvedScopes"] == record["scopes"] == ["operator.write"]
    assert record["roles"] == ["operator"]
    assert "remoteIp" not in record


def test_role_upgrade_keeps_what_was_approved_and_issues_a_second_token(pairing, documents):
    pairing.admit(CLAIM, 1000)
    operator = pairing.issue(CLAIM, 1000)
    node = replace(CLAIM, role="node", scopes=())
    assert pairing.admit(node, 2000) == Approved("role-upgrade")
    assert pairing.issue(node, 2000).token != operator.token
    record = documents.read("paired")["d1"]
    assert record["roles"] == ["operator", "node"]
    assert record["approvedScopes"] == ["operator.write"]
    assert (record["createdAtMs"], record["approvedAtMs"]) == (1000, 2000)
    assert pairing.issue(CLAIM, 3000) == operator


def test_unknown_fields_of_a_record_are_kept(pairing, documents):
    documents.write("paired", {"d1": {**RECORD, "note": "mine"}, "d2": {"x": 1}})
    pairing.admit(replace(CLAIM, role="node"), 1)
    paired = documents.read("paired")
    assert paired["d1"]["note"] == "mine"
    assert paired["d2"] == {"x": 1}


def test_device_with_another_key_inherits_nothing(pairing, documents):
    documents.write("paired", {"d1": {**RECORD, "publicKey": "other", "note": "x", "tokens": {"operator": {}}}})
    assert pairing.admit(CLAIM, 1) == Approved("not-paired")
    assert documents.read("paired")["d1"]["tokens"] == {}
    assert "note" not in documents.read("paired")["d1"]


def test_token_is_valid_for_its_device_role_and_scopes_only(pairing, documents):
    pairing.admit(CLAIM, 1)
    token = pairing.issue(CLAIM, 1).token
    assert pairing.token_valid(CLAIM, token)
    assert pairing.token_valid(replace(CLAIM, scopes=("operator.read",)), token)
    assert not pairing.token_valid(CLAIM, token + "x")
    assert not pairing.token_valid(replace(CLAIM, device_id="d2"), token)
    assert not pairing.token_valid(replace(CLAIM, role="node"), token)
    assert not pairing.token_valid(replace(CLAIM, scopes=("operator.admin",)), token)
    paired = documents.read("paired")
    paired["d1"]["tokens"]["operator"]["revokedAtMs"] = 5
    documents.write("paired", paired)
    assert not pairing.token_valid(CLAIM, token)
    assert pairing.issue(CLAIM, 9).token != token


def test_wider_scopes_get_a_new_token(pairing, documents):
    pairing.admit(replace(CLAIM, scopes=("operator.admin",)), 1)
    narrow = pairing.issue(CLAIM, 1)
    wide = pairing.issue(replace(CLAIM, scopes=("operator.admin",)), 2)
    assert wide.token != narrow.token
    assert wide.scopes == ("operator.admin",)


def test_pending_request_is_asked_once_expires_and_can_be_approved(pairing, documents):
    remote = replace(CLAIM, silent=False, address="203.0.113.9", display_name="laptop")
    first = pairing.admit(remote, 1000)
    assert isinstance(first, Required)
    assert pairing.admit(remote, 200_000) == first
    other = pairing.admit(replace(remote, scopes=()), 200_000)
    assert isinstance(other, Required)
    assert other.request_id != first.request_id
    assert documents.read("pending")[first.request_id]["remoteIp"] == "203.0.113.9"
    assert documents.read("pending")[first.request_id]["isRepair"] is False
    assert pairing.approve("no such request", 1000) is None
    assert pairing.approve(first.request_id, 301_001) is None, "it is older than five minutes"
    assert pairing.approve(other.request_id, 301_001) == "d1"
    assert pairing.approve(other.request_id, 301_001) is None
    assert pairing.admit(replace(remote, scopes=()), 301_001) == Known()
    upgrade = pairing.admit(remote, 301_001)
    assert isinstance(upgrade, Required)
    assert documents.read("pending")[upgrade.request_id]["isRepair"] is True


# --------------------------------------------------------------------------- files


def test_files_are_private_complete_and_leave_no_temporary(tmp_path):
    os.umask(os.umask(0o022))
    files = DeviceFiles(tmp_path)
    assert files.read("paired") == {}
    files.write("paired", {"d1": RECORD})
    files.write("paired", {"d1": RECORD, "d2": RECORD})
    assert [path.name for path in (tmp_path / "devices").iterdir()] == ["paired.json"]
    assert (tmp_path / "devices" / "paired.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "devices").stat().st_mode & 0o777 == 0o700
    assert files.read("paired").keys() == {"d1", "d2"}


def test_temporary_of_a_killed_process_is_no_obstacle(tmp_path):
    files = DeviceFiles(tmp_path)
    files.write("paired", {})
    (tmp_path / "devices" / f".paired.json-{os.getpid()}-00000000.tmp").write_text("{torn")
    files.write("paired", {"d1": RECORD})
    assert files.read("paired") == {"d1": RECORD}


@pytest.mark.parametrize("text", ["{torn", "[]", '{"d1": 5}', "\udcff", "[" * 100_000])
def test_malformed_file_is_named_and_not_overwritten(tmp_path, text):
    (tmp_path / "devices").mkdir()
    path = tmp_path / "devices" / "paired.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DevicesUnreadable) as caught:
        Pairing(DeviceFiles(tmp_path), ids=random.Random(1)).admit(CLAIM, 1)
    assert caught.value.path == str(path)
    assert path.read_bytes() == text.encode("utf-8", "surrogateescape")


def test_write_that_fails_keeps_the_old_file_and_says_so(tmp_path, monkeypatch):
    files = DeviceFiles(tmp_path)
    files.write("paired", {"d1": RECORD})

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DevicesUnreadable, match="No space left"):
        files.write("paired", {})
    assert json.loads((tmp_path / "devices" / "paired.json").read_text()) == {"d1": RECORD}
    assert len(list((tmp_path / "devices").iterdir())) == 1


def test_folder_that_is_a_file_is_an_error_with_its_name(tmp_path):
    (tmp_path / "devices").write_text("")
    with pytest.raises(DevicesUnreadable, match=r"devices/paired\.json"):
        DeviceFiles(tmp_path).read("paired")
    with pytest.raises(DevicesUnreadable, match=r"devices/paired\.json"):
        DeviceFiles(tmp_path).write("paired", {})
