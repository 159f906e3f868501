"""Every example of every page of the documentation runs here, or the page says below where it runs.

Followed from the page: the shown commands with the shown arguments, apart from ports and addresses that a test may not
take. What the page shows as output is compared line by line, numbers masked.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from lockjaw import cli
from lockjaw.clock import ScaledClock
from lockjaw.fakes.contenders.contender import plant_lock
from lockjaw.locking import SessionLock
from lockjaw.sessions import RowStore, SessionPaths, Transcript

from .test_docs import DOCS, PAGES, blocks

pytestmark = pytest.mark.real

#: Pages with commands or YAML whose examples run elsewhere, or cannot run in a test, and why.
ELSEWHERE = {
    "tutorial/reproduce.md": "tests/test_docs.py compares its output",
    "how-to/write-a-scenario.md": "tests/test_docs.py follows it from top to bottom",
    "how-to/add-a-fault.md": "tests/test_docs.py adds the fault of the page",
    "how-to/add-a-world.md": "tests/test_docs.py plays the runtime and the world of the page",
    "how-to/reproduce-a-report.md": "tests/harness/intake/test_page.py",
    "how-to/test-your-client.md": "tests/test_docs.py: its Python examples",
    "how-to/test-your-runtime.md": "tests/test_docs.py: its target file and its scenario",
    "how-to/count-effects.md": "tests/fakes/test_mcp.py; tests/test_docs.py: its Python example",
    "how-to/search-on-many-machines.md": "tests/harness/search/test_workers.py; its other searches take hours",
    "against-other-runtimes.md": "needs the runtimes of other people, installed, and a network namespace",
    "against-openclaw.md": "needs the real OpenClaw: tox -e openclaw",
    "benchmarks/simulation.md": "tests/benchmarks and tests/quality measure; searches of minutes",
}
HERE = {
    "how-to/share-a-kit.md", "how-to/read-a-report.md", "how-to/ci.md", "how-to/break-a-link.md",
    "how-to/serve-a-model.md", "how-to/play-a-gateway.md", "how-to/contend-for-a-lock.md", "how-to/clean-locks.md",
    "how-to/use-takeover.md", "how-to/export-sessions.md",
}  # fmt: skip


ADDRESS = r"(127\.0\.0\.1:\d+)"


def page(name: str) -> Path:
    return DOCS / "how-to" / f"{name}.md"


def shown_commands(name: str, info: str = "console") -> list[str]:
    """The commands of a page's blocks; a backslash joins lines, output lines are left out."""
    found = []
    for block in blocks(page(name), info):
        text = block.replace("\\\n", " ")
        found += re.findall(r"^\$ (.*)$", text, re.M) if info == "console" else text.splitlines()
    return [" ".join(line.split(" > ")[0].split()) if "'" not in line else line for line in found]


