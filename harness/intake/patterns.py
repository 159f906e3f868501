# ruff: noqa: E501  patterns are not wrapped
"""The lines that OpenClaw prints around a locked session, of every era: one row each.

A row is a message of the program, not of one report: its optional parts are optional here, its numbers, paths, ids
and models are fields. ``session_lock`` says whether the line itself is an error of a session's lock; everything
else is context, a consequence, or one of the look-alikes that must not be taken for a lock error (``not_lock``).

Every pattern runs in linear time: what repeats is bounded, and no repetition stands inside another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: The end of a value that is somebody's path: it may hold blanks, it may be cut short by "..." at either end.
_PATH = (
    r"(?:(?:[~/<$%.…\\]|[A-Za-z]:[\\/]|[0-9A-Fa-f]{4,64})[^|\"'`\n]{0,400}?\.(?:jsonl\.lock|json\.lock|lock|jsonl|json)\b"
    r"|(?:[~/<…\\]|\.\.\.|[A-Za-z]:[\\/])[^\s\"'`|)]{0,300})"
)
_PID = r"pid ?[=:] ?(?P<pid>\d{1,10}\b|<[^>\n]{1,40}>|[…?*N]|\.\.\.|undefined|null)"
_OWNER = (
    rf"(?:{_PID}|(?P<unknown>unknown)\b)"
    r"(?:,? alive[=:] ?(?P<alive>true|false))?(?:,? ageMs[=:] ?(?P<age>\d{1,13}|[…N]))?"
)
_ID = r"[^\s,;\"')\]}]{1,160}"
_KEY = r"(?P<key>[^\s\"',;`)\]}]{1,200})"


@dataclass(frozen=True)
class Wording:
    """One message, as the program words it.

    Args:
        kind: its name in a report.
        era: when it was printed; see the eras of the field reports ("1" to about 2026.4.29, "2" 2026.5.x, "3"
            the revision check of 2026.6.x, "4" the SQLite store; "*" any).
        needle: lower-case text that a line must hold before the pattern is tried.
        pattern: the message; named groups become the event's data.
        source: where the wording was seen.
        session_lock: True when the line itself says that a session's lock was not to be had.
        not_lock: True for what looks or sounds like a lock error and is none.
        inner: the group that holds another error's text, which is read by the rows below.
        canonical: the line as it is compared with a replay; None: it is no error line.
        hints: texts of which one is in every such line, where ``needle`` alone is too short to tell blocks apart.
        own: the lock of the program that the message is about, where that is no session's.
        runtime: the other program whose words these are; empty: OpenClaw's.
        says: what the message is, where it has nothing to do with a session's lock.
        means: the classes that such a message of another runtime is nearest to.
    """

    kind: str
    era: str
    needle: str
    pattern: re.Pattern[str]
    source: str
    session_lock: bool = False
    not_lock: bool = False
    inner: str | None = None
    canonical: str | None = None
    hints: tuple[str, ...] = ()
    own: str = ""
    runtime: str = ""
    means: str = ""
    says: str = ""


def _row(kind: str, era: str, needle: str, pattern: str, source: str, **more: object) -> Wording:
    return Wording(kind, era, needle, re.compile(pattern, re.IGNORECASE), source, **more)  # type: ignore[arg-type]


#: Messages that carry the text of another error, outermost first. What they matched is not searched again.
CONTAINERS: tuple[Wording, ...] = (
    _row(
        "announce", "*", "announce",
        r"Subagent (?:completion )?(?:direct )?announce (?P<what>failed|give up|giving up|gave up)"
        r"(?: \((?P<why>[a-z_-]{3,40})\))?(?P<inner>[^\n]{0,1500})",
        "#88383, #118625, #88647", inner="inner", canonical="Subagent announce {what}",
    ),
    _row(
        "summary", "1-2", "all models failed",
        r"(?:FallbackSummaryError: ?)?All models failed ?\((?P<count>\d{1,3})\):? ?(?P<inner>[^\n]{0,20000})",
        "#62981, #32354, #66646; 2026.4.8 and 2026.5.7 run for real", inner="inner",
        canonical="All models failed ({count}): {candidates}",
    ),
    _row(
        "decision", "1-2", "model fallback decision",
        r"(?:\[model-fallback(?:/decision)?\] ?)?model fallback decision: ?(?P<inner>[^\n]{0,4000})",
        "2026.4.8 and 2026.5.7 run for real", inner="inner",
    ),
    _row(
        "decision", "1-2", "[model-fallback",
        r"\[model-fallback(?:/decision)?\] ?(?P<inner>(?:decision|requested|candidate)=[^\n]{0,4000})",
        "#66646", inner="inner",
    ),
    _row(
        "decision", "2", "model_fallback_decision",
        r"model_fallback_decision\b(?P<inner>[^\n]{0,4000})",
        "#83675", inner="inner",
    ),
    _row(
        "lane_error", "*", "lane task error",
        r"\[?lane task error\]?:? lane=(?P<lane>.{1,240}?) durationMs=(?P<duration>\d{1,12})"
        r"(?: error=\"?(?P<inner>[^\"\n]{0,4000}))?",
        "2026.4.8 run for real; #90065, #88647", inner="inner",
    ),
    _row(
        "response", "2", "errorcode=",
        r"⇄ res ✗ (?P<method>[\w.]{1,60})[^\n]{0,200}? "
        r"errorCode=(?P<code>\w{1,40}) errorMessage=(?P<inner>[^\n]{0,4000})",
        "#86014", inner="inner",
    ),
    _row(
        "reply_failed", "*", "failed before reply",
        r"(?:⚠️ ?)?(?:Embedded agent|Agent) failed before reply: ?(?P<inner>[^\n]{0,4000})",
        "#32354, #86014, #3030", inner="inner",
    ),
    _row(
        "persistence_failed", "2", "transcript persistence failed",
        r"transcript persistence failed for (?P<key>[^\s]{1,200}): ?(?P<inner>[^\n]{0,2000})",
        "#88383", inner="inner",
    ),
    _row(
        "banner_same", "1", "falling back to embedded",
        r"Gateway agent failed; ?falling back to embedded:?",
        "#62981", canonical="Gateway agent failed; falling back to embedded",
    ),
    _row(
        "banner_fresh", "2", "embedded fallback",
        r"EMBEDDED FALLBACK: Gateway agent timed out; running embedded agent with fresh session:? ?"
        rf"(?P<session>gateway-fallback-[\w<>…-]{{1,60}}|{_ID})?",
        "#127957; 2026.5.7 run for real",
        canonical="EMBEDDED FALLBACK: Gateway agent timed out; running embedded agent with fresh session",
    ),
    _row(
        "banner_failed", "2", "embedded fallback",
        r"EMBEDDED FALLBACK: Gateway agent failed; running embedded agent(?: with fresh session"
        r" ?(?P<session>gateway-fallback-[\w<>…-]{1,60})?)?:?",
        "#81752, #110226", canonical="EMBEDDED FALLBACK: Gateway agent failed; running embedded agent",
    ),
)  # fmt: skip

ROWS: tuple[Wording, ...] = (
    # ------------------------------------------------------------------ the session lock
    _row(
        "locked", "1-2", "session file locked",
        r"(?P<name>\w{0,40}Error: ?)?session file locked(?: ?\((?P<in>[^)\n]{0,120})\))?"
        r"(?P<cut> ?(?:\.\.\.|…)(?![\w/\\-]))?"
        rf":?(?: ?{_OWNER})?(?: (?P<path>{_PATH}))?(?P<code>:? ?code=OPENCLAW_SESSION_WRITE_LOCK_TIMEOUT)?",
        "#62981, #13744, #86014, #91358; `src/agents/session-write-lock.ts`", session_lock=True,
        canonical="session file locked (timeout {wait_ms}ms): {owner}",
    ),
    _row(
        "lock_stale", "2", "session file lock stale",
        rf"session file lock stale ?\((?P<reasons>[\w, -]{{1,120}})\):?(?: ?{_OWNER})?(?: (?P<path>{_PATH}))?",
        "#128032", session_lock=True, canonical="session file lock stale ({reasons}): {owner}",
    ),
    _row(
        "file_lock", "2", "file lock ",
        rf"\bfile lock (?P<state>stale|timeout) for (?P<path>{_PATH})(?::? ?code=(?P<code>[a-z_]{{1,40}}))?",
        "#87217, #87537", session_lock=True, canonical="file lock {state}",
    ),
    _row(
        "store_lock", "1", "session store lock",
        rf"timeout acquiring session store lock:? ?(?P<path>{_PATH})?",
        "#13203", session_lock=True, canonical="timeout acquiring session store lock",
    ),
    _row(
        "force_release", "*", "releasing lock held for",
        r"(?:\[session-write-lock\] ?)?releasing lock held for (?P<held>\d{1,12}) ?ms ?\(max=(?P<max>\d{1,12}) ?ms\)"
        rf"(?::? (?P<path>{_PATH}))?",
        "#75894; 2026.4.8", session_lock=True, canonical="[session-write-lock] releasing lock",
    ),
    _row(
        "removed_stale", "*", "stale session lock",
        rf"removed stale session lock:? ?(?P<path>{_PATH})?(?: ?\((?P<reasons>[\w, -]{{1,120}})\))?",
        "2026.4.8", session_lock=True, canonical="removed stale session lock",
    ),
    _row(
        "doctor_lock", "*", ".lock pid",
        rf"(?P<path>{_PATH}) pid ?= ?(?P<pid>\d{{1,10}}|missing|unknown) ?\((?P<state>alive|dead|missing|unknown)\)"
        r"(?: age ?= ?(?P<age_text>[\w.]{1,20}))?(?: stale ?= ?(?P<stale>yes|no))?"
        r"(?: ?\((?P<reasons>[\w, -]{1,120})\))?"
        r"(?P<removed> ?\[removed\])?",
        "#76823", canonical=None,
    ),
    _row("doctor_count", "*", "session lock file", r"Found (?P<count>\d{1,6}) session lock files?", "#76823"),
    _row(
        "takeover", "2", "while embedded prompt lock was released",
        r"(?:EmbeddedAttemptSessionTakeoverError: ?)?session file changed while embedded prompt lock was released"
        rf"(?::? (?P<path>{_PATH}))?",
        "#84059, #86845", session_lock=True,
        canonical="session file changed while embedded prompt lock was released",
    ),
    _row(
        "takeover", "2", "embeddedattemptsessiontakeovererror", r"EmbeddedAttemptSessionTakeoverError\b", "#84059",
        session_lock=True, canonical="session file changed while embedded prompt lock was released",
    ),
    _row(
        "lock_error_code", "2", "openclaw_session_write_lock_timeout", r"OPENCLAW_SESSION_WRITE_LOCK_TIMEOUT", "#86014",
        session_lock=True, canonical="session file locked (timeout {wait_ms}ms): {owner}",
    ),
    # ------------------------------------------------------------------ after the file lock
    _row(
        "revision_conflict", "3", "initialization conflicted",
        rf"reply session initialization conflicted(?: for (?:session )?{_KEY})?",
        "#98220", session_lock=False, canonical="reply session initialization conflicted",
    ),
    _row(
        "changed_during_prompt", "4", "changed while the prompt was running",
        rf"session changed while the prompt was running:? ?{_KEY}?",
        "2026.8 to 2026.9", session_lock=True, canonical="session changed while the prompt was running",
    ),
    _row(
        "active_writer", "4", "already has an active writer",
        r"thread (?P<key>[^\n]{0,80}?) ?already has an active writer(?P<code> \(code -32\d{3}\))?",
        "#153141; Codex 0.171.0 run for real", canonical="thread already has an active writer",
    ),
    _row(
        "lease_held", "4", "held by ",
        r"(?:lock|lease|session|claim|store|writer)[^\n]{0,80}?held by (?P<who>this process|another OpenClaw process)"
        r"(?: \(pid (?P<pid>\d{1,10})\))?",
        "#120921", session_lock=True, canonical="held by {who}",
    ),
    _row(
        "starting_conflict", "4", "changed while starting work",
        rf"session [\"'`]?{_KEY}[\"'`]? changed while starting work(?:\. Retry)?",
        "#136174, #121269, #131149", canonical="session changed while starting work",
    ),
    _row(
        "starting_conflict", "4", "session_work_start_changed", r"\bSESSION_WORK_START_CHANGED\b", "#146692",
        canonical="session changed while starting work",
    ),
    _row(
        "active_claim", "4", "active turn claim",
        rf"(?:session [\"'`]?{_KEY}[\"'`]? )?(?:already has|has|holds) an active turn claim",
        "#136477", session_lock=True, canonical="session already has an active turn claim",
    ),
    _row(
        "no_active_run", "4", "no-active-run", r"\b(?:status=|code=|reason=|\"|')?no-active-run\b", "#136477",
    ),
    _row(
        "claim_rebound", "4", "writerclaimrebound", r"\bSessionTranscriptWriterClaimReboundError\b", "#150372, PR #121113",
        canonical="SessionTranscriptWriterClaimReboundError",
    ),
    _row(
        "state_lease", "4", "openclawstateleaseerror", r"\bOpenClawStateLeaseError\b(?::? ?[^\n|\"]{0,160})?",
        "#135774, #134341", canonical="OpenClawStateLeaseError",
    ),
    _row(
        "maintenance", "4", "maintenance is in progress", r"(?:agent )?database maintenance is in progress",
        "#134341, #156289", canonical="Agent database maintenance is in progress",
    ),
    _row(
        "state_dir", "4", "state dir",
        r"state[ -]dir(?:ectory)?\b[^\n]{0,200}?\b(?:in use|owned|held|locked|already used|claimed) by (?:a |an |another |the )?"
        r"(?P<alive>running |live |active )?(?:gateway|openclaw)\b(?:[^\n]{0,60}?\(?pid[ =:](?P<pid>\d{1,10}))?",
        "#156170; PR #120896", canonical="the state directory is in use by a live gateway", own="state-directory",
    ),
    _row(
        "state_dir", "4", "gateway owns", r"(?P<alive>live) gateway owns (?:the|this|that) state dir(?:ectory)?(?:[^\n]{0,40}?\(?pid[ =:](?P<pid>\d{1,10}))?", "PR #120896",
        canonical="the state directory is in use by a live gateway", own="state-directory",
    ),
    _row(
        "exec_denied", "*", "exec denied", r"exec denied: ?host=gateway security=deny",
        "#112320", canonical="exec denied: host=gateway security=deny",
    ),
    # ------------------------------------------------------------------ the run around it
    _row(
        "gateway_timeout", "*", "gateway timeout after", r"gateway timeout after (?P<ms>\d{1,12}) ?ms",
        "#62981", canonical="gateway timeout after {ms}ms",
    ),
    _row(
        "request_timeout", "*", "gateway request timeout for", r"gateway request timeout for (?P<method>[\w.]{1,60})",
        "2026.4.8", canonical="gateway request timeout for {method}",
    ),
    _row(
        "gateway_closed", "*", "gateway closed", r"gateway closed \((?P<close>\d{4})(?P<hint>[^)\n]{0,80}\)?)\)?:?",
        "2026.4.8", not_lock=True, canonical="gateway closed ({close})",
    ),
    _row(
        "gateway_refused", "*", "econnrefused", r"connect ECONNREFUSED [\w.:\[\]]{1,60}", "#71416", not_lock=True,
        canonical="connect ECONNREFUSED",
    ),
    _row(
        "unauthorized", "*", "unauthorized",
        r"unauthorized: (?P<why>gateway (?:token|password) \w{1,20}|\w{1,20}(?: \w{1,20}){0,4})",
        "#81752", not_lock=True, canonical="unauthorized: {why}",
    ),
    _row(
        "refused", "*", "pairing required", r"(?P<why>pairing required)\b", "#22506, NemoClaw #4462", not_lock=True,
        canonical="the gateway refused the client: {why}",
    ),
    _row(
        "refused", "*", "scope upgrade", r"(?P<why>scope upgrade) (?:pending(?: approval)?|required)", "#62762, NemoClaw #2794",
        not_lock=True, canonical="the gateway refused the client: {why}",
    ),
    _row(
        "run_timeout", "*", "embedded run timeout",
        rf"embedded run timeout: ?(?:runId=(?P<run>{_ID}))?,? ?(?:sessionId=(?P<session>{_ID}))?,? ?"
        r"(?:timeoutMs=(?P<ms>\d{1,12}))?",
        "2026.4.8 run for real; #86014", not_lock=True, canonical="embedded run timeout: timeoutMs={ms}",
    ),
    _row(
        "failover", "*", "embedded run failover decision",
        rf"\[?embedded run failover decision\]?:? ?(?:runId=(?P<run>{_ID}) ?)?(?:stage=(?P<stage>\w{{1,30}}) ?)?"
        r"(?:decision=(?P<decision>\w{1,30}) ?)?(?:reason=(?P<reason>\w{1,30}) ?)?",
        "2026.4.8 run for real", not_lock=True, canonical="embedded run failover decision: {decision}",
    ),
    _row(
        "abort_unsettled", "2", "abort settle timed out",
        rf"(?:embedded|sessions_yield) abort settle timed out:?(?: ?(?:\.\.\.|…))? ?(?:runId=(?P<run>{_ID}))?,? ?"
        rf"(?:sessionId=(?P<session>{_ID}))?,? ?"
        r"(?:timeoutMs=(?P<ms>\d{1,12}))?",
        "#87117, #90065", canonical="embedded abort settle timed out: timeoutMs={ms}",
    ),
    _row(
        "stuck_session", "*", "stuck session:",
        r"stuck session: [^\n]{0,400}?state=(?P<state>\w{1,20}) age=(?P<age_s>\d{1,9})s",
        "#77935, #92270", canonical="stuck session",
    ),
    _row(
        "stalled_session", "2", "stalled session:",
        r"stalled session: [^\n]{0,400}?\bage=(?P<age_s>\d{1,9})s(?:[^\n]{0,400}?\brecovery=(?P<recovery>\w{1,30}))?",
        "#83765", canonical="stalled session",
    ),
    _row(
        "recovery_skipped", "2", "recovery skipped",
        r"stuck session recovery skipped:(?:[^\n]{0,300}?\breason=(?P<reason>\w{1,60}))?(?:[^\n]{0,300}?\baction=(?P<action>\w{1,60}))?",
        "#83765, #85639, #75944", canonical="stuck session recovery skipped",
    ),
    _row(
        "long_running", "2", "long-running session:",
        r"long-running session: [^\n]{0,400}?\bage=(?P<age_s>\d{1,9})s", "#83765",
    ),
    _row(
        "lane_wait", "2", "lane wait exceeded", r"lane wait exceeded: [^\n]{0,240}?waitedMs=(?P<ms>\d{1,12})", "#83765",
    ),
    _row(
        "loop_stall", "2", "loop", r"(?:event[ _-]?loop[ _-]?(?:delay|stall|lag|blocked)|eventLoopDelay(?:P99|Max)?Ms=(?P<ms>\d{1,9}))",
        "#77115, #117262", hints=("eventloop", "event_loop", "event-loop"),
    ),
    _row(
        "slow_store", "4", "durationms",
        r"(?:slow (?:transaction|query|write|statement)|transaction (?:held|took))[^\n]{0,200}?durationMs[=:] ?(?P<ms>\d{1,9})",
        "#117262, #148307", hints=("slowtransaction", "slowquery", "slowwrite", "slowstatement", "transactionheld", "transactiontook"),
    ),
    _row(
        "resumed", "*", "interrupted", r"\bresum(?:ed|ing) (?:the |an |\d{1,4} )?interrupted (?:session|turn|run)s?", "#98200, #85207",
    ),
    _row(
        "draining", "*", "drain", r"\b(?:gateway (?:is )?draining|drain(?:ing)? (?:timed out|timeout|active runs))\b", "#137355",
        hints=("draining", "draintim"),
    ),
    _row(
        "stuck_recovery", "*", "released=", r"\breleased=(?P<released>\d{1,4})\b", "#92270, #95915",
        canonical="stuck session recovery: released={released}",
    ),
    _row(
        "compaction", "*", "compaction",
        r"(?:compaction\]? (?:wait )?(?P<how>timed out|aborted|timeout)"
        r"|compaction\]?:? (?:failed|start|complete|done|finish)\w*"
        r"|(?:auto-?)?compaction\b[^\n]{0,80}?durationMs=(?P<duration>\d{1,12})"
        r"|durationMs=(?P<duration2>\d{1,12})[^\n]{0,80}?compaction)",
        "#88647, #89639, #118625", canonical=None,
    ),
    _row(
        "synthetic_result", "*", "synthetic error result",
        r"missing tool result in session history; ?inserted synthetic error result",
        "class J of the field reports", canonical="missing tool result in session history",
    ),
    _row(
        "chain_stopped", "4", "model fallback chain stopped",
        rf"model fallback chain stopped: reason=(?P<reason>\w{{1,60}})(?: candidate=(?P<candidate>{_ID}))?",
        "2026.9.6 run for real", not_lock=True, canonical="model fallback chain stopped: reason={reason}",
    ),
    _row(
        "session_ended", "*", "session.ended", r"\bsession\.ended\b", "#86530",
    ),
    _row(
        "connection", "*", ": ",
        r"^(?:Gateway target: \S{1,200}|Source: (?:local loopback|cli --url|env \w+|config gateway|missing gateway)"
        r"|Config: \S{1,300}openclaw\.json|Bind: \w{1,20}$)",
        "2026.4.8 run for real", not_lock=True,
        hints=("gatewaytarget", "source:", "config:", "bind:"),
    ),
    # ------------------------------------------------------------------ locks of the program that are no session's
    _row(
        "gateway_start", "*", "gateway failed to start",
        r"gateway failed to start: gateway already running(?: under (?P<under>\w{1,30}))?[^\n]{0,200}?"
        r"(?:lock timeout after (?P<ms>\d{1,9}) ?ms|$)",
        "#135133, #144171, #138657", canonical="gateway already running", own="gateway",
    ),
    _row(
        "gateway_running", "*", "gateway already running",
        r"gateway already running(?: under (?P<under>\w{1,30}))?(?: \(pid (?P<pid>\d{1,10})\))?"
        r"(?:;? ?lock timeout after (?P<ms>\d{1,9}) ?ms)?",
        "2026.4.8", canonical="gateway already running", own="gateway",
    ),
    _row(
        "gateway_running", "*", "gateway lock",
        r"(?:GatewayLockError: ?)?(?:failed to acquire|timed out waiting for|could not (?:get|take)) (?:the )?gateway lock"
        r"(?:[^\n]{0,120}?\bpid[ =:](?P<pid>\d{1,10}))?(?:[^\n]{0,80}?after (?P<ms>\d{1,9}) ?ms)?",
        "2026.4.8", canonical="gateway already running", own="gateway",
    ),
    _row(
        "deps_lock", "*", "deps lock",
        rf"(?:timed out )?waiting for (?:bundled |plugin |the )?(?:plugin )?runtime[- ]deps lock(?: at)?:? ?(?P<path>{_PATH})?"
        r"(?:[^\n]{0,20}?\bpid[ =:](?P<pid>\d{1,10}))?(?:,? ?waited[ =](?P<ms>\d{1,9}) ?ms)?",
        "#75028, #74346", canonical="waiting for the runtime-deps lock", own="runtime-deps",
    ),
    _row(
        "approvals_lock", "*", "exec-approvals", r"exec-approvals[\w.-]{0,20}\.lock(?:[^\n]{0,40}?\bpid[ =:](?P<pid>\d{1,10}))?",
        "#111753, #112320", canonical="the exec-approvals lock", own="exec-approvals",
    ),
    # ------------------------------------------------------------------ file systems
    _row(
        "file_system", "*", "e",
        r"\b(?P<errno>EPERM|EACCES|EBUSY|ENOTSUP|EOPNOTSUPP|ENOSPC|ENOLCK|EROFS|ESTALE|EXDEV)\b:? ?[\w ,()'-]{0,80}?"
        rf"\b(?P<call>open|link|unlink|rename|rmdir|write|close|append|copyfile|fsync)\b"
        rf"[ ,:]{{0,3}}['\"`]?(?P<path>{_PATH})?",
        "#59013, #81089, #52093, #61264, #128032", canonical="{errno}, {call}",
        hints=("eperm", "eacces", "ebusy", "enotsup", "eopnotsupp", "enospc", "enolck", "erofs", "estale", "exdev"),
    ),
    # ------------------------------------------------------------------ look-alikes
    _row(
        "aborted", "*", "aborted", r"\b(?:Request|Run|The (?:operation|request)|This operation) (?:was )?aborted\b(?! by (?:the )?user)",
        "parser notes of the field reports", not_lock=True, canonical="Request was aborted",
    ),
    _row(
        "model_timeout", "*", "llm request timed out", r"LLM request timed out\.?", "2026.4.8 run for real",
        not_lock=True, canonical="LLM request timed out.",
    ),
    _row(
        "idle_timeout", "*", "idle timeout", r"LLM idle timeout \((?P<s>\d{1,6})s\)", "#91659", not_lock=True,
        canonical="LLM idle timeout ({s}s)",
    ),
    _row(
        "no_answer", "*", "request timed out before",
        r"Request timed out before a response was generated", "2026.5.7 and 2026.9.6 run for real", not_lock=True,
        canonical="Request timed out before a response was generated",
    ),
    _row(
        "busy_database", "4", "database", r"(?:\bdatabase (?:table )?is locked\b|\bSQLITE_(?:BUSY|LOCKED)\b)",
        "#148307, #113622", not_lock=True, canonical="database is locked",
    ),
    _row(
        "foreign_lock", "*", "", r"(?:/var/lib/(?:dpkg|apt|rpm)/[\w/.-]{0,60}|dpkg frontend lock|Could not get lock|apt(?:-get)? lock|zypp\.pid)",
        "other programs", not_lock=True, says="a lock of the system's package manager",
        hints=("dpkg", "getlock", "aptlock", "zypp.pid", "/var/lib/", "apt-getlock"),
    ),
    _row(
        "foreign_lock", "*", "", r"(?:index\.lock\b|\.git/[\w/.-]{0,80}\.lock)", "other programs", not_lock=True, says="a lock of git",
        hints=("index.lock", ".git/"),
    ),
    _row(
        "foreign_lock", "*", "", r"(?:package-lock|yarn\.lock|Cargo\.lock|pnpm-lock|npm ERR! code E\w{2,10}|waiting for file lock on (?:package|build))",
        "other programs", not_lock=True, says="a package manager's files",
        hints=("package-lock", "yarn.lock", "cargo.lock", "pnpm-lock", "npmerr!", "filelockon"),
    ),
    _row(
        "foreign_lock", "*", "", r"(?:ELOCKED|Lock file is already being held|EBUSY: resource busy or locked)", "other programs",
        not_lock=True, says="a lock of another program", hints=("elocked", "lockfileis", "resourcebusy"),
    ),
    # ------------------------------------------------------------------ what a provider says
    _row(
        "provider", "*", "", r"\b(?:(?:HTTP|status|answer\w{0,2}|return\w{0,2}|error|code|with|says|responds?)[ =:]{1,2}429\b|429\b[^\n]{0,60}?(?:too many|rate|limit|quota)|too many requests|rate_limit(?:_error)?\b|rate limit(?:ed|s)?\b)",
        "providers", not_lock=True, hints=("ratelimit", "rate_limit", "toomanyrequests"), says="a provider's rate limit",
    ),
    _row(
        "provider", "*", "overload", r"\b(?:overloaded_error|overloaded|(?:reason|status)=overload\w{0,4})\b", "providers", not_lock=True,
        says="an overloaded provider",
    ),
    _row(
        "provider", "*", "", r"\b(?:insufficient_quota|credit balance|billing (?:hard )?limit|payment required|402\b[^\n]{0,30}payment)",
        "providers", not_lock=True, hints=("insufficient_quota", "creditbalance", "billing", "paymentrequired"), says="a provider's bill or quota",
    ),
    _row(
        "provider", "*", "", r"\b(?:invalid_api_key|incorrect api key|no api key found|authentication_error|invalid x-api-key)\b",
        "providers", not_lock=True, hints=("apikey", "api_key", "authentication_error", "x-api-key"), says="a provider's key",
    ),
    _row(
        "provider", "*", "", r"\b(?:context_length_exceeded|prompt is too long|context window (?:too small|exceeded))\b", "providers",
        not_lock=True, hints=("context_length", "promptistoolong", "contextwindow"), says="a prompt that is too long for the model",
    ),
    _row(
        "provider", "*", "", r"\b(?:(?:HTTP|status|answer\w{0,2}|return\w{0,2}|error|code|with|says|responds?)[ =:]{1,2}5\d\d\b|5(?:00|02|03|04|20|22|29)\b[^\n]{0,30}(?:error|unavailable|gateway|server|timeout)|service unavailable|bad gateway)",
        "providers", not_lock=True, hints=("serviceunavailable", "badgateway", "providererror"), says="a provider's server error",
    ),
)  # fmt: skip

#: Timers that a report states: (name, nominal seconds per unit, pattern).
SETTINGS: tuple[tuple[str, float, re.Pattern[str]], ...] = tuple(
    (name, unit, re.compile(pattern, re.IGNORECASE))
    for name, unit, pattern in (
        (
            "run_timeout_s",
            1.0,
            r"(?<!compaction\.)\btimeoutSeconds[\"'`]?\s{0,3}[:=]?\s{0,3}(?:to )?[\"'`]?(?P<n>\d{1,7})\b",
        ),
        ("run_timeout_s", 1.0, r"openclaw agent\b[^\n]{0,300}? --timeout[ =](?P<n>\d{1,7})\b"),
        ("lock_wait_s", 0.001, r"ACQUIRE_?TIMEOUT_?MS[\"'`]?\s{0,3}[:= ]\s{0,3}(?P<n>\d{1,9})\b"),
        ("stale_s", 0.001, r"\bstale_?Ms[\"'`]?\s{0,3}[:= ]\s{0,3}(?P<n>\d{1,9})\b"),
        ("max_hold_s", 0.001, r"\bmax_?Hold_?Ms[\"'`]?\s{0,3}[:= ]\s{0,3}(?P<n>\d{1,10})\b"),
        ("compaction_timeout_s", 1.0, r"compaction\.timeoutSeconds[\"'`]?\s{0,3}[:= ]\s{0,3}(?P<n>\d{1,7})\b"),
    )
)

#: What a setting looks like, squeezed.
SETTINGS_HINTS = (
    "timeoutseconds",
    "--timeout",
    "acquiretimeoutms",
    "acquire_timeout",
    "stalems",
    "stale_ms",
    "maxholdms",
    "max_hold",
)

#: How a line begins that is a record of its own. What does not begin like this may continue the line before.
HEADS = re.compile(
    r"(?:\[[\w@][^\]\n]{0,60}\]|Gateway (?:agent failed|target:)|EMBEDDED FALLBACK:|\w{0,40}Error:|⚠️|❌"
    r"|(?:Source|Config|Bind|Logs|Expected|Actual|Environment|Version|OS|Node|Steps|Reproduction|Error):"
    r"|session file lock(?:ed)? |All models failed|Embedded agent failed|Agent failed before|file lock stale for"
    r"|Session locks|Subagent |embedded (?:run|abort) |lane task error|model fallback |stuck session|gateway c"
    r"|[-*+•] |\d{1,3}[.)] |#{1,6} |```|~~~|[|] ?[-:]|</?\w|[{}\]]|at \S|\$ |PS |C:\\>|openclaw )",
)

#: Words of the program with their blanks, for mending lines that were wrapped in the middle of a word.
PHRASES: tuple[str, ...] = (
    "session file locked (timeout ", "session file locked ... (timeout)", "session file locked: pid=",
    "Gateway agent failed; falling back to embedded: ",
    "gateway timeout after ", "FallbackSummaryError: All models failed (", "Request was aborted (timeout)",
    "EMBEDDED FALLBACK: Gateway agent timed out; running embedded agent with fresh session ",
    "EMBEDDED FALLBACK: Gateway agent failed; running embedded agent: ", "session file lock stale (",
    "run error: session file changed while",
    "EmbeddedAttemptSessionTakeoverError: session file changed while embedded prompt lock was released: ",
    "SessionWriteLockTimeoutError: session file locked (timeout ", "lane task error: lane=", "[diagnostic] lane task ",
    "embedded run timeout: runId=", "embedded abort settle timed out: runId=", "model fallback decision: decision=",
    "LLM request timed out.", "reply session initialization conflicted for ", "Embedded agent failed before reply: ",
    "Agent failed before reply: ", "releasing lock held for ", "session changed while the prompt was running: ",
    "timeout acquiring session store lock: ", "file lock stale for ", "embedded run failover decision: runId=",
    "gateway closed (1006 abnormal closure (no close frame)): ", "unauthorized: gateway token mismatch",
    "missing tool result in session history; inserted synthetic error result for transcript repair",
    "Subagent announce give up (retry-limit)", "Subagent completion direct announce failed for run ",
    " runId=", " sessionId=", " timeoutMs=", " durationMs=", " stage=assistant decision=", " reason=timeout ",
    ' error="FailoverError: LLM request timed out."', ' error="FailoverError: Request was aborted',
    " rawError=Request was",
    "decision=candidate_failed requested=", "decision=fallback_model reason=timeout ", " candidate=", " detail=",
    "model fallback chain stopped: reason=agent_run_terminal_timeout candidate=", "decision=surface_error reason=",
    "Request timed out before a response was generated. Please try again", "database is locked",
    "already has an active writer", " alive=true ageMs=", " alive=false ageMs=",
)  # fmt: skip
