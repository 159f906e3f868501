from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lockjaw.harness.targets.namespace import Namespace, NoNamespace
from lockjaw.harness.targets.openclaw.cache import Cache, Installed
from lockjaw.harness.targets.openclaw.versions import Version
from lockjaw.harness.targets.store import default_root

SWITCH, CACHE = "LOCKJAW_OPENCLAW", "LOCKJAW_OPENCLAW_CACHE"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The real program costs 600 MB a version and minutes a test: only who asks for it gets it."""
    if os.environ.get(SWITCH):
        return
    why = f"runs the real program: tox -e openclaw, or {SWITCH}=1"
    for item in items:
        if item.get_closest_marker("openclaw"):
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def cache_root() -> Path:
    return Path(os.environ.get(CACHE) or default_root())


@pytest.fixture(scope="session")
def installed(cache_root: Path) -> Callable[[str], Installed]:
    """A version from the cache, installed if need be; skips where that cannot be."""

    def get(version: str) -> Installed:
        if not (cache_root / "openclaw" / version).is_dir() and shutil.which("npm") is None:
            pytest.skip(f"openclaw {version} is not in {cache_root}, and there is no npm to install it")
        return Cache(cache_root).get(Version(version))

    return get


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    try:
        made = Namespace()
    except NoNamespace as error:
        pytest.skip(f"no network namespaces here: {error.reason}")
    with made:
        yield made
