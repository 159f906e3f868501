"""The cache of installed versions: each installed once, checked, and never changed afterwards.

Layout: ``<root>/openclaw/<version>/`` and ``<root>/node/<version>/``, each with npm's ``node_modules`` and our
``installed.json``. A folder gets its name when the installation is complete and its integrity is that of the
registry; until then it has a hidden name, which Ctrl-C and SIGTERM remove. npm holds the installer's lock too: after
a SIGKILL the next one waits for the npm that was left alone, and then removes what it left.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lockjaw.errors import HarnessError

from . import npm, plugins
from .versions import PACKAGE, Version

NEEDED_BYTES = 1_200_000_000  # a version and its Node, unpacked, with npm's own room beside them
NODE_MAJORS = (22, 24, 26)  # tried in this order
MANIFEST = "installed.json"

Say = Callable[[str], None]


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


def default_root() -> Path:
    """The user's cache folder for Lockjaw."""
    from platformdirs import user_cache_path

    return user_cache_path("lockjaw", appauthor=False)


class Cache:
    """Installed versions below ``root`` (default: the user's cache folder). ``say``: told what takes long."""

    def __init__(self, root: Path | None = None, say: Say | None = None) -> None:
        self.root = (root or default_root()).absolute()
        self._say: Say = say or (lambda text: print(text, file=sys.stderr))

    def get(self, version: Version) -> Installed:
        """The version, installed now if need be.

        Raises:
            HarnessError: no npm, no network, no space, no such version, or what came is not what the registry names.
        """
        folder = self.root / PACKAGE / str(version)
        manifest = self._manifest(folder)
        if manifest is None:
            with self._alone(f"{PACKAGE}-{version}") as lock:
                manifest = self._manifest(folder) or self._install(PACKAGE, str(version), PACKAGE, folder, lock)
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
            with self._alone(f"{PACKAGE}-{found.version}") as lock:
                if not store.exists():
                    self._install_plugins(found, store, lock)
        return replace(found, node=store / "bin" / "node", stage=store / "stage")

    def _install_plugins(self, found: Installed, store: Path, lock: int) -> None:
        what = f"the packages of the plugins of {PACKAGE} {found.version}"
        self._require_space(found.folder, what)
        self._say(f"installing {what} (once; up to a minute)")
        with _until_complete(store) as hidden:
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
            if accepts(wanted, folder.name) and self._manifest(folder):
                return _binary(folder, package)
        for major in NODE_MAJORS:
            version = npm.newest(package, major) if might_accept(wanted, major) else ""
            if version and accepts(wanted, version):
                folder = self.root / "node" / version
                with self._alone(f"node-{version}") as lock:
                    if self._manifest(folder) is None:
                        self._install(package, version, "Node.js", folder, lock)
                return _binary(folder, package)
        raise HarnessError(f"no published Node.js of {NODE_MAJORS} is what this version asks for ({wanted})")

    def _install(self, package: str, version: str, shown: str, folder: Path, lock: int) -> dict[str, Any]:
        self._say(f"asking the registry for {shown} {version}")
        facts = npm.facts_of(package, version)
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._require_space(folder.parent, f"{shown} {version}")
        self._say(f"installing {shown} {version} into {folder} (once; up to a minute or two)")
        with _until_complete(folder) as hidden:
            npm.install(package, version, hidden, lock)
            got = _integrity(hidden, package)
            if got != facts["integrity"]:
                raise HarnessError(
                    f"{package}@{version}: the registry names {facts['integrity']}, installed was {got}; nothing was "
                    "kept. Try again; if it stays so, ask who runs the registry or the proxy in between"
                )
            keep_json(hidden / MANIFEST, {"package": package, "version": version} | facts)
        self._say(f"installed {shown} {version}")
        return self._manifest(folder) or {}

    def _require_space(self, folder: Path, what: str) -> None:
        free = shutil.disk_usage(folder).free
        if free < NEEDED_BYTES:
            raise HarnessError(
                f"{folder}: {free / 1e9:.1f} GB free, {NEEDED_BYTES / 1e9:.1f} GB needed to install {what}; "
                f"free some space or point --cache at another disk"
            )

    def _manifest(self, folder: Path) -> dict[str, Any] | None:
        try:
            value = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    @contextmanager
    def _alone(self, name: str) -> Iterator[int]:
        """One installer at a time, over all processes; the others wait for its result. Yields the lock's descriptor."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.root / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HarnessError(f"the cache folder {self.root} cannot be used: {error}") from error
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._say(f"waiting for another installation of {name}")
                fcntl.flock(fd, fcntl.LOCK_EX)
            yield fd
        finally:
            os.close(fd)


@contextmanager
def _until_complete(folder: Path) -> Iterator[Path]:
    """A hidden folder that gets its name when nothing went wrong, and else is removed. The caller holds the lock, so
    whoever made an older one is gone."""
    for old in folder.parent.glob(f".{folder.name}.part-*"):  # a dot: 2026.5.3 and 2026.5.3-1 are two versions
        shutil.rmtree(old)
    hidden = folder.with_name(f".{folder.name}.part-{os.getpid()}")
    try:
        with _terminable():
            yield hidden
            hidden.rename(folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends us as Ctrl-C does: npm first, then what it made. Only the main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def keep_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees all of it or nothing, whoever else writes it at that moment."""
    fresh = path.with_name(f".{path.name}-{os.getpid()}-{threading.get_ident()}")
    fresh.write_text(json.dumps(value), encoding="utf-8")
    fresh.replace(path)


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
