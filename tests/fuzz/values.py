"""What a fuzzed argument may be: values of every wrong kind, and arrays of every kind made from a valid one.

A value is an expression, and an array a recipe ``layout|dtype|content|shape``, so a case prints as what makes it again.
"""

import tempfile
from pathlib import Path  # noqa: F401 - expressions use it

import numpy as np

import allconv as ac  # noqa: F401 - expressions use it


class Subclass(np.ndarray):
    """An array of another class."""


class ArrayLike:
    """Something that NumPy can turn into an array."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype=dtype)


class Broken:
    """An object that fails whenever it is asked for something."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("no array")

    def __repr__(self):
        raise RuntimeError("no repr")


class Number(int):
    """An integer of another class."""


def recursive():
    """Return a list that holds itself."""
    items = []
    items.append(items)
    return items


VALUES = [
    *("None", "True", "False", "0", "1", "2", "3", "-1", "10**400", "-10**400", "2**40", "2**63", "2**64"),
    *("0.0", "0.5", "-0.5", "1.0", "2.5", "1e300", "-1e300", "5e-324", "float('nan')", "float('inf')", "-float('inf')"),
    *(
        "np.int64(2)",
        "np.uint8(3)",
        "np.float64(0.5)",
        "np.float16(0.5)",
        "np.float32('nan')",
        "np.longdouble('1e400')",
    ),
    *("np.bool_(True)", "np.str_('mean')", "np.datetime64(0, 's')", "np.ma.masked", "Number(2)", "1j", "b'1'", "''"),
    *("'text'", "'0'", "'mean'", "'x' * 10**5", "'\\ud800'", "'a\\0b'", "[]", "()", "{}", "set()", "[None]", "[1, 2]"),
    *("(1, 1)", "(0, -1)", "(1, 1.5)", "(True, 1)", "(10**400, 1)", "(2**40, 2**40)", "[1.0, float('nan')]", "['a']"),
    *("(0.5, 0.9)", "[[1], [1, 2]]", "[10**400]", "{'x': 1.0}", "{'y': (0, 10**400)}", "{1: 2}", "{'scale': None}"),
    *("recursive()", "iter([])", "iter([1, 2])", "(i for i in (None,))", "range(3)", "slice(None)", "...", "object()"),
    *("Broken()", "Broken", "lambda: None", "lambda *a, **k: None", "lambda *a, **k: a[0]", "len", "np", "np.random"),
    *(
        "np.random.default_rng(0)",
        "np.random.RandomState(0)",
        "np.float32",
        "np.dtype('f8')",
        "'float16'",
        "np.dtype('O')",
    ),
    *(
        "ac.ReLU()",
        "ac.ReLU",
        "ac.Linear(5, 5, rng=np.random.default_rng(0))",
        "ac.Conv2D",
        "[ac.ReLU()]",
        "ac.Sequential(ac.ReLU())",
        "ac.Flatten()",
    ),
    *("ac.Parameter(np.zeros(2))", "[ac.Parameter(np.zeros(2))]", "ac.Parameter", "ac.SoftmaxCrossEntropy"),
    *("ac.MeanSquaredError()", "ac.data.Fliplr()", "ac.data.per_step", "ac.data.Dataset", "ac.schedules.constant(0.1)"),
    *(
        "{'0': ac.rules.guided}",
        "{ac.ReLU: ac.rules.scaled(2)}",
        "{ac.ReLU: len}",
        "Path('missing/file')",
        "Path('.')",
    ),
    *("np.zeros(0)", "np.array(1.0)", "np.array(2)", "np.array(None)", "np.ones((2, 2))", "[np.ones(2), np.ones(3)]"),
]
LAYOUTS = [
    *("contiguous", "Fortran", "strided", "reversed", "read-only", "broadcast", "unaligned", "matrix", "subclass"),
    *("masked", "unmasked", "memmap", "list", "rows", "array-like", "buffer"),
]
DTYPES = [
    *("own", "f8", "f4", "f2", ">f8", ">f4", "longdouble", "i8", "u1", "u8", "i1", ">i4", "?", "c16", "O", "U3", "S3"),
    *("M8[s]", "m8[s]", "T", "V3", "f8,i4"),
]
CONTENTS = ["ordinary", "nan", "inf", "-inf", "denormal", "large", "zeros", "negative"]
SHAPES = [
    "same",
    "empty",
    "no channel",
    "0-d",
    "first",
    "one more",
    "one less",
    "many axes",
    "huge",
    "huge last",
    "twice",
]
# The length of an axis, in elements, of which no machine holds an array.
HUGE = 2**41


def draw_recipe(choose):
    """Return the recipe of an array, whose four parts are mostly the ordinary ones."""
    rare = [names[0] if choose(range(3)) else choose(names) for names in (LAYOUTS, DTYPES, CONTENTS, SHAPES)]
    return "|".join(rare)


