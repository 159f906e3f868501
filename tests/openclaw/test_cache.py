"""The cache of installed versions, with an npm that is a script of ours."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from lockjaw.errors import HarnessError
from lockjaw.harness.openclaw import cache as cache_module
from lockjaw.harness.openclaw.cache import Cache
from lockjaw.harness.openclaw.npm import failure_text
from lockjaw.harness.openclaw.versions import Version

NPM = """#!/usr/bin/env python3
import json, os, pathlib, sys, time
log = pathlib.Path(os.environ["NPM_LOG"])
with log.open("a") as file:
    file.write(" ".join(sys.argv[1:3]) + "\\n")
what = sys.argv[2] if sys.argv[1] == "view" else sys.argv[-1]
if os.environ.get("NPM_FAILS"):
    sys.exit("npm error code " + os.environ["NPM_FAILS"])
if sys.argv[1] == "view":
    name, _, version = what.partition("@")
    if sys.argv[3] == "version" and len(sys.argv) == 6:
        print(json.dumps([version + ".9.0", version + ".10.1"]))
    else:
        print(json.dumps({"version": version, "dist.integrity": "sha512-" + name, "engines.node": ">=22.1.0"}))
else:
    name, _, version = what.partition("@")
    time.sleep(float(os.environ.get("NPM_TAKES", "0")))
    folder = pathlib.Path("node_modules", name)
    (folder / "bin").mkdir(parents=True)
    (folder / "openclaw.mjs").write_text("")
    (folder / "bin" / "node").write_text("#!/bin/sh\\necho v22\\n")
    (folder / "bin" / "node").chmod(0o755)
    got = os.environ.get("NPM_BRINGS") or "sha512-" + name
    pathlib.Path("package-lock.json").write_text(json.dumps({"packages": {"node_modules/" + name: {"integrity": got}}}))
"""


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> Cache:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "npm").write_text(NPM)
    (programs / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NPM_LOG", str(tmp_path / "npm.log"))
    return Cache(tmp_path / "cache", said.append)


def installations(tmp_path: Path) -> list[str]:
    return [line for line in (tmp_path / "npm.log").read_text().splitlines() if line.startswith("install")]


def left(cache: Cache) -> list[str]:
    return sorted(p.name for p in cache.root.rglob("*") if p.name.startswith("."))


def test_version_is_installed_once(cache: Cache, tmp_path: Path, said: list[str]) -> None:
    first = cache.get(Version("2026.4.8"))
    assert first.command == [str(first.node), str(first.package / "openclaw.mjs")]
    assert first.node.parts[-5] == "22.10.1"  # the newest, by number and not by text
    assert first.integrity == "sha512-openclaw"
    assert len(said) == 4
    assert cache.get(Version("2026.4.8")) == first
    assert len(installations(tmp_path)) == 2  # itself and its Node
    assert left(cache) == []


def test_what_is_not_what_the_registry_names_is_not_kept(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_BRINGS", "sha512-another")
    with pytest.raises(HarnessError, match="the registry names sha512-openclaw, installed was sha512-another"):
        cache.get(Version("2026.4.8"))
    assert not (cache.root / "openclaw" / "2026.4.8").exists()
    assert left(cache) == []


def test_two_that_want_a_version_at_once_install_it_once(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPM_TAKES", "0.3")
    threads = [threading.Thread(target=lambda: cache.get(Version("2026.4.8"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(installations(tmp_path)) == 2


def test_leftover_of_a_killed_installation_is_removed(cache: Cache) -> None:
    old = cache.root / "openclaw" / ".2026.4.8-99999"
    old.mkdir(parents=True)
    (old / "half").touch()
    cache.get(Version("2026.4.8"))
    assert left(cache) == []


def test_machine_without_npm_is_told_so(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HarnessError, match="npm is not installed"):
        cache.get(Version("2026.4.8"))


@pytest.mark.parametrize(
    ("code", "hint"),
    [("ENOSPC", "the disk is full"), ("ENOTFOUND", "cannot be reached"), ("ETARGET", "there is no such version"),
     ("EINTEGRITY", "nothing was installed"), ("EWHATEVER", "npm failed")],
)  # fmt: skip
def test_failures_of_npm_say_what_to_do(cache: Cache, monkeypatch: pytest.MonkeyPatch, code: str, hint: str) -> None:
    monkeypatch.setenv("NPM_FAILS", code)
    with pytest.raises(HarnessError, match=hint) as caught:
        cache.get(Version("2026.4.8"))
    assert code in str(caught.value)


def test_full_disk_is_noticed_before_the_download(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "NEEDED_BYTES", 10**18)
    with pytest.raises(HarnessError, match=r"GB free, .* GB needed .*--cache"):
        cache.get(Version("2026.4.8"))
    assert installations(tmp_path) == []


def test_cache_that_cannot_be_written_is_named(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="cannot be used"):
        Cache(tmp_path / "file", said.append).get(Version("2026.4.8"))


def test_failure_text_names_what_was_installed() -> None:
    assert failure_text(["install", "--flag", "openclaw@1"], "x").startswith("npm install openclaw@1: npm failed")
    assert failure_text(["view", "openclaw@1", "--json"], "E404").startswith("npm view openclaw@1: there is no such")


def test_manifest_of_an_installation_is_readable(cache: Cache) -> None:
    folder = cache.get(Version("2026.4.8")).folder
    assert json.loads((folder / "installed.json").read_text())["version"] == "2026.4.8"
