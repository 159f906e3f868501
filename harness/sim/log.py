"""The log of a simulated run: what each actor did to what others can see, in its order.

A *step* is an operation on a file, a message that was heard, a record, or a death. It names the objects that it
touches: a name (``name sessions.json``), the content of a file (``content #1.jsonl 0``: the first file that had this
name), a byte of a guard (``lock #1.jsonl.guard owner``), a bell. Two steps of different actors on one object conflict
if one of them changes it; what follows from that (``lockjaw.harness.search.coverage``) is no business of this file.

Reads and changes are told apart by the name of the operation. Whoever performs it passes the descriptor that it works
on, so that a write into a file that was replaced meanwhile is not mistaken for one into its successor.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lockjaw.locking.guard_record import OWNER_BASE, QUEUE, SECTION, TICKET_BASE

if TYPE_CHECKING:
    from .disk import Disk, Inode, OpenFile

#: (object, changes it)
Touch = tuple[str, bool]
#: (actor, label, how often this label came before, what it touches)
Step = tuple[str, str, int, tuple[Touch, ...]]

_NAME_READ = frozenset({"Exists", "Open", "OpenExisting", "OpenGuard"})
_READ_BY_NAME = frozenset({"Read", "Stat"})
_CREATES = frozenset({"Create", "CreateExclusive"})
_NAME_CHANGED = frozenset({"Link", "LinkFile", "Unlink", "Replace"})
_CONTENT_CHANGED = frozenset({"WriteInPlace", "Append", "Write", "Truncate", "Effect", "Begin", "Commit"})
_LOCKS = frozenset({"RangeLock", "RangeUnlock", "LockFileEx", "UnlockFileEx"})
_KIND = re.compile(r'"(?:event|method)":"([a-z_.]+)"')
_UNINTERESTING = frozenset({"agent", "tick"})  # the words of a model as they come, and heartbeats
_HEAD = 300  # characters of a frame in which its kind stands


def byte_name(offset: int) -> str:
    """What a byte of a guard is for."""
    if offset == SECTION:
        return "section"
    if offset == QUEUE:
        return "queue"
    if offset >= TICKET_BASE:
        return "ticket"
    return f"owner {offset - OWNER_BASE}" if offset >= OWNER_BASE else str(offset)


class Log:
    """``steps`` grows with each; ``count`` is how often a label has come."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.count: dict[str, int] = {}
        self.disk: Disk | None = None
        self._inodes: dict[Inode, str] = {}
        self._named: dict[str, int] = {}
        self._fixed: dict[tuple[str, str, int | None], tuple[Touch, ...]] = {}
        self._heard: dict[tuple[str, str], str] = {}

    def add(self, actor: str, label: str, touches: tuple[Touch, ...] = ()) -> int:
        """Returns how often the label came before."""
        nth = self.count.get(label, 0)
        self.count[label] = nth + 1
        self.steps.append((actor, label, nth, touches))
        return nth

    def heard(self, actor: str, frame: str | bytes) -> None:
        """A message has reached an actor."""
        text = frame if isinstance(frame, str) else frame[:_HEAD].decode(errors="replace")
        found = _KIND.search(text, 0, _HEAD) or _KIND.search(text)
        kind = found[1] if found else "answer"
        if kind not in _UNINTERESTING:
            label = self._heard.get((actor, kind))
            if label is None:
                label = self._heard[actor, kind] = f"{actor}: hears {kind}"
            self.add(actor, label)

    def died(self, actor: str, owner: object, short: Any) -> None:
        """The kernel lets go of what a process had locked."""
        touches: dict[Touch, None] = {}
        if self.disk is not None:
            for file in self.disk.open_files.values():
                if file.owner is owner and file.inode.locks:
                    touches.update(dict.fromkeys(_let_go(file, short(file.path))))
        self.add(actor, f"{actor}: dies", tuple(touches))

    def touches(
        self, operation: str, path: str, short: str, number: int | None, offset: int | None
    ) -> tuple[Touch, ...]:
        """What an operation is about to touch. ``number``: of the descriptor; None: it goes by the name."""
        known = self._fixed.get((operation, short, offset))
        if known is not None:
            return known
        if operation in _LOCKS or operation == "RangeTest":
            byte = "section" if offset is None else byte_name(offset)
            return self._always(operation, short, offset, f"lock {short} {byte}", operation != "RangeTest")
        if operation == "RangeFind":
            return self._always(operation, short, offset, f"lock {short} ticket", False)
        if operation in _NAME_READ:
            return self._always(operation, short, offset, f"name {short}", False)
        if operation in _NAME_CHANGED:
            return self._always(operation, short, offset, f"name {short}", True)
        if self.disk is None:
            return ()
        file = self.disk.open_files.get(number) if number is not None else None
        if operation == "Close":
            return tuple(dict.fromkeys(_let_go(file, short))) if file is not None and file.inode.locks else ()
        inode = file.inode if file is not None else self.disk.names.get(path)
        if operation in _READ_BY_NAME:
            name = (f"name {short}", False)
            return (name,) if inode is None else (name, (self._content(inode, short), False))
        if operation in _CREATES:
            return ((f"name {short}", inode is None),)
        if inode is None:
            return ()
        if operation == "ReadAt":
            return ((self._content(inode, short), False),)
        if operation in _CONTENT_CHANGED:
            return ((self._content(inode, short), True),)
        if operation == "Ring":
            return ((f"bell {short}", True),)
        return ()

    def _always(
        self, operation: str, short: str, offset: int | None, thing: str, changes: bool
    ) -> tuple[Touch, ...]:  # fmt: skip
        """What the operation touches whenever it comes, whichever inode the name leads to."""
        found = self._fixed[operation, short, offset] = ((thing, changes),)
        return found

    def _content(self, inode: Inode, short: str) -> str:
        name = self._inodes.get(inode)
        if name is None:
            number = self._named.get(short, 0)
            self._named[short] = number + 1
            name = self._inodes[inode] = f"content {short} {number}"
        return name


def _let_go(file: OpenFile, short: str) -> list[Touch]:
    return sorted({(f"lock {short} {byte_name(o)}", True) for o, _, _, owner in file.inode.locks if owner is file})
