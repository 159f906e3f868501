"""Where runs are kept: ``<out>/<scenario>/<time>-<seed>-<policy>/``, ``latest`` beside them, bounded in number.

Several harnesses may use one store at the same time. A run folder appears complete with its manifest (it is
made under a hidden name and renamed), and only folders whose run is over are ever deleted: a manifest in state
``running`` protects its folder for as long as the process that it names lives.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import psutil

from lockjaw import __version__
from lockjaw.errors import HarnessError, UsageError
from lockjaw.history import read_records, write_history
from lockjaw.history.run import Run, read_document
from lockjaw.whole_files import write_whole

DEFAULT_OUT = Path(".lockjaw/runs")
KEEP = 50  # runs per scenario

MANIFEST, HISTORY, VERDICT, SCENARIO = "manifest.json", "history.jsonl", "verdict.json", "scenario.json"
TAPE = "tape.jsonl"  # of a simulated run: its choices
MAX_FILE_BYTES = 256 << 20  # of one file of a run; the longest history that was seen has 40 MB


class RunDirectory(msgspec.Struct, frozen=True):
    """The folder of one run."""

    path: Path

    @property
    def state(self) -> Path:
        """The runtime's state folder."""
        return self.path / "state"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def events(self) -> Path:
        """What each actor records, before it is merged."""
        return self.path / "events"

    @property
    def home(self) -> Path:
        return self.path / "home"

    def manifest(self) -> dict[str, Any]:
        """Raises HarnessError when the folder has no readable manifest: it is no run folder."""
        manifest = _read_manifest(self.path)
        if manifest is None:
            raise HarnessError(f"{self.path / MANIFEST} is missing or unreadable", str(self.path))
        return manifest

    def note(self, **changes: Any) -> None:
        """Add to the manifest."""
        _write_json(self.path / MANIFEST, self.manifest() | changes)

    def write(self, name: str, value: Any) -> None:
        """Write one JSON file of the run; a reader sees the old one or the new one, never half of it."""
        _write_json(self.path / name, value)


def keep(folder: RunDirectory, run: Run) -> None:
    """Write the history and the verdict into the run folder; the actors' own event files are then redundant."""
    write_history(folder.path / HISTORY, run.history)
    folder.write(VERDICT, run.document())
    for part in folder.events.iterdir():
        part.unlink()
    folder.events.rmdir()


def no_run(folder: Path, error: Exception) -> UsageError:
    """The error for a folder that was expected to hold a finished run."""
    if not folder.exists():
        why = "no folder has this name"
    elif not folder.is_dir():
        why = "this is a file"
    elif (folder / "latest" / VERDICT).exists():
        why = f"its newest run is {folder / 'latest'}"
    elif not (folder / VERDICT).exists():
        why = f"this one has no {VERDICT}"
    else:
        why = f"this one cannot be read ({error})"
    return UsageError(str(folder), "", f"the folder of a finished run, such as one in {DEFAULT_OUT}; {why}")


def check_files(run_dir: Path) -> None:
    """Look before reading: the folder may be a stranger's, where a pipe never ends and a device fills the memory.

    Raises:
        UsageError: a file of the run is none, or is larger than any that a run leaves.
    """
    for name in (MANIFEST, HISTORY, VERDICT, SCENARIO, TAPE):
        try:
            found = (run_dir / name).stat()
        except OSError:
            continue  # who needs it says that it is missing
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(str(run_dir / name), "", "a plain file")
        if found.st_size > MAX_FILE_BYTES:
            raise UsageError(str(run_dir / name), "", f"at most {MAX_FILE_BYTES} bytes", found.st_size)


def read_run(run_dir: Path) -> Run:
    """A finished run as its folder holds it. Raises UsageError if the folder holds none, or what nobody could read."""
    check_files(run_dir)
    try:
        document = msgspec.json.decode((run_dir / VERDICT).read_bytes(), type=dict[str, Any])
        return read_document(document, read_records(run_dir / HISTORY), run_dir)
    except (OSError, msgspec.DecodeError) as error:
        raise no_run(run_dir, error) from error


