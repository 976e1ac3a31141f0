import os
import re
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from helpers import faults

from allconv.checkpoint.atomic import atomic_write, make_folder, remove_stale, temporary_name


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
    (tmp_path / temporary_name("a")).symlink_to(tmp_path / "victim")
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
        assert [re.sub("[0-9a-f]{8}", "?", name) for name in names(tmp_path)] == [
            f".a.?-{os.getpid()}-?.allconv.tmp",
            "a",
        ]
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
    with pytest.raises(OSError, match=r"7 PiB.*out\.bin"), atomic_write(tmp_path / "out.bin"):
        raise MemoryError("7 PiB")


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "No such file", "input"), PermissionError(13, "Denied", "input")]
)
def test_an_error_of_the_block_that_names_another_file_passes(tmp_path, error):
    with pytest.raises(type(error)) as caught, atomic_write(tmp_path / "a"):
        raise error
    assert caught.value is error
    assert names(tmp_path) == []


def test_only_our_temporaries_of_that_file_are_removed(tmp_path):
    stale, other, folder = temporary_name("a.npz"), temporary_name("b.npz"), temporary_name("a.npz")
    others = [other, stale.removesuffix(".allconv.tmp") + ".tmp", stale.replace(".allconv", "0.allconv"), "x.tmp"]
    others += [stale[1:], temporary_name("axnpz")]
    for name in [stale, *others]:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / folder).mkdir()
    put(tmp_path / "a.npz", b"")
    assert names(tmp_path) == sorted([*others, folder, "a.npz"])
    remove_stale(tmp_path, re.compile(r"b\.npz"))
    assert not (tmp_path / other).exists()
    assert (tmp_path / others[1]).exists()


@pytest.mark.skipif(os.name == "nt", reason="on Windows nothing tells whether a process runs")
def test_the_temporaries_of_a_process_that_is_gone_are_removed_and_those_of_one_that_runs_are_not(tmp_path):
    gone, running = (temporary_name("a").replace(f"-{os.getpid()}-", f"-{pid}-") for pid in (999_999_999, os.getppid()))
    for name in (gone, running):
        (tmp_path / name).write_bytes(b"x")
    put(tmp_path / "a", b"")
    assert names(tmp_path) == sorted([running, "a"])


def test_the_temporaries_of_another_machine_are_removed_after_a_day(tmp_path):
    new, old = (re.sub("[0-9a-f]{8}-", f"{host:08x}-", temporary_name("a"), count=1) for host in (1, 2))
    for name, hours in ((new, 23), (old, 25)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (time.time() - 3600 * hours,) * 2)
    put(tmp_path / "a", b"")
    assert names(tmp_path) == sorted([new, "a"])


def test_of_two_writers_at_once_the_last_to_end_wins(tmp_path):
    with atomic_write(tmp_path / "a") as file:
        put(tmp_path / "a", b"second")
        assert (tmp_path / "a").read_bytes() == b"second"
        file.write(b"first")
    assert (tmp_path / "a").read_bytes() == b"first"
    assert names(tmp_path) == ["a"]


def test_many_threads_write_one_file(tmp_path):
    start, ended = threading.Barrier(4), []

    def write(content: bytes) -> None:
        start.wait()
        for _ in range(25):
            put(tmp_path / "a", content)
        ended.append(content)

    threads = [threading.Thread(target=write, args=(bytes([65 + index]) * 1000,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ended) == 4
    assert (tmp_path / "a").read_bytes() in ended
    assert names(tmp_path) == ["a"]


WRITE = """
import sys
from pathlib import Path
from allconv.checkpoint import atomic_write

with atomic_write(Path(sys.argv[1])) as file:
    file.write(b"theirs")
    print("open", flush=True)
    input()
"""


@pytest.mark.scripts
def test_another_process_writes_the_same_file(tmp_path):
    command = [sys.executable, "-c", WRITE, str(tmp_path / "a")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "open\n"
        put(tmp_path / "a", b"ours")
        process.communicate("\n")
    assert process.returncode == 0
    assert (tmp_path / "a").read_bytes() == b"theirs"
    assert names(tmp_path) == ["a"]


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
