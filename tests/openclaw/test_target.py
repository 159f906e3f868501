from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from lockjaw.clock import ScaledClock
from lockjaw.errors import UsageError
from lockjaw.harness.faults.block import Block
from lockjaw.harness.incident.scenario import load_scenario
from lockjaw.harness.real.actors import Descriptors
from lockjaw.harness.real.rig import config
from lockjaw.harness.store import RunDirectory, Store
from lockjaw.harness.targets import launch
from lockjaw.harness.targets.launch import Line
from lockjaw.harness.targets.openclaw import campaign
from lockjaw.harness.targets.openclaw.cache import Installed
from lockjaw.harness.targets.openclaw.target import OpenClaw, real_config, unknown_keys, without
from lockjaw.harness.targets.openclaw.versions import Version

COMPLAINT = """Gateway failed to start: Invalid config at /x/openclaw.json:
openclaw.json:82 — agents.defaults: Unrecognized key: "memorySearch"
- gateway: Unrecognized keys: "channelHealthCheckMinutes", "other"
<root>: Unrecognized key: "canvasHost"
Run "openclaw doctor --fix" to repair, then retry."""


def target(tmp_path: Path, policy: str | None = None, version: str = "2026.4.8") -> OpenClaw:
    return OpenClaw(Installed(Version(version), tmp_path, tmp_path / "node", "sha512-x"), None, policy)


def test_keys_that_a_version_does_not_know_are_left_out() -> None:
    found = unknown_keys(COMPLAINT)
    assert found == ["agents.defaults.memorySearch", "gateway.channelHealthCheckMinutes", "gateway.other", "canvasHost"]
    made = {"gateway": {"port": 1, "other": 2}, "canvasHost": {}, "agents": {"defaults": {"memorySearch": 1, "a": 2}}}
    assert without(made, found) == {"gateway": {"port": 1}, "agents": {"defaults": {"a": 2}}}
    assert "canvasHost" in made


def test_configuration_is_in_whole_seconds_on_a_fixed_port(tmp_path: Path) -> None:
    scenario = msgspec.structs.replace(load_scenario("gateway_timeout"), timeout_s=4.6)
    made = real_config(config(RunDirectory(tmp_path), scenario, 4711), 18789)
    assert made["agents"]["defaults"]["timeoutSeconds"] == 5
    assert made["gateway"]["port"] == 18789


def test_what_cannot_be_mapped_is_said(tmp_path: Path) -> None:
    scenario = load_scenario("gateway_timeout")
    notes = target(tmp_path).notes(scenario, 0.04)
    assert [note.partition(":")[0] for note in notes] == ["time scale 0.04", "pacing", "no network namespace"]
    assert any("database" in note for note in target(tmp_path, version="2026.9.6").notes(scenario, None))


def test_policy_makes_the_client_ours(tmp_path: Path) -> None:
    scenario = load_scenario("gateway_timeout")
    how = {"policy": "takeover", "seed": 1, "time_scale": 1.0}

    def command(n: int, policy: str | None) -> str:
        world = target(tmp_path, policy).world(scenario, run=Store(tmp_path).create("x", n, "takeover"), **how)
        try:
            world.prepare()
            return " ".join(world.command("client", Descriptors(3, 4)))
        finally:
            asyncio.run(world.close())

    real, ours = command(1, None), command(2, "takeover")
    assert "openclaw.mjs" in real
    assert "lockjaw agent" in ours
    assert "openclaw.mjs" not in ours


@pytest.mark.parametrize(
    ("name", "why"),
    [("subagents_announce", "the actors and the session"), ("unlink_fails", "the actors and the session")],
)
def test_a_scenario_with_a_cast_is_refused_before_anything_is_installed(
    name: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "target_of", lambda *how: pytest.fail("it was going to install something"))

    with pytest.raises(UsageError, match=f"builtin: {why}"):
        campaign.run_version(load_scenario(name), Version("2026.4.8"), campaign.Options(None, False, None), print)


