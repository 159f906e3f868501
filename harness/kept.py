"""A finished run as its folder keeps it: what is replayed, packed into a kit, judged again.

The folder may be a stranger's: what nobody could read is not read, and each mistake names its file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from lockjaw.documents import FieldError
from lockjaw.errors import HarnessError, UsageError
from lockjaw.history.run import BUILTIN, Run

from .incident.scenario import Scenario
from .sim.tape import Choice, read_tape
from .store import MANIFEST, SCENARIO, TAPE, RunDirectory, no_run, read_run

__all__ = ["Kept", "decoded_scenario", "read_kept"]

T = TypeVar("T")
_NOTED = (("engine", str), ("policy", str), ("seed", int), ("time_scale", int | float))  # by every run


class Kept(msgspec.Struct, frozen=True):
    """``manifest``: what the run noted of itself. ``stored``: its scenario as it stands in the file. ``tape``: the
    choices of a simulated run, else none."""

    run: Run
    manifest: dict[str, Any]
    stored: bytes
    scenario: Scenario
    tape: Sequence[Choice]

    @property
    def target(self) -> str:
        return str(self.manifest.get("target", BUILTIN))


def read_kept(folder: Path) -> Kept:
    """Raises UsageError: the folder holds no finished run, or one of its files is not what a run leaves."""
    run = read_run(folder)
    try:
        manifest = RunDirectory(folder).manifest()
        stored = (folder / SCENARIO).read_bytes()
    except (OSError, HarnessError) as error:
        raise no_run(folder, error) from error
    for key, kind in _NOTED:
        if not isinstance(manifest.get(key), kind):
            raise UsageError(str(folder / MANIFEST), key, "what a run notes of itself", manifest.get(key))
    tape = _tape_of(folder) if manifest["engine"] == "sim" else []
    return Kept(run, manifest, stored, decoded_scenario(stored, folder, Scenario), tape)


def decoded_scenario(stored: bytes, folder: Path, kind: type[T]) -> T:
    """The scenario of a run folder, or a part of it. Raises UsageError."""
    try:
        return msgspec.json.decode(stored, type=kind)
    except (msgspec.DecodeError, FieldError, RecursionError) as error:
        raise UsageError(str(folder / SCENARIO), "", f"the scenario of a run ({error})") from error


def _tape_of(folder: Path) -> list[Choice]:
    try:
        return read_tape(folder / TAPE)
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(str(folder / TAPE), "", f"the choices of a simulated run ({error})") from error
