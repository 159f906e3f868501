"""More texts of each kind, in several languages, each with the classes that may stand first.

"?" is an open question, "-" no incident of ours. Short on purpose: one idea each.
"""

# ruff: noqa: E501  reports are not wrapped

from __future__ import annotations

from typing import Any

LOCKED = "session file locked (timeout 60000ms): pid=44 /srv/oc/agents/main/sessions/aa11.jsonl.lock"
LANE = f'[diagnostic] lane task error: lane=main durationMs=60118 error="SessionWriteLockTimeoutError: {LOCKED}"'
#: Name, classes that may stand first, text.
VARIANTS: list[tuple[str, list[str], str]] = [
    (
        "1 fr",
        ["E"],
        f"{LANE}\n\nLe processus 44 est la passerelle. Son exécution est terminée depuis une heure, elle ne fait rien, mais elle ne libère jamais le verrou : il faut redémarrer.",
    ),
    ("1 zh", ["E"], f"{LANE}\n\n进程 44 就是网关，任务早已结束，CPU 为 0，但一直不释放锁，只有重启才能恢复。"),
    (
        "1 ja",
        ["E"],
        f"{LANE}\n\nプロセス 44 はゲートウェイです。とっくに終わっているのにロックを解放しません。再起動するしかありません。",
    ),
    (
        "1 ru",
        ["E"],
        f"{LANE}\n\nпроцесс 44 — это шлюз, он простаивает, но блокировку не освобождает, помогает только перезапуск.",
    ),
    ("1 ko", ["E"], f"{LANE}\n\n게이트웨이(pid 44)는 유휴 상태인데 잠금을 해제하지 않습니다. 재시작해야만 풀립니다."),
    (
        "1 it",
        ["E"],
        f"{LANE}\n\nIl processo 44 è il gateway: è fermo, non fa nulla, ma non rilascia mai il lock. Solo il riavvio aiuta.",
    ),
    (
        "1 F de",
        ["F"],
        f"{LANE}\n\nDas passiert immer, solange der lange Auftrag läuft; danach geht die nächste Nachricht durch.",
    ),
    (
        "1 F en",
        ["F"],
        f"{LANE}\n\nA long tool call was running in that session the whole time. Once it finished, everything went on by itself.",
    ),
    (
        "1 table",
        ["E"],
        f"{LANE}\n\n| pid | process | state | since |\n|---|---|---|---|\n| 44 | openclaw-gateway | idle, no active run | 2h |\n\nNever lets go of the lock.",
    ),
    (
        "1 steps",
        ["E"],
        f"Steps:\n1. send a message, it is answered\n2. wait ten minutes, nothing runs\n3. send another one\n\n{LANE}\n\nThe live gateway (pid 44) never releases it. Restart fixes it until the next time.",
    ),
    (
        "3 pgrep",
        ["C"],
        f"Error: {LOCKED}\n\n```\n$ pgrep -a openclaw\n9001 openclaw-gateway\n$ ps -o pid,cmd -p 44\n    PID CMD\n```",
    ),
    (
        "3 lsof",
        ["C"],
        f"Error: {LOCKED}\n$ cat /proc/44/status\ncat: /proc/44/status: No such file or directory\n$ lsof /srv/oc/agents/main/sessions/aa11.jsonl.lock\n$",
    ),
    (
        "3 de tasklist",
        ["C"],
        'OpenClaw 2026.4.11\nError: session file locked (timeout 10000ms): pid=9120 C:\\Users\\jo\\.openclaw\\agents\\main\\sessions\\a.jsonl.lock\nC:\\> tasklist /FI "PID eq 9120"\nINFORMATION: Es werden keine Aufgaben mit den angegebenen Kriterien ausgeführt.\n',
    ),
    (
        "3 other",
        ["D"],
        f"{LOCKED}\n\n$ ps -fp 44\nUID          PID    PPID  C STIME TTY          TIME CMD\npostgres      44       1  0 10:02 ?        00:00:01 postgres: checkpointer\n",
    ),
    (
        "4",
        ["G"],
        "Aug 3 11:00:02 box node[71]: [diagnostic] stalled session: sessionId=z sessionKey=agent:main:slack:channel:c state=processing age=2210s queueDepth=9 reason=active_work_without_progress recovery=none\nAug 3 11:00:02 box node[71]: [diagnostic] lane wait exceeded: lane=session:agent:main:slack:channel:c waitedMs=901000 queueAhead=8",
    ),
    (
        "5 ja",
        ["L"],
        "OpenClaw 2026.6.5。ゲートウェイが接続を拒否（pairing required）しているのに、CLI は組み込みモードにフォールバックして普通に答え、終了コードは 0 です。監視では気づけませんでした。",
    ),
    (
        "5 closed",
        ["L"],
        '$ openclaw agent -m hi --json\nEMBEDDED FALLBACK: Gateway agent failed; running embedded agent: GatewayTransportError: gateway closed (1008): pairing required\n{"ok":true}\n$ echo $?\n0',
    ),
    (
        "5 ru",
        ["L"],
        "После обновления до 2026.6.11 шлюз отклоняет клиента (unauthorized), но openclaw agent молча запускает встроенный режим и завершается с кодом 0.",
    ),
    (
        "6 claim",
        ["O"],
        '2026.9.1: Error: Session "agent:main:main" already has an active turn claim. sessions.abort says no-active-run. Restarting the gateway does not help.',
    ),
    (
        "6 O idle",
        ["O"],
        'Every turn fails with `Session "agent:main:main" changed while starting work. Retry.` although nothing is running; sessions.abort answers no-active-run, also after a restart. 2026.8.4',
    ),
    (
        "6 P",
        ["P"],
        "openclaw doctor --fix on 2026.9.5:\nError: Agent database maintenance is in progress\nand the gateway says OpenClawStateLeaseError: lease expired",
    ),
    (
        "7 fr",
        ["F"],
        "Quatre agents écrivent en même temps, un message sur dix est perdu, le suivant passe.\n\nError: timeout acquiring session store lock: /srv/oc/agents/main/sessions/sessions.json.lock",
    ),
    (
        "7 orphan",
        ["C"],
        "After a kill -9 of the gateway every command fails until I delete sessions.json.lock by hand:\n\nError: timeout acquiring session store lock: ~/.openclaw/agents/main/sessions/sessions.json.lock",
    ),
    (
        "7 open",
        ["?"],
        "Error: timeout acquiring session store lock: ~/.openclaw/agents/main/sessions/sessions.json.lock",
    ),
    (
        "9 dead",
        ["C"],
        "GatewayLockError: gateway already running (pid 812); lock timeout after 5000ms\n\n$ ps -p 812\n    PID TTY          TIME CMD\n\nOpenClaw 2026.5.2 after a power cut",
    ),
    (
        "9 live",
        ["S"],
        "GatewayLockError: gateway already running (pid 812); lock timeout after 5000ms\n\n812 is our first gateway, it is running fine. We want a second one on the same state dir for blue/green deploys. The second instance never starts.",
    ),
    (
        "10 it",
        ["-"],
        "OpenClaw 2026.8.2. Nel log non c'è nessun «session file locked»; invece di «database is locked» vedo solo: 503 Service Unavailable dal provider.",
    ),
    ("10 ko", ["-"], 'OpenClaw 2026.8.2, 로그에 "session file locked"는 없습니다. 429 Too Many Requests 만 나옵니다.'),
    (
        "10 en",
        ["-"],
        'Not a lock problem I think: no `EmbeddedAttemptSessionTakeoverError`, never any "session file locked (timeout 60000ms)". Just `LLM idle timeout (120s): no response from model`. OpenClaw 2026.6.2',
    ),
    (
        "11 dup",
        ["K"],
        "On 2026.7.1-2 `openclaw agent` timed out after ten minutes, fell back to embedded and answered; a few minutes later the first answer arrived as well. The e-mail was sent twice.",
    ),
    (
        "11 lost",
        ["J", "R"],
        "Gateway 2026.9.1: I restarted it while it was answering. The reply never arrived, no error anywhere, and the next turn knows nothing of the question.",
    ),
    (
        "11 de",
        ["K", "R"],
        "OpenClaw 2026.9.2: Während des Neustarts lief ein Auftrag; danach wurde er zweimal ausgeführt, die Mail ging doppelt raus.",
    ),
    ("11 zh", ["K", "R"], "OpenClaw 2026.9.1 网关重启时正在回复，重启后同一个问题回复了两次。"),
    ("12 hermes", ["S", "C"], "hermes gateway start\nGateway runtime lock is already held by PID 991"),
    (
        "12 oh",
        ["O"],
        "openhands-agent-server 1.58.2 logs ConversationLeaseHeldError for 45 s after a restart, /run gives 409 while the conversation is idle",
    ),
    ("12 opencode", ["N"], "opencode 1.18.33, ten workers: `SQLiteError: database is locked`, the whole prompt dies"),
    (
        "12 copilot live",
        ["F", "E", "?"],
        "copilot cli: session is in use (inuse.5512.lock), the other terminal with pid 5512 is still working on a long task",
    ),
    ("12 claude", ["N"], "Error: Session ID 3f2a is already in use."),
    ("13 git", ["-"], "fatal: Unable to create '/repo/.git/index.lock': File exists.\nopenclaw exec failed"),
    ("13 npm", ["-"], "npm ERR! code ELOCKED\nnpm ERR! Lock file is already being held"),
    ("13 429 zh", ["-"], "OpenClaw 2026.5.22 不回复了，日志只有 429 rate_limit_error"),
    (
        "13 sqlite other",
        ["-"],
        'sqlite3.OperationalError: database is locked\n  File "app.py", line 3, in my django app',
    ),
    (
        "8 flat",
        ["B"],
        "Agent failed before reply: All models failed (2): x/a: session file locked (timeout 10000ms): pid=5 /q/s.jsonl.lock (timeout) x/b: 429 slow down; retry later [code 17] (rate_limit)",
    ),
    (
        "8 star",
        ["B"],
        "All models failed (2):\n\n  * `x/a`: session file locked (timeout 10000ms): pid=5 /q/s.jsonl.lock (timeout)\n\n  * `x/b`: Minimum is 16000 tokens [given 8192]; use another model (unknown)\n",
    ),
    (
        "8 table",
        ["B"],
        "All models failed (2):\n\n| model | error | reason |\n|---|---|---|\n| x/a | session file locked (timeout 10000ms): pid=5 /q/s.jsonl.lock | timeout |\n| x/b | Request was aborted | timeout |\n",
    ),
    (
        "8 next",
        ["B"],
        "[model-fallback/decision] decision=candidate_failed requested=x/a candidate=x/a reason=timeout next=x/b detail=session file locked (timeout 10000ms): pid=5 /q/s.jsonl.lock",
    ),
    (
        "2 mention only",
        ["I"],
        "**Summary** `session file changed while embedded prompt lock was released` each evening\n\n**Expected** no such error",
    ),
]

