"""Runs the command line, and turns what happens into one line for a person and one exit status for a script."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from typing import NoReturn

from lockjaw.cli.verbs import command_line
from lockjaw.errors import HarnessError, LocalError, LockjawError, printed
from lockjaw.process import watch_lifeline

__all__ = ["EXIT_HARNESS_FAILED", "EXIT_USAGE", "main"]

EXIT_USAGE = 2
EXIT_HARNESS_FAILED = 4


def main() -> None:
    """Run the command line; every expected error becomes one clear message and its exit status."""
    # Start-up makes objects and no garbage, and looking for some costs a tenth of it. httpx loads its own command
    # line with what draws progress bars, if that is installed; no verb uses it.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)  # the interpreter would look, several times, through all that it is about to drop
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    watch_lifeline(os.environ)
    try:
        try:
            command_line()()
        finally:
            sys.stdout.flush()  # here, where a reader that has left is still told apart from a failure
    except LocalError as error:
        _fail(str(error), EXIT_USAGE)
    except HarnessError as error:
        _fail(f"lockjaw failed: {error}", EXIT_HARNESS_FAILED)
    except LockjawError as error:
        _fail(printed(error), 1)
    except BrokenPipeError:
        _reader_left()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # click has caught it, and its 1 would mean VIOLATED
            _reader_left()
        if (interrupted := _interruption(ended)) is not None:  # typer has caught it, and kept the status
            _say_interrupted(interrupted)
        raise
    except KeyboardInterrupt as interrupted:
        _say_interrupted(interrupted)
        sys.exit(128 + signal.SIGINT)


def _interruption(error: BaseException | None) -> KeyboardInterrupt | None:
    """The Ctrl-C that led to this end."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def _say_interrupted(error: KeyboardInterrupt) -> None:
    """One last line, over the terminal's ^C and whatever line of progress stands there."""
    clear = "\r\033[K" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else ""
    print(f"{clear}{str(error) or 'Interrupted.'}", file=sys.stderr)


def _reader_left() -> NoReturn:
    """The reader of our stdout (head, less) went away. Python would complain once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)


def _fail(message: str, status: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(status)
