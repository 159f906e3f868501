"""Seeds and unknowns, tried in the simulation until the replay's error lines are the report's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from lockjaw.errors import DocumentError, HarnessError
from lockjaw.seeds import Seeds

from ..incident.scenario import Scenario
from ..sim.engine import run_sim
from ..sim.tape import RandomChoices
from .basis import Composition
from .compose import compose
from .fit import Fit, fit
from .nearest import MOST, Near, near_compositions, nearest
from .reader import read_report
from .report import Report
from .similarity import Likeness, likeness

SEEDS = 200
SECONDS = 60.0
_NEAR_SEEDS = 2
#: Runs that bring nothing better before the search ends: what they cannot make, more of them cannot make either.
_PATIENCE = 36
#: The same where the best run has every line and only misses something else that the report says.
_PATIENCE_WHOLE = 12
#: Real seconds in which nothing better was found: somebody waits for the answer.
_IDLE_S = 4.0


@dataclass(frozen=True)
class Trial:
    """One simulated run and how like the report it is."""

    composition: Composition
    values: dict[str, float]
    seed: int
    scenario: Scenario
    likeness: Likeness
    log: str  # which log it was compared with
    fit: Fit

    @property
    def text(self) -> str:
        """The scenario as YAML, with comments."""
        return self.composition.text(self.values)

    @property
    def assumed(self) -> tuple[str, ...]:
        """What the report does not say, in words."""
        return self.composition.assumed(self.values)

    @property
    def rank(self) -> tuple[float, int]:
        """The better trial is the greater."""
        return self.likeness.similarity, self.fit.carried


@dataclass
class Searched:
    """What a search has come to."""

    trials: int = 0
    failed: int = 0  # runs that the simulation could not make
    best: Trial | None = None
    seconds: float = 0.0
    interrupted: bool = False
    why: str = ""  # why nothing was searched
    nearest: tuple[Near, ...] = ()  # scenarios of the catalogue, the likeliest first
    gave_up: bool = False  # many runs brought nothing better
    idle: int = 0  # runs since the best one

    @property
    def similarity(self) -> float:
        return 0.0 if self.best is None else round(self.best.likeness.similarity, 4)

    @property
    def outcome(self) -> str:
        """``reproduced``, ``consistent`` or ``not reproduced``; see ``fit``."""
        return "not reproduced" if self.best is None else self.best.fit.outcome

    @property
    def reproduced(self) -> bool:
        return self.outcome == "reproduced"


Progress = Callable[[Searched], None]


def search(
    report: Report,
    *,
    seeds: int = SEEDS,
    seconds: float = SECONDS,
    policy: str | None = None,
    progress: Progress | None = None,
) -> Searched:
    """Look for a run that tells the report's errors. Ctrl-C ends it early and keeps the best.

    Args:
        seeds: runs at most.
        seconds: real seconds at most.
        policy: a behaviour in place of the one that the report speaks for.
    """
    found = Searched(nearest=tuple(nearest(report)[:MOST]))
    began = better = time.monotonic()
    since_better = 0
    if report.not_ours is not None:
        found.why = report.not_ours.why
        return found
    if not report.errors:
        found.why = "the text holds no error line that a replay could be compared with"
        return found
    try:
        for composition, values, seed in _plan(report, found, policy, seeds):
            if found.trials >= seeds or time.monotonic() - began > seconds:
                break
            whole = found.best is not None and found.best.likeness.whole
            idle_s = time.monotonic() - better
            if since_better >= (_PATIENCE_WHOLE if whole else _PATIENCE) or (since_better and idle_s > _IDLE_S):
                found.gave_up = True
                break
            since_better += 1
            trial = _try(report, composition, values, seed)
            found.trials += 1
            found.seconds = time.monotonic() - began
            if trial is None:
                found.failed += 1
            elif found.best is None or trial.rank > found.best.rank:
                found.best, since_better = trial, 0
                better = time.monotonic()
            found.idle = since_better
            if progress is not None:
                progress(found)
            if found.best is not None and found.best.fit.hopeless:
                break  # every line is there, and what is left open no other replay can have either
    except KeyboardInterrupt:
        found.interrupted = True
    found.seconds = time.monotonic() - began
    if found.best is not None and not found.similarity:
        found.why = "nothing of ours prints such lines: " + "; ".join(report.errors[:3])
        found.best = None
    if found.best is None and not found.why:
        found.why = (
            "interrupted before the first run" if found.interrupted
            else _no_scenario(report) if not found.trials
            else "no run came to an end"
        )  # fmt: skip
    return found


def _no_scenario(report: Report) -> str:
    if report.not_ours is not None:
        return report.not_ours.why
    letters = report.classes or report.possible
    whose = f"class {', '.join(letters)}" if letters else "such errors"
    return f"no shape and no scenario of the catalogue makes {whose}"


def _plan(
    report: Report, found: Searched, policy: str | None, seeds: int
) -> Iterator[tuple[Composition, dict[str, float], int]]:
    """The runs in the order in which they are worth trying: the report's own scenario, the catalogue's, more seeds."""
    composed = compose(report)
    if composed is not None:
        composed = _under(composed, policy)
        yield from ((composed, values, 1) for values in composed.choices())
    for near in near_compositions(report):
        near = _under(near, policy)
        yield from ((near, values, seed) for values in near.choices() for seed in range(1, _NEAR_SEEDS + 1))
    seed = _NEAR_SEEDS
    while found.best is not None and found.similarity and seed < seeds:
        seed += 1
        best = found.best
        for values in _around(best):
            yield best.composition, values, seed


def _around(best: Trial) -> list[dict[str, float]]:
    """The best choice so far, and those that differ from it in one unknown."""
    choices = [best.values]
    for variable in best.composition.variables:
        choices += [
            best.values | {variable.name: value} for value in variable.values if value != best.values[variable.name]
        ]
    return choices[:6]


def _under(composition: Composition, policy: str | None) -> Composition:
    if policy is None or policy == composition.policy:
        return composition
    return replace(composition, policy=policy)


def _try(report: Report, composition: Composition, values: dict[str, float], seed: int) -> Trial | None:
    try:
        scenario = composition.scenario(values)
        lived = run_sim(scenario, policy=composition.policy, seed=seed, choices=RandomChoices(Seeds(seed)))
    except (HarnessError, DocumentError):
        return None
    like, log, replay = compared(report.errors, lived.logs)
    return Trial(composition, values, seed, scenario, like, log, fit(report, composition, scenario, like, replay))


def compared(errors: Sequence[str], logs: dict[str, list[str]]) -> tuple[Likeness, str, Report]:
    """A replay's logs against a report's errors: the client's, the gateway's, or both, whichever is most like it.

    Returns:
        how like it is, which log that is, and that log as it is read.
    """
    client, gateway = logs.get("client", []), logs.get("gateway", [])
    others = [line for name, lines in sorted(logs.items()) if name not in ("client", "gateway") for line in lines]
    texts = {
        "client": client,
        "gateway": gateway,
        "gateway and client": [*gateway, *client],
        "all": [*gateway, *client, *others],
    }
    best: tuple[Likeness, str, Report] | None = None
    for name, lines in texts.items():
        replay = read_log(lines)
        like = likeness(errors, replay.errors)
        if best is None or like.similarity > best[0].similarity:
            best = like, name, replay
    assert best is not None
    return best


def read_log(lines: Sequence[str]) -> Report:
    """A replay's log as a report is read."""
    # A blank line between any two: nobody has wrapped these.
    return read_report("\n\n".join(lines))
