"""Servers of ``lockjaw serve`` answer on a full disk, and say once that it is; what cannot start says why in a line."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from websockets.asyncio.client import connect

from lockjaw.cli.app import _file_in_hand
from lockjaw.clock import ScaledClock
from lockjaw.errors import HarnessError, LocalError, UsageError
from lockjaw.fakes.gateway.script import load_gateway_script
from lockjaw.fakes.gateway.server import MockGateway
from lockjaw.fakes.journal import Journal
from lockjaw.fakes.links.link import Link
from lockjaw.fakes.models.recording import RecordingProxy
from lockjaw.fakes.models.script import load_model_script
from lockjaw.fakes.models.server import ModelServer

from .kits import lockjaw

FULL = Path("/dev/full")
ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
CHAT = "/v1/chat/completions"
MODELS = {"models": {"m": [{"text": "hi"}] * 3}}
PATIENCE_S = 20.0

pytestmark = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")


def said_once(told: str, entries: int) -> bool:
    return told.splitlines() == [
        "journal /dev/full cannot be written (No space left on device): its entries are left out until it can be again",
        f"journal /dev/full: {entries} entries are missing in it",
    ]


async def answers(origin: str) -> list[str]:
    async with httpx.AsyncClient(base_url=origin, timeout=PATIENCE_S) as client:
        replies = [await client.post(CHAT, json=ASK) for _ in range(2)]
    return [reply.json()["choices"][0]["message"]["content"] for reply in replies]


# --------------------------------------------------------------------------- the journal


@pytest.mark.parametrize("room", [0, 1, 7, 40, 60])
def test_a_journal_is_whole_lines_again_once_there_is_room(
    room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk takes as many bytes as it has: the entry in the middle of which it ends is torn, and no other."""
    left, write, told = [room], os.write, list[str]()

    def writes(fd: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(28, "No space left on device")
        taken = write(fd, data[: left[0]])
        left[0] -= taken
        return taken

    journal = Journal(tmp_path / "j", ScaledClock.start(), say=told.append)
    monkeypatch.setattr(os, "write", writes)
    journal.write("one")
    journal.write("two")
    left[0] = 1 << 20
    journal.write("three")
    journal.close()

    torn, whole = 0, []
    for line in (tmp_path / "j").read_bytes().splitlines():
        try:
            whole.append(json.loads(line)["ev"])
        except ValueError:
            torn += 1
    assert torn <= 1
    assert whole in (["three"], ["one", "three"])
    assert len(told) == 2
    assert told[1].endswith(f": {3 - len(whole)} entries are missing in it")


# --------------------------------------------------------------------------- the servers


async def test_the_model_server_answers_without_its_journal(capsys: pytest.CaptureFixture[str]) -> None:
    async with ModelServer(load_model_script(MODELS), journal=FULL) as server:
        assert await answers(server.origin) == ["hi", "hi"]

    assert said_once(capsys.readouterr().err, 4)


async def test_the_gateway_answers_without_its_journal(capsys: pytest.CaptureFixture[str]) -> None:
    script = load_gateway_script({"gateway": {"connect": [{}]}})
    async with MockGateway(script, journal=FULL) as server, connect(server.url) as client:
        async with asyncio.timeout(PATIENCE_S):
            assert json.loads(await client.recv())["event"] == "connect.challenge"

    assert said_once(capsys.readouterr().err, 3)


async def test_the_link_relays_without_its_journal(capsys: pytest.CaptureFixture[str]) -> None:
    async with ModelServer(load_model_script(MODELS)) as server:
        link = Link(f"127.0.0.1:{server.port}", journal=FULL)
        await link.start()
        try:
            assert await answers(f"http://127.0.0.1:{link.port}") == ["hi", "hi"]
        finally:
            await link.stop()

    assert len(capsys.readouterr().err.splitlines()) == 2


async def test_a_recording_goes_on_until_it_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full, write = True, Path.write_text

    def writes(path: Path, text: str, **more: Any) -> int:
        if full:
            write(path, text[:5], **more)
            raise OSError(28, "No space left on device")
        return write(path, text, **more)

    monkeypatch.setattr(Path, "write_text", writes)
    script = tmp_path / "s.yaml"
    async with ModelServer(load_model_script(MODELS)) as server:
        proxy = RecordingProxy(server.origin, script)
        await proxy.start()
        try:
            assert await answers(f"http://127.0.0.1:{proxy.port}") == ["hi", "hi"]
            with pytest.raises(HarnessError, match=r"lacks the last replies.*No space left"):
                proxy.require_whole()
            assert list(tmp_path.iterdir()) == []
            full = False
            await answers(f"http://127.0.0.1:{proxy.port}")
        finally:
            await proxy.stop()

    proxy.require_whole()
    assert len(yaml.safe_load(script.read_text())["models"]["m"]) == 4
    assert capsys.readouterr().err.count("cannot be written") == 1


def test_a_recording_that_could_not_be_kept_does_not_begin(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="cannot be written"):
        RecordingProxy("http://127.0.0.1:9", tmp_path / "none" / "s.yaml")


def test_words_that_a_full_stderr_did_not_take_are_no_failure_at_the_end() -> None:
    line = "from lockjaw.visible import tell; tell('one'); tell('two')"
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with FULL.open("w") as full:
        command = [sys.executable, "-c", line]
        assert subprocess.run(command, stderr=full, env=buffered, check=False).returncode == 0


@pytest.mark.real
def test_a_process_whose_records_are_lost_ends_and_a_full_stderr_is_no_failure(tmp_path: Path) -> None:
    """``/dev/full`` as its history: it would go on unseen. As its stderr: it goes on, unheard."""
    (tmp_path / "m.yaml").write_text(json.dumps(MODELS))
    command = [sys.executable, "-m", "lockjaw", "serve", "model", "--script", "m.yaml", "--journal", "/dev/full"]

    def ask(stderr: int, **environment: str) -> tuple[str, int, str]:
        reading, writing = os.pipe()
        process = subprocess.Popen(
            [*command, "--ready-fd", str(writing)], cwd=tmp_path, env=os.environ | environment, stderr=stderr,
            pass_fds=[writing], text=True,
        )  # fmt: skip
        os.close(writing)
        with process, open(reading) as pipe:
            try:
                port = json.loads(pipe.readline())["port"]
                with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as client:
                    body = json.dumps(ASK)
                    client.sendall(
                        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
                    )
                    head = client.recv(12).decode()
                if head:
                    process.terminate()
                said = process.communicate(timeout=PATIENCE_S)[1]
            finally:
                process.kill()
        return head, process.returncode, said

    head, status, said = ask(subprocess.PIPE, LOCKJAW_EVENTS="/dev/full")
    assert (head, status) == ("", 4)
    assert said.splitlines()[-1].startswith("lockjaw failed: the records of this process cannot be written: No space")
    with FULL.open("w") as full:
        assert ask(full.fileno())[:2] == ("HTTP/1.1 200", 0)


# --------------------------------------------------------------------------- what cannot start


SERVE: dict[str, tuple[str, ...]] = {
    "model": ("--script", "m.yaml"),
    "gateway": ("healthy",),
    "link": ("--upstream", "127.0.0.1:9"),
    "contender": ("s.jsonl",),
}


@pytest.mark.parametrize("verb", SERVE)
def test_a_journal_that_cannot_be_opened_is_one_sentence_before_anything_listens(verb: str, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(json.dumps(MODELS))
    for nowhere in ("/nowhere/x", "/proc/x"):
        done = lockjaw(tmp_path, "serve", verb, *SERVE[verb], "--journal", nowhere)

        assert done.returncode == 2, done.stderr
        [line] = done.stderr.splitlines()
        assert line.startswith(f"{nowhere}: expected a ")
        assert "ready" not in line


@pytest.mark.parametrize("verb", [verb for verb in SERVE if verb != "contender"])
def test_a_port_that_is_taken_or_none_is_a_sentence(verb: str, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(json.dumps(MODELS))
    where: Callable[[int], list[str]] = lambda port: (  # noqa: E731
        ["--listen", f"127.0.0.1:{port}"] if verb == "link" else ["--port", str(port)]
    )
    with socket.create_server(("127.0.0.1", 0)) as mine:
        port = mine.getsockname()[1]
        taken = lockjaw(tmp_path, "serve", verb, *SERVE[verb], *where(port))
    none = lockjaw(tmp_path, "serve", verb, *SERVE[verb], *where(70_000))

    assert taken.returncode == none.returncode == 2
    assert taken.stderr == (
        f"port {port} on 127.0.0.1 is taken; end the program that listens there, or use port 0 for a free one\n"
    )
    assert "expected HOST:PORT" in none.stderr or "65535" in none.stderr
    assert "Traceback" not in none.stderr


def test_a_gateway_whose_runs_could_hold_no_lock_does_not_begin() -> None:
    script = load_gateway_script({"gateway": {"session_lock": "guarded"}})
    with pytest.raises(UsageError, match="a state directory that can be made"):
        MockGateway(script, state_dir="/proc/x")


def test_an_error_of_a_full_disk_names_the_file() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        FULL.write_bytes(b"x")

    assert caught.value.filename is None
    assert _file_in_hand(caught.value) == FULL
