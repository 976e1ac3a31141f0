"""The safetensors format: what is written, what is read, and what is refused."""

import json

import numpy as np
import pytest
from helpers.refusal import check_refusal

import allconv as ac
from allconv.interop import load_safetensors, save_safetensors


def file_of(path, header, data=b"", length=None):
    """Write a file in the format by hand, as its specification says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.safetensors"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_saved_file_follows_the_specification(path, dtype):
    model = ac.Sequential(ac.Linear(3, 2, dtype=dtype), ac.BatchNorm(2, dtype=dtype))
    model[0].weight.value = np.asarray(model[0].weight.value, order="F")  # memory in another order than the format's
    save_safetensors(model, path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    assert length % 8 == 0
    assert header.pop("__metadata__") == {"format": "allconv"}
    assert list(header) == [name for name, _ in model.named_parameters()]
    end = 0
    for name, parameter in model.named_parameters():
        (start, stop), shape = header[name]["data_offsets"], header[name]["shape"]
        assert start == end
        end = stop
        found = np.frombuffer(data[start:stop], np.dtype(dtype).newbyteorder("<")).reshape(shape)
        np.testing.assert_array_equal(found, parameter.value)
    assert end == len(data)
    for name, array in load_safetensors(path).items():
        np.testing.assert_array_equal(array, dict(model.named_parameters())[name].value, strict=True)


@pytest.mark.parametrize(("name", "dtype"), [
    ("BOOL", "?"), ("U8", "u1"), ("I8", "i1"), ("U16", "u2"), ("I16", "i2"), ("U32", "u4"), ("I32", "i4"),
    ("U64", "u8"), ("I64", "i8"), ("F16", "f2"), ("F32", "f4"), ("F64", "f8"), ("C64", "c8"),
])  # fmt: skip
def test_reads_every_dtype(path, name, dtype):
    array = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    file_of(path, {"a": entry(name, (2, 3), (0, len(data)))}, data)
    np.testing.assert_array_equal(load_safetensors(path)["a"], array, strict=True)


def test_names_keep_the_order_of_the_header_and_arrays_the_places_of_their_offsets(path):
    header = {"b": entry(offsets=(8, 16)), "empty": entry(shape=(0, 3), offsets=(8, 8)), "a": entry(offsets=(0, 8))}
    arrays = load_safetensors(file_of(path, header, np.arange(4, dtype="<f4").tobytes()))
    assert {name: array.tolist() for name, array in arrays.items()} == {"b": [2, 3], "empty": [], "a": [0, 1]}
    assert list(arrays) == list(header)


REFUSED = {
    "an absurd header": ({"length": 1 << 62}, f"declares a header of {1 << 62} bytes"),
    "a long header": ({"header": b" " * ((3 << 20) + 1)}, "at most 3145728 are read"),
    "no JSON": ({"header": b"{nonsense"}, "JSONDecodeError"),
    "nesting": ({"header": b'{"a":' * 100_000}, "RecursionError"),
    "a list": ({"header": []}, "must have a dict as its header"),
    "float8": ({"header": {"a": entry("F8_E4M3", (8,))}}, "array 'a' has the dtype F8_E4M3, which NumPy lacks"),
    "a size that lies": ({"header": {"a": entry(shape=(1 << 40,))}}, "shape (1099511627776,) and dtype F32"),
    "a negative size": ({"header": {"a": entry(shape=(-2, -1))}}, "array 'a' must have a dtype, a shape and"),
    "a gap": ({"header": {"a": entry(shape=(1,), offsets=(4, 8))}}, "overlap, leave a gap or miss the file's end"),
    "an overlap": ({"header": {"a": entry(), "b": entry()}}, "overlap, leave a gap"),
    "bytes left over": ({"header": {}}, "overlap, leave a gap or miss the file's end, at 0 and 8"),
    "bytes missing": ({"header": {"a": entry(shape=(4,), offsets=(0, 16))}}, "miss the file's end, at 16 and 8"),
    "a name twice": ({"header": b'{"a":1,"a":2}'}, "two entries of one name"),
}  # fmt: skip


@pytest.mark.parametrize(("parts", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_damaged_file_is_refused_within_bounds(path, parts, reason):
    file_of(path, **{"header": {"a": entry()}, "data": bytes(8)} | parts)
    check_refusal(load_safetensors, path, reason)


def test_every_cut_is_refused(path):
    content = file_of(path, {"a": entry()}, bytes(8)).read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=str(path)):
            load_safetensors(path)


def test_a_pointer_of_git_lfs_is_refused_by_name(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(ValueError, match=r"is a pointer of Git LFS, .* run `git lfs pull`"):
        load_safetensors(path)
    with pytest.raises(FileNotFoundError, match="missing"):
        load_safetensors(path.with_name("missing"))


def test_a_failed_save_leaves_the_file(path):
    path.write_text("old")
    with pytest.raises(TypeError, match="model must be a Layer, got 3"):
        save_safetensors(3, path)
    assert path.read_text() == "old"
