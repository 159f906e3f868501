"""Other people's runtimes, installed and run: ``tox -e targets``. Each test says what is missing here, if something is.

What a race decides is asked of the majority of three runs; nothing may leave loopback in any of them.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from lockjaw.errors import HarnessError, UsageError
from lockjaw.harness.incident.scenario import load_scenario
from lockjaw.harness.judge.shares import Repeats, repeated, shares
from lockjaw.harness.run import Run
from lockjaw.harness.targets.campaign import play_on
from lockjaw.harness.targets.installing import find_installed, install, missing_needs, python_of
from lockjaw.harness.targets.registry import Choice, choose, opened
from lockjaw.harness.targets.store import Store, default_root

from ..loopback import Network

SWITCH, CACHE = "LOCKJAW_TARGETS", "LOCKJAW_TARGETS_CACHE"
ROOT = Path(os.environ.get(CACHE) or default_root())
FALLBACK = "fallback_meets_active_writer"

pytestmark = [
    pytest.mark.skipif(SWITCH not in os.environ, reason=f"runs other people's programs: tox -e targets, or {SWITCH}=1"),
    pytest.mark.usefixtures("namespaces"),
    pytest.mark.timeout(1500),
]


def there(choice: Choice) -> Choice:
    """The target, installed; skips with what is missing."""
    if missing := missing_needs(choice.spec):
        pytest.skip(f"{choice.name} needs {' and '.join(missing)}, not on PATH")
    store = Store(ROOT, print)
    if find_installed(choice.spec, choice.version, store) is None:
        if choice.spec.install.npm and shutil.which("npm") is None:
            pytest.skip(f"{choice.name} is not in {ROOT}, and there is no npm to install it")
        try:
            if choice.spec.install.pip:
                python_of(choice.spec.install.python)
            install(choice.spec, choice.version, store, lambda question: True)
        except HarnessError as error:
            pytest.skip(f"{choice.name} cannot be installed here: {str(error).splitlines()[0]}")
    return choice


def three(name: str, scenario: str, out: Path, most: int = 3) -> list[Run]:
    """Runs of a target in a scenario, each of whose programs saw nothing but loopback."""
    runs = []
    with opened(there(choose(name)), ask=lambda question: False, say=print, cache=ROOT) as target:

        def one() -> list[Run]:
            network = Network()
            made = play_on(target, load_scenario(scenario), out=out, progress=network)
            assert set(network.sent) == {"lo"}
            assert network.strangers == set()
            return [made]

        try:
            runs = repeated(one, Repeats(most))
        except UsageError as error:
            pytest.skip(f"{name}: {error}")
    return runs


def often(runs: list[Run]) -> set[str]:
    """The laws that broke in more than half of the runs that decided them."""
    laws = [check.name for check in runs[0].checks]
    return {share.law for share in shares(runs, laws) if 2 * share.broken > share.runs}


def refused_s(runs: list[Run]) -> float:
    waits = [r.data["waited_s"] for run in runs for r in run.history if r.op == "lock" and r.phase == "fail"]
    return float(sorted(waits)[len(waits) // 2])


def test_codex_answers_nobody_when_its_server_owns_the_conversation(tmp_path: Path) -> None:
    runs = three("codex@0.171.0", FALLBACK, tmp_path)
    assert often(runs) == {"never_session_locked", "answered"}
    assert refused_s(runs) < 3.0
    for run in runs:
        owner = next(r for r in run.history if r.op == "lock" and r.phase == "ok" and r.actor == "gateway")
        pids = {r.data["actor"]: r.data["pid"] for r in run.history if r.op == "actor.ready"}
        assert owner.data["owner"] == f"pid-{pids['gateway']}"  # from /proc/locks
        assert "already has an active writer" in str(run.outcome.error)


@pytest.mark.parametrize(
    ("version", "broken", "waits"),
    [
        ("0.140.0", {"executed_once", "one_writer", "transcript_whole"}, False),
        ("0.150.0", {"never_session_locked", "answered"}, True),
        ("0.169.0", {"never_session_locked", "answered"}, False),
    ],
)
def test_codex_of_three_ages(version: str, broken: set[str], waits: bool, tmp_path: Path) -> None:
    runs = three(f"codex@{version}", FALLBACK, tmp_path, most=1)
    assert broken <= often(runs)
    if "never_session_locked" in broken:
        assert (refused_s(runs) > 4.5) is waits


@pytest.mark.parametrize("name", ["hermes@0.19.0", "opencode@1.18.33", "nanobot@0.3.5"])
def test_a_client_that_asks_again_has_the_tool_run_twice(name: str, tmp_path: Path) -> None:
    assert "executed_once" in often(three(name, "client_gives_up_server_goes_on", tmp_path))


def test_nanobot_has_two_writers_and_the_turn_that_its_command_line_answered_vanishes(tmp_path: Path) -> None:
    assert often(three("nanobot@0.3.5", "two_clients_one_session", tmp_path)) == {"one_writer", "transcript_whole"}


def test_nanobot_recovers_from_a_kill(tmp_path: Path) -> None:
    assert often(three("nanobot@0.3.5", "server_killed_mid_turn", tmp_path, most=1)) == set()


def test_openhands_keeps_one_writer_by_generations(tmp_path: Path) -> None:
    [run] = three("openhands@1.58.2", "server_frozen_mid_turn", tmp_path, most=1)
    assert str(run.check("one_writer").verdict) == "HELD", run.check("one_writer").finding
    grants = [(r.actor, r.data["generation"]) for r in run.history if r.op == "lock" and r.phase == "ok"]
    assert [actor for actor, _ in grants][:2] == ["gateway", "client"]
    assert grants[0][1] < grants[1][1]