def test_a_fault_from_within_is_only_for_our_own_programs() -> None:
    scenario = load_scenario("gateway_timeout")
    block = Block(target="gateway", at_s=1.0, for_s=5.0)

    assert scenario.only_ours == ""
    assert "struck from within (block gateway)" in msgspec.structs.replace(scenario, faults=(block,)).only_ours


# --------------------------------------------------------------------------- the launcher


def start(tmp_path: Path, code: str, **options: object) -> tuple[subprocess.Popen[bytes], int]:
    read, write = os.pipe()
    command = launch.arguments(
        None,
        [sys.executable, "-c", code],
        lines=tmp_path / "lines",
        ready_fd=write,
        **options,  # type: ignore[arg-type]
    )
    env = os.environ | ScaledClock.start().to_environment()
    process = subprocess.Popen(command, pass_fds=[write], env=env, stdout=subprocess.PIPE, start_new_session=True)
    os.close(write)
    return process, read


def lines(tmp_path: Path) -> list[Line]:
    text = (tmp_path / "lines").read_bytes()
    return [msgspec.json.decode(line, type=Line) for line in text.splitlines()]


def test_program_is_the_process_that_was_started(tmp_path: Path) -> None:
    process, read = start(tmp_path, "import os, sys; print(os.getpid()); print('worse', file=sys.stderr); sys.exit(7)")
    with process:
        out = process.communicate(timeout=30)[0]
        assert process.returncode == 7
    os.close(read)
    assert out.split() == [str(process.pid).encode()]
    assert {(line.text, line.out) for line in lines(tmp_path)} == {(str(process.pid), True), ("worse", False)}


def test_readiness_is_the_line_and_the_port(tmp_path: Path) -> None:
    code = (
        "import socket, time\n"
        "s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)\n"
        "print('[gateway] ready', flush=True)\n"
        "while True: s.accept()[0].close()"
    )
    with __import__("socket").create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    code = code.replace("'127.0.0.1', 0", f"'127.0.0.1', {port}")
    process, read = start(tmp_path, code, port=port, ready_line=r"\[gateway\] ready")
    with process:
        told = json.loads(os.read(read, 4096))
        assert told == {"pid": process.pid, "port": port}
        process.send_signal(signal.SIGKILL)  # reaches the program, and the scribe ends with its output
        assert process.wait(30) == -signal.SIGKILL
        assert process.communicate(timeout=30)[0].endswith(b"[gateway] ready\n")
    os.close(read)


def test_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        launch.arguments(None, ["/no/such/program"], lines=tmp_path / "lines"), capture_output=True, text=True,
        env=os.environ | ScaledClock.start().to_environment(), timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 71
    assert any("/no/such/program" in line.text for line in lines(tmp_path))


def test_client_waits_for_the_go(tmp_path: Path) -> None:
    go_read, go_write = os.pipe()
    read, write = os.pipe()
    command = launch.arguments(
        None, [sys.executable, "-c", "print('went')"], lines=tmp_path / "lines", ready_fd=write, go_fd=go_read
    )
    env = os.environ | ScaledClock.start().to_environment()
    with subprocess.Popen(command, pass_fds=[write, go_read], env=env, stdout=subprocess.PIPE) as process:
        os.close(write)
        os.close(go_read)
        assert json.loads(os.read(read, 4096))["pid"] == process.pid
        assert not (tmp_path / "lines").exists()
        before = time.monotonic()
        os.write(go_write, b"g")
        os.close(go_write)
        assert process.communicate(timeout=30)[0] == b"went\n"
        assert time.monotonic() >= before
    os.close(read)


@pytest.mark.parametrize("policy", [None, "takeover"])
def test_manifest_says_how_to_replay(tmp_path: Path, policy: str | None) -> None:
    facts = target(tmp_path, policy).facts
    assert facts["client_policy"] == policy
    assert facts["allow_network"]
