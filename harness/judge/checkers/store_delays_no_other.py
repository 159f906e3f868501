"""A held database delays only who needs it: a client of another session is neither kept waiting nor turned away."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from lockjaw.history import Record
from lockjaw.history.spans import held_up_s
from lockjaw.verdict import CheckResult, Verdict

from ..clients import clients, started
from ..stores import HeldStore, held_stores
from .facts import ScenarioFacts

NAME = "store_delays_no_other"


def check(history: Sequence[Record], facts: ScenarioFacts) -> CheckResult:
    """A held database delays only who needs it: a client of another session is neither kept waiting nor turned away.

    A client that began to ask while a database of one session was held, and whose own session is another one, has its
    answer within the scenario's ``bystander_s`` (or the database is free by then), and does not end without an answer
    meanwhile. What the search held the actors up for is not counted. UNKNOWN when there is no such client, or no bound.
    """
    bound_s = facts.bystander_s
    if bound_s is None:
        return CheckResult(NAME, Verdict.UNKNOWN, "the scenario names no bound (bystander_s)")
    seen = 0
    for client in clients(history):
        first, result = started(history, client), _result(history, client)
        if first is None:
            continue
        for held in held_stores(history):
            if (
                held.of != "session"
                or not held.begun.t <= first.t < held.until_s
                or _needs(history, client, result, held)
            ):
                continue
            seen += 1
            if result is not None and result.t < held.until_s and not result.data.get("answered"):
                finding = f"{client} was turned away while the database of another session was held"
                return CheckResult(NAME, Verdict.VIOLATED, finding, (held.begun.i, result.i))
            until_s = min(result.t if result is not None else inf, held.until_s)
            waited_s = until_s - first.t - held_up_s(history, first.t, until_s)
            if waited_s > bound_s:
                finding = f"{client} waited {waited_s:.1f} s while the database of another session was held"
                return CheckResult(NAME, Verdict.VIOLATED, finding, (held.begun.i, first.i))
    if not seen:
        return CheckResult(NAME, Verdict.UNKNOWN, "no client of another session asked while a database was held")
    return CheckResult(NAME, Verdict.HELD, f"no client of another session waited longer than {bound_s:g} s")


def _result(history: Sequence[Record], client: str) -> Record | None:
    return next((r for r in reversed(history) if r.op == "client.result" and r.actor == client), None)


def _needs(history: Sequence[Record], client: str, result: Record | None, held: HeldStore) -> bool:
    """The client's own session is the one whose database is held. Who was not told a session asks for its own."""
    session_id = str((result.data.get("session_id") if result is not None else "") or "")
    keys = {r.data.get("session_key") for r in history if r.actor == client and r.op == "client.call"}
    mine = [r for r in history if r.op in ("gateway.accepted", "session.final") and (
        r.data.get("session_key") in keys or r.data.get("key") in keys
    )]  # fmt: skip
    ids = {session_id, *(str(r.data.get("session_id") or "") for r in mine)} - {""}
    return any(f"/{one}." in held.path for one in ids)
