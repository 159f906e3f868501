"""Who held a conversation's lock when: the band beside a timeline. Pure.

Where two sessions are locked at once (a fresh session beside the old one), both holders are named, and so is the holder
of the session list where it held that lock for long.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lockjaw.history import Record
from lockjaw.history.holds import Hold, Holders
from lockjaw.history.ordered import numbered

from .swimlane_locks import shown_locks

__all__ = ["FREE", "lock_band", "names_of"]

FREE = "-"


def lock_band(history: Sequence[Record]) -> list[str]:
    """For each record, who holds session locks just after it: ``gateway``, ``gateway+client``, ``-``: all free.

    A holder that died without giving the lock back stays as ``gateway (dead)`` until another owner gets it.
    """
    ordered = numbered(history)
    shown = shown_locks(ordered)
    holders = Holders()
    band = []
    now = FREE
    for record in ordered:
        if holders.see(record):
            now = names_of(hold for hold in holders.standing() if hold.path in shown) or FREE
        band.append(now)
    return band


def names_of(holds: Iterable[Hold]) -> str:
    """``gateway``, ``gateway (dead)``, ``a+b``; empty for a free session."""
    return "+".join(dict.fromkeys(f"{hold.actor} (dead)" if hold.dead else hold.actor for hold in holds))
