"""Who is where while runs go on: one line per run on a terminal, drawn again as records come. Knows no terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Group
from rich.table import Table
from rich.text import Text

from lockjaw.history import Record
from lockjaw.history.holds import Holders, is_session_lock

from .lockband import names_of


@dataclass
class _Line:
    nominal_s: float | None = None  # None: the client has not begun, and nominal time begins with it
    holders: Holders = field(default_factory=Holders)
    ended: str = ""


class LiveProgress:
    """Fed with records (policy, record), in any order of policies; ``lines`` and ``__rich__`` show where each stands.

    Locks on the session list last a moment and say nothing about a conversation: they are left out.
    """

    def __init__(self) -> None:
        self._title = ""
        self._lines: dict[str, _Line] = {}

    def begin(self, title: str, policies: Sequence[str]) -> None:
        """The next runs, which go on side by side."""
        self._title = title
        self._lines = {policy: _Line() for policy in policies}

    def record(self, policy: str, record: Record) -> None:
        line = self._lines.setdefault(policy, _Line())
        if line.ended and record.op == "run.start":
            line = self._lines[policy] = _Line()  # the same again on the other engine
        if line.nominal_s is not None:
            line.nominal_s = max(line.nominal_s, record.t)
        elif record.op.startswith("client."):
            line.nominal_s = record.t
        line.holders.see(record)
        if record.op == "run.end":
            line.ended = "over"
        elif record.op == "client.result":
            line.ended = "answered" if record.data.get("answered") else "NO answer"

    def lines(self) -> Iterator[tuple[str, str, str]]:
        """Policy, nominal time, and who holds a session lock (or how the run ended)."""
        for policy, line in list(self._lines.items()):  # copies: rich draws in a thread of its own
            held = names_of(hold for hold in line.holders.standing() if is_session_lock(hold.path))
            if line.nominal_s is None:
                yield policy, "", line.ended or "starting ..."
            else:
                yield policy, f"{line.nominal_s:6.1f} s", line.ended or (f"lock: {held}" if held else "lock: free")

    def __rich__(self) -> Group | Text:
        if not self._lines:
            return Text("starting ...")
        grid = Table.grid(padding=(0, 2))
        for policy, at, state in self.lines():
            grid.add_row(policy, Text(at, justify="right"), state)
        return Group(*([Text(self._title)] if self._title else []), grid)
