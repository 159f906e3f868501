"""What the page on reproducing a report shows is what the command prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockjaw.cli.reproduce import reproduce

PAGE = Path(__file__).parents[3] / "docs/how-to/reproduce-a-report.md"
TEXTS = Path(__file__).parent / "page"
#: What differs from run to run.
_VARIES = re.compile(r"in \d+\.\d s|\d{4}-\d\d-\d\dT[\d-]{8,}")


def shown() -> Iterator[tuple[str, list[str]]]:
    """The runs on the page: the text's name, and the lines that are shown."""
    for block in re.findall(r"^```text\n(REPORT .*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        lines = block.rstrip().split("\n")
        yield lines[0].split()[1], lines


@pytest.mark.parametrize(("name", "lines"), list(shown()), ids=lambda value: value if isinstance(value, str) else "")
def test_page_shows_what_the_command_prints(
    name: str, lines: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reproduce(str(TEXTS / name), seeds=200)
    printed = iter([_VARIES.sub("N", line) for line in capsys.readouterr().out.split("\n")])
    for line in lines:
        if line != "[...]":
            assert _VARIES.sub("N", line) in printed, line


def test_page_shows_one_run_of_each_kind() -> None:
    assert {name for name, _ in shown()} == {path.name for path in TEXTS.iterdir()}
    page = PAGE.read_text(encoding="utf-8")
    for kind in (
        "outcome     reproduced",
        "outcome     consistent with",
        "class       open between",
        "No lock incident: ",
    ):
        assert kind in page
