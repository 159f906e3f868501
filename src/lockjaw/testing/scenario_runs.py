"""The ``lockjaw_run`` fixture and the ``lockjaw`` marker: scenarios run inside a test, their findings its failure."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import pytest

from lockjaw.errors import HarnessError, LocalError, UsageError
from lockjaw.harness.incident.scenario import Scenario, load_scenario
from lockjaw.harness.run import DEFAULT_POLICY, ENGINES, Run, Simulate, check_order, run_scenario
from lockjaw.reports import text
from lockjaw.reports.view import mark, run_view
from lockjaw.verdict import Verdict


class ScenarioFailed(AssertionError):
    """A run is not what its test demands. Fields: ``run``, ``proves_nothing`` (its verdict is UNKNOWN)."""

    def __init__(self, run: Run, sentences: str = "") -> None:
        self.run = run
        super().__init__(sentences or findings(run))

    @property
    def proves_nothing(self) -> bool:
        return self.run.verdict is Verdict.UNKNOWN


@dataclass(frozen=True)
class Order:
    """What ``@pytest.mark.lockjaw(...)`` asks for."""

    scenario: str | Path | Scenario
    policy: str = DEFAULT_POLICY
    engine: str | None = None
    seed: int = 1
    time_scale: float | None = None
    breaks: tuple[str, ...] | None = None

    @classmethod
    def of(cls, args: Sequence[Any], kwargs: dict[str, Any]) -> Order:
        """Raises LocalError if the marker was not written as it must be."""
        allowed = [name for name in cls.__dataclass_fields__ if name != "scenario"]
        unknown = kwargs.keys() - set(cls.__dataclass_fields__)
        if unknown or len(args) > 1 or ("scenario" in kwargs) == bool(args):
            said = ", ".join([*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())])
            raise LocalError(
                f"@pytest.mark.lockjaw({said}): expected one scenario, then any of {', '.join(allowed)} by name"
            )
        order = cls(*args, **kwargs)
        for name, kinds, expected in _KINDS:
            value = getattr(order, name)
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise LocalError(f"@pytest.mark.lockjaw({name}={value!r}): expected {expected}")
        return order if order.breaks is None else replace(order, breaks=tuple(order.breaks))

    def check(self, folder: Path, engine: str | None) -> None:
        """Raises LocalError if no such run can be made or judged: pytest asks before any test runs.

        Args:
            folder: where the test file is.
            engine: the command line's choice.
        """
        scenario = loaded_for(self.scenario, folder)
        check_order(
            scenario, policy=self.policy, engine=choose_engine(self.engine, engine), seed=self.seed,
            time_scale=self.time_scale,
        )  # fmt: skip
        if self.breaks is None:
            return
        laws = ", ".join(scenario.checks)
        if not self.breaks:
            raise UsageError("breaks", "", f"laws of {scenario.name} ({laws}); without breaks, none may be broken", [])
        for law in self.breaks:
            if law not in scenario.checks:
                raise UsageError("breaks", "", f"laws that {scenario.name} checks: {laws}", law)


_KINDS: tuple[tuple[str, Any, str], ...] = (
    ("scenario", (str, Path, Scenario), "a name, the path of a file, or a Scenario"),
    ("policy", str, "the name of a policy, such as 'takeover'"),
    ("engine", (str, type(None)), "'sim' or 'real'"),
    ("seed", int, "a whole number"),
    ("time_scale", (int, float, type(None)), "a number above 0 and at most 1"),
    ("breaks", (list, tuple, type(None)), "a list of laws, such as ['answered']"),
)


def choose_engine(asked: str | None, option: str | None) -> str:
    """The command line's engine, else the test's, else the simulation where there is one."""
    return option or asked or ("sim" if "sim" in ENGINES else "real")


def check_engine(option: str) -> None:
    """Raises LocalError naming the engines that exist."""
    if option not in ENGINES:
        raise LocalError(f"--lockjaw-engine: expected one of {', '.join(ENGINES)}, got {option!r}")


def end_on_signals(config: pytest.Config) -> None:
    """From the first scenario on, Ctrl-C and SIGTERM end the session with 130 or 143, also between two runs.

    Workers of pytest-xdist keep what they have: their controller ends them.
    """
    ours = (signal.SIGINT, signal.SIGTERM)
    if hasattr(config, "workerinput") or threading.current_thread() is not threading.main_thread():
        return
    if all(signal.getsignal(number) is _on_signal for number in ours):
        return
    before = {number: signal.signal(number, _on_signal) for number in ours}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    config.add_cleanup(restore)


def _on_signal(number: int, frame: FrameType | None) -> NoReturn:
    _end_session(signal.Signals(number))


def _end_session(number: signal.Signals) -> NoReturn:
    pytest.exit(f"{number.name}; finished runs of scenarios keep their folders", 128 + number)


class ScenarioRuns:
    """Call it to run a scenario. ``runs``: everything that this test has run, the marker's run first.

    Args:
        out: where run folders go.
        engine: the command line's choice, which beats the test's.
        folder: where the test file is; relative paths of scenarios start there.
        seed: for calls that name none.
        simulate: makes simulated runs elsewhere; None: here.
    """

    def __init__(
        self, *, out: Path, engine: str | None, folder: Path, seed: int = 1, simulate: Simulate | None = None
    ) -> None:
        self._simulate = simulate
        self._out, self._engine, self._folder, self._seed = out, engine, folder, seed
        self.runs: list[Run] = []
        self._error: Exception | None = None  # of the last call that made no run

    def __call__(
        self,
        scenario: str | Path | Scenario,
        *,
        policy: str = DEFAULT_POLICY,
        engine: str | None = None,
        seed: int | None = None,
        time_scale: float | None = None,
        must_hold: bool = False,
    ) -> Run:
        """Run once and return the run, whatever its verdict.

        Args:
            must_hold: raise ScenarioFailed unless the verdict is HELD.

        Raises:
            LocalError: unknown scenario, policy or engine; or called where an event loop runs.
            HarnessError: the harness or the machine failed.
            pytest.exit.Exception: Ctrl-C or SIGTERM; the session ends with status 130 or 143.
        """
        __tracebackhide__ = True  # a failure shows the line of the test that called
        try:
            run = run_scenario(
                self._located(scenario), policy=policy, engine=choose_engine(engine, self._engine),
                seed=self._seed if seed is None else seed, time_scale=time_scale, out=self._out,
                simulate=self._simulate,
            )  # fmt: skip
        except (LocalError, HarnessError) as error:
            self._error = error
            raise
        except KeyboardInterrupt:
            _end_session(signal.SIGINT)
        except SystemExit as stopped:
            if stopped.code != 128 + signal.SIGTERM:
                raise
            _end_session(signal.SIGTERM)
        self.runs.append(run)
        if must_hold and run.verdict is not Verdict.HELD:
            raise ScenarioFailed(run)
        return run

    def perform(self, order: Order, seed: int) -> None:
        """Run what a marker orders. Raises ScenarioFailed unless it is HELD, or breaks exactly the laws named."""
        run = self(
            order.scenario, policy=order.policy, engine=order.engine, seed=seed, time_scale=order.time_scale,
            must_hold=order.breaks is None,
        )  # fmt: skip
        if order.breaks is not None and (sentences := otherwise_broken(run, order.breaks)):
            raise ScenarioFailed(run, sentences)

    def refused(self, error: BaseException) -> bool:
        """A call was written wrongly, or its run could not be made: the error says nothing about any law."""
        misspelt = isinstance(error, TypeError) and str(error).startswith(f"{type(self).__name__}.__call__()")
        return misspelt or error is self._error

    def section(self) -> str:
        """What a failed test shows: the timeline of every run that is not HELD. The last line repeats one of them."""
        bad = [run for run in self.runs if run.verdict is not Verdict.HELD]
        if bad:
            return text.render(bad, whole=False).rstrip("\n")
        return "\n".join(f"{_title(run)} HELD; to repeat it:\n{run.replay}" for run in self.runs)

    def _located(self, scenario: str | Path | Scenario) -> str | Path | Scenario:
        return _located(scenario, self._folder)


def _located(scenario: str | Path | Scenario, folder: Path) -> str | Path | Scenario:
    if isinstance(scenario, Scenario) or not (isinstance(scenario, Path) or "/" in scenario or "." in scenario):
        return scenario
    return folder / scenario  # an absolute path stays as it is


def loaded_for(scenario: str | Path | Scenario, folder: Path) -> Scenario:
    """The scenario that a test in this folder names. Raises LocalError."""
    located = _located(scenario, folder)
    return located if isinstance(located, Scenario) else load_scenario(located)


def findings(run: Run) -> str:
    """The verdict, what the user got, and what is wrong, a line each."""
    view = run_view(run)
    lines = [f"{_title(run)}: {run.verdict}", f"  {view.headline}"]
    lines += [f"  {mark(c.verdict)} {c.name}: {c.finding}" for c in view.checks if c.verdict is run.verdict]
    return "\n".join(lines)


def otherwise_broken(run: Run, named: Sequence[str]) -> str:
    """How a run differs from a known bug that breaks exactly these laws, a line each; empty: it does not differ."""
    if run.verdict is Verdict.UNKNOWN:
        return f"{findings(run)}\n  UNKNOWN does not prove that the laws in breaks are still broken: {', '.join(named)}"
    fewer = [check for check in run.checks if check.name in named and check.verdict is not Verdict.VIOLATED]
    more = [check for check in run.checks if check.name not in named and check.verdict is Verdict.VIOLATED]
    if not fewer and not more:
        return ""
    lines = [f"{_title(run)}: {run.verdict}, but not as breaks={list(named)!r} says"]
    lines += [f"  {mark(c.verdict)} {c.name}, which breaks names: {c.finding}" for c in fewer]
    lines += [f"  {mark(c.verdict)} {c.name}, which breaks does not name: {c.finding}" for c in more]
    if run.verdict is Verdict.HELD:
        lines.append("  The bug is gone? Remove breaks: from then on the test demands HELD.")
    return "\n".join(lines)


def _title(run: Run) -> str:
    return f"lockjaw scenario {run.scenario}, policy {run.policy} ({run.engine}, seed {run.seed})"
