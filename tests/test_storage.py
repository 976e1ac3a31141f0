"""What a checkpoint file gives back, what is not written, and what damage does."""

import enum
import errno
import hashlib
import io
import itertools
import json
import math
import zipfile

import numpy as np
import pytest
from helpers.checkpoint_files import packed, peak_of, refused, same, unpack
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from allconv.checkpoint import format as storage
from allconv.checkpoint.errors import CheckpointError

DTYPES = [
    *("?", "i1", "<i2", ">i2", "<i4", ">i4", "<i8", ">i8", "u1", "<u2", ">u2", "<u4", ">u4", "<u8", ">u8"),
    *("<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "<c8", ">c8", "<c16", ">c16"),
]


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


def test_memory_stays_at_one_copy(tmp_path):
    state = {str(index): np.full(500_000, index, np.float32) for index in range(10)}  # 20 MB
    storage.write(tmp_path / "x.npz", state)
    writing, _ = peak_of(lambda: storage.write(tmp_path / "x.npz", state))
    reading, back = peak_of(lambda: storage.read(tmp_path / "x.npz"))
    assert same(state, back)
    assert writing < 1e6
    assert reading < 24e6


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
