"""Where kernel locks mean less than they say: network and pass-through file systems. Such a lock fails closed."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

from lockjaw.errors import LockStateError

if sys.platform == "win32":
    from lockjaw.locking import windows

#: Set to 1 to lock there all the same: your file system's locks then have to hold between all machines that use it.
OPT_IN = "LOCKJAW_TRUST_FILE_SYSTEM"

_ODD = {  # statfs(2), f_type
    0x6969: "nfs",
    0x517B: "smb",
    0xFE534D42: "smb2",
    0xFF534D42: "cifs",
    0x65735546: "fuse or virtiofs",
    0x01021997: "9p",
    0x5346414F: "afs",
    0x00C36400: "ceph",
    0x0BD00BD0: "lustre",
}


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def odd_kind(descriptor: int) -> str | None:
    """The name of a file system whose locks are not to be trusted, or None. On macOS always None: it does not say."""
    if sys.platform != "linux":
        return "network drive" if sys.platform == "win32" and windows.is_remote(descriptor) else None
    status = ctypes.create_string_buffer(256)
    if _libc().fstatfs(descriptor, status) != 0:
        return None
    return _ODD.get(int.from_bytes(status.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder) & 0xFFFFFFFF)


def refuse_odd(path: str, descriptor: int) -> None:
    """Raises LockStateError on a file system whose locks may not hold, unless the user has said that they do."""
    kind = odd_kind(descriptor)
    if kind is not None and os.environ.get(OPT_IN) != "1":
        raise LockStateError(
            path,
            kind,
            f"locks may not hold on this file system; keep the state folder on a local one, or set {OPT_IN}=1",
        )
