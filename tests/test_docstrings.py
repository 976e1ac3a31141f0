"""The docstring of every public name has what numpydoc asks for, and says what the code raises.

The checks, and each exception with its reason, are in ``[tool.numpydoc_validation]`` of pyproject.toml. numpydoc comes
with the extra ``docs``; `.ci/run` installs it.
"""

import ast
import inspect
import re
import textwrap
import tomllib
from dataclasses import is_dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import allconv

numpydoc_validate = pytest.importorskip("numpydoc.validate")

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
CONFIG = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["numpydoc_validation"]
CHECKS = numpydoc_validate.get_validation_checks(set(CONFIG["checks"]))
EXCLUDED = re.compile("|".join(CONFIG["exclude"]))


def exported(module):
    """Return the names of ``__all__``, or else of the functions and classes that the module defines for others."""
    own = [
        name
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", "") == module.__name__ and not name.startswith("_")
    ]
    return getattr(module, "__all__", own)


def public_objects():
    """Return {path: object}: all functions and classes that a program may name, and the methods of those classes."""
    found = {}

    def add(value):
        path = f"{value.__module__}.{value.__qualname__}"
        if path not in found and (inspect.isfunction(value) or inspect.isclass(value)):
            found[path] = value
            if inspect.isclass(value):
                for name, member in vars(value).items():
                    member = getattr(member, "__func__", member)
                    if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                        found[f"{path}.{name}"] = member

    on_demand = [import_module("allconv.sklearn")] if find_spec("sklearn") else []
    for value in [getattr(allconv, name) for name in allconv.__all__] + on_demand:
        for thing in [getattr(value, inner) for inner in exported(value)] if inspect.ismodule(value) else [value]:
            if hasattr(thing, "__qualname__"):
                add(thing)
    return found


def raises(thing):
    """Tell whether the code of a function, or of what runs first in a class, raises or checks arguments."""
    if inspect.isclass(thing):
        return any(raises(vars(thing)[name]) for name in ("__init__", "forward", "__call__") if name in vars(thing))
    if not inspect.isfunction(thing) or thing.__code__.co_filename.startswith("<"):  # "<": written by dataclass
        return False
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(thing)))):
        if isinstance(node, ast.Raise):
            return True
        if isinstance(node, ast.Call) and re.match(r"_?check(ed)?(_|$)", getattr(node.func, "id", "")):
            return True
    return False


def errors(thing, *, method):
    """Return the lines "code message" of what is wrong with a docstring."""
    document = numpydoc_validate.get_doc_object(thing)
    found = numpydoc_validate.validate(document)["errors"]
    excused = set()
    if method or (inspect.isclass(thing) and issubclass(thing, Exception)):
        excused = {"EX01"}  # the example of the class shows its methods; an error is a name and a sentence
    if is_dataclass(thing):
        excused = {"PR01", "EX01"}  # a result, which the library makes: its fields are Attributes
    lines = [f"{code} {message}" for code, message in found if code in CHECKS - excused]
    if raises(thing) and not document["Raises"]:
        lines.append("RS01 No Raises section found, though the code raises")
    return lines


PUBLIC = public_objects()


@pytest.mark.parametrize("path", [path for path in PUBLIC if not EXCLUDED.search(path)])
def test_the_docstring_has_all_sections(path):
    parent = PUBLIC.get(path.rpartition(".")[0])
    found = errors(PUBLIC[path], method=inspect.isclass(parent))
    assert not found, "\n".join([f"the docstring of {path}:", *found])


def test_an_exception_that_excepts_nothing_is_found():
    assert [pattern for pattern in CONFIG["exclude"] if not any(map(re.compile(pattern).search, PUBLIC))] == []


def test_a_faulty_docstring_is_found():
    def sketch(rate, epochs):
        """Returns the rate of an epoch

        Parameters
        ----------
        rate : float
            of the start
        """
        if epochs < 0:
            raise ValueError("epochs must not be negative")
        return rate

    codes = {line.split()[0] for line in errors(sketch, method=False)}
    assert codes == {"SS03", "SS05", "PR01", "PR08", "PR09", "RT01", "EX01", "RS01"}
