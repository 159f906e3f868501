"""Text that strangers wrote, made fit for a terminal: what Lockjaw prints goes through here, and nowhere else.

A close reason, an answer, a file name or a field of a kit may hold terminal escapes, newlines that forge a row, or
controls that turn the reading direction. Here each of them becomes an escape that is seen (``\\x1b``, ``\\n``,
``\\u202e``). Imports nothing of the project. HTML pages have their own (``reports/html_strings``): markup is different.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from typing import TextIO

__all__ = [
    "COMMAND_KEY",
    "as_typed",
    "columns",
    "show",
    "show_as_it_is",
    "show_json",
    "show_text",
    "show_wrapped",
    "tell",
    "visible",
    "visible_json",
    "visible_lines",
]

COLUMNS = (40, 80)  # narrowest and widest lines

#: Controls (C0, DEL, C1), separators of lines, marks and overrides of direction, what is not drawn at all (zero-width
#: spaces, byte order mark, tags), and halves of characters, which stand for undecodable bytes of a file name.
_UNSEEN = (
    "\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f"
)
_RISKY = re.compile(f"[{_UNSEEN}]")
_RISKY_IN_LINES = re.compile(f"(?![\n\t])[{_UNSEEN}]")
#: What ``lockjaw`` is called where it is not on the path; ``dev.py`` sets it.
COMMAND_KEY = "LOCKJAW_COMMAND"
_COMMAND = re.compile(
    r"(?<![\w./-])lockjaw (?=(?:replay|run|scenario|list|explore|catalogue|reproduce|report|kit|serve)\b)"
)
_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def visible(text: str) -> str:
    """The text on one line, with everything that a terminal would act on as an escape."""
    return text if text.isascii() and text.isprintable() else _RISKY.sub(_escaped, text)


def visible_lines(text: str) -> str:
    """As ``visible``, but newlines and tabs stay: for text that may have lines of its own, such as an answer."""
    return text if text.isascii() and text.isprintable() else _RISKY_IN_LINES.sub(_escaped, text)


def visible_json(text: str) -> str:
    """A JSON document with such characters as its own escapes: the same values, and safe to look at."""
    return _RISKY_IN_LINES.sub(_in_json, text)


def show(*lines: str) -> None:
    """Print lines on stdout, each made visible: none of them becomes two."""
    sys.stdout.write("".join(f"{as_typed(visible(line))}\n" for line in lines))


def columns(out: TextIO | None = None) -> int:
    """How wide lines on ``out`` (stdout) are: the terminal's width within COLUMNS, and 80 in a file."""
    narrowest, widest = COLUMNS
    if not (out or sys.stdout).isatty():
        return widest
    return max(narrowest, min(widest, shutil.get_terminal_size((widest, 24)).columns))


def show_wrapped(*lines: str) -> None:
    """As ``show``, but on a terminal long lines go on below, indented. A line to be copied (``lockjaw ...``) is never
    broken, and a file gets every line whole."""
    for line in lines:
        body = line.lstrip(" ")
        indent = " " * (len(line) - len(body))
        whole = body.startswith("lockjaw ") or not sys.stdout.isatty()
        parts = None if whole else textwrap.wrap(
            visible(body), columns(), initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False,
            break_long_words=False,
        )  # fmt: skip
        show(*(parts or [line]))


def show_text(text: str) -> None:
    """Print a text of several lines on stdout; a final newline is added where there is none."""
    sys.stdout.write(as_typed(visible_lines(text if text.endswith("\n") else f"{text}\n")))


def show_as_it_is(text: str) -> None:
    """As ``show_text`` for what is not ours, such as an answer or a file: the commands in it stay as they were
    written."""
    sys.stdout.write(visible_lines(text if text.endswith("\n") else f"{text}\n"))


def show_json(document: str) -> None:
    """Print a JSON document on stdout: its values stay the same, commands in them included."""
    sys.stdout.write(visible_json(document if document.endswith("\n") else f"{document}\n"))


def tell(*lines: str) -> None:
    """Print lines on stderr, each made visible, at once. Where stderr is full or closed, the work goes on unheard."""
    try:
        sys.stderr.write("".join(f"{as_typed(visible(line))}\n" for line in lines))
        sys.stderr.flush()
    except OSError:
        # What could not be written stays in the buffer, and Python would fail (exit status 120) to flush it at the end.
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def as_typed(text: str) -> str:
    """The text with the commands in it as they work where it is printed: ``python3 dev.py replay ...`` from a clone."""
    command = os.environ.get(COMMAND_KEY)
    return text if command is None else _COMMAND.sub(lambda _: f"{command} ", text)


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"  # the byte of a file name that is not UTF-8
    if code < 0x100:
        return _NAMED.get(char) or f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _in_json(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
