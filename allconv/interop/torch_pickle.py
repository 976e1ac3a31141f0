"""The pickle in a file of PyTorch, read without PyTorch and without running code.

A state dict is a pickled dict of calls such as ``torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...)``.
The storage is a persistent id: ``("storage", torch.FloatStorage, key, location, numel)``. The numbers lie elsewhere in
the file. Here each call makes a `Tensor`, which only notes its arguments, and each name resolves to a stand-in.
"""

import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from allconv.checkpoint.npz import RANK_LIMIT
from allconv.data.pickles import INTS, PLAIN, STRINGS, check_instructions, instructions
from allconv.typing import Array
from allconv.validation import describe

_LIMIT = 250_000  # bounds the instructions of a pickle, and with them the time: 8,000 tensors take so many
# NEWOBJ makes an object of a class, and no name leads to a class here. It is known so that the error has the name.
_INSTRUCTIONS = instructions(PLAIN | {"BINPERSID", "BINFLOAT", "NEWOBJ"})

BFLOAT16 = "bfloat16"
_DTYPES = {
    "torch.FloatStorage": "f4", "torch.DoubleStorage": "f8", "torch.HalfStorage": "f2",
    "torch.LongStorage": "i8", "torch.IntStorage": "i4", "torch.ShortStorage": "i2", "torch.CharStorage": "i1",
    "torch.BFloat16Storage": BFLOAT16, "torch.ByteStorage": "u1", "torch.BoolStorage": "?",
    "torch.ComplexFloatStorage": "c8", "torch.ComplexDoubleStorage": "c16", "torch.storage.UntypedStorage": "u1",
    "torch.uint16": "u2", "torch.uint32": "u4", "torch.uint64": "u8",
}  # fmt: skip
_FLOAT8 = {f"torch.float8_{kind}" for kind in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0fnu")}
# What a checkpoint may hold beside tensors. It is passed over: a call of it returns another such object.
_PASSED_OVER = {
    *("torch.Size", "torch.device", "torch.float32", "torch.float64", "torch.float16", "torch.bfloat16"),
    *("collections.defaultdict", "collections.Counter", "builtins.dict", "builtins.set", "builtins.list"),
    *("argparse.Namespace", "_codecs.encode", "numpy.dtype", "numpy.ndarray"),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
}


@dataclass(frozen=True)
class Storage:
    """The numbers of one or more tensors: which member of the file holds them, their dtype, and how many they are."""

    key: str
    dtype: str
    numel: int

    def bytes(self) -> int:
        """Return how many bytes the numbers take."""
        return self.numel * dtype_of(self.dtype).itemsize


class Tensor:
    """A tensor as the pickle describes it: a view of a storage."""

    __slots__ = ("dtype", "offset", "size", "storage", "stride")

    def __init__(
        self, storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], dtype: str
    ) -> None:
        self.storage, self.offset, self.size, self.stride, self.dtype = storage, offset, size, stride, dtype

    def array(self, numbers: Array) -> Array:
        """Return the tensor as a view of the numbers of its storage, where every place of it must lie."""
        places = (self.offset, *self.size, *self.stride)
        if not all(type(place) is int and place >= 0 for place in places) or len(self.size) > RANK_LIMIT:
            raise ValueError(f"has an offset, a size or a stride that is no count: {describe(places)}")
        count, last = math.prod(self.size), self.offset
        for length, step in zip(self.size, self.stride, strict=True):
            last += (length - 1) * step
        if count and (count > len(numbers) or last >= len(numbers)):
            where = f"of size {describe(self.size)} and stride {describe(self.stride)}"
            raise ValueError(f"{where} reaches beyond its storage of {len(numbers)} numbers")
        if not count:
            return np.empty(self.size, numbers.dtype)
        steps = tuple(step * numbers.itemsize for step in self.stride)
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.size, steps)


