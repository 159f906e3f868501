"""The harness: a scenario, real processes, a history, a verdict."""

from lockjaw.harness.run import Reached, Run, run_async, run_policies, run_scenario
from lockjaw.harness.scenario import Scenario, load_scenario

__all__ = ["Reached", "Run", "Scenario", "load_scenario", "run_async", "run_policies", "run_scenario"]
