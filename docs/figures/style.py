"""Two looks for every picture of the site: dark lines for the light pages, and light lines for the dark ones."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

FOLDER = Path(__file__).resolve().parents[1] / "_static" / "figures"
BLUE, ORANGE, GREY = "#3b82d6", "#e07b39", "#8a93a0"  # legible on white and on nearly black
INK = {"light": "#24292f", "dark": "#d6dbe1"}
FAINT = {"light": "#d9dee5", "dark": "#3c444e"}  # grids, and boxes in the background


def rc(theme: str) -> dict[str, object]:
    """Return the settings of matplotlib for a theme: a transparent page, and the same bytes in every run."""
    ink = INK[theme]
    names = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    return dict.fromkeys(names, ink) | {
        "svg.hashsalt": "allconv",
        "savefig.transparent": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": FAINT[theme],
        "legend.frameon": False,
    }


def save(name: str, draw: Callable[[str], Figure], note: str = "", folder: Path = FOLDER) -> None:
    """Write a picture for both themes, with a note in it that says from which data it was drawn."""
    folder.mkdir(parents=True, exist_ok=True)
    for theme in INK:
        with mpl.rc_context(rc(theme)):
            draw(theme).savefig(folder / f"{name}.{theme}.svg", metadata={"Date": None, "Description": note})
