"""Nominal time: one factor between what is said and what passes."""

from __future__ import annotations

import time

import pytest

from lockjaw.clock import ENVIRONMENT_KEY, ScaledClock, iso, parse_iso, surrounding_clock

SCALE = 0.02
SLACK_REAL_S = 5.0  # how late a loaded machine may be; the lower bounds are exact


def test_a_nominal_second_takes_its_scale_and_not_less() -> None:
    clock = ScaledClock.start(SCALE)
    before, real = clock.monotonic(), time.monotonic()

    clock.sleep_blocking(2.0)

    real_s, nominal_s = time.monotonic() - real, clock.monotonic() - before
    assert real_s >= 2.0 * SCALE  # not early: the scale was not applied twice
    assert nominal_s >= 2.0  # and the clock agrees with the sleep
    assert real_s < 2.0 * SCALE + SLACK_REAL_S  # it was applied at all


async def test_an_asynchronous_sleep_takes_as_long() -> None:
    clock = ScaledClock.start(SCALE)
    before = clock.monotonic()

    await clock.sleep(2.0)

    assert 2.0 <= clock.monotonic() - before < 2.0 + SLACK_REAL_S / SCALE


async def test_a_sleep_until_a_moment_that_has_passed_returns_at_once() -> None:
    clock = ScaledClock.start(1.0)
    before = clock.monotonic()

    clock.sleep_blocking(-100.0)
    await clock.sleep(-100.0)

    assert clock.monotonic() - before < SLACK_REAL_S


def test_real_seconds_are_for_the_limits_of_libraries() -> None:
    assert ScaledClock.start(0.5).real_s(90.0) == 45.0


def test_the_wall_moves_with_nominal_time() -> None:
    now_ns = time.monotonic_ns()
    clock = ScaledClock(0.01, now_ns - 10_000_000, 1_000_000)  # 10 real ms ago: one nominal second

    assert 1_001_000 <= clock.wall_ms() < 1_001_000 + SLACK_REAL_S / 0.01 * 1000


def test_processes_share_a_clock_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ScaledClock.start(SCALE)
    for key, value in clock.to_environment().items():
        monkeypatch.setenv(key, value)

    assert ScaledClock.from_environment() == clock


def test_the_surrounding_clock_is_that_of_the_environment_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT_KEY, raising=False)
    assert surrounding_clock().real_s(1.0) == 1.0
    clock = ScaledClock.start(SCALE)
    monkeypatch.setenv(ENVIRONMENT_KEY, clock.to_environment()[ENVIRONMENT_KEY])
    assert surrounding_clock() == clock
    monkeypatch.setenv(ENVIRONMENT_KEY, "")
    assert surrounding_clock().real_s(1.0) == 1.0


@pytest.mark.parametrize("text", [None, ""])
def test_without_a_harness_time_is_ordinary(text: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT_KEY, raising=False)
    if text is not None:
        monkeypatch.setenv(ENVIRONMENT_KEY, text)

    clock = ScaledClock.from_environment()

    assert clock.scale == 1.0
    assert abs(clock.wall_ms() - time.time() * 1000) < SLACK_REAL_S * 1000


@pytest.mark.parametrize(
    ("wall_ms", "text"),
    [(0, "1970-01-01T00:00:00.000Z"), (1_795_364_487_099, "2026-11-22T16:21:27.099Z"), (7, "1970-01-01T00:00:00.007Z")],
)
def test_instants_are_written_as_javascript_does_and_read_back(wall_ms: int, text: str) -> None:
    assert iso(wall_ms) == text
    assert parse_iso(text) == wall_ms


@pytest.mark.parametrize(
    ("text", "wall_ms"),
    [("1970-01-01T01:00:00+01:00", 0), ("1970-01-01T00:00:01", 1000), ("yesterday", None), ("", None)],
)
def test_other_instants_are_read_if_they_are_iso(text: str, wall_ms: int | None) -> None:
    assert parse_iso(text) == wall_ms
