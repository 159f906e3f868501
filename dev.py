#!/usr/bin/env python3
"""Sets Lockjaw up in .venv and runs it: the way in for a fresh clone.

    python3 dev.py demo        set up, then replay the field report under all four policies
    python3 dev.py test        set up, then run the test suite, the linters and the type checker
    python3 dev.py constraints write constraints.txt anew, from the newest versions
    python3 dev.py run ...     set up, then `lockjaw run ...` (any other lockjaw command works too)

Needs Python 3.11 or newer and pip, nothing else: no tools installed system-wide, no writable home. Standard
library only, because it runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
CONSTRAINTS = ROOT / "constraints.txt"
OLDEST = (3, 11)
USUAL_MINUTES = "about ten minutes"
EXTRAS = {"run": "", "test": "[test,lint,typing,layers]"}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    if sys.version_info < OLDEST:
        return rerun_with_newer_python(arguments)
    command, rest = arguments[0], arguments[1:]
    if command == "test":
        set_up("test")
        return run_checks(rest)
    if command == "constraints":
        return write_constraints()
    set_up("run")
    if command == "demo":
        return demo(rest)
    return lockjaw([command, *rest])


def rerun_with_newer_python(arguments: list[str]) -> int:
    for name in ("python3.13", "python3.12", "python3.11"):
        found = shutil.which(name)
        if found and subprocess.run([found, "-c", ""], check=False).returncode == 0:
            return subprocess.run([found, str(Path(__file__)), *arguments], check=False).returncode
    print("Lockjaw needs Python 3.11 or newer; this is " + sys.version.split()[0] + ".", file=sys.stderr)
    print("Install one (any name python3.11 to python3.13 on PATH is found) and try again.", file=sys.stderr)
    return 2


def set_up(kind: str) -> None:
    """Create .venv and install into it, unless that was done for this very pyproject.toml and constraints.txt.

    The gate gets the versions of constraints.txt (``LOCKJAW_NEWEST=1``: the newest ones), everything else the newest.
    """
    newest = bool(os.environ.get("LOCKJAW_NEWEST")) or kind == "run"
    known = (ROOT / "pyproject.toml").read_bytes() + (b"newest" if newest else CONSTRAINTS.read_bytes())
    wanted = hashlib.sha256(known + sys.version.encode()).hexdigest()
    done = VENV / f"installed-{kind}"
    if PYTHON.exists() and done.exists() and done.read_text() == wanted:
        return
    started = time.monotonic()
    print(f"Setting up .venv ({kind}) ...", file=sys.stderr, flush=True)
    installer = make_venv()
    command = [*installer, "install", "--quiet", "--disable-pip-version-check", "-e", f".{EXTRAS[kind]}"]
    # A user's pip settings such as PIP_USER=1 would install outside .venv.
    elsewhere = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PYTHONHOME")
    environment = {key: value for key, value in os.environ.items() if key not in elsewhere}
    pinned = [] if newest else ["--constraint", str(CONSTRAINTS)]
    result = subprocess.run([*command, *pinned], cwd=ROOT, env=environment, check=False)
    if result.returncode and pinned:
        print("The versions of constraints.txt cannot be had here; installing the newest.", file=sys.stderr, flush=True)
        result = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    if result.returncode:
        print("Installing failed; pip's own words are above. Is a package index reachable?", file=sys.stderr)
        raise SystemExit(4)
    done.write_text(wanted)
    print(f"Set up in {time.monotonic() - started:.0f} s.", file=sys.stderr, flush=True)


def write_constraints() -> int:
    """Install the newest versions into .venv and write them down."""
    os.environ["LOCKJAW_NEWEST"] = "1"
    set_up("test")
    head = [line for line in CONSTRAINTS.read_text().splitlines() if line.startswith("#")]
    listed = [*make_venv(), "list", "--format=freeze", "--exclude-editable", "--disable-pip-version-check"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    names = [line for line in done.stdout.splitlines() if line.partition("==")[0] not in ("pip", "setuptools", "wheel")]
    CONSTRAINTS.write_text("\n".join([*head, *sorted(names, key=str.lower)]) + "\n")
    return 0


def make_venv() -> list[str]:
    """Create .venv and return the pip command that installs into it."""
    if not PYTHON.exists():
        try:
            venv.create(VENV, with_pip=True, symlinks=os.name != "nt")
        except (subprocess.CalledProcessError, OSError):
            # Debian's python3 without python3-venv has no ensurepip: the machine's own pip can still fill a venv.
            shutil.rmtree(VENV, ignore_errors=True)
            venv.create(VENV, with_pip=False, symlinks=os.name != "nt")
    if subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
        return [str(PYTHON), "-m", "pip"]
    return [sys.executable, "-m", "pip", "--python", str(PYTHON)]


def lockjaw(arguments: list[str]) -> int:
    # The lines that Lockjaw prints for copying name the command that works here.
    environment = {"LOCKJAW_COMMAND": f"python3 {os.path.relpath(__file__)}"} | os.environ
    try:
        return subprocess.run([str(PYTHON), "-m", "lockjaw", *arguments], env=environment, check=False).returncode
    except KeyboardInterrupt:
        return 130  # lockjaw got the same Ctrl-C and has cleaned up


def demo(rest: list[str]) -> int:
    status = lockjaw(["run", "gateway_timeout", "--policy", "all", "--engine", "real", *rest])
    if status == 1:
        print("\n(`lockjaw run` exits 1: policies were VIOLATED. That is the incident; a CI job would be red.)")
    return 0 if status in (0, 1) else status


def run_checks(rest: list[str]) -> int:
    """The whole gate; every part runs, and the first failure decides the exit status."""
    failed: list[str] = []
    # Many tests wait for processes, so two workers for each core; the last long file is shared out, too.
    workers = str(min(8, 2 * (os.cpu_count() or 2)))
    steps: list[tuple[str, list[str]]] = [
        ("tests", [str(PYTHON), "-m", "pytest", "-n", workers, "--dist", "worksteal", *rest]),
        ("lint", [str(PYTHON), "-m", "ruff", "check", "."]),
        ("format", [str(PYTHON), "-m", "ruff", "format", "--check", "."]),
        ("layers", [str(PYTHON), "tests/source_checks.py", "layers"]),
        ("typing", [str(PYTHON), "tests/source_checks.py", "typing"]),
    ]
    if rest:
        steps = steps[:1]  # arguments select tests
    began = time.monotonic()
    if not rest:
        print(f"== the whole gate: {USUAL_MINUTES} on an idle machine with two cores", flush=True)
    for name, command in steps:
        print(f"== {name}: {' '.join(Path(c).name if i == 0 else c for i, c in enumerate(command))}", flush=True)
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(name)
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    passed = "the selected tests passed" if rest else "all checks passed"
    print(f"== {'FAILED: ' + ', '.join(failed) if failed else passed} ({minutes} min {seconds} s)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
