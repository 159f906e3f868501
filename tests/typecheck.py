"""mypy --strict over the source tree, without installing it.

The packages of ``lockjaw`` lie in five folders (see ``package-dir`` in pyproject.toml), which mypy cannot map
by itself; this puts links to them under one temporary folder and checks that.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders: dict[str, str] = settings["tool"]["setuptools"]["package-dir"]
    with tempfile.TemporaryDirectory() as scratch:
        package = Path(scratch) / "lockjaw"
        package.mkdir()
        for entry in (ROOT / folders.pop("lockjaw")).iterdir():
            (package / entry.name).symlink_to(entry)
        for name, folder in folders.items():
            (package / name.partition(".")[2]).symlink_to(ROOT / folder)
        command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
        command += ["--cache-dir", str(ROOT / ".mypy_cache")]
        return subprocess.run(command, cwd=scratch, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
