"""How well intake reads texts that a maintainer has read: ``python -m tests.harness.intake.score``.

``own/NN.txt`` are reports as people write them, ``own/NN.json`` what a maintainer reads in them. They were written
before the reader was changed for them, 01 to 20 before it had been read. Texts with an even number were held out until
the end: of those the reader then had 18 right and 2 partly (before: 3 right, 3 partly, 7 wrong, 5 missed, 2 invented).
Since then they have been seen, and both halves are tests; an honest new figure needs new texts. Only the reading is
scored here; the replays have tests of their own.

    right     the class, or the open question, and every other thing the reading names
    partly    the class, but something else is missing
    wrong     another class, or a class that the reading excludes
    missed    an incident that was not seen
    invented  an incident where there is none
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lockjaw.harness.intake import read_report

OWN = Path(__file__).parent / "own"
VERDICTS = ("right", "partly", "wrong", "missed", "invented")


class Scored(NamedTuple):
    """One text: the verdict, and what differs."""

    name: str
    kind: int
    verdict: str
    differs: tuple[str, ...]


def score(name: str, text: str, reading: dict[str, Any]) -> Scored:
    """Compare the reader's document with a maintainer's reading."""
    told = read_report(text).document()
    classes, possible = list(told["classes"]), list(told["possible"])
    differs = list(_specifics(told, reading))
    if reading.get("incident", True) is False:
        wrong = bool(classes or possible or (told["errors"] and told["session_locked"]))
        verdict = "invented" if wrong else "right"
    elif not classes and not possible:
        verdict, differs = "missed", ["no class"]
    else:
        said = list(_classes(classes, possible, reading))
        verdict = "wrong" if said else "partly" if differs else "right"
        differs = [*said, *differs]
    return Scored(name, reading["kind"], verdict, tuple(differs))


def _classes(classes: list[str], possible: list[str], reading: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the classes."""
    if "open" in reading:
        if classes or not set(reading["open"]) <= set(possible):
            yield f"classes {classes}, open {possible}; expected open {reading['open']}"
        return
    first = classes[:1] or possible[:1]
    if first and first[0] not in reading["first"]:
        yield f"first {first[0]}; expected {' or '.join(reading['first'])}"
    elif not classes:
        yield f"open {possible}; expected {' or '.join(reading['first'])}"
    for letter in reading.get("never", []):
        if letter in classes:
            yield f"class {letter} is excluded"
    for letter in reading.get("also", []):
        if letter not in classes:
            yield f"class {letter} is missing"


def _specifics(told: dict[str, Any], reading: dict[str, Any]) -> Iterator[str]:
    """What else the reading names and the document has not."""
    for pid, state in reading.get("owners", {}).items():
        locks = [*told["locks"], *told.get("other_locks", [])]
        seen = {_state(lock) for lock in locks if str(lock.get("pid")) == pid}
        if state not in seen:
            yield f"owner {pid}: {sorted(seen)}; expected {state}"
    models = [candidate["model"] for candidate in told["models"]]
    if "models" in reading and models != reading["models"]:
        yield f"models {models}"
    for version in reading.get("versions", []):
        if version not in told["versions"]:
            yield f"version {version}: {told['versions']}"
    if "platform" in reading and reading["platform"] not in told["platforms"]:
        yield f"platform {reading['platform']}: {told['platforms']}"
    if "errors" in reading and len(told["errors"]) != reading["errors"]:
        yield f"{len(told['errors'])} error lines; expected {reading['errors']}"
    if "waits" in reading:
        waits = sum(bool(candidate.get("lock")) for candidate in told["models"])
        if waits != reading["waits"]:
            yield f"{waits} models failed on the lock; expected {reading['waits']}"
    if "wait_s" in reading and told["timers"].get("lock_wait_s") != reading["wait_s"]:
        yield f"lock wait {told['timers'].get('lock_wait_s')}"
    for name, value in reading.get("timers", {}).items():
        if told["timers"].get(name) != value:
            yield f"timer {name}: {told['timers'].get(name)}; expected {value}"
    for era in reading.get("eras", []):
        if era not in told["eras"]:
            yield f"era {era}: {told['eras']}"
    for key in reading.get("sessions", []):
        if key not in told["sessions"] and not any(
            seen.startswith(key.rpartition(":")[0]) for seen in told["sessions"]
        ):
            yield f"session {key}: {told['sessions']}"
    for key in ("runtime", "also_runtime"):
        if key in reading and reading[key] not in told.get("runtimes", []):
            yield f"runtime {reading[key]}: {told.get('runtimes')}"
    if "own_lock" in reading and reading["own_lock"] not in json.dumps(told.get("other_locks", [])):
        yield f"the program's own lock {reading['own_lock']} is not named"
    if "because" in reading and told.get("not_ours", {}).get("kind") != reading["because"]:
        yield f"not ours because of {told.get('not_ours')}; expected {reading['because']}"
    shown = json.dumps({key: told[key] for key in told if key != "events"}, ensure_ascii=False)
    for secret in reading.get("secret", []):
        if secret in shown:
            yield f"shows {secret}"


def _state(lock: dict[str, Any]) -> str:
    if lock.get("owner") == "other":
        return "other"
    return {True: "alive", False: "dead", None: "unknown"}[lock.get("alive")]


def texts(folder: Path = OWN, *, held: bool | None = None) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The texts with their readings; ``held``: only those with an even number, or only the others."""
    for path in sorted(folder.glob("*.txt")):
        if held is None or held == (int(path.stem) % 2 == 0):
            reading = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            yield path.stem, path.read_text(encoding="utf-8"), reading


def table(scored: list[Scored]) -> str:
    """One line a text that is not right, and the figures."""
    lines = [
        f"{row.name}  kind {row.kind:2}  {row.verdict:8}  {'; '.join(row.differs)}"
        for row in scored
        if row.verdict != "right" or row.differs
    ]
    counts = {verdict: sum(row.verdict == verdict for row in scored) for verdict in VERDICTS}
    total = len(scored)
    lines.append(f"{total} texts: " + ", ".join(f"{number} {name}" for name, number in counts.items()))
    return "\n".join(lines)


def main() -> None:
    for name, held in (("tuned", False), ("held out until the end", True)):
        print(f"{name}\n{table([score(*text) for text in texts(held=held)])}")


if __name__ == "__main__":
    main()
