"""OpenClaw's session lock from 2026.5.17 on: the coarse lock, given back while the model works.

Holding a lock for minutes made everybody else wait (#13744), so it is let go before the model is asked and taken again
for the answer. What stands in for it meanwhile is a fingerprint of the transcript: device, inode, size and time of the
last write. If it differs on return, the run ends with an error and its answer, which was paid for, is dropped.

The known faults are kept on purpose:

* a metadata record, a plugin's note or the run's own twin changes the fingerprint, and is no takeover (#84071, #93193);
* so does a file system that touches times without a write (#92109);
* an attempt that was torn down during its prompt takes the lock again when its model has settled, and nobody is left
  to give it back (#113019, #91327).

Source: field reports, classes E and I.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from lockjaw.locking.algorithms import coarse
from lockjaw.locking.algorithms.coarse import COARSE_60S, CoarseGrant
from lockjaw.locking.operations import Calls, FileStatus, Steps

RULES = replace(COARSE_60S, name="released-for-prompt")


class Fingerprint(NamedTuple):
    """The transcript as it was when the lock was given back; None: it was not there."""

    status: FileStatus | None

    def matches(self, status: FileStatus | None) -> bool:
        if self.status is None or status is None:
            return self.status is status
        return self.status.unchanged(status) and self.status.size_bytes == status.size_bytes


def suspend(calls: Calls, grant: CoarseGrant) -> Fingerprint:
    """Give the lock back for the length of a prompt."""
    status = calls.status(grant.request.paths.session)
    coarse.release(calls, grant.request.registry, grant.hold)
    return Fingerprint(status)


def resume(calls: Calls, grant: CoarseGrant, before: Fingerprint) -> Steps[tuple[CoarseGrant, bool]]:
    """Take the lock of this grant again. -> the grant, and whether the transcript is as it was.

    The lock is held in both cases: giving it back is what the attempt's cleanup does, if it has not been yet.

    Raises:
        SessionLocked, OSError: as an acquire.
    """
    again = yield from coarse.acquire(calls, RULES, grant.request)
    return again, before.matches(calls.status(grant.request.paths.session))
