"""The store of answers: how long, how many, which goes first."""

from __future__ import annotations

from lockjaw.gateway.dedupe import Answer, Dedupe


def test_answer_is_given_again_until_five_minutes_after_its_last_change():
    store = Dedupe()
    store.put("agent:a", Answer(True, "accepted"), 0.0)
    store.put("agent:a", Answer(True, "final"), 1000.0)
    assert store.get("agent:a", 1300.0) == Answer(True, "final")
    assert store.get("agent:a", 1300.1) is None
    assert store.get("chat:a", 1000.0) is None


def test_sweep_drops_what_is_old_and_nothing_else():
    store = Dedupe()
    store.put("old", Answer(True), 0.0)
    store.put("new", Answer(True), 200.0)
    assert store.sweep(300.0) == 0
    assert store.sweep(301.0) == 1
    assert len(store) == 1
    assert store.get("new", 301.0) == Answer(True)


def test_oldest_entries_make_room():
    store = Dedupe(limit=2)
    for n, key in enumerate(["a", "b", "a", "c"]):
        store.put(key, Answer(True, n), float(n))
    assert store.get("b", 4.0) is None
    assert store.get("a", 4.0) == Answer(True, 2)
    assert len(store) == 2


def test_default_limit_is_a_thousand():
    store = Dedupe()
    for n in range(1001):
        store.put(str(n), Answer(True), 0.0)
    assert len(store) == 1000
    assert store.get("0", 0.0) is None
