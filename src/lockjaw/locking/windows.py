"""Windows: the calls of ``os`` that the lock makes, as POSIX means them, byte-range locks, and the process table.

What differs, and how it is bridged:

* A file that is open can be neither removed nor linked by others unless each who has it open shares it so. ``open``
  shares all, but for guards (``O_KEEP_NAME``): while one process uses a guard, no process can remove it.
* A name that is removed may stay until the last handle of the file is closed, and a lock file is the second name of a
  file that is never closed. ``unlink`` removes it at once.
* Locked bytes cannot even be read through another handle, so none may hold data (see ``windows_locks``).
* Signal 0 *ends* a process. ``process_state`` asks for it by a handle.

Only ``kernel32``, by ctypes. Needs Windows 10 or newer, and NTFS for the hard links.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import msvcrt
import os as _os
import sys
import time
from ctypes import wintypes
from os import *  # noqa: F403 -- everything else is as it is
from stat import FILE_ATTRIBUTE_REPARSE_POINT

from lockjaw.locking.operations import ProcessState

assert sys.platform == "win32"

O_CLOEXEC = _os.O_NOINHERIT
O_NONBLOCK = 0  # nothing with a file's name blocks its opener
O_NOFOLLOW = 1 << 28
O_KEEP_NAME = 1 << 29

_GENERIC_READ, _GENERIC_WRITE, _DELETE, _READ_ATTRIBUTES = 0x80000000, 0x40000000, 0x10000, 0x80
_SHARE_ACCESS, _SHARE_DELETE = 0x1 | 0x2, 0x4
_CREATE_NEW, _OPEN_EXISTING, _OPEN_ALWAYS = 1, 3, 4
_BACKUP_SEMANTICS, _OPEN_REPARSE_POINT = 0x02000000, 0x00200000  # folders, too; a link itself
_DISPOSITION_EX, _REMOTE_PROTOCOL = 21, 13  # FILE_INFO_BY_HANDLE_CLASS
_DELETE_AT_ONCE = 0x1 | 0x2  # FILE_DISPOSITION_DELETE | FILE_DISPOSITION_POSIX_SEMANTICS
_FAIL_IMMEDIATELY, _EXCLUSIVE = 0x1, 0x2
_QUERY_LIMITED, _SYNCHRONIZE = 0x1000, 0x100000
_STILL_RUNS = 0x102  # WAIT_TIMEOUT
_UNIX_EPOCH_US = 11_644_473_600_000_000  # since 1601, where Windows counts from

_ACCESS_DENIED, _LOCK_VIOLATION, _HANDLE_EOF = 5, 33, 38
_UNKNOWN_HERE = (1, 50, 87)  # ERROR_INVALID_FUNCTION, ERROR_NOT_SUPPORTED, ERROR_INVALID_PARAMETER


class _At(ctypes.Structure):
    """OVERLAPPED: the offset that a call works at."""

    _fields_ = (
        ("internal", ctypes.c_void_p),
        ("internal_high", ctypes.c_void_p),
        ("low", wintypes.DWORD),
        ("high", wintypes.DWORD),
        ("event", wintypes.HANDLE),
    )

    def __init__(self, offset: int) -> None:
        super().__init__(low=offset & 0xFFFFFFFF, high=offset >> 32)


_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_PAt, _PDword, _PFiletime = ctypes.POINTER(_At), ctypes.POINTER(wintypes.DWORD), ctypes.POINTER(wintypes.FILETIME)


def _declare(name: str, result: type, *arguments: type) -> ctypes._NamedFuncPointer:
    function = getattr(_kernel32, name)
    function.restype, function.argtypes = result, arguments
    return function


_D, _H, _P = wintypes.DWORD, wintypes.HANDLE, wintypes.LPVOID
_create_file = _declare("CreateFileW", _H, wintypes.LPCWSTR, _D, _D, _P, _D, _D, _H)
_close_handle = _declare("CloseHandle", wintypes.BOOL, _H)
_read_file = _declare("ReadFile", wintypes.BOOL, _H, _P, _D, _PDword, _PAt)
_write_file = _declare("WriteFile", wintypes.BOOL, _H, _P, _D, _PDword, _PAt)
_lock_file = _declare("LockFileEx", wintypes.BOOL, _H, _D, _D, _D, _D, _PAt)
_unlock_file = _declare("UnlockFileEx", wintypes.BOOL, _H, _D, _D, _D, _PAt)
_set_information = _declare("SetFileInformationByHandle", wintypes.BOOL, _H, ctypes.c_int, _P, _D)
_get_information = _declare("GetFileInformationByHandleEx", wintypes.BOOL, _H, ctypes.c_int, _P, _D)
_open_process = _declare("OpenProcess", _H, _D, wintypes.BOOL, _D)
_process_id = _declare("GetProcessId", _D, _H)
_process_times = _declare("GetProcessTimes", wintypes.BOOL, _H, *[_PFiletime] * 4)
_wait = _declare("WaitForSingleObject", _D, _H, _D)
_INVALID = wintypes.HANDLE(-1).value


def _error(path: str | None = None) -> OSError:
    code = ctypes.get_last_error()
    return OSError(None, ctypes.FormatError(code), path, code)


# --------------------------------------------------------------------------- files


def _open_handle(path: str, access: int, share: int, disposition: int, flags: int) -> int:
    handle: int | None = _create_file(path, access, share, None, disposition, flags, None)
    if handle is None or handle == _INVALID:
        raise _error(path)
    return handle


def open(path: str, flags: int, mode: int = 0o777) -> int:
    access = _GENERIC_READ | (_GENERIC_WRITE if flags & _os.O_RDWR else 0)
    share = _SHARE_ACCESS | (0 if flags & O_KEEP_NAME else _SHARE_DELETE)
    disposition = _OPEN_EXISTING
    if flags & _os.O_CREAT:
        disposition = _CREATE_NEW if flags & _os.O_EXCL else _OPEN_ALWAYS
    descriptor = _descriptor(_open_handle(path, access, share, disposition, _OPEN_REPARSE_POINT), flags)
    if flags & O_NOFOLLOW and _is_link(_os.fstat(descriptor)):
        _os.close(descriptor)
        raise OSError(errno.ELOOP, _os.strerror(errno.ELOOP), path)
    return descriptor


def _descriptor(handle: int, flags: int = 0) -> int:
    """Not inherited, however a child is started: the handle was not made to be."""
    try:
        return msvcrt.open_osfhandle(handle, (flags & _os.O_RDWR) | _os.O_BINARY | _os.O_NOINHERIT)
    except OSError:
        _close_handle(handle)
        raise


def _is_link(status: _os.stat_result) -> bool:
    return bool(status.st_file_attributes & FILE_ATTRIBUTE_REPARSE_POINT)


def lstat(path: str) -> _os.stat_result:
    """By a handle, so that a name and an open file are described by the same numbers, on every Python."""
    flags = _OPEN_REPARSE_POINT | _BACKUP_SEMANTICS
    try:
        handle = _open_handle(path, _READ_ATTRIBUTES, _SHARE_ACCESS | _SHARE_DELETE, _OPEN_EXISTING, flags)
    except PermissionError:
        return _os.lstat(path)  # a name that is about to go, or not ours to look at: what its folder says
    descriptor = _descriptor(handle)
    try:
        status = _os.fstat(descriptor)
    finally:
        _os.close(descriptor)
    return _os.lstat(path) if _is_link(status) else status


def pread(descriptor: int, length: int, offset: int) -> bytes:
    buffer, count = ctypes.create_string_buffer(length), wintypes.DWORD()
    if not _read_file(msvcrt.get_osfhandle(descriptor), buffer, length, count, _At(offset)):
        if ctypes.get_last_error() == _HANDLE_EOF:
            return b""
        raise _error()
    return buffer.raw[: count.value]


def pwrite(descriptor: int, data: bytes, offset: int) -> int:
    count = wintypes.DWORD()
    if not _write_file(msvcrt.get_osfhandle(descriptor), data, len(data), count, _At(offset)):
        raise _error()
    return count.value


def link(source: str, target: str) -> None:
    try:
        _os.link(source, target)
    except OSError as error:
        if error.winerror in _UNKNOWN_HERE:
            raise OSError(errno.EOPNOTSUPP, error.strerror, target) from error
        if error.winerror == _ACCESS_DENIED and _os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, error.strerror, target) from error  # it is about to go
        raise


_aside = itertools.count(1)


def unlink(path: str) -> None:
    """Free the name at once, even if other processes have the file open.

    Where the file system cannot, the name is moved aside first: it stays until the file is closed, or until somebody
    removes it if we are killed between the two.
    """
    handle = _open_handle(path, _DELETE, _SHARE_ACCESS | _SHARE_DELETE, _OPEN_EXISTING, _OPEN_REPARSE_POINT)
    try:
        if _set_information(handle, _DISPOSITION_EX, ctypes.byref(wintypes.DWORD(_DELETE_AT_ONCE)), 4):
            return
        if ctypes.get_last_error() not in _UNKNOWN_HERE:
            raise _error(path)
    finally:
        _close_handle(handle)
    aside = f"{path}.{_os.getpid()}-{next(_aside)}.guard"
    _os.replace(path, aside)
    _os.unlink(aside)


def sched_yield() -> None:
    time.sleep(0)


def register_at_fork(**hooks: object) -> None:
    """Windows has no fork."""


def is_remote(descriptor: int) -> bool:
    """Does the file lie on another machine?"""
    answer = ctypes.create_string_buffer(256)  # of no interest: a local file has none
    return bool(_get_information(msvcrt.get_osfhandle(descriptor), _REMOTE_PROTOCOL, answer, len(answer)))


# --------------------------------------------------------------------------- locks


def lock_bytes(descriptor: int, offset: int, length: int, exclusive: bool) -> bool:
    """``LockFileEx``, at once. -> False: somebody else's handle, or this one, has one in the way."""
    flags = _FAIL_IMMEDIATELY | (_EXCLUSIVE if exclusive else 0)
    low, high = length & 0xFFFFFFFF, length >> 32
    if _lock_file(msvcrt.get_osfhandle(descriptor), flags, 0, low, high, _At(offset)):
        return True
    if ctypes.get_last_error() == _LOCK_VIOLATION:
        return False
    raise _error()


