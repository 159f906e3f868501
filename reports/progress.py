"""Who is where while runs go on: one line per run on a terminal, drawn again with each record. Knows no terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

from lockjaw.history import Record


@dataclass
class _Line:
    nominal_s: float = 0.0
    holders: dict[str, str] = field(default_factory=dict)  # lock -> actor
    ended: str = ""


class LiveProgress:
    """Fed with records (policy, record), in any order of policies; ``lines`` and ``__rich__`` show where each stands.

    Locks on the session list last a moment and say nothing about a conversation: they are left out.
    """

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}

    def record(self, policy: str, record: Record) -> None:
        line = self._lines.setdefault(policy, _Line())
        if line.ended and record.op == "run.start":
            line = self._lines[policy] = _Line()  # the next scenario or seed under this policy
        line.nominal_s = max(line.nominal_s, record.t)
        lock = str(record.data.get("path") or "").removesuffix(".lock")
        if record.op == "run.end":
            line.ended = "over"
        elif record.op == "client.result":
            line.ended = "answered" if record.data.get("answered") else "NO answer"
        elif lock.endswith("sessions.json"):
            return
        elif record.op in ("lock", "lock.fence") and record.phase == "ok":
            line.holders[lock] = record.actor
        elif record.op in ("lock.release", "lock.lost") and line.holders.get(lock) == record.actor:
            del line.holders[lock]

    def lines(self) -> Iterator[tuple[str, str, str]]:
        """Policy, nominal time, and who holds a session lock (or how the run ended)."""
        for policy, line in list(self._lines.items()):  # copies: rich draws in a thread of its own
            held = "+".join(dict.fromkeys(list(line.holders.values())))
            yield policy, f"{line.nominal_s:6.1f} s", line.ended or (f"lock: {held}" if held else "lock: free")

    def __rich__(self) -> Table | Text:
        if not self._lines:
            return Text("starting ...")
        grid = Table.grid(padding=(0, 2))
        for policy, at, state in self.lines():
            grid.add_row(policy, Text(at, justify="right"), state)
        return grid
