"""The three eras of the real program, and ours against two of them: verdicts, fidelity, and an empty socket table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lockjaw.harness.openclaw import fidelity
from lockjaw.harness.openclaw.cache import Installed
from lockjaw.harness.openclaw.campaign import Options, run_version
from lockjaw.harness.openclaw.versions import Version, traits_of
from lockjaw.harness.run import Run, run_policies
from lockjaw.harness.scenario import load_scenario
from lockjaw.history import Record
from lockjaw.verdict import Verdict

pytestmark = [pytest.mark.openclaw, pytest.mark.timeout(1200)]

Get = Callable[[str], Installed]


class Sockets:
    """Looks at the network of gateway and client while a run goes on: interfaces, and who is connected to whom."""

    def __init__(self) -> None:
        self.looks = 0
        self.interfaces: set[str] = set()
        self.peers: set[str] = set()
        self._pids: set[int] = set()

    def __call__(self, policy: str, record: Record) -> None:
        if record.op == "actor.ready":
            self._pids.add(int(record.data["pid"]))
        for pid in self._pids:
            try:
                self._look(Path("/proc", str(pid), "net"))
            except OSError:
                continue  # it has ended

    def _look(self, net: Path) -> None:
        lines = (net / "dev").read_text().splitlines()[2:]
        self.interfaces |= {line.partition(":")[0].strip() for line in lines}
        for table in ("tcp", "tcp6", "udp", "udp6"):
            self.peers |= {line.split()[2].partition(":")[0] for line in (net / table).read_text().splitlines()[1:]}
        self.looks += 1

    @property
    def strangers(self) -> set[str]:
        """Remote addresses that are neither "none yet" nor loopback."""
        loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
        return {peer for peer in self.peers if peer.strip("0")} - loopback


def run(version: str, scenario: str, out: Path, cache_root: Path, policy: str | None = None) -> tuple[Run, Sockets]:
    sockets = Sockets()
    options = Options(cache=cache_root, client_policy=policy, out=out)
    return run_version(load_scenario(scenario), Version(version), options, print, sockets), sockets


def violated(run: Run) -> set[str]:
    return {check.name for check in run.checks if check.verdict is Verdict.VIOLATED}


@pytest.mark.parametrize(
    ("version", "scenario", "broken", "locked"),
    [
        ("2026.4.8", "gateway_timeout", {"never_session_locked", "lock_is_not_a_model_failure", "answered"}, 3),
        ("2026.5.7", "gateway_timeout_fast_backup", {"executed_once", "same_conversation"}, 0),
        ("2026.9.6", "gateway_timeout_fast_backup", {"answered"}, 0),
    ],
)
def test_real_program_breaks_what_its_model_breaks(
    version: str, scenario: str, broken: set[str], locked: int, tmp_path: Path, cache_root: Path, installed: Get
) -> None:
    installed(version)
    real, sockets = run(version, scenario, tmp_path, cache_root)
    assert violated(real) == broken
    assert real.outcome.session_locked_errors == locked
    assert real.document()["target"] == f"openclaw@{version}"
    assert (sockets.interfaces, sockets.strangers) == ({"lo"}, set())
    assert sockets.looks > 10
    model = run_policies(scenario, [traits_of(Version(version)).policy], engine="sim", out=tmp_path)[0]
    table = fidelity.compare(real.target, real.history, model.policy, model.history)
    assert not table.unexplained, table.markdown()


def test_our_client_takes_over_from_a_gateway_that_can_stop(tmp_path: Path, cache_root: Path, installed: Get) -> None:
    installed("2026.5.7")
    ours, _ = run("2026.5.7", "gateway_timeout_fast_backup", tmp_path, cache_root, "takeover")
    assert ours.verdict is Verdict.HELD, violated(ours)
    assert ours.outcome.reply == "Done: the long task is finished."
    assert not ours.outcome.duplicate_possible
    assert ours.outcome.sessions == 1


def test_our_client_answers_visibly_degraded_where_the_gateway_cannot_stop(
    tmp_path: Path, cache_root: Path, installed: Get
) -> None:
    installed("2026.4.8")
    ours, _ = run("2026.4.8", "gateway_timeout", tmp_path, cache_root, "takeover")
    assert ours.outcome.answered
    assert ours.outcome.duplicate_possible
    assert (ours.outcome.exit_code, ours.outcome.session_locked_errors) == (5, 0)
    # The other run cannot be stopped, so the turn does run twice, in two conversations, and nobody hides it.
    assert violated(ours) == {"executed_once", "same_conversation"}
    assert ours.check("degradation_visible").verdict is Verdict.HELD
