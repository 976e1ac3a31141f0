import pickle
import random
import tracemalloc

import numpy as np
import pytest
from helpers.audit import watch
from hypothesis import given, settings
from hypothesis import strategies as st

from allconv.data.cifar import unpickle
from allconv.data.cifar.unpickle import loads

# One small batch, as these versions wrote it.
WRITTEN = {
    "Python 2.7, NumPy 1.16, protocol 0": (
        b"(dp1\nS'data'\np2\ncnumpy.core.multiarray\n_reconstruct\np3\n(cnumpy\nndarray\np4\n(I0\ntS'b'\ntRp5\n(I1"
        b"\n(I2\nI3\ntcnumpy\ndtype\np6\n(S'u1'\nI0\nI1\ntRp7\n(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS\"\\x00\\n'"
        b"\\\\\\x80\\xff\"\ntbsS'labels'\np8\n(lp9\nI6\naI9\nasS'batch_label'\np10\nS'a\\n\\'\"\\\\\\xff'\np1"
        b"1\nsS'filenames'\np12\n(lp13\nS'x.png'\np14\naS'y.png'\np15\nas."
    ),
    "Python 2.7, NumPy 1.16, protocol 1": (
        b"}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03(cnumpy\nndarray\nq\x04(K\x00tU\x01btRq"
        b"\x05(K\x01(K\x02K\x03tcnumpy\ndtype\nq\x06(U\x02u1K\x00K\x01tRq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff"
        b"\xff\xff\xffK\x00tbI00\nU\x06\x00\n'\\\x80\xfftbU\x06labelsq\x08]q\t(K\x06K\teU\x0bbatch_labelq\nU\x06a"
        b"\n'\"\\\xffq\x0bU\tfilenamesq\x0c]q\r(U\x05x.pngq\x0eU\x05y.pngq\x0feu."
    ),
    "Python 2.7, NumPy 1.16, protocol 2": (
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U"
        b"\x01b\x87Rq\x05(K\x01K\x02K\x03\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff"
        b"\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06\x00\n'\\\x80\xfftbU\x06labelsq\x08]q\t(K\x06K\teU\x0bbatch"
        b"_labelq\nU\x06a\n'\"\\\xffq\x0bU\tfilenamesq\x0c]q\r(U\x05x.pngq\x0eU\x05y.pngq\x0feu."
    ),
    "Python 3.8, NumPy 1.24, protocol 0": (
        b"(dp0\nc_codecs\nencode\np1\n(Vbatch_label\np2\nVlatin1\np3\ntp4\nRp5\ng1\n(Va\\u000a'\"\\u005c\xff\np6\n"
        b"g3\ntp7\nRp8\nsg1\n(Vlabels\np9\ng3\ntp10\nRp11\n(lp12\nI6\naI9\nasg1\n(Vdata\np13\ng3\ntp14\nRp15\ncnum"
        b"py.core.multiarray\n_reconstruct\np16\n(cnumpy\nndarray\np17\n(I0\ntp18\ng1\n(Vb\np19\ng3\ntp20\nRp21\nt"
        b"p22\nRp23\n(I1\n(I2\nI3\ntp24\ncnumpy\ndtype\np25\n(Vu1\np26\nI00\nI01\ntp27\nRp28\n(I3\nV|\np29\nNNNI-1"
        b"\nI-1\nI0\ntp30\nbI00\ng1\n(V\\u0000\\u000a'\\u005c\x80\xff\np31\ng3\ntp32\nRp33\ntp34\nbsg1\n(Vfilename"
        b"s\np35\ng3\ntp36\nRp37\n(lp38\ng1\n(Vx.png\np39\ng3\ntp40\nRp41\nag1\n(Vy.png\np42\ng3\ntp43\nRp44\nas."
    ),
    "Python 3.8, NumPy 1.24, protocol 2": (
        b"\x80\x02}q\x00(c_codecs\nencode\nq\x01X\x0b\x00\x00\x00batch_labelq\x02X\x06\x00\x00\x00latin1q\x03\x86q"
        b"\x04Rq\x05h\x01X\x07\x00\x00\x00a\n'\"\\\xc3\xbfq\x06h\x03\x86q\x07Rq\x08h\x01X\x06\x00\x00\x00labelsq\t"
        b"h\x03\x86q\nRq\x0b]q\x0c(K\x06K\teh\x01X\x04\x00\x00\x00dataq\rh\x03\x86q\x0eRq\x0fcnumpy.core.multiarra"
        b"y\n_reconstruct\nq\x10cnumpy\nndarray\nq\x11K\x00\x85q\x12h\x01X\x01\x00\x00\x00bq\x13h\x03\x86q\x14Rq"
        b"\x15\x87q\x16Rq\x17(K\x01K\x02K\x03\x86q\x18cnumpy\ndtype\nq\x19X\x02\x00\x00\x00u1q\x1a\x89\x88\x87q"
        b"\x1bRq\x1c(K\x03X\x01\x00\x00\x00|q\x1dNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x1eb\x89h\x01X\x08"
        b"\x00\x00\x00\x00\n'\\\xc2\x80\xc3\xbfq\x1fh\x03\x86q Rq!tq\"bh\x01X\t\x00\x00\x00filenamesq#h\x03\x86q$R"
        b"q%]q&(h\x01X\x05\x00\x00\x00x.pngq'h\x03\x86q(Rq)h\x01X\x05\x00\x00\x00y.pngq*h\x03\x86q+Rq,eu."
    ),
    "Python 3.8, NumPy 1.24, protocol 3": (
        b"\x80\x03}q\x00(C\x0bbatch_labelq\x01C\x06a\n'\"\\\xffq\x02C\x06labelsq\x03]q\x04(K\x06K\teC\x04dataq\x05"
        b"cnumpy.core.multiarray\n_reconstruct\nq\x06cnumpy\nndarray\nq\x07K\x00\x85q\x08C\x01bq\t\x87q\nRq\x0b(K"
        b"\x01K\x02K\x03\x86q\x0ccnumpy\ndtype\nq\rX\x02\x00\x00\x00u1q\x0e\x89\x88\x87q\x0fRq\x10(K\x03X\x01\x00"
        b"\x00\x00|q\x11NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x12b\x89C\x06\x00\n'\\\x80\xffq\x13tq\x14bC\t"
        b"filenamesq\x15]q\x16(C\x05x.pngq\x17C\x05y.pngq\x18eu."
    ),
    "Python 3.8, NumPy 1.24, protocol 4": (
        b"\x80\x04\x95\xe3\x00\x00\x00\x00\x00\x00\x00}\x94(C\x0bbatch_label\x94C\x06a\n'\"\\\xff\x94C\x06labels"
        b"\x94]\x94(K\x06K\teC\x04data\x94\x8c\x15numpy.core.multiarray\x94\x8c\x0c_reconstruct\x94\x93\x94\x8c"
        b"\x05numpy\x94\x8c\x07ndarray\x94\x93\x94K\x00\x85\x94C\x01b\x94\x87\x94R\x94(K\x01K\x02K\x03\x86\x94h\t"
        b"\x8c\x05dtype\x94\x93\x94\x8c\x02u1\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01|\x94NNNJ\xff\xff\xff\xffJ\xff"
        b"\xff\xff\xffK\x00t\x94b\x89C\x06\x00\n'\\\x80\xff\x94t\x94bC\tfilenames\x94]\x94(C\x05x.png\x94C\x05y.pn"
        b"g\x94eu."
    ),
    "Python 3.8, NumPy 1.24, protocol 5": (
        b"\x80\x05\x95\xce\x00\x00\x00\x00\x00\x00\x00}\x94(C\x0bbatch_label\x94C\x06a\n'\"\\\xff\x94C\x06labels"
        b"\x94]\x94(K\x06K\teC\x04data\x94\x8c\x12numpy.core.numeric\x94\x8c\x0b_frombuffer\x94\x93\x94(\x96\x06"
        b"\x00\x00\x00\x00\x00\x00\x00\x00\n'\\\x80\xff\x94\x8c\x05numpy\x94\x8c\x05dtype\x94\x93\x94\x8c\x02u1"
        b"\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01|\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t\x94bK\x02K\x03"
        b"\x86\x94\x8c\x01C\x94t\x94R\x94C\tfilenames\x94]\x94(C\x05x.png\x94C\x05y.png\x94eu."
    ),
}
REFUSAL = "^data must be a pickled dict of ints, strings, lists and uint8 arrays and nothing else, got at byte "
PIXELS = np.array([[0, 10, 39], [92, 128, 255]], np.uint8)


