"""A scripted actor as a process: ``python -P -m lockjaw.harness.real.scripted PLAN READY_FD GO_FD``.

Everything is loaded before it says that it is ready; it begins at its go. SIGTERM gives back what it holds.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.clock import ScaledClock
from lockjaw.process import ids_from_environment, perform_at_go, recorder_from_environment, watch_lifeline
from lockjaw.runner.machine import THIS_MACHINE
from lockjaw.sessions import SessionPaths
from lockjaw.visible import tell

from ..incident.actors import Scripted
from ..play.performer import Performer
from .ambush import Struck, install


class ActorPlan(msgspec.Struct, frozen=True):
    """What the process is told. ``struck``: what strikes it at its own operations."""

    name: str
    policy: str
    state_dir: str
    sessions: str
    actor: Scripted
    struck: Struck


def main() -> int:
    plan_file, ready_fd, go_fd = sys.argv[1:]
    plan = msgspec.json.decode(Path(plan_file).read_bytes(), type=ActorPlan)
    install(plan.struck)
    watch_lifeline(os.environ)  # a thread: it must find the signals blocked that ``install`` blocks
    clock = ScaledClock.from_environment()
    performer = Performer(
        plan.name, plan.actor, paths=SessionPaths(Path(plan.state_dir), f".{plan.sessions}"),
        behaviour=BEHAVIOURS[plan.policy], clock=clock, recorder=recorder_from_environment(os.environ, clock),
        machine=THIS_MACHINE, ids=ids_from_environment(os.environ, plan.name), touch=os.utime, say=tell,
    )  # fmt: skip

    return perform_at_go(performer.run, int(ready_fd), int(go_fd))


if __name__ == "__main__":
    sys.exit(main())
