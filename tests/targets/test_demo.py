"""The demonstration of a runtime: what its user typed, saw and got."""

from __future__ import annotations

from lockjaw.harness.incident.scenario import load_scenario
from lockjaw.harness.targets.demo import opening, told
from lockjaw.harness.targets.foreign import Foreign
from lockjaw.harness.targets.registry import choose, program_of
from lockjaw.history import Record

WAYS = {"agent": "$ mine ask", "own": "$ mine own"}


def seen(op: str, phase: str = "info", actor: str = "client", t: float = 6.04, **data: object) -> list[str]:
    return told(Record(t, actor, op, phase, data), WAYS)  # type: ignore[arg-type]


def test_a_user_sees_the_commands_their_lines_and_when_patience_ends() -> None:
    assert seen("client.call", "invoke", method="own") == ["$ mine own"]
    assert seen("client.stderr", line="Error: locked " + "x" * 70) == ["   6.0 s Error: locked", "         " + "x" * 70]
    assert seen("client.call", "fail", kind="timeout") == ["   6.0 s (gives up)"]
    assert seen("client.call", "fail", kind="rejected") == []  # its words were told already
    assert seen("client.call", "invoke", actor="other", method="own") == []
    assert seen("lock", "fail", error="locked") == []


def test_the_commands_are_what_a_person_would_type() -> None:
    choice = choose("codex@0.171.0")
    target = Foreign(choice.spec, program_of(choice), choice.version, None, None)
    assert target.shown("own", "LJ-1 Why?") == "$ codex exec --skip-git-repo-check resume SESSION 'LJ-1 Why?'"
    older = choose("codex@0.150.0")
    target = Foreign(older.spec, program_of(older), older.version, None, None)
    assert target.shown("gateway", "x").startswith(
        "$ python -P -m lockjaw.harness.targets.codex.ask ws://127.0.0.1:18800"
    )


def test_the_opening_says_who_waits_for_what() -> None:
    said = " ".join(opening(load_scenario("fallback_meets_active_writer"), "mine@1").split())
    assert said == (
        "mine@1 on loopback; the model answers after 12 s, and the user gives up 6 s after the model has the question."
    )
