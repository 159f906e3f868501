"""The store of 2026.6: an update is refused if somebody else committed between its look and its own commit, twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lockjaw.locking import SessionLock
from lockjaw.sessions.revision_store import PREPARE_S, TRIES, RevisionStore, SessionConflict


class Meanwhile:
    """A clock whose sleeps let others write."""

    def __init__(self, clock: Any, file: Path, writes: int) -> None:
        self._clock, self._file, self.writes, self.slept = clock, file, writes, list[float]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clock, name)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self.writes:
            self.writes -= 1
            self._file.write_text(f'{{"other": {{"updatedAt": {self.writes}}}}}')


@pytest.mark.parametrize("writes", range(TRIES + 1))
async def test_an_update_is_refused_after_as_many_commits_as_it_has_tries(
    writes: int, tmp_path: Path, clock: Any
) -> None:
    file = tmp_path / "sessions.json"
    meanwhile = Meanwhile(clock, file, writes)
    store = RevisionStore(file, clock=meanwhile, lock=SessionLock)

    if writes == TRIES:
        with pytest.raises(SessionConflict, match="conflicted for k") as caught:
            await store.update("k", lambda entry: entry.update(model="m"))
        assert caught.value.key == "k"
        assert set(store.read()) == {"other"}
    else:
        await store.update("k", lambda entry: entry.update(model="m"))
        assert store.read()["k"]["model"] == "m"
    assert meanwhile.slept == [PREPARE_S] * min(writes + 1, TRIES)
