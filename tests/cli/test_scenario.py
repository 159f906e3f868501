"""``lockjaw scenario``: the template runs, every mistake is found in one go, and editors get a schema that is true."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lockjaw.cli.scenario.check import check
from lockjaw.cli.scenario.new import new
from lockjaw.documents.yaml import read_document
from lockjaw.errors import DocumentError, UsageError
from lockjaw.harness import load_scenario, run_scenario
from lockjaw.harness.incident.scenario import NO_DANGER, Scenario, check_scenario
from lockjaw.harness.incident.schema import SCHEMA_FILE, structs_in
from lockjaw.scenarios import names
from lockjaw.verdict import Verdict

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "scenarios" / SCHEMA_FILE).read_text(encoding="utf-8"))
VALID = jsonschema.Draft202012Validator(SCHEMA)
SCENARIOS = sorted((ROOT / "scenarios").glob("*.yaml"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lockjaw(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lockjaw", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


# --------------------------------------------------------------------------- new


@pytest.mark.parametrize("policy", ["reuse-session", "takeover"])
def test_the_template_runs_and_does_what_it_says_of_itself(policy: str) -> None:
    new("my_incident")

    scenario = load_scenario(Path("my_incident.yaml"))
    run = run_scenario(scenario, policy=policy, engine="sim")

    broken = [one.name for one in run.checks if one.verdict is Verdict.VIOLATED]
    assert broken == list(scenario.expect[policy])
    assert all(one.met for one in run.reached)
    assert check_scenario("my_incident.yaml") == (scenario, [])


def test_the_template_names_the_schema_and_itself_and_keeps_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    new("my_incident", out=Path("other.yaml"))

    text = Path("other.yaml").read_text()
    (schema,) = re.findall(r"\A# yaml-language-server: \$schema=file://(\S+)\n", text)
    assert json.loads(Path(schema).read_text()) == SCHEMA
    assert not {"NAME", "SCHEMA"} & set(re.findall(r"\b[A-Z]+\b", text))
    assert max(map(len, text.splitlines()[1:])) <= 120
    assert list(VALID.iter_errors(read_document("other.yaml").data)) == []
    assert capsys.readouterr().out.endswith("lockjaw run other.yaml --policy all --engine sim\n")


@pytest.mark.parametrize("name", ["", "My", "../up", "a b", "1st", "x.yaml.yml", ".yaml"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="small letters"):
        new(name)


def test_a_file_that_is_there_is_replaced_only_by_force() -> None:
    Path("my.yaml").write_text("mine")
    with pytest.raises(UsageError, match="not there yet"):
        new("my.yaml")  # the ending may be written, too
    assert Path("my.yaml").read_text() == "mine"
    new("my", force=True)
    assert load_scenario("my.yaml").name == "my"


# --------------------------------------------------------------------------- check

WRONG = """\
story: x
mesage: hello
chain: [p/m]
models:
  m: [{txt: hi}]
timeout_s: soon
checks: [answered, answred]
actors: {other: {kind: scripted, script: [{do: tkae}]}}
"""


def test_every_mistake_is_found_in_one_go(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.yaml").write_text(WRONG)

    assert check(["bad.yaml"]) == 2

    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" expected")[0] for line in lines] == [
        "bad.yaml:2:1: at mesage",
        "bad.yaml:5:8: at models.m[0].txt",
        "bad.yaml:6:1: at timeout_s",
        "bad.yaml:7:20: at checks[1]",
        "bad.yaml:8:44: at actors.other.script[0].do",
    ]
    assert [line.rpartition("; did you mean ")[2] for line in lines if "did you" in line] == [
        "message?", "text?", "answered?", "take?",
    ]  # fmt: skip


def test_mistakes_of_several_kinds_that_no_single_key_shows_are_found_together() -> None:
    good = WRONG.replace("mesage", "message").replace("txt", "text").replace("soon", "5").replace("tkae", "take")
    Path("bad.yaml").write_text(
        good.replace("chain: [p/m]", "chain: [p/n]") + "faults: [{action: kill, target: x, at_s: 1}]\n"
    )

    _, found = check_scenario("bad.yaml")

    assert [one.key for one in found] == ["models", "checks[1]", "faults[0].target"]
    assert "did you mean answered?" in str(found[1])


def test_a_word_of_another_project_is_answered_with_ours() -> None:
    Path("bad.yaml").write_text(
        WRONG.replace("tkae", "lock").replace("[answered,", "[answered]\nfaults: [{action: freeze, target: other}]\n#")
    )

    _, found = check_scenario("bad.yaml")

    assert [str(one).rpartition("; did you mean ")[2] for one in found if one.got in ("lock", "freeze")] == [
        "pause?", "take?",
    ]  # fmt: skip


def test_a_right_file_is_named_and_a_missing_one_is_answered_with_the_one_that_was_meant() -> None:
    ended = lockjaw("scenario", "check", "gateway_timeout", "gateway_timeot", "--json")

    assert ended.returncode == 2
    document = json.loads(ended.stdout)
    assert document["right"] is False
    (mistake,) = document["mistakes"]
    assert mistake["text"].endswith("got 'gateway_timeot'; did you mean gateway_timeout?")


DANGER = """\
story: x
message: hello
chain: [p/m]
models: {m: [{text: hi}]}
checks: [answered]
answers_s: {p/m: 1}
sometimes:
  - says: it was dangerous
    seen: {op: client.call, phase: ok, data: {status: ok}}
