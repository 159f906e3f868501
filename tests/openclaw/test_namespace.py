"""Nothing but loopback, and a loopback of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lockjaw.harness.targets import launch
from lockjaw.harness.targets.namespace import Doors, Namespace, NoNamespace, interfaces, routes


def inside(namespace: Namespace, code: str) -> subprocess.CompletedProcess[str]:
    command = launch.arguments(namespace.doors, [sys.executable, "-c", code])
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_only_loopback_is_there(namespace: Namespace) -> None:
    done = inside(namespace, "print(open('/proc/self/net/dev').read())")
    assert done.returncode == 0, done.stderr
    names = [line.partition(":")[0].strip() for line in done.stdout.strip().splitlines()[2:]]
    assert names == ["lo"]


@pytest.mark.parametrize("address", ["192.0.2.1", "8.8.8.8"])
def test_no_other_address_can_be_reached(namespace: Namespace, address: str) -> None:
    code = f"import socket\ntry:\n socket.create_connection(('{address}', 53), 5)\nexcept OSError as e: print(e.errno)"
    assert inside(namespace, code).stdout.split() == ["101"]  # ENETUNREACH at once, not a timeout


def test_loopback_works_and_is_not_the_machines(namespace: Namespace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as outside:
        port = outside.getsockname()[1]
        code = (
            "import socket\n"
            "s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname()); print('inside')\n"
            f"try: socket.create_connection(('127.0.0.1', {port}), 5)\n"
            "except ConnectionRefusedError: print('refused')"
        )
        assert inside(namespace, code).stdout.split() == ["inside", "refused"]


def test_program_is_not_started_where_more_than_loopback_is(tmp_path: Path) -> None:
    if interfaces() == ["lo"] and not routes():
        pytest.skip("this machine has no network of its own to keep programs from")
    started = tmp_path / "started"
    own = Doors("/proc/self/ns/net")
    if os.geteuid() != 0:
        pytest.skip("only root may enter the machine's own namespace")
    command = launch.arguments(own, ["/usr/bin/touch", str(started)])
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 71
    assert "not only loopback" in done.stderr
    assert not started.exists()


def test_namespace_of_users_who_are_not_root_is_the_same() -> None:
    try:
        namespace = Namespace(user=True)
    except NoNamespace as error:
        pytest.skip(f"no user namespaces here: {error.reason}")
    with namespace:
        assert namespace.doors.user
        done = inside(namespace, "import os; print(os.getuid(), open('/proc/self/net/dev').read().count(':'))")
    assert (done.returncode, done.stdout.split()) == (0, [str(os.getuid()), "1"]), done.stderr


def test_root_that_may_not_make_one_directly_makes_a_user_namespace(tmp_path: Path) -> None:
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        pytest.skip("needs root, to take a capability away from it")
    code = "from lockjaw.harness.targets.namespace import Namespace; print(bool(Namespace().doors.user))"
    without = [setpriv, "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", sys.executable, "-c", code]
    done = subprocess.run(without, capture_output=True, text=True, timeout=60, check=False)
    if "NoNamespace" in done.stderr:
        pytest.skip("no user namespaces here")
    assert done.stdout.split() == ["True"], done.stderr


def test_machine_without_namespaces_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(NoNamespace, match="--allow-network"):
        Namespace()


def test_descriptors_are_given_back(namespace: Namespace) -> None:
    before = len(os.listdir("/proc/self/fd"))
    Namespace().close()
    assert len(os.listdir("/proc/self/fd")) == before
