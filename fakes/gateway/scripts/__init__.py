"""The gateway scripts that come with Lockjaw: one YAML file for each way in which a gateway fails its clients.

Each file says what it shows (``about``), and what one ``agent`` call of a client comes to (``error`` or ``reply``); a
test holds our own client to it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from importlib.resources import files

from lockjaw.documents import convert
from lockjaw.documents.yaml import load_document
from lockjaw.errors import LocalError

from ..script import ScriptFile

GROUPS = (
    "healthy",
    "close codes and lost connections",
    "upgrade and handshake",
    "refused connects",
    "refused calls and failed runs",
    "the two answers of a run",
    "frames and numbers",
    "a shared state directory",
)


def names() -> list[str]:
    return sorted(
        entry.name.removesuffix(".yaml") for entry in files(__name__).iterdir() if entry.name.endswith(".yaml")
    )


def read_text(name: str) -> str:
    """The YAML of a script. Raises LocalError naming those that are nearest."""
    entry = files(__name__) / f"{name}.yaml"
    if not name.isidentifier() or not entry.is_file():
        close = difflib.get_close_matches(name, names(), 1, 0.6)
        near = [known for known in names() if any(part in known for part in name.split("_") if part)]
        hint = f"; did you mean {close[0]}?" if close else f"; perhaps {', '.join(near[:6])};" if near else ";"
        raise LocalError(
            f"no gateway script is called {name[:60]!r}{hint} `lockjaw serve gateway --list` names all; "
            "a file of your own is given by its path"
        )
    return entry.read_text(encoding="utf-8")


def load(name: str) -> ScriptFile:
    """A script by its name. Raises LocalError if there is none."""
    return convert(load_document(read_text(name), f"{name}.yaml"), ScriptFile)


def listed() -> Iterator[tuple[str, dict[str, ScriptFile]]]:
    """The groups in their order, each with its scripts by name."""
    loaded = {name: load(name) for name in names()}
    for group in GROUPS:
        yield group, {name: script for name, script in loaded.items() if script.group == group}
