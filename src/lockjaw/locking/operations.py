"""What a lock algorithm may do: calls that act at once, and waits that it yields.

An algorithm is a generator that yields only where it waits. Everything else is a call on the ``Calls`` that it is
given: it touches no file, no clock and no process table itself. So one text of it runs blocking, as an asyncio task
and in the simulation, where each call is a place at which another process may run, the call may fail, or the process
may die.

Rules of the game

* Durations and instants are nominal seconds; instants are on the clock that ``Calls.now`` reads.
* ``Sleep``, ``Settle``, ``WaitForSection`` and ``WaitForRelease`` are all that takes time.
* When the driver is interrupted (a cancelled task, Ctrl-C) it throws the interruption in at the yield and goes on with
  the waits that the algorithm yields to clean up. When its process dies it just drops the generator
  (``GeneratorExit``): an algorithm must not clean up then, as a killed process does not either.
* Faults, tapes and people know each call by the name that ``OPERATIONS`` gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

T = TypeVar("T")

Identity: TypeAlias = tuple[int, int]


class Handle:
    """An open file. Belongs to the driver that opened it for the algorithm, which only passes it back.

    Attributes:
        rests: the descriptor may be kept for the next one who opens the file.
        identity: device and inode; (0, 0) where it was not asked for.
        body: of a guard's handle: that of its body file.
        checked_s: when (monotonic, real) somebody last saw that its name still leads to it.
        epoch, known, claim: the guarded algorithm's notes: which owner's byte is the current one, what the guard said
            when it was read last, and which file it may have made the lock file while it had that byte.
        mine, signed, spare, block: more of them: what the guard said when a grant of this handle removed its lock file,
            for whom the record in it was written, how many of the generations that it reserved are left, and how many
            it reserved.
    """

    __slots__ = (
        "block",
        "body",
        "checked_s",
        "claim",
        "epoch",
        "identity",
        "known",
        "mine",
        "number",
        "path",
        "rests",
        "signed",
        "spare",
    )

    def __init__(self, path: str, number: int, identity: Identity = (0, 0), body: Handle | None = None) -> None:
        self.path, self.number, self.identity, self.body = path, number, identity, body
        self.rests, self.checked_s = False, 0.0
        self.epoch = self.spare = self.block = 0
        self.claim: Identity | None = None
        self.known: Any = None
        self.mine: Any = None
        self.signed: Any = None

    def again(self) -> Handle:
        """A new handle of the same open file; this one is closed from now on."""
        other = Handle.__new__(Handle)  # by hand: with every release
        other.path, other.number, other.identity, other.body = self.path, self.number, self.identity, self.body
        other.rests, other.checked_s, other.claim = self.rests, self.checked_s, None
        other.epoch, other.known, other.mine = self.epoch, self.known, self.mine
        other.signed, other.spare, other.block = self.signed, self.spare, self.block
        self.number, self.body = -1, None
        return other

    def __repr__(self) -> str:
        return f"Handle({self.path!r}, {self.number})"


# --------------------------------------------------------------------------- results


class FileStatus(NamedTuple):
    """What a name or a handle points to. ``age_s``: nominal seconds since the last write; ``links``: its names."""

    device: int
    inode: int
    size_bytes: int
    written_ns: int
    age_s: float
    kind: Literal["file", "directory", "other"] = "file"
    links: int = 1

    @property
    def identity(self) -> Identity:
        return self.device, self.inode

    def same_file(self, other: FileStatus | None) -> bool:
        """The same inode. Only conclusive while somebody keeps one of the two open: inodes are reused."""
        return other is not None and (self.device, self.inode) == (other.device, other.inode)

    def unchanged(self, other: FileStatus | None) -> bool:
        """The same inode, unchanged since."""
        return other is not None and self.same_file(other) and self.written_ns == other.written_ns


class Contents(NamedTuple):
    """A file as read through one descriptor. ``data`` is cut at the reader's limit."""

    data: bytes
    status: FileStatus


