"""The documentation: what it says about commands, keys and links is true, and its examples run."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from lockjaw.cli import verbs
from lockjaw.fakes.links.toxics import Latency
from lockjaw.harness.targets.namespace import Namespace, NoNamespace
from lockjaw.harness.targets.spec import load_target_spec

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
READER = MarkdownIt("commonmark").enable("table")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tokens(path: Path) -> list[Token]:
    return READER.parse(path.read_text(encoding="utf-8"))


def blocks(path: Path, info: str) -> Iterator[str]:
    """The fenced blocks of one language."""
    for token in tokens(path):
        if token.type == "fence" and token.info.strip() == info:
            yield token.content


def anchors(path: Path) -> set[str]:
    """What a link may point at: headings, as GitHub and MyST name them, and MyST's own ``(name)=`` targets."""
    found, read = set(), tokens(path)
    for opened, inline in pairwise(read):
        if opened.type == "heading_open":
            text = "".join(t.content for t in inline.children or () if t.type in ("text", "code_inline"))
            found.add(re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-"))
    return found | set(re.findall(r"^\(([\w-]+)\)=$", path.read_text(encoding="utf-8"), re.M))


def links(path: Path) -> Iterator[str]:
    for token in tokens(path):
        for child in token.children or ():
            if child.type in ("link_open", "image"):
                yield str(child.attrs.get("href") or child.attrs.get("src"))


@pytest.mark.parametrize("path", [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=name_of)
def test_every_link_inside_the_project_leads_somewhere(path: Path) -> None:
    for link in links(path):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link} leaves the repository"
        if anchor:
            assert anchor in anchors(target), f"{link}: no such heading; there are {sorted(anchors(target))}"


def test_a_dead_link_and_a_dead_anchor_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `two`\n\n(three)=\n[a](b.md) and [c](#d)\n")

    assert list(links(page)) == ["b.md", "#d"]
    assert anchors(page) == {"one-two", "three"}


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = {
        line.strip()
        for block in blocks(DOCS / "index.md", "{toctree}")
        for line in block.splitlines()
        if line.strip() and not line.startswith(":")
    }

    assert listed == {str(path.relative_to(DOCS).with_suffix("")) for path in PAGES} - {"index"}


def test_the_reference_is_what_the_code_says() -> None:
    told = subprocess.run(
        [sys.executable, DOCS / "generate.py", "--check"], capture_output=True, text=True, check=False
    )

    assert told.returncode == 0, f"run `python docs/generate.py`: {told.stdout}{told.stderr}"


def test_a_key_without_a_note_fails_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    generate = the_generator()
    assert "how much later each piece arrives" in generate.keys(Latency)
    monkeypatch.delitem(sys.modules["key_notes"].NOTES, "latency_s")
    with pytest.raises(AssertionError, match=r"Latency\.latency_s: no note"):
        generate.keys(Latency)

    class Bare(msgspec.Struct):
        """A part of a file."""

        jitter_s: float = 0.0

    with pytest.raises(AssertionError, match=r"Bare\.jitter_s: no note"):
        generate.keys(Bare)  # shared notes are for the scripts of the fakes: a scenario's keys have their own


def the_generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    return generate


def test_a_page_that_is_not_current_is_seen(tmp_path: Path) -> None:
    generate = the_generator()
    generate.FOLDER = tmp_path

    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    (tmp_path / "checks.md").write_text("# Checks\n")
    assert generate.main(["--check"]) == 1


def commands() -> Iterator[tuple[str, str]]:
    """Each ``lockjaw ...`` line of a console block or CI recipe, and its page."""
    for path in [*PAGES, ROOT / "README.md"]:
        for info in ("console", "yaml", ""):
            for block in blocks(path, info):
                for line in block.splitlines():
                    found = re.match(r"\s*(?:\$ |- )?(lockjaw [a-z].*)", line)
                    if found:
                        yield name_of(path), re.split(r" +# | > ", found[1])[0].strip()


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_every_command_that_is_shown_exists_with_its_options(page: str, line: str) -> None:
    words = re.findall(r'"[^"]*"|\S+', line)[1:]
    command: Any = verbs.command_line()
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, f"{page}: {line}"
        command = command.get_command(None, words.pop(0))
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= known | {"--help"}, f"{page}: {line}"


def test_commands_are_shown_at_all() -> None:
    assert len(set(commands())) > 15


#: Pages for contributors: their code is no test of pytest and goes into a harness of its own, at the end of this file.
CONTRIBUTED = (DOCS / "how-to" / "add-a-fault.md", DOCS / "how-to" / "add-a-world.md")
USERS_PAGES = [path for path in PAGES if path not in CONTRIBUTED]


@pytest.mark.parametrize("path", [path for path in USERS_PAGES if any(blocks(path, "python"))], ids=name_of)
def test_every_python_example_runs_as_it_stands(path: Path, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\naddopts = --strict-markers -p no:asyncio\nfilterwarnings = error\n")
    examples = list(blocks(path, "python"))
    if any("from mcp" in example for example in examples):
        pytest.importorskip("mcp")
    for example in examples:
        head = re.match(r"# (test_\w+\.py)\n", example)
        assert head, f"an example names its file in the first line: {example[:60]!r}"
        pytester.path.joinpath(head[1]).write_text(example)
    result = pytester.runpytest_subprocess("-q")

    outcomes = result.parseoutcomes()
    tests = sum(example.count("\ndef test_") for example in examples)
    assert outcomes.get("passed", 0) + outcomes.get("xfailed", 0) == tests, result.stdout.str()
    assert result.ret == 0


def test_the_runtime_of_the_page_is_the_one_that_comes_with_lockjaw(tmp_path: Path) -> None:
    (shown,) = blocks(DOCS / "how-to" / "test-your-runtime.md", "toml")
    (tmp_path / "nanobot.toml").write_text(shown)
    kept = load_target_spec(ROOT / "harness" / "targets" / "nanobot" / "target.toml")
    install = msgspec.structs.replace(kept.install, needs=())
    assert load_target_spec(tmp_path / "nanobot.toml") == msgspec.structs.replace(kept, tested=(), install=install)


def test_every_scenario_that_is_shown_runs(tmp_path: Path) -> None:
    shown = [block for path in USERS_PAGES for block in blocks(path, "yaml") if "\nchain:" in block]
    assert shown
    for number, block in enumerate(shown):
        file = tmp_path / f"shown_{number}.yaml"
        file.write_text(block)
        done = subprocess.run(
            [sys.executable, "-m", "lockjaw", "run", file, "--policy", "takeover", "--engine", "sim"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_about_scenarios_of_ones_own_says_what_its_commands_print(tmp_path: Path) -> None:
    """Followed from top to bottom: files that are shown are written, commands are run, lines that are shown appear."""
    text = (DOCS / "how-to" / "write-a-scenario.md").read_text(encoding="utf-8")
    ran = 0
    for kind, block in re.findall(r"```(yaml|console)\n(.*?)```", text, re.DOTALL):
        if kind == "yaml":
            name = re.match(r"# (\S+\.yaml)\n", block)
            assert name is not None
            (tmp_path / name[1]).write_text(block, encoding="utf-8")
            continue
        for part in block.split("$ lockjaw ")[1:]:
            command, *shown = part.splitlines()
            done = subprocess.run(
                [sys.executable, "-m", "lockjaw", *command.split()], cwd=tmp_path, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            assert done.returncode in (0, 1, 3), done.stderr
            assert [line for line in shown if line not in done.stdout.splitlines()] == [], done.stdout
            ran += 1
    assert ran == 8


def test_the_recipe_of_the_action_gives_inputs_that_it_has() -> None:
    (recipe,) = (yaml.safe_load(b) for b in blocks(DOCS / "how-to" / "ci.md", "yaml") if "uses: OWNER/lockjaw" in b)
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    (given,) = (step["with"] for step in recipe["jobs"]["lockjaw"]["steps"] if "with" in step)
    documented = set()
    for row in re.findall(r"^\| (`.*?) \|", (DOCS / "how-to" / "ci.md").read_text(), re.M):
        documented |= set(re.findall(r"`([\w-]+)`", row))

    assert given.keys() <= action["inputs"].keys()
    assert documented == action["inputs"].keys()


SHOWN = {
    "reuse-session": ["run", "gateway_timeout", "--policy", "reuse-session", "--engine", "sim"],
    "all": ["run", "gateway_timeout", "--policy", "all", "--engine", "sim"],
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the tutorial's commands print today. A run that holds the machine up shows in real seconds: masked."""
    folder = tmp_path_factory.mktemp("tutorial")
    said = []
    for arguments in SHOWN.values():
        done = subprocess.run(
            [sys.executable, "-m", "lockjaw", *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
        said.append(done.stdout)
    latest = sorted(folder.glob(".lockjaw/runs/gateway_timeout/*-reuse-session"))[0]
    done = subprocess.run(
        [sys.executable, "-m", "lockjaw", "replay", latest], cwd=folder, capture_output=True, text=True, check=False
    )
    said.append(done.stdout.replace(str(latest), ".lockjaw/runs/latest"))
    return masked("\n".join(said))


def masked(text: str) -> str:
    """Without what depends on the machine: real seconds, and the line breaks that move with them."""
    return re.sub(r"\(\d+\.\d s of real time\)", "(REAL)", " ".join(text.split()))


@pytest.mark.parametrize("number", range(4))
def test_the_output_in_the_tutorial_is_what_the_commands_print(printed: str, number: int) -> None:
    shown = list(blocks(DOCS / "tutorial" / "reproduce.md", "text"))

    assert len(shown) == 4
    assert masked(shown[number]) in printed


@pytest.mark.parametrize("group", ["", "serve", "openclaw", "locks", "bench", "gateway"])
def test_no_command_is_listed_with_half_a_sentence(group: str) -> None:
    environment = {**os.environ, "COLUMNS": "80"}
    command = [sys.executable, "-m", "lockjaw", *group.split(), "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    listed = told.partition("Commands:\n")[2].splitlines()
    assert listed
    assert [line for line in listed if line.endswith("...")] == []
    assert [line for line in told.splitlines() if len(line) > 80] == []


# --------------------------------------------------------------------------- pages for contributors


@pytest.fixture
def followed(tmp_path: Path) -> dict[str, str]:
    """A copy of the harness with the faults of the page, as somebody who follows it has it; what to run it with."""
    copy = shutil.copytree(ROOT / "harness", tmp_path / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    first, second, _ = blocks(CONTRIBUTED[0], "python")
    (copy / "faults" / "read_only.py").write_text(first)
    (copy / "faults" / "evict.py").write_text(second)
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.machinery, importlib.util, pathlib, sys\n"
        f"ROOT = pathlib.Path({str(copy)!r})\n"
        "class Copy:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        parts = name.split('.')\n"
        "        if parts[:2] != ['lockjaw', 'harness']:\n"
        "            return None\n"
        "        place = ROOT.joinpath(*parts[2:])\n"
        "        if place.is_dir():\n"
        "            init, inside = place / '__init__.py', [str(place)]\n"
        "            return importlib.util.spec_from_file_location(name, init, submodule_search_locations=inside)\n"
        "        file = place.with_suffix('.py')\n"
        "        return importlib.util.spec_from_file_location(name, file) if file.is_file() else None\n"
        "sys.meta_path.insert(0, Copy())\n"
    )
    return os.environ | {"PYTHONPATH": str(tmp_path)}


@pytest.mark.parametrize("world", ["sim", pytest.param("real", marks=pytest.mark.real)])
def test_the_fault_on_the_page_is_found_played_and_told(world: str, tmp_path: Path, followed: dict[str, str]) -> None:
    (scenario,) = blocks(CONTRIBUTED[0], "yaml")
    (tmp_path / "that.yaml").write_text(scenario)
    command = [sys.executable, "-m", "lockjaw", "run", "that.yaml", "--policy", "takeover", "--engine", world, "--json"]
    done = subprocess.run(
        command, cwd=tmp_path, env=followed, capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    assert run["sometimes"][0]["met"] is True
    records = [json.loads(line) for line in (tmp_path / run["run_dir"] / "history.jsonl").read_text().splitlines()]
    assert "makes the disk of the cron read-only" in [r["data"].get("says") for r in records]
    ended = [r["data"]["code"] for r in records if r["op"] == "actor.exit" and r["data"]["actor"] == "cron"]
    assert ended == [1]


@pytest.mark.nightly
def test_the_test_of_the_fault_on_the_page_passes(tmp_path: Path, followed: dict[str, str]) -> None:
    *_, test = blocks(CONTRIBUTED[0], "python")
    (tmp_path / "faults").mkdir()
    for name in ("conftest.py", "playing.py"):
        shutil.copy(ROOT / "tests" / "harness" / "faults" / name, tmp_path / "faults")
    (tmp_path / "faults" / "test_read_only.py").write_text(test)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)  # how pytest imports tests, and their markers
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "sim", "faults"],
        cwd=tmp_path, env=followed, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "3 passed, 3 deselected" in done.stdout, done.stdout


@pytest.fixture
def my_runtime(tmp_path: Path) -> Path:
    """The folder that the page about worlds shows; commands are run beside it."""
    (tmp_path / "my_runtime").mkdir()
    shown = re.findall(r"```\w+\n# (my_runtime/\S+)\n(.*?)```", CONTRIBUTED[1].read_text(encoding="utf-8"), re.DOTALL)
    for name, text in shown:
        (tmp_path / name).write_text(text)
    return tmp_path


def lockjaw_says(command: str, folder: Path) -> str:
    words = [sys.executable, "-m", "lockjaw", *command.split()]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120, check=False).stdout


def test_the_runtime_on_the_page_about_worlds_can_be_played(my_runtime: Path) -> None:
    told = lockjaw_says("target check ./my_runtime", my_runtime)
    assert "scenario two_clients_one_session: applies" in told.splitlines()


@pytest.mark.nightly
def test_the_runtime_on_the_page_about_worlds_loses_a_turn_and_its_lock_mends_it(my_runtime: Path) -> None:
    """Two runs of 16 s, in real time."""
    try:
        Namespace().close()
    except NoNamespace as error:
        pytest.skip(f"no network namespace here: {error.reason}")
    (shown,) = (b for b in blocks(CONTRIBUTED[1], "console") if "VIOLATED" in b)
    expected = {line for line in shown.splitlines() if line.startswith("X VIOLATED")}
    command = "run two_clients_one_session --target ./my_runtime"
    assert len(expected) == 2
    assert all(" ".join(line.split()) in " ".join(lockjaw_says(command, my_runtime).split()) for line in expected)

    folder = my_runtime / "my_runtime"
    locked, holder = (next(b for b in blocks(CONTRIBUTED[1], kind) if "lock" in b) for kind in ("python", "toml"))
    before, turn, after = re.split(
        r"(?<=def turn\(model_url, message\):\n)|(?=\n\nclass Server)", (folder / "runtime.py").read_text()
    )
    (folder / "runtime.py").write_text(f"import fcntl\n{before}{locked}{textwrap.indent(turn, '    ')}{after}")
    described = (folder / "target.toml").read_text()
    (folder / "target.toml").write_text(described.replace("\n[gateway]", f"{holder}\n[gateway]"))
    assert lockjaw_says(command, my_runtime).startswith("SCENARIO two_clients_one_session   + HELD")


@pytest.mark.real
def test_the_world_on_the_page_plays_a_scenario(tmp_path: Path) -> None:
    _, page = CONTRIBUTED
    code = "\n".join(b for b in blocks(page, "python") if "RealWorld" in b or "run_async" in b)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split() == ["HELD"], done.stderr