def run(folder: Path, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    words = shlex.split(line)
    assert words[0] == "lockjaw", line
    return subprocess.run(
        [sys.executable, "-m", "lockjaw", *words[1:]], cwd=folder, capture_output=True, text=True, check=False,
        timeout=100, env=os.environ | environment,
    )  # fmt: skip


def masked(text: str) -> list[str]:
    return [re.sub(r"\d+(\.\d+)?", "N", line).rstrip() for line in text.splitlines() if line.strip()]


@contextmanager
def serving(folder: Path, line: str, ready: str) -> Iterator[tuple[re.Match[str], list[int]]]:
    """A ``lockjaw serve ...`` until the block ends; its exit status is in the list then."""
    server = subprocess.Popen(
        [sys.executable, "-m", "lockjaw", *shlex.split(line)[1:]], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    status: list[int] = []
    assert server.stdout is not None
    try:
        found, said = None, []
        for text in server.stdout:  # ends when the server does
            said.append(text)
            found = re.search(ready, "".join(said), re.DOTALL)
            if found:
                break
        assert found, "".join(said)
        yield found, status
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.communicate(timeout=30)
        finally:
            server.kill()
            status.append(server.wait())


def test_every_page_with_examples_is_run_somewhere() -> None:
    pages = {
        str(path.relative_to(DOCS))
        for path in PAGES
        if any(True for info in ("console", "yaml") for _ in blocks(path, info))
        or any("lockjaw " in block for block in blocks(path, ""))
    }
    generated = {name for name in pages if name.startswith("reference/")}  # examples of the generator, tested there
    assert pages - generated == HERE | set(ELSEWHERE)


def test_sharing_a_kit(tmp_path: Path) -> None:
    made, kit, replay = shown_commands("share-a-kit")
    assert run(tmp_path, made).returncode == 1
    packed = run(tmp_path, kit)
    assert packed.returncode == 0, packed.stderr
    (shown,) = blocks(page("share-a-kit"), "text")
    assert masked(packed.stdout) == masked(shown)
    again = run(tmp_path, replay)
    assert again.returncode == 1
    assert "repeated" in again.stdout


def test_reading_a_report(tmp_path: Path) -> None:
    assert run(tmp_path, "lockjaw run gateway_timeout --policy reuse-session --engine sim").returncode == 1
    shown = [
        *shown_commands("read-a-report"),
        *re.findall(r"`(lockjaw report [^`]+)`", page("read-a-report").read_text()),
    ]
    assert len(shown) == 4
    for line in shown:
        done = run(tmp_path, line)
        assert done.returncode in (0, 1), done.stderr
        assert done.stdout
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]


def test_failing_only_on_what_got_worse(tmp_path: Path) -> None:
    keep, compare = (line for line in shown_commands("ci") if line.startswith("lockjaw run"))
    first = run(tmp_path, keep)
    file = tmp_path / "baseline.json"
    file.write_text(first.stdout)
    same, worse = blocks(page("ci"), "text")
    again = run(tmp_path, compare)
    assert again.returncode == 0, again.stderr
    assert same.strip() in again.stdout
    document = json.loads(first.stdout)
    for one in document["runs"]:
        if one["policy"] == "reuse-session":
            one["verdict"] = "HELD"
            for check in one["checks"]:
                check["verdict"] = "HELD" if check["name"] == "answered" else check["verdict"]
    file.write_text(json.dumps(document))
    changed = run(tmp_path, compare)
    assert changed.returncode == 1
    assert [line for line in worse.splitlines() if line.strip() not in changed.stdout] == []


def test_breaking_a_link(tmp_path: Path) -> None:
    serve, *calls = [line for line in shown_commands("break-a-link", "") if line.strip()]
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        where = f"127.0.0.1:{upstream.getsockname()[1]}"
        line = serve.replace("127.0.0.1:18789", where).replace("127.0.0.1:18790", "127.0.0.1:0")
        ready = rf"API on http://{ADDRESS}.*ready on {ADDRESS}"
        with serving(tmp_path, f"{line} --api 127.0.0.1:0", ready) as (at, _):
            host, _, port = at[2].partition(":")
            with socket.create_connection((host, int(port))) as client:
                served, _ = upstream.accept()
                with served:
                    client.sendall(b"ping")
                    assert served.recv(4) == b"ping"
                    served.sendall(b"pong")
                    assert client.recv(4) == b"pong", "later, by the latency that the page asks for"
            for call in calls:
                words = shlex.split(call)
                method = words[words.index("-X") + 1] if "-X" in words else "POST"
                body = words[words.index("-d") + 1].encode() if "-d" in words else None
                url = words[-1].replace("127.0.0.1:8474", at[1])
                with urllib.request.urlopen(urllib.request.Request(url, body, method=method), timeout=10) as answer:
                    assert answer.status in (200, 204)


def test_the_links_of_a_scenario(tmp_path: Path) -> None:
    (shown,) = blocks(page("break-a-link"), "yaml")
    scenario = {
        "story": "Links.", "message": "Hello", "chain": ["p/m"], "models": {"m": [{"text": "Hello."}]},
        "checks": ["answered"], "budget_s": 300, "answers_s": {"p/m": 1},
    } | yaml.safe_load(shown)  # fmt: skip
    (tmp_path / "linked.yaml").write_text(yaml.safe_dump(scenario))
    checked = run(tmp_path, "lockjaw scenario check linked.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_serving_a_model_and_recording_one(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(next(blocks(page("serve-a-model"), "yaml")))
    serve, record = (line for line in shown_commands("serve-a-model", "") if line.startswith("lockjaw serve"))

    def ask(address: str, message: str) -> str:
        body = {"model": "other", "messages": [{"role": "user", "content": message}]}
        url = f"http://{address}/v1/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(json.load(answer)["choices"][0]["message"]["content"])

    ready = ADDRESS
    with serving(tmp_path, serve.replace("8080", "0"), ready) as (at, _):
        assert ask(at[1], "Good morning") == "Hello."
        line = record.replace("8080", "0").replace("https://api.openai.com", f"http://{at[1]}")
        with serving(tmp_path, line, rf"ready on (?:http://)?{ADDRESS}") as (recorder, _):
            assert ask(recorder[1], "How is the weather?") == "You asked for the weather."
    assert (tmp_path / "seen.jsonl").read_text()
    recorded = yaml.safe_load((tmp_path / "recorded.yaml").read_text())
    assert "You asked for the weather." in json.dumps(recorded)


@pytest.mark.slow  # the client waits 30 s longer than the timeout that the page gives it
def test_playing_a_gateway(tmp_path: Path) -> None:
    names, serve, agent = shown_commands("play-a-gateway")
    listed = run(tmp_path, names)
    assert "never_final" in listed.stdout
    with serving(tmp_path, serve.replace("18789", "0"), rf"ready on {ADDRESS}") as (at, _):
        words = shlex.split(agent.replace("127.0.0.1:18789", at[1]))
        environment = dict(word.split("=", 1) for word in words if re.match(r"OPENCLAW_\w+=", word))
        command = shlex.join(words[len(environment) :])
        assert len(environment) == 2
        (tmp_path / "state").mkdir()
        asked = run(tmp_path, command, OPENCLAW_STATE_DIR=str(tmp_path / "state"), HOME=str(tmp_path), **environment)
    assert asked.returncode == 1, asked.stdout + asked.stderr


def test_contending_for_a_lock(tmp_path: Path) -> None:
    (line,) = shown_commands("contend-for-a-lock")
    done = run(tmp_path, line)
    assert done.returncode == 0, done.stderr
    (shown,) = blocks(page("contend-for-a-lock"), "console")
    assert sorted(masked(done.stderr)) == sorted(masked(shown.partition("\n")[2]))


def test_seeing_and_cleaning_locks(tmp_path: Path) -> None:
    main, work = (tmp_path / "agents" / name / "sessions" for name in ("main", "work"))
    for folder in (main, work):
        folder.mkdir(parents=True)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    plant_lock(main / "77e0.jsonl", pid=gone.pid)
    (work / "c3d4.jsonl.lock").write_text("")
    listing, dry, clean = (line.replace("~/.openclaw", ".") for line in shown_commands("clean-locks"))
    states, cleaned = (block.splitlines() for block in blocks(page("clean-locks"), "text"))
    with SessionLock(main / "0a1b.jsonl", timeout=5):
        listed, tried, done = (run(tmp_path, line).stdout.splitlines() for line in (listing, dry, clean))
    rows = ("held", "dead", "unclear")
    assert [line.split()[0] for line in listed if line.startswith(rows)] == list(rows)
    waits = re.compile(r"waiting: |    run [0-9a-f-]{36}$")  # the page's lock has a waiter and belongs to a run
    program = re.compile(r"; it is .+$")  # here the one that runs the tests
    reasons = [program.sub("; it is X", line) for line in states if line.startswith("    ") and not waits.search(line)]
    assert [line for line in reasons if line not in [program.sub("; it is X", told) for told in listed]] == []
    assert sum(map(bool, map(program.search, states))) == 1
    assert done == cleaned
    assert "77e0" in "".join(tried)
    assert not (main / "77e0.jsonl.lock").exists()
    assert (work / "c3d4.jsonl.lock").exists()


def test_exporting_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.chdir(tmp_path)
    paths, clock = SessionPaths(tmp_path / "state", ".sqlite"), ScaledClock.start()
    folder = paths.sessions_dir("main")
    store = RowStore(paths.store("main"), clock=clock, wait_s=1.0)
    for session in ("0a1b", "77e0"):
        asyncio.run(store.ensure("agent:main:main", session_id=session, sessions_dir=folder))
        transcript = Transcript.open(folder / f"{session}.sqlite", session_id=session, cwd=tmp_path, clock=clock)
        for n in range(3):
            transcript.append_custom("example", {"n": n})
    everything, one, printed = (line.replace("~/.openclaw", "state") for line in shown_commands("export-sessions"))
    outputs = []
    for line in (everything, one, printed):
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        outputs.append(capfdbinary.readouterr().out)
    assert outputs[0].decode().splitlines() == next(iter(blocks(page("export-sessions"), "text"))).splitlines()
    assert outputs[2] == (tmp_path / "77e0.jsonl").read_bytes()
    assert outputs[2] == (tmp_path / "exported/agents/main/sessions/77e0.jsonl").read_bytes()


def test_using_takeover(tmp_path: Path) -> None:
    asked, patient, listing = shown_commands("use-takeover")
    (tmp_path / "model.yaml").write_text('models: {"*": [{text: Hello}, {text: Hello}]}\n')
    with serving(tmp_path, "lockjaw serve model --script model.yaml", ADDRESS) as (at, _):
        provider = {
            "baseUrl": f"http://{at[1]}/v1",
            "apiKey": "k",
            "api": "openai-completions",
            "models": [{"id": "m"}],
        }
        state = tmp_path / ".openclaw"
        state.mkdir()
        config = {
            "models": {"providers": {"p": provider}},
            "agents": {"defaults": {"model": {"primary": "p/m"}, "workspace": str(tmp_path / "work")}},
        }
        (state / "openclaw.json").write_text(json.dumps(config))
        home = {"HOME": str(tmp_path), "OPENCLAW_STATE_DIR": str(state)}
        for line in (asked, patient):
            done = run(tmp_path, line, **home)
            assert (done.returncode, done.stdout) == (0, "Hello\n"), done.stderr
    assert run(tmp_path, listing.replace("~/.openclaw", str(state))).returncode == 0
