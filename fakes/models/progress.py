"""Where a script of the fake model server stands: the step that comes next, what was used, what is missing. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .script import ANY_MODEL, ModelScript, Step
from .wires.surface import ChatRequest

__all__ = ["NO_REQUEST", "NoStepFits", "ScriptProgress"]


class NoStepFits(KeyError):
    """The model has steps, and each of them has a ``when`` that the request does not fit."""


@dataclass
class _Place:
    """How far one model is: requests seen, and the use of each step. ``sequence``: indices of the steps without
    ``when``; ``at``: which of them is next."""

    steps: tuple[Step, ...]
    sequence: tuple[int, ...]
    conditional: tuple[int, ...]
    used: list[int]
    number: int = 0
    at: int = 0

    @classmethod
    def of(cls, steps: tuple[Step, ...]) -> _Place:
        plain = tuple(index for index, step in enumerate(steps) if step.when is None)
        conditional = tuple(index for index, step in enumerate(steps) if step.when is not None)
        return cls(steps, plain, conditional, [0] * len(steps))

    def next(self) -> int:
        """Index of the step whose turn it is; the last of the sequence repeats."""
        if not self.sequence:
            raise NoStepFits
        index = self.sequence[self.at]
        if self.used[index] >= (self.steps[index].times or 1) and self.at + 1 < len(self.sequence):
            self.at += 1
            index = self.sequence[self.at]
        return index


NO_REQUEST = ChatRequest("", False, False, 0, (), 0)


class ScriptProgress:
    """Where each model of a script stands. Models do not share counters: one model's requests never move another."""

    def __init__(self, script: ModelScript) -> None:
        self.script = script
        self._places: dict[str, _Place] = {}

    def take(
        self, model: str, request: ChatRequest = NO_REQUEST, header: Callable[[str], str] = lambda name: ""
    ) -> tuple[Step, int]:
        """The step for the model's next request, and the request's number for this model (from 1).

        The first step whose ``when`` fits the request, and is not used up, goes before the sequence.

        Raises:
            KeyError: the script does not know the model; NoStepFits: it has no step for this request.
        """
        place = self._places.get(model)
        if place is None:
            models = self.script.models
            place = self._places[model] = _Place.of(models[model] if model in models else models[ANY_MODEL])
        place.number += 1
        index = -1
        for other in place.conditional:
            step = place.steps[other]
            assert step.when is not None
            spent = step.times is not None and place.used[other] >= step.times
            if not spent and step.when.fits(place.number, request, header):
                index = other
                break
        if index < 0:
            index = place.next()
        place.used[index] += 1
        return place.steps[index], place.number

    def requests(self) -> dict[str, int]:
        """How many requests steps have answered, per model."""
        return {model: place.number for model, place in self._places.items()}

    def unused(self) -> list[str]:
        """One sentence for each step that was not used as often as the script says."""
        problems = []
        for model, steps in self.script.models.items():
            used = [0] * len(steps)
            for place in self._places.values():
                if place.steps is steps:
                    used = [before + more for before, more in zip(used, place.used, strict=True)]
            for index, step in enumerate(steps):
                wanted = step.times or 1
                if used[index] < wanted:
                    problems.append(f"models.{model}[{index}] was used {used[index]} of {wanted} times")
        return problems

    def unmet(self) -> list[str]:
        """One sentence for each expectation of the script that did not come true."""
        expect = self.script.expect
        if expect is None:
            return []
        seen = self.requests()
        problems = []
        if expect.requests is not None and sum(seen.values()) != expect.requests:
            problems.append(f"expect.requests: {sum(seen.values())} requests were answered, not {expect.requests}")
        for model, wanted in expect.models.items():
            if seen.get(model, 0) != wanted:
                problems.append(f"expect.models.{model}: {seen.get(model, 0)} requests were answered, not {wanted}")
        return problems + (self.unused() if expect.every_step else [])