class ProcessState(NamedTuple):
    """What the process table says about a pid.

    Args:
        exists: there is such a process, as far as this pid namespace can see.
        signalable: ``kill(pid, 0)`` succeeds; False for a process of another user.
        zombie: it has ended and waits to be reaped.
        starttime: clock ticks since boot at its start, or None where unknown.
    """

    exists: bool
    signalable: bool = True
    zombie: bool = False
    starttime: int | None = None

    def is_another(self, starttime: int | None) -> bool:
        """Provably not the process of this pid that started then: the pid was used again."""
        return None not in (starttime, self.starttime) and starttime != self.starttime

    def is_over(self, starttime: int | None) -> bool:
        """The process of this pid that started then (None: whenever) does not run any more."""
        return not self.exists or self.zombie or self.is_another(starttime)


# --------------------------------------------------------------------------- waits


class Sleep(NamedTuple):
    duration_s: float


class Settle(NamedTuple):
    """Give processes that have already judged a file the time to act on it.

    How long depends on how fast other processes run, not on nominal time, so the driver decides."""


class WaitForSection(NamedTuple):
    """Return when the byte looks free, or at ``until``. Its holder keeps it for microseconds only."""

    handle: Handle
    offset: int
    until: float


class WaitForRelease(NamedTuple):
    """Return when the lock may have become free, or at ``until``; spurious returns are allowed. -> did the bell ring?

    May have become free: ``path`` no longer names the file ``seen`` (None: it is absent) or that file was
    written to; or the owner's byte is not locked any more; or process ``pid`` is gone; or ``bell`` rang.
    Where a bell or the watched file and process tell, the driver sleeps until they do, and looks by itself
    only rarely.

    Args:
        path: the lock file.
        seen: what the waiter saw there.
        handle, offset: the owner's byte in the guard, for an owner of ours.
        pid, starttime: the process whose end matters: the owner's, or that of the waiter in front.
        bell: rung by the process that makes it the waiter's turn.
        queued: somebody is in front: neither the file nor the owner's byte is of interest.
    """

    path: str
    seen: FileStatus | None
    until: float
    handle: Handle | None = None
    offset: int = 0
    pid: int | None = None
    starttime: int | None = None
    bell: Handle | None = None
    queued: bool = False


Waiting: TypeAlias = Sleep | Settle | WaitForSection | WaitForRelease

#: A running algorithm that will return a ``T``. It is sent True where the bell that it waited for rang.
Steps: TypeAlias = "Generator[Waiting, bool, T]"


# --------------------------------------------------------------------------- calls


