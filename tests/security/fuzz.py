"""What strangers send, made up at random: whatever it is, the answer is a value or an error of ours, and in time.

Usage: fuzz.py [--seconds S] [TARGET...]

Each target runs for S real seconds (60 by default) with Hypothesis choosing the inputs, and ends at the first input
that is answered with an error that nobody declared, or that takes more than two seconds. ``tox -e fuzz`` runs all.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lockjaw.errors import LockjawError
from lockjaw.gateway.auth import Credentials, FailureLimit, Peer
from lockjaw.gateway.dialect import dialect
from lockjaw.gateway.identity import DeviceIdentity, select_connect_auth
from lockjaw.gateway.pairing import MemoryDocuments, Pairing
from lockjaw.gateway.params import ConnectParams, MethodParams
from lockjaw.gateway.profile import CLI_SCOPES, ClientProfile, connect_params
from lockjaw.gateway.protocol import Challenge, GatewayProtocol
from lockjaw.gateway.server_protocol import Call, Close, Gate, Send, ServerProtocol
from lockjaw.harness.incident.scenario import Scenario, load_scenario
from lockjaw.harness.kit.consent import TooManyActs, acts_of, question
from lockjaw.harness.kit.manifest import KitManifest
from lockjaw.harness.kit.reading import read_kit
from lockjaw.harness.kit.redaction import Redactor
from lockjaw.runner import reply
from lockjaw.visible import visible_json, visible_lines

SLOW_S = 2.0
IDENTITY = DeviceIdentity.generate()
METHODS = {one.method: one for one in MethodParams.__subclasses__()}
Input = Any
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
_PIECES = st.sampled_from(
    [
        "\\", "\\n", '"', "'", "password: ", "token=", "@", "://", "%40", "&#64;", "\x1b[31m", "ghp_", "eyJ", "/home/",
        "-----BEGIN ", "C:\\Users\\", "+49 ", "1.2.3.4", "::", "\u200b", "\u0665", "=40", "\ud800", "{", "[", "\n",
    ]
)  # fmt: skip
TEXTS = st.lists(_PIECES | st.text(max_size=12), max_size=30).map("".join)


def changed(honest: Any) -> st.SearchStrategy[Any]:
    """An honest document with one place replaced by anything."""

    def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [path, *(place for key, item in items for place in places(item, (*path, key)))]

    def put(pair: tuple[tuple[Any, ...], Any]) -> Any:
        place, new = pair
        copy = json.loads(json.dumps(honest))
        if not place:
            return new
        spot = copy
        for key in place[:-1]:
            spot = spot[key]
        spot[place[-1]] = new
        return copy

    return st.tuples(st.sampled_from(places(honest)), JSON).map(put)


def honest_scenario() -> Any:
    return json.loads(msgspec.json.encode(load_scenario("gateway_timeout")))


HONEST_MANIFEST = {
    "format": "lockjaw-kit-1", "lockjaw": "0.1.0", "python": "3.12.1", "system": "Linux", "scenario": "x",
    "policy": "takeover", "engine": "sim", "target": "builtin", "seed": 1, "time_scale": 0.04, "verdict": "HELD",
    "event_hash": "0" * 64, "replay": "lockjaw replay KIT.zip", "kept_text": False, "files": {},
}  # fmt: skip


def manifest(value: Input) -> None:
    try:
        read = msgspec.convert(value, KitManifest)
    except msgspec.ValidationError:
        return
    shown = f"{read.lockjaw} {read.python} {read.system} {read.policy} {read.target} {read.scenario}"
    assert shown.isprintable(), shown
    assert shown.isascii(), shown


def scenario(value: Input) -> None:
    try:
        acts = acts_of(msgspec.convert(value, Scenario))
    except (msgspec.ValidationError, LockjawError, ValueError, TooManyActs):
        return
    told = question(Path("KIT.zip"), acts)
    assert all(char == "\n" or " " <= char <= "~" for char in told), told


def kit(files: Input) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "KIT.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        try:
            read_kit(path)
        except LockjawError:
            pass
        assert [entry.name for entry in Path(folder).iterdir()] == ["KIT.zip"]


def redaction(text: Input) -> None:
    redactor = Redactor(bytes(32))
    once = redactor.text(text)
    assert redactor.leaks(once) == [], once


def _sign_in(challenge: Challenge) -> ConnectParams:
    auth = select_connect_auth(token="T", password=None, stored=None, scopes=CLI_SCOPES)
    return connect_params(
        ClientProfile(platform="Linux"), auth, IDENTITY, challenge, protocol_version=3, signed_at_ms=0
    )


def frames(texts: Input) -> None:
    protocol = GatewayProtocol(dialect(3), _sign_in, connect_id="c", now=0.0)
    for text in texts:
        try:
            protocol.receive_text(text, now=1.0)
        except LockjawError:
            return


HONEST_ANSWER = {
    "runId": "r", "status": "ok", "summary": "completed",
    "result": {
        "payloads": [{"text": "hi", "mediaUrl": None, "mediaUrls": ["a"], "isError": False}],
        "meta": {"aborted": False, "stopReason": "stop", "agentMeta": {"sessionId": "s"}},
    },
}  # fmt: skip


def answer(value: Input) -> None:
    try:
        reply.read(value, "r")
        document = reply.shown(value, wrapped=True, marks={"transport": "gateway"})
    except LockjawError:
        return
    json.loads(visible_json(json.dumps(document.document, ensure_ascii=False)))
    shown = visible_lines(document.text)
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in shown if char not in "\n\t"), shown


TOKEN, WALL_MS = "T", 1_800_000_000_000
HONEST_CONNECT = {
    "minProtocol": 3, "maxProtocol": 4, "role": "operator", "scopes": ["operator.read"], "caps": [],
    "client": {"id": "cli", "version": "1", "platform": "linux", "mode": "cli"}, "auth": {"token": TOKEN},
}  # fmt: skip


def _server() -> ServerProtocol:
    pairing = Pairing(MemoryDocuments(), ids=random.Random(3))
    gate = Gate(
        Credentials("token", TOKEN), FailureLimit(), pairing, (3, 4),
        lambda client: {"type": "hello-ok", "protocol": client.protocol},
    )  # fmt: skip
    return ServerProtocol(gate, Peer("127.0.0.1", True), connection_id="c", nonce="n", now=0.0, wall_ms=WALL_MS)


def client_frames(sent: Input) -> None:
    """A server never raises for what a client sends, answers with JSON, and a method's parameters are read or refused.

    The first frame is a changed connect; the others come after one that was let in.
    """
    connect, others = sent
    first, second = _server(), _server()
    request = {"type": "req", "id": "1", "method": "connect"}
    _answers(first, json.dumps({**request, "params": connect}))
    _answers(second, json.dumps({**request, "params": HONEST_CONNECT}))
    assert second.client is not None
    for text in others:
        _answers(first, text)
        _answers(second, text)


def _answers(protocol: ServerProtocol, text: str | bytes) -> None:
    for effect in protocol.receive(text, now=1.0, wall_ms=WALL_MS):
        if isinstance(effect, Send):
            json.loads(effect.text)
            effect.text.encode("utf-8")
        elif isinstance(effect, Close):
            assert len(effect.reason.encode("utf-8")) <= 123, effect  # what a close frame holds (RFC 6455)
        elif isinstance(effect, Call):
            try:
                METHODS[effect.method].read(effect.params)
            except (LockjawError, KeyError):
                continue


_methods = st.sampled_from([*METHODS, "nope", ""])
_requests = st.fixed_dictionaries(
    {"type": st.just("req"), "id": st.text(max_size=4) | JSON, "method": _methods, "params": JSON}
).map(json.dumps)
_names = st.sampled_from(["kit.json", "scenario.json", "history.jsonl", "verdicts.json", "tape.jsonl", "../x"])
_bytes = JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)
TARGETS: dict[str, tuple[Callable[[Input], None], Callable[[], st.SearchStrategy[Any]]]] = {
    "manifest": (manifest, lambda: changed(HONEST_MANIFEST)),
    "scenario": (scenario, lambda: changed(honest_scenario())),
    "kit": (kit, lambda: st.dictionaries(_names, _bytes, max_size=6)),
    "redaction": (redaction, lambda: TEXTS | TEXTS.map(json.dumps) | JSON.map(json.dumps)),
    "answer": (answer, lambda: changed(HONEST_ANSWER) | JSON),
    "client-frames": (
        client_frames,
        lambda: st.tuples(
            changed(HONEST_CONNECT),
            st.lists(_requests | TEXTS | st.binary(max_size=30) | JSON.map(json.dumps), max_size=5),
        ),
    ),
    "frames": (frames, lambda: st.lists(TEXTS | JSON.map(json.dumps), max_size=5)),
}


def fuzz(name: str, seconds: float) -> int:
    """Run a target; the number of inputs. Raises what an input raised."""
    target, strategy = TARGETS[name]
    ends, tried = time.monotonic() + seconds, 0

    @settings(
        max_examples=1_000_000, deadline=None, database=None, phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy())
    def run(value: Input) -> None:
        nonlocal tried
        if time.monotonic() > ends:
            raise KeyboardInterrupt
        tried += 1
        started = time.process_time()
        try:
            target(value)
        except Exception:
            print(f"{name}: {ascii(value)[:2000]}", file=sys.stderr)
            raise
        assert time.process_time() - started < SLOW_S, f"slow: {ascii(value)[:2000]}"

    try:
        run()
    except KeyboardInterrupt:
        pass
    return tried


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60.0)
    chosen = parser.parse_args()
    for name in chosen.targets or TARGETS:
        print(f"{name}: {fuzz(name, chosen.seconds)} inputs, no complaint", flush=True)


if __name__ == "__main__":
    main()
