"""The cache of installed versions: each installed once, checked, and never changed afterwards.

Layout: ``<root>/openclaw/<version>/`` and ``<root>/node/<version>/``, each with npm's ``node_modules`` and our
``installed.json``. A folder gets its name when the installation is complete and its integrity is that of the
registry; until then it has a hidden name, which Ctrl-C and SIGTERM remove. npm holds the installer's lock too: after
a SIGKILL the next one waits for the npm that was left alone, and then removes what it left.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lockjaw.errors import HarnessError

from .. import npm
from ..growing import growing
from ..store import MANIFEST, Say, Store, keep_json, until_complete
from . import plugins
from .versions import PACKAGE, Version

NEEDED_BYTES = 1_200_000_000  # a version and its Node, unpacked, with npm's own room beside them
NODE_MAJORS = (22, 24, 26)  # tried in this order


@dataclass(frozen=True)
class Installed:
    """A version that can be run. ``integrity``: as the registry names it and npm checked it.

    ``stage``: where a version that installs packages for its plugins keeps them; None for the others.
    """

    version: Version
    folder: Path
    node: Path
    integrity: str
    stage: Path | None = None

    @property
    def command(self) -> list[str]:
        """``openclaw`` itself."""
        return [str(self.node), str(self.package / "openclaw.mjs")]

    @property
    def package(self) -> Path:
        return self.folder / "node_modules" / PACKAGE


class Cache:
    """Installed versions below ``root`` (default: the user's cache folder). ``say``: told what takes long."""

    def __init__(self, root: Path | None = None, say: Say | None = None) -> None:
        self._store = Store(root, say)
        self.root, self._say = self._store.root, self._store.say

    def has(self, version: Version) -> bool:
        """Is it installed already, so that ``get`` needs no network?"""
        return self._store.manifest(self.root / PACKAGE / str(version)) is not None

    def get(self, version: Version) -> Installed:
        """The version, installed now if need be.

        Raises:
            HarnessError: no npm, no network, no space, no such version, or what came is not what the registry names.
        """
        folder = self.root / PACKAGE / str(version)
        manifest = self._store.manifest(folder)
        if manifest is None:
            with self._store.alone(f"{PACKAGE}-{version}") as lock:
                manifest = self._store.manifest(folder) or self._install(PACKAGE, str(version), PACKAGE, folder, lock)
        node = self._node(str(manifest["node"]))
        found = Installed(version, folder, node, str(manifest["integrity"]))
        if not (found.package / "openclaw.mjs").is_file():
            raise HarnessError(f"{found.package} has no openclaw.mjs: remove {folder} and try again")
        return self._with_plugins(found)

    def _with_plugins(self, found: Installed) -> Installed:
        """Versions that call npm while they run get what they will ask for now, while there is a network."""
        known = found.folder / "stages-packages.json"
        if not known.exists():
            keep_json(known, plugins.stages_packages(found.package))
        if not json.loads(known.read_text(encoding="utf-8")):
            return found
        store = found.folder / plugins.FOLDER
        if not store.exists():
            with self._store.alone(f"{PACKAGE}-{found.version}") as lock:
                if not store.exists():
                    self._install_plugins(found, store, lock)
        return replace(found, node=store / "bin" / "node", stage=store / "stage")

    def _install_plugins(self, found: Installed, store: Path, lock: int) -> None:
        what = f"the packages of the plugins of {PACKAGE} {found.version}"
        self._store.require_space(found.folder, what, NEEDED_BYTES)
        self._say(f"installing {what} (once; up to a minute)")
        with until_complete(store) as hidden, growing(hidden, what, self._say):
            plugins.install(found.package, found.node, hidden, lock)
        self._say(f"installed {what}")

    def _node(self, wanted: str) -> Path:
        """A Node.js that the version accepts. The npm package ``node`` only chooses one of these by a script that
        we do not run; so we take the binary's own package."""
        machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(
            platform.machine().lower()
        )
        if platform.system() != "Linux" or machine is None:
            raise HarnessError(
                f"the real program is run on Linux (x64, arm64); this is {platform.system()} {platform.machine()}"
            )
        package = f"node-linux-{machine}"
        for folder in sorted((self.root / "node").glob("[0-9]*"), key=lambda p: _numbers(p.name)):
            if accepts(wanted, folder.name) and self._store.manifest(folder):
                return _binary(folder, package)
        for major in NODE_MAJORS:
            version = npm.newest(package, major) if might_accept(wanted, major) else ""
            if version and accepts(wanted, version):
                folder = self.root / "node" / version
                with self._store.alone(f"node-{version}") as lock:
                    if self._store.manifest(folder) is None:
                        self._install(package, version, "Node.js", folder, lock)
                return _binary(folder, package)
        raise HarnessError(f"no published Node.js of {NODE_MAJORS} is what this version asks for ({wanted})")

    def _install(self, package: str, version: str, shown: str, folder: Path, lock: int) -> dict[str, Any]:
        self._say(f"asking the registry for {shown} {version}")
        facts = npm.facts_of(package, version)
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._store.require_space(folder.parent, f"{shown} {version}", NEEDED_BYTES)
        self._say(f"installing {shown} {version} into {folder} (once; up to a minute or two)")
        with until_complete(folder) as hidden, growing(hidden, f"{shown} {version}", self._say):
            npm.install(package, version, hidden, lock)
            got = _integrity(hidden, package)
            if got != facts["integrity"]:
                raise HarnessError(
                    f"{package}@{version}: the registry names {facts['integrity']}, installed was {got}; nothing was "
                    "kept. Try again; if it stays so, ask who runs the registry or the proxy in between"
                )
            keep_json(hidden / MANIFEST, {"package": package, "version": version} | facts)
        self._say(f"installed {shown} {version}")
        return self._store.manifest(folder) or {}


def _integrity(folder: Path, package: str) -> str:
    """What npm wrote down about what it unpacked, after it had checked it."""
    try:
        lock = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))
        return str(lock["packages"][f"node_modules/{package}"]["integrity"])
    except (OSError, ValueError, KeyError) as error:
        raise HarnessError(f"npm left no record of what it installed in {folder}: {error}") from error