@pytest.mark.parametrize("writer", WRITTEN)
def test_reads_what_real_writers_wrote(writer):
    batch = loads(WRITTEN[writer])
    assert batch.keys() == {"batch_label", "labels", "data", "filenames"}
    np.testing.assert_array_equal(batch["data"], PIXELS, strict=True)
    assert batch["batch_label"] == b"a\n'\"\\\xff"
    assert batch["labels"] == [6, 9]
    assert batch["filenames"] == [b"x.png", b"y.png"]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("order", ["C", "F"])
def test_reads_every_protocol_of_this_python(protocol, order):
    data = np.asarray(np.random.default_rng(0).integers(0, 256, (7, 300), np.uint8), order=order)
    batch = loads(pickle.dumps({"data": data, "labels": data[:, 0].tolist(), "long": b"x" * 300}, protocol=protocol))
    np.testing.assert_array_equal(batch["data"], data, strict=True)
    assert batch["labels"] == data[:, 0].tolist()
    assert batch["long"] == b"x" * 300


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text() | st.binary(min_size=1),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), values), st.sampled_from(range(6)))
def test_agrees_with_the_plain_unpickler_on_plain_values(value, protocol):
    assert loads(pickle.dumps(value, protocol=protocol)) == value


def text(value):
    """Return the instruction that pushes a string, in protocol 0."""
    return b"S" + repr(value).encode() + b"\n"