"""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("op: client.call", "op: client.cal", "sometimes[0].seen.op expected an operation of the history"),
        ("{status: ok}", "{staus: ok}", "sometimes[0].seen.data.staus expected a key of client.call"),
        ("phase: ok", "phase: ok, actor: cliant", "sometimes[0].seen.actor expected an actor of this scenario"),
        ("    seen:", "    while_locked_by: gatway\n    seen:", "sometimes[0].while_locked_by expected an actor"),
    ],
)
def test_a_condition_that_can_never_be_met_is_refused(old: str, new: str, told: str) -> None:
    Path("danger.yaml").write_text(DANGER.replace(old, new))
    with pytest.raises(DocumentError) as caught:
        load_scenario("danger.yaml")
    assert told in str(caught.value)
    assert "did you mean" in str(caught.value)


def test_a_scenario_that_names_no_danger_is_not_held_in_silence() -> None:
    Path("danger.yaml").write_text(DANGER)
    assert run_scenario("danger.yaml", engine="sim").notes == ()
    Path("silent.yaml").write_text(DANGER[: DANGER.index("sometimes:")])

    ended = lockjaw("run", "silent.yaml", "--engine", "sim")

    assert f"silent: {NO_DANGER}" in ended.stdout
    assert run_scenario("silent.yaml", engine="sim").notes == (NO_DANGER,)
    assert NO_DANGER in lockjaw("scenario", "check", "silent.yaml").stdout


# --------------------------------------------------------------------------- show, schema


def test_a_built_in_scenario_is_shown_as_its_file_stands() -> None:
    shown = lockjaw("scenario", "show", "gateway_timeout")
    assert shown.stdout == (ROOT / "scenarios/gateway_timeout.yaml").read_text(encoding="utf-8")
    assert lockjaw("scenario", "show", "../x").returncode == 2


def test_the_schema_is_one_and_is_what_the_verb_prints() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(lockjaw("scenario", "schema").stdout) == SCHEMA


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_scenario_keeps_to_the_schema_and_names_it(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith(f"# yaml-language-server: $schema={SCHEMA_FILE}\n")
    assert [error.message for error in VALID.iter_errors(read_document(path).data)] == []


def test_there_are_scenarios() -> None:
    assert [path.stem for path in SCENARIOS] == names()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("timeot_s", 1), ("timeout_s", "soon"), ("chain", []), ("models", {"m": [{"txt": "hi"}]}),
        ("faults", [{"action": "explode", "target": "gateway", "at_s": 1}]),
        ("actors", {"a": {"kind": "scripted", "script": [{"do": "tkae"}]}}), ("sometimes", [{"says": "x"}]),
    ],
)  # fmt: skip
def test_what_the_reader_refuses_the_schema_refuses_too(key: str, value: Any) -> None:
    document = read_document(ROOT / "scenarios/gateway_timeout.yaml").data
    assert VALID.is_valid(document)
    assert not VALID.is_valid(document | {key: value})


def test_every_key_has_a_title_with_its_unit_and_a_note() -> None:
    parts = [SCHEMA, *(SCHEMA["$defs"][struct.__name__] for struct in structs_in(Scenario) if struct is not Scenario)]
    keys = [
        (key, spec)
        for part in parts
        for key, spec in part["properties"].items()
        if "enum" not in spec or "title" in spec
    ]
    assert len(keys) > 80
    assert [key for key, spec in keys if not spec.get("description") and len(spec.get("enum", ())) != 1] == []
    assert [key for key, spec in keys if key.endswith("_s") and "(nominal seconds)" not in spec["title"]] == []
    assert SCHEMA["properties"]["timeout_s"]["examples"]
