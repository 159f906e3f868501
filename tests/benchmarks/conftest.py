"""Measurements are run by name (``pytest -m bench tests/benchmarks``): their figures depend on the machine, and a
gate that fails on a busy one says nothing about the code."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.bench)