def call(module, name, *arguments):
    """Return the pickle of a call of a global; its arguments are strings, or pickles as bytes."""
    values = b"".join(value if isinstance(value, bytes) else text(value) for value in arguments)
    return f"c{module}\n{name}\n".encode() + b"(" + values + b"tR"


def called(function, *arguments):
    """Return the pickle that calls what the pickle `function` makes."""
    return function + b"(" + b"".join(arguments) + b"tR"


def blob(contents):
    """Return the instruction that pushes bytes."""
    return b"B" + len(contents).to_bytes(4, "little") + contents


def item(value):
    """Return the pickle of {"data": value}."""
    return b"(d" + text("data") + value + b"s."


def stack_global(module, name):
    return b"\x8c" + bytes([len(module)]) + module.encode() + b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93"


# Each of these, obeyed, makes a folder or file `mark`; beside it, what the error must say.
RUNNING = {
    "os": (lambda mark: call("os", "mkdir", mark), "'os.mkdir'"),
    "posix": (lambda mark: call("posix", "mkdir", mark), "'posix.mkdir'"),
    "system": (lambda mark: call("os", "system", f"mkdir {mark}"), "'os.system'"),
    "subprocess": (
        lambda mark: call("subprocess", "check_call", b"(" + text("mkdir") + text(mark) + b"l"),
        "'subprocess.check_call'",
    ),
    "eval": (lambda mark: call("builtins", "eval", f"__import__('os').mkdir({mark!r})"), "'builtins.eval'"),
    "eval of Python 2": (
        lambda mark: call("__builtin__", "eval", f"__import__('os').mkdir({mark!r})"),
        "'__builtin__.eval'",
    ),
    "exec": (lambda mark: call("builtins", "exec", f"import os; os.mkdir({mark!r})"), "'builtins.exec'"),
    "getattr": (
        lambda mark: called(call("builtins", "getattr", call("builtins", "__import__", "os"), "mkdir"), text(mark)),
        "'builtins.getattr'",
    ),
    "attrgetter": (
        lambda mark: called(
            called(call("operator", "attrgetter", "mkdir"), call("importlib", "import_module", "os")), text(mark)
        ),
        "'operator.attrgetter'",
    ),
    "methodcaller": (
        lambda mark: called(call("operator", "methodcaller", "mkdir"), call("pathlib", "Path", mark)),
        "'operator.methodcaller'",
    ),
    "partial": (lambda mark: called(call("functools", "partial", b"cos\nmkdir\n", mark)), "'functools.partial'"),
    "map": (
        lambda mark: call("builtins", "list", call("builtins", "map", b"cos\nmkdir\n", b"(" + text(mark) + b"l")),
        "'builtins.list'",
    ),
    "memmap": (
        lambda mark: call("numpy", "memmap", mark, "u1", "w+", b"I0\n", b"I4\n"),
        "'numpy.memmap'",
    ),
    "pickle in a pickle": (
        lambda mark: call("pickle", "loads", blob(call("os", "mkdir", mark) + b".")),
        "'pickle.loads'",
    ),
    "STACK_GLOBAL": (lambda mark: b"\x80\x04" + called(stack_global("os", "mkdir"), text(mark)), "'os.mkdir'"),
    "name with dots": (
        lambda mark: b"\x80\x04" + called(stack_global("shutil", "os.mkdir"), text(mark)),
        "'shutil.os.mkdir'",
    ),
    "INST": (lambda mark: b"(" + text(mark) + b"ios\nmkdir\n", "instruction b'i'"),
    "OBJ": (lambda mark: b"(cos\nmkdir\n" + text(mark) + b"o", "instruction b'o'"),
}


