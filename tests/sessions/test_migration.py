"""Lines of older versions are read as lines of the current one; a newer line is left as it is."""

from __future__ import annotations

from typing import Any

import pytest

from lockjaw.sessions.entries import migrate

HEADER = {"type": "session", "id": "s", "version": 1}
OLD: list[dict[str, Any]] = [HEADER, {"type": "message", "message": {"role": "user"}}, {"type": "message"}]


def test_entries_without_ids_form_one_chain_that_depends_on_the_lines_alone() -> None:
    header, first, second = migrate(OLD, 1)
    assert header == HEADER
    assert (first["parentId"], second["parentId"]) == (None, first["id"])
    assert migrate(OLD, 1) == migrate(OLD, 1)


@pytest.mark.parametrize("version", [2, 3])
def test_a_version_that_had_ids_keeps_its_branches(version: int) -> None:
    """An entry that lost its id is damage there, not an older format."""
    lines = [HEADER, {"type": "message", "id": "a", "parentId": None}, {"type": "compaction", "firstKeptEntryIndex": 1}]
    assert migrate(lines, version) == lines


@pytest.mark.parametrize(("index", "kept"), [(1, 1), (2, 2), (0, None), (3, None), (99, None), (-1, None), ("1", None)])
def test_an_index_becomes_the_id_of_the_entry_that_it_names_and_of_no_other(index: Any, kept: int | None) -> None:
    lines = migrate([HEADER, {"type": "message"}, {"type": "compaction", "firstKeptEntryIndex": index}], 1)
    assert "firstKeptEntryIndex" not in lines[2]
    assert lines[2].get("firstKeptEntryId") == (None if kept is None else lines[kept]["id"])


@pytest.mark.parametrize(("version", "role"), [(1, "custom"), (2, "custom"), (3, "hookMessage")])
def test_messages_of_hooks_got_another_name(version: int, role: str) -> None:
    lines = migrate(
        [HEADER, {"type": "message", "id": "a", "message": {"role": "hookMessage", "content": "x"}}], version
    )
    assert lines[1]["message"] == {"role": role, "content": "x"}
