"""What people paste is understood, however it was wrapped, quoted or escaped, and nothing is invented."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockjaw.harness.intake import read_file, read_report
from lockjaw.harness.intake.compose import compose
from lockjaw.harness.intake.private import shown
from lockjaw.harness.intake.records import join

from ..kit.plants import Plant, plants
from .disguises import DISGUISES
from .excerpts import EXCERPTS, LOOK_ALIKES, Excerpt

REPORTS = Path(__file__).parent / "reports"
#: What each text is, by the classes of the field reports.
CLASSES = {
    "seed-mixed-chain": "AB", "uniform-chain": "B", "run-timeout-then-locked": "E", "abort-unsettled": "E",
    "fresh-session-banner": "AKL", "wrong-token": "AL", "doctor": "D", "cascade-of-one-incident": "EFI",
    "decisions-without-providers": "B", "dead-owner": "C", "takeover": "I", "watchdog": "FH", "own-orphan": "E",
    "stale-race": "H", "revision": "N", "negative": "",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_report_is_classified_as_the_catalogue_does(name: str) -> None:
    assert "".join(sorted(read_file(REPORTS / f"{name}.txt").classes)) == CLASSES[name]


def test_every_report_has_its_classes() -> None:
    assert {path.stem for path in REPORTS.glob("*.txt")} == CLASSES.keys()


@pytest.mark.parametrize("excerpt", EXCERPTS, ids=lambda excerpt: excerpt.name)
def test_excerpt_is_classified_as_its_report_is(excerpt: Excerpt) -> None:
    classes = set(read_report(excerpt.text).classes)
    assert set(excerpt.must) <= classes
    assert classes <= set(excerpt.must + excerpt.may), "nothing is invented"


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_look_alike_is_no_lock_error(text: str) -> None:
    for whole in (text, f"OpenClaw 2026.5.22 answers no more:\n\n```\n{text}\n```"):
        report = read_report(whole)
        assert not report.session_locked
        assert set(report.classes) <= {"N"}  # a busy database of OpenClaw's is one


#: Their reporters have wrapped them; whoever takes their lines apart once more leaves nothing to be read.
WRAPPED = {"83675-yaml", "66646-nested", "60258-words", "92459"}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_disguise_changes_no_class(disguise: str) -> None:
    texts = {excerpt.name: excerpt.text for excerpt in EXCERPTS if excerpt.name not in WRAPPED}
    texts |= {
        path.stem: path.read_text(encoding="utf-8").rstrip("\n")
        for path in REPORTS.glob("*.txt")
        if path.stem != "negative"
    }
    changed = {
        name: (plain.classes, other.classes)
        for name, text in texts.items()
        if set((plain := read_report(text)).classes) != set((other := read_report(DISGUISES[disguise](text))).classes)
    }
    assert not changed


def test_seed_report_gives_timers_chain_and_lock() -> None:
    report = read_report(
        "openclaw config set agents.defaults.timeoutSeconds 60\n\n"
        + (REPORTS / "seed-mixed-chain.txt").read_text(encoding="utf-8")
    )
    assert report.timers == {"client_timeout_s": 90.0, "lock_wait_s": 10.0, "run_timeout_s": 60.0}
    assert [(c.model, c.lock, c.reason) for c in report.chain] == [
        ("acme/deepseek-v3", True, "timeout"), ("acme/kimi-k2", False, "timeout"), ("acme/glm-4.5", False, "timeout"),
    ]  # fmt: skip
    assert [(lock.file, lock.pid) for lock in report.locks] == [("4c4c0a1b.jsonl.lock", 51234)]


def test_lane_twins_count_once_and_age_dates_the_lock_back() -> None:
    report = read_file(REPORTS / "cascade-of-one-incident.txt")
    assert report.errors.count("session file locked (timeout 60000ms): pid=N") == 1
    assert [lock.created for lock in report.locks if lock.age_s == 124.708] == ["2026-06-26T05:46:25.292Z"]


def test_look_alikes_are_no_lock_errors() -> None:
    report = read_file(REPORTS / "negative.txt")
    assert not report.session_locked
    assert report.classes == report.possible == ()


def test_lock_bodies_of_every_era_are_read() -> None:
    report = read_report(
        '{ "pid": 41693, "createdAt": "2026-05-14T07:35:46.405Z" }\n'
        '{\n  "pid": 32504,\n  "createdAt": "2026-05-26T07:22:46.211Z",\n'
        '  "maxHoldMs": 1020000,\n  "starttime": 72\n}\n'
        '{ "pid": 0, "createdAt": "2026-05-26T07:22:46.211Z" }\n{ "createdAt": "x" }\n{ "pid": 4, "createdA'
    )
    assert {(lock.pid, lock.max_hold_s, lock.starttime) for lock in report.locks} >= {
        (41693, None, None), (32504, 1020.0, 72),
    }  # fmt: skip


def test_user_names_and_secrets_are_not_shown() -> None:
    text = (
        "Error: session file locked (timeout 10000ms): pid=7 "
        "/home/jane.doe/.openclaw/agents/main/sessions/a.jsonl.lock\n"
        "lock error in /home/jane.doe/notes.txt\n"
        "curl error: Authorization: Bearer abcdef0123456789abcdef session failed for jane.doe@example.org\n"
        "OPENCLAW_GATEWAY_TOKEN=hunter2hunter2 lock error\n"
    )
    shown = json.dumps(read_report(text).document())
    assert "jane" not in shown
    assert "abcdef0123456789" not in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize(
    ("left", "right", "whole"),
    [
        ("Error: session fi", "le locked (timeout 10000ms)", "Error: session file locked (timeout 10000ms)"),
        ("Error: session file", "locked (timeout 10000ms)", "Error: session file locked (timeout 10000ms)"),
        ("acme/deepseek-", "v3: failed", "acme/deepseek-v3: failed"),
        ("lane=main", "durationMs=7", "lane=main durationMs=7"),
    ],
)
@pytest.mark.parametrize("width", [0, 17, 19])
def test_wrapped_words_of_the_program_are_mended(left: str, right: str, whole: str, width: int) -> None:
    assert join(left, right, width=width, full=len(left)) == whole


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig"])
def test_other_encodings_are_read(encoding: str) -> None:
    text = (REPORTS / "seed-mixed-chain.txt").read_text(encoding="utf-8")
    assert read_report(text.encode(encoding)).classes == ("A", "B")


def test_long_line_is_cut_with_a_note() -> None:
    report = read_report(b"x" * 300_000 + b"\ngateway timeout after 90000ms\n")
    assert any("cut into pieces" in note for note in report.notes)
    assert report.errors == ("gateway timeout after 90000ms",)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=600), st.sampled_from(sorted(CLASSES)), st.integers(0, 2000))
def test_any_bytes_get_an_answer(noise: bytes, name: str, place: int) -> None:
    data = (REPORTS / f"{name}.txt").read_bytes()
    json.dumps(read_report(data[:place] + noise + data[place:]).document())


@pytest.mark.parametrize("path", ["/home/jane/notes.txt", "C:\\Users\\jane\\notes.txt", "/mnt/c/Users/jane/notes.txt"])
def test_home_folders_are_not_shown(path: str) -> None:
    assert "jane" not in shown(f"error in {path}")


@pytest.mark.parametrize(
    "path",
    [
        "/home/jane/ .openclaw/x", "/home/ jane/ .openclaw/x", "/home / jane / .openclaw / x",
        "/home/jane /.openclaw/x",
        "C:\\Users\\ jane \\.openclaw\\x", "/Users/ jane /.openclaw/x", "/home/jane/\u00a0.openclaw/x",
    ],
)  # fmt: skip
def test_home_folder_that_was_torn_apart_is_not_shown(path: str) -> None:
    assert "jane" not in shown(f"lock error in {path}")
    locked = f"session file locked (timeout 10000ms): pid=3 {path}.lock (timeout)"
    text = f"session lock error: {path}\n\nAll models failed (2): a/b: boom in {path} (auth) | c/d: {locked}"
    assert "jane" not in json.dumps(read_report(text).document(), ensure_ascii=False)


@pytest.mark.parametrize("plant", plants(), ids=lambda plant: plant.name)
def test_no_planted_secret_is_told(plant: Plant) -> None:
    """Neither as a line that is not understood, nor as a model's error, nor in the scenario that is made of it."""
    said = plant.text.replace("\n", " ")
    report = read_report(
        f"lock error: session failed {plant.text}\n\nAll models failed (2): acme/one: {said} (auth) | "
        "acme/two: session file locked (timeout 10000ms): pid=7 /x/s.jsonl.lock (timeout)\n\n"
        f"Agent failed before reply: {said}\n"
    )
    composed = compose(report)
    assert composed is not None
    told = json.dumps(report.document(), ensure_ascii=False) + composed.text(next(composed.choices()))
    assert not [secret for secret in plant.secrets if secret in told]
