"""Texts as people paste them, one for each shape of the field reports: name, classes that must be seen, classes that may be.

The names are report numbers; the texts are made up after them: other ids, paths, models, versions and words.
"""

# ruff: noqa: E501  logs are not wrapped

from __future__ import annotations

from typing import NamedTuple


class Excerpt(NamedTuple):
    name: str
    must: str
    may: str
    text: str


EXCERPTS = (
    Excerpt(
        "66646-decision", "B", "FK", """
### What happened

```
[model-fallback/decision] model fallback decision: decision=candidate_failed requested=anthropic/claude-opus-4-6 candidate=anthropic/claude-opus-4-6 reason=timeout next=openai/gpt-5.2 detail=session file locked (timeout 10000ms): pid=2210 /root/.openclaw/agents/main/sessions/3f1b0c5e-6c2e-4a01-8a77-0fd5a30a1de2.jsonl.lock
[model-fallback/decision] model fallback decision: decision=candidate_failed requested=anthropic/claude-opus-4-6 candidate=openai/gpt-5.2 reason=timeout next=google/gemini-3-pro detail=session file locked (timeout 10000ms): pid=2210 /root/.openclaw/agents/main/sessions/3f1b0c5e-6c2e-4a01-8a77-0fd5a30a1de2.jsonl.lock
[model-fallback/decision] model fallback decision: decision=candidate_failed requested=anthropic/claude-opus-4-6 candidate=google/gemini-3-pro reason=timeout next=none detail=session file locked (timeout 10000ms): pid=2210 /root/.openclaw/agents/main/sessions/3f1b0c5e-6c2e-4a01-8a77-0fd5a30a1de2.jsonl.lock
```
""",
    ),
    Excerpt(
        "66646-short", "B", "FK", """
[model-fallback/decision] candidate=claude-opus reason=timeout detail=session file locked (pid=4711)
[model-fallback/decision] candidate=gpt reason=timeout detail=session file locked (pid=4711)
All models failed (2)
""",
    ),
    Excerpt(
        "83675-json-win", "B", "F", r"""
{"0":"{\"subsystem\":\"model-fallback/decision\"}","1":{"event":"model_fallback_decision","decision":"candidate_failed","requestedProvider":"minimax","requestedModel":"MiniMax-M2","candidateProvider":"minimax","candidateModel":"MiniMax-M2","reason":"timeout","errorPreview":"session file locked (timeout 60000ms): pid=18244 C:\\Users\\Jan Kowalski\\.openclaw\\agents\\main\\sessions\\0f9f6f1e-1b2c-4d3e-8f90-123456789abc.jsonl.lock"},"2":"model fallback decision","_meta":{"date":"2026-05-18T06:11:22.120Z","logLevelName":"WARN"},"time":"2026-05-18T06:11:22.120Z"}
""",
    ),
    Excerpt(
        "83675-text", "B", "F", r"""
2026-05-18T14:02:11.004+08:00 [model-fallback/decision] model fallback decision: decision=candidate_failed requested=minimax/MiniMax-M2 candidate=minimax/MiniMax-M2 reason=timeout next=deepseek/deepseek-chat detail=session file locked (timeout 60000ms): pid=18244 C:\Users\me\.openclaw\agents\main\sessions\0f9f6f1e-1b2c-4d3e-8f90-123456789abc.jsonl.lock
""",
    ),
    Excerpt(
        "88647-L5", "E", "FIBJ", """
2026-06-26 02:13:40 [agent/embedded] missing tool result in session history; inserted synthetic error result for transcript repair.
2026-06-26 02:15:44 [diagnostic] lane task error: lane=main durationMs=60110 error="SessionWriteLockTimeoutError: session file locked (timeout 60000ms): pid=3321 alive=true ageMs=124708 /home/u/.openclaw/agents/main/sessions/7d2e.jsonl.lock"
2026-06-26 02:15:44 [diagnostic] lane task error: lane=session:agent:main:telegram:direct:123 durationMs=60121 error="SessionWriteLockTimeoutError: session file locked (timeout 60000ms): pid=3321 alive=true ageMs=124708 /home/u/.openclaw/agents/main/sessions/7d2e.jsonl.lock"
2026-06-26 02:17:02 [agent/embedded] [compaction] compaction timed out after 300000ms
2026-06-26 02:18:15 [agent/embedded] EmbeddedAttemptSessionTakeoverError: session file changed while embedded prompt lock was released: /home/u/.openclaw/agents/main/sessions/7d2e.jsonl
2026-06-26 02:19:00 [warn] Subagent completion direct announce failed for run 88ab-1: gateway request timeout for agent
""",
    ),
    Excerpt(
        "88383-announce", "FJ", "", """
[subagents] Subagent announce give up (retry-limit) run=1f child=agent:main:subagent:77 requester=agent:main:slack:channel:c01 error=SessionWriteLockTimeoutError: session file locked (timeout 60000ms): pid=512 alive=true ageMs=70211 /data/.openclaw/agents/main/sessions/aa.jsonl.lock
transcript persistence failed for agent:main:slack:channel:c01: session file locked (timeout 60000ms): pid=512 alive=true ageMs=70214
""",
    ),
    Excerpt(
        "86937", "I", "E", """
run error: session file changed while embedded prompt lock was released.
""",
    ),
    Excerpt(
        "86845", "I", "", """
Cron job "daily-brief" failed: EmbeddedAttemptSessionTakeoverError: session file changed while embedded prompt lock was released: /Users/anna/.openclaw/agents/main/sessions/d41d8cd9-8f00-4b20-9e98-0998ecf8427e.jsonl
""",
    ),
    Excerpt(
        "83510", "BI", "", """
⚠️ Agent failed before reply: All models failed (3): openai-codex/gpt-5.5: session file changed while embedded prompt lock was released: /root/.openclaw/agents/main/sessions/x.jsonl (unknown) | anthropic/claude-sonnet-4-6: session file changed while embedded prompt lock was released: /root/.openclaw/agents/main/sessions/x.jsonl (unknown) | google/gemini-3: session file changed while embedded prompt lock was released: /root/.openclaw/agents/main/sessions/x.jsonl (unknown).
""",
    ),
    Excerpt(
        "13925-mixed", "B", "L", """
All models failed (3): anthropic/claude-opus-4-5: session file locked (timeout 10000ms): pid=77 /root/.openclaw/agents/main/sessions/a1b2.jsonl.lock (timeout) | google/gemini: Provider google is in cooldown (all profiles unavailable) (rate_limit) | openai/gpt-5: No available auth profile for openai (all in cooldown or unavailable). (auth)
""",
    ),
    Excerpt(
        "73684", "B", "AC", """
FallbackSummaryError: All models failed (2): openai/gpt-5-mini: session file locked (timeout 10000ms): pid=1123 /home/node/.openclaw/agents/main/sessions/b9.jsonl.lock (timeout) | local/tiny: Model context window too small (8192 tokens). Minimum is 16000. (unknown)
""",
    ),
    Excerpt(
        "60258-dead", "BC", "", """
All five models failed with the lock of a worker that had crashed:

    FallbackSummaryError: All models failed (5): a/m1: session file locked (timeout 10000ms): pid=991 /srv/oc/agents/w/sessions/s.jsonl.lock (timeout) | a/m2: session file locked (timeout 10000ms): pid=991 /srv/oc/agents/w/sessions/s.jsonl.lock (timeout) | a/m3: session file locked (timeout 10000ms): pid=991 /srv/oc/agents/w/sessions/s.jsonl.lock (timeout) | a/m4: session file locked (timeout 10000ms): pid=991 /srv/oc/agents/w/sessions/s.jsonl.lock (timeout) | a/m5: session file locked (timeout 10000ms): pid=991 /srv/oc/agents/w/sessions/s.jsonl.lock (timeout)

`ps -p 991` prints nothing: the process with PID 991 is dead.
""",
    ),
    Excerpt(
        "70004", "C", "B", """
Our supervisor sends SIGKILL to the agent after 10 minutes, the lock stays behind.

Error: session file locked (timeout 10000ms): pid=20117 /home/ci/.openclaw/agents/main/sessions/4e.jsonl.lock
""",
    ),
    Excerpt(
        "5006", "D", "", """
After rebuilding the container PID 64 belongs to another process (the dashboard):
session file locked (timeout 10000ms): pid=64 /root/.clawdbot/agents/main/sessions/1.jsonl.lock
""",
    ),
    Excerpt(
        "112320", "D", "L", """
exec denied: host=gateway security=deny
""",
    ),
    Excerpt(
        "76823-fix", "D", "G", """
$ openclaw doctor --fix
Gateway is not running.
Session locks
- Found 1 session lock file.
- ~/.openclaw/agents/main/sessions/c0ffee00-1111-4222-8333-444455556666.jsonl.lock pid=812 (alive) age=3h12m stale=no
""",
    ),
    Excerpt(
        "doctor-dead", "C", "", """
│  Session locks
│  - Found 2 session lock files.
│  - ~/.openclaw/agents/main/sessions/80b5c956-....jsonl.lock pid=50418 (dead) age=4h10m stale=yes (dead-pid)
│  - ~/.openclaw/agents/main/sessions/aaaac956-....jsonl.lock pid=missing age=4h10m stale=yes (missing-pid)
""",
    ),
    Excerpt(
        "91327", "E", "", """
2026-06-08T07:12:00.101Z [agent/embedded] embedded run aborted by user: runId=r1
2026-06-08T07:12:03.114Z [agent/embedded] embedded abort settle timed out: runId=r1 timeoutMs=2000
2026-06-08T07:14:33.000Z [diagnostic] lane task error: lane=main durationMs=60008 error="SessionWriteLockTimeoutError: session file locked (timeout 60000ms): pid=7 alive=true ageMs=149601 /data/s.jsonl.lock"
""",
    ),
    Excerpt(
        "86530", "E", "", """
2026-05-25T08:00:00Z session.ended sessionId=abc
2026-05-25T08:01:30Z Error: session file locked (timeout 60000ms): pid=411 alive=true ageMs=88000 /Users/x/.openclaw/agents/main/sessions/abc.jsonl.lock
""",
    ),
    Excerpt(
        "128032", "E", "MI", r"""
session file lock stale (orphan-self-pid): pid=22144 alive=true ageMs=184422 C:\Users\Me\.openclaw\agents\main\sessions\6b.jsonl.lock
Error: EBUSY: resource busy or locked, unlink 'C:\Users\Me\.openclaw\agents\main\sessions\6b.jsonl.lock'
""",
    ),
    Excerpt(
        "89639", "E", "F", r"""
[compaction] compaction wait aborted
Error: session file locked (timeout 60000ms): pid=7000 alive=true ageMs=301000 C:\Users\Me\.openclaw\agents\main\sessions\6b.jsonl.lock
""",
    ),
    Excerpt(
        "118625", "F", "J", """
[compaction] auto-compaction end: outcome=compacted durationMs=148238
[diagnostic] lane task error: lane=main durationMs=60002 error="SessionWriteLockTimeoutError: session file locked (timeout 60000ms): pid=88 alive=true ageMs=90000 /data/x.jsonl.lock"
Subagent announce give up (retry-limit) run=aa
""",
    ),
    Excerpt(
        "97747", "F", "BE", """
[compaction] overflow compaction started runId=77
SessionWriteLockTimeoutError: session file locked (timeout 60000ms): pid=88 alive=true ageMs=60000 /data/x.jsonl.lock
[compaction] overflow compaction failed: session file locked (timeout 60000ms): pid=88 alive=true ageMs=60000 /data/x.jsonl.lock
""",
    ),
    Excerpt(
        "13744", "", "", """
Error: session file locked (timeout 10000ms): pid=77 /root/.openclaw/agents/main/sessions/a1b2.jsonl.lock
""",
    ),
    Excerpt(
        "75894", "FH", "", """
[session-write-lock] releasing lock held for 55611ms (max=15000ms): /root/.openclaw/agents/main/sessions/a.jsonl.lock
""",
    ),
    Excerpt(
        "87483", "G", "E", """
SessionWriteLockTimeoutError: session file locked (timeout 60000ms): pid=42 alive=true ageMs=29160000 /root/.openclaw/agents/main/sessions/a.jsonl.lock
lock file: { "pid": 42, "createdAt": "2026-05-28T01:12:54.261Z", "maxHoldMs": 1020000 }
""",
    ),
    Excerpt(
        "77935", "G", "E", """
[diagnostic] stuck session: sessionId=main sessionKey=agent:main:main state=processing age=1532s queueDepth=3
[diagnostic] stuck session recovery: status=aborted released=0
""",
    ),
    Excerpt(
        "95915", "E", "G", """
stuck session recovery outcome: status=aborted action=abort_embedded_run aborted=true drained=false forceCleared=true released=0
""",
    ),
    Excerpt(
        "87537", "H", "J", """
Error: file lock stale for /root/.openclaw/agents/sub/sessions/00.jsonl: code=file_lock_stale
""",
    ),
    Excerpt(
        "119355", "I", "J", r"""
EmbeddedAttemptSessionTakeoverError: session file changed while embedded prompt lock was released: C:\Users\Li Na\.openclaw\agents\main\sessions\zz.jsonl
""",
    ),
    Excerpt(
        "98200", "A", "KI", """
EMBEDDED FALLBACK: Gateway agent failed; running embedded agent: GatewayTransportError: gateway closed (1006 abnormal closure (no close frame)): no close reason
EmbeddedAttemptSessionTakeoverError: session file changed while embedded prompt lock was released: /home/dev/.openclaw/agents/main/sessions/a.jsonl
""",
    ),
    Excerpt(
        "71416", "L", "A", """
Gateway agent failed; falling back to embedded: Error: gateway closed (1006 abnormal closure (no close frame)): no close reason
Gateway target: ws://127.0.0.1:18789
""",
    ),
    Excerpt(
        "71416-refused", "L", "A", """
Gateway agent failed; falling back to embedded: Error: connect ECONNREFUSED 127.0.0.1:18789
""",
    ),
    Excerpt(
        "59013", "M", "", r"""
Error: EPERM: operation not permitted, open 'C:\Users\a\.openclaw\agents\main\sessions\1.jsonl.lock'
""",
    ),
    Excerpt(
        "81089", "M", "", """
Error: ENOTSUP: operation not supported on socket, link '/mnt/nas/.openclaw/agents/main/sessions/1.jsonl.lock.tmp' -> '/mnt/nas/.openclaw/agents/main/sessions/1.jsonl.lock'
""",
    ),
    Excerpt(
        "61264", "M", "L", """
Error: ENOSPC: no space left on device, write '/root/.openclaw/agents/main/sessions/1.jsonl'
""",
    ),
    Excerpt(
        "52093", "M", "", r"""
Error: EPERM: operation not permitted, rename 'C:\Users\a\.openclaw\agents\main\sessions\sessions.json.tmp' -> 'C:\Users\a\.openclaw\agents\main\sessions\sessions.json'
""",
    ),
    Excerpt(
        "98220", "N", "", """
webchat: Error: reply session initialization conflicted for agent:main:webchat:direct:u1
""",
    ),
    Excerpt(
        "148307", "N", "J", """
openclaw 2026.9.4
[sessions] write failed: SqliteError: database is locked (SQLITE_BUSY) at ~/.openclaw/agents/main/sessions.sqlite
""",
    ),
    Excerpt(
        "153141", "N", "E", """
/compact failed: thread 019a already has an active writer
""",
    ),
    Excerpt(
        "120921", "N", "E", """
session store lease held by this process (pid 4421), heartbeat 2s ago
""",
    ),
    Excerpt(
        "111407", "K", "AL", """
EMBEDDED FALLBACK: Gateway agent timed out; running embedded agent with fresh session gateway-fallback-1b0c7d3a-5f21-4d9e-9a3e-0a0a0a0a0a0a: GatewayTransportError: gateway timeout after 630000ms
Later the first run finished, too, and the reply was delivered twice.
""",
    ),
    Excerpt(
        "timeout-late", "K", "A", """
gateway timeout after 60000ms
(the message had been sent, and was sent again after the retry)
""",
    ),
    Excerpt(
        "zh", "AB", "", """
**问题描述**：网关超时之后回退到嵌入式运行器，会话文件被锁。

> Gateway agent failed; falling back to embedded: Error: gateway timeout after 90000ms
> session file locked (timeout 10000ms)：pid=47321 …9e051a52.jsonl.lock
> FallbackSummaryError: All models failed (3)：qiniu/deepseek-v3：session file locked ... (timeout) | qiniu/kimi-k2：Request was aborted (timeout) | qiniu/glm-4.5：Request was aborted (timeout)

版本 2026.4.8
""",
    ),
    Excerpt(
        "seed-break", "AB", "", """
Gateway agent failed; falling back to embedded: Error: gateway timeout after 90000ms
session file locked (timeout 10000ms): pid=47321 ...9e051a52.jsonl.lock
FallbackSummaryError: All models failed (3):
  qiniu/deepseek-v3: session file locked ... (timeout)
  | qiniu/kimi-k2: Request was aborted (timeout)
  | qiniu/glm-4.5: Request was aborted (timeout)
""",
    ),
    Excerpt(
        "seed-newlines", "AB", "", """
Gateway agent failed; falling back to embedded:
Error: gateway timeout after 90000ms
session file locked (timeout 10000ms):
pid=47321 ...9e051a52.jsonl.lock
FallbackSummaryError: All models failed (3):
qiniu/deepseek-v3: session file locked ... (timeout) |
qiniu/kimi-k2: Request was aborted (timeout) |
qiniu/glm-4.5: Request was aborted (timeout)
""",
    ),
    Excerpt(
        "66646-block", "B", "FKC", """
A cron job and a dispatch meet on one agent, and every model is "tried" on the same lock.

```
[model-fallback/decision] candidate=big-1 reason=timeout detail=session file locked (pid=4242)
[model-fallback/decision] candidate=middle-2 reason=timeout detail=session file locked (pid=4242)
Embedded agent failed: All models failed (2): session file locked...
```

Twenty seconds for nothing.
""",
    ),
    Excerpt(
        "83675-yaml", "B", "F", r"""
model_fallback_decision:
  requestedProvider: "acme-portal"
  requestedModel: "Acme-M9"
  fallbackStepFromFailureReason: "unknown"
  fallbackStepFromFailureDetail:
    "session file locked (timeout 60000ms):
     pid=1777 D:\.openclaw\agents\main\sessions\some....lock"
""",
    ),
    Excerpt(
        "66646-nested", "AB", "C", """
Gateway agent failed; falling back to embedded:
  GatewayClientRequestError: FallbackSummaryError: All models failed (2):
    acme/quick: session file locked (timeout 10000ms):
      pid=4711 /home/node/.openclaw/agents/main/sessions/after-1.jsonl.lock (timeout)
    | acme/tiny: Model context window too small (8192 tokens; ...). Minimum is 16000.
""",
    ),
    Excerpt(
        "86801-body", "", "FE", """
会话写入时频繁报错 session file locked (timeout 60000ms)，回复中断。锁文件内容:
```json
{
  "pid": 4242,
  "createdAt": "2026-05-26T09:22:46.211Z",
  "maxHoldMs": 1020000,
  "starttime": 1204072
}
```
""",
    ),
    Excerpt(
        "88647-without-its-start", "EFI", "J", """
2026-06-26T13:48:30+08:00 [diagnostic] lane task error: lane=main durationMs=60167 error="SessionWriteLockTimeoutError: session file locked (timeout 60000ms): pid=<gateway-pid> alive=true ageMs=124708 <session>.jsonl.lock"
2026-06-26T13:48:30+08:00 [diagnostic] lane task error: lane=session:agent:main:chat:direct:<id> durationMs=60169 error="SessionWriteLockTimeoutError: session file locked (timeout 60000ms): pid=<gateway-pid> alive=true ageMs=124708 <session>.jsonl.lock"
2026-06-26T13:49:22+08:00 [agents/cli-compaction] CLI transcript compaction failed for acme/one: Compaction timed out
2026-06-26T13:51:18+08:00 [diagnostic] lane task error: lane=main durationMs=168013 error="EmbeddedAttemptSessionTakeoverError: session file changed while embedded prompt lock was released: <session>.jsonl"
2026-06-26T13:52:04+08:00 [warn] Subagent completion direct announce failed for run <run-id>: gateway request timeout for agent
""",
    ),
    Excerpt(
        "83615-printed-json", "I", "J", r"""
{
  "0": "{\"subsystem\":\"diagnostic\"}",
  "1": "lane task error: lane=main durationMs=91597 error=\"EmbeddedAttemptSessionTakeoverError: session file changed while embedded prompt lock was released: /Users/<user>/.openclaw/agents/main/sessions/67eb0e47-a99f-4eec-9524-728658b5f6a2.jsonl\"",
  "_meta": {
    "runtime": "node",
    "hostname": "unknown",
    "date": "2026-05-18T04:22:05.091Z",
    "logLevelName": "ERROR",
    "path": {
      "fullFilePath": "file:///opt/lib/node_modules/openclaw/dist/subsystem-X.js:178:14",
""",
    ),
    Excerpt(
        "60258-words", "BC", "", """
When a worker process dies while it holds a session lock, every later request fails with
`Error: session file locked (timeout 10000ms): pid=<dead_pid> <path>.jsonl.lock`, and the chain, too:
FallbackSummaryError: All models failed (2): acme/one: session file locked ... | acme/two: session file locked ...
""",
    ),
    Excerpt(
        "92459", "EJ", "F", """
When the abort fails to settle (`sessions_yield abort settle timed out ... timeoutMs=2000`) the lock leaks:
- later writes die with `SessionWriteLockTimeoutError`;
- `Subagent announce give up (retry-limit)`, results lost.
""",
    ),
)  # fmt: skip