def build(text, valid):
    """Return the value of an expression, or the array that a recipe makes from a valid value."""
    return make_array(text, valid) if text.count("|") == 3 else eval(text, globals())


def make_array(recipe, valid):
    """Return the array of a recipe, with the numbers of `valid` where that is an array."""
    layout, dtype, content, shape = recipe.split("|")
    array = valid if isinstance(valid, np.ndarray) else np.arange(6.0).reshape(2, 3)
    with np.errstate(all="ignore"):
        return _laid_out(_shaped(_filled(_cast(array, dtype), content), shape), layout, shape)


def _cast(array, dtype):
    if dtype == "own":
        return array.copy()
    if dtype in ("V3", "f8,i4"):
        return np.zeros(array.shape, dtype)
    if dtype[0] in "Mm":
        return array.astype(np.int64).astype(dtype)
    return array.astype(np.dtypes.StringDType() if dtype == "T" else dtype)


def _filled(array, content):
    kind, flat = array.dtype.kind, array.reshape(-1)
    if kind not in "fciu" or not array.size or content == "ordinary":
        return array
    if content in ("zeros", "negative"):
        return np.zeros_like(array) if content == "zeros" else -array
    if kind in "iu":
        flat[0] = np.iinfo(array.dtype).max
    else:
        limits = np.finfo(array.dtype)
        flat[0] = {"large": limits.max, "denormal": limits.smallest_subnormal}.get(content, content)
    return array


def _shaped(array, shape):
    if array.ndim == 0 or shape in ("same", "huge", "huge last"):
        return array
    return {
        "empty": lambda: array[:0],
        "no channel": lambda: array[..., :0],
        "0-d": lambda: array.reshape(-1)[:1].reshape(()),
        "first": lambda: array[:1],
        "one more": lambda: array[..., None],
        "one less": lambda: array[:1].reshape(array.shape[1:]),
        "many axes": lambda: array.reshape((1,) * 40 + array.shape),
        "twice": lambda: np.concatenate([array, array]),
    }[shape]()


def _laid_out(array, layout, shape):
    if shape.startswith("huge") and array.ndim and array.size:
        one = array[:1] if shape == "huge" else array[..., :1]
        return np.broadcast_to(one, (HUGE, *array.shape[1:]) if shape == "huge" else (*array.shape[:-1], HUGE))
    plain, every_other = np.ascontiguousarray(array).reshape(array.shape), (slice(None, None, 2),) * array.ndim
    if layout == "strided" and 0 < array.ndim < 10:
        wide = np.zeros([2 * n for n in array.shape], array.dtype)
        wide[every_other] = array
        return wide[every_other]
    if layout == "read-only":
        plain = plain.copy()
        plain.flags.writeable = False
        return plain
    if layout == "unaligned" and not plain.dtype.hasobject and plain.dtype.kind != "T":
        return np.frombuffer(b"\0" + plain.tobytes(), np.uint8)[1:].view(plain.dtype).reshape(plain.shape)
    if layout == "memmap" and plain.size and not plain.dtype.hasobject and plain.dtype.kind != "T":
        with tempfile.TemporaryFile() as file:
            mapped = np.memmap(file, plain.dtype, "w+", shape=plain.shape)
        mapped[...] = plain
        return mapped
    if layout == "broadcast" and plain.size and plain.ndim:
        return np.broadcast_to(plain[:1], plain.shape)
    return {
        "Fortran": lambda: np.asfortranarray(plain),
        "reversed": lambda: plain[::-1].copy()[::-1] if plain.ndim else plain,
        "matrix": lambda: np.matrix(plain) if plain.ndim == 2 else plain,
        "subclass": lambda: plain.view(Subclass),
        "masked": lambda: np.ma.MaskedArray(plain, mask=True),
        "unmasked": lambda: np.ma.MaskedArray(plain),
        "list": plain.tolist,
        "rows": lambda: list(plain) if plain.ndim else [plain],
        "array-like": lambda: ArrayLike(plain),
        "buffer": lambda: memoryview(plain) if plain.dtype.kind in "fiu?" and plain.dtype.isnative else plain,
    }.get(layout, lambda: plain)()


def plain_copy(value, recipe, valid):
    """Return the value in its plainest form: contiguous and native, in float64 if its numbers are ordinary."""
    if "|" not in recipe:
        return value.item() if isinstance(value, np.number | np.bool_) else value
    array = np.asarray(value)
    if array.size >= HUGE or not isinstance(valid, np.ndarray):
        return value
    array = np.array(array, order="C")
    array = array if array.dtype.kind == "T" else array.astype(array.dtype.newbyteorder("="))
    return array.astype(np.float64) if array.dtype.kind == "f" and "|ordinary|" in recipe else array
