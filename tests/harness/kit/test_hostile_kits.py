"""Kits that somebody prepared: each is refused with one clear sentence, and nothing is written anywhere."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lockjaw.harness.kit.archive import LIMITS, MIB, BadKit
from lockjaw.harness.kit.making import make_kit
from lockjaw.harness.kit.reading import read_kit
from lockjaw.harness.run import run_scenario
from lockjaw.reports import html

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("good")
    run = run_scenario("gateway_timeout", policy="reuse-session", engine="sim", out=folder / "runs")
    return make_kit(run.run_dir, folder / "KIT.zip", render=html.render_run).path.read_bytes()


def unpacked(kit: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(kit)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files: Files, extra: Callable[[zipfile.ZipFile], None] = lambda archive: None) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of a name that comes twice
        for name, data in files.items():
            archive.writestr(name, data)
        extra(archive)
    return raw.getvalue()


def signed(files: Files) -> Files:
    manifest = json.loads(files["kit.json"])
    manifest["files"] = {
        name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name not in ("kit.json", "README.md")
    }
    return files | {"kit.json": json.dumps(manifest).encode()}


def changed(files: Files, name: str, /, **changes: Any) -> Files:
    plain = json.loads(files[name]) | changes
    return signed(files | {name: json.dumps(plain).encode()})


def refused(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "KIT.zip"
    path.write_bytes(data)
    with pytest.raises(BadKit, match=says) as caught:
        read_kit(path)
    assert str(caught.value).startswith(str(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["KIT.zip"]


def test_a_good_kit_opens(good: bytes, tmp_path: Path) -> None:
    (tmp_path / "KIT.zip").write_bytes(packed(signed(unpacked(good))))
    assert read_kit(tmp_path / "KIT.zip").manifest.scenario == "gateway_timeout"


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/passwd", "C:\\evil", "..\\evil", "a/../../evil", "kit.json/../../evil", "KIT.JSON", "extra.txt",
     "./kit.json", "logs/", "tape.jsonl\0.txt"],
)  # fmt: skip
def test_only_the_names_of_a_kit_are_taken(name: str, good: bytes, tmp_path: Path) -> None:
    files = unpacked(good)
    del files["README.md"]

    def add(archive: zipfile.ZipFile) -> None:
        entry = zipfile.ZipInfo("x")
        entry.filename = name  # behind zipfile's back, which would mend it
        archive.writestr(entry, b"evil")

    refused(tmp_path, packed(files, add), "an entry that no kit has|not a plain file|damaged or incomplete")


def test_a_link_is_refused(good: bytes, tmp_path: Path) -> None:
    files = unpacked(good)
    del files["README.md"]

    def add(archive: zipfile.ZipFile) -> None:
        entry = zipfile.ZipInfo("README.md")
        entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, b"/etc/passwd")

    refused(tmp_path, packed(files, add), "is a link")


def test_a_name_twice_is_refused(good: bytes, tmp_path: Path) -> None:
    files = unpacked(good)
    del files["README.md"]

    refused(tmp_path, packed(files, lambda archive: archive.writestr("kit.json", b"{}")), "appears twice")


def test_a_thousand_entries_are_refused_before_one_is_read(good: bytes, tmp_path: Path) -> None:
    refused(tmp_path, packed({f"kit{n}.json": b"" for n in range(1000)}), "1000 entries")


def test_what_unpacks_to_too_much_is_refused_by_its_header(good: bytes, tmp_path: Path) -> None:
    files = unpacked(good) | {"README.md": b" " * (LIMITS["README.md"] + 1)}

    refused(tmp_path, packed(files), r"README.md in it unpacks to at most 1 MB, not \d+ bytes")


def test_a_bomb_is_refused_before_anything_is_unpacked(good: bytes, tmp_path: Path) -> None:
    """63 MB in 63 KB: its sum would fail too, but only after a second of unpacking."""
    files = unpacked(good) | {"history.jsonl": b"\n" * (63 * MIB)}

    refused(tmp_path, packed(files), r"history.jsonl in the archive unpacks to more than 250 times its size")


def test_lines_are_counted_before_they_are_parted(good: bytes, tmp_path: Path) -> None:
    """Small enough to be unpacked; parted, each empty line would cost 40 bytes."""
    files = unpacked(good) | {"history.jsonl": b"\n" * (2 * MIB)}

    refused(tmp_path, packed(signed(files)), "history.jsonl in it has at most 500000 lines")


def test_a_header_that_lies_about_the_size_is_refused(good: bytes, tmp_path: Path) -> None:
    """The bomb: 60 MB behind a header that promises 10 bytes."""
    files = unpacked(good) | {"README.md": b" " * (60 * MIB)}
    data = bytearray(packed(files))
    for signature, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = data.find(signature)
        while at >= 0:
            name = at + (46 if signature == b"PK\x01\x02" else 30)
            if data[name : name + 9] == b"README.md":
                struct.pack_into("<I", data, at + offset, 10)
            at = data.find(signature, at + 4)

    refused(tmp_path, bytes(data), "damaged or incomplete|unpacks to at most")


def test_entries_that_share_bytes_are_refused(good: bytes, tmp_path: Path) -> None:
    """A quine-like bomb: many names in the directory for one piece of data."""
    data = bytearray(packed(unpacked(good)))
    offsets = []
    at = data.find(b"PK\x01\x02")
    while at >= 0:
        offsets.append(at)
        at = data.find(b"PK\x01\x02", at + 4)
    struct.pack_into("<I", data, offsets[1] + 42, struct.unpack_from("<I", data, offsets[0] + 42)[0])

    refused(tmp_path, bytes(data), "shares bytes")


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"not a zip", b"PK\x05\x06" + b"\0" * 18], ids=["empty", "short", "text", "bare"]
)
def test_what_is_no_zip_is_refused(data: bytes, tmp_path: Path) -> None:
    refused(tmp_path, data, "damaged or incomplete|has no kit.json")


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.9, 0.99])
def test_a_cut_kit_is_refused(cut: float, good: bytes, tmp_path: Path) -> None:
    refused(tmp_path, good[: int(len(good) * cut)], "damaged or incomplete")


def test_a_damaged_kit_is_refused_wherever_the_damage_is(good: bytes, tmp_path: Path) -> None:
    for at in range(0, len(good), 997):
        data = bytearray(good)
        data[at] ^= 0xFF
        (tmp_path / "KIT.zip").write_bytes(data)
        try:
            kit = read_kit(tmp_path / "KIT.zip")
        except BadKit:
            continue
        assert kit.manifest.scenario == "gateway_timeout"  # a byte that means nothing, such as a date


def test_a_file_that_does_not_fit_its_sum_is_refused(good: bytes, tmp_path: Path) -> None:
    files = unpacked(good)
    refused(tmp_path, packed(files | {"tape.jsonl": files["tape.jsonl"] + b"\n"}), "tape.jsonl in it is not what")


@pytest.mark.parametrize("name", ["../../evil", "/evil", "..", ".hidden", "a/b", "", "x" * 300])
def test_a_scenario_cannot_name_a_folder_of_ours(name: str, good: bytes, tmp_path: Path) -> None:
    files = changed(changed(unpacked(good), "scenario.json", name=name), "kit.json", scenario=name)
    refused(tmp_path, packed(files), "kit.json in it is wrong")
    other = changed(unpacked(good), "scenario.json", name="../../evil")
    refused(tmp_path, packed(other), "scenario.json in it is wrong")
    other = changed(unpacked(good), "scenario.json", name="evil")
    refused(tmp_path, packed(other), "name one scenario")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"budget_s": 1e300}, "budget_s in its scenario.json is at most"),
        ({"settle_s": 10**30}, "settle_s in its scenario.json is at most"),
        ({"story": 5}, "scenario.json in it is wrong"),
        ({"unknown": 1}, "scenario.json in it is wrong"),
        ({"checks": ["no_such_law"]}, "scenario.json in it is wrong"),
        ({"reports": ["x"] * 300_000}, "at most 200000 values"),
        ({"actors": {"a": {"kind": "scripted", "copies": 10**6, "script": [{"do": "leak"}]}}}, "copies in its"),
        ({"initial": {"turns": 10**6}}, "turns in its"),
    ],
)  # fmt: skip
def test_giant_and_wrong_numbers_are_refused(changes: dict[str, Any], says: str, good: bytes, tmp_path: Path) -> None:
    refused(tmp_path, packed(changed(unpacked(good), "scenario.json", **changes)), says)


def test_deep_json_is_refused(good: bytes, tmp_path: Path) -> None:
    files = unpacked(good)
    deep = b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    refused(tmp_path, packed(signed(files | {"scenario.json": deep})), "its scenario.json is not JSON")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": "lockjaw-kit-99"}, "this one has format 'lockjaw-kit-99'"),
        ({"policy": "../x"}, "kit.json in it is wrong"),
        ({"policy": "another"}, "its policy is one of"),
        ({"client_policy": "another"}, "its policy is one of"),
        ({"engine": "shell"}, "kit.json in it is wrong"),
        ({"seed": -1}, "kit.json in it is wrong"),
        ({"seed": 2**70}, "kit.json in it is wrong|no JSON"),
        ({"time_scale": 0}, "kit.json in it is wrong"),
        ({"verdict": "HELD"}, "have one verdict"),
        ({"event_hash": "x"}, "kit.json in it is wrong"),
    ],
)
def test_a_manifest_that_is_none_is_refused(changes: dict[str, Any], says: str, good: bytes, tmp_path: Path) -> None:
    refused(tmp_path, packed(changed(unpacked(good), "kit.json", **changes)), says)


@pytest.mark.parametrize("line", [b'["x",8,9]', b'["x",8,-1]', b'["x",99999999,5]', b"[1,2]", b"\xff", b"{}"])
def test_a_tape_of_impossible_choices_is_refused(line: bytes, good: bytes, tmp_path: Path) -> None:
    refused(tmp_path, packed(signed(unpacked(good) | {"tape.jsonl": line})), "tape.jsonl")


@pytest.mark.parametrize("name", ["kit.json", "scenario.json", "history.jsonl", "verdicts.json", "tape.jsonl"])
def test_a_kit_without_a_part_is_refused(name: str, good: bytes, tmp_path: Path) -> None:
    files = unpacked(good)
    del files[name]
    refused(tmp_path, packed(files if name == "kit.json" else signed(files)), f"has no {name}")
