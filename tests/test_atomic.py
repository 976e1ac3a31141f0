import os
import re
import stat
from pathlib import Path

import pytest
from helpers import faults

from allconv.checkpoint.atomic import atomic_write, make_folder, remove_stale


def put(path: Path, content: bytes) -> None:
    with atomic_write(path) as file:
        file.write(content)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_reaches_the_disk_before_the_rename_and_the_rename_before_the_end(tmp_path):
    calls: list[str] = []
    with faults.io_calls(tmp_path, faults.record(calls)):
        put(tmp_path / "a", b"new")
    assert calls == ["scandir", "open", "write", "fsync", "close", "replace", "open", "fsync", "close"]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_link_in_the_temporarys_place_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr("os.urandom", bytes)
    (tmp_path / "victim").write_bytes(b"x")
    (tmp_path / ".a.00000000.allconv.tmp").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        put(tmp_path / "a", b"new")
    assert (tmp_path / "victim").read_bytes() == b"x"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_mode_is_the_umasks(tmp_path, mask):
    before = os.umask(mask)
    try:
        put(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


def test_until_the_end_the_old_file_is_there_and_the_new_one_lies_beside_it(tmp_path):
    put(tmp_path / "a", b"old")
    with atomic_write(tmp_path / "a") as file:
        file.write(b"new")
        file.flush()
        assert (tmp_path / "a").read_bytes() == b"old"
        assert [re.sub("[0-9a-f]{8}", "?", name) for name in names(tmp_path)] == [".a.?.allconv.tmp", "a"]
    assert (tmp_path / "a").read_bytes() == b"new"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_error_in_the_block_passes_and_leaves_the_old_file(tmp_path, error):
    put(tmp_path / "a", b"old")
    with pytest.raises(error), atomic_write(tmp_path / "a") as file:  # noqa: PT012 - the error is one of the block
        file.write(b"new")
        raise error
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_errors_name_the_path_and_not_the_temporary(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        put(tmp_path / "missing" / "a", b"")
    assert caught.value.filename == str(tmp_path / "missing" / "a")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as caught, atomic_write(tmp_path / "folder"):
        pytest.fail("the error must come before any work")
    assert caught.value.filename == str(tmp_path / "folder")
    assert names(tmp_path) == ["folder"]


def test_an_error_without_a_number_keeps_its_text(tmp_path):
    with pytest.raises(OSError, match=r"odd.*out\.bin"), atomic_write(tmp_path / "out.bin"):
        raise OSError("odd")


def test_only_our_temporaries_of_that_file_are_removed(tmp_path):
    stale = ".a.npz.0123abcd.allconv.tmp"
    others = [".b.npz.0123abcd.allconv.tmp", ".a.npz.0123abcd.tmp", ".a.npz.0123abc.allconv.tmp", "x.tmp"]
    others += ["a.npz.0123abcd.allconv.tmp", ".axnpz.0123abcd.allconv.tmp"]
    for name in [stale, *others]:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / ".a.npz.ffffffff.allconv.tmp").mkdir()
    put(tmp_path / "a.npz", b"")
    assert names(tmp_path) == sorted([*others, ".a.npz.ffffffff.allconv.tmp", "a.npz"])
    remove_stale(tmp_path, re.compile(r"b\.npz"))
    assert not (tmp_path / others[0]).exists()
    assert (tmp_path / others[1]).exists()


def test_of_two_writers_at_once_one_wins_whole_and_the_other_is_told(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / "a"):
        put(tmp_path / "a", b"second")
    assert caught.value.filename == str(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"second"


def test_make_folder_makes_parents_and_refuses_a_file(tmp_path):
    calls: list[str] = []
    for _ in range(2):
        with faults.io_calls(tmp_path, faults.record(calls)):
            make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert calls == ["mkdir", "open", "fsync", "close"] * 3
    put(tmp_path / "f", b"")
    with pytest.raises(FileExistsError) as caught:
        make_folder(tmp_path / "f")
    assert caught.value.filename == str(tmp_path / "f")
