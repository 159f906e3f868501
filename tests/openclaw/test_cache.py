"""The cache of installed versions, with an npm that is a script of ours."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from lockjaw.errors import HarnessError
from lockjaw.harness.targets.npm import failure_text
from lockjaw.harness.targets.openclaw import cache as cache_module
from lockjaw.harness.targets.openclaw import plugins
from lockjaw.harness.targets.openclaw.cache import Cache
from lockjaw.harness.targets.openclaw.versions import Version

NPM = """#!/usr/bin/env python3
import json, os, pathlib, sys, time
log = pathlib.Path(os.environ["NPM_LOG"])
with log.open("a") as file:
    file.write(" ".join(sys.argv[1:3]) + "\\n")
what = sys.argv[2] if sys.argv[1] == "view" else sys.argv[-1]
pathlib.Path(log.parent, "npm.pid").write_text(str(os.getpid()))
if os.environ.get("NPM_FAILS"):
    sys.exit("npm error code " + os.environ["NPM_FAILS"])
if sys.argv[1] == "view":
    name, _, version = what.partition("@")
    if "dist.integrity" not in sys.argv:
        print(json.dumps([version + ".9.0", version + ".10.1"]))
    else:
        print(json.dumps({"version": version, "dist.integrity": "sha512-" + name, "engines.node": ">=22.1.0"}))
elif what.startswith("-"):  # what package.json names
    for name, version in json.loads(pathlib.Path("package.json").read_text())["dependencies"].items():
        pathlib.Path("node_modules", name).mkdir(parents=True)
else:
    name, _, version = what.partition("@")
    time.sleep(float(os.environ.get("NPM_TAKES", "0")))
    folder = pathlib.Path("node_modules", name)
    (folder / "bin").mkdir(parents=True)
    (folder / "openclaw.mjs").write_text("")
    if os.environ.get("NPM_STAGES"):
        dist = folder / "dist"
        plugins = {"memory-core": {"enabledByDefault": True}, "codex": {"providers": ["codex"]}, "slack": {}}
        for plugin, manifest in plugins.items():
            made = dist / "extensions" / plugin
            made.mkdir(parents=True)
            (made / "openclaw.plugin.json").write_text(json.dumps(manifest))
            (made / "package.json").write_text(json.dumps({"dependencies": {"for-" + plugin: "1.2.3"}}))
        (dist / "loader.js").write_text("throw new Error('npm install did not produce node_modules')")
        (folder / "package.json").write_text(json.dumps({"dependencies": {"ws": "8.0.0", "left-out": "1.0.0"},
            "openclaw": {"bundle": {"mirroredRootRuntimeDependencies": ["ws"]}}}))
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
    assert len(said) == 6
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


