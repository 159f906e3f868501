"""The look at a run's network sees a stranger; what it sees of a run stands in ``test_described_runtime.py``."""

from __future__ import annotations

from pathlib import Path

from ..loopback import Network


def test_a_table_with_a_stranger_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "dev").write_text("a\nb\n lo: 1 1 0 0 0 0 0 0 7 1\neth0: 1 1 0 0 0 0 0 0 9 1\n")
    (tmp_path / "tcp").write_text("head\n 0: 0100007F:1F90 00000000:0000\n 1: 0A00020F:C350 08080808:01BB\n")
    network = Network()
    network.look(tmp_path)
    assert network.sent == {"lo": 7, "eth0": 9}
    assert network.strangers == {"08080808"}
