"""The benchmark's figures for people: tables, who starves, and which promised figures were missed. Pure."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator

from .run import BenchResult, Figures

OURS, OURS_ASYNC, BARE = "guarded", "guarded-async", "bare flock"


def markdown(result: BenchResult) -> str:
    """One table a measurement; fairness and longest wait stand in the row of every throughput."""
    stopped = ", interrupted" if result.interrupted else ""
    lines = [f"# Session locks, measured ({result.plan.name}{stopped})", "", *_wrapped(_environment(result)), ""]
    waiters, plan = result.plan.waiters, result.plan
    lines += ["## Acquire and release; hand-off to a waiter: p50 / p99 us", ""]
    lines += _table(
        ["lock", "made afresh", "used again", *(f"{n} waiting" for n in waiters)],
        [[one.name, _pair(one.afresh_p50_s, one.afresh_p99_s), _pair(one.uncontended_p50_s, one.uncontended_p99_s),
          *(_pair(one.handoff_p50_s.get(n), one.handoff_p99_s.get(n)) for n in waiters)] for one in result.figures],
    )  # fmt: skip
    lines += ["", f"## After a crash; CPU of {plan.cpu_waiters} that wait {plan.cpu_s:g} s", ""]
    lines += _table(
        ["lock", "after SIGKILL ms", "storm overlaps", "CPU ms"],
        [
            [one.name, _recovery(one, plan.kill_limit_s), _storm(one), _number(one.wait_cpu_s, 1e3)]
            for one in result.figures
        ],
    )
    for name in result.figures[0].contention:
        lines += ["", f"## Contention: {name} hold", ""]
        lines += _table(
            ["lock", "acquired/s", "Jain", "longest wait ms", "x fair share", "least - most", "starving"],
            [[one.name, f"{c.per_second:,.0f}", f"{c.jain:.3f}", f"{c.longest_s * 1e3:,.0f}",
              f"{c.longest_s / c.fair_s:.1f}", f"{c.least} - {c.most}", str(c.starving)]
             for one in result.figures if (c := one.contention.get(name))],
        )  # fmt: skip
    lines += ["", "## What was promised", "", *_bullets(promises(result))]
    lines += ["", "## Who is starving", "", *_bullets(starving(result))]
    if result.absent:
        lines += ["", "## Not measured", "", *_bullets(f"{absent.name}: {absent.reason}" for absent in result.absent)]
    return "\n".join(lines) + "\n"


def starving(result: BenchResult) -> list[str]:
    """Sentences about who gets less than a quarter of an even share."""
    said = []
    for one in result.figures:
        for name, c in one.contention.items():
            if c.starving:
                said.append(
                    f"{one.name}, {name}: {c.starving} of {len(c.waits_s)} contenders get less than a quarter of their "
                    f"share; one has {c.least}, another {c.most}; the longest wait is {c.longest_s * 1e3:,.0f} ms."
                )
    return said or ["Nobody."]


def promises(result: BenchResult) -> list[str]:
    """Every figure that the project promises, held or MISSED, with both numbers."""
    return [f"{'held  ' if held else 'MISSED'} {text}" for held, text in _promises(result)]


def _promises(result: BenchResult) -> Iterator[tuple[bool, str]]:
    by = {one.name: one for one in result.figures}
    ours, bare = by[OURS], by[BARE]
    openclaw = next((name for name in by if name.startswith("openclaw ")), "openclaw")
    for other, factor, least in (("portalocker", 1.3, False), ("filelock.FileLock", 2.0, True), (openclaw, 10.0, True)):
        theirs = by[other].uncontended_p50_s if other in by else None
        if theirs and ours.uncontended_p50_s:
            ratio = theirs / ours.uncontended_p50_s if least else ours.uncontended_p50_s / theirs
            says = f"{factor:g} x faster than" if least else f"at most {factor:g} x"
            yield (ratio >= factor if least else ratio <= factor), f"uncontended p50 {says} {other}: {ratio:.2f} x"
    theirs = by["portalocker"].afresh_p50_s if "portalocker" in by else None
    if theirs and ours.afresh_p50_s:
        ratio = ours.afresh_p50_s / theirs
        yield ratio <= 1.3, f"made afresh p50 at most 1.3 x portalocker made afresh: {ratio:.2f} x"
    polls = [one for one in result.figures if one.kind == "polls"]
    for name, factor in ((OURS, 2.0), (OURS_ASYNC, 5.0)):
        for waiters, own in by[name].handoff_p50_s.items():
            if floor := bare.handoff_p50_s.get(waiters):
                ratio = own / floor
                yield ratio <= factor, f"{name} hand-off to {waiters} at most {factor:g} x bare flock: {ratio:.1f} x"
            if name == OURS and (
                rivals := [one.handoff_p50_s[waiters] for one in polls if waiters in one.handoff_p50_s]
            ):
                ratio = min(rivals) / own
                yield ratio >= 50, f"hand-off to {waiters} at least 50 x faster than every polling lock: {ratio:.0f} x"
    for case, c in ours.contention.items():
        yield c.jain >= 0.99, f"{case}: Jain at least 0.99: {c.jain:.4f}"
        share = c.longest_s / c.fair_s
        yield share <= 3, f"{case}: longest wait at most 3 x the fair share: {share:.1f} x"
    if ours.recovery_p50_s is None and not ours.recovery_never:
        return  # interrupted before that
    recovery = math.inf if ours.recovery_p50_s is None else ours.recovery_p50_s
    yield recovery < 0.010, f"recovery from SIGKILL p50 under 10 ms: {recovery * 1e3:.1f} ms"
    if ours.storm_overlaps is not None:
        yield ours.storm_overlaps == 0, f"no overlap in a storm: {ours.storm_overlaps} of {ours.storm_rounds} rounds"
    if ours.wait_cpu_s is not None:
        yield (
            ours.wait_cpu_s < 0.1,
            f"{result.plan.cpu_waiters} waiters use under 100 ms: {ours.wait_cpu_s * 1e3:.1f} ms",
        )


def _environment(result: BenchResult) -> str:
    e = result.environment
    versions = ", ".join(f"{name} {version}" for name, version in e["versions"].items())
    load = f"load {e['load_before'][0]} before and {e['load_after'][0]} after"
    return (
        f"Linux {e['kernel']}, {e['cores']} cores, {e['file_system']}, Python {e['python']}, {load}; {versions}. "
        f"Medians of {result.plan.rounds} interleaved rounds, {result.took_s:.0f} s in all. Read ratios, not absolutes."
    )


def _wrapped(text: str, first: str = "") -> list[str]:
    return textwrap.wrap(
        text, 80, initial_indent=first, subsequent_indent=" " * len(first),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _bullets(lines: Iterable[str]) -> list[str]:
    return [part for line in lines for part in _wrapped(line, "* ")]


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]


def _number(value: float | None, factor: float) -> str:
    return "-" if value is None else f"{value * factor:,.1f}"


def _pair(p50: float | None, p99: float | None) -> str:
    return "-" if p50 is None or p99 is None else f"{_short(p50 * 1e6)} / {_short(p99 * 1e6)}"


def _short(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _recovery(one: Figures, limit_s: float) -> str:
    if one.recovery_p50_s is None:
        return f"> {limit_s * 1e3:,.0f}" if one.recovery_never else "-"
    return _number(one.recovery_p50_s, 1e3)


def _storm(one: Figures) -> str:
    return "-" if one.storm_overlaps is None else f"{one.storm_overlaps} of {one.storm_rounds}"
