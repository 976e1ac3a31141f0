import gzip
import io
import os
import random
import tarfile
import tracemalloc

import numpy as np
import pytest
from helpers.audit import watch

from allconv.data.cifar import archive
from allconv.data.cifar.archive import read_members

SIZES = {"batches/a": range(1000, 1001), "batches/b": range(500, 2001)}
CONTENTS = {"batches/a": np.random.default_rng(1).bytes(1000), "batches/b": np.random.default_rng(2).bytes(700)}


def entry(name, contents=b"", **attributes):
    """Return a member: its header, with any attribute replaced, and its contents."""
    info = tarfile.TarInfo(name)
    info.size = len(contents)
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info, contents


GOOD = [entry(name, contents) for name, contents in CONTENTS.items()]


def tar(entries, tar_format=tarfile.PAX_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as file:
        for info, contents in entries:
            file.addfile(info, io.BytesIO(contents))
    return buffer.getvalue()


@pytest.fixture
def read(tmp_path):
    """Return a function that writes an archive and reads it, and checks that reading touches nothing else."""

    def write_and_read(entries, **options):
        data = entries if isinstance(entries, bytes) else gzip.compress(tar(entries, **options), 1)
        folder = tmp_path / "in" / "deep"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "batches.tar.gz"
        path.write_bytes(data)
        with watch() as acts:
            try:
                return dict(read_members(path, SIZES))
            except ValueError as error:
                assert str(path) in str(error)  # noqa: PT017
                raise
            finally:
                assert acts == []
                assert [item for item in tmp_path.rglob("*") if item.is_file() or item.is_symlink()] == [path]

    return write_and_read


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_reads_the_named_members_of_every_format(read, tar_format):
    long = entry("batches/" + 120 * "x", b"passed over") if tar_format != tarfile.USTAR_FORMAT else entry("other")
    assert read([entry("batches", type=tarfile.DIRTYPE), long, *GOOD], tar_format=tar_format) == CONTENTS


def test_reads_names_that_start_with_a_dot_and_times_that_are_fractions(read):
    assert read([entry("./" + info.name, contents, mtime=1.5) for info, contents in GOOD]) == CONTENTS


# Members that a batch has no business with are passed over, wherever they would have gone.
PASSED_OVER = {
    "parent folder": entry("../../escaped", b"x"),
    "absolute": entry("/allconv-escaped", b"x"),
    "symlink to the parent": entry("batches", type=tarfile.SYMTYPE, linkname="../.."),
    "hard link": entry("link", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "fifo": entry("pipe", type=tarfile.FIFOTYPE),
    "same name elsewhere": entry("other/batches/a", b"x"),
    "same name with two slashes": entry("batches//a", b"x"),
}


@pytest.mark.parametrize("kind", PASSED_OVER)
def test_other_members_are_passed_over_and_never_written(read, kind):
    assert read([PASSED_OVER[kind], *GOOD, PASSED_OVER[kind]]) == CONTENTS


GNU_SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40)}
REFUSED = {
    "symlink": ([entry("batches/a", type=tarfile.SYMTYPE, linkname="/etc/passwd")], "as a regular file, got .* b'2'"),
    "hard link": ([entry("batches/a", type=tarfile.LNKTYPE, linkname="batches/b")], "as a regular file, got .* b'1'"),
    "folder": ([entry("batches/a", type=tarfile.DIRTYPE)], "as a regular file, got .* b'5'"),
    "contiguous file": ([entry("batches/a", bytes(1000), type=tarfile.CONTTYPE)], "as a regular file, got .* b'7'"),
    "sparse file": ([entry("batches/a", b"0\n" + bytes(998), pax_headers=GNU_SPARSE)], "as a regular file, got"),
    "sparse file that is not wanted": (
        [entry("x", b"0\n" + bytes(510), pax_headers=GNU_SPARSE), *GOOD],
        "x as a regular",
    ),
    "duplicate": ([*GOOD, entry("./batches/a", bytes(1000))], "once, got batches/a twice"),
    "too short": ([entry("batches/a", bytes(999))], "batches/a must have 1,000 bytes, got 999"),
    "too long": ([entry("batches/b", bytes(2001))], "batches/b must have 500 to 2,000 bytes, got 2,001"),
    "size replaced": (
        [entry("batches/a", bytes(1000), pax_headers={"size": str(2**60)})],
        "must have 1,000 bytes, got 1,152,921,504,606,846,976",
    ),
    "name replaced": ([entry("innocent", bytes(9), pax_headers={"path": "batches/a"})], "1,000 bytes, got 9"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_named_member_that_breaks_a_rule_is_refused(read, kind):
    entries, reason = REFUSED[kind]
    with pytest.raises(ValueError, match=reason):
        read(entries)


def long_header(kind, contents):
    return entry("././@LongLink", contents, type=kind)


HEADERS = "a header of more than 131,072 bytes"
BOMBS = {
    "contents": ([entry("zeros", bytes(9 << 20))], "more than 8,388,608 bytes when unpacked"),
    "many members": ([entry(f"empty{i}") for i in range(3000)], "more than 1,000 members"),
    "pax header": ([entry("x", pax_headers={"comment": "x" * (6 << 20)})], HEADERS),
    "map of a sparse file": ([entry("x", b"9" * 8 + b"\n" + b"1\n" * (1 << 20), pax_headers=GNU_SPARSE)], HEADERS),
    "contents that are not there": ([entry("x", pax_headers={"size": str(2**60)})], "more than 8,388,608 bytes"),
    "contents of a folder": (
        [
            entry("x", type=tarfile.DIRTYPE, pax_headers={"size": str(1 << 30)}),
            long_header(tarfile.GNUTYPE_LONGNAME, b"x" * (2 << 20)),
        ],
        HEADERS,
    ),
    "long name": ([long_header(tarfile.GNUTYPE_LONGNAME, b"x" * (6 << 20))], HEADERS),
    "chain of headers": ([long_header(tarfile.GNUTYPE_LONGNAME, b"x") for _ in range(2000)], HEADERS),
}


def summed(header):
    """Put the checksum into a header that was changed, as tar has it."""
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * ord(" ") + sum(header[156:512]))
    return bytes(header)


def endless_map():
    """Return a sparse file whose map goes on in block after block."""
    header = bytearray(entry("sparse", type=tarfile.GNUTYPE_SPARSE)[0].tobuf(tarfile.GNU_FORMAT))
    header[482] = 1  # the map goes on in the next block
    return summed(header) + (b"00000000001\0" * 42 + b"\x01" + bytes(7)) * 10_000


@pytest.mark.parametrize("kind", [*BOMBS, "an endless map"])
def test_a_bomb_is_refused_before_it_costs_memory(read, monkeypatch, kind):
    entries, reason = BOMBS.get(kind, ([], HEADERS))
    monkeypatch.setattr(archive, "_MAX_UNPACKED", 8 << 20)
    packed = gzip.compress(tar([*entries, *GOOD]) if entries else endless_map(), 9)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=rf"must be an intact \.tar\.gz archive, got: .*({reason})"):
            read(packed)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data", [b"", b"text", gzip.compress(b""), gzip.compress(b"text" * 999), gzip.compress(tar(GOOD)[:1000]), tar(GOOD)]
)
def test_what_is_no_archive_is_refused(read, data):
    with pytest.raises(ValueError, match=r"must be an intact \.tar\.gz archive, got: "):
        read(data)


