"""Nothing leaves loopback: the network of the real gateway and its command line, looked at from outside in a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from lockjaw.harness.incident.scenario import load_scenario
from lockjaw.harness.targets.openclaw.cache import Installed
from lockjaw.harness.targets.openclaw.campaign import Options, run_version
from lockjaw.harness.targets.openclaw.versions import Version

from ..loopback import LOOPBACK, Network


@pytest.mark.openclaw
@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", ["2026.4.8", "2026.5.7", "2026.9.6"])
def test_nothing_leaves_loopback(
    version: str, tmp_path: Path, cache_root: Path, installed: Callable[[str], Installed]
) -> None:
    installed(version)
    base = load_scenario("gateway_timeout")
    models = {"deepseek-v3": [{"first_token_s": 3.0, "text": "Done."}]}
    quick = msgspec.structs.replace(base, chain=("qiniu/deepseek-v3",), models=models, answers_s={})
    network = Network()
    run = run_version(quick, Version(version), Options(cache=cache_root, out=tmp_path), print, network)
    assert run.outcome.answered  # so there was traffic
    assert network.seen_in == {"models", "gateway", "client"}
    assert set(network.sent) == {"lo"}
    assert network.sent["lo"] > 0
    assert network.peers & LOOPBACK
    assert network.strangers == set()
