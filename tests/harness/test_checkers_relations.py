"""What must change no verdict: another user, records of other kinds, the way through a file.

Over the histories of the examples and those that every planted bug leaves.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from msgspec.structs import replace

from lockjaw.harness.judge.checkers import CHECKERS, run_checks
from lockjaw.harness.judge.checkers.examples import EXAMPLES, FACTS
from lockjaw.history import Record
from lockjaw.history.ordered import numbered
from lockjaw.verdict import Verdict
from tests.quality.test_checkers_catch_planted_bugs import BUGS, Bug

#: What names something of one user: actors, runs, sessions, files.
NAMES = frozenset({
    "run_id", "turn_id", "owner", "session_id", "session_key", "call_id", "request_id", "tool_call_id", "entry_id",
    "entry_ids", "key", "actor", "target", "from", "text",
})  # fmt: skip
#: Before and after every letter and digit: a comparison that is not by equality lets one of them in.
MARKS = ("!", "~")
SHARED = ("harness", "models")
HISTORIES = {name: (told(), FACTS) for name, told in EXAMPLES.items()} | {
    f"{bug.checker}: {bug.says}": (bug.plant(EXAMPLES[bug.example]()), bug.facts) for bug in BUGS
}


def as_another(history: Sequence[Record], mark: str) -> list[Record]:
    """The same story of somebody else: other actors, runs, sessions and files, the same words."""
    return [
        replace(
            r, actor=_another(r.actor, mark), data={key: _renamed(key, value, mark) for key, value in r.data.items()}
        )
        for r in history
    ]


def _renamed(key: str, value: object, mark: str) -> object:
    if isinstance(value, list):
        return [_renamed(key, one, mark) for one in value]
    if isinstance(value, str) and key == "path":
        folder, _, file = value.rpartition("/")
        return f"{folder}/{_another(file, mark)}"
    return _another(value, mark) if isinstance(value, str) and value and key in NAMES else value


def _another(name: str, mark: str) -> str:
    """The mark comes second: no name holds another. It sorts before or after every letter and digit."""
    return name if name in SHARED else name[0] + mark + name[1:]


@pytest.mark.parametrize("twin_first", [True, False])
@pytest.mark.parametrize("name", HISTORIES)
def test_two_users_who_fare_alike_are_judged_as_one(name: str, twin_first: bool) -> None:
    history, facts = HISTORIES[name]
    alone = run_checks(CHECKERS, history, facts)
    for mark in MARKS:
        pairs = zip(history, as_another(history, mark), strict=True)
        both = numbered([r for one, twin in pairs for r in ((twin, one) if twin_first else (one, twin))])
        for one, two in zip(alone, run_checks(CHECKERS, both, facts), strict=True):
            assert (one.name, one.verdict) == (two.name, two.verdict)
            assert {i // 2 for i in two.witness} == set(one.witness), one.name


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("bug", BUGS, ids=[f"{bug.checker}: {bug.says}" for bug in BUGS])
def test_who_fares_badly_is_found_beside_one_who_fares_well(bug: Bug, mark: str) -> None:
    history = bug.plant(EXAMPLES[bug.example]())
    well = [r for r in as_another(EXAMPLES["quiet"](), mark) if r.actor != "harness" or r.op == "transcript.final"]
    together = [*well, *history] if mark == "!" else [*history, *well]
    both = numbered(sorted(together, key=lambda r: r.t))

    (alone,) = run_checks([bug.checker], history, bug.facts)
    (found,) = run_checks([bug.checker], both, bug.facts)
    assert found.verdict is Verdict.VIOLATED
    assert [unplaced(both[i]) for i in found.witness] == [unplaced(history[i]) for i in alone.witness]


def unplaced(record: Record) -> Record:
    return replace(record, i=0)


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("name", HISTORIES)
def test_records_of_kinds_that_no_law_knows_change_nothing(name: str, mark: str) -> None:
    """A twin of another kind after each record but the last: the same actor, the same data."""
    history, facts = HISTORIES[name]
    twins = [replace(r, op=mark + r.op, actor="harness" if r.op.startswith("actor") else r.actor) for r in history]
    crowded = numbered([r for pair in zip(history, twins, strict=True) for r in pair][:-1])

    alone, together = run_checks(CHECKERS, history, facts), run_checks(CHECKERS, crowded, facts)
    assert [(r.name, r.verdict, r.finding) for r in together] == [(r.name, r.verdict, r.finding) for r in alone]
    assert [[2 * i for i in r.witness] for r in alone] == [list(r.witness) for r in together]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("name", HISTORIES)
def test_records_of_unknown_kinds_about_somebody_else_change_no_finding(name: str, mark: str) -> None:
    """A twin of another kind before and after each record: the same actor, the data of another user."""
    history, facts = HISTORIES[name]
    twins = [
        replace(r, op=mark + r.op, actor=one.actor if one.op[:5] != "actor" else "harness")
        for r, one in zip(as_another(history, mark), history, strict=True)
    ]
    crowded = numbered([r for one, twin in zip(history, twins, strict=True) for r in (twin, one, twin)])

    alone, together = run_checks(CHECKERS, history, facts), run_checks(CHECKERS, crowded, facts)
    assert [(r.name, r.verdict, r.finding) for r in together] == [(r.name, r.verdict, r.finding) for r in alone]


@pytest.mark.parametrize("name", HISTORIES)
def test_a_history_read_from_its_file_is_judged_as_the_one_in_memory(name: str) -> None:
    """No two of its texts are one object then."""
    history, facts = HISTORIES[name]
    read = msgspec.json.decode(msgspec.json.encode(history), type=list[Record])

    assert run_checks(CHECKERS, numbered(read), facts) == run_checks(CHECKERS, numbered(list(history)), facts)
