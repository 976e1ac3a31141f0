"""How sphinx-gallery shows the examples: run as a reader runs them, with what they print and the pictures they write.

The examples stay plain programs, whose docstrings are the help of their command lines. The gallery is made from copies.
In these each docstring has a title, and its indented text is code. A long example runs with ``--quick --data shapes``.
"""

import ast
import builtins
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from sphinx_gallery.scrapers import figure_rst

DOCS = Path(__file__).resolve().parents[1]
COPIES = DOCS / "_examples"
HELPERS = ("article_log.py", "article_pictures.py", "command_line.py")  # modules that the programs share
QUICK = ["--quick", "--data", "shapes"]
OPTIONS = {
    "accumulate_and_average.py": ["--quick"],
    "cifar10_allcnn.py": ["--case", "h", *QUICK, "--statistics"],
    "dilated_gradient.py": ["--quick"],
    "fast_cifar10.py": QUICK,
    "guided_backprop.py": ["--data", "shapes", "--weights", str(DOCS / "weights" / "allcnn_h.npz")],
    "new_layer.py": ["--quick"],
    "own_images.py": ["pictures", "--quick"],
    "paper.py": ["--net", "all-cnn-c", *QUICK],
}
END = sys.exit  # Python's own, which `prepare` replaces while an example runs
SHOWN_ALONE = ("published_faults.py",)  # takes a minute; a page of its own has its tables


def copy_examples() -> None:
    """Copy the examples into `COPIES`, with docstrings in reStructuredText."""
    shutil.rmtree(COPIES, ignore_errors=True)
    COPIES.mkdir()
    for path in (DOCS.parent / "examples").glob("*.*"):
        if path.suffix == ".py":
            (COPIES / path.name).write_text(with_title(path.read_text(encoding="utf-8")), encoding="utf-8")
        elif path.suffix == ".csv":
            shutil.copy(path, COPIES)
    header = "Examples\n========\n\nEach program runs as it stands; what it printed and drew here is above its code.\n"
    (COPIES / "GALLERY_HEADER.rst").write_text(header, encoding="utf-8")


def with_title(code: str) -> str:
    """Return a program whose docstring begins with a title, the first words up to a colon or a comma."""
    text = ast.get_docstring(ast.parse(code), clean=False) or ""
    first = " ".join(text.partition("\n\n")[0].split())
    title = re.split(r": |, |\. ", first.rstrip("."))[0]
    rest = re.sub(r"\n\n(?=    )", "\n\n::\n\n", text)
    return code.replace(text, f"{title}\n{'=' * len(title)}\n\n{rest}", 1)


def arguments(_gallery: dict[str, Any], variables: dict[str, Any]) -> list[str]:
    """Return the options of an example's command line."""
    return OPTIONS.get(Path(variables["src_file"]).name, [])


def prepare(_gallery: dict[str, Any], file: str | None, when: str) -> None:
    """Make what an example reads, and keep its ``sys.exit`` from ending the build."""
    if when == "after":
        sys.exit = END
        return
    sys.exit = fail_unless_zero  # type: ignore[assignment]
    vars(builtins)["__file__"] = file  # sphinx-gallery does not define it
    if file is not None and Path(file).name == "own_images.py":
        draw_pictures(COPIES / "pictures")


def fail_unless_zero(status: object = 0) -> None:
    """Raise an error for an example that does not end with status 0."""
    if status:
        raise RuntimeError(f"the example must end with status 0, got {status}")


def draw_pictures(folder: Path) -> None:
    """Write drawn shapes as picture files, a folder a class."""
    from matplotlib.image import imsave

    import allconv as ac

    shapes = ac.data.shapes(60, seed=0)
    for number, (image, label) in enumerate(zip(shapes.inputs, shapes.targets, strict=True)):
        place = folder / f"class {label}"
        place.mkdir(parents=True, exist_ok=True)
        imsave(place / f"{number}.png", image)


def written_pictures(_block: Any, variables: dict[str, Any], gallery: dict[str, Any]) -> str:
    """Take the pictures that an example has written since it began, by the order of their names."""
    names = []
    for path in [path for path in sorted(COPIES.rglob("*.png")) if "pictures" not in path.parts]:
        target = next(variables["image_path_iterator"])
        shutil.move(path, target)
        names.append(target)
    return figure_rst(names, gallery["src_dir"])


CONFIGURATION: dict[str, Any] = {
    "examples_dirs": [str(COPIES)],
    "gallery_dirs": ["howto/examples"],
    "filename_pattern": rf"/(?!{'|'.join(map(re.escape, SHOWN_ALONE))})[^/]*$",
    "ignore_pattern": "|".join(map(re.escape, HELPERS)),
    "reset_argv": "gallery.arguments",
    "reset_modules": ("gallery.prepare",),
    "reset_modules_order": "both",
    "image_scrapers": ("gallery.written_pictures",),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "default_thumb_file": str(DOCS / "_static" / "logo.svg"),
    "show_signature": False,
    "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey",
    "write_computation_times": False,
}