@pytest.mark.parametrize("name", RUNNING)
def test_code_does_not_run(name, tmp_path):
    make, reason = RUNNING[name]
    mark = tmp_path / "mark"
    with watch() as acts, pytest.raises(ValueError, match=REFUSAL) as caught:
        loads(item(make(str(mark))))
    assert reason in str(caught.value)
    assert acts == []
    assert not mark.exists()


@pytest.mark.parametrize("name", RUNNING)
def test_the_plain_unpickler_would_have_run_it(name, tmp_path):
    make, _ = RUNNING[name]
    with watch() as acts:
        pickle.loads(item(make(str(tmp_path / "mark"))))
    assert acts != []
    assert (tmp_path / "mark").exists()


MADE = call("numpy.core.multiarray", "_reconstruct", b"cnumpy\nndarray\n", b"(I0\nt", "b")
UINT8 = call("numpy", "dtype", "u1", b"I0\n", b"I1\n") + b"(I3\n" + text("|") + b"NNNI-1\nI-1\nI0\ntb"


def state(*, version=b"I1\n", shape=b"(I2\nI3\nt", dtype=UINT8, contents=b"abcdef"):
    """Return the pickle of an array's state and the instruction that sets it."""
    return b"(" + version + shape + dtype + b"I00\n" + (contents and blob(contents)) + b"tb"


def dtype_of(*arguments):
    return call("numpy", "dtype", *arguments)


