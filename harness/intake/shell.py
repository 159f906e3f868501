# ruff: noqa: E501  patterns are not wrapped
"""What a pasted shell transcript proves about a lock's owner. Pure, line by line.

A command that asks for one process (``ps -p``, ``kill -0``, ``ls /proc/N``, ``tasklist``, ``Get-Process``) and what it
printed say whether that process lives and which program it is. Error lines that name the process count without their
command. ``lsof`` and ``fuser`` on a lock file say who has it open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from .lines import Line, uncoloured
from .report import Event

__all__ = ["ShellTranscript"]

_TOOLS = r"(?:sudo|ps|kill|ls|cat|stat|lsof|fuser|tasklist|pgrep|openclaw|echo|docker|kubectl|systemctl|rm|grep|tail)\b"
_PROMPT = re.compile(
    r"\s{0,8}(?:>\s?){0,3}(?:\(?[\w.-]{1,30}\)?\s)?(?:[\w.-]{1,40}@[\w.-]{1,60}[:~ ][^$#%\n]{0,80}[$#%]\s?|PS [A-Za-z]:\\[^>\n]{0,120}>\s?"
    rf"|[A-Za-z]:\\[^>\n]{{0,120}}>\s?|(?:bash|sh|zsh)-[\d.]{{1,6}}[$#]\s?|[$❯➜]\s?|[#%>]\s(?={_TOOLS}))(?P<command>.{{0,400}})$"
)
_BARE = re.compile(
    r"\s{0,8}`?(?P<command>(?:sudo |docker exec \S{1,60} |kubectl exec [^\n]{1,80}-- )?(?:ps|kill|tasklist|lsof|fuser|Get-Process|pgrep|ls|cat|stat)"
    r" [^`\n]{1,200}?)`?\s{0,4}(?:(?:->|=>|→|:)\s{0,4}(?P<output>\S[^\n]{0,300}))?$"
)
#: A command that asks for one process: its number.
_ASKS: tuple[re.Pattern[str], ...] = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\bps\b(?=.{0,80}\s-{0,2}\w{0,6}p(?:id)?\b).{0,80}?(?:\s|=|p)(?P<pid>\d{1,10})\b",
        r"\bps\s+(?P<pid>\d{1,10})\s*$",
        r"\bkill\s+-(?:0|s\s?0)\s+(?P<pid>\d{1,10})\b",
        r"/proc/(?P<pid>\d{1,10})\b",
        r"\btasklist\b.{0,40}\beq\s+(?P<pid>\d{1,10})\b",
        r"\btasklist\b.{0,60}\bfind(?:str)?\b.{0,12}?(?P<pid>\d{1,10})\b",
        r"\bGet-Process\b.{0,40}?(?P<pid>\d{1,10})\b",
        r"\blsof\b.{0,20}\s-p\s?(?P<pid>\d{1,10})\b",
        r"\bps\b.{0,60}\bgrep\b.{0,20}?\[?(?P<pid>\d)\]?(?P<more>\d{0,9})\b",
    )
)
_ASKS_FILE = re.compile(r"\b(?:lsof|fuser)\b.{0,200}?(?P<path>\S{1,300}\.(?:lock|jsonl))\b")
_NOBODY = re.compile(
    r"No tasks are running|Es werden keine Aufgaben|aucune tâche|no hay (?:ninguna )?tareas|nenhuma tarefa|nessuna attività"
    r"|Задачи, отвечающие|没有运行的任务|沒有執行的工作|条件に一致するタスク|작업이 없습니다|Cannot find a process with the process identifier"
    r"|No such process|No such file or directory|Kein Prozess gefunden|Datei oder Verzeichnis nicht gefunden|Aucun processus"
    r"|Aucun fichier|No existe el (?:proceso|archivo|fichero)|Нет такого процесса|Нет такого файла|没有那个(?:进程|文件)|そのようなプロセス|そのようなファイル",
    re.IGNORECASE,
)
_GONE: tuple[re.Pattern[str], ...] = (
    re.compile(r"kill: \(?(?P<pid>\d{1,10})\)?:? ?-? ?(?:No such process|Нет такого процесса|Kein Prozess|Aucun processus|No existe|没有那个进程)", re.IGNORECASE),
    re.compile(r"/proc/(?P<pid>\d{1,10})(?:/\w{1,20})?['’\"]?: (?:No such file|Datei oder|Aucun fichier|No existe|Нет такого|没有那个|そのような)", re.IGNORECASE),
    re.compile(r"Cannot find a process with the process identifier (?P<pid>\d{1,10})", re.IGNORECASE),
    re.compile(r"tasklist\b[^\n]{0,40}\beq (?P<pid>\d{1,10})\b[^\n]{0,40}(?:No tasks are running|keine Aufgaben|aucune tâche|no hay tareas)", re.IGNORECASE),
)  # fmt: skip
_HEADER = re.compile(r"\bPID\b|\bImage Name\b|\bAbbildname\b|\bNPM\(K\)|\bCOMMAND\b", re.IGNORECASE)
_PROGRAM = re.compile(
    r"openclaw|clawdbot|moltbot|gateway|\bcodex\b|\bclaude\b|copilot|hermes|opencode|openhands|nanobot", re.IGNORECASE
)
_PLAIN_NODE = re.compile(r"(?:^|[\s/\\])(?:node|bun|deno|python3?)(?:\.exe)?(?:\s*$|\s+\d)", re.IGNORECASE)
_ZOMBIE = re.compile(r"<defunct>|\bZ[+s]?\b")
_STATUS = re.compile(r"\becho (?:\$\?|%ERRORLEVEL%|\$LASTEXITCODE)")
_MOST_OUTPUT = 12


class _Asked(NamedTuple):
    """A command that waits for its output."""

    line: int
    pid: int | None
    command: str
    path: str = ""


class ShellTranscript:
    """Feed it lines; it gives what they prove. ``end`` where an output ends without another prompt."""

    def __init__(self) -> None:
        self._asked: _Asked | None = None
        self._output: list[str] = []

    def take(self, line: Line) -> Iterator[Event]:
        """The events that this line completes."""
        text = uncoloured(line.text).rstrip()
        prompt = _PROMPT.match(text) or _BARE.match(text)
        if prompt is None:
            if self._asked is not None and len(self._output) < _MOST_OUTPUT:
                self._output.append(text)
            yield from _gone(text, line.number)
            return
        yield from self.end()
        command = prompt["command"]
        pid = _pid_of(command)
        file = _ASKS_FILE.search(command)
        if _STATUS.search(command) or pid is not None or file is not None:
            self._asked = _Asked(line.number, pid, command, file["path"] if file else "")
        told = prompt.groupdict().get("output")
        if told:
            self._output.append(told)
            yield from self.end()
        yield from _gone(text, line.number)

    def end(self) -> Iterator[Event]:
        """The output of the last command is over."""
        asked, output = self._asked, self._output
        self._asked, self._output = None, []
        if asked is None:
            return
        if _STATUS.search(asked.command):
            if output and output[0].strip().isdecimal() and asked.pid is not None:
                state = "alive" if int(output[0]) == 0 else "dead"
                yield _event(
                    "owner", asked.line, {"pid": str(asked.pid), "state": state, "how": "the exit status of kill -0"}
                )
            elif output and output[0].strip().isdecimal():
                yield _event("exit_status", asked.line, {"status": output[0].strip()[:5]})
            return
        if asked.pid is None:
            return
        state, how = _state(asked, output)
        if state:
            yield _event("owner", asked.line, {"pid": str(asked.pid), "state": state, "how": how})


def _pid_of(command: str) -> int | None:
    for pattern in _ASKS:
        found = pattern.search(command)
        if found is not None:
            return int(found["pid"] + (found.groupdict().get("more") or ""))
    return None


def _gone(text: str, number: int) -> Iterator[Event]:
    """Error lines that name a process which is not there."""
    for pattern in _GONE:
        found = pattern.search(text)
        if found is not None:
            how = "the shell says that there is no such process"
            yield _event("owner", number, {"pid": found["pid"], "state": "dead", "how": how})
            return


def _state(asked: _Asked, output: list[str]) -> tuple[str, str]:
    """dead, alive, other (another program has the pid) or nothing; and how that is known."""
    tool = re.sub(r"^(?:sudo|docker exec \S+|kubectl exec .*--) ", "", asked.command).split()[0]
    rows = [row for row in output if re.search(rf"(?<!\d){asked.pid}(?!\d)", row) and not _NOBODY.search(row)]
    rows = [row for row in rows if "grep" not in row and not _HEADER.search(row.split(str(asked.pid))[0])]
    if any(_NOBODY.search(row) for row in output):
        return "dead", f"{tool} finds no such process"
    if tool == "kill":
        return ("alive", "kill -0 reaches it") if not output else ("", "")
    if rows:
        row = rows[0]
        if _ZOMBIE.search(row):
            return "dead", f"{tool} shows a zombie"
        if _PROGRAM.search(row):
            return "alive", f"{tool} shows the gateway or a runner"
        program = re.sub(r"\s+", " ", row).strip().removeprefix(str(asked.pid)).strip()
        if not program or _PLAIN_NODE.search(row):
            return "alive", f"{tool} shows a process"
        return "other", f"{tool} shows another program"
    if any(_HEADER.search(row) for row in output) or (
        tool in ("ps", "pgrep") and (not output or "grep" in asked.command)
    ):
        return "dead", f"{tool} shows no such process"
    if output and tool in ("ls", "cat", "stat", "readlink"):
        told = " ".join(output)
        return ("alive", f"{tool} shows the gateway or a runner") if _PROGRAM.search(told) else ("", "")
    return "", ""


def _event(kind: str, line: int, data: dict[str, str]) -> Event:
    return Event(kind=kind, era="*", line=line, last_line=line, text="", data=data)
