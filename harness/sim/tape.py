"""Choices: every decision of a simulated run, written down, and where decisions come from.

A choice has a label (what is decided), a bound (how many answers there are) and a value; 0 is always the answer that
changes nothing: no delay, no fault, the shortest way. So a run is its seed plus the choices that are not 0, and
shrinking is making choices 0. At an operation the value may also be a wait for what others do (``Until``), which turns
two operations round that nearly always happen in one order; no delay that is drawn does so but by luck.

Four sources: ``RandomChoices`` draws (schedule and faults from streams of their own, so that faults do not reshuffle
the schedule), ``PriorityChoices`` makes few changes that reach far, ``StrictReplay`` repeats a tape and fails at the
first difference, ``SparseChoices`` answers 0 except where it was told otherwise. The last one names a choice by its
label and how often that label came before, so that leaving one out does not move the others.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from lockjaw.errors import ReplayDiverged
from lockjaw.seeds import Seeds

# --------------------------------------------------------------------------- what may happen at an operation

#: Nominal seconds by which an operation may be delayed; the last six are freezes (a stopped process, a stuck disk).
DELAYS_S = (0.0, 0.0002, 0.001, 0.004, 0.02, 0.5, 4.0, 12.0, 45.0, 90.0, 600.0)
SHORT = 5  # delays below this index are everyday ones
DRAWN = 9  # freezes from this index on are longer than the runtime's longest wait: of sweeps, never drawn
CRASH_BEFORE, CRASH_AFTER, TEAR = len(DELAYS_S), len(DELAYS_S) + 1, len(DELAYS_S) + 2
FAULTS = ("EIO", "ENOSPC", "EPERM", "EAGAIN")
FIRST_FAULT = TEAR + 1
POINT_BOUND = FIRST_FAULT + len(FAULTS)
NEXT = "next: "  # the label of a choice among actors that could go on; their names follow, with "|" between


class Until(NamedTuple):
    """Wait at an operation until another actor's has happened, then go next.

    ``label`` and ``nth`` name that operation as a ``Place`` does. With the label ``OTHERS``: until other actors have
    done ``nth`` operations on the same session or store. After ``limit_s`` nominal seconds it goes on all the same.
    """

    label: str
    nth: int
    limit_s: float


OTHERS = "*"
LIMITS_S = (0.5, 4.0, 12.0, 60.0)  # of waits
Value = int | Until
MOST_WAIT_S = 3600.0


def says(value: Value) -> str:
    """What a value at an operation means, in words."""
    if isinstance(value, Until):
        if value.label == OTHERS:
            return f"waits for {value.nth} operations of others on the same files, at most {value.limit_s:g} s"
        times = "" if value.nth == 0 else f" (time {value.nth + 1} of this kind)"
        return f"waits until {value.label}{times} has happened, at most {value.limit_s:g} s"
    if value == 0:
        return "goes on at once"
    if value < len(DELAYS_S):
        word = "is delayed by" if value < SHORT else "is frozen for"
        delay_s = DELAYS_S[value]
        return f"{word} {delay_s:g} s" if delay_s >= 0.1 else f"{word} {delay_s * 1000:g} ms"
    fixed = {
        CRASH_BEFORE: "is killed before it",
        CRASH_AFTER: "is killed right after it",
        TEAR: "is killed in the middle of it",
    }
    return fixed.get(value) or f"fails with {FAULTS[value - FIRST_FAULT]}"


class Choice(NamedTuple):
    """One decision. ``label`` is stable between runs; for operations: ``actor: Operation file``."""

    label: str
    bound: int
    value: Value


class Place(NamedTuple):
    """Which choice is meant: the ``nth`` (from 0) with this label."""

    label: str
    nth: int


Deviations = Mapping[Place, Value]
_new: Any = tuple.__new__  # a named tuple's own __new__ is a Python function; a run makes hundreds of choices


class Choices(Protocol):
    """Where decisions come from. ``tape`` grows with each."""

    tape: list[Choice]

    def point(self, label: str) -> Value:
        """What happens at an operation: 0 to ``POINT_BOUND`` - 1, or a wait."""

    def pick(self, label: str, bound: int) -> int:
        """One of ``bound`` answers."""

    def finish(self) -> None:
        """The run is over. Raises ReplayDiverged if the tape is not."""


class Chances(msgspec.Struct, frozen=True):
    """How often something other than 0 is drawn, per operation: 256ths for delays, 65536ths for the rest."""

    delay_256: int = 16
    freeze_65536: int = 0
    crash_65536: int = 0
    fault_65536: int = 0


EVERYDAY = Chances()
ROUGH = Chances(delay_256=24, freeze_65536=700)


class RandomChoices:
    """Draws, uniformly among what ``chances`` allows."""

    def __init__(self, seeds: Seeds, chances: Chances = EVERYDAY) -> None:
        self.tape: list[Choice] = []
        self._bits = seeds.stream("schedule").getrandbits
        self._faults = seeds.stream("faults")
        self._quiet = 256 - chances.delay_256
        self._chances = chances
        self._rough = bool(chances.freeze_65536 or chances.crash_65536 or chances.fault_65536)

    def point(self, label: str) -> int:
        drawn = self._bits(8)
        value = 0 if drawn < self._quiet else 1 + drawn % (SHORT - 1)
        if self._rough:
            value = self._harm() or value
        self.tape.append(_new(Choice, (label, POINT_BOUND, value)))
        return value

    def _harm(self) -> int:
        chances, drawn = self._chances, self._faults.getrandbits(16)
        if drawn < chances.freeze_65536:
            return SHORT + drawn % (DRAWN - SHORT)
        drawn -= chances.freeze_65536
        if drawn < chances.crash_65536:
            return CRASH_BEFORE + drawn % 3
        drawn -= chances.crash_65536
        return FIRST_FAULT + drawn % len(FAULTS) if drawn < chances.fault_65536 else 0

    def pick(self, label: str, bound: int) -> int:
        # Not randrange: how it draws is not promised between versions of Python; the bits are.
        value = (self._bits(16) * bound) >> 16
        self.tape.append(_new(Choice, (label, bound, value)))
        return value

    def finish(self) -> None:
        return None


class PriorityChoices:
    """Few changes that reach far, in place of many small ones: probabilistic concurrency testing (Burckhardt, 2010).

    Each actor has a priority of its own, drawn once: of several that could go on, the highest does. At ``changes``
    operations, drawn among the first ``length``, whoever is about to act is frozen instead. A bug that needs d such
    changes in the right places is hit with a chance of at least one in actors x length ** d.
    """

    def __init__(self, seeds: Seeds, length: int, changes: int = 3) -> None:
        self.tape: list[Choice] = []
        self._bits = seeds.stream("schedule").getrandbits
        self._changes = {(self._bits(24) * length) >> 24 for _ in range(changes)}
        self._points = 0
        self._priority: dict[str, int] = {}

    def point(self, label: str) -> int:
        value = 0
        if self._points in self._changes:
            value = SHORT + ((self._bits(16) * (DRAWN - SHORT)) >> 16)
        self._points += 1
        self.tape.append(_new(Choice, (label, POINT_BOUND, value)))
        return value

    def pick(self, label: str, bound: int) -> int:
        if label.startswith(NEXT):
            actors = label.removeprefix(NEXT).split("|")
            for actor in actors:
                if actor not in self._priority:
                    self._priority[actor] = self._bits(24)
            value = max(range(bound), key=lambda n: self._priority[actors[n]])
        else:
            value = (self._bits(16) * bound) >> 16
        self.tape.append(_new(Choice, (label, bound, value)))
        return value

    def finish(self) -> None:
        return None


class SparseChoices:
    """0 everywhere, except at the places given."""

    def __init__(self, deviations: Deviations) -> None:
        self.tape: list[Choice] = []
        self.met: set[Place] = set()
        self._by_label: dict[str, dict[int, Value]] = {}
        for place, value in deviations.items():
            self._by_label.setdefault(place.label, {})[place.nth] = value
        self._seen = dict.fromkeys(self._by_label, 0)

    def point(self, label: str) -> Value:
        return self._answer(label, POINT_BOUND)

    def pick(self, label: str, bound: int) -> int:
        value = self._answer(label, bound)
        return value if isinstance(value, int) else 0

    def _answer(self, label: str, bound: int) -> Value:
        value: Value = 0
        wanted = self._by_label.get(label)
        if wanted is not None:
            nth = self._seen[label]
            self._seen[label] = nth + 1
            if nth in wanted:
                value = wanted[nth]
                if not isinstance(value, Until):
                    value = min(value, bound - 1)
                self.met.add(Place(label, nth))
        self.tape.append(_new(Choice, (label, bound, value)))
        return value

    def finish(self) -> None:
        return None


class StrictReplay:
    """Repeats a tape. Whatever is asked must be what was asked then."""

    def __init__(self, tape: Sequence[Choice]) -> None:
        self.tape: list[Choice] = []
        self._recorded = tape

    def point(self, label: str) -> Value:
        return self._answer(label, POINT_BOUND)

    def pick(self, label: str, bound: int) -> int:
        value = self._answer(label, bound)
        return value if isinstance(value, int) else 0

    def _answer(self, label: str, bound: int) -> Value:
        step = len(self.tape)
        if step >= len(self._recorded):
            raise ReplayDiverged(step, "the end of the tape", f"{label} (of {bound})")
        choice = self._recorded[step]
        if choice.label != label or choice.bound != bound:
            raise ReplayDiverged(step, f"{choice.label} (of {choice.bound})", f"{label} (of {bound})")
        self.tape.append(choice)
        return choice.value

    def finish(self) -> None:
        step = len(self.tape)
        if step < len(self._recorded):
            choice = self._recorded[step]
            raise ReplayDiverged(step, f"{choice.label} (of {choice.bound})", "the end of the run")


# --------------------------------------------------------------------------- tapes as data


def deviations_of(tape: Iterable[Choice]) -> dict[Place, Value]:
    """The choices that are not 0, by place, in the order of the tape."""
    seen: dict[str, int] = {}
    found: dict[Place, Value] = {}
    for label, _, value in tape:
        nth = seen.get(label, 0)
        seen[label] = nth + 1
        if value:
            found[Place(label, nth)] = value
    return found


def write_tape(path: Path, tape: Sequence[Choice]) -> None:
    """One JSON line per choice: ``["client: Link s.jsonl.lock", 18, 0]``; a wait is
    ``["client: Read sessions.json", 18, ["gateway: Flush sessions.json", 2, 60.0]]``."""
    encode = msgspec.json.Encoder().encode
    path.write_bytes(b"".join(encode(choice) + b"\n" for choice in tape))


def read_tape(path: Path) -> list[Choice]:
    """Raises OSError, or msgspec.DecodeError for what is no tape."""
    decode = msgspec.json.Decoder(Choice).decode
    tape = [decode(line) for line in path.read_bytes().splitlines() if line.strip()]
    for choice in tape:
        if not possible(choice):
            raise msgspec.ValidationError(f"a choice that no run makes: {choice.label!r} {choice.value!r}")
    return tape


def possible(choice: Choice) -> bool:
    """Could a run have made this choice? (A tape may come from a stranger.)"""
    value = choice.value
    if isinstance(value, Until):
        return choice.bound == POINT_BOUND and value.nth >= 0 and 0 < value.limit_s <= MOST_WAIT_S
    return 0 <= value < max(1, choice.bound)


def schedule_stream(seed: int) -> random.Random:
    """For what is decided outside of a run, such as which places a strategy tries first."""
    return Seeds(seed).child("explore").stream("order")
