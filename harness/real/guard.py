"""The guard: a tiny process that outlives the harness by a millisecond, to end what the harness started.

A harness that is killed with SIGKILL cannot clean up, and an actor that the nemesis has paused cannot watch a
lifeline. The guard can: the kernel closes its standard input when the harness is gone, however it went, and then
it kills every process group that it was told of. A shell, because it starts in a millisecond.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_SCRIPT = """
groups=
while read -r sign group; do
  case $sign in
    +) groups="$groups $group" ;;
    -) kept=
       for known in $groups; do [ "$known" = "$group" ] || kept="$kept $known"; done
       groups=$kept ;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group"; done 2>/dev/null
:
"""


class Guard:
    """Knows the process groups that must not outlive this process."""

    def __init__(self) -> None:
        # Its own session: a Ctrl-C for the harness must not end the guard first.
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, close_fds=True, cwd=Path("/"), env={"PATH": os.defpath},
        )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    def watch(self, group: int) -> None:
        self._tell("+", group)

    def forget(self, group: int) -> None:
        """The group is gone; its number may be given to others."""
        self._tell("-", group)

    def close(self) -> None:
        """End the guard, which kills the groups it still knows; may be called twice."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # somebody killed it
        self._process.wait()

    def _tell(self, sign: str, group: int) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{sign} {group}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # somebody killed it; the harness's own reaping does not need it