#: What is no incident of ours, however much it sounds like one.
NOT_OURS: tuple[str, ...] = (  # nothing of ours
    "OpenClaw 2026.9.1: feature request: please let me restart the gateway from the Control UI while a run is active, with a warning.",
    "OpenClaw 2026.8.3. Telegram: ETELEGRAM: 409 Conflict: terminated by other getUpdates request; make sure that only one bot instance is running. Messages get lost.",
    "After upgrading to 2026.9.2 my agent sends every reply twice on Discord because two channel plugins are enabled; disabling one fixes it. Docs issue.",
    "Gateway 2026.7.1 crashes at start: Error: listen EADDRINUSE: address already in use 127.0.0.1:18789. kill -9 of the old process helps.",
    "openclaw 2026.5.4: `LLM request timed out.` with Ollama; FallbackSummaryError: All models failed (2): ollama/a: LLM request timed out. (timeout) | ollama/b: fetch failed (timeout)",
    'docker: Error response from daemon: Conflict. The container name "/openclaw" is already in use by container',
    "npm install -g openclaw fails: npm ERR! EBUSY: resource busy or locked, rename 'C:\\Users\\x\\AppData\\Roaming\\npm\\node_modules\\openclaw'",
    "terraform: Error acquiring the state lock: ConditionalCheckFailedException. Lock Info: ID: 123. I run it from openclaw exec (2026.6.1).",
    "OpenClaw 2026.8.1 memory leak: the process grows to 4 GB and is OOM killed by the kernel every night. No errors in the log before.",
    "postgres: ERROR: canceling statement due to lock timeout; our agent (2026.9.3) writes there",
    "Is it normal that the gateway keeps the session in memory when idle? 2026.8.2, all works fine, just asking.",
    "error: database is locked (rpmdb) dnf: Waiting for process with pid 2211 to finish.",
    "The docs say that the fallback to embedded mode was removed in 2026.7.2. Please update the README. Nothing is broken.",
    "[agent/embedded] embedded run failover decision: decision=fallback_model reason=overloaded from=anthropic/claude; 529 Overloaded; the second model answered. 2026.6.2",
    "Chrome profile is locked: The profile appears to be in use by another Google Chrome process (1234). openclaw browser tool 2026.5.9",
    "Cannot pair my phone: pairing required. How do I approve devices? OpenClaw 2026.6.1",
    "git: fatal: Unable to create '.git/index.lock': File exists. Another git process seems to be running. My agent answered twice about it.",
    "The bot replied that it was idle and never released the invoice. 2026.9.1 agent, funny hallucination.",
    "Prisma: SQLITE_BUSY: database is locked in my app; I asked openclaw 2026.9.1 to fix it and it did a good job.",
    "yarn: error: Another process is using the lockfile. waiting for file lock on build directory (cargo).",
)

