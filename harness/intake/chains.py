"""A chain of models in which every one failed, in each layout that people give it. Pure.

The program prints one line: ``All models failed (3): MODEL: ERROR (REASON) | MODEL: ERROR (REASON) | ...``. People lay
it out as a list with bullets, numbers or leading bars, one model a line, wrapped or not, or lose the bars altogether.
Lines that go on with a summary are joined to it with a bar, so that one splitter reads every layout.
"""

from __future__ import annotations

import re

from .private import shown
from .report import Candidate

__all__ = ["TABLE_ROW", "candidates_of", "entry", "is_entry", "summary_open"]

_MAX_CHAIN = 50  # models in one summary
_SUMMARY = re.compile(r"All models failed ?\((\d{1,3})\)", re.IGNORECASE)
_REASON = re.compile(r"\((?P<reason>[a-z_]{3,24})\)(?=[.,;\"'`\s|\\]|$)")
_REASON_END = re.compile(r"\([a-z_]{3,24}\)[.\"'`]{0,3}$")
_MODEL = re.compile(r"(?P<model>[^\s|]{1,160}?):\s(?P<error>\S.*)$", re.DOTALL)
#: What a list puts before its entry: a bullet, a number, a bar, in any combination.
_MARKER = re.compile(r"(?:(?:[-*•+–▪‣·]|\(?\d{1,3}[.)])\s{1,4}(?:\[[ x]\]\s)?|\|\s{0,4}|>\s){1,3}")
_ENTRY = re.compile(r"(?P<model>[*_`]{0,3}[\w.@+-]{1,80}(?:/[\w.:@+/-]{1,120})?[*_`]{0,3}): {0,2}[*_`]{0,3} ?\S")
#: A row of a table, its first bar taken off as a frame: model, error, perhaps the reason.
TABLE_ROW = re.compile(
    r"\|?\s{0,4}(?P<model>[^|:\s]{1,120})\s{0,40}\|\s{0,4}(?P<error>[^|]{2,400}?)\s{0,40}\|"
    r"(?:\s{0,4}\(?(?P<reason>[a-z_]{3,24}|-|)\)?\s{0,40}\|)?\s{0,4}$"
)
#: Two entries with nothing between them but a blank: a reason ends the one, a model begins the other.
_NO_BAR = re.compile(
    r"(?<=\)) {1,2}(?=[\w.@+-]{1,60}/[\w.:@+/-]{1,100}: \S)|(?<=\)[.,;]) {1,2}(?=[\w.@+-]{1,60}/[\w.:@+/-]{1,100}: \S)"
)
_EMPHASIS = re.compile(
    r"^[*_`]{1,3}(?P<inside>[^*`\s][^*`]{0,160}?)[*_`]{1,3}(?=:)|^[*_`]{1,3}(?P<before>[^*`\s:][^*`:]{0,160}):[*_`]{1,3}"
)


def summary_open(text: str) -> bool:
    """Does the text end in the summary of a chain, some of whose models are still to come?"""
    summary = _SUMMARY.search(text, max(0, len(text) - 8000)) if "odels" in text else None
    if summary is None:
        return False
    return text.count("|", summary.end()) + 1 < int(summary[1]) or _REASON_END.search(text[-100:].rstrip()) is None


def is_entry(text: str) -> bool:
    """Is this line an entry of a list of models? ``- acme/one: session file locked ...``"""
    row = TABLE_ROW.match(text)
    if row is not None:
        return "/" in row["model"]
    bare = _unmarked(text)
    found = _ENTRY.match(bare)
    if found is None or found["model"].strip("*_`").endswith("Error"):
        return False
    return "/" in found["model"] or bare != text


def entry(before: str, text: str) -> str:
    """What to add to an open summary for the next line of its list: the entry, with a bar where it needs one."""
    row = TABLE_ROW.match(text)
    if row is not None:
        reason = f" ({row['reason']})" if row["reason"] and row["reason"] != "-" else ""
        bare = f"{row['model'].strip('*_`')}: {row['error']}{reason}"
    else:
        bare = _unmarked(text)
    end = before.rstrip()
    summary = _SUMMARY.search(end, max(0, len(end) - 40))
    first = end.endswith(("|", ":")) or (summary is not None and not end[summary.end() :].strip(" :."))
    return f" {bare}" if first else f" | {bare}"


def _unmarked(text: str) -> str:
    stripped = text.lstrip(" \t")
    marker = _MARKER.match(stripped)
    bare = stripped[marker.end() :] if marker is not None else stripped
    return _EMPHASIS.sub(lambda found: found["inside"] or f"{found['before']}:", bare, count=1)


def candidates_of(text: str, count: int) -> tuple[tuple[Candidate, ...], int]:
    """The models of a summary, and how many characters of the text they took.

    The count in front says how many there should be; the last one ends with its reason, or with the text.
    """
    text = _NO_BAR.sub("|", text)  # one character for at least one: what was taken is never more than there is
    parts: list[Candidate] = []
    at = 0
    while at < len(text) and len(parts) < min(max(count, 1), _MAX_CHAIN):
        bar = text.find("|", at)
        last = bar < 0 or len(parts) == count - 1
        end = len(text) if last else bar
        part = text[at:end]
        if last and (reason := _reason(part, whole=False)) is not None:
            end = at + reason.end()
            part = text[at:end]
        if part.strip():
            parts.append(_candidate(part))
        at = end + (0 if last else 1)
        if last:
            break
    return tuple(parts), at


def _reason(part: str, *, whole: bool) -> re.Match[str] | None:
    """The reason in brackets: the last one where the part is an entry and nothing else, else the first."""
    found = list(_REASON.finditer(part))
    if not found:
        return None
    return found[-1] if whole and not part[found[-1].end() :].strip(" .,;\"'`") else found[0]


def _candidate(part: str) -> Candidate:
    part = _unmarked(part.strip())
    reason = None
    if found := _reason(part, whole=True):
        reason, part = found["reason"], part[: found.start()].strip()
    model = ""
    named = _MODEL.match(part)
    if named is not None and not named["model"].endswith("Error") and "(" not in named["model"]:
        model, part = named["model"].strip("*_`"), named["error"]
    return Candidate(model=shown(model, 80), error=part[:400], reason=reason)
