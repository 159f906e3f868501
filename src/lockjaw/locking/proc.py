"""Processes as POSIX tells of them: by ``/proc`` where there is one, else by signal 0 and psutil."""

from __future__ import annotations

import os

import psutil

from lockjaw.locking.operations import ProcessState


def process_state(pid: int) -> ProcessState:
    """What the process table says. Never raises: a pid that cannot exist does not."""
    try:
        os.kill(pid, 0)
        signalable = True
    except PermissionError:
        signalable = False  # it lives; it is somebody else's
    except (ProcessLookupError, OverflowError):
        return ProcessState(exists=False, signalable=False)
    state, starttime = _stat_fields(pid) if _proc_is_ours() else (None, None)
    if state is None:
        # No /proc, another namespace's, or one that hides other users' processes. kill has told that it exists.
        return ProcessState(True, signalable, zombie=_zombie_by_psutil(pid))
    return ProcessState(True, signalable, zombie=state in "ZX", starttime=starttime)


def find_elsewhere(pid: int, starttime: int | None) -> int | None:
    """The process that calls itself ``pid`` in another pid namespace than ours, by its number here. None: we see none;
    0: there is one, and it has no number here, for it lives outside of our own container.

    From within a container only its own processes and those of containers inside it can be seen, unless it was given
    its host's ``/proc``. Looks at every process: some milliseconds on a busy machine. For the moment before an
    owner is called dead.

    Args:
        starttime: when it started; None: whenever (then it may be a stranger).
    """
    try:
        entries = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return None
    ours = _proc_is_ours()
    for entry in entries:
        numbers = _numbers(entry)
        if numbers[-1:] != [pid] or (ours and len(numbers) == 1):
            continue
        state, started = _stat_fields(entry)
        if state is None or state in "ZX" or (starttime is not None and started != starttime):
            continue
        try:
            if os.stat(f"/proc/{entry}/ns/pid").st_ino == pid_namespace():
                continue
        except OSError:
            pass  # not ours to look into
        return int(entry) if ours else 0
    return None


def _numbers(entry: str) -> list[int]:
    """A process's pid in each namespace, from that of this ``/proc`` down to its own."""
    try:
        with open(f"/proc/{entry}/status", "rb") as status:
            line = next((line for line in status if line.startswith(b"NSpid:")), b"")
    except OSError:
        return []
    return [int(number) for number in line.split()[1:]]


def kernel_lock_owners(path: str | os.PathLike[str]) -> list[int]:
    """Processes that hold a kernel lock (flock, range) on this file, from ``/proc/locks``; empty where there is none.

    A line is ``1: FLOCK  ADVISORY  WRITE 30401 fe:00:3711576``; one with ``->`` is a waiter. A lock that belongs to an
    open file description names no process.
    """
    try:
        inode = str(os.stat(path).st_ino)
        with open("/proc/locks", encoding="ascii", errors="replace") as file:
            held = [line.split() for line in file if "->" not in line]
    except OSError:
        return []
    owners = [int(row[4]) for row in held if row[5].rpartition(":")[2] == inode]
    return [pid for pid in dict.fromkeys(owners) if pid > 0]


def own_starttime() -> int | None:
    return _stat_fields("self")[1]


def pid_namespace() -> int | None:
    """That of the calling process."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return None


def _proc_is_ours() -> bool:
    """Does ``/proc`` count as this process does? A container may have been given its host's."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def _stat_fields(pid: int | str) -> tuple[str | None, int | None]:
    """(state letter, start time) from ``/proc/<pid>/stat``, or (None, None)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read()
    except OSError:
        return None, None
    # The command name, in parentheses, may itself contain spaces and parentheses: count from the last one.
    fields = line[line.rindex(b")") + 2 :].split()
    return fields[0].decode(), int(fields[19])


def _zombie_by_psutil(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
