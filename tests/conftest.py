"""What every test runs under: signals as a terminal gives them, and a state folder of its own.

Whatever a shell starts in the background ignores Ctrl-C, and so would everything that a test starts and interrupts.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

for number, ordinary in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, ordinary)

#: Where Lockjaw and the runtime keep what outlives a run. No test may add to the developer's own.
DEVELOPERS_OWN = tuple(Path.home() / folder for folder in (".local/state/lockjaw", ".openclaw"))


@pytest.fixture(scope="session", autouse=True)
def state_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's state folder of this session; programs that tests start inherit it. The session fails if a file was
    added to, or changed in, the developer's own."""
    before = _entries()
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        for on_a_build_machine in (
            "CI",
            "BUILD_NUMBER",
        ):  # there pytest writes other lines, which tests of it would see
            patch.delenv(on_a_build_machine, raising=False)
        yield folder
    assert _entries() == before, f"a test wrote into one of {', '.join(map(str, DEVELOPERS_OWN))}"


def pytest_collection_finish() -> None:
    """What eight thousand collected tests are made of stays to the end: the collector need not look at it each time."""
    gc.collect()
    gc.freeze()


def _entries() -> dict[str, int]:
    """Path -> time of its last change, of every file in the developer's own folders."""
    return {
        str(path): path.lstat().st_mtime_ns
        for folder in DEVELOPERS_OWN
        if folder.is_dir()
        for path in (folder, *folder.rglob("*"))
    }
