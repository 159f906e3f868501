"""The incidents that come with Lockjaw, one YAML file each."""

from __future__ import annotations

from lockjaw.documents import Document

from ..fakes.models.script import load_model_script
from ..harness.incident.scenario import Scenario, builtin_names, read_builtin, scenario_from


def names() -> list[str]:
    """The built-in scenarios, sorted."""
    return builtin_names()


def find(name: str) -> Document:
    """The document of a built-in scenario. Raises DocumentError naming those that exist."""
    return read_builtin(name)


def load(name: str) -> Scenario:
    """A built-in scenario, its model scripts checked as well (a plain ``load_scenario`` leaves those to the fake).

    Raises:
        DocumentError: no such scenario; or line, key, what was expected, what was found.
    """
    document = find(name)
    scenario = scenario_from(document, name=name)
    load_model_script(document, at=("models",))
    return scenario
