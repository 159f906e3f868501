"""The live lines: nominal time and holder per policy, from records alone."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console

from lockjaw.history import Record
from lockjaw.reports.progress import LiveProgress

LOCK = "/s/agents/main/sessions/a.jsonl.lock"


def shown(*records: tuple[float, str, str, str, dict[str, Any]]) -> list[tuple[str, str, str]]:
    progress = LiveProgress()
    progress.record("takeover", Record(0.0, "client", "client.call", "invoke", {}))
    for t, actor, op, phase, data in records:
        progress.record("takeover", Record(t, actor, op, phase, data))  # type: ignore[arg-type]
    return list(progress.lines())


def test_the_holder_is_shown_until_it_gives_the_lock_back() -> None:
    took = (4.0, "gateway", "lock", "ok", {"path": LOCK})
    assert shown(took) == [("takeover", "   4.0 s", "lock: gateway")]
    assert shown(took, (5.0, "gateway", "lock.release", "ok", {"path": LOCK}))[0][2] == "lock: free"


def test_a_release_of_an_old_holder_does_not_free_the_new_holders_lock() -> None:
    took = (4.0, "gateway", "lock", "ok", {"path": LOCK})
    fenced = (5.0, "client", "lock.fence", "ok", {"path": LOCK})
    late = (6.0, "gateway", "lock.release", "ok", {"path": LOCK})
    assert shown(took, fenced, late)[0][2] == "lock: client"


def test_two_locked_conversations_name_both_holders_and_the_session_list_names_none() -> None:
    first = (1.0, "gateway", "lock", "ok", {"path": LOCK})
    other = (2.0, "client", "lock", "ok", {"path": "/s/b.jsonl.lock"})
    listed = (3.0, "client", "lock", "ok", {"path": "/s/sessions.json.lock"})
    assert shown(first, other, listed)[0][2] == "lock: gateway+client"


def test_a_finished_run_says_what_the_user_got_and_the_next_run_starts_afresh() -> None:
    result = (90.0, "client", "client.result", "info", {"answered": False})
    assert shown(result) == [("takeover", "  90.0 s", "NO answer")]
    again = (0.5, "harness", "run.start", "info", {})
    assert shown(result, again) == [("takeover", "", "starting ...")]
    asked = (0.0, "client", "client.call", "invoke", {})
    assert shown(result, again, asked, (1.5, "gateway", "turn", "invoke", {})) == [
        ("takeover", "   1.5 s", "lock: free")
    ]


def test_time_begins_with_the_client_however_long_setting_up_took() -> None:
    progress = LiveProgress()
    progress.begin("gateway_timeout, seed 1", ["takeover"])
    progress.record("takeover", Record(41.7, "harness", "actor.ready", "info", {}))
    assert list(progress.lines()) == [("takeover", "", "starting ...")]
    progress.record("takeover", Record(0.0, "client", "client.call", "invoke", {}))
    progress.record("takeover", Record(5.6, "gateway", "lock", "ok", {"path": LOCK}))
    assert list(progress.lines()) == [("takeover", "   5.6 s", "lock: gateway")]


def test_each_policy_has_its_line() -> None:
    progress = LiveProgress()
    out = Console(file=StringIO(), width=80)
    out.print(progress)
    progress.begin("gateway_timeout, seed 1 (2 of 3)", ["reuse-session", "takeover", "no-fallback"])
    for policy in ("takeover", "reuse-session"):
        progress.record(policy, Record(0.0, "client", "client.call", "invoke", {}))
        progress.record(policy, Record(1.0, "gateway", "lock", "ok", {"path": LOCK}))
    out.print(progress)

    printed = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split() for line in printed] == [
        ["starting", "..."],
        ["gateway_timeout,", "seed", "1", "(2", "of", "3)"],
        ["reuse-session", "1.0", "s", "lock:", "gateway"],
        ["takeover", "1.0", "s", "lock:", "gateway"],
        ["no-fallback", "starting", "..."],
    ]
