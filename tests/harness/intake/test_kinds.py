"""The kinds of public reports: each of the ten cases, and every text of our own, is read as a maintainer reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .score import OWN, score, texts

CASES = Path(__file__).parent / "cases"
_CASES = list(texts(CASES))
_OWN = list(texts(OWN))


@pytest.mark.parametrize(("name", "text", "reading"), _CASES, ids=[f"case {name}" for name, *_ in _CASES])
def test_case_is_read_as_a_maintainer_reads_it(name: str, text: str, reading: dict[str, Any]) -> None:
    scored = score(name, text, reading)
    assert (scored.verdict, scored.differs) == ("right", ())


@pytest.mark.parametrize(("name", "text", "reading"), _OWN, ids=[f"text {name}" for name, *_ in _OWN])
def test_text_is_read_as_a_maintainer_reads_it(name: str, text: str, reading: dict[str, Any]) -> None:
    scored = score(name, text, reading)
    assert (scored.verdict, scored.differs) == ("right", ())