def dtype_of(name: str) -> np.dtype[Any]:
    """Return NumPy's dtype for what `Storage` and `Tensor` call theirs; bfloat16 has the bits of uint16."""
    if name in _FLOAT8:
        raise ValueError(f"has the dtype {name}, which NumPy lacks")
    return np.dtype("u2" if name == BFLOAT16 else name)


def read_pickle(file: BinaryIO, size: int) -> tuple[Any, dict[str, Storage]]:
    """Return the value and the storages of the pickle where `file`, of `size` bytes, stands, and go to its end.

    Dicts, lists, tuples, strings and numbers are themselves, and tensors are `Tensor`.

    Raises
    ------
    ValueError
        If the pickle is damaged, or mentions a name that is not needed for weights.
    """
    start = file.tell()
    end = check_instructions(file, size, _INSTRUCTIONS, keys=STRINGS | INTS, limit=_LIMIT)
    file.seek(start)
    reader = _Reader(file, encoding="latin-1")
    value = reader.load()
    file.seek(end)
    return value, reader.storages


class _Reader(pickle.Unpickler):
    """Python's reader, with stand-ins for the names that weights need and without any other."""

    def __init__(self, file: BinaryIO, **options: Any) -> None:
        super().__init__(file, **options)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module}.{name}"
        if path in _DTYPES or path in _FLOAT8:
            return _Dtype(path)
        if path in _PASSED_OVER:
            return _PassedOver()
        if path not in _CALLS:
            raise ValueError(f"mentions {path!r}, which weights have no need of; save model.state_dict() alone")
        return _CALLS[path]

    def persistent_load(self, pid: Any) -> Storage:
        match pid:
            # The old format has a sixth element, which was of use to storages that were views of others.
            case ("storage", _Dtype() as dtype, str() as key, str(), int() as numel, *rest) if rest in ([], [None]):
                storage = Storage(key, _DTYPES[dtype.path], numel)
                if numel >= 0 and self.storages.setdefault(key, storage) == storage:
                    return storage
        raise ValueError(f"has a storage that is not described as expected: {describe(pid)}")


class _Dict(dict[Any, Any]):
    """A dict that takes no attributes, as those of an OrderedDict are no weights."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Pass over the attributes."""


class _PassedOver:
    """Stands for what is no weight."""

    __slots__ = ()

    def __call__(self, *_: object) -> "_PassedOver":
        return _PassedOver()

    def __setstate__(self, state: object) -> None:
        """Pass over the contents."""


class _Dtype:
    """Stands for a class of storages, or for a dtype."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


def _ordered_dict(pairs: Any = ()) -> _Dict:
    """Return the dict of a list of pairs, whose keys are strings or ints."""
    if not isinstance(pairs, list | tuple) or not all(isinstance(pair[0], str | int) for pair in pairs):
        raise ValueError("has an OrderedDict whose keys are no strings")
    return _Dict(pairs)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
    """Return what `_rebuild_tensor` and `_rebuild_tensor_v2` describe; `rest` is (requires_grad, hooks, metadata)."""
    if (
        not isinstance(storage, Storage)
        or not isinstance(size, tuple)
        or not isinstance(stride, tuple)
        or any(rest[2:])
        or len(size) != len(stride)
    ):
        raise ValueError("has a tensor that is not described as expected")
    return Tensor(storage, offset, size, stride, storage.dtype)


def _tensor_of_dtype(storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any) -> Tensor:
    """Return what `_rebuild_tensor_v3` describes, whose storage is bytes."""
    tensor = _tensor(storage, offset, size, stride, grad, hooks)
    tensor.dtype = dtype.path if dtype.path in _FLOAT8 else _DTYPES[dtype.path]
    return tensor


def _parameter(data: Any, *_: Any) -> Tensor:
    """Return the tensor of a parameter."""
    if not isinstance(data, Tensor):
        raise TypeError("has a parameter that is no tensor")
    return data


_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
