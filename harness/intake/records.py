"""Physical lines in, log records out: quotes, colours, prefixes, wraps and JSON undone. Pure, streaming.

A *block* is a run of lines without a blank line between them, bounded in size. Most blocks of a large log have
nothing to do with a lock; a block is read closely only if it holds, blanks and quote marks left out, one of the
needles (so a message that was wrapped in the middle of a word is not missed). Then each line loses what was put
before it, and lines that continue the line before are joined again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from .chains import TABLE_ROW, entry, is_entry, summary_open
from .lines import FENCE, Line, LogRecord, cleaned, uncoloured
from .needles import NEEDLES, squeezed
from .passages import Passages
from .patterns import HEADS, PHRASES
from .unpack import unpacked

MAX_BLOCK_LINES = 400
MAX_BLOCK_CHARS = 1 << 17
MAX_RECORD_CHARS = 1 << 15
MAX_JOINED = 60  # lines of one record
_COMMON_WIDTHS = frozenset((60, 64, 70, 72, 74, 76, 78, 79, 80, 90, 96, 98, 99, 100, 110, 118, 119, 120, 132, 140, 160))


def blocks(lines: Iterable[str]) -> Iterator[list[Line]]:
    """Runs of lines without a blank one, numbered from 1."""
    block: list[Line] = []
    size = 0
    passages = Passages()
    for number, line in enumerate(lines, 1):
        place = passages.place(line)
        blank = not line or line.isspace() or _is_blank(line)
        if blank or len(block) >= MAX_BLOCK_LINES or size > MAX_BLOCK_CHARS:
            if block:
                yield block
            block, size = [], 0
        if not blank:
            block.append(Line(number, line, place))
            size += len(line)
    if block:
        yield block


def _is_blank(line: str) -> bool:
    """A quoted empty line, or the line of a code fence: both end what stood before."""
    if len(line) > 60 or line[0] not in "> \t│┃`~":
        return False
    stripped = line.strip("> \t│┃")
    return not stripped or FENCE.match(stripped) is not None


def interesting(block: list[Line]) -> bool:
    """Might this block hold anything of ours? Never False for one that does."""
    text = squeezed(uncoloured("\n".join(line.text for line in block)))
    return any(needle in text for needle in NEEDLES)


def records(block: list[Line]) -> Iterator[LogRecord]:
    """The records of one block."""
    block_text = {line.number: line.text for line in block}
    bare = [(line.number, *cleaned(line.text), line.place) for line in block]
    margin = min((len(text) - len(text.lstrip(" \t")) for _, text, *_ in bare), default=0)
    width = _wrap_width([length for *_, length, _ in bare])
    joined: list[LogRecord] = []
    parts = full = 0
    for number, indented, at, prefixed, length, place in bare:
        text = indented[margin:]
        if joined and not prefixed and parts < MAX_JOINED and _continues(joined[-1].text, text):
            last = joined[-1]
            if len(last.text) + len(text) < MAX_RECORD_CHARS:
                parts += 1
                if summary_open(last.text) and is_entry(text):
                    whole = last.text.rstrip() + entry(last.text, text)
                    joined[-1] = last._replace(text=whole, last_line=number)
                    full = length
                    continue
                joined[-1] = last._replace(text=join(last.text, text, width=width, full=full), last_line=number)
                full = length
                continue
        parts, full = 1, length
        logged = prefixed and (at is not None or _LISTED.match(block_text[number]) is None)
        joined.append(LogRecord(number, text, at, number, place, logged))
    for record in joined:
        yield from unpacked(record)


# --------------------------------------------------------------------------- lines that belong together

_LOCKED_OPEN = re.compile(
    r"(?:session file locked(?: ?\([^)]{0,60}\)?)?:?|pid=\d{1,10}|alive=(?:true|false)|ageMs=\d{1,12})$", re.IGNORECASE
)
_OPEN_END = re.compile(r"(?:[:|(=,/\\–—]|…|\b(?:for|session|timeout|error|locked|file|pid|after|was|prompt|lane))$")
_LISTED = re.compile(
    r"[\s>]{0,8}(?:\d{1,3}[.)]|[-*+•]) "
)  # a list puts such a thing before its item, no collector does
_HEAD = re.compile(r"(?:[^|:/]{1,30}\|){1,5}")
_RULE = re.compile(r"[|:\- ]{3,200}")  # the line below a table's head
_LEAD = re.compile(r"^(?:[\w-]{1,40}: (?=[|\w])|\[[\w/-]{1,40}\] )(?=\|?[^|]{0,200}[/|])")
_JSON_START = re.compile(r"^\s{0,12}[{\[]")


def with_next_model(before: LogRecord, record: LogRecord) -> LogRecord | None:
    """Both as one if ``before`` is the summary of a chain that is not whole and ``record`` tells its next model.

    A program that writes a JSON record for each line of a message takes a summary to pieces, and so does whoever puts
    a blank line between any two.
    """
    text = _LEAD.sub("", record.text, count=1)
    if summary_open(before.text) and (_RULE.fullmatch(text) or _HEAD.fullmatch(text)):
        return before  # the head of a table, or what a collector's prefix leaves of it
    if not summary_open(before.text) or not (text.startswith("|") or is_entry(text)):
        return None
    if len(before.text) + len(text) > MAX_RECORD_CHARS:
        return None
    return before._replace(
        text=before.text.rstrip() + entry(before.text, text), last_line=max(record.line, record.last_line)
    )


def _continues(before: str, text: str) -> bool:
    """Does ``text`` go on with the record ``before``?"""
    stripped = text.lstrip(" \t")
    if stripped.startswith(('{"', "{'")) and len(stripped) > 2:
        return False  # a JSON record of its own; a nested object of a printed one starts with the bare brace
    if _JSON_START.match(before) and not _closed(before):
        return True
    if TABLE_ROW.match(stripped) is not None or _RULE.fullmatch(stripped):
        return False
    tail = before[-100:].rstrip()
    if summary_open(before) and not _other_record(stripped):
        return True
    quoted = before.rfind('error="')
    if quoted >= 0 and '"' not in before[quoted + 7 :] and not _other_record(stripped):
        return True
    if _LOCKED_OPEN.search(tail) and not _starts_record(stripped):
        return True
    if _OPEN_END.search(tail) and not _other_record(stripped):
        return True
    if text[:1] in " \t" and not stripped.startswith(("at ", "- ", "* ", "• ")):
        return True
    return not _starts_record(stripped)


def _starts_record(stripped: str) -> bool:
    return HEADS.match(stripped) is not None


_OTHER = re.compile(
    r"(?:\[[\w@][^\]\n]{0,60}\] |Gateway (?:agent failed|target:)|EMBEDDED FALLBACK:|FallbackSummaryError:|```|#{1,6} |"
    r"(?:Source|Config|Bind|Logs|Expected|Actual|Environment|Version|Steps|Reproduction)[: ]|[{}]|at \S|\$ )"
)


def _other_record(stripped: str) -> bool:
    """Surely a new record, even where the line before seems unfinished."""
    return _OTHER.match(stripped) is not None


def _closed(text: str) -> bool:
    """Are the brackets of a JSON text balanced? (Strings are not looked into: an honest guess is enough.)"""
    return text.count("{") <= text.count("}") and text.count("[") <= text.count("]")


def _wrap_width(lengths: list[int]) -> int:
    """The column at which a terminal or an editor cut this block, 0 if nobody did."""
    longest = max(lengths, default=0)
    at_most = lengths.count(longest)
    if longest >= 20 and at_most >= 2:
        return longest
    return longest if longest in _COMMON_WIDTHS and len(lengths) > 1 else 0


_KEY_START = re.compile(
    r"(?:alive|ageMs|runId|sessionId|sessionKey|timeoutMs|durationMs|error|errorMessage|errorCode|requested|candidate"
    r"|reason|next|detail|decision|stage|lane|provider|from|profile|rawError|pid|code|age|stale)="
)


def join(left: str, right: str, *, width: int, full: int) -> str:
    """Put a wrapped line together again: with a blank where a blank was lost, without where a word was cut.

    Args:
        width: the column at which the block was cut; 0: it was wrapped between words.
        full: length of the physical line that ends here.
    """
    ragged = left != left.rstrip() or right != right.lstrip()
    left_, right_ = left.rstrip(), right.lstrip()
    if not left_ or not right_:
        return left_ + right_
    told = _phrase_says(left_, right_)
    if told is not None:
        return left_ + told + right_
    if _KEY_START.match(right_) or right_[0] in "|(" or left_[-1] in "|)":
        return f"{left_} {right_}"
    if left_[-1] == "-" and len(left_) > 1 and left_[-2].isalnum() and right_[0].isalnum():
        return left_ + right_
    if width and full == width and not ragged:
        return left_ + right_
    if left_[-1] in "/\\" and (not ragged or right_[0].isalnum()):
        return left_ + right_
    return f"{left_} {right_}"


def _phrase_says(left: str, right: str) -> str | None:
    """What stands between two lines if a phrase of the program runs across the break; None if none does."""
    tail = "".join(left[-60:].split()).lower()
    head = "".join(right[:60].split()).lower()
    for start, rest, between in _CUTS.get(tail[-_LEAST:], ()):
        if tail.endswith(start) and (head.startswith(rest) or (len(head) > 3 and rest.startswith(head))):
            return between
    return None


def _blank_after(phrase: str, letters: int) -> bool:
    seen = 0
    for at, letter in enumerate(phrase):
        seen += not letter.isspace()
        if seen == letters:
            return phrase[at + 1 : at + 2].isspace()
    return False


#: Letters of a phrase that must stand before a break, and that are looked at before and behind it.
_LEAST, _BEFORE, _BEHIND = 4, 12, 8


def _cuts() -> dict[str, list[tuple[str, str, str]]]:
    """Every place where a phrase may be cut: by the last letters before it, the longest beginning first."""
    found: dict[str, set[tuple[str, str, str]]] = {}
    for phrase in PHRASES:
        letters = "".join(phrase.split()).lower()
        for cut in range(_LEAST, len(letters)):
            place = letters[max(0, cut - _BEFORE) : cut], letters[cut : cut + _BEHIND]
            between = " " if _blank_after(phrase, cut) else ""
            found.setdefault(letters[cut - _LEAST : cut], set()).add((*place, between))
    return {last: sorted(places, key=lambda place: (-len(place[0]), place)) for last, places in found.items()}


_CUTS = _cuts()
