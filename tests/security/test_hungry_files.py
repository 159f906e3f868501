"""Scenario and target files that would hang or eat memory: refused at once, with the line or the key."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lockjaw.documents.yaml import MAX_LENGTH, load_document
from lockjaw.errors import DocumentError
from lockjaw.harness.incident.actors import MAX_ACTORS
from lockjaw.harness.incident.scenario import scenario_from
from lockjaw.harness.targets.spec import load_target_spec

HEAD = "story: s\nmessage: hi\nchain: [p/m]\nchecks: [answered]\nmodels: {m: [{text: x}]}\n"


def mistake(text: str) -> str:
    with pytest.raises(DocumentError) as caught:
        scenario_from(load_document(text, "evil.yaml"), name="evil")
    return str(caught.value)


def test_copies_are_counted_before_they_are_made() -> None:
    """A hundred million copies are one line; made one by one they took 4 GB and no end."""
    actor = "{kind: scripted, copies: %d, script: [{do: sleep, for_s: 1}]}"
    started = time.process_time()

    said = mistake(HEAD + f"actors: {{a: {actor % 100_000_000}}}\n")

    assert said.startswith(f"evil.yaml:6:1: at actors expected at most {MAX_ACTORS} actors, copies counted")
    assert time.process_time() - started < 1.0
    half = actor % (MAX_ACTORS // 2)
    assert scenario_from(load_document(HEAD + f"actors: {{a: {half}, b: {half}}}\n", "x"), name="x").names


def test_a_text_too_long_for_yaml_is_not_parsed() -> None:
    """PyYAML took 22 s for 30 MB."""
    started = time.process_time()

    assert f"at most {MAX_LENGTH} characters" in mistake("a: " + "x" * MAX_LENGTH)

    assert time.process_time() - started < 1.0


@pytest.mark.parametrize("name", [r"a\nVERDICT HELD", r"a\e[2J", "a/../../b", r"a\\b", r"a\u2028b", "", "a" * 201])
def test_the_name_of_a_scenario_is_one_line_and_one_part_of_a_path(name: str) -> None:
    assert "at name expected text" in mistake(f'name: "{name}"\n{HEAD}')


def test_a_target_file_that_is_nested_too_deep_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("a = " + "[" * 5_000 + "]" * 5_000)
    with pytest.raises(DocumentError, match="fewer levels of nesting"):
        load_target_spec(path)
