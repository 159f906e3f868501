"""What others made starts a process here only after this user has seen what it does, and agreed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lockjaw.errors import LocalError
from lockjaw.harness.incident.scenario import Scenario, builtin_names, is_builtin, load_scenario
from lockjaw.harness.kit.consent import TooManyActs, acts_of, question, uses_recorded
from lockjaw.harness.kit.origin import came_in
from lockjaw.harness.run import BUILTIN

__all__ = ["approved_calls", "refuse_sent", "scenarios_to_start"]


def approved_calls(
    what: Path, scenario: Scenario, *, target: str, stranger: bool, yes_real: bool
) -> frozenset[str] | None:
    """The tool calls that a replay with real processes may perform; None: whatever its models ask for.

    Only a scenario of this installation, against our own programs, is not limited.

    Args:
        what: the kit or run folder.
        target: the program that it is replayed against; ``builtin``: ours.
        stranger: it was not made by this user on this machine.
        yes_real: this user has agreed.

    Raises:
        LocalError: the user has not agreed yet (names every act, and the flag), or there is no terminal to ask at.
    """
    if is_builtin(scenario) and target == BUILTIN:
        return None
    try:
        acts = acts_of(scenario)
    except TooManyActs as error:
        raise LocalError(f"{what}: {error}") from error
    if stranger and target != BUILTIN and uses_recorded(scenario):
        raise LocalError(
            f"{what}: its models answer with recorded bytes, and another program may read tool calls in them that "
            f"Lockjaw does not list. It is not replayed against {target}."
        )
    if stranger and not yes_real:
        raise LocalError(question(what, acts, "" if target == BUILTIN else target))
    return frozenset(act.key for act in acts if act.key is not None)


def scenarios_to_start(names: Sequence[str]) -> list[Scenario]:
    """The scenarios of these names or files, which will start real processes. Raises LocalError as ``refuse_sent``."""
    refuse_sent(names)
    return [load_scenario(name) for name in names]


def refuse_sent(names: Sequence[str]) -> None:
    """A scenario file that lies where it was unpacked starts no process: its kit or run folder is replayed, and asks.

    Raises:
        LocalError: names the file, and what to do instead.
    """
    for name in names:
        if name in builtin_names() or not Path(name).is_file():  # a name of ours, or nothing, wherever we stand
            continue
        if place := came_in(Path(name)):
            raise LocalError(
                f"{name!r} lies in a {place} that was not made on this machine, so it starts no real process. "
                f"`lockjaw replay` of the {place} shows what it would do and asks; --engine sim does none of it. "
                "Once you have read the file and trust it, copy it somewhere else and run the copy."
            )
