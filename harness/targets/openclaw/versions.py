"""Versions of OpenClaw: their order, and what a run has to know about each.

Pure. What differs between versions is held as data (``Traits``), read from the packages themselves and from runs of
them; nothing else in this package compares version numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import total_ordering

from lockjaw.errors import UsageError

PACKAGE = "openclaw"
_TARGET = re.compile(rf"{PACKAGE}@(?P<version>\S+)")
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:-(?:(?P<post>\d+)|(?P<tag>[a-z]+)\.?(?P<number>\d*)))?")


@total_ordering
@dataclass(frozen=True)
class Version:
    """``2026.4.8``. ``-1`` is a later build of the same day, ``-beta.1`` an earlier one (unlike semver)."""

    text: str

    @property
    def key(self) -> tuple[int, ...]:
        found = _VERSION.fullmatch(self.text)
        assert found is not None  # parse() let it in
        tag = found["tag"]
        stage = (-1, int(found["number"] or 0)) if tag else (int(found["post"] or 0), 0)
        return (*(int(found[n]) for n in (1, 2, 3)), *stage)

    @property
    def is_prerelease(self) -> bool:
        return self.key[3] < 0

    def __lt__(self, other: Version) -> bool:
        return self.key < other.key

    def __str__(self) -> str:
        return self.text


def parse_version(text: str, *, source: str = "version") -> Version:
    """Raises UsageError for anything that is not YEAR.MONTH.DAY with an optional suffix."""
    if not _VERSION.fullmatch(text):
        raise UsageError(source, "", "a version such as 2026.4.8", text)
    return Version(text)


def parse_target(text: str) -> Version | None:
    """The version of ``openclaw@VERSION``; None for ``builtin``. Raises UsageError for anything else."""
    if text == "builtin":
        return None
    found = _TARGET.fullmatch(text)
    if found is None:
        raise UsageError("--target", "", "builtin or openclaw@VERSION", text)
    return parse_version(found["version"], source="--target")


def published_between(published: Iterable[str], good: Version, bad: Version) -> list[Version]:
    """The releases (no betas) from ``good`` to ``bad``, both included, in order. Unknown forms are left out.

    Raises:
        UsageError: one of the two was never published, or they are in the wrong order.
    """
    known = sorted({Version(text) for text in published if _VERSION.fullmatch(text)})
    for flag, version in (("--good", good), ("--bad", bad)):
        if version not in known:
            raise UsageError(flag, "", f"a published version of {PACKAGE}", str(version))
    low, high = sorted((good, bad))
    if low == high:
        raise UsageError("--bad", "", "another version than --good", str(bad))
    return [v for v in known if low <= v <= high and (not v.is_prerelease or v in (low, high))]


@dataclass(frozen=True)
class Traits:
    """What a run has to know about one version.

    ``policy``: the built-in policy that models its fallback.
    ``lock_timeout_s``: of its session lock. ``sqlite``: sessions are kept in a database, there are no lock files.
    ``abort_reaches_agent_runs``: ``chat.abort`` stops a run that ``agent`` started. ``protocol``: of its gateway.
    """

    policy: str
    lock_timeout_s: float
    sqlite: bool
    abort_reaches_agent_runs: bool
    protocol: int


def traits_of(version: Version) -> Traits:
    """Boundaries as read in the packages: 4.29 fresh session, 5.2 longer lock wait, 5.7 aborts, 7.2 no fallback."""

    def since(text: str) -> bool:
        return version >= Version(text)

    if since("2026.7.2"):
        policy = "no-fallback"
    elif since("2026.4.29"):
        policy = "fresh-session"
    else:
        policy = "reuse-session"
    return Traits(
        policy=policy,
        lock_timeout_s=60.0 if since("2026.5.2") else 10.0,
        sqlite=since("2026.8.1"),
        abort_reaches_agent_runs=since("2026.5.7"),
        protocol=4 if since("2026.5.16") else 3,
    )
