"""What gateway, runner and client do where versions of the program differ: one ``Behaviour`` per ``--policy``.

Data only. Published versions are told as what each changed; ``takeover`` is ours. The design's table of policies says
what each costs its user.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """One version's behaviour. The defaults are those of 2026.5.7, in the middle of the story."""

    version: str
    policy: str
    published_as: str = ""  # a baseline that falls back as this policy does; empty: as its own name says

    # The session lock.
    lock_algorithm: str = "coarse-60s"
    lock_timeout_s: float = 60.0
    lock_per_attempt: bool = True  # each candidate takes and releases the session lock anew
    lock_reentrant: bool = False  # within one process only the session lane excludes
    lock_error_is_failover: bool = False  # it counts as the model's failure
    lock_error_walks_chain: bool = True  # not a failover reason, and still the next model is tried
    disk_error_walks_chain: bool = True  # the session's files cannot be written, and still the next model is tried
    readers_lock: bool = True  # a reader takes the session lock, and shows nothing when it does not get it
    #: A cleaner removes a lock whose pid it does not see alive, and a file that it cannot read.
    cleaners_trust_pids: bool = True

    # A run that ends, and one whose session or conversation no longer fits.
    abort_reaches_agent_runs: bool = True
    run_timeout_ends_chain: bool = False
    standstill_counts: bool = True  # a process that was frozen or suspended has used up the time of its attempt
    durable_user_message: bool = False  # the user's message is on disk before a model is asked
    #: How long an ended attempt waits for a model that does not hear its abort, before it is torn down all the same;
    #: None: it is cancelled, and that is that.
    abort_settle_s: float | None = None
    #: What a torn-down attempt does with the lock when its model has settled at last.
    late_settle: Literal["release", "reacquire"] = "release"
    follows_rotation: bool = False  # a run that got its lock asks again which session the key leads to
    #: What a run does when the conversation no longer fits the model: end; leave out what is old, under the lock that
    #: it holds; or take that lock once more for it.
    compaction: Literal["none", "inside", "relock"] = "none"

    # The session store.
    store: Literal["locked", "revision"] = "locked"  # revision: compare and swap, one retry at once
    store_blocks: bool = False  # waiting for a database keeps the whole process waiting, other sessions included
    store_wait_s: float = 10.0  # how long a writer of the session store waits for another one
    #: How long a run waits for a stranger's transaction on its session's database; None: as for the session store.
    database_wait_s: float | None = None
    #: After which a live owner of the store's lock is overruled, if it is of our own kind; None: never.
    store_bound_s: float | None = None
    #: A run notes in the session list (of SQLite) that the session is its own, and takes that back when it ends; one
    #: that is aborted or killed does not, and every later one is refused.
    durable_claims: bool = False
    #: Whether a tool call is allowed is read under the lock of the session list; a run that does not get it in time is
    #: told that the call is forbidden.
    approvals_need_store: bool = False
    state_is_exclusive: bool = False  # a turn of one's own (`--local`) is refused while a gateway runs
    bookkeeping_decides: bool = True  # a store whose status line cannot be written fails the turn

    watches_sessions: bool = False  # a gateway that reports sessions which do not move on, and keeps their lanes

    # What is printed.
    #: Of a store whose lock was not free in time; ``{path}`` is the lock file. Empty: the lock's own words.
    store_busy_text: str = "timeout acquiring session store lock: {path}"
    #: Of a store's revision that somebody else has changed; ``{key}`` is the session. Empty: as in 2026.6.
    store_conflict_text: str = ""
    transport_error_name: str = "GatewayTransportError"
    model_fallback_tag: str = "model-fallback/decision"
    run_tag: str = "agent/embedded"
    failover_source_key: str = "from"
    shows_raw_error: bool = True
    timeout_answer_fails: bool = False  # exit status 1 for the "timed out" text

    @property
    def fallback(self) -> str:
        """The fallback policy's function."""
        return self.published_as or self.policy


_V2026_5_7 = Behaviour(version="2026.5.7", policy="fresh-session")
# The real 2026.9.6 keeps sessions in SQLite; its lock is modelled by ours.
_V2026_9_6 = Behaviour(
    version="2026.9.6", policy="no-fallback", lock_algorithm="guarded", lock_error_walks_chain=False,
    run_timeout_ends_chain=True, timeout_answer_fails=True, store_busy_text="database is locked",
)  # fmt: skip

