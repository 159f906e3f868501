"""The three eras of the real program, and ours against two of them: verdicts and fidelity."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from lockjaw.harness.incident.scenario import load_scenario
from lockjaw.harness.run import Run, run_policies
from lockjaw.harness.targets.openclaw import fidelity
from lockjaw.harness.targets.openclaw.cache import Installed
from lockjaw.harness.targets.openclaw.campaign import Options, run_version
from lockjaw.harness.targets.openclaw.versions import Version, traits_of
from lockjaw.verdict import Verdict

pytestmark = [pytest.mark.openclaw, pytest.mark.timeout(1200)]

Get = Callable[[str], Installed]


def run(
    version: str, scenario: str, out: Path, cache_root: Path, policy: str | None = None, timeout_s: float | None = None
) -> Run:
    options = Options(cache=cache_root, client_policy=policy, out=out, timeout_s=timeout_s)
    return run_version(load_scenario(scenario), Version(version), options, print)


def violated(run: Run) -> set[str]:
    return {check.name for check in run.checks if check.verdict is Verdict.VIOLATED}


# The gateway of 2026.4.8 lets go of its lock between two models. With 60 s for a model the fallback's third wait ends
# within a second of that moment, and who needs longer to get to work, gateway or client, decides what happens. With
# 90 s there is half a minute on either side: the same incident, on a machine that also does something else.
@pytest.mark.parametrize(
    ("version", "scenario", "timeout_s", "broken", "locked"),
    [
        ("2026.4.8", "gateway_timeout", 90, {"never_session_locked", "lock_is_not_a_model_failure", "answered"}, 3),
        ("2026.5.7", "gateway_timeout_fast_backup", 60, {"executed_once", "same_conversation"}, 0),
        ("2026.9.6", "gateway_timeout_fast_backup", 60, {"answered"}, 0),
    ],
)
def test_real_program_breaks_what_its_model_breaks(
    version: str, scenario: str, timeout_s: float, broken: set[str], locked: int, tmp_path: Path, cache_root: Path,
    installed: Get,
) -> None:  # fmt: skip
    installed(version)
    real = run(version, scenario, tmp_path, cache_root, timeout_s=timeout_s)
    assert violated(real) == broken
    assert real.outcome.session_locked_errors == locked
    assert real.document()["target"] == f"openclaw@{version}"
    modelled = msgspec.structs.replace(load_scenario(scenario), timeout_s=timeout_s)
    model = run_policies(modelled, [traits_of(Version(version)).policy], engine="sim", out=tmp_path)[0]
    table = fidelity.compare(real.target, real.history, model.policy, model.history)
    assert not table.unexplained, table.markdown()


def test_our_client_takes_over_from_a_gateway_that_can_stop(tmp_path: Path, cache_root: Path, installed: Get) -> None:
    installed("2026.5.7")
    ours = run("2026.5.7", "gateway_timeout_fast_backup", tmp_path, cache_root, "takeover")
    assert ours.verdict is Verdict.HELD, violated(ours)
    assert ours.outcome.reply == "Done: the long task is finished."
    assert not ours.outcome.duplicate_possible
    assert ours.outcome.sessions == 1


def test_our_client_answers_visibly_degraded_where_the_gateway_cannot_stop(
    tmp_path: Path, cache_root: Path, installed: Get
) -> None:
    installed("2026.4.8")
    ours = run("2026.4.8", "gateway_timeout", tmp_path, cache_root, "takeover")
    assert ours.outcome.answered
    assert ours.outcome.duplicate_possible
    assert (ours.outcome.exit_code, ours.outcome.session_locked_errors) == (5, 0)
    # The other run cannot be stopped, so the turn does run twice, in two conversations, and nobody hides it.
    assert violated(ours) == {"executed_once", "same_conversation"}
    assert ours.check("degradation_visible").verdict is Verdict.HELD