def unlock_bytes(descriptor: int, offset: int, length: int) -> None:
    """``UnlockFileEx``: exactly what was locked in one piece."""
    low, high = length & 0xFFFFFFFF, length >> 32
    if not _unlock_file(msvcrt.get_osfhandle(descriptor), 0, low, high, _At(offset)):
        raise _error()


# --------------------------------------------------------------------------- processes


def process_state(pid: int) -> ProcessState:
    """What the process table says. Never raises. ``starttime``: Unix microseconds."""
    handle = _open_process(_QUERY_LIMITED | _SYNCHRONIZE, False, pid) if 0 < pid < 1 << 32 else None
    if not handle:
        exists = 0 < pid < 1 << 32 and ctypes.get_last_error() == _ACCESS_DENIED
        return ProcessState(exists, signalable=False)
    try:
        # One that has ended stays for as long as somebody keeps a handle; and pid 1005 opens process 1004, too.
        if _wait(handle, 0) != _STILL_RUNS or _process_id(handle) != pid:
            return ProcessState(exists=False, signalable=False)
        started, *others = (wintypes.FILETIME() for _ in range(4))
        known = _process_times(handle, started, *others)
        starttime = (started.dwHighDateTime << 32 | started.dwLowDateTime) // 10 - _UNIX_EPOCH_US if known else None
        return ProcessState(True, starttime=starttime)
    finally:
        _close_handle(handle)


def own_starttime() -> int | None:
    return process_state(_os.getpid()).starttime


def pid_namespace() -> int | None:
    return None


def find_elsewhere(pid: int, starttime: int | None) -> int | None:
    """There are no pid namespaces."""
    return None