_ALL = (
    Behaviour(
        version="2026.4.8", policy="reuse-session", lock_algorithm="coarse", lock_timeout_s=10.0, lock_reentrant=True,
        lock_error_is_failover=True, lock_error_walks_chain=False, abort_reaches_agent_runs=False,
        transport_error_name="Error", model_fallback_tag="model-fallback", run_tag="agent",
        failover_source_key="provider", shows_raw_error=False,
    ),
    _V2026_5_7,
    _V2026_9_6,
    Behaviour(
        # Whoever holds the session lives and works, or is dead and succeeded at once: waiting is no time-out.
        version="lockjaw", policy="takeover", lock_algorithm="guarded", lock_timeout_s=600.0, lock_per_attempt=False,
        lock_error_walks_chain=False, disk_error_walks_chain=False, readers_lock=False, cleaners_trust_pids=False,
        durable_user_message=True, follows_rotation=True, store_busy_text="", compaction="inside", store_wait_s=60.0,
        store_bound_s=10.0, database_wait_s=600.0, bookkeeping_decides=False, timeout_answer_fails=True,
        standstill_counts=False,
    ),
    # Baselines of single incidents: 2026.5.7's fallback, and what the report is about.
    replace(
        # #90065: the abort waits for the provider, and the lock with it.
        _V2026_5_7, version="2026.5.20", policy="held-until-settled", published_as="fresh-session", abort_settle_s=2.0,
    ),
    replace(
        # #83765, #87483: the same hold, in a gateway that sees the stalled session and keeps its lane.
        _V2026_5_7, version="2026.5.12", policy="keeps-stalled-lane", published_as="fresh-session", abort_settle_s=2.0,
        watches_sessions=True,
    ),
    replace(
        # #84059, #91327: the lock is given back while the model works, and a fingerprint guards the transcript.
        _V2026_5_7, version="2026.5.22", policy="released-for-prompt", published_as="fresh-session",
        lock_algorithm="released-for-prompt", abort_settle_s=2.0, late_settle="reacquire",
    ),
    replace(
        # #97747: the compaction inside a run takes the lock that the run holds, and waits for itself.
        _V2026_5_7, version="2026.6.9", policy="relocking-compaction", published_as="fresh-session",
        compaction="relock",
    ),
    replace(
        # #98220: a session is committed against a revision of the store; a conflict is tried again once, at once.
        _V2026_5_7, version="2026.6.11", policy="revision-check", published_as="fresh-session", store="revision",
    ),
    replace(
        # #136174: the same check when a turn is admitted, in the SQLite store's words.
        _V2026_9_6, version="2026.8.2", policy="starting-check", published_as="no-fallback", store="revision",
        store_conflict_text='Session "{key}" changed while starting work. Retry.',
    ),
    replace(
        # #148307: SQLite's busy time-out of 5 s against a writer that needs 9 to 47 s.
        _V2026_9_6, version="2026.9.4", policy="busy-store", published_as="no-fallback", store_wait_s=5.0,
    ),
    replace(
        # #117262: the wait for the database is one synchronous call on the thread of the event loop.
        _V2026_9_6, version="2026.9.2", policy="blocking-store", published_as="no-fallback", store_blocks=True,
        store_wait_s=60.0,
    ),
    replace(
        # #146692, #136477: the claim of a run that was aborted or killed refuses every later turn, after restarts too.
        _V2026_9_6, version="2026.9.3", policy="durable-claim", published_as="no-fallback", durable_claims=True,
    ),
    replace(
        # #112240, #113929: the policy of tool calls is read under a lock, and a read that fails means "deny".
        _V2026_9_6, version="2026.9.4", policy="fail-closed", published_as="no-fallback", store_wait_s=5.0,
        approvals_need_store=True,
    ),
    replace(
        # #120896, #156170: no embedded turn beside a live gateway, whatever it is for.
        _V2026_9_6, version="2026.8.1", policy="exclusive-state", published_as="no-fallback", state_is_exclusive=True,
    ),
)  # fmt: skip

#: policy -> behaviour.
BEHAVIOURS: dict[str, Behaviour] = {behaviour.policy: behaviour for behaviour in _ALL}

#: The published ones and ours; the other behaviours are baselines of single incidents.
POLICIES: tuple[str, ...] = tuple(b.policy for b in _ALL if not b.published_as)
