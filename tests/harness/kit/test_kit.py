"""Kits end to end: nothing private is in one, and it replays where nothing of its maker is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lockjaw.errors import HarnessError, UsageError
from lockjaw.harness.incident.scenario import Scenario, builtin_names, load_scenario
from lockjaw.harness.kit import making
from lockjaw.harness.kit.making import MadeKit, make_kit
from lockjaw.harness.kit.reading import read_kit
from lockjaw.harness.kit.redaction import Redactor
from lockjaw.harness.kit.rules import RULES
from lockjaw.harness.run import run_policies, run_scenario
from lockjaw.harness.sim.engine import run_sim
from lockjaw.harness.sim.tape import StrictReplay
from lockjaw.history import event_hash
from lockjaw.reports import html

from .plants import plants

SALT = bytes(range(32))
PLANTS = [plant for plant in plants(seed=11) if plant.name not in ("html entity",)]
#: Plants that fit into a file name, a header, a name of the tool's.
NAMES = [p for p in PLANTS if p.text.isascii() and not set(p.text) & set("/\\\n \"':;,<>[]()%&")]


def kit_of(run_dir: Path, out: Path, **how: Any) -> MadeKit:
    return make_kit(run_dir, out, render=html.render_run, **{"salt": SALT, **how})


def private_scenario() -> Scenario:
    """A scenario whose author did not look: secrets wherever text can stand."""
    everything = " | ".join(plant.text for plant in PLANTS)
    lines = [plant.text.replace("\n", " ") for plant in PLANTS]
    headers = {f"x-header-{n}": line for n, line in enumerate(lines) if line.isascii() and line.isprintable()}
    files = [{"name": "write", "arguments": {"path": f"notes/{p.text}.txt", "content": everything}} for p in NAMES]
    plain = msgspec.to_builtins(load_scenario("gateway_killed_mid_turn"))
    plain["name"] = f"killed-{NAMES[0].text}"
    plain["story"] = f"It happened to us.\n{everything}\n"
    plain["reports"] = [everything]
    plain["message"] = f"Pay the bill of Mrs. Featherstonehaugh. {everything}"
    paying = plain["models"]["deepseek-v3"]
    paying[0]["error"] |= {"headers": headers, "message": f"overloaded {everything}"}
    paying[-1]["text"] = f"Paid for Mrs. Featherstonehaugh: {everything}"
    for steps in plain["models"].values():
        steps.insert(1 if steps is paying else 0, {"tool_calls": files})
    plain["sometimes"][0]["says"] += f" {everything}"
    plain["faults"][0]["nth"] = 3
    plain["effects"]["allowed"] |= dict.fromkeys(lines, 1)
    plain["client_token"] = None
    return msgspec.convert(plain, Scenario)


def contents(kit: Path) -> dict[str, str]:
    with zipfile.ZipFile(kit) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def survivors(texts: dict[str, str]) -> list[tuple[str, str]]:
    """(file, kind) of each planted secret that is still there, as it is or escaped for JSON or HTML."""
    found = []
    for name, text in texts.items():
        for plant in PLANTS:
            for secret in plant.secrets:
                once = json.dumps(secret)[1:-1]
                forms = {secret, once, json.dumps(once)[1:-1], secret.replace("&", "&amp;").replace("<", "&lt;")}
                if any(form in text for form in forms):
                    found.append((name, plant.name))
    return found


@pytest.fixture(scope="module")
def private_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_scenario(private_scenario(), engine="sim", out=tmp_path_factory.mktemp("alice") / "runs").run_dir


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    return run_scenario("gateway_timeout", policy="reuse-session", engine="sim", out=out).run_dir


# --------------------------------------------------------------------------- nothing private


def test_no_planted_secret_is_in_any_file_of_a_kit(private_run: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_text() for path in private_run.iterdir() if path.is_file()}
    assert {name for _, name in survivors(before)} == {plant.name for plant in PLANTS}, "a plant that is not planted"

    made = kit_of(private_run, tmp_path / "KIT.zip")
    texts = contents(made.path)

    assert survivors(texts) == []
    assert not [name for name, text in texts.items() if "Featherstonehaugh" in text]
    assert made.manifest.verdict == json.loads(before["verdict.json"])["verdict"]


def test_the_kit_of_a_private_scenario_replays_with_its_hash(private_run: Path, tmp_path: Path) -> None:
    made = kit_of(private_run, tmp_path / "KIT.zip")

    told = replayed_elsewhere(made.path, tmp_path / "elsewhere")

    assert told["replay"] == {"of": str(made.path), "same_verdict": True, "same_event_hash": True}
    assert told["runs"][0]["event_hash"] == made.manifest.event_hash


def test_no_planted_secret_survives_a_run_of_real_processes(plain_run: Path, tmp_path: Path) -> None:
    run_dir = as_real_run(plain_run, tmp_path / "real")
    history = [json.loads(line) for line in (run_dir / "history.jsonl").read_text().splitlines()]
    for n, plant in enumerate(PLANTS):
        data = history[n % len(history)].setdefault("data", {})
        data[f"detail{n}"] = plant.text
        data["reply"] = f"Dear Mrs. Featherstonehaugh {plant.text}"
    (run_dir / "history.jsonl").write_text("".join(json.dumps(record) + "\n" for record in history))
    everything = "\n".join(plant.text for plant in PLANTS)
    (run_dir / "logs" / "client.log").write_text(everything)
    verdict = json.loads((run_dir / "verdict.json").read_text())
    verdict["checks"][0]["finding"] += everything
    verdict["outcome"]["error"] = everything
    (run_dir / "verdict.json").write_text(json.dumps(verdict))

    texts = contents(kit_of(run_dir, tmp_path / "KIT.zip").path)

    assert survivors(texts) == []
    assert not [name for name, text in texts.items() if "Featherstonehaugh" in text or str(tmp_path) in text]


@pytest.mark.parametrize("rule", ["email", "vendor", "home-user", "uuid", "digits"])
def test_a_rule_that_is_missing_is_noticed(
    rule: str, private_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug: without one rule, this file's own test of survivors must fail."""
    left = tuple(other for other in RULES if other.name != rule)

    def broken(*args: Any, **how: Any) -> Redactor:
        return Redactor(*args, **how, rules=left)

    monkeypatch.setattr(making, "Redactor", broken)

    assert survivors(contents(kit_of(private_run, tmp_path / "KIT.zip").path))


