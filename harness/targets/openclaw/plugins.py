"""Packages that some versions install for their plugins while they run, brought beforehand so that they run offline.

2026.4.20 to 2026.4.29 call npm when their gateway starts, and again in the middle of a turn. A namespace with nothing
but loopback has no registry, so those turns fail in their set-up. Here the packages are installed once, outside, as
the plugins' manifests name them, into a store beside the version; inside, the program finds a stand-in for npm next to
its Node.js, which links the store where npm would have unpacked. Packages of plugins that nobody switched on (chat
channels above all) may be asked for too: of these only an empty shell stands there, and ``shells.txt`` names them.
Nothing of the program itself is changed.

Layout: ``<version>/plugin-packages/`` with ``node_modules``, ``bin/`` (Node.js, the stand-in) and ``stage/`` (the
program's own ``OPENCLAW_PLUGIN_STAGE_DIR``).
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from lockjaw.errors import HarnessError

from .. import npm

FOLDER = "plugin-packages"
_STAGES = b"install did not produce node_modules"  # what such a version says when its npm brings nothing
_STAND_IN = Path(__file__).with_name("npm_stand_in.mjs")


def stages_packages(package: Path) -> bool:
    """Whether this version installs packages for its plugins while it runs; read from its code."""
    files = (p for p in (package / "dist").glob("*.*js") if p.is_file())
    return any(_STAGES in file.read_bytes() for file in files)


def wanted_packages(package: Path) -> dict[str, str]:
    """Name -> range: of every bundled plugin that is on by default or brings model providers (a turn loads all of
    those), and of the core where it names them."""
    found: dict[str, str] = {}
    for manifest in sorted((package / "dist" / "extensions").glob("*/package.json")):
        plugin = _json(manifest.with_name("openclaw.plugin.json"))
        if plugin.get("enabledByDefault") is True or plugin.get("providers"):
            found |= _dependencies(_json(manifest))
    core = _json(package / "package.json")
    mirrored = core.get("openclaw", {}).get("bundle", {}).get("mirroredRootRuntimeDependencies", [])
    own = _dependencies(core)
    return found | {name: own[name] for name in mirrored if name in own and name not in found}


def install(package: Path, node: Path, folder: Path, lock: int) -> None:
    """Fill the store. ``lock`` as in ``npm.install``. Raises HarnessError as npm does."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"name": "lockjaw-plugin-packages", "private": True, "dependencies": wanted_packages(package)}
    (folder / "package.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    npm.install_manifest(folder, lock)
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    if not (programs / "node").exists():
        try:
            os.link(node, programs / "node")  # the program looks for npm beside the file that it runs as
        except OSError:
            shutil.copy2(node, programs / "node")
    shutil.copyfile(_STAND_IN, programs / _STAND_IN.name)
    for name in ("npm", "pnpm"):
        text = f'#!/bin/sh\nhere=$(dirname "$0")\nexec "$here/node" "$here/{_STAND_IN.name}" "$@"\n'
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)


def _dependencies(manifest: dict[str, Any]) -> dict[str, str]:
    both = {**manifest.get("dependencies", {}), **manifest.get("optionalDependencies", {})}
    return {name: text for name, text in both.items() if not str(text).startswith("workspace:")}


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise HarnessError(f"{path} is not JSON: {error}") from error
    return value if isinstance(value, dict) else {}
