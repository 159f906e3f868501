"""What a replay with real processes would do on this machine, told whole before any of it happens.

The list is read from the scenario's scripts with the runtime's own reader of model replies, recorded bytes included. It
is what a person decides by, and what the tools of the replay are limited to (``lockjaw.runner.approvals``): a call that
this list missed is refused where it would happen, so a wrong list can hide nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockjaw.errors import ModelFailure
from lockjaw.runner.approvals import call_key
from lockjaw.runner.completion import ModelReply, Partial
from lockjaw.runner.sse import EventStream, StreamTooLong

from ...fakes.models.script import Step, load_model_script
from ..incident.scenario import Scenario

__all__ = ["Act", "TooManyActs", "acts_of", "question", "uses_recorded"]

MAX_ACTS = 500  # different ones: nobody reads more, and consent to what nobody reads is none
MAX_CHARS = 100_000  # of all of them together
_BLANKS = re.compile(r" {16,}")


class TooManyActs(ValueError):
    """More tool calls than a person can be asked to read."""


@dataclass(frozen=True)
class Act:
    """One tool call of a script. ``key`` as of ``call_key``; None: its arguments are no JSON object, so no tool runs.

    ``text``: how a person reads it. ``times``: how many steps make it.
    """

    text: str
    key: str | None
    times: int = 1


def acts_of(scenario: Scenario) -> tuple[Act, ...]:
    """Every different tool call that the scenario's models make, in the order of the script.

    Raises:
        DocumentError: the models' script is none.
        TooManyActs: more than ``MAX_ACTS``, or longer than ``MAX_CHARS`` in all.
    """
    found: dict[tuple[str, str | None], int] = {}
    length = 0
    for text, key in _calls(scenario):
        if (text, key) not in found:
            length += len(text)
            if len(found) >= MAX_ACTS or length > MAX_CHARS:
                raise TooManyActs(
                    f"its models make more than {MAX_ACTS} different tool calls, or more than {MAX_CHARS} characters "
                    "of them: too many to read"
                )
        found[text, key] = found.get((text, key), 0) + 1
    return tuple(Act(text, key, times) for (text, key), times in found.items())


def uses_recorded(scenario: Scenario) -> bool:
    """Are there replies as raw bytes, which another program may read otherwise than ours?"""
    return any(step.recorded is not None for step in _steps(scenario))


def question(what: Path, acts: Iterable[Act], target: str = "") -> str:
    """What somebody has to agree to: every act, numbered, in printable ASCII.

    Args:
        what: the kit or run folder.
        target: the program of somebody else that it is replayed against; empty: Lockjaw's own.
    """
    listed = list(acts)
    lines = [f"{_printable(str(what))} was not made on this machine, and its replay starts real processes here."]
    if target:
        lines.append(f"It runs {_printable(target)} as this user, with these replies of a scripted model.")
    if not listed:
        lines.append("Its models call no tool.")
    else:
        total = sum(act.times for act in listed)
        lines.append(
            f"Its models call tools {total} times, {len(listed)} different calls. Each may run on this machine:"
        )
        lines += [f"  {n}. {_shown(act)}" for n, act in enumerate(listed, start=1)]
        lines.append(
            f"{_printable(target)} itself decides what it does with them."
            if target
            else "Lockjaw's tools refuse every call that is not in this list."
        )
    lines.append("Read it. If you trust all of it, add --yes-real.")
    return "\n".join(lines)


def _shown(act: Act) -> str:
    times = f" ({act.times} times)" if act.times > 1 else ""
    broken = " (no JSON object, so no tool runs)" if act.key is None else ""
    return f"{act.text}{times}{broken}"


def _printable(text: str) -> str:
    """ASCII that moves no cursor: no control character, no look-alike letter, no blanks that push the rest away."""
    plain = "".join(char if " " <= char <= "~" else f"\\u{{{ord(char):x}}}" for char in text)
    return _BLANKS.sub(lambda found: f"[{len(found[0])} blanks]", plain)


def _calls(scenario: Scenario) -> Iterator[tuple[str, str | None]]:
    for step in _steps(scenario):
        if step.tool_calls:
            yield from _of_reply([_as_chunk(step)])
        if step.recorded is not None:
            body = "".join(piece.text for piece in step.recorded.pieces)
            yield from _of_reply(_values([body]))  # the runtime reads it as one document,
            yield from _of_reply(_values(_events(body)))  # or as a stream: its headers say which


def _steps(scenario: Scenario) -> Iterator[Step]:
    for steps in load_model_script(scenario.script()).models.values():
        yield from steps


def _as_chunk(step: Step) -> dict[str, Any]:
    calls = [
        {
            "index": n,
            "id": f"call_{n}",
            "function": {
                "name": call.name,
                "arguments": call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments),
            },
        }
        for n, call in enumerate(step.tool_calls)
    ]
    return {"choices": [{"delta": {"tool_calls": calls}}]}


def _events(body: str) -> list[str]:
    events = EventStream()
    try:
        return [*events.feed(body.encode("utf-8", "surrogatepass")), *events.close()]
    except StreamTooLong:
        return []  # the runtime refuses it just so


def _values(texts: Iterable[str]) -> Iterator[object]:
    for text in texts:
        try:
            yield json.loads(text)
        except (ValueError, RecursionError):
            continue


def _of_reply(chunks: Iterable[object]) -> Iterator[tuple[str, str | None]]:
    partial = Partial()
    for chunk in chunks:
        try:
            partial.take(chunk)
        except ModelFailure:
            continue  # ours would stop here; another reader may go on
    partial.finish_reason = None
    reply: ModelReply = partial.finish()
    for part in reply.content:
        if part["type"] != "toolCall":
            continue
        raw = reply.invalid_arguments.get(part["id"])
        key = call_key(part["name"], part["arguments"]) if raw is None else None
        yield f"{_printable(part['name'])} {_printable(json.dumps(part['arguments']) if raw is None else raw)}", key