def test_a_leak_stops_the_kit(private_run: Path, tmp_path: Path) -> None:
    """The last look finds what a page brings in by itself, and nothing is written."""
    secret = next(plant for plant in PLANTS if plant.name == "e-mail").secrets[0]

    with pytest.raises(HarnessError, match=r"report.html would still show something private \(.*email"):
        make_kit(private_run, tmp_path / "KIT.zip", render=lambda run: f"<p>{secret}</p>", salt=SALT)

    assert not list(tmp_path.iterdir())


def test_nothing_that_is_told_holds_a_secret(private_run: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lockjaw", "kit", str(private_run), "-o", "KIT.zip"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip

    assert survivors({"stdout": done.stdout, "stderr": done.stderr}) == []
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert "secret" in done.stdout


# --------------------------------------------------------------------------- replay


def replayed_elsewhere(kit: Path, folder: Path, *flags: str) -> dict[str, Any]:
    """``lockjaw replay`` with an empty home, an empty folder and an environment of nothing else."""
    home = folder / "home"
    home.mkdir(parents=True)
    bare = {"HOME": str(home), "PATH": os.defpath}
    done = subprocess.run(
        [sys.executable, "-m", "lockjaw", "replay", str(kit), "--json", *flags],
        cwd=folder, env=bare, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1, 3), done.stderr
    assert not list(home.iterdir())
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_kit_of_a_built_in_scenario_has_the_very_hash_of_its_run(plain_run: Path, tmp_path: Path) -> None:
    made = kit_of(plain_run, tmp_path / "KIT.zip")

    told = replayed_elsewhere(made.path, tmp_path / "elsewhere")

    original = json.loads((plain_run / "verdict.json").read_text())
    assert told["runs"][0]["event_hash"] == original["event_hash"] == made.manifest.event_hash
    assert told["runs"][0]["verdict"] == original["verdict"]


def as_real_run(run_dir: Path, copy: Path, **changes: Any) -> Path:
    """A run folder as real processes leave one."""
    from shutil import copytree

    copytree(run_dir, copy)
    manifest = json.loads((copy / "manifest.json").read_text()) | {"engine": "real", **changes}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    (copy / "tape.jsonl").unlink()
    return copy


@pytest.mark.real
def test_a_kit_of_real_processes_replays_as_real_processes(tmp_path: Path) -> None:
    run = run_scenario("gateway_timeout_fast_backup", policy="no-fallback", time_scale=0.01, out=tmp_path / "runs")
    made = kit_of(run.run_dir, tmp_path / "KIT.zip")

    told = replayed_elsewhere(made.path, tmp_path / "elsewhere")

    assert told["replay"]["same_verdict"]
    assert told["runs"][0]["engine"] == "real"


def test_a_strangers_tool_calls_do_not_run_on_this_machine_unasked(private_run: Path, tmp_path: Path) -> None:
    made = kit_of(as_real_run(private_run, tmp_path / "real"), tmp_path / "KIT.zip")

    done = subprocess.run(
        [sys.executable, "-m", "lockjaw", "replay", str(made.path)],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert "echo paid >> ledger.txt" in done.stderr
    assert "--yes-real" in done.stderr
    assert not (tmp_path / ".lockjaw").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda kit: change_tape(kit, 3), "replay diverged at step"),
        (lambda kit: change_manifest(kit, event_hash=f"sha256:{'0' * 64}"), "the same steps at the same times"),
        (lambda kit: change_manifest(kit, event_hash=f"sha256:{'0' * 64}", lockjaw="0.0.1"), "made by lockjaw 0.0.1"),
    ],
    ids=["another tape", "another hash", "another version"],
)
def test_a_replay_says_where_it_diverged_and_why_it_may(
    change: Callable[[Path], None], says: str, plain_run: Path, tmp_path: Path
) -> None:
    kit = kit_of(plain_run, tmp_path / "KIT.zip").path
    change(kit)

    done = subprocess.run(
        [sys.executable, "-m", "lockjaw", "replay", str(kit)],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 4
    assert says in done.stderr
    assert "the versions are the same" in done.stderr or "only the same version is sure" in done.stderr


def rewritten(kit: Path, **files: bytes) -> None:
    """Change files of a kit, with sums that fit again."""
    import hashlib

    with zipfile.ZipFile(kit) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    held |= {name.replace("__", "."): data for name, data in files.items()}
    manifest = json.loads(held["kit.json"])
    manifest["files"] = {
        n: hashlib.sha256(d).hexdigest() for n, d in held.items() if n not in ("kit.json", "README.md")
    }
    held["kit.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(kit, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in held.items():
            archive.writestr(name, data)


def change_manifest(kit: Path, **changes: Any) -> None:
    with zipfile.ZipFile(kit) as archive:
        manifest = json.loads(archive.read("kit.json")) | changes
    rewritten(kit, kit__json=json.dumps(manifest).encode())


def change_tape(kit: Path, line: int) -> None:
    with zipfile.ZipFile(kit) as archive:
        lines = archive.read("tape.jsonl").splitlines()
    rewritten(kit, tape__jsonl=b"\n".join([*lines[:line], *lines[line + 1 :]]))


# --------------------------------------------------------------------------- making


def test_a_kit_holds_what_a_maintainer_needs(plain_run: Path, tmp_path: Path) -> None:
    made = kit_of(plain_run, tmp_path / "KIT.zip")
    texts = contents(made.path)

    assert list(texts) == [
        "README.md", "kit.json", "scenario.json", "tape.jsonl", "history.jsonl", "verdicts.json", "report.html",
        "redactions.json",
    ]  # fmt: skip
    verdicts = json.loads(texts["verdicts.json"])
    assert (verdicts["baseline"]["policy"], verdicts["baseline"]["verdict"]) == ("reuse-session", "VIOLATED")
    assert (verdicts["candidate"]["policy"], verdicts["candidate"]["verdict"]) == ("takeover", "HELD")
    assert "lockjaw replay KIT.zip" in texts["README.md"]
    assert json.loads(texts["kit.json"])["replay"] == "lockjaw replay KIT.zip"
    assert read_kit(made.path).scenario == load_scenario("gateway_timeout")
    assert SALT.hex() not in "".join(texts.values())


def test_the_same_salt_makes_the_same_bytes(private_run: Path, tmp_path: Path) -> None:
    kits = [kit_of(private_run, tmp_path / f"{n}.zip", salt=salt) for n, salt in enumerate((SALT, SALT, SALT[::-1]))]

    first, again, other = (kit.path.read_bytes() for kit in kits)
    assert first == again
    assert first != other


def test_a_file_is_replaced_only_when_asked_and_only_by_a_whole_kit(
    plain_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "KIT.zip"
    out.write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        kit_of(plain_run, out)
    assert out.read_text() == "mine"

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HarnessError, match="No space left"):
        kit_of(plain_run, out, force=True)
    assert out.read_text() == "mine"
    monkeypatch.undo()

    kit_of(plain_run, out, force=True)
    assert read_kit(out).manifest.verdict == "VIOLATED"
    assert [path.name for path in tmp_path.iterdir()] == ["KIT.zip"]


def test_texts_are_kept_when_asked(private_run: Path, tmp_path: Path) -> None:
    texts = contents(kit_of(private_run, tmp_path / "KIT.zip", keep_text=True).path)

    assert "Pay the bill of Mrs. " in texts["scenario.json"]
    assert "Featherstonehaugh" not in texts["scenario.json"]  # who has a title is a person
    assert survivors(texts) == []


def test_a_run_that_does_not_repeat_here_makes_no_kit(plain_run: Path, tmp_path: Path) -> None:
    from shutil import copytree

    copy = tmp_path / "run"
    copytree(plain_run, copy)
    lines = (copy / "tape.jsonl").read_text().splitlines(keepends=True)
    (copy / "tape.jsonl").write_text("".join(lines[:-5]))

    with pytest.raises(HarnessError, match="does not repeat here"):
        kit_of(copy, tmp_path / "KIT.zip")
    assert not (tmp_path / "KIT.zip").exists()


def test_a_folder_without_a_finished_run_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the folder of a finished run"):
        kit_of(tmp_path, tmp_path / "KIT.zip")


def test_plants_are_plants() -> None:
    assert len({plant.name for plant in PLANTS}) >= 30


@pytest.mark.parametrize("name", builtin_names())
def test_a_kit_of_every_scenario_replays_with_its_hash(name: str, tmp_path: Path) -> None:
    """Scripted actors, faults and planted states, too; and the kit shows how the baseline and ours fare."""
    scenario = load_scenario(name)
    [run] = run_policies(scenario, [scenario.baseline], engine="sim", seed=3, out=tmp_path / "runs")

    kit = read_kit(make_kit(run.run_dir, tmp_path / "kit.zip", render=html.render_run).path)
    assert kit.scenario == scenario
    lived = run_sim(kit.scenario, policy=kit.manifest.policy, seed=kit.manifest.seed, choices=StrictReplay(kit.tape))

    assert event_hash(lived.history) == kit.manifest.event_hash == run.event_hash
    with zipfile.ZipFile(kit.path) as archive:
        verdicts = json.loads(archive.read("verdicts.json"))
    assert [verdicts[which]["policy"] for which in ("baseline", "candidate")] == [scenario.baseline, "takeover"]
    assert [verdicts[which]["verdict"] for which in ("run", "baseline", "candidate")] == [
        str(run.verdict), str(run.verdict), "HELD",
    ]  # fmt: skip
