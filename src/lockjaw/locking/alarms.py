"""What the kernel can tell a waiter, as descriptors that become readable: a bell, the end of a process, a changed file.

They are *complete* when nothing of what the wait is for can happen without one of
the descriptors telling (but for lost bells); then the driver sleeps on them. Where something is missing (another pid
namespace, no inotify, not Linux) the driver polls.
"""

from __future__ import annotations

import ctypes
import os
import select
import sys
from collections.abc import Collection

from lockjaw.locking import bells
from lockjaw.locking.identity import process_state
from lockjaw.locking.operations import Handle, WaitForRelease

_IN_MODIFY, _IN_ATTRIB, _IN_CLOSE_WRITE = 0x2, 0x4, 0x8
_IN_DELETE_SELF, _IN_MOVE_SELF, _IN_DONT_FOLLOW = 0x400, 0x800, 0x2000000
# IN_ATTRIB comes with the unlink itself; IN_DELETE_SELF only when the last descriptor closes, and owners keep one.
_CHANGES = _IN_MODIFY | _IN_ATTRIB | _IN_CLOSE_WRITE | _IN_DELETE_SELF | _IN_MOVE_SELF | _IN_DONT_FOLLOW


class Alarms:
    """The alarms of one run of an algorithm: set for a wait, and kept for the next one if that is for the same.

    Attributes:
        descriptors: readable when something happened.
        complete: see the module's text.
        late: the process had ended before we could watch it.
    """

    def __init__(self) -> None:
        self.descriptors: list[int] = []
        self.complete = self.late = False
        self._own: list[int] = []
        self._for: tuple[Handle | None, int | None, int | None, bool] | None = None
        self._bell: Handle | None = None
        self._rung = False  # and the ring not yet forgotten
        self._poll: select.poll | None = None

    def set(self, wait: WaitForRelease) -> None:
        """Be ready for this wait. What has happened before may go unheard, but for rings."""
        if self._rung and self._bell is not None and self._bell.number >= 0:
            bells.silence(self._bell.number)
        self._rung = False
        purpose = (wait.bell, wait.pid, wait.starttime, wait.queued)
        if wait.handle is not None and self._for == purpose and not self.late:
            return  # no file is watched, and everything else is as it was
        self.close()
        self._for, self._bell = purpose, wait.bell
        if wait.bell is not None:
            self.descriptors.append(wait.bell.number)
        watched = self._watch_process(wait) if wait.pid is not None else False
        if wait.queued:
            self.complete = wait.bell is not None
        elif wait.handle is not None:
            self.complete = wait.bell is not None and watched
        else:
            self.complete = self._watch_file(wait) and (watched or wait.pid is None)

    def sleep(self, timeout_ms: int) -> Collection[int]:
        """Wait in this thread. -> the descriptors that told."""
        if self._poll is None:
            self._poll = select.poll()
            for descriptor in self.descriptors:
                self._poll.register(descriptor, select.POLLIN)
        return dict(self._poll.poll(timeout_ms))

    def heard(self, told: Collection[int]) -> bool:
        """These descriptors told. -> was it the bell? Its ring is forgotten when the next wait begins: a waiter that
        was rung nearly always has the lock by then, and never waits again."""
        self._rung = self._bell is not None and self._bell.number in told
        return self._rung

    def close(self) -> None:
        while self._own:
            os.close(self._own.pop())
        self.descriptors.clear()
        self.late, self._poll = False, None

    def _watch_process(self, wait: WaitForRelease) -> bool:
        if wait.pid is None or not hasattr(os, "pidfd_open"):
            return False
        try:
            descriptor = os.pidfd_open(wait.pid)
        except ProcessLookupError:
            self.late = True
            return True
        except OSError:
            return False
        self._own.append(descriptor)
        self.descriptors.append(descriptor)
        if process_state(wait.pid).is_another(wait.starttime):
            self.late = True  # the pid was another's by the time we looked
        return True

    def _watch_file(self, wait: WaitForRelease) -> bool:
        inotify = _inotify()
        if inotify is None or wait.seen is None:
            return False
        descriptor = inotify.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if descriptor < 0:
            return False
        self._own.append(descriptor)
        if inotify.inotify_add_watch(descriptor, os.fsencode(wait.path), _CHANGES) < 0:
            return False
        self.descriptors.append(descriptor)
        return True


_libc: ctypes.CDLL | None = None


def _inotify() -> ctypes.CDLL | None:
    global _libc  # noqa: PLW0603 -- loaded by the first wait on a foreign owner, which most processes never see
    if sys.platform != "linux":
        return None
    if _libc is None:
        _libc = ctypes.CDLL(None, use_errno=True)
    return _libc
