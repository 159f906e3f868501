"""Opens a kit that somebody sent. Nothing in it is believed: names, sizes, counts and hashes are checked first."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lockjaw import __version__
from lockjaw.behaviours import BEHAVIOURS
from lockjaw.documents import FieldError
from lockjaw.errors import DocumentError, UsageError
from lockjaw.history import Record

from ...fakes.models.script import load_model_script
from ..incident.actors import MAX_ACTORS
from ..incident.scenario import Scenario
from ..sim.tape import Choice, possible
from .archive import BadKit, read_archive
from .manifest import FORMAT, KitManifest

UNSIGNED = ("kit.json", "README.md")
MAX_TAPE = 2_000_000  # choices; a long run has 10,000
MAX_HISTORY = 500_000
MAX_VALUES = 200_000  # in a scenario
MAX_DEPTH = 40  # an honest scenario has 8
MAX_STEPS = 100_000  # of all actors together
MAX_NUMBER = 10_000_000.0  # nominal seconds (four months), tokens, anything
#: Keys that say how often, and what an honest scenario stays below.
MAX_COUNTS = {"copies": 100, "turns": 1000, "tries": 1000, "times": 100_000, "count": 100_000, "nth": 100_000}


@dataclass(frozen=True)
class Kit:
    """An opened kit."""

    path: Path
    manifest: KitManifest
    scenario: Scenario
    tape: Sequence[Choice]
    history: Sequence[Record]
    document: dict[str, Any]  # of the run

    def why_it_may_differ(self) -> str:
        """One sentence for a replay that went another way."""
        mine, theirs = __version__, self.manifest.lockjaw
        if mine != theirs:
            return f"the kit was made by lockjaw {theirs}, this is {mine}: only the same version is sure to repeat it"
        if platform.python_version_tuple()[:2] != tuple(self.manifest.python.split(".")[:2]):
            return (
                f"the kit was made under Python {self.manifest.python}, this is {platform.python_version()}; no such "
                "difference is known, so please report it"
            )
        return "the versions are the same, so the kit was changed or this is a bug: please report it"


def read_kit(path: Path) -> Kit:
    """Open a kit.

    Raises:
        BadKit: it is damaged, or was made to do harm; says what and where.
        UsageError: the file cannot be read.
    """
    files = read_archive(path)
    missing = [name for name in ("kit.json", "scenario.json", "history.jsonl", "verdicts.json") if name not in files]
    if missing:
        raise BadKit(path, f"this one has no {missing[0]}")
    manifest = _manifest(path, files["kit.json"])
    if manifest.engine == "sim" and "tape.jsonl" not in files:
        raise BadKit(path, "this one has no tape.jsonl")
    for name, data in files.items():
        if name not in UNSIGNED and manifest.files.get(name) != hashlib.sha256(data).hexdigest():
            raise BadKit(path, f"{name} in it is not what kit.json promises")
    scenario = _scenario(path, files["scenario.json"], manifest)
    if scenario.name != manifest.scenario:
        raise BadKit(path, "kit.json and scenario.json name one scenario")
    tape = _each(path, "tape.jsonl", files.get("tape.jsonl", b""), Choice, MAX_TAPE)
    if any(not possible(choice) or choice.bound > 1 << 20 for choice in tape):
        raise BadKit(path, "every choice of its tape.jsonl is one of those that there were")
    history = _each(path, "history.jsonl", files["history.jsonl"], Record, MAX_HISTORY)
    verdicts = _decoded(path, "verdicts.json", files["verdicts.json"])
    document = verdicts.get("run")
    if not isinstance(document, dict) or document.get("verdict") != manifest.verdict:
        raise BadKit(path, "kit.json and verdicts.json have one verdict")
    return Kit(path, manifest, scenario, tape, history, document)


def _manifest(path: Path, data: bytes) -> KitManifest:
    plain = _decoded(path, "kit.json", data)
    if plain.get("format") != FORMAT:
        raise BadKit(
            path, f"this one has format {str(plain.get('format'))[:40]!r}, lockjaw {__version__} reads {FORMAT}"
        )
    try:
        manifest = msgspec.convert(plain, KitManifest)
    except msgspec.ValidationError as error:
        raise BadKit(path, f"kit.json in it is wrong: {error}") from error
    if not {manifest.policy, manifest.client_policy or manifest.policy} <= BEHAVIOURS.keys():
        raise BadKit(path, f"its policy is one of {', '.join(BEHAVIOURS)}")
    return manifest


def _scenario(path: Path, data: bytes, manifest: KitManifest) -> Scenario:
    plain = _decoded(path, "scenario.json", data)
    if (depth := _depth(plain)) > MAX_DEPTH:
        raise BadKit(path, f"its scenario.json is nested at most {MAX_DEPTH} deep, not {depth}")
    for count, (key, value) in enumerate(_values(plain), start=1):
        if count > MAX_VALUES:
            raise BadKit(path, f"its scenario.json has at most {MAX_VALUES} values")
        limit = MAX_COUNTS.get(key, MAX_NUMBER)
        if isinstance(value, int | float) and not -limit <= value <= limit:
            raise BadKit(path, f"{key or 'a number'} in its scenario.json is at most {limit:.0f}, not {value:g}")
    # Before the cast is made one by one: 2,000 actors of 100 copies are 7 KB here, and 2 GB then.
    actors, steps = _cast(plain.get("actors"))
    if actors > MAX_ACTORS:
        raise BadKit(path, f"its scenario.json has at most {MAX_ACTORS} actors, copies counted, not {actors}")
    if steps > MAX_STEPS:
        raise BadKit(path, f"the actors of its scenario.json do at most {MAX_STEPS} steps in all, not {steps}")
    try:
        scenario = msgspec.convert(plain, Scenario)
        load_model_script(scenario.script(), path="scenario.json")
        return scenario
    except (msgspec.ValidationError, FieldError, DocumentError, UsageError) as error:
        made_by = (
            f" (lockjaw {manifest.lockjaw} made it, this is {__version__})" if manifest.lockjaw != __version__ else ""
        )
        raise BadKit(path, f"scenario.json in it is wrong: {error}{made_by}") from error


def _depth(value: Any) -> int:
    """How deep lists and objects stand in each other. Without recursion: the depth is a stranger's."""
    deepest, todo = 0, [(value, 1)]
    while todo:
        one, depth = todo.pop()
        deepest = max(deepest, depth)
        items = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        todo += [(item, depth + 1) for item in items if isinstance(item, dict | list)]
    return deepest


