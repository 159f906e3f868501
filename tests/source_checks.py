"""mypy --strict and the import layers, over the source tree as it stands.

The packages of ``lockjaw`` lie in five folders (see ``package-dir`` in pyproject.toml), which neither tool can
map by itself. This puts them together under one temporary folder: links for mypy, whose messages then lead
to the files, copies for import-linter, which does not follow links.

Usage: source_checks.py typing|layers
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ON_WINDOWS = ("lockjaw.locking", "lockjaw.locking.listing", "lockjaw.locking.cleaning")  # the rest is POSIX


def assemble(scratch: Path, *, copies: bool) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders: dict[str, str] = settings["tool"]["setuptools"]["package-dir"]
    package = scratch / "lockjaw"
    package.mkdir()
    parts = {entry.name: entry for entry in (ROOT / folders.pop("lockjaw")).iterdir() if entry.name != "__pycache__"}
    parts |= {name.partition(".")[2]: ROOT / folder for name, folder in folders.items()}
    for name, source in parts.items():
        if not copies:
            (package / name).symlink_to(source)
        elif source.is_dir():
            shutil.copytree(source, package / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, package / name)


def main() -> int:
    which = sys.argv[1] if len(sys.argv) == 2 else ""
    config = str(ROOT / "pyproject.toml")
    mypy = [sys.executable, "-m", "mypy", "--config-file", config, "--cache-dir", str(ROOT / ".mypy_cache")]
    commands = {
        "typing": [mypy, [*mypy, "--platform", "win32", *(word for name in ON_WINDOWS for word in ("-m", name))]],
        "layers": [[str(Path(sys.executable).with_name("lint-imports")), "--config", config, "--no-cache"]],
    }
    if which not in commands:
        print(__doc__)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        assemble(Path(scratch), copies=which == "layers")
        environment = os.environ | {"PYTHONPATH": scratch}
        runs = [subprocess.run(one, cwd=scratch, env=environment, check=False) for one in commands[which]]
        return max(run.returncode for run in runs)


if __name__ == "__main__":
    sys.exit(main())
