"""The npm client, as far as we need it: which versions are published, what one of them asks for, install it.

A thin shell: npm knows the registry, the proxy and the credentials of this machine, and checks what it downloads.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lockjaw.errors import HarnessError

VIEW_LIMIT_REAL_S = 120.0
INSTALL_LIMIT_REAL_S = 1800.0
_HINTS = (
    ("ENOSPC", "the disk is full; free some space or point --cache at another disk"),
    ("ENOTFOUND", "the registry cannot be reached; a network connection is needed to install"),
    ("EAI_AGAIN", "the registry cannot be reached; a network connection is needed to install"),
    ("ECONNREFUSED", "the registry refuses connections; see `npm config get registry`"),
    ("ETIMEDOUT", "the registry does not answer; see `npm config get registry`"),
    ("E404", "there is no such version"),
    ("ETARGET", "there is no such version"),
    ("EINTEGRITY", "what was downloaded is not what the registry names; nothing was installed"),
    ("EACCES", "the cache folder cannot be written"),
    (r"node['’]?: (No such file|not found)", "npm needs Node.js, which is not in PATH; install Node.js 20 or newer"),
)


def npm_program() -> str:
    """Path of npm. Raises HarnessError where there is none."""
    found = shutil.which("npm")
    if found is None:
        raise HarnessError(
            "npm is not installed (or not in PATH), and this program comes as an npm package: install Node.js 20 "
            "or newer with npm, or use --target builtin"
        )
    return found


def published_versions(package: str) -> list[str]:
    """Every version in the registry, as npm lists them."""
    found = _view(package, "versions")
    return [str(version) for version in (found if isinstance(found, list) else [found])]


def facts_of(package: str, version: str) -> dict[str, Any]:
    """``{"integrity": "sha512-...", "node": ">=22.14.0"}`` of a published version, as the registry names them."""
    # With one field that exists npm prints its bare value; "version" always does.
    found = _view(f"{package}@{version}", "version", "dist.integrity", "engines.node")
    if not isinstance(found, dict) or not found.get("dist.integrity"):
        raise HarnessError(f"the registry names no integrity of {package}@{version}: {found!r}")
    return {"integrity": str(found["dist.integrity"]), "node": str(found.get("engines.node") or "*")}


def newest(package: str, major: int) -> str:
    """The newest published version of a package with this major number."""
    found = _view(f"{package}@{major}", "version")
    versions = found if isinstance(found, list) else [found]
    parsed = sorted(tuple(int(n) for n in str(v).split(".")) for v in versions if str(v).replace(".", "").isdigit())
    if not parsed:
        raise HarnessError(f"no version of {package}@{major} is published")
    return ".".join(str(n) for n in parsed[-1])


def install(package: str, version: str, folder: Path, lock: int) -> None:
    """Install one version below ``folder``, without running any of its scripts and without optional packages.

    ``lock``: a descriptor that npm keeps open, so that the lock on it lasts as long as anybody writes to the folder.

    Raises:
        HarnessError: npm failed; says why and what to do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    options = ["--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", "--save-exact", "--loglevel=error"]
    _npm(["install", *options, f"{package}@{version}"], INSTALL_LIMIT_REAL_S, folder, (lock,))


def install_exactly(packages: Sequence[str], folder: Path, lock: int) -> dict[str, str]:
    """Install packages (``name@1.2.3``, ``alias@npm:name@1.2.3``) below ``folder``, none of whose scripts run. Returns
    package -> integrity, as npm checked it. Raises HarnessError: npm failed, or left no record."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--save-exact", "--loglevel=error"]
    _npm(["install", *options, *packages], INSTALL_LIMIT_REAL_S, folder, (lock,))
    try:
        found = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))["packages"]
        return {place.removeprefix("node_modules/"): str(facts["integrity"]) for place, facts in found.items() if place}
    except (OSError, ValueError, KeyError) as error:
        raise HarnessError(f"npm left no record of what it installed in {folder}: {error}") from error


def install_manifest(folder: Path, lock: int) -> None:
    """Install what ``package.json`` in this folder names, in the same way; peers are not resolved."""
    options = ["--ignore-scripts", "--omit=optional", "--omit=dev", "--legacy-peer-deps", "--no-audit", "--no-fund"]
    _npm(["install", *options, "--loglevel=error"], INSTALL_LIMIT_REAL_S, folder, (lock,))


def _view(what: str, *fields: str) -> Any:
    # With a cache of its own: npm's would still answer where there is no network, and what follows needs one.
    with tempfile.TemporaryDirectory(prefix="lockjaw-npm-") as cache:
        options = ["--json", "--loglevel=error", "--fetch-retries=1", "--fetch-retry-mintimeout=2000"]
        text = _npm(["view", what, *fields, *options, f"--cache={cache}"], VIEW_LIMIT_REAL_S)
    if not text.strip():
        raise HarnessError(f"the registry knows no {what}: there is no such version")
    return json.loads(text)


def _npm(arguments: list[str], limit_real_s: float, cwd: Path | None = None, inherited: tuple[int, ...] = ()) -> str:
    program = npm_program()
    env = os.environ | {"npm_config_update_notifier": "false", "NO_COLOR": "1"}
    try:
        with subprocess.Popen(
            [program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=env,
            stdin=subprocess.DEVNULL, pass_fds=inherited,
        ) as process:  # fmt: skip
            try:
                out, err = process.communicate(timeout=limit_real_s)
            except BaseException:  # Ctrl-C among others: who removes npm's folder next must not meet npm in it
                process.kill()
                process.wait()
                raise
    except subprocess.TimeoutExpired as error:
        raise HarnessError(f"npm {arguments[0]} {arguments[-1]} did not end within {limit_real_s:.0f} s") from error
    except OSError as error:
        raise HarnessError(f"npm cannot be started: {error}") from error
    if process.returncode:
        raise HarnessError(failure_text(arguments, err or out))
    return out


def failure_text(arguments: list[str], output: str) -> str:
    """One sentence about why npm failed, then the beginning of what it said."""
    hint = next((text for sign, text in _HINTS if re.search(sign, output)), "npm failed")
    lines = [line for line in output.strip().splitlines() if "complete log of this run" not in line]
    said = "\n".join(lines[:5])  # npm begins with the cause and ends with advice
    return f"npm {arguments[0]} {arguments[-1] if arguments[0] == 'install' else arguments[1]}: {hint}\n{said}"
