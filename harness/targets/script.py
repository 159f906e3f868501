"""What the fake models say to a runtime that is not ours. Pure.

A step repeats for every request that fits, so a second run of the question is served like the first; a fake that
counted would hide it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lockjaw.errors import UsageError

from ..incident.actors import Caller
from ..incident.outside import Outside
from ..incident.scenario import Scenario
from .spec import TargetSpec

__all__ = ["FAST", "script_of"]

FAST = "The quick answer."


def script_of(outside: Outside, spec: TargetSpec, scenario: Scenario, work: Path) -> dict[str, Any]:
    """The models' script of a run: the user's question is answered slowly, after a tool if there is to be an effect.

    Raises:
        UsageError: the scenario wants an effect, and the target names no tool.
    """
    mine, other = outside.marker_of(scenario.message), {"text": FAST}
    steps: list[dict[str, Any]] = [other]
    if outside.effect is not None:
        steps.append({**_call(outside, spec, work), "when": {"text": mine, "after_tool": False}})
    steps.append({"text": outside.answer, "first_token_s": outside.answers_s, "when": {"text": mine}})
    others = {} if outside.says is None else {"says": outside.says}
    for name, actor in scenario.cast.items():
        if isinstance(actor, Caller) and actor.message != scenario.message:
            others[name] = actor.message
    for name, message in others.items():
        said = {"text": outside.answer, "first_token_s": outside.other_answers_s}
        steps.append({**said, "when": {"text": outside.marker_of(message, name)}})
    return {"models": {**{model: [other] for model in spec.models}, "*": steps}, "aside": list(spec.models)}


def _call(outside: Outside, spec: TargetSpec, work: Path) -> dict[str, Any]:
    """The model calls the tool that runs a shell command: a line of the ledger is the effect."""
    if spec.tool is None:
        raise UsageError("target", "", "a target with a tool that runs a shell command", spec.name)
    line = f"echo {outside.effect} >> {json.dumps(str(work / outside.ledger))}"
    if outside.effect_s:
        line += f"; sleep {outside.effect_s:g}"
    return {"tool_calls": [{"name": spec.tool.name, "arguments": {**spec.tool.more, spec.tool.argument: line}}]}
