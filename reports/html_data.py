"""The data of a page: swimlanes as JSON that is small enough for 20,000 records. Pure.

Shape (read by ``templates/swimlane.js``)::

    {"strings": [text, ...],                        most frequent first: their indices are short
     "shapes": [[op, phase, [key, ...]], ...],      what a record is, apart from its values
     "floor": 0.12, "fold_s": 3,                    the folded time axis, see AXIS_FLOOR
     "runs": [{"title", "verdict", "story",         texts (strings, not indices)
               "clipped",                           what was left out, and why; "" if nothing was
               "lanes": [[name, pid, rows, colour]],        colour -1: it never owns a lock
               "locks": [name], "span": [first, last],
               "records": [dt_us, lane, shape, text, value, ..., ...],   flat; dt from the record before
               "bars": [[kind, lane, row, start, end or -1, failed, labels]],   a wait also: lock, holder's lane (or -1)
               "holds": [[lock, owner_lane, start, end or -1, dead, how, owner]],
               "doubled": [[lock, start, end or -1, text]],         two owners at once
               "ownerless": [[lock, start, end or -1, text]],       a lock file that no process of the run made
               "arrows": [[start, end, label]], "flags": [[at, text, level]],
               "faults": [[at, lane, text, heals]],
               "checks": [[name, verdict, finding, [position, ...]]],
               "marks": [[at, text, first, against]]}]}      where it differs from the run that it is compared with

Times are whole microseconds, nominal, from the client's start; ``text``, keys, values and labels are indices of
strings; everything that begins or ends is a position in ``records``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from lockjaw.verdict import CheckResult

from .compare import Mark
from .html_strings import excerpt, folder_shortener, plain, to_script_json
from .sentences import sentence, session_of
from .swimlane import Swimlane
from .view import RunView

#: Width that every step gets on the folded axis, in the width of one second; a stretch of s seconds gets sqrt(s) on
#: top. So two steps 2 ms apart can be told apart on a page that also holds 90 s of waiting (9.5), which stays longest.
AXIS_FLOOR = 0.12
FOLD_S = 3.0  # from here on a stretch without any step is marked as folded, with its true length
#: Bytes of data in a page. With template, script and table of steps the page stays below 2 MB: browsers open that in
#: well under two seconds, and issue trackers and CI artefact viewers take it.
DATA_BYTES = 1_500_000
#: Characters shown of one value, tried in this order until the page is small enough; the whole stands in the history.
CLIPS = (2000, 400, 120, 40)


class RunPicture(msgspec.Struct, frozen=True):
    """One run, as a page draws it."""

    view: RunView
    lane: Swimlane
    marks: tuple[Mark, ...] = ()


def page_json(runs: Sequence[RunPicture], *, limit_bytes: int = DATA_BYTES) -> str:
    """The data block of a page, safe inside ``<script>``; at most ``limit_bytes`` unless the bare steps are more."""
    text = ""
    for clip in CLIPS:
        text = to_script_json(_page(runs, clip, values=True))
        if len(text) <= limit_bytes:
            return text
    return to_script_json(_page(runs, CLIPS[-1], values=False))


def _page(runs: Sequence[RunPicture], clip: int, *, values: bool) -> dict[str, Any]:
    table = _Strings()
    encoded = [_Encoder(picture, table, clip, values).run() for picture in runs]
    order, strings = table.by_frequency()
    for run in encoded:
        _renumber(run, table.shape_sizes, order)
    shapes = [[order[op], order[phase], [order[k] for k in keys]] for op, phase, keys in table.shapes]
    return {"strings": strings, "shapes": shapes, "floor": AXIS_FLOOR, "fold_s": FOLD_S, "runs": encoded}


class _Strings:
    """Each string once; which indices are used how often."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._used: Counter[int] = Counter()
        self._shapes: dict[tuple[int, int, tuple[int, ...]], int] = {}

    def __call__(self, text: str) -> int:
        number = self._index.setdefault(text, len(self._index))
        self._used[number] += 1
        return number

    def again(self, number: int) -> int:
        """One more use of a string that the table has."""
        self._used[number] += 1
        return number

    def shape(self, op: str, phase: str, keys: Iterable[str]) -> int:
        shape = (self(op), self(phase), tuple(map(self, keys)))
        return self._shapes.setdefault(shape, len(self._shapes))

    @property
    def shapes(self) -> list[tuple[int, int, tuple[int, ...]]]:
        return list(self._shapes)

    @property
    def shape_sizes(self) -> list[int]:
        return [len(keys) for _, _, keys in self._shapes]

    def by_frequency(self) -> tuple[list[int], list[str]]:
        """(new index of each old one, the strings in the new order)."""
        ranked = sorted(range(len(self._index)), key=lambda n: (-self._used[n], n))
        texts = list(self._index)
        order = [0] * len(ranked)
        for new, old in enumerate(ranked):
            order[old] = new
        return order, [texts[old] for old in ranked]


