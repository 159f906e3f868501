"""A network namespace that has only loopback, for programs that must not talk to anybody else.

Linux only. A namespace lives as long as a process or an open descriptor refers to it: ``Namespace`` keeps the
descriptors, processes join by path (``/proc/PID/fd/N``) before they execute a program. Root makes the network
namespace directly; others, and root without CAP_SYS_ADMIN, make a user namespace around it, where that is allowed.

No external program is needed: the calls go to the kernel. Nothing here trusts that it worked; ``require_loopback_only``
reads the interface table and the routes of whoever calls it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from lockjaw.errors import HarnessError

CLONE_NEWUSER = 0x1000_0000
CLONE_NEWNET = 0x4000_0000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_ROUTE_COLUMNS = 11


class NoNamespace(HarnessError):
    """This machine does not let us make a network namespace. Field: ``reason``."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"the real program runs only in a network namespace that has nothing but loopback, and this machine does "
            f"not allow one ({reason}); --allow-network runs it with the machine's own network"
        )


@dataclass(frozen=True)
class Doors:
    """Paths through which another process enters. ``user`` is empty when no user namespace is around the network's."""

    net: str
    user: str = ""

    def arguments(self) -> list[str]:
        return ["--net", self.net, *(["--user", self.user] if self.user else [])]


class Namespace:
    """One namespace, until ``close``. Processes that joined stay in it."""

    def __init__(self, *, user: bool | None = None) -> None:
        """``user``: with a user namespace around it (default: where it does not go without). Raises NoNamespace."""
        self._fds: list[int] = []
        ways = [user] if user is not None else [True] if os.geteuid() != 0 else [False, True]
        for way in ways:
            try:
                self._open(user=way)
                return
            except NoNamespace:  # root in a container may still have user namespaces
                if way is ways[-1]:
                    raise

    def _open(self, *, user: bool) -> None:
        command = [sys.executable, "-P", "-m", __name__, "make", *(["--user"] if user else [])]
        try:
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_plain_environment()
            ) as maker:
                assert maker.stdin is not None
                assert maker.stdout is not None
                assert maker.stderr is not None
                try:
                    if maker.stdout.readline() != b"made\n":
                        raise NoNamespace(maker.stderr.read().decode(errors="replace").strip() or "no reason given")
                    for kind in ("net", *(["user"] if user else [])):
                        self._fds.append(os.open(f"/proc/{maker.pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC))
                finally:
                    maker.stdin.close()  # its end
        except OSError as error:
            self.close()
            raise NoNamespace(str(error)) from error

    @property
    def doors(self) -> Doors:
        paths = [f"/proc/{os.getpid()}/fd/{fd}" for fd in self._fds]
        return Doors(*paths)

    @property
    def inode(self) -> int:
        """Equal for two processes in the same namespace (``st_ino`` of ``/proc/PID/ns/net``)."""
        return os.fstat(self._fds[0]).st_ino

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()

    def __enter__(self) -> Namespace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def join(doors: Doors) -> None:
    """Enter, for this process and what it starts. The process must have one thread. Raises OSError."""
    # Both are opened first: once inside the user namespace, the other process's descriptors are out of reach.
    found = [(path, kind) for path, kind in ((doors.user, CLONE_NEWUSER), (doors.net, CLONE_NEWNET)) if path]
    opened = [(os.open(path, os.O_RDONLY | os.O_CLOEXEC), kind) for path, kind in found]
    try:
        for fd, kind in opened:
            _call("setns", fd, kind)
    finally:
        for fd, _ in opened:
            os.close(fd)


def require_loopback_only() -> None:
    """Raises HarnessError if this process can reach any network but loopback."""
    others = [name for name in interfaces() if name != "lo"]
    ways = routes()
    if others or ways:
        raise HarnessError(f"not only loopback here: interfaces {others}, routes by {ways}; nothing was started")


def interfaces(table: str = "/proc/self/net/dev") -> list[str]:
    """Names of the interfaces that this process sees."""
    lines = Path(table).read_text(encoding="ascii").splitlines()[2:]
    return [line.partition(":")[0].strip() for line in lines]


def routes(folder: str = "/proc/self/net") -> list[str]:
    """Interfaces other than loopback that a route of this process leads to."""
    found = [line.split()[0] for line in Path(folder, "route").read_text(encoding="ascii").splitlines()[1:]]
    six = Path(folder, "ipv6_route")
    if six.exists():  # a kernel without IPv6 has none
        found += [line.split()[-1] for line in six.read_text(encoding="ascii").splitlines()]
    return sorted({name for name in found if name != "lo"})


def _call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        asked = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16sh14x", b"lo", 0))
        flags = struct.unpack("16sh14x", asked)[1]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def _make(*, user: bool) -> None:
    """Move this process into a fresh namespace, say so on stdout, and stay until stdin ends."""
    uid, gid = os.geteuid(), os.getegid()
    if user:
        _call("unshare", CLONE_NEWUSER | CLONE_NEWNET)
        # The same numbers inside as outside: file owners, and with them programs' permission checks, stay the same.
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")
    else:
        _call("unshare", CLONE_NEWNET)
    _loopback_up()
    require_loopback_only()
    os.write(1, b"made\n")
    while os.read(0, 1):
        pass


def _plain_environment() -> dict[str, str]:
    """Ours without what would make the maker more than one thread (coverage, a lifeline)."""
    kept = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG")
    return {key: os.environ[key] for key in kept if key in os.environ}


_HINTS = {
    errno.EPERM: " (a container without CAP_SYS_ADMIN, or user namespaces are not allowed?)",
    errno.ENOSPC: " (no more user namespaces: see /proc/sys/user/max_user_namespaces)",
}


if __name__ == "__main__":
    try:
        _make(user="--user" in sys.argv[1:])
    except (OSError, HarnessError, AttributeError) as failed:
        sys.exit(f"{failed}{_HINTS.get(getattr(failed, 'errno', 0), '')}")
