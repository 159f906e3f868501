from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lockjaw.harness.targets.namespace import Namespace, NoNamespace

HERE = Path(__file__).parent


@pytest.fixture
def tiny(tmp_path: Path):
    """Writes the file of the tiny runtime; ``manners`` is what is planted in it."""

    def write(manners: str = "patient", **replaced: str) -> Path:
        text = (HERE / "tiny.toml").read_text()
        text = text.replace('TINY_MANNERS = "patient"', f'TINY_MANNERS = "{manners}"')
        text = text.replace('"python3"', f'"{sys.executable}"').replace('TINY"', f'{HERE / "tiny.py"}"')
        for before, after in replaced.items():
            assert before in text
            text = text.replace(before, after)
        path = tmp_path / "tiny.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture(scope="session")
def namespaces() -> None:
    try:
        Namespace().close()
    except NoNamespace as error:
        pytest.skip(f"no network namespace here: {error.reason}")
