"""Installs a built wheel into an empty environment and runs it. Usage: package_check.py DIST_FOLDER."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path


def main() -> int:
    (wheel,) = Path(sys.argv[1]).glob("*.whl")
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        venv.create(home / "venv", with_pip=True)
        python = home / "venv" / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True)
        # A user's own folders of these names must not be shadowed by ours, nor ours by theirs.
        for name in ("fakes", "harness", "reports", "scenarios"):
            (home / name).mkdir()
        listing = subprocess.run(
            [python, "-m", "lockjaw", "list", "--json"], cwd=home, check=True, capture_output=True, text=True
        )
        names = [scenario["name"] for scenario in json.loads(listing.stdout)["scenarios"]]
        assert "gateway_timeout" in names, names
        probe = "import importlib.util as u; import lockjaw.fakes, lockjaw.harness; print(u.find_spec('fakes').loader)"
        found = subprocess.run([python, "-c", probe], cwd=home, check=True, capture_output=True, text=True).stdout
        assert "None" in found or "Namespace" in found, found  # the user's folder, not a top-level package of ours
    print(f"{wheel.name}: installs, lists {len(names)} scenarios, adds no top-level package but lockjaw")
    return 0


if __name__ == "__main__":
    sys.exit(main())
