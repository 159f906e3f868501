"""Installing what takes hundreds of megabytes says how far it is."""

from __future__ import annotations

import threading
from pathlib import Path

from lockjaw.harness.targets.growing import growing


def test_an_installation_says_how_much_has_arrived_until_it_is_over(tmp_path: Path) -> None:
    arrived = threading.Event()
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "3 MB" in line:
            arrived.set()

    folder = tmp_path / "package"
    with growing(folder, "openclaw 2026.4.8", say, every_real_s=0.01):
        (folder / "lib").mkdir(parents=True)  # after the first look, as npm makes it
        (folder / "lib" / "a.js").write_bytes(bytes(3_000_000))
        assert arrived.wait(30)
    count = len(said)

    assert said[-1] == "installing openclaw 2026.4.8: 3 MB so far"
    assert not any(thread.name == "lockjaw-growing" for thread in threading.enumerate()), "nothing is said afterwards"
    assert len(said) == count
