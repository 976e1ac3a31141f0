"""How Sphinx builds this documentation: offline, and any warning is an error in CI."""

import inspect
import os
import sys
from importlib import import_module
from importlib.metadata import version as installed_version
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

import allconv
from allconv import functional

sys.path.append(str(Path(__file__).parent / "_ext"))
import gallery  # its folder is on the path from here on

project = "allconv"
author = "The allconv maintainers"
copyright = "2026, The allconv maintainers"
version = release = installed_version("allconv")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
    "picture",
    "sphinx-mathjax-offline",  # puts MathJax beside the pages, so that reading needs no network either
]
mathjax_path = "mathjax/tex-chtml.js"
exclude_patterns = ["_build", "_examples", "howto/examples/*.ipynb", "howto/examples/*.md5"]
smartquotes_action = "q"  # quotes only: the two dashes of an option stay what they are
templates_path = ["_templates"]

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

default_role = "py:obj"  # `Conv2D` in a docstring is a link where there is such a thing, and code where not
# `-n` checks every other link. A bare name in backquotes may be an argument; a full path must lead to a page.
nitpick_ignore_regex = [
    ("py:obj", r"(?!allconv\.).*"),
    ("py:class", r"(?!allconv\.).*"),  # classes of Python and NumPy, whose pages are not offline
    # Base classes without a page: their subclasses have all their methods.
    ("py:class", r".*\.(_AlongAxis|ConvNet|ElementwiseLoss|Finishing|Grouped|Overwriting|Pool2D|ProcessGroup)"),
]
autosummary_generate = True
autodoc_preserve_defaults = True
# These methods come from scikit-learn, and their docstrings link to its own glossary.
autodoc_default_options = {"exclude-members": "set_fit_request,set_partial_fit_request,set_score_request"}
autodoc_typehints = "none"  # numpydoc's Parameters have the types in words
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # the class pages list them, with the mathematics of forward and backward

html_theme = "pydata_sphinx_theme"
html_title = "allconv"
html_favicon = "_static/logo.svg"
html_theme_options = {
    "logo": {"text": "allconv", "image_light": "_static/logo.svg", "image_dark": "_static/logo.svg"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "show_prev_next": False,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": []}  # the first page has the whole width
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["allconv.css"]

os.environ["TQDM_DISABLE"] = "1"  # the examples are not watched while they run
gallery.copy_examples()
sphinx_gallery_conf = gallery.CONFIGURATION

# The pages of the reference: title, and the modules whose public names they list, so that a new layer is there without
# a line of its own.
REFERENCE = {
    "layers": ("Layers", "allconv.layers", "allconv.parameter", "allconv.initializers", "allconv.layers.summary"),
    "losses": ("Losses", "allconv.losses", "allconv.typing"),
    "optimizers": ("Optimizers and schedules", "allconv.optimizers", "allconv.schedules"),
    "training": (
        "Training",
        "allconv.training.loop",
        "allconv.training.training",
        "allconv.training.record",
        "allconv.training.run",
        "allconv.training.evaluation",
        "allconv.training.nonfinite",
        "allconv.distributed",
    ),
    "checkpoints": (
        "Weights and checkpoints",
        "allconv.checkpoint",
        "allconv.training.interrupts",
    ),
    "data": ("Data", "allconv.data"),
    "interop": ("Other frameworks", "allconv.interop"),
    "sklearn": ("scikit-learn", "allconv.sklearn"),
    "models": ("Networks", "allconv.models"),
    "deploy": ("Deployment", "allconv.deploy", "allconv.deploy.predictor"),
    "article": ("The experiment", "allconv.article"),
    "gradients": ("Gradient checks and backward rules", "allconv.gradcheck", "allconv.rules"),
    "explain": (
        "Looking inside",
        "allconv.inspection.explain",
        "allconv.inspection.activations",
        "allconv.inspection.profile",
        "allconv.layers.observe",
        "allconv.layers.intercept",
    ),
    "tools": ("Tools", "allconv", "allconv.validation"),  # what has no page of its own
    "functional": ("The engine", *(f"allconv.functional.{info.name}" for info in iter_modules(functional.__path__))),
}
# The modules that a program imports by name, since each needs an optional package.
ON_DEMAND = ["allconv.sklearn"]
# What public functions return or raise, beside the names that a program writes.
RETURNED = [
    "allconv.training.nonfinite.NonFiniteError",
    "allconv.training.interrupts.Stop",
    "allconv.inspection.profile.LayerProfile",
    "allconv.inspection.profile.Profile",
    "allconv.layers.intercept.Call",
    "allconv.layers.summary.LayerSummary",
    "allconv.layers.summary.Summary",
    "allconv.training.training.Training",
    "allconv.typing.Loss",
    "allconv.deploy.predictor.Predictor",
]


def public_names() -> dict[str, list[str]]:
    """Return, for each module of `REFERENCE`, the public names on its page, each with the path to import it by."""
    names: dict[str, list[str]] = {module: [] for _, *modules in REFERENCE.values() for module in modules}
    by_length = sorted(names, key=len, reverse=True)
    for name in sorted(allconv.__all__, key=str.lower):
        value = getattr(allconv, name)
        if inspect.ismodule(value):
            names[value.__name__] = [f"{value.__name__}.{inner}" for inner in exported(value)]
        else:
            home = next(module for module in by_length if f"{value.__module__}.".startswith(f"{module}."))
            names[home].append(f"allconv.{name}")
    for module in ON_DEMAND:
        names[module] = [f"{module}.{inner}" for inner in exported(import_module(module))]
    for path in RETURNED:
        names[path.rpartition(".")[0]].append(path)
    for module in REFERENCE["functional"][1:]:
        there = [path.rpartition(".")[2] for path in names[module]]
        names[module] += [f"{module}.{inner}" for inner in exported(import_module(module)) if inner not in there]
    return names


def exported(module: ModuleType) -> list[str]:
    """Return the module's ``__all__``, or else the functions and classes that it defines for others."""
    own = [
        name
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", "") == module.__name__ and not name.startswith("_")
    ]
    return getattr(module, "__all__", own)


def write_reference(folder: Path) -> None:
    """Write a page for each group of `REFERENCE`; from it autosummary makes one for each name."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.rst"):
        stale.unlink()
    names = public_names()
    for file, (title, *modules) in REFERENCE.items():
        lines = [title, "=" * len(title)]
        for module in modules:
            if len(modules) > 1:
                lines += ["", module, "-" * len(module)]
            about = "" if module == "allconv" else import_module(module).__doc__ or ""
            summary = inspect.cleandoc(about).split("\n\n")[0]
            lines += [f".. py:module:: {module}", ".. py:currentmodule:: None", "", summary, ""]
            lines += [".. autosummary::", "   :toctree:", "   :nosignatures:", ""]
            lines += [f"   ~{name}" for name in names[module]]
        (folder / f"{file}.rst").write_text("\n".join(lines) + "\n")


write_reference(Path(__file__).parent / "reference" / "generated")