def test_two_threads_may_keep_the_same_file_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both, failed = threading.Barrier(2, timeout=30), []
    replace = Path.replace

    def together(fresh: Path, path: Path) -> Path:
        both.wait()
        return replace(fresh, path)

    def keep() -> None:
        try:
            cache_module.keep_json(tmp_path / "known.json", ["x"])
        except OSError as error:
            failed.append(error)

    monkeypatch.setattr(Path, "replace", together)
    threads = [threading.Thread(target=keep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert json.loads((tmp_path / "known.json").read_text()) == ["x"]
    assert [p.name for p in tmp_path.iterdir()] == ["known.json"]


def test_leftover_of_a_killed_installation_is_removed(cache: Cache) -> None:
    old = cache.root / "openclaw" / ".2026.4.8.part-99999"
    old.mkdir(parents=True)
    (old / "half").touch()
    cache.get(Version("2026.4.8"))
    assert left(cache) == []


def test_machine_without_npm_is_told_so(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HarnessError, match="npm is not installed"):
        cache.get(Version("2026.4.8"))


def install_elsewhere(cache: Cache, takes_s: float) -> subprocess.Popen[str]:
    """Another process that installs, as a person would start it; its npm has begun when this returns."""
    command = [sys.executable, "-m", "lockjaw", "openclaw", "install", "2026.4.8", "--cache", str(cache.root)]
    env = os.environ | {"NPM_TAKES": str(takes_s)}
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (left(cache) and "install" in Path(os.environ["NPM_LOG"]).read_text()):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_installation_leaves_a_clean_cache(cache: Cache, tmp_path: Path, number: signal.Signals) -> None:
    process = install_elsewhere(cache, 60)
    npm = int((tmp_path / "npm.pid").read_text())
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    assert not psutil.pid_exists(npm)
    assert left(cache) == []
    assert cache.get(Version("2026.4.8")).package.is_dir()


def test_npm_that_was_left_alone_is_waited_for(cache: Cache, said: list[str]) -> None:
    process = install_elsewhere(cache, 1.5)
    process.kill()
    process.wait()
    assert process.stderr is not None
    process.stderr.close()
    assert cache.get(Version("2026.4.8")).package.is_dir()
    assert said[0] == "waiting for another installation of openclaw-2026.4.8"
    assert left(cache) == []


def test_installation_of_a_later_build_of_the_day_is_left_alone(cache: Cache) -> None:
    other = cache.root / "openclaw" / ".2026.4.8-1.part-99999"
    other.mkdir(parents=True)
    cache.get(Version("2026.4.8"))
    assert other.is_dir()


# --------------------------------------------------------------------------- packages of plugins


def test_packages_that_a_version_would_install_are_installed_beforehand(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPM_STAGES", "1")
    found = cache.get(Version("2026.4.8"))
    store = found.folder / "plugin-packages"
    assert found.stage == store / "stage"
    assert found.node == store / "bin" / "node"  # beside which the program looks for npm
    wanted = json.loads((store / "package.json").read_text())["dependencies"]
    assert wanted == {
        "for-memory-core": "1.2.3",
        "for-codex": "1.2.3",
        "ws": "8.0.0",
    }  # what nobody switched on is not fetched
    assert {p.name for p in (store / "node_modules").iterdir()} == set(wanted)
    assert all(os.access(store / "bin" / name, os.X_OK) for name in ("npm", "pnpm", "node"))
    assert cache.get(Version("2026.4.8")) == found
    assert len(installations(tmp_path)) == 3
    assert left(cache) == []


def test_version_that_installs_nothing_has_no_store(cache: Cache) -> None:
    found = cache.get(Version("2026.4.8"))
    assert found.stage is None
    assert not (found.folder / "plugin-packages").exists()


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js to run the stand-in with")
def test_stand_in_for_npm_links_what_fits_and_makes_shells_of_the_rest(tmp_path: Path) -> None:
    store, own, asking = tmp_path / "store", tmp_path / "node_modules", tmp_path / "asking"
    semver = "exports.satisfies = (v, range) => range.replace(/[~^]/, '')[0] === v[0]"
    there = ((store / "node_modules", "ws", "8.0.0"), (store / "node_modules", "@scope/part", "1.9.0"),
             (store / "node_modules", "deep", "3.0.0"), (own, "semver", "7.0.0"), (own, "deep", "4.2.0"))  # fmt: skip
    for folder, name, version in there:
        (folder / name).mkdir(parents=True)
        (folder / name / "package.json").write_text(json.dumps({"name": name, "version": version}))
        (folder / name / "index.js").write_text(semver if name == "semver" else "")
    (store / "bin").mkdir()
    stand_in = shutil.copy(Path(plugins.__file__).with_name("npm_stand_in.mjs"), store / "bin")
    asking.mkdir()
    manifest = {"dependencies": {"ws": "8.0.0", "@scope/part": "^1.0.0", "chat": "~2.1.0", "deep": "^4.0.0"}}
    (asking / "package.json").write_text(json.dumps(manifest))
    for _ in range(2):  # asked again it does the same
        subprocess.run(["node", str(stand_in), "install", "--ignore-scripts", "ws@8.0.0"], cwd=asking, check=True)
        versions = {
            name: json.loads((asking / "node_modules" / name / "package.json").read_text())["version"]
            for name in manifest["dependencies"]
        }
        # deep: the store's version does not fit, the program's own does
        assert versions == {"ws": "8.0.0", "@scope/part": "1.9.0", "chat": "2.1.0", "deep": "4.2.0"}
    assert (asking / "node_modules" / "ws").resolve() == (store / "node_modules" / "ws").resolve()
    loaded = subprocess.run(["node", "-e", "require('chat')"], cwd=asking, capture_output=True, text=True, check=False)
    assert "chat was not installed: only its name stands here" in loaded.stderr
    assert set((store / "shells.txt").read_text().split()) == {"chat@~2.1.0"}


@pytest.mark.parametrize(
    ("code", "hint"),
    [("ENOSPC", "the disk is full"), ("ENOTFOUND", "cannot be reached"), ("ETARGET", "there is no such version"),
     ("EINTEGRITY", "nothing was installed"), ("EWHATEVER", "npm failed"),
     ("env: 'node': No such file or directory", "npm needs Node.js"),
     ("env: ‘node’: No such file or directory", "npm needs Node.js")],
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
