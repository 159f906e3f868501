"""What a lock algorithm may do: the operations, as values.

An algorithm is a generator: it yields an operation, gets the result sent in, or an ``OSError`` thrown in.
It touches nothing else -- no file, no clock, no process table -- so one text of it runs under the blocking
driver, the asyncio driver and the simulation, and every yield is a place where the simulation may switch
to another process, fail the operation or kill the process.

Rules of the game

* What never waits may be written as a plain function of ``Calls`` and be yielded as one ``Straight``: a generator's
  step costs as much as a system call, and an uncontended lock is nothing but ten system calls. On the machine the
  function calls the kernel directly; the simulation and the tests that fail, stop or kill at every operation give it
  ``ByOperation``, which performs each call as the operation that it is.
* Durations and instants are nominal seconds; instants are on the clock that ``Now`` reads.
* ``Sleep``, ``Settle``, ``WaitForSection`` and ``WaitForRelease`` are the only operations that take time.
* When the driver is interrupted (a cancelled task, Ctrl-C) it throws the interruption in at the yield and
  goes on performing what the algorithm yields to clean up. When its process dies it just drops the
  generator (``GeneratorExit``): an algorithm must not clean up then, as a killed process does not either.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

T = TypeVar("T")

#: A running algorithm that will return a ``T``.
Steps: TypeAlias = "Generator[Operation, Any, T]"


Identity: TypeAlias = tuple[int, int]


class Handle:
    """An open file. Belongs to the driver that opened it; algorithms only pass it back.

    Attributes:
        rests: its driver may keep the descriptor for the next one who opens the file.
        identity: device and inode; (0, 0) where nobody asked.
        body: of a guard's handle: that of its body file.
        checked_s: when (monotonic, real) its driver last saw that its name still leads to it.
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
        """The same inode and nobody wrote to it."""
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


# --------------------------------------------------------------------------- files


class MakeDirectory(NamedTuple):
    """Create a directory and its parents; no error if it is there."""

    path: str


class CreateExclusive(NamedTuple):
    """``O_CREAT | O_EXCL``: an empty file that was not there before. -> Handle; FileExistsError."""

    path: str


class OpenExisting(NamedTuple):
    """-> Handle of an existing file; never creates, never follows a symbolic link."""

    path: str
    writable: bool = False


class OpenGuard(NamedTuple):
    """-> Handle of a guard file, open for reading and writing, created empty if absent. Never an open file
    description that another handle uses, so that range locks exclude even two handles of one process.

    ``body_path``: another file to open with it; it closes with it, too."""

    path: str
    body_path: str = ""


class Close(NamedTuple):
    """Close a handle; drops every range lock taken through it. Closing twice is no error."""

    handle: Handle


class Read(NamedTuple):
    """-> Contents of the file that ``path`` names now."""

    path: str
    limit_bytes: int = 65_536


class ReadAt(NamedTuple):
    """-> bytes at ``offset`` of an open file; shorter at its end."""

    handle: Handle
    length: int
    offset: int = 0


class WriteInPlace(NamedTuple):
    """Write ``data`` at ``offset`` in one piece. ``truncate``: the file then ends behind it.

    A short write is an ``OSError`` (ENOSPC)."""

    handle: Handle
    data: bytes
    offset: int = 0
    truncate: bool = False


class Stat(NamedTuple):
    """-> FileStatus of a name, symbolic links not followed."""

    path: str


class Identify(NamedTuple):
    """-> FileStatus of an open file."""

    handle: Handle


class Unlink(NamedTuple):
    """Remove a name."""

    path: str
    missing_ok: bool = True


class Exists(NamedTuple):
    """-> bool: does the name lead to a file? A dangling symbolic link does not."""

    path: str


class Link(NamedTuple):
    """Give an existing file a second name; FileExistsError if the name is taken. Atomic."""

    source: str
    target: str


class LinkFile(NamedTuple):
    """Give the file that has the name of this handle a second name. Atomic.

    FileExistsError if the name is taken; FileNotFoundError if the handle's own name is gone."""

    handle: Handle
    target: str


class Replace(NamedTuple):
    """Rename, replacing what has the target's name. Atomic."""

    source: str
    target: str


# --------------------------------------------------------------------------- range locks


class RangeLock(NamedTuple):
    """Try to lock bytes of an open file against all other open file descriptions. -> bool, at once.

    The kernel drops the lock when the last descriptor closes, so also when the process is killed."""

    handle: Handle
    offset: int
    length: int = 1
    exclusive: bool = True


class RangeUnlock(NamedTuple):
    handle: Handle
    offset: int
    length: int = 1


class RangeTest(NamedTuple):
    """-> bool: does another open file description hold a lock in these bytes?"""

    handle: Handle
    offset: int
    length: int = 1


class RangeFind(NamedTuple):
    """-> offset of the first of these bytes that another open file description has locked, or None."""

    handle: Handle
    offset: int
    length: int


# --------------------------------------------------------------------------- bells


class OpenBell(NamedTuple):
    """-> Handle of a bell for a ticket of the guard at ``path``, or None where there are no bells.

    Bells are hints: a ring may be lost and may come unasked. They cost no thread and no polling."""

    path: str
    ticket: int


class Ring(NamedTuple):
    """Ring the bell of a ticket. -> did it have one? Never waits, never fails."""

    path: str
    ticket: int