class Calls(Protocol):
    """What an algorithm may do without waiting. Each call raises the OSError that the operating system gave."""

    # files

    def make_directory(self, path: str) -> None:
        """Create a directory and its parents; no error if it is there."""

    def create_exclusive(self, path: str) -> Handle:
        """``O_CREAT | O_EXCL``: an empty file that was not there before. Raises FileExistsError."""

    def open_existing(self, path: str, writable: bool = False) -> Handle:
        """Never creates, never follows a symbolic link."""

    def open_guard(self, path: str, body_path: str = "") -> Handle:
        """A guard file, open for reading and writing, created empty if absent. Never an open file description that
        another handle uses, so that range locks exclude even two handles of one process.

        ``body_path``: another file to open with it; it closes with it, too."""

    def close(self, handle: Handle) -> None:
        """Drops every range lock taken through the handle. Closing twice is no error."""

    def read_file(self, path: str) -> Contents:
        """The file that ``path`` names now, up to 64 KiB."""

    def read(self, handle: Handle, length: int, offset: int = 0) -> bytes:
        """From an open file; shorter at its end."""

    def write(self, handle: Handle, data: bytes, offset: int = 0, truncate: bool = False) -> None:
        """In place, in one piece; a short write is an OSError (ENOSPC). ``truncate``: the file then ends behind it."""

    def status(self, path: str) -> FileStatus | None:
        """Of a name, symbolic links not followed; None if there is none."""

    def look(self, path: str) -> tuple[int, int, int] | None:
        """As ``status``, at a third of its cost: device, inode and size in bytes."""

    def identify(self, handle: Handle) -> FileStatus: ...

    def named(self, handle: Handle) -> bool:
        """Has an open file a name yet? Cheap: before and after each append."""

    def exists(self, path: str) -> bool:
        """Does the name lead to a file? A dangling symbolic link does not."""

    def link(self, handle: Handle, target: str) -> None:
        """Give the file that has the name of this handle a second name. Atomic.

        FileExistsError if the name is taken; FileNotFoundError if the handle's own name is gone."""

    def unlink(self, path: str) -> None:
        """Remove a name; no error if there is none."""

    def replace(self, source: str, target: str) -> None:
        """Give the file ``source`` the name ``target``, whatever had it. Atomic."""

    # range locks, which the kernel drops when the last descriptor closes, so also when the process is killed

    def lock(self, handle: Handle, offset: int) -> bool:
        """Try to lock a byte of an open file against all other open file descriptions."""

    def unlock(self, handle: Handle, offset: int) -> None: ...

    def locked_elsewhere(self, handle: Handle, offset: int, length: int = 1) -> bool:
        """Does another open file description hold a lock in these bytes?"""

    def locked_now(self, handle: Handle, offset: int) -> bool:
        """As ``locked_elsewhere``, of one byte, right behind the call before it."""

    def first_locked(self, handle: Handle, offset: int, length: int) -> int | None:
        """The first of these bytes that another open file description has locked."""

    # bells: hints. A ring may be lost and may come unasked; they cost no thread and no polling

    def open_bell(self, path: str, ticket: int) -> Handle | None:
        """A bell for a ticket of the guard at ``path``, or None where there are no bells."""

    def ring(self, path: str, ticket: int) -> bool:
        """Ring the bell of a ticket. -> did it have one? Never fails."""

    def give_way(self) -> None:
        """Let the process that was rung run now. No more than a hint."""

    # processes, time, people

    def process_state(self, pid: int) -> ProcessState: ...

    def find_elsewhere(self, pid: int, starttime: int | None) -> int | None:
        """The pid here of a live process that calls itself ``pid`` in another pid namespace (0 if it has none here), or
        None if none is seen.

        ``starttime``: and that started then; None: whenever. Not cheap: ask before an owner is called dead."""

    def now(self) -> float:
        """Nominal monotonic seconds."""

    def wall_ms(self) -> int:
        """Nominal Unix milliseconds."""

    def print_error(self, line: str) -> None:
        """One line for the operator, on stderr."""


#: What histories, tapes, faults at an operation and ``serve contender --kill-at`` call each call.
OPERATIONS: Mapping[str, str] = {
    "make_directory": "MakeDirectory",
    "create_exclusive": "CreateExclusive",
    "open_existing": "OpenExisting",
    "open_guard": "OpenGuard",
    "close": "Close",
    "read_file": "Read",
    "read": "ReadAt",
    "write": "WriteInPlace",
    "status": "Stat",
    "look": "Stat",
    "identify": "Identify",
    "exists": "Exists",
    "link": "LinkFile",
    "named": "IsNamed",
    "unlink": "Unlink",
    "replace": "Replace",
    "lock": "RangeLock",
    "unlock": "RangeUnlock",
    "locked_elsewhere": "RangeTest",
    "locked_now": "RangeLook",
    "first_locked": "RangeFind",
    "open_bell": "OpenBell",
    "ring": "Ring",
    "give_way": "GiveWay",
    "process_state": "ProcessStatus",
    "find_elsewhere": "FindElsewhere",
    "now": "Now",
    "wall_ms": "WallNow",
    "print_error": "PrintError",
}


class Call(NamedTuple):
    """One call that is about to be made, for its observers; ``path``: the file that it concerns, or empty."""

    operation: str
    path: str
    arguments: tuple[Any, ...]
    make: Callable[[], Any]


def observe(calls: Calls, around: Callable[[Call], Any]) -> None:
    """Put an observer around every call of one ``Calls``: it makes the call, or raises, or gives another result."""
    for method, operation in OPERATIONS.items():
        setattr(calls, method, _observed(getattr(calls, method), operation, around))


def _observed(call: Callable[..., Any], operation: str, around: Callable[[Call], Any]) -> Callable[..., Any]:
    def observed(*arguments: Any, **named: Any) -> Any:
        return around(Call(operation, _path(operation, arguments), arguments, lambda: call(*arguments, **named)))

    return observed


def _path(operation: str, arguments: tuple[Any, ...]) -> str:
    first = arguments[operation == "LinkFile"] if arguments else ""
    if isinstance(first, Handle):
        return first.path
    return first if isinstance(first, str) and operation != "PrintError" else ""