def _cast(actors: Any) -> tuple[int, int]:
    """(actors, their steps) of a scenario as it was sent, copies and counts multiplied out."""
    people = steps = 0
    for actor in actors.values() if isinstance(actors, dict) else ():
        if not isinstance(actor, dict):
            continue
        copies = _count(actor.get("copies"))
        people += copies
        script = actor.get("script")
        for step in script if isinstance(script, list) else ():
            each = _count(step.get("count")) * _count(step.get("tries")) if isinstance(step, dict) else 1
            steps += copies * each
    return people, steps


def _count(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and 1 <= value <= MAX_NUMBER else 1


def _values(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with the key that it stands under."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _values(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _values(item, key)
    yield key, value


def _decoded(path: Path, name: str, data: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadKit(path, f"its {name} is not JSON: {error}") from error


def _each(path: Path, name: str, data: bytes, kind: type[Any], most: int) -> list[Any]:
    if data.count(b"\n") > most:  # counted before they are parted: 64 MB of empty lines would take 600 MB
        raise BadKit(path, f"{name} in it has at most {most} lines")
    decoder = msgspec.json.Decoder(kind)
    try:
        return [decoder.decode(line) for line in data.split(b"\n") if line.strip()]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadKit(path, f"{name} in it is wrong: {error}") from error