#: Classes that may stand first, error lines, models, owner, text.
SPECIFIC: list[tuple[list[str], int | None, list[str], Any, str]] = [  # (want first, errors, models, owner, text)
    (
        ["B"],
        1,
        ["m/a", "m/b", "m/c"],
        None,
        """## Bug
FallbackSummaryError "All models failed (3)" every time two cron jobs meet.

## Environment
- OpenClaw: 2026.4.15
- OS: Windows Server 2022

## Log
```
2026-04-20 10:00:31 [cron] FallbackSummaryError: All models failed (3):
  m/a: session file locked (timeout 10000ms): pid=812 C:\\Users\\svc\\.openclaw\\agents\\main\\sessions\\aa.jsonl.lock (timeout)
| m/b: session file locked (timeout 10000ms): pid=812 C:\\Users\\svc\\.openclaw\\agents\\main\\sessions\\aa.jsonl.lock (timeout)
| m/c: No available auth profile for m (all in cooldown or unavailable). (auth)
```
## Expected
The second job should wait instead of "All models failed (3)".
""",
    ),
    (
        ["I"],
        2,
        [],
        None,
        """Title: Takeover errors kill cron jobs

2026-06-01T03:00:41.100Z [cron] job a failed: EmbeddedAttemptSessionTakeoverError: session file changed while embedded prompt lock was released: /srv/oc/agents/main/sessions/q.jsonl
2026-06-01T04:00:39.400Z [cron] job b failed: EmbeddedAttemptSessionTakeoverError: session file changed while embedded prompt lock was released: /srv/oc/agents/main/sessions/q.jsonl

So each hour I see `session file changed while embedded prompt lock was released`.
""",
    ),
    (
        ["C"],
        1,
        [],
        ("3071", "dead"),
        """Нашёл после падения сервера (OpenClaw 2026.4.10, Ubuntu):

session file locked (timeout 10000ms): pid=3071 /var/oc/agents/main/sessions/e.jsonl.lock

процесс 3071 уже не существует, удаление файла блокировки помогает.""",
    ),
    (
        ["A"],
        3,
        [],
        None,
        """openclaw agent -m "..." after 90 s:

> Gateway agent failed; falling back to embedded: Error: gateway timeout after 90000ms
> session file locked (timeout 10000ms): pid=51 ~/.openclaw/agents/main/sessions/z.jsonl.lock

gateway timeout after 90000ms again and again.""",
    ),
    (
        ["H"],
        1,
        [],
        None,
        "Spawning 12 subagents at once, 2 die at the start: `Error: file lock stale for /r/.openclaw/agents/sub/sessions/0.jsonl: code=file_lock_stale`, there is no lock on disk. 2026.5.12",
    ),
    (
        ["J"],
        1,
        [],
        None,
        "[subagents] Subagent announce give up (retry-limit) run=9 child=agent:main:subagent:1\n\nThe parent never gets the result. 2026.5.28",
    ),
    (
        ["M"],
        1,
        [],
        None,
        "Synology NFS share: Error: ENOTSUP: operation not supported on socket, link '/mnt/nas/.openclaw/agents/main/sessions/1.jsonl.lock.x' -> '/mnt/nas/.openclaw/agents/main/sessions/1.jsonl.lock'",
    ),
    (
        ["N"],
        1,
        [],
        None,
        "/compact says: thread 01ab already has an active writer. Even after /stop. OpenClaw 2026.9.3",
    ),
    (
        ["Q"],
        None,
        [],
        None,
        "OpenClaw 2026.9.2: all channels freeze for 30 s when one session compacts; `SqliteError: database is locked` appears in sessions that have nothing to do with it, eventLoopDelayMaxMs=33000",
    ),
    (
        ["S"],
        None,
        [],
        None,
        "`openclaw agent --local -m x` on 2026.8.3: Error: refusing to run while a live gateway owns the state directory (pid 77). I only want a read-only status.",
    ),
    (
        ["P"],
        None,
        [],
        None,
        "The gateway never comes up after the update to 2026.9.5: Agent database maintenance is in progress (repeated for an hour), doctor hangs in the migration.",
    ),
    (
        ["E"],
        None,
        [],
        ("44", "alive"),
        "Abbruch mit /stop, danach: embedded abort settle timed out: runId=1 timeoutMs=2000, und jede Nachricht: session file locked (timeout 60000ms): pid=44 alive=true ageMs=300000 /x/.openclaw/agents/main/sessions/s.jsonl.lock",
    ),
    (
        ["G"],
        None,
        [],
        None,
        "SessionWriteLockTimeoutError: session file locked (timeout 60000ms): pid=42 alive=true ageMs=29,160,000 /root/.openclaw/agents/main/sessions/a.jsonl.lock -- eight hours old!",
    ),
    (
        ["D"],
        None,
        [],
        ("1", "other"),
        "Container restarted (docker compose restart). Lock names pid 1; in the new container pid 1 is another process (tini).\nsession file locked (timeout 10000ms): pid=1 /data/.openclaw/agents/main/sessions/x.jsonl.lock",
    ),
    (
        ["F"],
        None,
        [],
        None,
        "We run 3 concurrent callers on one --session-id; one of them dies with `Error: session file locked (timeout 10000ms): pid=19 /o/agents/main/sessions/s.jsonl.lock`, the others are still working on long tasks.",
    ),
    (
        ["L"],
        None,
        [],
        None,
        "Smoke test passes although the gateway token is wrong:\ngateway connect failed: GatewayClientRequestError: unauthorized: gateway token mismatch\nEMBEDDED FALLBACK: Gateway agent failed; running embedded agent: GatewayTransportError: gateway closed (1008): unauthorized: gateway token mismatch\nOK\nexit status 0",
    ),
    (
        ["K", "A", "L"],
        None,
        [],
        None,
        "EMBEDDED FALLBACK: Gateway agent timed out; running embedded agent with fresh session gateway-fallback-1: GatewayTransportError: gateway timeout after 630000ms\nThe gateway finished too: two different answers, two commits pushed.",
    ),
]