class Store:
    """The runs below one folder.

    Args:
        out: the folder; made when needed.
        keep: newest runs per scenario that ``prune`` leaves; >= 1.
    """

    def __init__(self, out: str | os.PathLike[str] | None = None, *, keep: int = KEEP) -> None:
        self.root = Path(DEFAULT_OUT if out is None else out).absolute()
        self._keep = keep

    def create(self, scenario: str, seed: int, policy: str, **facts: Any) -> RunDirectory:
        """A new run folder, its manifest in state ``running``.

        Raises:
            HarnessError: the folder cannot be made.
        """
        parent = self.root / scenario
        now = datetime.now(tz=UTC)
        manifest = {
            "lockjaw": __version__, "scenario": scenario, "seed": seed, "policy": policy, "state": "running",
            "started": now.isoformat(timespec="microseconds"), "pid": os.getpid(), "pid_created": _created(os.getpid()),
        } | facts  # fmt: skip
        try:
            parent.mkdir(parents=True, exist_ok=True)
            _keep_out_of_git(self.root)
            hidden = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))  # mode 0700: state/ will hold a token
            for folder in ("state", "logs", "events", "home"):
                (hidden / folder).mkdir()
            _write_json(hidden / MANIFEST, manifest)
            return RunDirectory(_claim(hidden, parent, f"{now:%Y-%m-%dT%H-%M-%S}-{seed}-{policy}"))
        except OSError as error:
            raise HarnessError(f"cannot make a run folder below {self.root}: {error}") from error

    def finish(self, run: RunDirectory, state: str = "finished", **facts: Any) -> None:
        """The run is over: say so, point ``latest`` at it, and delete the oldest runs beyond the bound."""
        run.note(state=state, **facts)
        _point(run.path.parent / "latest", run.path)
        _point(self.root / "latest", run.path)
        self.prune(run.path.parent.name, spare=run.path)

    def runs(self, scenario: str) -> list[RunDirectory]:
        """The scenario's run folders, oldest first."""
        parent = self.root / scenario
        found = [p for p in parent.iterdir() if _is_run(p)] if parent.is_dir() else []
        return [RunDirectory(path) for path in sorted(found, key=_age_key)]

    def prune(self, scenario: str, *, spare: Path | None = None) -> list[Path]:
        """Delete the oldest runs beyond the bound; never one that is still going on, nor ``spare`` (a long run may be
        the oldest when it ends, and somebody is about to read it). Returns what was deleted."""
        deleted = []
        for run in self.runs(scenario)[: -self._keep]:
            manifest = _read_manifest(run.path)
            if manifest is None or run.path == spare or _going_on(manifest):
                continue
            # Renamed first: of two harnesses that prune at once, one wins, and no reader sees half a run.
            doomed = run.path.with_name(f".old-{os.getpid()}-{run.path.name}")
            try:
                run.path.rename(doomed)
            except OSError:
                continue
            shutil.rmtree(doomed, ignore_errors=True)
            deleted.append(run.path)
        return deleted


def _is_run(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not path.name.startswith(".")


def _claim(hidden: Path, parent: Path, name: str) -> Path:
    """Rename to ``name``, or ``name-2`` and so on: several runs may start within one second."""
    for number in count(1):
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            hidden.rename(path)  # fails on a folder that is not empty, and every run folder has a manifest
            return path
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    raise AssertionError("count() ended")


def _age_key(path: Path) -> tuple[str, str]:
    manifest = _read_manifest(path) or {}
    return str(manifest.get("started", "")), path.name


def _going_on(manifest: dict[str, Any]) -> bool:
    """True while the process that runs it lives. A harness that was killed leaves ``running`` behind for ever."""
    if manifest.get("state") != "running":
        return False
    created = _created(int(manifest.get("pid", 0)))
    return created is not None and created == manifest.get("pid_created")


def _created(pid: int) -> float | None:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def _keep_out_of_git(root: Path) -> None:
    """Runs in a repository are not for committing: ``.lockjaw`` tells git so, as a cache folder does."""
    for folder in (root, *root.parents):
        if folder.name == ".lockjaw":
            with suppress(FileExistsError), (folder / ".gitignore").open("x", encoding="utf-8") as file:
                file.write("*\n")


def _point(link: Path, target: Path) -> None:
    """Point a symbolic link at a run, atomically; a file system without links goes without."""
    fresh = link.with_name(f".{link.name}-{os.getpid()}-{target.name}")
    try:
        fresh.symlink_to(os.path.relpath(target, link.parent))
        fresh.replace(link)
    except OSError:
        fresh.unlink(missing_ok=True)


def _read_manifest(path: Path) -> dict[str, Any] | None:
    try:
        if not (path / MANIFEST).is_file():  # a pipe would never end
            return None
        value = msgspec.json.decode((path / MANIFEST).read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return value if isinstance(value, dict) else None


def readable(value: Any) -> bytes:
    """JSON as people read it."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _write_json(path: Path, value: Any) -> None:
    write_whole(path, readable(value))
