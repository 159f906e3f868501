"""A run folder that somebody sent: what is no file is not read, and what says nonsense is named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from lockjaw.cli.replay import replay
from lockjaw.errors import UsageError
from lockjaw.harness import load_scenario, run_scenario, store
from lockjaw.harness.kit.making import make_kit
from lockjaw.harness.store import HISTORY, MANIFEST, SCENARIO, TAPE, VERDICT, read_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    return run_scenario(load_scenario("gateway_timeout"), engine="sim", seed=1, out=out).run_dir


@pytest.fixture
def sent(finished: Path, tmp_path: Path) -> Path:
    return copytree(finished, tmp_path / "scenario" / "sent")


READERS_OF_ALL: list[Callable[[Path], Any]] = [
    replay, lambda folder: make_kit(folder, folder.parent / "KIT.zip", render=lambda run: ""),
]  # fmt: skip
READERS = [read_run, *READERS_OF_ALL]


@pytest.mark.parametrize("name", [MANIFEST, HISTORY, VERDICT, SCENARIO, TAPE])
def test_a_pipe_a_device_and_a_file_beyond_all_size_are_refused_unread(
    name: str, sent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe never ends, and a device fills the memory."""
    kept = (sent / name).read_bytes()
    for make in (os.mkfifo, lambda path: os.symlink("/dev/zero", path)):
        (sent / name).unlink()
        make(sent / name)
        for read in READERS:
            with pytest.raises(UsageError, match="expected a plain file"):
                read(sent)
    (sent / name).unlink()
    (sent / name).write_bytes(kept)
    monkeypatch.setattr(store, "MAX_FILE_BYTES", len(kept) - 1)
    with pytest.raises(UsageError, match="at most"):
        read_run(sent)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (SCENARIO, b"\xff"), (SCENARIO, b"[1,2"), (SCENARIO, b"[" * 100_000), (SCENARIO, b'{"name": 5}'),
        (MANIFEST, b'{"engine": "sim", "policy": 7}'), (MANIFEST, b'{"engine": "sim", "policy": "x", "seed": "1"}'),
    ],
)  # fmt: skip
def test_nonsense_in_a_run_folder_is_named(name: str, text: bytes, sent: Path) -> None:
    (sent / name).write_bytes(text)
    for read in READERS_OF_ALL:
        with pytest.raises(UsageError) as caught:
            read(sent)
        assert str(caught.value).startswith(str(sent / name))


def test_limits_hold_for_the_scenario_of_a_run_folder_too(sent: Path) -> None:
    plain = json.loads((sent / SCENARIO).read_bytes())
    plain["actors"] = {"a": {"kind": "scripted", "copies": 10**8, "script": [{"do": "sleep", "for_s": 1}]}}
    (sent / SCENARIO).write_text(json.dumps(plain))
    for read in READERS_OF_ALL:
        with pytest.raises(UsageError, match="at most 500 actors"):
            read(sent)