def _binary(folder: Path, package: str) -> Path:
    path = folder / "node_modules" / package / "bin" / "node"
    try:
        done = subprocess.run([str(path), "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HarnessError(f"the Node.js in the cache does not run: {error}") from error
    if done.returncode:
        raise HarnessError(f"the Node.js in the cache does not run: {path}: {done.stderr.strip()}")
    return path


# --------------------------------------------------------------------------- version ranges


def accepts(wanted: str, version: str) -> bool:
    """Does a range as packages write it (``>=22.14.0``, ``>=22 <23 || >=24.1.0``) hold this version? Pure."""
    have = _numbers(version)
    return any(all(_holds(part, have) for part in clause.split()) for clause in wanted.split("||"))


def might_accept(wanted: str, major: int) -> bool:
    """False when no version with this major number can be meant: saves a question to the registry."""
    return accepts(wanted, f"{major}.999.999")


def _holds(part: str, have: tuple[int, ...]) -> bool:
    found = re.fullmatch(r"(>=|<=|<|>|=|\^)?v?(\d+(?:\.\d+)*)|\*", part)
    if found is None:
        return False
    if part == "*":
        return True
    limit = _numbers(found[2])
    match found[1]:
        case ">=":
            return have >= limit
        case ">":
            return have > limit
        case "<":
            return have < limit
        case "<=":
            return have <= limit
        case "^":
            return have >= limit and have[0] == limit[0]
        case _:
            return have[: len(found[2].split("."))] == limit[: len(found[2].split("."))]


def _numbers(text: str) -> tuple[int, ...]:
    numbers = [int(n) for n in re.findall(r"\d+", text)[:3]]
    return tuple(numbers + [0] * (3 - len(numbers)))
