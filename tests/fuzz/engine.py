"""One case of the fuzz suite: call something public with odd arguments, and say what came out."""

import contextlib
import dataclasses
import dis
import inspect
import itertools
import resource
import signal
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

import allconv as ac
from fuzz.targets import new_folder, targets
from fuzz.values import VALUES, build, draw_recipe, plain_copy

LIBRARY = str(Path(ac.__file__).parent)
REFUSALS = (TypeError, ValueError, RuntimeError, OSError)
# The time of one call, in seconds. The slowest right call takes less than one.
DEADLINE = 10
# The address space that the calls may take beyond that of the process before, in bytes.
MEMORY = 3 << 30


class Case(NamedTuple):
    """What is called, and what its arguments are replaced by: expressions or recipes of arrays."""

    target: str
    arguments: tuple[tuple[str, str], ...]


class Outcome(NamedTuple):
    """How a case ended: "right", the type of a refusal, or "escape"; and what happened."""

    kind: str
    detail: str = ""


class HangError(BaseException):
    """A call took longer than the deadline."""


def draw_case(choose):
    """Return a case; ``choose(sequence)`` draws an element."""
    name = choose(list(targets()))
    arguments = targets()[name].arguments
    count = min(len(arguments), choose([1, 1, 1, 2, 3]))
    chosen = {choose(list(arguments)) for _ in range(count)}
    odd = {
        argument: draw_recipe(choose)
        if choose(range(8)) >= (2 if isinstance(arguments[argument], np.ndarray) else 7)
        else choose(VALUES)
        for argument in sorted(chosen)
    }
    return Case(name, tuple(odd.items()))


# The arguments that a target fills in place, as it says.
FILLED = {"AveragedWeights": "values"}


def check(case):
    """Run a case in an empty folder, and return its outcome."""
    with _limits(), np.errstate(over="warn", invalid="warn", divide="warn"):
        before = ac.get_num_threads(), ac.get_memory_limit()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                return _outcome(case)
        except Exception as error:  # The comparison itself failed.
            return Outcome("escape", f"cannot be compared: {_show(error)}")
        finally:
            ac.set_num_threads(before[0])
            ac.set_memory_limit(before[1])


@new_folder()
def _outcome(case):
    function, given = targets()[case.target].prepare()
    with warnings.catch_warnings(action="ignore"):
        odd = {name: build(text, given[name]) for name, text in case.arguments}
    given |= _consistent(odd, given)
    watched = {name: value for name, value in given.items() if name not in ("cache", FILLED.get(case.target))}
    before = _fingerprint(watched)
    try:
        with _deadline():
            result = _settled(function(**given))
    except HangError:
        return Outcome("escape", "a hang")
    except (*REFUSALS, AttributeError) as error:
        result, refusal = None, error
    except MemoryError as error:  # No machine has the memory for a size of 2**40.
        return Outcome("MemoryError" if "2**40" in str(case.arguments) else "escape", _show(error))
    except Exception as error:
        if not _is_of_an_argument(error):
            return Outcome("escape", _show(error))
        result, refusal = None, error
    else:
        refusal = None
    if _fingerprint(watched) != before:
        return Outcome("escape", "an argument was changed")
    if refusal is not None and _is_of_an_argument(refusal):
        return Outcome("right")
    if refusal is not None:
        return Outcome(_kind(refusal)) if _is_ours(refusal, case) else Outcome("escape", _show(refusal))
    return _compared(case, result)


def _consistent(odd, given):
    """Return the odd arguments without another layer for a cache, which belongs to the layer that made it."""
    return {n: value for n, value in odd.items() if not ("cache" in given and isinstance(value, ac.Layer))}


@new_folder()
def _compared(case, result):
    """Return whether the plain copy of the arguments gives the same result."""
    function, given = targets()[case.target].prepare()
    texts = dict(case.arguments)
    with warnings.catch_warnings(action="ignore"):
        odd = {name: plain_copy(build(text, given[name]), text, given[name]) for name, text in case.arguments}
    given |= _consistent(odd, given)
    if texts.get("rng") == "None":
        return Outcome("right")  # Without a seed two results differ.
    try:
        with np.errstate(all="ignore"):
            plain = _settled(function(**given))
    except Exception as error:
        return Outcome("escape", f"accepted, but not its plain copy: {_show(error)}")
    narrow = {"f2": 2e-2, "f4": 1e-3, ">f4": 1e-3}
    tolerance = max(
        (narrow.get(text.split("|")[1], 1e-6) for text in texts.values() if text.count("|") == 3), default=1e-6
    )
    difference = _difference(result, plain, tolerance)
    return Outcome("escape", f"not the result of the plain copy: {difference}") if difference else Outcome("right")


