"""Files of torch.save: read as PyTorch reads them, and refused where they are hostile or damaged."""

import pickle
import struct
import zipfile

import numpy as np
import pytest
from helpers.refusal import check_refusal

from allconv.interop import load_torch

SIX = np.arange(6, dtype="<f4").tobytes()
MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2)


def string(text):
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def storage(key="0", numel="K\x06", kind="FloatStorage"):
    """Return the pickled storage of some number of elements."""
    body = string("storage") + f"ctorch\n{kind}\n".encode() + string(key) + string("cpu") + numel.encode("latin-1")
    return b"(" + body + b"tQ"


def tensor(stored=None, size=b"K\x02K\x03\x86", stride=b"K\x03K\x01\x86", offset=b"K\x00"):
    """Return the pickled tensor of shape (2, 3), unless told otherwise."""
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + (stored or storage()) + offset + size + stride + b"\x89NtR"


def pickled(value, name="w"):
    return b"\x80\x02}" + string(name) + value + b"s."


def write_zip(path, content, data=None, **options):
    """Write the zip of torch.save by hand; `data` are the storages' bytes."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("archive/data.pkl", content)
        for key, item in (data or {"0": SIX}).items():
            archive.writestr(f"archive/data/{key}", item)
    return path


def stream(content, numel=6, protocol=1001, keys=("0",), data=SIX):
    """Return the stream of the older torch.save."""
    head = MAGIC + pickle.dumps(protocol, 2) + pickle.dumps({"little_endian": True}, 2)
    return head + content + pickle.dumps(list(keys), 2) + struct.pack("<q", numel) + data


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.pt"


def test_hand_made_files_of_both_kinds_are_read(path):
    expected = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(load_torch(write_zip(path, pickled(tensor())))["w"], expected, strict=True)
    path.write_bytes(stream(pickled(tensor())))
    np.testing.assert_array_equal(load_torch(path)["w"], expected, strict=True)


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_agrees_with_pytorch(path, is_zip, protocol):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.PReLU(), torch.nn.Linear(4, 2)
    )
    base = torch.randn(4, 5)
    state = net.state_dict() | {
        "transposed": base.T, "every other": base[1:, ::2], "shared": base, "scalar": torch.tensor(3.5),
        "parameter": torch.nn.Parameter(base.double()), "half": base.half(), "bfloat16": base.bfloat16(),
        "empty": torch.zeros(0, 3), "bool": base > 0, "int8": base.to(torch.int8), "complex": base.to(torch.complex64),
    }  # fmt: skip
    if is_zip:
        state |= {"uint16": torch.tensor([1, 2, 65535], dtype=torch.uint16)}
    torch.save(state, path, pickle_protocol=protocol, _use_new_zipfile_serialization=is_zip)
    arrays = load_torch(path)
    assert list(arrays) == list(state)
    for name, value in state.items():
        wanted = value.detach().float() if name == "bfloat16" else value.detach()
        np.testing.assert_array_equal(arrays[name], wanted.numpy(), strict=True, err_msg=name)
    assert np.shares_memory(arrays["transposed"], arrays["shared"])


@pytest.mark.parametrize("wrapped", [
    lambda torch, state: {"state_dict": state, "epoch": 3},
    lambda torch, state: {"epoch": 3, "model": {"model_state_dict": state}, "best": torch.zeros(1)},
    lambda torch, state: {"model": state, "optimizer": {"state": {0: {"exp_avg": state["0.bias"]}}}, "lr": 0.1},
])  # fmt: skip
def test_a_wrapped_state_dict_is_returned_alone(path, wrapped):
    torch = pytest.importorskip("torch")
    state = torch.nn.Sequential(torch.nn.Linear(2, 3)).state_dict()
    torch.save(wrapped(torch, state), path)
    assert list(load_torch(path)) == ["0.weight", "0.bias"]


def test_other_nested_dicts_are_joined_by_dots(path):
    torch = pytest.importorskip("torch")
    torch.save({"encoder": {"w": torch.ones(1)}, "list": [torch.zeros(2)]}, path)
    assert {name: array.shape for name, array in load_torch(path).items()} == {"encoder.w": (1,), "list.0": (2,)}


def test_a_whole_model_and_float8_are_refused_by_name(path):
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(2, 3), path)
    check_refusal(load_torch, path, "'torch.nn.modules.linear.Linear'", "save model.state_dict() alone")
    torch.save({"a": {"w": torch.zeros(2).to(torch.float8_e4m3fn)}}, path)
    check_refusal(load_torch, path, "tensor 'a.w' has the dtype torch.float8_e4m3fn")
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "constants.pkl"):
            archive.writestr(f"archive/{name}", pickle.dumps({}, 2))
    check_refusal(load_torch, path, "a TorchScript file is none")


def call(module, name, *strings):
    return f"c{module}\n{name}\n(".encode() + b"".join(map(string, strings)) + b"tR"


def nested(width, levels=14):
    """Return lists in lists, each there `width` times over: a short pickle of 4**14 things."""
    value = []
    for _ in range(levels):
        value = [value] * width
    return value


BIG = "\x8a\x06\x00\x00\x00\x00\x00\x01"  # 2**40
HOSTILE = {
    "system": (pickled(call("os", "system", "touch x")), "mentions 'os.system'"),
    "a name below an allowed module": (pickled(call("torch.utils.collect_env", "run", "touch x")), "collect_env.run'"),
    "a name in an allowed module": (pickled(call("torch._utils", "_import_dotted_name", "os")), "_import_dotted_name'"),
    "eval": (pickled(call("builtins", "eval", "1")), "mentions 'builtins.eval'"),
    "a name with dots": (
        b"\x80\x04}" + string("w") + string("torch") + string("storage.UntypedStorage.from_file") + b"\x93)Rs.",
        "mentions 'torch.storage.UntypedStorage.from_file'",
    ),
    "an object": (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "UnpicklingError: NEWOBJ"),
    "an extension": (b"\x80\x02\x82\x01.", "the instruction b'\\x82'"),
    "a memo": (pickled(tensor()[:-2] + b"r\xff\xff\xff\x7ftR"), "a memo index above"),
    "a size that lies": (pickled(tensor(storage(numel=BIG))), "tensor 'w' lies in a storage of 4398046511104 bytes"),
    "an expanded tensor": (
        pickled(tensor(size=BIG.encode("latin-1") + b"\x85", stride=b"K\x00\x85")),
        "tensor 'w' of size (1099511627776,) and stride (0,) reaches beyond its storage of 6",
    ),
    "a stride beyond": (pickled(tensor(stride=b"K\x03K\x02\x86")), "(3, 2) reaches beyond its storage of 6 numbers"),
    "an offset beyond": (pickled(tensor(offset=b"K\x01")), "reaches beyond its storage"),
    "a negative stride": (pickled(tensor(stride=b"K\x03J\xff\xff\xff\xff\x86")), "that is no count"),
    "a missing storage": (pickled(tensor(storage(key="../../etc/passwd"))), "the storage '../../etc/passwd', which is"),
    "two sizes": (
        b"\x80\x02}(" + string("v") + tensor() + string("w") + tensor(storage(numel="K\x05")) + b"u.",
        "has a storage that is not described as expected",
    ),
    "no tensor": (pickled(b"K\x01"), "holds no tensor"),
    "a circle": (b"\x80\x02}q\x00" + string("w") + b"h\x00s.", "dicts 16 deep"),
    "a bomb of lists": (pickle.dumps({"w": nested(4)}, 2), "holds more than 50000 things"),
    "a key of tuples": (b"\x80\x02}" + b")\x85" + b"Ns.", "a key that is no string and no int"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_pickle_is_refused(path, content, reason):
    check_refusal(load_torch, write_zip(path, content), reason)
    path.write_bytes(stream(content))
    check_refusal(load_torch, path)


def test_one_storage_under_many_names_costs_its_memory_once(path):
    """A file of 4 MB with 1,000 tensors of all of its storage would take 4 GB as copies."""
    numbers = np.zeros(1 << 20, "<f4").tobytes()
    one = tensor(storage(numel="J\x00\x00\x10\x00"), b"J\x00\x00\x10\x00\x85", b"K\x01\x85")
    many = b"\x80\x02(" + b"".join(string(f"w{k}") + one for k in range(1000)) + b"d."
    assert len(load_torch(write_zip(path, many, {"0": numbers}))) == 1000


def test_a_damaged_zip_is_refused(path):
    content = write_zip(path, pickled(tensor())).read_bytes()
    place = content.index(SIX) + 5
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    check_refusal(load_torch, path, "Bad CRC-32 for file 'archive/data/0'")
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        check_refusal(load_torch, path)
    write_zip(path, pickled(tensor()), compression=zipfile.ZIP_DEFLATED)
    check_refusal(load_torch, path, "is compressed")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../x", b"")
    check_refusal(load_torch, path, "is a zip, but not one of torch.save")


def test_a_damaged_stream_is_refused(path):
    whole = stream(pickled(tensor()))
    for length in range(0, len(whole), 5):
        path.write_bytes(whole[:length])
        check_refusal(load_torch, path)
    for bad, reason in [
        (whole + b"\0", "holds more than its storages"),
        (stream(pickled(tensor()), numel=1 << 60), "declares 1152921504606846976 numbers in the storage '0'"),
        (stream(pickled(tensor()), protocol=7), "has the protocol 7, not 1001"),
        (b"version https://git-lfs.github.com/spec/v1\nsize 9", "is a pointer of Git LFS"),
        (b"hello", "is neither a zip nor a stream of torch.save, but starts with b'hello'"),
    ]:
        path.write_bytes(bad)
        check_refusal(load_torch, path, reason)
