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

__all__ = ["ORIGIN", "is_ours", "mark"]

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
