"""The catalogue's scenarios that a report speaks for, and each of them with the report's models and run limit. Pure.

Where no shape of ``compose`` makes a report's errors, a scenario of the catalogue may: it is the same failure with
other names. What the report names (its models, its run limit) takes the place of the scenario's own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from lockjaw.documents import Document

from ..incident.scenario import (
    Scenario,
    builtin_names,
    load_scenario,
    read_builtin,
    read_builtin_text,
    scenario_from,
)
from .basis import Composition, Values, Variable, model_names, name_of, run_limit
from .report import Report

MOST = 4  # scenarios that are tried
#: Messages, and the scenario in which they come about; the more telling message first.
POINTERS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("unauthorized", "refused", "says_refused"), "wrong_token"),
    (("starting_conflict",), "session_changed_while_starting"),
    (("revision_conflict", "starting_conflict"), "revision_conflict"),
    (
        ("busy_database", "active_writer", "lease_held", "hermes_store", "opencode_lock", "codex_record"),
        "busy_database",
    ),
    (("force_release",), "force_release_while_writing"),
    (("file_lock",), "stale_lock_replaced"),
    (("lock_stale", "file_system"), "unlink_fails"),
    (("abort_unsettled",), "late_reacquire"),
    (("abort_unsettled", "run_timeout"), "provider_ignores_abort"),
    (("stalled_session", "recovery_skipped", "long_running"), "stalled_session_kept"),
    (("stuck_session", "stuck_recovery"), "busy_loop_holder"),
    (("store_lock",), "store_owner_stands_still"),
    (("compaction",), "compaction_longer_than_wait"),
    (("takeover",), "writer_during_prompt"),
    (("announce",), "subagents_announce"),
    (("says_recycled", "says_gateway_down", "exec_denied", "deps_lock"), "recycled_pid"),
    (("says_dead", "says_killed"), "holder_killed_before_payload"),
    (("gateway_closed",), "gateway_killed_mid_turn"),
    (("says_twice", "banner_fresh"), "accepted_run_is_run_again"),
)
#: Durations that grow with the run limit; lock waits and the runtime's own steps do not.
_STRETCHED = frozenset(
    ("timeout_s", "budget_s", "settle_s", "first_token_s", "inter_token_s", "at_s", "for_s", "every_s", "think_s",
     "answers_s")
)  # fmt: skip
_OF_THE_FILE = ("name", "row", "expect")  # say something about the catalogue's file, not about this one


@dataclass(frozen=True)
class Near:
    """A scenario of the catalogue. ``why``: what of the report speaks for it."""

    scenario: Scenario
    why: str


def nearest(report: Report) -> list[Near]:
    """The catalogue's scenarios that the report speaks for, the likeliest first; none for a report without a class."""
    wanted = report.classes or report.possible
    kinds = {event.kind for event in report.events}
    if any("changed while" in candidate.error for candidate in report.chain):
        kinds.add("takeover")
    pointed = {name: place for place, (telling, name) in enumerate(POINTERS) if kinds.intersection(telling)}
    found: list[tuple[tuple[int, ...], str, Near]] = []
    for scenario in _catalogue():
        name = scenario.name
        shared = [letter for letter in scenario.classes if letter in wanted]
        named = sorted(set(report.reports) & set(scenario.reports))
        if not shared and not named:
            continue
        why = f"the report is {named[0]}" if named else f"class {', '.join(shared)}"
        rank = (
            -len(named), pointed.get(name, len(POINTERS)), min(map(wanted.index, shared), default=len(wanted)),
            -len(shared), -len(scenario.reports),
        )  # fmt: skip
        found.append((rank, name, Near(scenario, why)))
    return [near for _, _, near in sorted(found, key=lambda row: row[:2])]


@cache
def _catalogue() -> tuple[Scenario, ...]:
    return tuple(map(load_scenario, builtin_names()))


def near_compositions(report: Report) -> Iterator[Composition]:
    """The nearest scenarios, with the report's models and run limit in them."""
    for near in nearest(report)[:MOST]:
        yield fitted(near, report)


def fitted(near: Near, report: Report) -> Composition:
    """A scenario of the catalogue with the report's models and run limit, as far as the report states them."""
    scenario, text = near.scenario, read_builtin_text(near.scenario.name)
    models = model_names(report)
    limit = run_limit(report)
    stretches = (1.0,) if limit is None or limit == scenario.timeout_s else (limit / scenario.timeout_s, 1.0)
    shape = f"the catalogue's scenario {scenario.name} ({near.why})"
    owner = _owner(scenario)
    if not models and stretches == (1.0,):
        return Composition(
            scenario.name, shape, scenario.baseline, (), lambda _: scenario, lambda _: text,
            lambda _: ("all of it: nothing but its errors is from the report",), scenario.classes, owner,
        )  # fmt: skip

    def plain(values: Values) -> dict[str, Any]:
        made = copy.deepcopy(_plain(scenario.name))
        if models:
            _rename(made, models)
        stretched: dict[str, Any] = _stretched(made, values["stretch"])
        return stretched

    def written(values: Values) -> str:
        body = yaml.dump(plain(values), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110)
        return f"# {shape}, with the report's models and run limit.\n{body}"

    name = name_of(report)
    return Composition(
        name, shape, scenario.baseline,
        (Variable("stretch", stretches, "whether the times of the scenario grow with the report's run limit"),),
        lambda values: scenario_from(Document.of(plain(values), f"{name}.yaml"), name=name), written,
        lambda _: ("all but the models and the run limit: it is the catalogue's",), scenario.classes, owner,
    )  # fmt: skip


@cache
def _plain(name: str) -> dict[str, Any]:
    """A built-in scenario's values, without what says something about the catalogue's file."""
    data: dict[str, Any] = read_builtin(name).data
    return {key: value for key, value in data.items() if key not in _OF_THE_FILE}


def _owner(scenario: Scenario) -> str:
    """What becomes of the owner of the lock that others meet: by the scenario's classes."""
    return next((_OWNERS[letter] for letter in scenario.classes if letter in _OWNERS), "")


#: Whom a lock of this class belongs to.
_OWNERS = {"A": "alive", "C": "dead", "D": "other", "E": "alive", "F": "alive", "G": "alive"}


def _rename(plain: dict[str, Any], models: list[str]) -> None:
    """The report's chain in place of the scenario's; a longer one has more models like the last."""
    old = plain["chain"]
    likes = [old[min(place, len(old) - 1)] for place in range(max(len(models), 1))]
    scripts, answers = plain["models"], plain.get("answers_s", {})
    plain["chain"] = models
    plain["models"] = {
        new.partition("/")[2]: scripts[like.partition("/")[2]] for new, like in zip(models, likes, strict=True)
    }
    if answers:
        plain["answers_s"] = {new: answers[like] for new, like in zip(models, likes, strict=True) if like in answers}


def _stretched(value: Any, factor: float, *, here: bool = False) -> Any:
    if isinstance(value, dict):
        return {
            key: item if key in ("pacing", "initial") else _stretched(item, factor, here=here or key in _STRETCHED)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_stretched(item, factor, here=here) for item in value]
    if here and isinstance(value, int | float) and not isinstance(value, bool):
        return round(value * factor, 3)
    return value


class _Plain(yaml.SafeDumper):
    """Without anchors: people read it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
