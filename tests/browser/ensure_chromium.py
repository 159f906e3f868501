"""Finds Chromium, or installs Debian's when this runs as root. Usage: ensure_chromium.py (prints the path).

Without a browser and without the right to install one this says so and still ends well: the browser tests are then
skipped with the same reason, unless LOCKJAW_BROWSER=required.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
REASON = "no Chromium here: install it (on Debian: apt-get install chromium)"


def find() -> str | None:
    """The path of a system browser."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def install() -> str | None:
    """As root on a machine with apt-get: Debian's package. None when that is not possible or fails."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return None
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["update", "-q"],
        ["install", "-y", "-q", "--no-install-recommends", "chromium", "fonts-dejavu-core"],
    ):
        done = subprocess.run([apt, *command], env=environment, check=False, stdout=sys.stderr.fileno())
        if done.returncode:
            return None
    return find()


def main() -> int:
    path = find() or install()
    print(path or REASON)
    return 1 if path is None and os.environ.get("LOCKJAW_BROWSER") == "required" else 0


if __name__ == "__main__":
    sys.exit(main())
