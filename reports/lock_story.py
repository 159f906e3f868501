"""One or two sentences on the report's question: who had the lock when another process did not get it? Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lockjaw.history import Record
from lockjaw.history.holds import is_session_list, lock_of

from .sentences import session_of
from .swimlane_locks import How, Ownership, Stretch, doubled, handoffs

_HANDOFF: dict[How, str] = {
    "takes": "got the session lock after",
    "reclaims": "took over the lock of",
    "fences": "fenced off",
}
MAX_MOMENTS = 4  # instants named in one sentence; a reader skips more of them
MAX_ACTORS = 3  # who failed, by name; with more the number says it better


def lock_story(history: Sequence[Record], owned: Ownership, begun: float, pids: Mapping[str, object]) -> str:
    """Who had the lock when another process did not get it, or how it changed hands. Seconds count from ``begun``."""
    return _Teller(history, owned, begun, pids).tell()


class _Teller:
    def __init__(
        self, history: Sequence[Record], owned: Ownership, begun: float, pids: Mapping[str, object]
    ) -> None:  # fmt: skip
        self._history, self._owned, self._begun, self._pids = history, owned, begun, pids

    def tell(self) -> str:
        failures = list(self._failures())
        parts = [*self._two_owners(), *failures]
        if not failures:
            parts += self._handoffs(forced_only=bool(parts))
        parts += self._two_sessions()
        if parts:
            return " ".join(parts)
        long_holds = list(self._long_store_holds())
        if long_holds:
            return " ".join(long_holds)
        return (
            "No process had to wait for a session lock." if self._owned.stretches else "No process took a session lock."
        )

    # ------------------------------------------------------------------ words

    def _moment(self, position: int) -> str:
        return f"{self._history[position].t - self._begun:.1f} s"

    def _name(self, hold: Stretch) -> str:
        pid = f" (pid {self._pids[hold.owner]})" if hold.owner in self._pids else ""
        return f"{'the dead ' if hold.dead else ''}{hold.owner}{pid}"

    def _until(self, end: int | None) -> str:
        return "to the end" if end is None else f"to {self._moment(end)}"

    # ------------------------------------------------------------------ sentences

    def _two_owners(self) -> Iterator[str]:
        """The worst that can happen to a lock comes first; of many such stretches only the first is told."""
        found = [
            d
            for d in doubled(self._history, self._owned.stretches)
            if d.end is None or self._lasted(d.start, d.end) > 0
        ]
        if found:
            one = found[0]
            more = f" (and {len(found) - 1} more times)" if len(found) > 1 else ""
            yield (
                f"TWO OWNERS AT ONCE, from {self._moment(one.start)} {self._until(one.end)}{more}: "
                f"{self._name(one.first)} and {self._name(one.second)} both had the session lock."
            )

    def _lasted(self, start: int, end: int) -> float:
        return self._history[end].t - self._history[start].t

    def _failures(self) -> Iterator[str]:
        """One sentence per holder that was in the way."""
        found: dict[tuple[Stretch | None, str, str], list[tuple[str, int]]] = {}
        for at, record in enumerate(self._history):
            path = lock_of(record)
            if path is None or (record.op, record.phase) != ("lock", "fail") or at not in self._owned.before:
                continue
            before = self._owned.before[at]
            others = [h for h in before if h.owner != record.actor] or list(before)
            named = "" if others else str(record.data.get("owner") or "")
            found.setdefault((others[-1] if others else None, path, named), []).append((record.actor, at))
        for (holder, path, named), failed in found.items():
            actors = list(dict.fromkeys(actor for actor, _ in failed))
            moments = [at for _, at in failed]
            lock = "the lock of the session list" if is_session_list(path) else "the session lock"
            if len(actors) > MAX_ACTORS:
                who = f"{len(actors)} actors ({', '.join(actors[:MAX_ACTORS])}, ...)"
            else:
                who = " and ".join([", ".join(actors[:-1])] * (len(actors) > 1) + actors[-1:])
            times = "" if len(moments) == 1 else f" {len(moments)} times"
            if len(moments) > MAX_MOMENTS:
                when = f"from {self._moment(moments[0])} to {self._moment(moments[-1])}"
            else:
                when = f"at {', '.join(map(self._moment, moments))}"
            yield f"{who} failed to get {lock}{times} ({when}): {self._excuse(holder, named, actors)}"

    def _excuse(self, holder: Stretch | None, named: str, actors: Sequence[str]) -> str:
        if holder is None:
            if named.startswith("pid="):
                return f"a lock file that names {self._of_pid(named.removeprefix('pid='))} was in the way."
            return "a lock file that names no owner was in the way."
        itself = " itself" if actors == [holder.owner] else ""
        return f"{self._name(holder)} had it{itself} from {self._moment(holder.start)} {self._until(holder.end)}."

    def _of_pid(self, pid: str) -> str:
        actor = next((actor for actor, known in self._pids.items() if str(known) == pid), None)
        return f"pid {pid}" + (f" ({actor}, which did not have it)" if actor else "")

    def _handoffs(self, *, forced_only: bool) -> Iterator[str]:
        given = handoffs([hold for hold in self._owned.stretches if not is_session_list(hold.lock)])
        forced = [pair for pair in given if pair[1].how != "takes"]
        if len(given) > MAX_MOMENTS:
            yield f"The session lock changed hands {len(given):,} times."
            given = forced
        elif forced_only:
            given = forced
        for old, new in given[:MAX_MOMENTS]:
            yield f"At {self._moment(new.start)} {new.owner} {_HANDOFF[new.how]} {self._name(old)}."

    def _two_sessions(self) -> Iterator[str]:
        """A conversation in two places."""
        spans = [hold for hold in self._owned.stretches if not is_session_list(hold.lock)]
        for n, second in enumerate(spans):
            for first in spans[max(0, n - MAX_MOMENTS) : n]:
                apart = first.end is not None and first.end <= second.start
                if first.lock != second.lock and first.owner != second.owner and not apart:
                    yield (
                        f"From {self._moment(second.start)} two sessions were locked at once: {self._name(first)} had "
                        f"{session_of(first.lock)}, {self._name(second)} had {session_of(second.lock)}."
                    )
                    return

    def _long_store_holds(self) -> Iterator[str]:
        for hold in self._owned.stretches:
            if is_session_list(hold.lock):
                yield (
                    f"{self._name(hold)} had the lock of the session list from {self._moment(hold.start)} "
                    f"{self._until(hold.end)}."
                )
                return
