"""Files that somebody made to do harm, each with hashes that fit: all are refused at little cost."""

import hashlib
import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from helpers.checkpoint_files import W, archive, entry, manifest_of, npy, packed, refused, same, unpack

from allconv.checkpoint import format as storage
from allconv.checkpoint.errors import CheckpointError


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch):
    """Nothing here is about power cuts, and hundreds of files are written."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def test_the_hand_made_file_is_a_checkpoint():
    """The control of what follows: each hostile file below is this one but for one thing."""
    assert same({"w": W}, unpack(archive([("w", npy(W))], manifest_of(entry("w", W)))))
    other = manifest_of(entry("w", W), values={"w": None, "epoch": 3}) | {"later": "fields are passed over"}
    assert same({"w": W, "epoch": 3}, unpack(archive([("w", npy(W))], other)))


class Opens:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_no_pickle_is_read(tmp_path):
    trap = np.array([Opens(tmp_path / "ran")], dtype=object)
    stored = npy(trap)
    pickled = stored[stored.index(b"\n") + 1 :]
    (opened,) = pickle.loads(pickled)  # the trap works where a pickle is read
    opened.close()
    (tmp_path / "ran").unlink()
    forged = {"name": "w", "shape": [1], "dtype": "object", "sha256": hashlib.sha256(pickled).hexdigest()}
    for dtype in ("object", "float64", "O", "uint8"):
        refused(archive([("w", stored)], manifest_of(forged | {"dtype": dtype})), "array 'w'")
    assert not (tmp_path / "ran").exists()


SHAPES = {
    "cannot have 152 bytes": ([10**12], [2**40, 2**40], [0, 10**30], [2**64, 0]),
    "cannot have shape": ([-6], [-2, -3], [6.0], [True, 6], ["6"], [[6]], "6", [1] * 64 + [6], [9] * 10_000),
    "TypeError": (6, None),
    "header": ([3, 2],),
}


@pytest.mark.parametrize(("shape", "message"), [(shape, message) for message in SHAPES for shape in SHAPES[message]])
def test_declared_shapes_are_checked_before_memory_is_taken(shape, message):
    content = archive([("w", npy(W))], manifest_of(entry("w", W, shape=shape)))
    assert refused(content, f"x.npz: array 'w': .*{message}") < 1_000_000


def test_sizes_in_the_zip_directory_are_checked_against_the_file():
    size = 2**29  # floats: 2 GB
    content = bytearray(archive([("w", npy(W, shape=(size,)))], manifest_of(entry("w", W, shape=[size]))))
    at = content.rindex(b"PK\x01\x02", 0, content.rindex(b"manifest.npy"))
    at = content.rindex(b"PK\x01\x02", 0, at)
    assert content[at + 46 : at + 51] == b"w.npy"
    declared = len(npy(W, shape=(size,))) - W.nbytes + 4 * size
    struct.pack_into("<II", content, at + 20, declared, declared)
    refused(bytes(content), "declares more bytes than it holds")


def test_compressed_members_are_refused():
    zeros = np.zeros(100_000, np.float32)
    content = archive([("w", npy(zeros))], manifest_of(entry("w", zeros)), zipfile.ZIP_DEFLATED)
    refused(content, r"member 'w\.npy' is compressed")


@pytest.mark.parametrize("digest", [b"\0" * 32, b"\0", hashlib.sha256(b"").digest() * 2])
def test_the_manifest_must_have_its_hash(digest):
    refused(archive([("w", npy(W))], manifest_of(entry("w", W)), digest=digest), "manifest: does not have the SHA-256")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_and_manifest_must_agree():
    cases = [
        ([("w", npy(W)), ("w", npy(W))], manifest_of(entry("w", W)), "two members of one name"),
        ([("w", npy(W)), ("v", npy(W))], manifest_of(entry("w", W)), "does not list"),
        ([], manifest_of(entry("w", W)), "array 'w': is missing"),
        ([("w", npy(W))], manifest_of(), "does not list"),
        ([("w", npy(W))], manifest_of(entry("w", W), entry("w", W)), "array 'w'"),
        ([("w", npy(W))], manifest_of(entry("w", W), values={}), r"no place for the arrays \['w'\]"),
        ([("../evil", npy(W))], manifest_of(entry("../evil", W), values={"../evil": None}), "no place"),
        ([("w", npy(W))], manifest_of(entry("w", W), values={"w": 3}), "no place"),
        ([("w", npy(W))], manifest_of(entry("w", W), values={"a": [None]}), "no place"),
        ([("w", npy(W))], manifest_of(entry("w", W), values=[None]), "no place"),
        ([("", npy(W))], manifest_of(entry("", W)) | {"values": None}, "no place"),
        ([], manifest_of(values=[3]), "no place"),
        ([], manifest_of(entry("manifest", W)), "array 'manifest'"),
        ([("w", npy(W + 1))], manifest_of(entry("w", W)), "array 'w': does not have the SHA-256"),
        ([("w", npy(W.view(np.int32)))], manifest_of(entry("w", W)), "array 'w': does not have the header"),
    ]
    for members, manifest, message in cases:
        refused(archive(members, manifest), message)


@pytest.mark.parametrize(
    "manifest",
    [
        *(b"", b"{", b"[]", b"3", b"null", b'"x"', b"\xff\xfe", b"{}", b'{"format": 1}'),
        *(b"[" * 100_000, b'{"a":' * 100_000, b'{"format": ' + b"9" * 5_000 + b"}"),
        *(manifest_of(entry_) for entry_ in (3, None, "w", [], {}, {"name": "w"})),
        *(manifest_of(entry("w", W) | {"name": name}) for name in (3, None, ["w"], {}, "v")),
        *(manifest_of(entry("w", W, dtype=dtype)) for dtype in (None, 3, [], "f4", "object", "<f4", "float128", "V8")),
        *(manifest_of(entry("w", W, sha256=digest)) for digest in (None, 3, "", "0" * 64)),
        *(manifest_of() | {"arrays": arrays} for arrays in (None, 3, "w", {"w": 3})),
    ],
)
def test_odd_manifests(manifest):
    refused(archive([("w", npy(W))], manifest), r"^x\.npz: ")


@pytest.mark.parametrize("number", [0, 2, None, "1", [1]])
def test_another_format_is_refused_by_its_number(number):
    refused(archive([("w", npy(W))], manifest_of(entry("w", W), format=number)), r"has format .*reads 1")


def test_a_file_of_np_savez_is_none_of_ours(tmp_path):
    np.savez(tmp_path / "x.npz", w=W)
    with pytest.raises(CheckpointError, match="member 'manifest' is missing: not a file of allconv"):
        storage.read(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("limit", "state", "writing", "reading"),
    [
        (("MANIFEST_LIMIT", 4_000), {"text": "x" * 5_000}, "at most 4000 bytes of plain values", "more than 4000"),
        (
            ("VALUES_LIMIT", 500),
            {"losses": [0.5] * 900},
            "at most 500 plain values .* belong into arrays",
            "more than 500",
        ),
    ],
)
def test_a_limit_holds_for_writing_and_reading(tmp_path, monkeypatch, limit, state, writing, reading):
    content = packed(state, tmp_path)
    monkeypatch.setattr(storage, *limit)
    with pytest.raises(ValueError, match=writing):
        storage.write(tmp_path / "x.npz", state)
    refused(content, reading)


def directory_of(members: int, *, large: bool) -> bytes:
    """Return the end of a zip whose directory lists so many empty members; with `large` by the records of zip64."""
    listed = (b"PK\1\2" + bytes(24) + struct.pack("<H", 1) + bytes(16) + b"a") * members
    counts = struct.pack("<HHII", 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    if not large:
        return listed + b"PK\5\6" + bytes(4) + struct.pack("<HHII", 9, 9, len(listed), 0) + bytes(2)
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, members, members, len(listed), 0)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, len(listed), 1)
    return listed + record + locator + b"PK\5\6" + bytes(4) + counts + bytes(2)


@pytest.mark.parametrize("large", [False, True])
def test_a_zip_of_very_many_members_is_refused_before_they_are_listed(large):
    content = directory_of(100_000, large=large)
    message = r"^x\.npz: declares a directory of 4700000 bytes, more than 4194304"
    assert refused(content, message) < len(content) + 1_000_000
    refused(directory_of(50, large=large), "two members of one name")  # the control: a directory that is read


def test_a_zip_with_the_records_of_large_ones_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    state = {"step": 12, "weight": W, "layers": {"rng": 2**127 + 3}}
    content = packed(state, tmp_path)
    assert b"PK\6\6" in content
    assert same(state, unpack(content))


def test_so_many_arrays_that_no_reader_would_take_them_are_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(storage.npz, "DIRECTORY_LIMIT", 1_000)
    with pytest.raises(ValueError, match="a list of their names has 1000 bytes, got 3240"):
        storage.write(tmp_path / "x.npz", {f"{index:0100}": W for index in range(18)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ["[]", "{}", "0", '{"":{}}'])
def test_a_manifest_of_very_many_values_is_refused_before_they_are_made(value):
    text = b'{"format": 1, "versions": {}, "arrays": [], "values": {"a": [' + f"{value},".encode() * 600_000 + b"0]}}"
    content = archive([], text)
    assert refused(content, r"^x\.npz: manifest: holds \d+ values, more than 524288") < 4 * len(content)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has none")
@pytest.mark.parametrize("kind", ["FIFO", "link to a FIFO", "/dev/zero"])
def test_devices_and_fifos_are_neither_read_nor_replaced(tmp_path, kind):
    os.mkfifo(path := tmp_path / "fifo")
    if kind != "FIFO":
        path = tmp_path / "x.npz"
        path.symlink_to("/dev/zero" if kind == "/dev/zero" else "fifo")
    with pytest.raises(CheckpointError, match=f"^{path}: is a device or a FIFO, no regular file$"):
        storage.read(path)
    with pytest.raises(FileExistsError, match="A device or a FIFO is there, which is not replaced") as caught:
        storage.write(path, {"step": 1})
    assert caught.value.filename == str(path)
    assert not path.is_file()
    assert {item.name for item in tmp_path.iterdir()} == {"fifo", path.name}


def test_no_name_in_our_files_leads_elsewhere(tmp_path):
    keys = ("", ".", "..", "/", "/etc", "..\\x", "C:", "a\0b", "\n")
    content = packed({key: dict.fromkeys(keys, W) for key in keys}, tmp_path)
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        names = file.namelist()
    assert len(set(names)) == len(keys) ** 2 + 2
    assert all(name.isascii() and name.isprintable() and not {"\\", ":"} & set(name) for name in names)
    for parts in (name.removesuffix(".npy").split("/") for name in names):
        assert len(parts) <= 2
        assert not {"", ".", ".."} & set(parts)
