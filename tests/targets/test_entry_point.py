"""A package of somebody else's brings a runtime along: the entry point group ``lockjaw.targets``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockjaw.errors import UsageError
from lockjaw.harness.targets.program import Program
from lockjaw.harness.targets.registry import choose, names, program_of

FILE = """
name = "theirs"
version = "3"
licence = "MIT"
[gateway]
command = ["theirs"]
ready = {line = "listening"}
[client]
session = "talk"
gateway = ["theirs", "ask", "{message}"]
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A distribution with two entry points, as pip would leave it; its folder."""
    folder = tmp_path / "lockjaw_theirs"
    folder.mkdir()
    (folder / "theirs.toml").write_text(FILE)
    (folder / "theirs.py").write_text(
        "from lockjaw.harness.targets.program import Program as Base\n\n\nclass Program(Base):\n    known = True\n"
    )
    (folder / "__init__.py").write_text(
        "from pathlib import Path\n\nFILE = str(Path(__file__).with_name('theirs.toml'))\n\n\n"
        "def where():\n    return FILE\n"
    )
    facts = tmp_path / "lockjaw_theirs-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: lockjaw-theirs\nVersion: 1\n")
    points = "[lockjaw.targets]\ntheirs = lockjaw_theirs:where\nby-path = lockjaw_theirs:FILE\n"
    (facts / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    sys.modules.pop("lockjaw_theirs", None)


@pytest.mark.parametrize("name", ["theirs", "by-path"])
def test_a_runtime_of_a_package_is_chosen_by_name_and_version(package: Path, name: str) -> None:
    assert name in names()
    choice = choose(f"{name}@2")
    assert (choice.name, choice.path) == ("theirs@2", package / "theirs.toml")


def test_a_folder_is_a_runtime_and_says_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "target.toml").write_text(FILE.replace('["theirs"]', '["python3", "{here}/serve.py"]'))
    choice = choose(str(tmp_path))
    assert (choice.name, choice.path) == ("theirs@3", tmp_path / "target.toml")
    assert choice.spec.gateway.command == ("python3", "{here}/serve.py")  # a placeholder that is known


def test_the_class_beside_the_file_of_a_package_is_used(package: Path) -> None:
    program = program_of(choose("theirs"))
    assert isinstance(program, Program)
    assert program.known  # type: ignore[attr-defined]
    assert program.turn("gateway") == ("theirs", "ask", "{message}")


def test_without_the_package_the_name_is_unknown() -> None:
    with pytest.raises(UsageError, match="one of builtin, openclaw, codex"):
        choose("theirs")
