"""Nothing leaves loopback: the network of the real gateway and its command line, looked at from outside in a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from lockjaw.harness.incident.scenario import load_scenario
from lockjaw.harness.targets.openclaw.cache import Installed
from lockjaw.harness.targets.openclaw.campaign import Options, run_version
from lockjaw.harness.targets.openclaw.versions import Version
from lockjaw.history import Record

LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


class Network:
    """What the actors of a run see: bytes sent by each interface, and the remote ends of all sockets. Called with every
    record of the run."""

    def __init__(self) -> None:
        self.sent: dict[str, int] = {}
        self.peers: set[str] = set()
        self.seen_in: set[str] = set()  # roles
        self._roles: dict[int, str] = {}

    def __call__(self, policy: str, record: Record) -> None:
        if record.op == "actor.ready":
            self._roles[int(record.data["pid"])] = str(record.data["role"])
        for pid, role in self._roles.items():
            try:
                self.look(Path("/proc", str(pid), "net"))
            except OSError:
                continue  # it has ended
            self.seen_in.add(role)

    def look(self, net: Path) -> None:
        for line in (net / "dev").read_text().splitlines()[2:]:
            name, _, counters = line.partition(":")
            self.sent[name.strip()] = int(counters.split()[8])
        for table in ("tcp", "tcp6", "udp", "udp6"):
            lines = (net / table).read_text().splitlines()[1:] if (net / table).exists() else []
            self.peers |= {line.split()[2].partition(":")[0] for line in lines}

    @property
    def strangers(self) -> set[str]:
        """Remote addresses that are neither "none yet" nor loopback."""
        return {peer for peer in self.peers if peer.strip("0")} - LOOPBACK


@pytest.mark.openclaw
@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", ["2026.4.8", "2026.5.7", "2026.9.6"])
def test_nothing_leaves_loopback(
    version: str, tmp_path: Path, cache_root: Path, installed: Callable[[str], Installed]
) -> None:
    installed(version)
    base = load_scenario("gateway_timeout")
    models = {"deepseek-v3": [{"first_token_s": 3.0, "text": "Done."}]}
    quick = msgspec.structs.replace(base, chain=("qiniu/deepseek-v3",), models=models, answers_s={})
    network = Network()
    run = run_version(quick, Version(version), Options(cache=cache_root, out=tmp_path), print, network)
    assert run.outcome.answered  # so there was traffic
    assert network.seen_in == {"models", "gateway", "client"}
    assert set(network.sent) == {"lo"}
    assert network.sent["lo"] > 0
    assert network.peers & LOOPBACK
    assert network.strangers == set()


def test_a_table_with_a_stranger_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "dev").write_text("a\nb\n lo: 1 1 0 0 0 0 0 0 7 1\neth0: 1 1 0 0 0 0 0 0 9 1\n")
    (tmp_path / "tcp").write_text("head\n 0: 0100007F:1F90 00000000:0000\n 1: 0A00020F:C350 08080808:01BB\n")
    network = Network()
    network.look(tmp_path)
    assert network.sent == {"lo": 7, "eth0": 9}
    assert network.strangers == {"08080808"}