class GiveWay(NamedTuple):
    """Let whoever was rung run now. No more than a hint."""


# --------------------------------------------------------------------------- processes, time, people


class ProcessStatus(NamedTuple):
    """-> ProcessState of a pid."""

    pid: int


class FindElsewhere(NamedTuple):
    """-> pid here of a live process that calls itself ``pid`` in another pid namespace (0 if it has none here), or None
    if none is seen.

    ``starttime``: and that started then; None: whenever. Not cheap: for whoever is about to call an owner dead."""

    pid: int
    starttime: int | None


class Now(NamedTuple):
    """-> nominal monotonic seconds."""


class WallNow(NamedTuple):
    """-> nominal Unix milliseconds."""


class PrintError(NamedTuple):
    """One line for the operator, on stderr."""

    line: str


class Sleep(NamedTuple):
    duration_s: float


class Settle(NamedTuple):
    """Give processes that have already judged a file the time to act on it.

    How long depends on how fast other processes run, not on nominal time, so the driver decides."""


class WaitForSection(NamedTuple):
    """Return when the byte looks free, or at ``until``. Somebody holds it for microseconds only."""

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
        bell: rung by whoever makes it the waiter's turn.
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


# --------------------------------------------------------------------------- straight runs


class Calls(Protocol):
    """The operations that a straight run may perform, as calls. Each is the operation of its name."""

    def open_guard(self, path: str, body_path: str) -> Handle: ...
    def close(self, handle: Handle) -> None: ...
    def lock(self, handle: Handle, offset: int) -> bool: ...
    def unlock(self, handle: Handle, offset: int) -> None: ...
    def locked_elsewhere(self, handle: Handle, offset: int, length: int) -> bool: ...
    def first_locked(self, handle: Handle, offset: int, length: int) -> int | None: ...
    def read(self, handle: Handle, length: int) -> bytes: ...
    def write(self, handle: Handle, data: bytes, offset: int) -> None: ...
    def empty(self, handle: Handle) -> None: ...
    def exists(self, path: str) -> bool: ...
    def look(self, path: str) -> tuple[int, int, int] | None:
        """Device, inode and size of what a name points to, symbolic links not followed; None if there is none."""

    def link(self, handle: Handle, target: str) -> None: ...
    def unlink(self, path: str) -> None: ...
    def ring(self, path: str, ticket: int) -> bool: ...
    def give_way(self) -> None: ...
    def wall_ms(self) -> int: ...


class Straight(NamedTuple):
    """-> ``run(calls, *arguments)``: a run of operations none of which waits."""

    run: Callable[..., Any]
    arguments: tuple[Any, ...]


class ByOperation:
    """Performs each call of a straight run as an operation of its own."""

    def __init__(self, perform: Callable[[Operation], Any]) -> None:
        self._perform = perform

    def open_guard(self, path: str, body_path: str) -> Handle:
        handle: Handle = self._perform(OpenGuard(path, body_path))
        return handle

    def close(self, handle: Handle) -> None:
        self._perform(Close(handle))

    def lock(self, handle: Handle, offset: int) -> bool:
        return bool(self._perform(RangeLock(handle, offset)))

    def unlock(self, handle: Handle, offset: int) -> None:
        self._perform(RangeUnlock(handle, offset))

    def locked_elsewhere(self, handle: Handle, offset: int, length: int) -> bool:
        return bool(self._perform(RangeTest(handle, offset, length)))

    def first_locked(self, handle: Handle, offset: int, length: int) -> int | None:
        first: int | None = self._perform(RangeFind(handle, offset, length))
        return first

    def read(self, handle: Handle, length: int) -> bytes:
        return bytes(self._perform(ReadAt(handle, length)))

    def write(self, handle: Handle, data: bytes, offset: int) -> None:
        self._perform(WriteInPlace(handle, data, offset))

    def empty(self, handle: Handle) -> None:
        self._perform(WriteInPlace(handle, b"", truncate=True))

    def exists(self, path: str) -> bool:
        return bool(self._perform(Exists(path)))

    def look(self, path: str) -> tuple[int, int, int] | None:
        try:
            status: FileStatus = self._perform(Stat(path))
        except FileNotFoundError:
            return None
        return status.device, status.inode, status.size_bytes

    def link(self, handle: Handle, target: str) -> None:
        self._perform(LinkFile(handle, target))

    def unlink(self, path: str) -> None:
        self._perform(Unlink(path))

    def ring(self, path: str, ticket: int) -> bool:
        return bool(self._perform(Ring(path, ticket)))

    def give_way(self) -> None:
        self._perform(GiveWay())

    def wall_ms(self) -> int:
        return int(self._perform(WallNow()))


Waiting: TypeAlias = Sleep | Settle | WaitForSection | WaitForRelease
Operation: TypeAlias = (
    MakeDirectory
    | CreateExclusive
    | OpenExisting
    | OpenGuard
    | Close
    | Read
    | ReadAt
    | WriteInPlace
    | Stat
    | Identify
    | Unlink
    | Exists
    | Link
    | LinkFile
    | Replace
    | RangeLock
    | RangeUnlock
    | RangeTest
    | RangeFind
    | OpenBell
    | Ring
    | GiveWay
    | ProcessStatus
    | FindElsewhere
    | Now
    | WallNow
    | PrintError
    | Straight
    | Waiting
)
