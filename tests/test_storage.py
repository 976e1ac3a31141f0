"""The expected files are built here by hand, from the docstring of `allconv.checkpoint.format`."""

import enum
import errno
import hashlib
import io
import itertools
import json
import math
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from allconv.checkpoint import format as storage
from allconv.checkpoint.errors import CheckpointError
from allconv.checkpoint.npz import npy_header

DTYPES = [
    *("?", "i1", "<i2", ">i2", "<i4", ">i4", "<i8", ">i8", "u1", "<u2", ">u2", "<u4", ">u4", "<u8", ">u8"),
    *("<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "<c8", ">c8", "<c16", ">c16"),
]


def same(a, b) -> bool:
    """Whether `b` is what a file should give back for `a`: every type, key and bit."""
    if isinstance(a, np.ndarray):
        if type(b) is not np.ndarray or not b.dtype.isnative:
            return False
        native = a.astype(a.dtype.newbyteorder("="))
        return (native.dtype, native.shape, native.tobytes()) == (b.dtype, b.shape, b.tobytes())
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or struct.pack("d", a) == struct.pack("d", b)
    return a == b


def packed(state, tmp_path) -> bytes:
    storage.write(tmp_path / "x.npz", state)
    return (tmp_path / "x.npz").read_bytes()


def unpack(content: bytes):
    return storage.read_file(io.BytesIO(content), "x.npz")


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch):
    """Nothing here is about power cuts, and hundreds of files are written."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


# Round trips


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
arrays = hnp.arrays(
    st.sampled_from(DTYPES).map(np.dtype), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
)
keys = st.text(st.characters(), max_size=8) | st.sampled_from(["", ".", "..", "/", "a/b", "%", "%2F", "\0", "a.npy"])
states = st.dictionaries(
    keys, st.recursive(arrays | plain, lambda inner: st.dictionaries(keys, inner, max_size=3), max_leaves=6), max_size=4
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("storage")


@settings(deadline=None, max_examples=100)
@given(state=states)
def test_what_is_written_comes_back(folder, state):
    if any(name in state and isinstance(state[name], np.ndarray) for name in ("manifest", "manifest_sha256")):
        return
    content = packed(state, folder)
    assert same(state, unpack(content))
    assert content == packed(state, folder)


LAYOUTS = [
    np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
    np.arange(24.0)[::-3],
    np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    np.broadcast_to(np.float64(2.5), (3, 2)),
    np.empty((0, 3), np.float32),
    np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324]),
    np.array([0x7FC0DEAD, 0xFFC00001], np.uint32).view(np.float32),  # NaNs with a payload
]


def test_layouts_and_special_values(tmp_path):
    state = {
        **{str(index): array for index, array in enumerate(LAYOUTS)},
        "big": 2**127 + 1,
        "huge": -(2**13_999),
        "third": 1 / 3,
        "smallest": 5e-324,
        "minus zero": -0.0,
        "text": 'ü€😀"\\\n\0\ud800',
        "surrogates": "\ud83d\ude00",  # two of them, which are not the character that they encode in UTF-16
        "nothing": {},
        "list": [None, True, [], [{"a": 1}]],
        "generators": {kind.__name__: kind(5).state for kind in (np.random.PCG64, np.random.MT19937, np.random.SFC64)},
    }
    back = unpack(packed(state, tmp_path))
    assert same(state, back)
    assert all(
        back[str(index)].flags.c_contiguous and back[str(index)].flags.writeable for index in range(len(LAYOUTS))
    )
    special = unpack(packed({"x": [math.nan, math.inf, -math.inf]}, tmp_path))["x"]
    assert repr(special) == "[nan, inf, -inf]"


def test_numpy_scalars_and_subclasses_come_back_as_plain_values(tmp_path):
    class Kind(enum.IntEnum):
        ONE = 1

    state = {"f4": np.float32(0.1), "f8": np.float64(0.1), "i": np.int64(-3), "b": np.bool_(True), "kind": Kind.ONE}
    expected = {"f4": 13421773 / 2**27, "f8": 0.1, "i": -3, "b": True, "kind": 1}
    assert same(expected, unpack(packed(state, tmp_path)))


def test_numpy_reads_it(tmp_path):
    weight, label = np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7)
    storage.write(tmp_path / "x.npz", {"model": {"0.weight": weight}, "label": label, "step": 5})
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        assert sorted(file.files) == ["label", "manifest", "manifest_sha256", "model/0.weight"]
        assert same(weight, file["model/0.weight"])
        assert same(label, file["label"])
        text = file["manifest"].tobytes()
        assert file["manifest_sha256"].tobytes() == hashlib.sha256(text).digest()
    manifest = json.loads(text)
    digest = hashlib.sha256(weight.astype("<f4").tobytes()).hexdigest()
    assert manifest["format"] == 1
    assert sorted(manifest["versions"]) == ["allconv", "numpy", "python"]
    assert manifest["values"] == {"model": {"0.weight": None}, "label": None, "step": 5}
    assert manifest["arrays"][0] == {"name": "model/0.weight", "shape": [2, 3], "dtype": "float32", "sha256": digest}
    assert manifest["arrays"][1]["name"] == "label"


def test_the_name_is_taken_as_it_is(tmp_path):
    storage.write(str(tmp_path / "weights"), {"step": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]
    assert storage.read(str(tmp_path / "weights")) == {"step": 1}


def peak_of(function):
    """Return the most memory that a call takes, and its result."""
    tracemalloc.start()
    try:
        result = function()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def test_memory_stays_at_one_copy(tmp_path):
    state = {str(index): np.full(500_000, index, np.float32) for index in range(10)}  # 20 MB
    storage.write(tmp_path / "x.npz", state)
    writing, _ = peak_of(lambda: storage.write(tmp_path / "x.npz", state))
    reading, back = peak_of(lambda: storage.read(tmp_path / "x.npz"))
    assert same(state, back)
    assert writing < 1e6
    assert reading < 24e6


def refused(content, message):
    """Check that a file is refused with this message, and return the memory that this takes."""

    def check():
        with pytest.raises(CheckpointError, match=message):
            unpack(content)

    return peak_of(check)[0]


# Refused before anything is written


def deep(levels: int, kind: type):
    value = 1
    for _ in range(levels):
        value = {"k": value} if kind is dict else [value]
    return {"deep": value}


circle: dict = {}
circle["circle"] = circle


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ([], TypeError, "state must be a dict, got"),
        ({1: 2}, TypeError, "state must have str keys, got 1"),
        ({"a": {"b": {None: 2}}}, TypeError, r"state\['a'\]\['b'\] must have str keys, got None"),
        ({"a": [{2: 2}]}, TypeError, r"state\['a'\]\[0\] must have str keys, got 2"),
        ({"a": (1, 2)}, TypeError, r"state\['a'\] must be .*, got \(1, 2\)"),
        ({"a": b"x"}, TypeError, r"state\['a'\] must be .*, got b'x'"),
        ({"a": np.longdouble(1)}, TypeError, r"state\['a'\] must be"),
        ({"a": [np.ones(2)]}, TypeError, r"state\['a'\]\[0\] must be .* not in a list"),
        ({"a": [{"b": np.ones(2)}]}, TypeError, r"state\['a'\]\[0\]\['b'\] must be .* not in a list"),
        ({"a": np.array([object()])}, TypeError, r"state\['a'\] must be an array of numbers .* dtype object"),
        ({"a": np.array(["x"])}, TypeError, "must be an array of numbers"),
        ({"a": np.zeros(2, "i4,f4")}, TypeError, "must be an array of numbers"),
        ({"a": np.ma.masked_array([1.0, 2.0], [True, False])}, TypeError, "must be an array of numbers"),
        ({"a": 1 << 14_000}, ValueError, r"state\['a'\] must be an int of at most 14000 bits, got one of 14001"),
        ({"manifest": np.ones(2)}, ValueError, r"state\['manifest'\] must not be an array"),
        (deep(50, dict), ValueError, "nested at most 50 deep"),
        (deep(50, list), ValueError, "nested at most 50 deep"),
        (circle, ValueError, "nested at most 50 deep, got more, or a circle"),
    ],
)
def test_other_states_are_refused(tmp_path, state, error, message):
    storage.write(tmp_path / "x.npz", {"old": 1})
    with pytest.raises(error, match=message):
        storage.write(tmp_path / "x.npz", state)
    assert storage.read(tmp_path / "x.npz") == {"old": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_the_deepest_state_that_is_written_is_read(tmp_path):
    for kind in (dict, list):
        assert unpack(packed(deep(49, kind), tmp_path)) == deep(49, kind)


def test_bad_paths(tmp_path):
    for path in (None, 3, b"x"):
        with pytest.raises(TypeError, match="path must be a path, got"):
            storage.write(path, {})
        with pytest.raises(TypeError, match="path must be a path, got"):
            storage.read(path)
    with pytest.raises(FileNotFoundError):
        storage.read(tmp_path / "missing.npz")
    with pytest.raises(IsADirectoryError):
        storage.write(tmp_path, {})


# Damage


SMALL = {
    "step": 12,
    "rate": 0.1,
    "model": {"0.weight": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), "0.bias": np.array(2.5)},
    "layers": {"2": {"rng": {"state": 2**127 + 3, "has_uint32": 0}}},
    "done": np.array([True, False]),
}


def test_every_bit_flipped_is_an_error_or_harmless(tmp_path):
    content = packed(SMALL, tmp_path)
    assert 1_500 < len(content) < 4_000
    file = bytearray(content)
    harmless, wrong = set(), 0
    for position, bit in itertools.product(range(len(file)), range(8)):
        file[position] ^= 1 << bit
        try:
            back = unpack(bytes(file))
        except CheckpointError:
            pass
        else:
            harmless.add(position)
            wrong += not same(SMALL, back)
        file[position] ^= 1 << bit
    assert wrong == 0
    # Zip's time stamps, attributes and the like may change; of what the members hold, no bit.
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        members = file.infolist()
    assert len(members) == 5
    for member in members:
        start = content.index(b"\x93NUMPY", member.header_offset)
        assert not harmless & set(range(start, start + member.file_size))


def test_every_length_cut_is_an_error(tmp_path):
    content = packed(SMALL, tmp_path)
    for length in range(len(content)):
        refused(content[:length], r"^x\.npz: ")


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_bytes_put_in_taken_out_or_overwritten(folder, data):
    content = packed(SMALL, folder)
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(start + 40, len(content))))
    changed = content[:start] + data.draw(st.binary(max_size=40)) + content[end:]
    try:
        assert same(SMALL, unpack(changed))
    except CheckpointError as error:
        assert str(error).startswith("x.npz: ")  # noqa: PT017 - either outcome is right


def test_the_message_names_file_and_array(tmp_path):
    content = packed(SMALL, tmp_path)
    at = content.index(SMALL["model"]["0.weight"].tobytes())
    (tmp_path / "x.npz").write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    with pytest.raises(CheckpointError, match=r"x\.npz: array 'model/0\.weight': "):
        storage.read(tmp_path / "x.npz")
    assert issubclass(CheckpointError, ValueError)


def test_a_disk_that_fails_while_reading(tmp_path):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            if self.tell() < 200:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    with pytest.raises(CheckpointError, match=r"x\.npz: array 'model/0\.weight': OSError: .*Input/output error"):
        storage.read_file(Broken(packed(SMALL, tmp_path)), "x.npz")


# Hostile files, each with hashes that fit


def npy(array: np.ndarray, shape=None) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    content = file.getvalue()
    return content if shape is None else npy_header(shape, array.dtype) + content[content.index(b"\n") + 1 :]


def entry(name: str, array: np.ndarray, **other) -> dict:
    digest = hashlib.sha256(npy(array)[-array.nbytes :] if array.nbytes else b"").hexdigest()
    return {"name": name, "shape": list(array.shape), "dtype": array.dtype.name, "sha256": digest} | other


def archive(members: list[tuple[str, bytes]], manifest, compression=zipfile.ZIP_STORED, digest=None) -> bytes:
    text = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    digest = np.frombuffer(digest or hashlib.sha256(text).digest(), np.uint8)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as out:
        for name, content in members:
            out.writestr(name + ".npy", content)
        out.writestr("manifest.npy", npy(np.frombuffer(text, np.uint8)), zipfile.ZIP_STORED)
        out.writestr("manifest_sha256.npy", npy(digest), zipfile.ZIP_STORED)
    return file.getvalue()


W = np.arange(6, dtype=np.float32)


def manifest_of(*entries, format=1, values=None):  # noqa: A002
    values = {"w": None} if values is None else values
    return {"format": format, "versions": {}, "values": values, "arrays": list(entries)}


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
    content = packed(SMALL, tmp_path)
    assert b"PK\6\6" in content
    assert same(SMALL, unpack(content))


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
