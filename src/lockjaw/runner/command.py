"""One shell command, its process group, and the certainty that the group is gone afterwards.

Not a sandbox: the command runs with the rights of the user and may go wherever the user may. What is promised
is hygiene. It gets a clean environment, no terminal, bounded time and bounded output, and nothing of its
process group outlives it. A process that makes itself a new session (``setsid``, a daemon) leaves the group; when
the command is stopped, it is found by a mark in its environment (``escaped``) and killed. One that a command leaves
behind when it ends by itself goes on: that is what such a process is for.

Theory of operation. A *leader* shell heads the process group. It starts a *guard*, then the command, and when
the command has ended it reports the exit code and kills the group, itself included. The guard reads a pipe
whose other end only we hold: a line means SIGTERM to the group, the end of the pipe SIGKILL. So

- if this process dies, however it dies, the kernel closes the pipe and the command dies with us;
- signals come from inside the group, which therefore exists: a recycled process-group id cannot be hit;
- a background child that the command left behind goes when the leader kills the group.

SIGKILL from outside is only the last resort, for a command that killed its own guard.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Mapping
from pathlib import Path

import msgspec

from lockjaw.clock import Clock
from lockjaw.runner.escaped import MARK, end_escaped

OUTPUT_LIMIT_BYTES = 64 * 1024
TERM_GRACE_S = 2.0  # nominal, between SIGTERM and SIGKILL
MIN_GRACE_REAL_S = 0.2  # a sped-up clock must not turn the grace into none at all
LAST_RESORT_REAL_S = 5.0  # real: how long the guard may take to kill before we do it from outside
PIPE_REAL_S = 1.0  # real: for the end of the output after the group is gone; only an escaped process holds it open

# Descriptors: 3 the pipe from us, which only the guard keeps; 4 the report to us. The command gets neither.
# The leader lives through the SIGTERM by a trap that does nothing, because a trap is reset for children; the
# guard starts no process, so it ignores the signal altogether and its read is not interrupted.
_LEADER = """
exec 3<&0 4>&2 </dev/null 2>/dev/null
trap : TERM INT HUP
( trap '' TERM INT HUP; if read -r _ <&3; then kill -TERM 0; read -r _ <&3; fi; kill -KILL 0 ) >/dev/null 4>&- &
exec 3<&-
/bin/sh -c "$1" 2>&1 4>&-
echo $? >&4
kill -KILL 0
"""


class CommandResult(msgspec.Struct, frozen=True):
    """``exit_code`` is the shell's (128 + n for signal n); None when the command killed its own leader.

    ``output`` is the end of stdout and stderr together, at most the limit; ``dropped_bytes`` came before it.
    ``all_ended``: of a command that was stopped: it is certain that none of its processes is left.
    """

    exit_code: int | None
    output: bytes
    dropped_bytes: int
    timed_out: bool
    all_ended: bool = True


def clean_environment(workspace: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """What a command may know: no token, no key, no address of ours."""
    kept = {"PATH": environment.get("PATH") or os.defpath, "HOME": str(workspace), "LANG": "C.UTF-8"}
    if environment.get("LANG"):
        kept["LANG"] = environment["LANG"]
    return kept


async def run(
    command: str,
    *,
    workspace: Path,
    environment: Mapping[str, str],
    timeout_s: float,
    clock: Clock,
    output_limit: int = OUTPUT_LIMIT_BYTES,
) -> CommandResult:
    """Run a command to its end, or to the end of its time.

    Args:
        timeout_s: nominal seconds.

    Raises:
        OSError: the shell or the folder is not there.

    Cancelling stops the whole group (SIGTERM, then SIGKILL) before the cancellation goes on.
    """
    group = _Group()
    all_ended = True
    try:
        marked = {**environment, MARK: group.mark}
        spawning = asyncio.ensure_future(group.start(command, workspace, marked))
        try:
            await asyncio.shield(spawning)
        except asyncio.CancelledError:
            # Half-started: let it come into being, so that there is something to stop and to reap.
            await asyncio.wait({spawning})
            if not spawning.cancelled() and spawning.exception() is None:
                await group.stop(clock)
            raise
        tail = _Tail(output_limit)
        reading = asyncio.ensure_future(tail.read(group.output))
        timed_out = False
        try:
            try:
                async with asyncio.timeout(clock.real_s(timeout_s)):
                    await group.ended()
            except TimeoutError:
                timed_out = True
                all_ended = await group.stop(clock)
            except asyncio.CancelledError:
                await group.stop(clock)
                raise
            group.let_go()
            # The group is gone, so the output ends now, unless a process escaped with it.
            await asyncio.wait({reading}, timeout=PIPE_REAL_S)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        return CommandResult(group.reported_code(), tail.kept(), tail.dropped, timed_out, all_ended)
    finally:
        group.close()


class _Group:
    """The leader's process group and our three pipes to it.

    Our own pipes instead of asyncio's: up to Python 3.12 ``Process.wait`` of asyncio also waits for the end
    of its pipes, which a process that escaped from the group can hold open for ever.
    """

    def __init__(self) -> None:
        self.mark = secrets.token_hex(16)
        self._fds: set[int] = set()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.ReadTransport | None = None
        self.output = asyncio.StreamReader()

    async def start(self, command: str, workspace: Path, environment: Mapping[str, str]) -> None:
        line_in, self._line = self._pipe()
        output, output_in = self._pipe()
        self._report, report_in = self._pipe()
        self._process = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", _LEADER, "lockjaw-exec", command),
            stdin=line_in,
            stdout=output_in,
            stderr=report_in,
            cwd=workspace,
            env=dict(environment),
            start_new_session=True,
        )
        for fd in (line_in, output_in, report_in):
            self._close(fd)
        os.set_blocking(self._report, False)
        self._fds.discard(output)  # the transport closes it
        self._reader, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self.output), os.fdopen(output, "rb", buffering=0)
        )

    async def ended(self) -> None:
        """The leader is reaped."""
        assert self._process is not None
        await self._process.wait()

    def let_go(self) -> None:
        """Close the guard's pipe: SIGKILL to whatever is left of the group."""
        self._close(self._line)

    async def stop(self, clock: Clock) -> bool:
        """SIGTERM to the group, some grace, SIGKILL, reaped; then what has left the group. A second cancellation cuts
        the grace short. -> is it certain that nothing is left?"""
        assert self._process is not None
        ending = asyncio.ensure_future(self.ended())
        try:
            os.write(self._line, b"\n")
            await asyncio.wait({ending}, timeout=max(clock.real_s(TERM_GRACE_S), MIN_GRACE_REAL_S))
        except BrokenPipeError:
            pass  # the guard is gone: it has done its work, or the command killed it
        finally:
            self.let_go()
            await asyncio.wait({ending}, timeout=LAST_RESORT_REAL_S)
            if not ending.done():
                os.killpg(self._process.pid, signal.SIGKILL)  # not reaped yet, so the id is still its own
            all_ended = end_escaped(self.mark)
            await ending
        return all_ended

    def reported_code(self) -> int | None:
        """What the leader wrote before it ended; nothing if it was killed."""
        try:
            text = os.read(self._report, 16).strip()
        except BlockingIOError:
            return None
        return int(text) if text.isdigit() else None

    def close(self) -> None:
        for fd in tuple(self._fds):
            self._close(fd)
        if self._reader is not None:
            self._reader.close()

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        self._fds.update(ends)
        return ends

    def _close(self, fd: int) -> None:
        if fd in self._fds:
            self._fds.discard(fd)
            os.close(fd)


class _Tail:
    """The last bytes of a stream."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()
        self.dropped = 0

    async def read(self, stream: asyncio.StreamReader) -> None:
        while piece := await stream.read(65536):
            self._data += piece
            if len(self._data) > 2 * self._limit:  # cut rarely, not once per read
                self._cut()

    def kept(self) -> bytes:
        self._cut()
        return bytes(self._data)

    def _cut(self) -> None:
        excess = len(self._data) - self._limit
        if excess > 0:
            del self._data[:excess]
            self.dropped += excess
