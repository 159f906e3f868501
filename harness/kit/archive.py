"""The zip file of a kit: written whole or not at all, read as if its sender were an enemy.

Reading never extracts: the few known names are read into memory, each to its own limit, and everything else about the
archive must be as we write it. Knows no scenario.
"""

from __future__ import annotations

import io
import os
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from lockjaw.errors import HarnessError, UsageError
from lockjaw.whole_files import write_whole

MIB = 1 << 20
#: Name -> bytes at most when unpacked. A history of 100,000 records has 40 MB; a page is cut below 2 MB by its maker.
LIMITS: Mapping[str, int] = {
    "README.md": 1 * MIB,
    "kit.json": 1 * MIB,
    "scenario.json": 4 * MIB,
    "tape.jsonl": 64 * MIB,
    "history.jsonl": 64 * MIB,
    "verdicts.json": 4 * MIB,
    "report.html": 8 * MIB,
    "redactions.json": 1 * MIB,
}
MAX_FILE_BYTES = 64 * MIB
#: Bytes that one byte of an entry may unpack to, once the entry is larger than 16 MB. Deflate makes up to 1,032 of one,
#: honest tapes and histories 20 to 50; so a bomb is refused by its table of contents, before anything is unpacked.
MAX_RATIO, FREE_BYTES = 250, 16 * MIB
_DATE = (1980, 1, 1, 0, 0, 0)  # the same content makes the same bytes
_CHUNK = 1 << 16
#: Flags of an entry that we know: 0x2 and 0x4 tell how hard deflate tried, 0x800 that the name is UTF-8.
_FLAGS = 0x806


class BadKit(UsageError):
    """A file that is no kit, or one that somebody prepared. Fields as of UsageError."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(str(path), "", f"a kit made by `lockjaw kit`; {why}")


def write_archive(path: Path, files: Mapping[str, bytes], *, force: bool) -> None:
    """Write the kit under its name, complete or not at all.

    Raises:
        UsageError: there is such a file already and not ``force``, or its folder is not there.
        HarnessError: the disk refuses.
    """
    assert all(len(data) <= LIMITS[name] for name, data in files.items()), "a kit that nobody could read"
    packed = io.BytesIO()
    _write(packed, files)
    try:
        write_whole(path, packed.getvalue(), replace=force, durable=True)
    except FileExistsError as error:
        raise UsageError(str(path), "", "a new file (--force replaces an old one)") from error
    except OSError as error:
        raise HarnessError(f"cannot write {path}: {error.strerror or error}") from error


def _write(raw: IO[bytes], files: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, data)


def read_archive(path: Path) -> dict[str, bytes]:
    """The files of a kit.

    Raises:
        BadKit: no zip; an entry that a kit does not have (so also ``../x``, ``/x``, ``C:x``); a link, a folder, a
            name twice; too much when unpacked, whatever its header claims; entries that share bytes; damage.
        UsageError: the file cannot be read.
    """
    try:
        with path.open("rb") as raw:
            if os.fstat(raw.fileno()).st_size > MAX_FILE_BYTES:
                raise BadKit(path, f"this file is larger than {MAX_FILE_BYTES // MIB} MB")
            with zipfile.ZipFile(raw) as archive:
                entries = archive.infolist()
                _check_entries(path, entries)
                return {entry.filename: _read(path, archive, entry) for entry in entries}
    except BadKit:
        raise
    except OSError as error:
        raise UsageError(str(path), "", f"a kit that can be read ({error.strerror or error})") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise BadKit(path, f"the zip file is damaged or incomplete ({error})") from error


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > len(LIMITS):
        raise BadKit(path, f"this one has {len(entries)} entries, a kit has at most {len(LIMITS)}")
    seen: set[str] = set()
    for entry in entries:
        # orig_filename: zipfile cuts a name at its first NUL.
        name = entry.orig_filename
        if name not in LIMITS or name != entry.filename:
            raise BadKit(path, f"the archive contains an entry that no kit has: {name[:80]!r}")
        if name in seen:
            raise BadKit(path, f"{name} appears twice in the archive")
        seen.add(name)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or entry.is_dir():
            raise BadKit(path, f"{name} in the archive is a link or a folder, not a plain file")
        if entry.flag_bits & ~_FLAGS:
            raise BadKit(path, f"{name} in the archive is encrypted or streamed")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadKit(path, f"{name} in the archive is neither stored nor deflated")
        if entry.file_size > LIMITS[name]:
            raise BadKit(path, f"{name} in it unpacks to at most {LIMITS[name] // MIB} MB, not {entry.file_size} bytes")
        if entry.file_size > FREE_BYTES and entry.file_size > MAX_RATIO * entry.compress_size:
            raise BadKit(path, f"{name} in the archive unpacks to more than {MAX_RATIO} times its size")
    end = 0
    for entry in sorted(entries, key=lambda one: one.header_offset):
        if entry.header_offset < end:
            raise BadKit(path, f"{entry.filename} shares bytes with another entry of the archive")
        end = entry.header_offset + 30 + len(entry.orig_filename) + entry.compress_size


def _read(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """By what comes out, not by what the header says will."""
    limit, data = LIMITS[entry.filename], bytearray()
    with archive.open(entry) as source:
        while chunk := source.read(_CHUNK):
            data += chunk
            if len(data) > limit:
                raise BadKit(path, f"{entry.filename} in it unpacks to at most {limit // MIB} MB")
    return bytes(data)
