"""Whether a run folder was made by this user on this machine.

The folder of a run of real processes carries a keyed hash over everything that its replay reads, unless all that it
plays comes with Lockjaw. The key is a random file of this user (``origin.key``, mode 0600, in the user's state folder),
made when it is first needed. A folder that was made elsewhere, or was changed by hand, does not fit it, and then its
replay asks as that of a kit does.
"""

from __future__ import annotations

import hmac
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..store import MANIFEST, SCENARIO

__all__ = ["ORIGIN", "came_in", "is_ours", "mark"]

ORIGIN = "origin"  # the manifest's field
KEY_FILE = "origin.key"
_KEY_BYTES = 32
_READ = ("engine", "target", "policy", "client_policy", "seed", "time_scale", "cache", "allow_network")


def mark(manifest: Mapping[str, Any], scenario: bytes) -> str | None:
    """The mark of a run made here; None where the key can neither be read nor made, and then its replay asks.

    Args:
        manifest: as it stands in the folder.
        scenario: the bytes of ``scenario.json``.
    """
    key = _key() or _new_key()
    return None if key is None else _hash(key, manifest, scenario)


def is_ours(manifest: Mapping[str, Any], scenario: bytes) -> bool:
    """Was it made here, and is it unchanged?"""
    key, marked = _key(), manifest.get(ORIGIN)
    if key is None or not isinstance(marked, str):
        return False
    return hmac.compare_digest(marked.encode("utf-8", "replace"), _hash(key, manifest, scenario).encode())


def came_in(path: Path) -> str:
    """What a scenario or a target file lies in, if strangers send such things: ``kit`` (unpacked), ``run folder``; else
    empty. Links are followed, and it counts however deep in the folder the file lies."""
    for file in dict.fromkeys((path.absolute(), path.resolve())):
        for folder in file.parents:
            if found := _sent(folder, whatever=file == folder / SCENARIO):
                return found
    return ""


def _sent(folder: Path, *, whatever: bool) -> str:
    """``whatever``: beside a ``scenario.json`` files of these names count even if they say nothing."""
    kit, manifest = _read(folder / "kit.json"), _read(folder / MANIFEST)
    if kit is not None and (whatever or str(kit.get("format")).startswith("lockjaw-kit")):
        return "kit"
    if manifest is None or not (whatever or {"lockjaw", "scenario"} <= manifest.keys()):
        return ""
    try:
        return "" if is_ours(manifest, (folder / SCENARIO).read_bytes()) else "run folder"
    except OSError:
        return "run folder"


def _read(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; empty if it holds none, None if there is no file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.MsgspecError, RecursionError):
        return {}


def _hash(key: bytes, manifest: Mapping[str, Any], scenario: bytes) -> str:
    read = {name: manifest.get(name) for name in _READ}
    return hmac.new(key, msgspec.json.encode(read, order="sorted") + b"\0" + scenario, "sha256").hexdigest()


def _path() -> Path:
    from platformdirs import user_state_path  # here: only runs of real processes need it

    return user_state_path("lockjaw", appauthor=False) / KEY_FILE


def _key() -> bytes | None:
    try:
        key = _path().read_bytes()
    except OSError:
        return None
    return key if len(key) == _KEY_BYTES else None


def _new_key() -> bytes | None:
    """Written whole under another name, then linked: of two processes that begin at once, both use one key."""
    path = _path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        number, fresh = tempfile.mkstemp(prefix=f".{KEY_FILE}-", dir=path.parent)  # mode 0600
        try:
            os.write(number, secrets.token_bytes(_KEY_BYTES))
            os.fsync(number)
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            os.close(number)
            os.unlink(fresh)
    except OSError:
        return None
    return _key()
