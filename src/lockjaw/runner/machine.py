"""What a running turn touches of its machine: files and locks, in one value that is passed down.

Model calls, gateway connections, tools, clock and ids have seams of their own.
"""

from __future__ import annotations

import msgspec

from lockjaw.files import LOCAL_FILES, Files
from lockjaw.locking.host import THIS_HOST, Host


class Machine(msgspec.Struct, frozen=True):
    """``files`` for sessions, ``locks`` for what guards them."""

    files: Files = LOCAL_FILES
    locks: Host = THIS_HOST


THIS_MACHINE = Machine()
