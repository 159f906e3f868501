"""Files that appear whole, or not at all."""

import os

import pytest

from lockjaw.whole_files import write_whole


def test_file_appears_whole_with_its_mode_and_leaves_nothing_else(tmp_path):
    before = os.umask(0o022)
    try:
        write_whole(tmp_path / "private", b"one", mode=0o600)
        write_whole(tmp_path / "usual", b"two", durable=True)
        write_whole(tmp_path / "usual", b"three")
    finally:
        os.umask(before)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"private": b"one", "usual": b"three"}
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "usual").stat().st_mode & 0o777 == 0o644


def test_file_that_is_there_stays_where_it_is_not_to_be_replaced(tmp_path):
    write_whole(tmp_path / "key", b"first", replace=False)
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "key", b"second", replace=False)
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert (tmp_path / "key").read_bytes() == b"first"


def test_disk_that_refuses_leaves_the_old_file_and_tells_its_own_error(tmp_path, monkeypatch):
    write_whole(tmp_path / "page", b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "page", b"new", durable=True)
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
    assert (tmp_path / "page").read_bytes() == b"old"
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        write_whole(tmp_path / "file" / "below", b"new")
