"""How much of what is private the redaction finds, and how much of what is harmless it replaces.

Usage: measure_redaction.py

Planted: every kind of ``secrets.jsonl`` (got through once), ``more_secrets.jsonl`` (of which 191 of 229 were found
before there were rules for the others; those with ``missed`` are known not to be found, and why) and
``first_look.jsonl`` (written before its author had read the rules: 71 of 82 were found then) and
``second_look.jsonl`` (two rounds, aimed at what rules forget: 82 of 103, then 37 of 69 were found at first). Harmless:
every scenario of the catalogue, its history and its logs under its baseline, as if they were somebody's own and all
texts were kept; ids of sessions, runs and devices are meant to be replaced and not counted.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from lockjaw.harness.incident.scenario import builtin_names, load_scenario
from lockjaw.harness.kit.making import public_words
from lockjaw.harness.kit.redaction import Redactor
from lockjaw.harness.sim.engine import run_sim
from lockjaw.harness.sim.tape import RandomChoices
from lockjaw.seeds import Seeds

HERE = Path(__file__).parent
SALT = bytes(range(32))


def kinds(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (HERE / name).read_text("utf-8").splitlines()]


def survives(kind: dict[str, Any]) -> bool:
    places = ("{}",) if "alone" in kind else ("{}", "at 12:00 {} done")
    shown = [Redactor(SALT).text(around.format(kind["text"])) for around in places]
    return any(secret in text for secret in kind["secrets"] for text in shown)


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


def harmless() -> tuple[int, Counter[str]]:
    """(words, replaced words by kind) of the whole catalogue."""
    total, replaced = 0, Counter[str]()
    for name in builtin_names():
        scenario = load_scenario(name)
        lived = run_sim(scenario, policy=scenario.baseline, seed=3, choices=RandomChoices(Seeds(3)))
        redactor = Redactor(SALT, keep_text=True, public=public_words())
        for text in texts([msgspec.to_builtins(one) for one in (scenario, list(lived.history), lived.logs)]):
            words = [found.span() for found in re.finditer(r"\S+", text)]
            total += len(words)
            for found in redactor.private(text):
                replaced[found.kind] += sum(start < found.end and end > found.start for start, end in words)
    return total, replaced


def main() -> None:
    for name in ("secrets.jsonl", "more_secrets.jsonl", "first_look.jsonl", "second_look.jsonl"):
        all_kinds = kinds(name)
        missed = [kind["name"] for kind in all_kinds if survives(kind)]
        found = len(all_kinds) - len(missed)
        print(f"{name}: {found} of {len(all_kinds)} kinds found ({100 * found / len(all_kinds):.1f} %)", end="")
        print(f"; not: {', '.join(missed)}" if missed else "")
    total, replaced = harmless()
    ids = replaced.pop("id", 0)
    wrong = sum(replaced.values())
    print(
        f"catalogue: {total} words, {ids} ids replaced, {wrong} harmless words replaced ({100 * wrong / total:.2f} %)"
    )


if __name__ == "__main__":
    main()
