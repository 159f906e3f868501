"""What a command loads and leaves: nobody waits for what was not asked for. Modules are named here, never times."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

AT_THE_END = """
import os, sys
from lockjaw.cli import main
try:
    main()
finally:
    open(os.environ["LOADED"], "w").write(" ".join(sys.modules))
"""

WHEN_READY = """
import os, sys
from lockjaw.cli import main
from lockjaw.runner import agent
def ready(fd):
    open(os.environ["LOADED"], "w").write(" ".join(sys.modules))
    sys.exit(0)
agent.announce_ready = ready
main()
"""


def loaded(probe: str, folder: Path, *arguments: str, status: int) -> set[str]:
    """The modules that a command has loaded, at its end or when it is ready. It works in ``folder``."""
    told = folder / "loaded"
    done = subprocess.run(
        [sys.executable, "-c", probe, *arguments],
        cwd=folder, env={**os.environ, "HOME": str(folder), "LOADED": str(told)}, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return set(told.read_text().split())


def of(modules: set[str], *packages: str) -> set[str]:
    """Those of the modules that are one of the packages, or in one."""
    return {module for module in modules for package in packages if f"{module}.".startswith(f"{package}.")}


def test_a_simulated_run_loads_no_sockets_no_real_engine_and_no_report_that_was_not_asked_for(tmp_path: Path) -> None:
    modules = loaded(AT_THE_END, tmp_path, "run", "gateway_timeout", "--policy", "all", "--engine", "sim", status=1)
    assert not of(modules, "websockets", "httpcore", "h11", "multiprocessing", "lockjaw.gateway.listener")
    assert of(modules, "lockjaw.harness.real") <= {"lockjaw.harness.real"}
    assert not of(modules, "lockjaw.reports.junit", "lockjaw.reports.markdown", "xml", "html", "rich.live")
    others = ("explore", "shrink", "kit", "intake", "openclaw", "bench")
    assert not of(modules, *(f"lockjaw.harness.{other}" for other in others), "lockjaw.testing")
    assert not of(modules, "lockjaw.fakes.models.server", "lockjaw.fakes.gateway.server", "lockjaw.fakes.links.link")
    assert "lockjaw.reports.html" in modules  # it did run, and wrote its pages


def test_the_client_loads_nothing_of_the_harness_and_has_its_websocket_before_its_clock_starts(tmp_path: Path) -> None:
    modules = loaded(WHEN_READY, tmp_path, "agent", "--message", "hello", "--agent", "main", status=0)
    assert "lockjaw.gateway.websocket" in modules
    assert not of(modules, "lockjaw.harness", "lockjaw.fakes", "lockjaw.reports", "jinja2", "yaml")


def test_the_end_of_a_command_looks_for_no_garbage() -> None:
    # What is registered first is called last. Frozen objects are left alone by every later collection.
    probe = (
        "import atexit, gc; atexit.register(lambda: print('frozen', gc.get_freeze_count() > 10_000));"
        "from lockjaw.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", probe, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "frozen True"