REFUSED = {
    "open": (call("builtins", "open", "x", "w"), "'builtins.open'"),
    "compile": (call("builtins", "compile", "0", "x", "eval"), "'builtins.compile'"),
    "code object": (call("types", "CodeType"), "'types.CodeType'"),
    "socket": (call("socket", "create_connection", b"(" + text("127.0.0.1") + b"I9\nt"), "'socket.create_connection'"),
    "browser": (call("webbrowser", "open", "http://127.0.0.1"), "'webbrowser.open'"),
    "ctypes": (call("ctypes", "CDLL", "libc.so.6"), "'ctypes.CDLL'"),
    "copyreg": (call("copyreg", "_reconstructor", b"cbuiltins\nobject\n", b"cbuiltins\nobject\n", b"N"), "'copyreg."),
    "bytes": (call("__builtin__", "bytes"), "'__builtin__.bytes'"),
    "numpy.load": (call("numpy", "load", "x.npy"), "'numpy.load'"),
    "numpy.fromfile": (call("numpy", "fromfile", "/etc/passwd"), "'numpy.fromfile'"),
    "numpy.ctypeslib": (call("numpy.ctypeslib", "load_library", "x", "."), "'numpy.ctypeslib.load_library'"),
    "numpy scalar of objects": (
        call("numpy.core.multiarray", "scalar", dtype_of("O8"), "x"),
        "'numpy.core.multiarray.s",
    ),
    "numpy runstring": (call("numpy.testing._private.utils", "runstring", "0", b"}"), "'numpy.testing."),
    "numpy through its names": (
        b"\x80\x04" + called(stack_global("numpy", "core._internal.sys.modules.get"), text("os")),
        "'numpy.core._internal",
    ),
    "other spelling": (call("numpy.core._multiarray_umath", "_reconstruct"), "'numpy.core._multiarray_umath."),
    "spelled twice": (call("numpy._core.numpy._core.multiarray", "_reconstruct"), "'numpy._core.numpy._core."),
    "method of an array": (b"\x80\x04" + stack_global("numpy", "ndarray.tofile"), "'numpy.ndarray.tofile'"),
    "ndarray called": (call("numpy", "ndarray", b"(I1000000000\nt"), "a call"),
    "huge shape": (
        call("numpy.core.multiarray", "_reconstruct", b"cnumpy\nndarray\n", b"(I1000000000000\nt", "b"),
        "a call",
    ),
    "shape of True": (
        call("numpy.core.multiarray", "_reconstruct", b"cnumpy\nndarray\n", b"(I0\nI0\nt", "b"),
        "a call",
    ),
    "other class": (call("numpy.core.multiarray", "_reconstruct", b"cnumpy\ndtype\n", b"(I0\nt", "b"), "a call"),
    "other kind": (call("numpy.core.multiarray", "_reconstruct", b"cnumpy\nndarray\n", b"(I0\nt", "O"), "a call"),
    "dtype of objects": (dtype_of("O8", b"I0\n", b"I1\n"), "a call"),
    "dtype of floats": (dtype_of("f8", b"I0\n", b"I1\n"), "a call"),
    "huge dtype": (dtype_of("V2000000000", b"I0\n", b"I1\n"), "a call"),
    "record dtype": (dtype_of("u1,u1", b"I0\n", b"I1\n"), "a call"),
    "state of a huge shape": (MADE + state(shape=b"(I1000000\nI1000000\nt"), "does not match its bytes"),
    "state of a negative shape": (MADE + state(shape=b"(I-2\nI-3\nt"), "does not match its bytes"),
    "state of a shape of many axes": (MADE + state(shape=b"(" + 99 * b"I1\n" + b"I6\nt"), "does not match its bytes"),
    "state of a shape of strings": (MADE + state(shape=b"(" + text("2") + b"I3\nt"), "does not match its bytes"),
    "state without bytes": (MADE + state(contents=b""), "a state"),
    "state of another version": (MADE + state(version=b"I7\n"), "a state"),
    "state of another dtype": (MADE + state(dtype=b"N"), "a state"),
    "state of a list": (MADE + b"]b", "a state"),
    "state of a function": (b"c_codecs\nencode\n}b", "a state"),
    "attributes of a function": (b"c_codecs\nencode\n(N(d" + text("__defaults__") + b"Nstb", "a state"),
    "attributes of a dtype": (dtype_of("u1", b"I0\n", b"I1\n") + b"(d" + text("char") + b"Nsb", "a state"),
    "dtype state with fields": (
        dtype_of("u1", b"I0\n", b"I1\n") + b"(I3\n" + text("|") + b"N(" + text("a") + b"t}I-1\nI-1\nI0\ntb",
        "a state",
    ),
    "array without state": (MADE, "an array without contents"),
    "huge buffer": (
        call("numpy.core.numeric", "_frombuffer", b"C\x01a", UINT8, b"(I1000000000000\nt", "C"),
        "a call",
    ),
    "encode to hex": (call("_codecs", "encode", b"Vx\n", b"Vhex\n"), "a call"),
    "encode to a bomb": (call("_codecs", "encode", b"Vx\n", b"Vzlib\n"), "a call"),
    "encode by idna": (call("_codecs", "encode", b"V" + 100 * b"x" + b"\n", b"Vidna\n"), "a call"),
    "encode with errors": (call("_codecs", "encode", b"Vx\n", b"Vlatin1\n", b"Vx\n"), "a call"),
    "encode beyond latin-1": (call("_codecs", "encode", b"V\\u0101\n", b"Vlatin1\n"), "latin-1"),
    "decode": (call("_codecs", "decode", b"C\x01x", b"Vzlib\n"), "'_codecs.decode'"),
    "codecs.encode": (call("codecs", "encode", b"Vx\n", b"Vlatin1\n"), "'codecs.encode'"),
    "call of a list": (b"](tR", "not callable"),
    "call of a string": (called(text("os.mkdir"), text("x")), "not callable"),
    "NEWOBJ": (b"cnumpy\nndarray\n(I9\nt\x81", "instruction b'\\x81'"),
    "NEWOBJ_EX": (b"cnumpy\nndarray\n)}\x92", "instruction b'\\x92'"),
    "EXT1": (b"\x82\x01", "instruction b'\\x82'"),
    "EXT4": (b"\x84\x01\x00\x00\x00", "instruction b'\\x84'"),
    "PERSID": (b"Pos\n", "instruction b'P'"),
    "BINPERSID": (text("os") + b"Q", "instruction b'Q'"),
    "NEXT_BUFFER": (b"\x97", "instruction b'\\x97'"),
    "no instruction": (b"\xff", "instruction b'\\xff'"),
    "key of a deep tuple": (b"}" + b"(" * 50_000 + b"t" * 50_000 + b"Ns", "a key that is not a string"),
    "global of a deep list": (b"]" + b"(" * 9_000 + b"l" * 9_000 + b"\x93", "requires str"),
    "global of a list": (b"]" + text("x") + b"\x93", "requires str"),
    "global of a long name": (b"c" + 9000 * b"x" + b"\ny\n", "the global 'xxx"),
    "global that is not UTF-8": (b"c\xff\nx\n", "ascii"),
    "bytes of 4 EiB": (b"\x8e" + (2**62).to_bytes(8, "little") + b"x", "only 3 remain"),
    "string of 4 GiB": (b"T\xff\xff\xff\xff", "byte count < 0"),
    "negative length": (b"\x8b\xff\xff\xff\xff", "instruction b'\\x8b'"),
    "int of a long text": (b"I" + 5000 * b"9" + b"\n", "limit"),
    "int that is none": (b"Iabc\n", "invalid literal"),
    "string without quotes": (b"Sabc\n", "must be quoted"),
    "line without an end": (b"I1", "no newline"),
    "memo of nothing": (b"h\x07", "a reference"),
    "memo index of 4 GiB": (b"Nr\xff\xff\xff\xff", "a memo index"),
    "memo index of 4 GiB in a line": (b"Np4294967295\n", "a memo index"),
    "memo index below 0": (b"Np-1\n", "a memo index"),
    "memo of an empty stack": (b"(q\x00", "an empty stack"),
    "key of tuples that double": (b"})" + b"q\x00h\x00\x86" * 60 + b"Ns", "a key that is not a string"),
    "key of tuples that double, in a dict": (b"()" + b"q\x00h\x00\x86" * 60 + b"Nd", "a key that is not a string"),
    "key that was stored": (b"})" + b"\x85" * 9_000 + b"q\x00}h\x00Ns", "a key that is not a string"),
    "key of an array": (b"}" + MADE + state() + b"Ns", "unhashable"),
    "key of a dtype": (b"}" + UINT8 + b"Ns", "unhashable"),
    "frame beyond the end": (b"\x95" + (2**40).to_bytes(8, "little") + b"N", "in the middle of a frame"),
    "frame within an instruction": (b"\x95\x02" + bytes(7) + blob(b"N."), "crosses the end of a frame"),
    "frame within a frame": (b"\x95\x0b" + bytes(7) + b"\x95\x01" + bytes(7) + b"NN", "crosses the end of a frame"),
    "take from below a mark": (b"NN(\x86", "an empty stack"),
    "list without a mark": (b"l", "without a mark"),
    "append to a dict": (b"}Na", "has no attribute 'append'"),
    "item of a list": (b"]" + text("x") + b"Ns", "list indices"),
    "odd number of items": (b"(" + text("x") + b"d", "odd number of items"),
    "pop below the floor": (b"0", "instruction b'0'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_batch_holds_is_refused_at_little_cost(name):
    payload, reason = REFUSED[name]
    data = item(payload)
    tracemalloc.start()
    try:
        with watch() as acts, pytest.raises(ValueError, match=REFUSAL) as caught:
            loads(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 500
    assert acts == []
    assert peak < 2**20 + 200 * len(data)


def test_the_refused_pieces_are_sound_where_they_are_not_hostile():
    """Otherwise a slip in the pieces above, and not the hostile part, would be what is refused."""
    batch = loads(item(MADE + state()))
    np.testing.assert_array_equal(batch["data"], np.frombuffer(b"abcdef", np.uint8).reshape(2, 3), strict=True)
    buffer = call("numpy._core.numeric", "_frombuffer", blob(b"abcdef"), UINT8, b"(I6\nt", b"VC\n")
    np.testing.assert_array_equal(loads(item(buffer))["data"], np.frombuffer(b"abcdef", np.uint8), strict=True)
    assert loads(item(call("_codecs", "encode", b"Vx\n", b"Vlatin1\n")))["data"] == b"x"


def test_encoding_one_string_again_and_again_is_bounded():
    once = b"c_codecs\nencode\nq\x00X" + (100_000).to_bytes(4, "little") + 100_000 * b"x" + b"q\x01Vlatin1\nq\x02\x86R"
    again = b"h\x00h\x01h\x02\x86R"
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more encoded bytes"):
            loads(b"}" + text("data") + b"(" + once + again * 10_000 + b"ls.")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_memo_indices_may_begin_at_any_instruction_so_far():
    assert loads(item(b"K\x05r\x03\x00\x00\x00j\x03\x00\x00\x00\x86"))["data"] == (5, 5)


def test_the_number_of_instructions_is_bounded(monkeypatch):
    monkeypatch.setattr(unpickle, "_MAX_STEPS", 1000)
    assert loads(item(b"(" + b"N" * 900 + b"l"))["data"] == [None] * 900
    with pytest.raises(ValueError, match="more than 1000 instructions"):
        loads(item(b"(" + b"N" * 1000 + b"l"))


@pytest.mark.parametrize("data", [b"", b".", b"N.", b"].", b"}}.", b"}.}", b"}", b"\x80\x04}"])
def test_what_is_no_dict_is_refused(data):
    with pytest.raises(ValueError, match=REFUSAL):
        loads(data)


def test_the_error_names_the_file_the_rule_and_the_place():
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        loads(b"cos\nsystem\n.", "data_batch_1")
    assert str(caught.value) == (
        "data_batch_1 must be a pickled dict of ints, strings, lists and uint8 arrays and nothing else, "
        "got at byte 11 of 12: the global 'os.system', which a batch has no need of"
    )


@pytest.mark.parametrize("writer", WRITTEN)
def test_every_cut_is_noticed(writer):
    whole = WRITTEN[writer]
    for length in range(len(whole)):
        with pytest.raises(ValueError, match=REFUSAL):
            loads(whole[:length])


def mutated(whole, rng):
    """Return `whole` with one to four bytes changed, removed, doubled, or taken from elsewhere in it."""
    data = bytearray(whole)
    for _ in range(rng.randint(1, 4)):
        place, other = rng.randrange(len(data)), rng.randrange(len(data))
        match rng.randrange(4):
            case 0:
                data[place] = rng.randrange(256)
            case 1:
                del data[place : place + rng.randint(1, 8)]
            case 2:
                data[place:place] = data[other : other + rng.randint(1, 8)]
            case 3:
                data[place] ^= 1 << rng.randrange(8)
        data = data or bytearray(b".")
    return bytes(data)


def test_mutations_do_nothing_but_raise_one_error():
    rng = random.Random(0)
    refused = 0
    with watch() as acts:
        for _ in range(150):
            for whole in WRITTEN.values():
                try:
                    batch = loads(mutated(whole, rng))
                except ValueError as error:
                    assert str(error).startswith("data must be a pickled dict")  # noqa: PT017
                    refused += 1
                else:
                    assert isinstance(batch, dict)
    assert acts == []
    assert 100 < refused < 1200  # of 1200: some mutations only change a pixel
