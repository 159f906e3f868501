"""The cast of a scenario: who else wants the session, beside gateway, client and models.

Data only. A *scripted* actor is a process that performs a list of steps against the session's files with the runtime's
own locks and transcripts (``performer``); a *client* is one more ``lockjaw agent``. Both engines play the same data.
Durations are nominal seconds.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .timing import Count, Seconds, Timing

Text = Annotated[str, Meta(min_length=1)]
#: What a process of a run is.
Role = Literal["gateway", "client", "models", "scripted"]
MAX_ACTORS = 500  # copies counted; the simulation gives each a stack, real processes are one each

# --------------------------------------------------------------------------- steps


class _Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="do"):
    pass


class Take(_Step, frozen=True, tag="take"):
    """Take the session lock. Without a ``timeout_s`` it waits as long as the policy's runs do.

    One that does not get it ends its script there.
    """

    timeout_s: Seconds | None = None  # how long it waits; not given: as long as the policy's runs do
    max_hold_s: Seconds = 300.0  # what the lock file promises, and when old watchdogs give the lock away


class Release(_Step, frozen=True, tag="release"):
    """Give the session lock back."""


class Leak(_Step, frozen=True, tag="leak"):
    """Forget the lock without giving it back: it stays held until the process ends."""


class Append(_Step, frozen=True, tag="append"):
    """Append entries to the transcript."""

    what: Literal["user", "metadata"] = "metadata"  # a message of the user, or an entry that no model sees
    count: Count = 1  # how many entries
    every_s: Seconds = 0.0  # between two of them
    locked: bool = True  # false: without asking for the lock, as plugins and metadata do


class Sleep(_Step, frozen=True, tag="sleep"):
    """Think, wait, compact: nothing that others see."""

    for_s: Seconds  # how long


class Deliver(_Step, frozen=True, tag="deliver"):
    """Hand a result in: take the lock, think, append, give back; give up after so many waits in vain."""

    text: Text  # what is handed in; `{n}` is the number of a copy
    think_s: Seconds = 0.0  # how long it holds the lock before it appends
    tries: Count = 1  # how often it waits for the lock


class Read(_Step, frozen=True, tag="read"):
    """Read the conversation, as the policy's readers do (the old ones take the lock for it)."""


class Clean(_Step, frozen=True, tag="clean"):
    """Remove the session's lock file if its owner is dead, as the policy's cleaners judge it."""


class Touch(_Step, frozen=True, tag="touch"):
    """Change the transcript's times and nothing else, as file systems and backup programs do."""


class Rotate(_Step, frozen=True, tag="rotate"):
    """Move the conversation to a new transcript under the lock, as compaction does."""

    think_s: Seconds = 0.0  # how long it takes


class HoldStore(_Step, frozen=True, tag="hold_store"):
    """Hold the lock of the session store (``sessions.json``), as a long writer does."""

    for_s: Seconds  # how long


class HoldDatabase(_Step, frozen=True, tag="hold_database"):
    """Write to a database and take long over it, as backups, migrations and maintenance do (`sessions: sqlite`)."""

    for_s: Seconds  # how long
    of: Literal["session", "store"] = "session"  # the session's own database, or the one that lists all sessions


class Maintain(_Step, frozen=True, tag="maintain"):
    """Change the session's entry in the store again and again, as turn maintenance and heartbeats do."""

    count: Count = 1  # how often
    every_s: Seconds = 0.1  # between two changes


Step = (
    Take
    | Release
    | Leak
    | Append
    | Sleep
    | Deliver
    | Read
    | Clean
    | Touch
    | Rotate
    | HoldStore
    | HoldDatabase
    | Maintain
)

# --------------------------------------------------------------------------- actors


class Start(Timing, frozen=True, kw_only=True):
    """When an actor begins: at a time, or some time after a record."""


AT_ONCE = Start(at_s=0.0)


class Scripted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="scripted"):
    """A process that performs steps (`kind: scripted`)."""

    script: Annotated[tuple[Step, ...], Meta(min_length=1)]  # its steps, each with the key `do`
    start: Start = AT_ONCE  # when it begins; not given: at once
    awaited: bool = True  # the run goes on until it has ended
    copies: Count = 1  # so many of them: NAME-1, NAME-2, ... (`{n}` in a text is the number)
    namespace: Count = 1  # its pid namespace; all other actors are in 1
    pid_of: str | None = None  # it gets the pid of that actor, which has ended by then


class Caller(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="client"):
    """One more client on the same session (`kind: client`)."""

    message: Text  # what it asks; `{n}` is the number of a copy
    start: Start = AT_ONCE  # when it asks; not given: at once
    session: Text | None = None  # the id of a session of its own; not given: that of all actors
    asks: Text = "gateway"  # which gateway
    local: bool = False  # it runs the turn itself and asks no gateway, as a cron job or a subagent does
    copies: Count = 1  # so many of them: NAME-1, NAME-2, ...

    awaited = True
    namespace = 1
    pid_of = None


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="gateway"):
    """One more gateway on the same state, up before anybody asks (`kind: gateway`). A client `asks` it by its name."""

    start = AT_ONCE
    awaited = False
    copies = 1
    namespace = 1
    pid_of = None


Actor = Scripted | Caller | Server


def each(actors: dict[str, Actor]) -> dict[str, Actor]:
    """The actors one by one, copies numbered."""
    found: dict[str, Actor] = {}
    for name, actor in actors.items():
        if actor.copies == 1:
            found[name] = actor
            continue
        for n in range(1, actor.copies + 1):
            found[f"{name}-{n}"] = _copy(actor, n)
    return found


def _copy(actor: Actor, n: int) -> Actor:
    if isinstance(actor, Server):
        return actor
    if isinstance(actor, Caller):
        return msgspec.structs.replace(actor, copies=1, message=actor.message.replace("{n}", str(n)))
    script = tuple(
        msgspec.structs.replace(step, text=step.text.replace("{n}", str(n))) if isinstance(step, Deliver) else step
        for step in actor.script
    )
    return msgspec.structs.replace(actor, copies=1, script=script)


# --------------------------------------------------------------------------- what there is before any actor begins


class LockFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A lock file that lies there when the client begins."""

    #: whom it names: dead (a pid that no process has), nobody (an empty file), garbage, or an actor
    owner: Text = "dead"
    #: of the owner: its own, another one (the pid was reused), or not told, as before 2026.4.29
    starttime: Literal["own", "other", "absent"] = "absent"
    age_s: Seconds = 60.0  # how long before the client's start it says that it was made


class Initial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The session as the client finds it."""

    turns: Annotated[int, Meta(ge=0)] = 0  # questions and answers that stand in the transcript
    lock: LockFile | None = None  # a lock file that lies there
