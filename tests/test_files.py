"""Nothing half-written is ever seen under a file's final name."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from kintsugi.files import atomic_path, remove_half_written


def test_the_block_writes_beside_the_target_which_changes_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "picture.png"
    target.write_text("old")
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path  # the same file system, or the move would copy
        assert temporary.suffix == ".png"  # writers choose the format by it
        assert temporary != target
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "model.safetensors"
    target.write_text("old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_exception_leaves_no_file_where_there_was_none(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    with pytest.raises(OSError), atomic_path(folder) as temporary:
        temporary.write_text("whole")
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("raised", [RuntimeError("unexpected pos 576 vs 534"), OSError(errno.ENOSPC, "full")])
def test_a_full_disk_is_an_error_that_names_the_file(
    raised: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch and safetensors have errors of their own for it."""

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as found, atomic_path(tmp_path / "a.pt"):
        raise raised
    assert (found.value.errno, found.value.filename) == (errno.ENOSPC, str(tmp_path / "a.pt"))
    monkeypatch.undo()
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a.pt"):
        raise RuntimeError("no fault of the disk")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_an_ordinary_new_file(tmp_path: Path, umask: int, mode: int) -> None:
    """Not 0600, which is what temporary files have."""
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("whole")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode


@pytest.mark.parametrize("name", ["x" * 200 + ".png", "épreuve d'été.png", "no-suffix", ".hidden"])
def test_names_of_any_kind(tmp_path: Path, name: str) -> None:
    with atomic_path(tmp_path / name) as temporary:
        temporary.write_text("whole")
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_path_as_a_string(tmp_path: Path) -> None:
    with atomic_path(f"{tmp_path}/a.txt") as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.b.png"
    with atomic_path(target) as temporary:
        left = temporary.name
    kept = [".a.b.12345678.jpg", ".a.1234567.b.png", ".a.b.c.12345678.png", "a.b.12345678.png", ".a.b.1234.png"]
    for name in (left, *kept):
        (tmp_path / name).touch()
    remove_half_written(target)
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "a.b.png"}
    long = tmp_path / f"{'x' * 50}.png"
    with atomic_path(long) as temporary:
        left = temporary.name
    (tmp_path / left).touch()
    remove_half_written(long)  # it may be the file of another long name
    assert (tmp_path / left).exists()
