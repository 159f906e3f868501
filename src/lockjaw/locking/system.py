"""``os`` as this package calls it: Python's own on POSIX; on Windows the same calls, as POSIX means them."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from lockjaw.locking import windows as os
else:
    import os

__all__ = ["os"]
