"""The network of a run's programs, looked at from outside: has anything left loopback?"""

from __future__ import annotations

from pathlib import Path

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
