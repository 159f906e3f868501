"""Which runtimes there are by name, and a runtime of the user's own by its file.

Built-in ones are folders of this package with a ``target.toml``. A package of somebody else's adds some through the
entry point group ``lockjaw.targets``: name -> the path of a ``target.toml``, or a function that returns it. Code beside
a file (``target.py``) is loaded when the target is used, and only for a file that the user named or has installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from lockjaw.errors import LocalError, UsageError

from ..kit.origin import came_in
from .foreign import GATEWAY_PORT, MODEL_PORT, Foreign
from .installing import Ask, install, missing_needs
from .launch import free_port
from .namespace import Namespace, NoNamespace
from .program import Program
from .spec import TargetSpec, load_target_spec
from .store import Say, Store

__all__ = ["BUILTIN_TARGETS", "Choice", "choose", "opened", "versions_in"]

GROUP = "lockjaw.targets"
FILE = "target.toml"
_HERE = Path(__file__).parent
BUILTIN_TARGETS = tuple(sorted(path.parent.name for path in _HERE.glob(f"*/{FILE}")))


@dataclass(frozen=True)
class Choice:
    """A target as the user named it: ``codex@0.171.0``, ``codex``, ``./mine.toml`` or ``./mine/``."""

    spec: TargetSpec
    version: str
    path: Path

    @property
    def name(self) -> str:
        return f"{self.spec.name}@{self.version}"


def choose(text: str) -> Choice:
    """The target that a word means: a name, a file, or a folder with a ``target.toml``.

    Raises:
        UsageError: no such name.
        DocumentError: the file cannot be read or does not say what it must.
    """
    if "/" in text or text.endswith(".toml"):
        path = Path(text)
        path = path / FILE if path.is_dir() else path
        spec = load_target_spec(path)
        return Choice(spec, spec.version, path)
    name, _, version = text.partition("@")
    found = _named(name)
    if found is None:
        known = ", ".join(("builtin", "openclaw", *names()))
        raise UsageError("--target", "", f"one of {known} (NAME or NAME@VERSION), or the path of a .toml file", text)
    spec = load_target_spec(found)
    return Choice(spec, version or spec.version, found)


def versions_in(text: str) -> list[str]:
    """``codex@0.150.0,0.171.0`` is ``codex@0.150.0`` and ``codex@0.171.0``; every other word is itself."""
    name, at, versions = text.partition("@")
    if not at or "/" in text:
        return [text]
    return [f"{name}@{version.strip()}" for version in versions.split(",") if version.strip()]


def names() -> list[str]:
    """Every name that ``choose`` knows, beside OpenClaw, which is chosen by version."""
    return sorted({*BUILTIN_TARGETS, *(point.name for point in entry_points(group=GROUP))})


def _named(name: str) -> Path | None:
    if name in BUILTIN_TARGETS:
        return _HERE / name / FILE
    for point in entry_points(group=GROUP):
        if point.name == name:
            made = point.load()
            return Path(made() if callable(made) else made)
    return None


def program_of(choice: Choice) -> Program:
    """The class beside the file (``target.py`` has ``Program``, a subclass of ours), or what the file says."""
    beside = choice.path.with_suffix(".py")
    if not beside.is_file():
        return Program(choice.spec, choice.version)
    if choice.path.parent.parent == _HERE:
        module = importlib.import_module(f"{__package__}.{choice.path.parent.name}.{beside.stem}")
    else:
        spec = importlib.util.spec_from_file_location(f"lockjaw_target_{choice.spec.name}", beside)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    made = getattr(module, "Program", None)
    if not (isinstance(made, type) and issubclass(made, Program)):
        raise UsageError("--target", "", f"a class Program (of lockjaw.harness.targets.program) in {beside}", made)
    return made(choice.spec, choice.version)


@contextmanager
def opened(
    choice: Choice, *, ask: Ask, say: Say, cache: Path | None = None, allow_network: bool = False
) -> Iterator[Foreign]:
    """The target, installed, with a namespace around it until the block ends.

    Raises:
        LocalError: the file was sent by somebody: it lies in an unpacked kit, or in a run folder of another machine.
        HarnessError: it cannot be installed or run here (NoNamespace among them).
        UsageError: a program that the file needs is not on PATH.
    """
    if place := came_in(choice.path):
        raise LocalError(
            f"{str(choice.path)!r} lies in a {place} that was not made on this machine, so its program is not started. "
            "Once you have read the file (and the .py beside it, if any) and trust it, copy it somewhere else and name "
            "the copy."
        )
    if missing := missing_needs(choice.spec):
        raise UsageError("--target", "", f"{' and '.join(missing)} on PATH, which {choice.spec.name} needs", "none")
    namespace: Namespace | None = None
    try:
        namespace = Namespace()  # before anything is installed
    except NoNamespace as error:
        if not allow_network:
            raise
        say(f"no network namespace ({error.reason}): using the machine's own network, as --allow-network says")
    try:
        installed = install(choice.spec, choice.version, Store(cache, say), ask)
        ports = (GATEWAY_PORT, MODEL_PORT) if namespace else (free_port(), free_port())
        doors = namespace.doors if namespace else None
        yield Foreign(
            choice.spec, program_of(choice), choice.version, installed.folder, doors, *ports,
            integrity=installed.integrity, here=choice.path.parent.absolute(),
        )  # fmt: skip
    finally:
        if namespace is not None:
            namespace.close()
