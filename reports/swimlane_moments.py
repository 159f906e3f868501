"""The moments of a run that a reader looks for: flags on records, and what the nemesis did to which lane. Pure."""

from __future__ import annotations

import msgspec

from lockjaw.history import Record

from .sentences import FALLBACK_STEPS
from .swimlane_locks import Ownership, owners_named

__all__ = ["FaultMark", "Flag", "fault_of", "flag_of"]

#: The close code of a gateway that does not let a client in.
POLICY_VIOLATION = 1008


class Flag(msgspec.Struct, frozen=True):
    """A moment that a reader looks for. ``level``: 2 and more are always marked, labels of higher ones go first.

    4 is what came out of it all, 3 a lock that was not to be had.
    """

    at: int
    text: str
    level: int


class FaultMark(msgspec.Struct, frozen=True):
    """The nemesis acts on a lane. ``heals``: it takes a fault back (wakes, restarts)."""

    at: int
    lane: int
    text: str
    heals: bool


def flag_of(at: int, record: Record, owned: Ownership) -> Flag | None:
    data, op, phase = record.data, record.op, record.phase
    match op:
        case "client.result":
            source = "from the fallback" if data.get("transport") == "embedded" else "from the gateway"
            says = f"ANSWER {source}" if data.get("answered") else f"NO ANSWER (exit {data.get('exit_code')})"
            return Flag(at, says, 4)
        case "client.call" if phase == "fail":
            return Flag(at, _refusal(record), 2)
        case "lock" if phase == "fail":
            found = owned.before.get(at, ())
            by = owners_named([hold for hold in found if hold.owner != record.actor] or found)
            if by == record.actor:
                return Flag(at, "waited for ITSELF", 3)
            return Flag(at, f"locked out by {by}" if by else "locked out", 3)
        case "lock" if phase == "ok":
            return Flag(at, "takes over the lock" if data.get("reclaimed") else "gets the lock", 1)
        case "fallback":
            step = str(data.get("step"))
            return Flag(at, FALLBACK_STEPS.get(step, (step, step))[1], 2)
        case "lock.fence":
            return Flag(at, "cannot fence" if phase == "fail" else f"fence: generation {data.get('generation')}", 2)
        case "append.refused":
            return Flag(at, "write refused", 2)
        case "lock.lost":
            return Flag(at, "lost its lock", 2)
        case "lock.limit":
            return Flag(at, "stopped at its hold limit", 2)
        case "gateway.abort":
            return Flag(at, "run stopped", 2)
        case "gateway.accepted":
            return Flag(at, "accepts the run", 1)
        case "gateway.final":
            return Flag(at, f"final: {data.get('status')}", 1)
        case "turn" if phase == "fail":
            return Flag(at, "turn failed", 1)
        case "model.decision" if data.get("decision") in ("candidate_failed", "skip_candidate"):
            name = str(data.get("candidate")).rpartition("/")[2]
            return Flag(at, f"{name} counted as failed", 1)
        case "tool" if phase == "invoke":
            return Flag(at, f"tool {data.get('name')}", 1)
        case "deliver" if phase in ("ok", "fail"):
            return Flag(at, "result handed in" if phase == "ok" else "RESULT LOST", 1 if phase == "ok" else 4)
        case "read" if phase == "ok":
            count = data.get("entries")
            return Flag(at, f"sees {count} entries" if count else "SEES NOTHING", 1 if count else 4)
        case "clean":
            return Flag(at, "REMOVES the lock file" if data.get("removed") else "leaves the lock file", 2)
        case "database" if phase != "invoke":
            return Flag(at, "holds the database" if phase == "ok" else "gives the database back", 2)
        case "rotate":
            return Flag(at, "conversation moved to a new file", 2)
        case "maintain":
            return Flag(at, f"session list changed {data.get('count')} times", 1)
        case "leftover":
            return Flag(at, f"{data.get('kind')} left behind", 2)
        case "next_turn" if phase == "fail":
            return Flag(at, "next turn fails", 2)
        case "actor.exit" if data.get("code") not in (0, None):
            return Flag(at, f"exit {data.get('code')}", 1)
    return None


def fault_of(at: int, record: Record, lanes: dict[str, int]) -> FaultMark | None:
    if record.op != "nemesis" or record.phase == "invoke":
        return None
    data = record.data
    action = str(data.get("action"))
    target = str(data.get("target") or record.actor)
    operation = str(data.get("at") or "").removeprefix("before ").partition(" ")[0]
    healed = str(data.get("toxic") or data.get("heals") or "").replace("_", " ")
    words = {
        "kill": "killed", "pause": "frozen", "terminate": "asked to end", "resume": "woken", "restart": "restarted",
        "block": "stuck in a busy loop", "fail": f"{operation} fails ({data.get('errno')})",
        "toxic": str(data.get("toxic")), "part": "holds everything back", "heal": f"healed {healed}",
        "cut": "reset", "jump": f"clock jumps by {data.get('by_s')} s",
    }  # fmt: skip
    return FaultMark(
        at, lanes[target], words.get(action, action.replace("_", " ")), action in ("resume", "restart", "heal")
    )


def _refusal(record: Record) -> str:
    """Why a call to the gateway failed, as short as it gets."""
    data = record.data
    error = str(data.get("error") or "")
    if data.get("kind") == "timeout":
        return f"timeout after {data.get('timeout_ms')} ms"
    if "unauthorized" in error or data.get("refused", data.get("code") == POLICY_VIOLATION):
        return "gateway refuses: unauthorized"
    if data.get("kind") == "closed":
        return "connection lost"
    if "sessions.json.lock" in error:
        return "gateway refuses: session list locked"
    return "gateway refuses: session locked" if "session file locked" in error else "gateway refuses"
