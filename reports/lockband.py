"""Who held a conversation's lock when: the band beside a timeline. Pure.

A deliberately small reading of the history for people; the checkers have their own, stricter one. Where two
sessions are locked at once (a fresh session beside the old one), both holders are named, and so is who holds the
session list for long.
"""

from __future__ import annotations

from collections.abc import Sequence

from lockjaw.history import Record

from .swimlane_locks import is_store, long_held_stores

FREE = "-"


def lock_band(history: Sequence[Record]) -> list[str]:
    """For each record, who holds session locks just after it: ``gateway``, ``gateway+client``, ``-`` for nobody.

    A holder that died without giving the lock back stays as ``gateway (dead)`` until somebody else gets it.
    """
    holders: dict[tuple[str, str], str] = {}  # (lock, actor) -> how to show it
    band = []
    stores = long_held_stores(history)
    for record in history:
        path = str(record.data.get("path") or "").removesuffix(".lock")
        who = (path, record.actor)
        if is_store(path) and path not in stores:
            pass  # a moment's lock on the session list; no conversation
        elif record.op in ("lock", "lock.fence") and record.phase in ("ok", "info"):
            fenced = record.op == "lock.fence"
            for held in [h for h in holders if h[0] == path and (fenced or holders[h].endswith("(dead)"))]:
                del holders[held]
            holders[who] = record.actor
        elif record.op in ("lock.release", "lock.lost"):
            holders.pop(who, None)
        dead = _died(record)
        for held in [h for h in holders if h[1] == dead]:
            holders[held] = f"{dead} (dead)"
        band.append("+".join(dict.fromkeys(holders.values())) or FREE)
    return band


def _died(record: Record) -> str | None:
    if record.op == "actor.exit":
        return str(record.data.get("actor") or record.actor)
    if record.op == "nemesis" and record.data.get("action") == "kill" and record.phase in ("ok", "info"):
        return str(record.data.get("target"))
    return None
