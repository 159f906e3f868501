"""How pytest shows a failed test that used a fake: our sentence first, and no frames of a library in front of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import pytest

__all__ = ["begin_with", "seen_from_the_test"]

ErrorT = TypeVar("ErrorT", bound=Exception)


def begin_with(report: pytest.TestReport, sentences: Sequence[str]) -> None:
    """Show the sentences above the traceback, where a reader begins; below it, if the traceback is of another kind.

    They become the first link of the exception's chain, which pytest-xdist and the JUnit report carry as well.
    """
    shown = report.longrepr
    try:  # pytest has no public name for these, and may move them
        from _pytest._code.code import ExceptionChainRepr, ReprEntryNative, ReprTraceback
    except ImportError:
        shown = None
    if not isinstance(shown, ExceptionChainRepr):
        report.sections.append(("lockjaw fakes", "\n".join(sentences)))
        return
    first = ReprTraceback([ReprEntryNative([f"{sentence}\n" for sentence in sentences])], None, "native")
    shown.chain = [(first, None, "What the test saw of it:"), *shown.chain]


def seen_from_the_test(error: ErrorT, test_file: Path) -> ErrorT:
    """The error with its frames up to the last one in the test's file; without its cause, which is ours."""
    frames: list[TracebackType] = []
    at = error.__traceback__
    while at is not None:
        frames.append(at)
        at = at.tb_next
    theirs = [place for place, one in enumerate(frames) if one.tb_frame.f_code.co_filename == str(test_file)]
    kept: TracebackType | None = None
    for one in reversed(frames[: theirs[-1] + 1] if theirs else frames):
        kept = TracebackType(kept, one.tb_frame, one.tb_lasti, one.tb_lineno)
    error.__cause__ = None
    return error.with_traceback(kept)
