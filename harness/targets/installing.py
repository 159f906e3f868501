"""Installs a runtime into the store: exact versions, none of the packages' own scripts, all of it or nothing.

npm runs with ``--ignore-scripts`` and keeps what the registry names as integrity; pip installs into an environment of
its own, wheels only (building from source would run a stranger's code; what its file
names as ``source`` is built all the same, and the question says so), and the list of what it chose is kept.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockjaw.errors import HarnessError

from . import npm
from .growing import growing
from .spec import Install, TargetSpec
from .store import MANIFEST, Store, keep_json, until_complete

__all__ = ["Installation", "find_installed", "install", "missing_needs"]

PIP_LIMIT_REAL_S = 1800.0
ROOM_BYTES = 500_000_000  # beside what the file says: the installer's own

Ask = Callable[[str], bool]


@dataclass(frozen=True)
class Installation:
    """``folder`` None: the file names no packages, so its programs are the user's own. ``integrity``: package -> what
    was installed, as the registry (npm) or the resolver (pip) names it."""

    folder: Path | None
    integrity: dict[str, str]


def find_installed(spec: TargetSpec, version: str, store: Store) -> Installation | None:
    """What is there already; None: it is to be installed."""
    wanted = _packages(spec.install, version)
    if not wanted:
        return Installation(None, {})
    manifest = store.manifest(_folder(spec, version, store))
    if manifest is None or manifest.get("packages") != wanted:
        return None
    return Installation(_folder(spec, version, store), dict(manifest["integrity"]))


def install(spec: TargetSpec, version: str, store: Store, ask: Ask) -> Installation:
    """The version, installed now if need be.

    Args:
        ask: is shown name, packages, licence and size, and says whether to go on.

    Raises:
        HarnessError: no npm, no fitting Python, no network, no room, no such version; or the user said no.
    """
    found = find_installed(spec, version, store)
    if found is not None:
        return found
    packages = _packages(spec.install, version)
    size = f"{spec.install.size_mb} MB" if spec.install.size_mb else "size not known"
    built = f"; builds {', '.join(spec.install.source)} from source" if spec.install.source else ""
    if not ask(f"install {' '.join(packages)} ({spec.licence}; {size}{built}) into {store.root}?"):
        raise HarnessError(f"{spec.name} {version} is not installed; nothing was done (--yes installs without asking)")
    with store.alone(f"{spec.name}-{version}") as lock:
        found = find_installed(spec, version, store)
        if found is None:
            found = _install(spec, version, packages, store, lock)
    return found


def missing_needs(spec: TargetSpec) -> list[str]:
    """Programs that the file asks for and that are not on PATH."""
    return [name for name in spec.install.needs if shutil.which(name) is None]


def _folder(spec: TargetSpec, version: str, store: Store) -> Path:
    return store.root / spec.name / version


def _packages(install: Install, version: str) -> list[str]:
    return [name.replace("{version}", version) for name in (*install.npm, *install.pip)]


def _install(spec: TargetSpec, version: str, packages: list[str], store: Store, lock: int) -> Installation:
    folder = _folder(spec, version, store)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():  # the file names other packages than when it was made
        shutil.rmtree(folder)
    store.require_space(folder.parent, f"{spec.name} {version}", spec.install.size_mb * 1_000_000 + ROOM_BYTES)
    store.say(f"installing {spec.name} {version}: {' '.join(packages)} (once)")
    if spec.install.npm:
        with until_complete(folder) as hidden, growing(hidden, f"{spec.name} {version}", store.say):
            integrity = npm.install_exactly(packages, hidden, lock)
            keep_json(hidden / MANIFEST, {"packages": packages, "integrity": integrity})
    else:
        # Programs of an environment name their interpreter by its path, so pip installs where they are to stay; the
        # manifest, written last, is what makes it an installation.
        try:
            with growing(folder, f"{spec.name} {version}", store.say):
                integrity = _pip(packages, spec.install, folder, lock)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        keep_json(folder / MANIFEST, {"packages": packages, "integrity": integrity})
    store.say(f"installed {spec.name} {version}")
    return Installation(folder, integrity)


def _pip(packages: list[str], wanted: Install, folder: Path, lock: int) -> dict[str, str]:
    interpreter = python_of(wanted.python)
    if interpreter == sys.executable:
        venv.create(folder, with_pip=True)
    else:
        _run([interpreter, "-m", "venv", str(folder)], lock)
    inside = str(folder / "bin" / "python")
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--only-binary", ":all:"]
    built = ["--no-binary", ",".join(wanted.source)] if wanted.source else []
    _run([inside, "-m", "pip", "install", *options, *built, *packages], lock)
    listed: list[dict[str, Any]] = json.loads(_run([inside, "-m", "pip", "list", "--format", "json"], lock))
    return {str(one["name"]): str(one["version"]) for one in listed}


def python_of(wanted: str | None) -> str:
    """An interpreter of that minor version: ours, or one on PATH. Raises HarnessError naming what is missing."""
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    if wanted in (None, ours):
        return sys.executable
    found = shutil.which(f"python{wanted}")
    if found is None:
        raise HarnessError(f"this program needs Python {wanted}, and PATH has no python{wanted}; install it")
    asked = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60, check=False)
    if asked.returncode:  # a shim of a version manager that has the version and does not show it
        raise HarnessError(
            f"this program needs Python {wanted}, and {found} does not run: {asked.stderr.strip()[:200]}"
        )
    return found


def _run(command: list[str], lock: int) -> str:
    """The installer keeps the lock's descriptor open: it lasts as long as anybody writes to the folder."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PIP_LIMIT_REAL_S, check=False, stdin=subprocess.DEVNULL,
            pass_fds=(lock,),
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise HarnessError(f"{command[2:4]} did not end within {PIP_LIMIT_REAL_S:.0f} s") from error
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).strip().splitlines() if not re.match("WARNING", line)]
        raise HarnessError("pip failed; is the package index reachable? " + "\n".join(lines[-5:]))
    return done.stdout
