"""Imports point one way, bring no optional package, and are quick."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from helpers.programs import python

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "allconv").rglob("*.py"))
}
# What each package or module of the root may import of allconv, itself aside.
GROUND = {"typing", "validation"}
ALLOWED = {
    "typing": set(),
    "validation": {"typing"},
    "tables": set(),
    "parameter": GROUND,
    "initializers": GROUND | {"parallel"},
    "schedules": GROUND,
    "parallel": GROUND,
    "functional": GROUND | {"parallel"},
    "losses": GROUND | {"functional"},
    "layers": GROUND | {"functional", "initializers", "parallel", "parameter", "tables"},
    "optimizers": GROUND | {"parallel", "parameter"},
    "rules": GROUND | {"layers"},
    "models": GROUND | {"checkpoint", "functional", "initializers", "layers", "parallel", "parameter"},
    "article": GROUND | {"data", "layers", "models", "optimizers", "rules", "schedules"},
    "checkpoint": GROUND | {"layers"},
    "data": GROUND | {"checkpoint", "parallel"},
    "deploy": GROUND | {"checkpoint", "data", "functional", "layers", "models"},
    "__main__": GROUND | {"deploy"},
    "distributed": GROUND | {"checkpoint", "layers", "optimizers", "parallel", "parameter"},
    "gradcheck": GROUND | {"layers", "parameter", "rules", "tables"},
    "inspection": GROUND | {"layers", "parallel", "rules", "tables"},
    "interop": GROUND | {"checkpoint", "data", "functional", "layers", "models", "parameter"},
    "training": GROUND
    | {"checkpoint", "data", "distributed", "layers", "losses", "optimizers", "parallel", "parameter"},
    "sklearn": GROUND
    | {"checkpoint", "data", "functional", "layers", "losses", "optimizers", "parallel", "schedules", "training"},
}
ROOT_FILES = 16
EXCEPTIONS = {"allconv.optimizers.dilated": {"allconv.layers.base", "allconv.layers.skip"}}
OPTIONAL = {
    *("PIL", "cv2", "h5py", "imgaug", "keras", "matplotlib", "mpi4py", "onnx"),
    *("onnxruntime", "pandas", "skimage", "sklearn", "torch"),
}


def imported(path: Path) -> set[str]:
    """Return the modules of allconv that a file imports anywhere, but for type checking alone."""
    found: set[str] = set()
    queue: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while queue:
        node = queue.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            queue += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            # ``from allconv import data`` imports allconv.data; ``from allconv.parameter import Parameter`` its module.
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in inner}
        queue += ast.iter_child_nodes(node)
    return {name for name in found if name.split(".")[0] == "allconv"}


def part(module: str) -> str:
    return [*module.split("."), ""][1]


def test_the_reader_of_imports_sees_all_their_forms(tmp_path):
    source = tmp_path / "module.py"
    source.write_text(
        "from typing import TYPE_CHECKING\n"
        "import allconv.losses\n"
        "from allconv import data, checkpoint\n"
        "from allconv.layers.skip import Skip\n"
        "if TYPE_CHECKING:\n    from allconv.training.loop import Training\n"
        "def f():\n    import numpy, allconv.models\n"
    )
    assert imported(source) == {
        "allconv.losses", "allconv.data", "allconv.checkpoint", "allconv.layers.skip", "allconv.models",
    }  # fmt: skip


@pytest.mark.parametrize("module", [module for module in MODULES if module != "allconv"])
def test_imports_point_one_way(module):
    allowed = ALLOWED[part(module)] | {part(module)}
    found = imported(MODULES[module]) - EXCEPTIONS.get(module, set()) - {"allconv"}
    wrong = {name for name in found if part(name) not in allowed}
    assert not wrong, f"{module} may import {sorted(allowed)} of allconv, but imports {sorted(wrong)}"


def test_the_table_of_imports_points_one_way():
    list(TopologicalSorter(ALLOWED).static_order())


def test_the_root_stays_small():
    assert len([path for path in (ROOT / "allconv").iterdir() if path.is_file()]) <= ROOT_FILES


def test_there_is_no_circle():
    graph = {module: imported(path) - {"allconv", module} for module, path in MODULES.items() if module != "allconv"}
    list(TopologicalSorter(graph).static_order())  # CycleError names the circle


def test_importing_allconv_imports_nothing_optional_nor_needs_it():
    report = "print(allconv.ReLU(), *{name.partition('.')[0] for name, module in sys.modules.items() if module})"
    hide = f"sys.modules.update(dict.fromkeys({sorted(OPTIONAL)}))"  # None there: ImportError
    for code in (f"import sys, allconv; {report}", f"import sys; {hide}; import allconv; {report}"):
        layer, *loaded = python(code).split()
        assert layer == "ReLU()"
        assert not OPTIONAL & set(loaded)


def test_a_room_without_its_package_names_the_extra():
    code = "import sys; sys.modules['sklearn'] = None\ntry: import allconv.sklearn\nexcept ImportError as e: print(e)"
    assert python(code).startswith("allconv.sklearn needs the extra 'sklearn', pip install 'allconv[sklearn]': ")
