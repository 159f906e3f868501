"""From a report to a scenario: what it says is taken over, what it leaves open is assumed or searched for. Pure.

A *shape* is a way for such errors to come about: the cascade of a slow gateway, a gateway that dies, somebody who
holds the session, a store that refuses. Classes that no shape makes are left to the catalogue's scenarios.
"""

from __future__ import annotations

from .basis import Composition, basis_of
from .report import Report
from .shapes import STORES, cascade, held, lost, store

__all__ = ["compose"]


def compose(report: Report) -> Composition | None:
    """The scenario that the report speaks for; None when no shape makes such errors.

    The shapes are tried in the order of how much they explain.
    """
    if not report.errors or (not report.classes and not report.possible):
        return None
    basis = basis_of(report)
    way = next((way for way in STORES if report.has(way.message) and way.classes[0] in report.classes[:1]), None)
    if way is not None:
        return store(basis, way)
    if report.has(*_NO_SHAPE):
        return None
    if report.has("gateway_closed") and report.has("banner_same", "banner_failed"):
        return lost(basis)
    if report.has("banner_same", "banner_fresh"):
        return cascade(basis)
    if any(c.lock for c in basis.chain) and any("was aborted" in c.error for c in basis.chain):
        return cascade(basis)  # a model is said to be aborted only where one was before it, as in the seed report
    if report.has("run_timeout", "abort_unsettled", "announce") or any("changed while" in c.error for c in basis.chain):
        return None
    if report.has("locked", "lock_error_code") or any(candidate.lock for candidate in report.chain):
        return held(basis)
    return None


#: Messages that no shape here prints: the catalogue has their scenarios.
_NO_SHAPE = (
    "unauthorized", "refused", "file_system", "active_claim", "revision_conflict", "starting_conflict", "store_lock",
    "active_writer", "lease_held", "takeover", "changed_during_prompt", "lock_stale", "file_lock",
    "force_release", "stuck_session", "stalled_session", "recovery_skipped",
)  # fmt: skip
