"""What happens to a log on its way into an issue: each takes a text and gives it as somebody would paste it."""

from __future__ import annotations

import html
import json
import re
import textwrap
from collections.abc import Callable

Disguise = Callable[[str], str]


def _each(change: Callable[[int, str], str]) -> Disguise:
    return lambda text: "\n".join(change(number, line) for number, line in enumerate(text.split("\n")))


def _cut(width: int) -> Disguise:
    return lambda text: "\n".join(
        line[i : i + width] for line in text.split("\n") for i in range(0, max(len(line), 1), width)
    )


def _filled(width: int, indent: str = "") -> Disguise:
    return lambda text: "\n".join(
        line
        for whole in text.split("\n")
        for line in textwrap.wrap(whole, width, break_long_words=False, subsequent_indent=indent) or [""]
    )


_quoted = _each(lambda _, line: f"> {line}")

DISGUISES: dict[str, Disguise] = {
    **{f"cut at {width}": _cut(width) for width in (40, 60, 72, 80, 100, 120)},
    **{f"filled at {width}": _filled(width) for width in (50, 72, 80, 100, 120)},
    "filled and indented": _filled(80, "    "),
    "quoted": _quoted,
    "quoted three times": lambda text: _quoted(_quoted(_quoted(text))),
    "quoted tightly": _each(lambda _, line: f">{line}"),
    "cut, then quoted": lambda text: _quoted(_cut(70)(text)),
    "indented": _each(lambda _, line: f"    {line}"),
    "coloured": _each(lambda _, line: f"\x1b[36m{line[:9]}\x1b[39m{line[9:]}"),
    "coloured word by word": _each(lambda _, line: re.sub(r"(\w+)", "\x1b[1;31m\\1\x1b[0m", line)),
    "colours without their escape": _each(lambda _, line: f"[36m{line[:9]}[39m{line[9:]}[0m"),
    "CR LF": lambda text: text.replace("\n", "\r\n"),
    "CR": lambda text: text.replace("\n", "\r"),
    "no-break spaces": lambda text: text.replace(" ", "\u00a0"),
    "zero-width spaces": lambda text: text.replace(": ", ":\u200b "),
    "blanks at the end": _each(lambda _, line: f"{line}   "),
    "HTML": lambda text: f"<details><summary>log</summary>\n\n<pre>\n{html.escape(text)}\n</pre>\n</details>",
    "HTML breaks": lambda text: "<pre>" + html.escape(text).replace("\n", "<br>\n") + "</pre>",
    "numbered": _each(lambda n, line: f"{n + 1:>5}  {line}"),
    "numbered with colons": _each(lambda n, line: f"{n + 1}: {line}"),
    "numbered with tabs": _each(lambda n, line: f"{n + 1}\t{line}"),
    "a diff": _each(lambda _, line: f"+{line}"),
    "a list": _each(lambda _, line: f"- {line}" if line.strip() else line),
    "a list of code": _each(lambda _, line: f"- `{line.strip()}`" if line.strip() else line),
    "logfmt": _each(lambda n, line: f"time=2026-05-24T10:10:{n % 60:02}Z level=error msg={_quoted_json(line)}"),
    "JSON lines": _each(lambda n, line: json.dumps({"level": 50, "time": 1795364486478 + n * 5000, "msg": line})),
    "JSON in JSON": _each(lambda n, line: json.dumps({"log": json.dumps({"msg": line}) + "\n", "stream": "stderr"})),
    "the journal as JSON": _each(
        lambda n, line: json.dumps({"__REALTIME_TIMESTAMP": f"{1795364486 + n}478000", "MESSAGE": line, "_PID": "1"})
    ),
    "the program's own log file": _each(
        lambda n, line: json.dumps({
            "0": json.dumps({"subsystem": "gateway"}), "1": line,
            "_meta": {"date": f"2026-05-24T10:10:{n % 60:02}.1Z"}, "time": f"2026-05-24T10:10:{n % 60:02}.1Z",
        })
    ),
    "one JSON string": lambda text: json.dumps({"error": text}),
    "a Python repr": lambda text: f"CompletedProcess(args=[...], stderr={text!r})",
    "docker compose": _each(lambda _, line: f"gateway-1  | {line}"),
    "the journal": _each(lambda n, line: f"May 24 10:10:{n % 60:02} host openclaw[812]: {line}"),
    "RFC 5424": _each(lambda n, line: f"<14>1 2026-05-24T10:10:{n % 60:02}.1Z host openclaw 812 - - {line}"),
    "kubectl": _each(lambda n, line: f"[pod/gw-0/gw] 2026-05-24T10:10:{n % 60:02}.123456789Z {line}"),
    "a chat": _each(lambda n, line: f"bot — Today at 10:{n % 60:02} AM: {line}"),
    "Chinese around it": lambda text: f"## 问题\n\n网关超时后会话被锁住：\n\n```\n{text}\n```\n\n请尽快修复！",
    "Chinese in the line": lambda text: f"错误如下：{text}。请修复",
    "German before it": lambda text: f"Hallo, seit gestern kommt diese Meldung: {text}\nDas Gateway läuft.",
    "curly quotes": lambda text: text.replace('"', "\u201d").replace("...", "…"),
    "YAML": lambda text: "logs: |\n" + _each(lambda _, line: f"  {line}")(text),
    "twice": lambda text: f"{text}\n\n### Logs\n\n```\n{text}\n```",
    "double spacing": lambda text: text.replace("\n", "\n\n"),
}  # fmt: skip


def _quoted_json(line: str) -> str:
    return json.dumps(line, ensure_ascii=False)
