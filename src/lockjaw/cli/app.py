"""Runs the command line, and turns what happens into one line for a person and one exit status for a script.

Every expected error has its status; every other exception is status 4, one line, and a traceback in a file that the
line names. Never 1, which means VIOLATED.
"""

from __future__ import annotations

import atexit
import gc
import os
import platform
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import FrameType

from lockjaw import __version__
from lockjaw.cli.verbs import command_line
from lockjaw.errors import HarnessError, LocalError
from lockjaw.process import Terminated, watch_lifeline
from lockjaw.visible import tell

__all__ = ["EXIT_HARNESS_FAILED", "EXIT_USAGE", "main"]

EXIT_USAGE = 2
EXIT_HARNESS_FAILED = 4
FAILURES = Path(".lockjaw/failures")  # below the working folder, where Lockjaw already keeps its runs there


def main() -> None:
    """Run the command line; every exception becomes one clear message and its exit status."""
    # Start-up makes objects and no garbage, and looking for some costs a tenth of it. httpx loads its own command
    # line with what draws progress bars, if that is installed; no verb uses it.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)  # the interpreter would look, several times, through all that it is about to drop
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    _open_standard_streams()
    os.umask(os.umask(0o077) | 0o022)  # nothing that a command writes is for others to change
    watch_lifeline(os.environ)
    with _SigtermHandler() as sigterm:
        status = _status()
    if sigterm.came and status == 128 + signal.SIGINT:
        status = 128 + signal.SIGTERM  # a verb that keeps what was finished ends as after Ctrl-C
    sys.exit(status)


def _status() -> int:
    """Run the verb and say what went wrong. Returns the exit status."""
    try:
        try:
            command_line()()
            return 0
        finally:
            sys.stdout.flush()  # here, where a reader that has left is still told apart from a failure
    except LocalError as error:
        return _say(str(error), EXIT_USAGE)
    except HarnessError as error:
        return _say(f"lockjaw failed: {error}", EXIT_HARNESS_FAILED)
    except BrokenPipeError:
        return _reader_left()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # click has caught it, and its 1 would mean VIOLATED
            return _reader_left()
        if (interrupted := _interruption(ended)) is not None:  # typer has caught it, and kept the status
            return _say_interrupted(interrupted)
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else _say(ended.code, 1)
    except KeyboardInterrupt as interrupted:
        return _say_interrupted(interrupted)
    except BaseException as error:
        return _unexpected(error)


# --------------------------------------------------------------------------- signals


class _SigtermHandler:
    """SIGTERM ends a verb as Ctrl-C does, until the verb installs something of its own."""

    def __init__(self) -> None:
        self.came = False
        self._pid = os.getpid()

    def __enter__(self) -> _SigtermHandler:
        self._before = signal.signal(signal.SIGTERM, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a fork that has not replaced its program: as if nothing had been installed
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.came = True
        raise Terminated


def _interruption(error: BaseException | None) -> KeyboardInterrupt | None:
    """The Ctrl-C that led to this end."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def _say_interrupted(error: KeyboardInterrupt) -> int:
    """One last line, over the terminal's ^C and whatever line of progress stands there."""
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        sys.stderr.write("\r\033[K")
    terminated = isinstance(error, Terminated)
    sentence = str(error) or ("Terminated." if terminated else "Interrupted.")
    return _say(sentence, 128 + (signal.SIGTERM if terminated else signal.SIGINT))


# --------------------------------------------------------------------------- streams


def _open_standard_streams() -> None:
    """Let nothing else become descriptor 0, 1 or 2 where the caller has closed them; what is written there is dropped.

    ``sys.stdin`` stays None: a verb that reads it says so.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _say(message: str, status: int) -> int:
    tell(*message.split("\n"))
    return status


def _reader_left() -> int:
    """The reader of our stdout (head, less) went away: no failure, and no line."""
    _drop_stdout()
    return 128 + signal.SIGPIPE


def _drop_stdout() -> None:
    """What could not be written would fail once more, loudly, when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


# --------------------------------------------------------------------------- what was not expected


def _unexpected(error: BaseException) -> int:
    """One line that names the error, its place and the file with the traceback; status 4."""
    try:
        sys.stdout.flush()
    except OSError:
        _drop_stdout()
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].name} ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    said = " ".join(f"{type(error).__name__}: {error}".rstrip(": ").split())
    if isinstance(error, OSError) and error.filename is None and (file := _file_in_hand(error)) is not None:
        said += f": {str(file)!r}"
    return _say(f"lockjaw failed: {said}{place}; {_keep_traceback(error)}", EXIT_HARNESS_FAILED)


def _file_in_hand(error: OSError) -> Path | None:
    """The file that was being written: a full disk is reported by the write, which does not name it."""
    traces, file = error.__traceback__, None
    while traces is not None:
        itself = traces.tb_frame.f_locals.get("self")
        file = itself if isinstance(itself, Path) else None
        traces = traces.tb_next
    return file


def _keep_traceback(error: BaseException) -> str:
    """Write it to ``.lockjaw/failures`` if there is ``.lockjaw`` here, else to the temporary folder; say where.

    It holds neither arguments nor environment, which may hold tokens.
    """
    text = f"lockjaw {__version__}, Python {platform.python_version()}, {platform.platform()}\n\n"
    text += "".join(traceback.format_exception(error))
    name = f"lockjaw-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for folder in ([FAILURES] if FAILURES.parent.is_dir() else []) + [Path(tempfile.gettempdir())]:
        try:
            folder.mkdir(exist_ok=True)
            with open(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
            return f"traceback: {folder / name}"
        except OSError:
            continue
    return "its traceback could not be written"
