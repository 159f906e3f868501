"""The file of a runtime: what it must say, and how a mistake in it is answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockjaw.errors import DocumentError, HarnessError, UsageError
from lockjaw.harness.faults.pause import Pause
from lockjaw.harness.incident.scenario import load_scenario
from lockjaw.harness.targets.campaign import lasting
from lockjaw.harness.targets.installing import install, python_of
from lockjaw.harness.targets.registry import BUILTIN_TARGETS, choose, program_of, versions_in
from lockjaw.harness.targets.script import script_of
from lockjaw.harness.targets.spec import filled, load_target_spec
from lockjaw.harness.targets.store import Store

GOOD = """
name = "mine"
version = "1"
licence = "MIT"
[gateway]
command = ["mine", "serve", "{port}"]
ready = {line = "listening"}
[client]
session = "talk"
gateway = ["mine", "ask", "{session}", "{message}"]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", BUILTIN_TARGETS)
def test_every_built_in_file_is_right_and_its_class_loads(name: str) -> None:
    choice = choose(name)
    assert choice.spec.name == name
    assert choice.version in choice.spec.tested
    assert program_of(choice).spec is choice.spec


def test_a_version_is_taken_from_the_word(tmp_path: Path) -> None:
    assert choose("codex@0.130.0").name == "codex@0.130.0"
    assert choose(str(written(tmp_path, GOOD))).name == "mine@1"
    assert versions_in("codex@0.130.0, 0.171.0") == ["codex@0.130.0", "codex@0.171.0"]
    assert versions_in("./a@b,c/mine.toml") == ["./a@b,c/mine.toml"]


@pytest.mark.parametrize(
    ("before", "after", "key", "expected"),
    [
        ('name = "mine"', 'name = "Mine Own"', "name", "text (a small letter, then"),
        ('licence = "MIT"', "", "licence", "required"),
        ('{line = "listening"}', "{}", "gateway.ready", "http"),
        ('{line = "listening"}', '{line = "("}', "gateway.ready.line", "regular expression"),
        ('"{session}"', '"{sesion}"', "client.gateway[2]", "placeholders among"),
        ('licence = "MIT"', 'licence = "MIT"\nlocked = ["["]', "locked[0]", "regular expression"),
        ('licence = "MIT"', 'licence = "MIT"\ninstall = {npm = ["mine"]}', "install.npm", "exact versions"),
        ('licence = "MIT"', 'licence = "MIT"\ninstall = {pip = ["mine>=1"]}', "install.pip", "exact versions"),
        ('licence = "MIT"', 'licence = "MIT"\nlicense = "MIT"', "license", "one of"),
        ('session = "talk"', 'session = "id (x)"\nnew = ["mine"]\nown = []\nsesion = 1', "client.sesion", "one of"),
    ],
)
def test_a_mistake_is_blamed_by_file_and_key(tmp_path: Path, before: str, after: str, key: str, expected: str) -> None:
    assert before in GOOD
    with pytest.raises(DocumentError) as caught:
        load_target_spec(written(tmp_path, GOOD.replace(before, after)))
    assert caught.value.path == str(tmp_path / "mine.toml")
    assert key in str(caught.value)
    assert expected in str(caught.value)


def test_a_first_turn_needs_a_group_for_the_sessions_id(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="a group for the session"):
        load_target_spec(written(tmp_path, GOOD.replace('session = "talk"', 'session = "talk"\nnew = ["mine"]')))


def test_what_is_no_toml_is_answered_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DocumentError) as caught:
        load_target_spec(written(tmp_path, GOOD + "\n[client\n"))
    assert caught.value.line == len(GOOD.splitlines()) + 2


def test_an_unknown_name_is_answered_with_those_that_exist() -> None:
    with pytest.raises(UsageError, match="codex"):
        choose("codexx")


def test_placeholders_are_filled_once_and_other_braces_stay() -> None:
    values = {"message": "say {port}", "port": "1"}
    assert filled('{"a": "{message}", "b": {port}}', values) == '{"a": "say {port}", "b": 1}'


def test_a_python_that_is_missing_is_named() -> None:
    with pytest.raises(Exception, match=r"needs Python 2\.4.*PATH has no python2\.4"):
        python_of("2.4")


def test_a_python_that_is_there_and_does_not_run_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = tmp_path / "python2.4"
    shim.write_text("#!/bin/sh\necho 'no version selected' >&2\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(Exception, match=r"needs Python 2\.4, and .*python2\.4 does not run: no version selected"):
        python_of("2.4")


def test_what_is_built_from_source_stands_in_the_question(tmp_path: Path) -> None:
    asked: list[str] = []
    with pytest.raises(HarnessError, match="nothing was done"):
        install(choose("openhands").spec, "1.58.2", Store(tmp_path), lambda question: bool(asked.append(question)))
    assert "742 MB; builds func-timeout from source" in asked[0]


def test_what_holds_a_server_up_lasts_until_a_slow_fallback_can_ask() -> None:
    scenario = load_scenario("server_frozen_mid_turn")
    assert scenario.outside is not None
    assert scenario.outside.faults is not None
    [pause] = scenario.outside.faults
    longer = lasting(pause, 75.0)
    assert isinstance(pause, Pause)
    assert isinstance(longer, Pause)
    assert (pause.for_s, longer.for_s, longer.after_s) == (25.0, 100.0, pause.after_s)
    killed = load_scenario("server_killed_mid_turn").outside
    assert killed is not None
    assert killed.faults is not None
    assert lasting(killed.faults[0], 75.0) is killed.faults[0]


def test_the_model_asks_for_the_tool_until_it_has_its_result_and_titles_are_aside(tmp_path: Path) -> None:
    scenario = load_scenario("client_gives_up_server_goes_on")
    assert scenario.outside is not None
    script = script_of(scenario.outside, choose("hermes").spec, scenario, tmp_path)
    quick, tool, slow = script["models"]["*"]
    assert tool["when"] == {"text": r"\bLJ-1\b", "after_tool": False}
    assert f'echo paid >> "{tmp_path}/ledger"' in tool["tool_calls"][0]["arguments"]["command"]
    assert (slow["text"], slow["when"]) == ("Paid.", {"text": r"\bLJ-1\b"})
    assert script["aside"] == ["fake-aux"]
    assert script["models"]["fake-aux"] == [quick]


def test_a_scenario_with_an_effect_needs_a_tool(tmp_path: Path) -> None:
    scenario = load_scenario("client_gives_up_server_goes_on")
    assert scenario.outside is not None
    with pytest.raises(UsageError, match="a target with a tool"):
        script_of(scenario.outside, load_target_spec(written(tmp_path, GOOD)), scenario, tmp_path)


def test_the_file_on_the_how_to_page_is_right_and_under_sixty_lines(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "test-your-runtime.md").read_text()
    text = page.partition("```toml\n")[2].partition("```")[0]
    assert len(text.splitlines()) < 60
    shown, built_in = load_target_spec(written(tmp_path, text)), choose("nanobot").spec
    assert (shown.client, shown.gateway, shown.messages) == (built_in.client, built_in.gateway, built_in.messages)
