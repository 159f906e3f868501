from __future__ import annotations

import pytest

from lockjaw.errors import UsageError
from lockjaw.harness.targets.openclaw.cache import accepts, might_accept
from lockjaw.harness.targets.openclaw.versions import Version, parse_target, parse_version, published_between, traits_of


def test_versions_are_ordered_as_they_were_published() -> None:
    published = ["2026.4.29-beta.1", "2026.4.29-beta.4", "2026.4.29", "2026.5.3-1", "2026.5.12", "2026.10.1"]
    assert [str(v) for v in sorted(Version(text) for text in reversed(published))] == published


@pytest.mark.parametrize("text", ["openclaw", "openclaw@", "openclaw@latest", "node@22.1.0", "2026.4.8", "openclaw@4"])
def test_target_that_names_no_version_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_target(text)


def test_target_is_a_version_or_builtin() -> None:
    assert parse_target("builtin") is None
    assert parse_target("openclaw@2026.4.8") == Version("2026.4.8")


def test_search_runs_over_releases_between_the_ends() -> None:
    published = ["0.0.1", "2026.4.8", "2026.4.29-beta.1", "2026.4.29", "2026.5.7", "2026.9.6", "not-a-version"]
    between = published_between(published, parse_version("2026.5.7"), parse_version("2026.4.8"))
    assert [str(v) for v in between] == ["2026.4.8", "2026.4.29", "2026.5.7"]


@pytest.mark.parametrize(("good", "bad"), [("2026.4.8", "2026.4.8"), ("2026.4.8", "2026.4.6")])
def test_search_needs_two_published_ends(good: str, bad: str) -> None:
    with pytest.raises(UsageError):
        published_between(["2026.4.8", "2026.5.7"], Version(good), Version(bad))


@pytest.mark.parametrize(
    ("version", "policy", "lock_timeout_s"),
    [("2026.4.8", "reuse-session", 10), ("2026.4.29", "fresh-session", 10), ("2026.5.7", "fresh-session", 60),
     ("2026.9.6", "no-fallback", 60)],
)  # fmt: skip
def test_each_era_has_its_policy(version: str, policy: str, lock_timeout_s: float) -> None:
    traits = traits_of(Version(version))
    assert (traits.policy, traits.lock_timeout_s) == (policy, lock_timeout_s)


@pytest.mark.parametrize(
    ("wanted", "version", "fits"),
    [(">=22.14.0", "22.23.3", True), (">=22.14.0", "22.13.9", False), (">=24.16.0 <25 || >=26.1.0", "24.21.0", True),
     (">=24.16.0 <25 || >=26.1.0", "25.1.0", False), ("^22.1.0", "23.0.0", False), ("*", "1.0.0", True),
     ("22", "22.9.1", True), ("~22", "22.9.1", False)],
)  # fmt: skip
def test_node_is_one_that_the_package_asks_for(wanted: str, version: str, fits: bool) -> None:
    assert accepts(wanted, version) is fits


def test_registry_is_not_asked_for_a_node_that_cannot_fit() -> None:
    assert might_accept(">=22.14.0", 22)
    assert not might_accept(">=24.16.0 <25", 22)