class _Encoder:
    """One run as plain lists; indices of strings are still those of the table."""

    def __init__(self, picture: RunPicture, table: _Strings, clip: int, values: bool) -> None:
        self._view, self._lane, self._marks = picture.view, picture.lane, picture.marks
        self._table, self._clip, self._values = table, clip, values
        self._short: Callable[[str], str] = folder_shortener(picture.view.run_dir)
        self._shown: dict[str, int] = {}
        self._shapes: dict[tuple[str, str, tuple[str, ...]], int] = {}
        self._cut = False
        self._position = {record.i: at for at, record in enumerate(self._lane.history)}
        self._pointed = {self._position.get(i) for check in self._view.checks for i in check.witness}

    def run(self) -> dict[str, Any]:
        view, lane = self._view, self._lane
        names = {entry.actor: n for n, entry in enumerate(lane.lanes)}
        locks = {lock: n for n, lock in enumerate(lane.locks)}
        records = self._records()
        return {
            "title": self._text(view.title), "verdict": str(view.verdict), "story": self._text(lane.story),
            "lanes": [
                [self._text(x.actor), "" if x.pid is None else self._text(str(x.pid)), x.rows, x.colour]
                for x in lane.lanes
            ],
            "locks": [self._text(session_of(lock)) for lock in lane.locks],
            "span": list(lane.span),
            "records": records,
            "bars": [
                [b.kind, b.lane, b.row, b.start, -1 if b.end is None else b.end, int(b.failed),
                 self._string("\n".join(b.labels))]
                + ([locks.get(b.lock or "", -1), -1 if b.holder is None else b.holder] if b.kind == "wait" else [])
                for b in lane.bars
            ],
            "holds": [
                [locks[h.lock], names.get(h.owner, len(names) - 1), h.start, -1 if h.end is None else h.end,
                 int(h.dead), h.how, self._string(h.owner)]
                for h in lane.holds
            ],
            "doubled": [
                [locks[d.first.lock], d.start, -1 if d.end is None else d.end,
                 self._string(f"{d.first.owner} and {d.second.owner}")]
                for d in lane.doubled
            ],
            "ownerless": [
                [locks[o.lock], o.start, -1 if o.end is None else o.end, self._string(o.text)] for o in lane.ownerless
            ],
            "arrows": [[a.start, a.end, self._string(a.label)] for a in lane.arrows],
            "flags": [[f.at, self._string(f.text), f.level] for f in lane.flags],
            "faults": [[f.at, f.lane, self._string(f.text), int(f.heals)] for f in lane.faults],
            "checks": [self._check(check) for check in view.checks],
            "marks": [[m.at, self._string(m.says), int(m.first), self._string(m.against)] for m in self._marks],
            "clipped": self._note(),
        }  # fmt: skip

    def _records(self) -> list[int]:
        flat: list[int] = []
        before = 0
        for at, (record, lane) in enumerate(zip(self._lane.history, self._lane.lane_of, strict=True)):
            t = round((record.t - self._lane.begun) * 1e6)
            shown = record.data if self._values or at in self._pointed else {}
            flat += (
                t - before,
                lane,
                self._shape(record.op, record.phase, tuple(shown)),
                self._string(sentence(record)),
                *map(self._value, shown.values()),
            )
            before = t
        return flat

    def _shape(self, op: str, phase: str, keys: tuple[str, ...]) -> int:
        if (op, phase, keys) not in self._shapes:
            self._shapes[op, phase, keys] = self._table.shape(op, phase, map(self._text, keys))
        return self._shapes[op, phase, keys]

    def _check(self, check: CheckResult) -> list[Any]:
        positions = sorted({self._position[i] for i in check.witness if i in self._position})
        return [self._text(check.name), str(check.verdict), self._text(check.finding), positions]

    def _text(self, text: str) -> str:
        return excerpt(text, max(self._clip, 200), self._short)

    def _value(self, value: object) -> int:
        return self._string(plain(value))

    def _string(self, text: str) -> int:
        if text not in self._shown:
            self._cut |= len(text) > self._clip
            self._shown[text] = self._table(excerpt(text, self._clip, self._short))
            return self._shown[text]
        return self._table.again(self._shown[text])

    def _note(self) -> str:
        parts = []
        if self._cut:
            parts.append(f"values longer than {self._clip} characters are cut")
        if not self._values:
            parts.append("only the steps that a finding points at carry their values")
        return f"To keep this page below 2 MB, {' and '.join(parts)}; history.jsonl has everything." if parts else ""


def _renumber(run: dict[str, Any], sizes: Sequence[int], order: Sequence[int]) -> None:
    """Indices of strings from the table's order to that of the page."""
    flat, at = run["records"], 0
    while at < len(flat):
        end = at + 4 + sizes[flat[at + 2]]
        flat[at + 3 : end] = [order[n] for n in flat[at + 3 : end]]
        at = end
    for key, column in (
        ("bars", 6),
        ("holds", 6),
        ("doubled", 3),
        ("ownerless", 3),
        ("arrows", 2),
        ("flags", 1),
        ("faults", 2),
        ("marks", 1),
        ("marks", 3),
    ):
        for row in run[key]:
            row[column] = order[row[column]]
