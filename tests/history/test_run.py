"""One run: what its document says is what is read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from lockjaw.harness.store import VERDICT, keep, read_run
from lockjaw.harness.store import Store as RunStore
from lockjaw.history import Record
from lockjaw.history.run import Outcome, Reached, Run, read_document
from lockjaw.verdict import CheckResult, Verdict

OUTCOME = Outcome(False, 1, 3, 1, 4, 1, False, None, "FallbackSummaryError: all models failed")
RUN = Run(
    scenario="gateway_timeout", policy="reuse-session", engine="sim", seed=7, verdict=Verdict.VIOLATED,
    checks=(CheckResult("answered", Verdict.VIOLATED, "the user got no answer", (1,)),),
    reached=(Reached("the client gave up", 0), Reached("the gateway was killed", None)), outcome=OUTCOME,
    event_hash="sha256:0", nominal_s=123.9, wall_s=0.1, run_dir=Path("/runs/a"),
    history=[Record(0.0, "client", "client.call", "invoke"), Record(1.0, "client", "client.result", "info")],
    notes=("the target has no second client",), story="A user asks. The gateway is slow.",
)  # fmt: skip


def test_a_run_is_read_back_from_its_document() -> None:
    document = json.loads(json.dumps(RUN.document()))
    assert read_document(document, RUN.history, Path("/runs/a")) == RUN


def test_a_run_that_was_moved_is_repeated_where_it_is_now() -> None:
    moved = read_document(RUN.document(), RUN.history, Path("/elsewhere/b"))
    assert moved == replace(RUN, run_dir=Path("/elsewhere/b"))
    assert moved.replay == "lockjaw replay /elsewhere/b"


def test_a_document_of_a_newer_version_is_read_as_far_as_it_is_known() -> None:
    assert read_document(RUN.document() | {"new": [1]}, RUN.history, RUN.run_dir) == RUN


def test_a_document_that_is_none_names_the_key() -> None:
    with pytest.raises(msgspec.ValidationError, match="verdict"):
        read_document(RUN.document() | {"verdict": "GREEN"}, RUN.history, RUN.run_dir)


def test_a_run_folder_gives_back_the_run_that_was_kept(tmp_path: Path) -> None:
    folder = RunStore(tmp_path).create("gateway_timeout", 7, "reuse-session")
    kept = replace(RUN, run_dir=folder.path, history=[replace_i(r, i) for i, r in enumerate(RUN.history)])
    keep(folder, kept)
    assert read_run(folder.path) == kept
    assert json.loads((folder.path / VERDICT).read_text())["story"] == RUN.story


def replace_i(record: Record, i: int) -> Record:
    return msgspec.structs.replace(record, i=i)