def test_a_member_whose_size_points_backwards_is_refused(read):
    info, _ = entry("x")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xf0\x00"  # -4096 in base 256
    with pytest.raises(ValueError, match="intact"):
        read(gzip.compress(summed(header) + tar(GOOD)))


def test_every_cut_is_noticed(read):
    whole = gzip.compress(tar(GOOD))
    for length in range(0, len(whole), 7):
        with pytest.raises(ValueError, match="intact"):
            read(whole[:length])


def test_mutated_headers_do_nothing_but_raise_one_error(read):
    whole = tar([entry("batches", type=tarfile.DIRTYPE), *GOOD], tar_format=tarfile.GNU_FORMAT)
    starts = (0, 512, 2048)
    rng = random.Random(0)
    refused = 0
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            start = rng.choice(starts)
            data[start + rng.randrange(160)] = rng.choice([0, 32, 48, 49, 55, 128, 255, rng.randrange(256)])
            data[start : start + 512] = summed(data[start : start + 512])
        try:
            members = read(gzip.compress(data, 1))
        except ValueError:
            refused += 1
        else:
            for name, contents in members.items():
                assert len(contents) in SIZES[name]
    assert refused > 20


def test_an_error_of_the_disk_is_not_called_damage(tmp_path):
    with pytest.raises(IsADirectoryError if os.name == "posix" else PermissionError):
        dict(read_members(tmp_path, SIZES))
