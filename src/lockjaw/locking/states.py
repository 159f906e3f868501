"""The states of a contender of the guarded lock, as a literal table.

The waiting loop of ``guarded`` runs by it, from ``TRYING`` to ``HOLDING`` or ``OUTSIDE``; the other steps are what a
holder's calls amount to. A test follows real runs through it, and fails if one makes a step that is not here or if a
step is never made. The diagram in the documentation is drawn from it.
"""

from __future__ import annotations

from typing import NamedTuple

OUTSIDE = "Outside"
TRYING = "Trying"
WAITING = "Waiting"
JUDGING = "Judging"
HOLDING = "Holding"
APPENDING = "Appending"
SUPERSEDED = "Superseded"
DEAD = "Dead"


class Transition(NamedTuple):
    """``because``: what makes the step, in words for people."""

    state: str
    event: str
    next: str
    because: str


TRANSITIONS = (
    Transition(OUTSIDE, "acquire", TRYING, "asks for the lock"),
    Transition(TRYING, "take", HOLDING, "it is free, no process waits, and there is no lock file"),
    Transition(TRYING, "join", WAITING, "it is taken, or another process waits: it draws a ticket"),
    Transition(TRYING, "judge", JUDGING, "no time to wait, and there is a lock file without an owner of ours"),
    Transition(TRYING, "refused", OUTSIDE, "no time to wait: SessionLocked"),
    Transition(WAITING, "take", HOLDING, "rung, or looked for itself: free, and its turn"),
    Transition(WAITING, "judge", JUDGING, "there is a lock file without an owner of ours: it locks the section"),
    Transition(WAITING, "lose place", TRYING, "was overtaken, being paused"),
    Transition(WAITING, "refused", OUTSIDE, "deadline or cancelled: its ticket is free, the next one is rung"),
    Transition(JUDGING, "inherit", HOLDING, "the owner is dead, by proof: its file taken over in place"),
    Transition(JUDGING, "not now", WAITING, "the owner is alive, or another contender was faster"),
    Transition(JUDGING, "refused", OUTSIDE, "the owner is alive, and there is no time to wait"),
    Transition(HOLDING, "enter", APPENDING, "locks the section; its generation still is the newest"),
    Transition(APPENDING, "leave", HOLDING, "frees the section"),
    Transition(HOLDING, "superseded", SUPERSEDED, "a newer generation was granted, or the lock file is not its own"),
    Transition(SUPERSEDED, "release", OUTSIDE, "removes nothing"),
    Transition(HOLDING, "release", OUTSIDE, "removes the lock file, rings the first waiter"),
    Transition(HOLDING, "limit", OUTSIDE, "its hold limit is over: it gives the lock back and may no longer write"),
    Transition(HOLDING, "death", DEAD, "the kernel drops its bytes"),
    Transition(WAITING, "death", DEAD, "the kernel drops its ticket"),
    Transition(OUTSIDE, "fence", HOLDING, "raises the generation over a live owner"),
)

NEXT: dict[tuple[str, str], str] = {(t.state, t.event): t.next for t in TRANSITIONS}
assert len(NEXT) == len(TRANSITIONS), "two transitions for one event"


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"  [*] --> {OUTSIDE}"]
    for one in TRANSITIONS:
        lines.append(f"  {one.state} --> {one.next}: {one.event} ({one.because.replace(':', ',')})")
    return "\n".join([*lines, f"  {DEAD} --> [*]"])