#: What sounds like a lock error and is none.
LOOK_ALIKES = (
    "Run aborted",
    "Request was aborted (timeout)",
    "LLM idle timeout (120s): no response from model",
    "gateway closed (1006 abnormal closure (no close frame)): no close reason",
    "Error: database is locked",
    "sqlite3.OperationalError: database is locked",
    "Error: SQLITE_BUSY: database is locked",
    "AbortError: This operation was aborted",
    "socket hang up\nECONNRESET",
    "TimeoutError: Request timed out after 10000ms",
    "FallbackSummaryError: All models failed (2): a/b: Request was aborted (timeout) | c/d: LLM request timed out. (timeout)",
    "ELOCKED: Lock file is already being held",
    "E: Could not get lock /var/lib/dpkg/lock",
    "FileNotFoundError: session.lock",
    "The session is locked by the administrator",
    "account locked (timeout 10000ms): pid=3",
    "mysql: Lock wait timeout exceeded; try restarting transaction",
    "Error: EBUSY: resource busy or locked, unlink 'C:\\x\\node_modules\\a.node'",
    "thread 3 already has an active listener",
    "gateway closed (1000): bye",
    "WebSocket closed 1006",
    "package-lock.json conflict",
    "openclaw 2026.9.4\nRequest was aborted (timeout)\ngateway closed (1006 abnormal closure (no close frame)): no close reason",
    "kernel: watchdog: BUG: soft lockup - CPU#3 stuck for 23s! [node:4711]",
    "compaction of rocksdb finished durationMs=100",
    "I locked the session file in my drawer",
    "filelock.Timeout: The file lock '/tmp/a.lock' could not be acquired.",
    "file lock timeout for building cargo",
    "[model-fallback/decision] candidate_failed requested=acme/a candidate=acme/a reason=timeout next=acme/b\n[agent/embedded] embedded run agent end: isError=true",
    "session locked to model acme/a; candidate_failed",
)  # fmt: skip
