"""For whom an open transcript writes: a run under one grant of the session's lock, and what is recorded of it.

What a file and a database have in common. Knows no bytes and no rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from lockjaw.errors import Fenced
from lockjaw.history import Recorder
from lockjaw.sessions.entries import Entry

__all__ = ["Section", "Writer", "unchecked"]

#: What it gives, if anything, raises Fenced once this owner was overruled.
Section = Callable[[], AbstractContextManager[Callable[[], None] | None]]


def unchecked() -> None:
    """Where there is no lock, there is no overruling."""


class Writer:
    """A run that writes to a transcript.

    Args:
        section: the lock's write section, or None: it is not locked.
        generation, run_id: of the grant and the run, for the records and a database's claim.
    """

    def __init__(
        self, path: Path, recorder: Recorder, *, section: Section | None, generation: int, run_id: str
    ) -> None:
        self.section: Section = section or nullcontext
        self.generation, self.run_id = generation, run_id
        self._path, self._recorder = str(path), recorder

    def continue_under(self, section: Section, generation: int) -> None:
        """Go on under another grant of the lock."""
        self.section, self.generation = section, generation

    def claimed(self, before: str) -> None:
        """The database names this run now. ``before``: the run that it named, empty if none."""
        told = {"path": self._path, "run_id": self.run_id, "owner": self.run_id, "from": before}
        self._recorder.record("claim", "ok", **told, generation=self.generation)

    def appended(self, entries: Sequence[Entry]) -> None:
        """They are where every reader finds them."""
        for entry in entries:
            self._recorder.record(
                "append", "ok", path=self._path, entry_id=entry.id, type=entry.type, role=entry.role,
                generation=self.generation, run_id=self.run_id,
            )  # fmt: skip

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Around a write: one that a newer generation refuses is recorded."""
        try:
            yield
        except Fenced as refused:
            self._recorder.record(
                "append.refused", "fail", path=self._path, generation=self.generation, current=refused.current
            )
            raise