def _settled(result):
    """Return the result of a call; what it opens is entered, and what it yields is listed."""
    if isinstance(result, contextlib.AbstractContextManager) and not isinstance(result, Path):
        with result as entered:
            return str(type(entered))
    if inspect.isgenerator(result):
        return list(itertools.islice(result, 3))
    return result


def _is_ours(error, case):
    """Tell whether the library itself raised the error, with words of its own or the path of a file."""
    if isinstance(error, AttributeError) and not case.target.endswith(" ="):  # A setting may be read-only.
        return False
    trace = _last_place(error)
    code = trace.tb_frame.f_code
    raised = dis.opname[code.co_code[trace.tb_lasti]] == "RAISE_VARARGS" and code.co_filename.startswith(LIBRARY)
    return raised or (isinstance(error, OSError) and error.filename is not None)


def _is_of_an_argument(error):
    """Tell whether a function among the arguments raised the error, which then goes through to the caller."""
    return _last_place(error).tb_frame.f_code.co_filename == "<string>"


def _last_place(error):
    """Return the last entry of a traceback: where the error was raised."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def _kind(error):
    return next(kind.__name__ for kind in (*REFUSALS, AttributeError) if isinstance(error, kind))


def _show(error):
    places, trace = [], error.__traceback__
    while trace is not None:
        places.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{type(error).__name__}: {str(error)[:150]} [{' '.join(places[-3:])}]"


def _fingerprint(value):
    """Return what tells whether an argument was changed: bytes of arrays, the parts of containers."""
    if isinstance(value, np.ndarray) and value is not np.ma.masked:
        return (
            str(value.dtype),
            value.shape,
            np.asarray(value).tobytes() if value.size < 1e6 and not value.dtype.hasobject else b"",
        )
    if isinstance(value, dict):
        return {str(key): _fingerprint(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [id(item) for item in value]
    return value if isinstance(value, str | bytes) else id(value)


def _difference(got, wanted, tolerance):
    """Return where two results differ, or None; floats may differ by a share of the largest."""
    if isinstance(got, ac.Layer | ac.Optimizer):
        arrays = [
            [p.value for p in (x.parameters() if callable(x.parameters) else x.parameters)] for x in (got, wanted)
        ]
        return _difference(*arrays, tolerance)
    if isinstance(got, ac.Parameter):
        return _difference(got.value, wanted.value, tolerance)
    if isinstance(got, dict | list | tuple):
        pairs = [got.items(), wanted.items()] if isinstance(got, dict) else [got, wanted]
        if len(got) != len(wanted):
            return f"{len(got)} items for {len(wanted)}"
        return next(filter(None, (_difference(a, b, tolerance) for a, b in zip(*pairs, strict=True))), None)
    if dataclasses.is_dataclass(got):
        return None if type(got) is type(wanted) else "other types"
    if isinstance(got, np.ndarray | float | np.floating) and np.asarray(got).dtype.kind == "f":
        with np.errstate(all="ignore"):
            a, b = np.asarray(got, np.float64), np.asarray(wanted).astype(np.asarray(got).dtype).astype(np.float64)
            if a.shape != b.shape:
                return f"shape {a.shape} for {b.shape}"
            scale = np.max(np.abs(b), initial=0, where=np.isfinite(b))
            near = np.isclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=True)
            return None if near.all() else f"{a[~near][:3]} for {b[~near][:3]}"
    if isinstance(got, np.ndarray):
        return (
            None if np.array_equal(got, wanted) else f"{got.reshape(-1)[:3]} for {np.asarray(wanted).reshape(-1)[:3]}"
        )
    return f"{got!r} for {wanted!r}" if isinstance(got, int) and got != wanted else None


@contextlib.contextmanager
def _limits():
    """Bound the memory that the process can take."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextlib.contextmanager
def _deadline():
    def stop(number, frame):
        raise HangError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, DEADLINE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
