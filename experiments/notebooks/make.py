"""Write the notebooks of the examples: one for each case of the article, and one for the global average pool.

    python experiments/notebooks/make.py            into examples/
    python experiments/notebooks/make.py FOLDER

The text and the code stand in Markdown files beside this script. `case.md` is the template of the eight cases, and
`parts.md` has what differs from case to case.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parents[1] / "examples"
CASES = "abcdefgh"
METHODS = ("momentum", "Adam", "AMSGrad", "dilated back-propagation")
DILATED = "AMSGrad, with shortcuts that carry the gradient past a layer and fade from epoch to epoch"


def read(name: str) -> str:
    """Return the text of a file beside this script."""
    return (HERE / f"{name}.md").read_text(encoding="utf-8").strip()


def parts() -> dict[str, str]:
    """Return the parts of the cases by their names."""
    _, *found = re.split(r"^<!-- (.*) -->\n", read("parts"), flags=re.MULTILINE)
    return {name: text.strip() for name, text in zip(found[::2], found[1::2], strict=True)}


def words_of(case: str) -> dict[str, str]:
    """Return what stands in the places of the template for a case."""
    number, part = CASES.index(case), parts()
    convpool, method = number < 4, METHODS[number % 4]
    kind, dilated = "convpool" if convpool else "allcnn", method == METHODS[-1]
    kinds = "convolutions and mean pools" if convpool else "convolutions alone"
    return {
        "case": case,
        "kind": kind,
        "network": "ConvPool-CNN" if convpool else "All-CNN",
        "method": method,
        "summary": f"a network of {kinds}, trained by {DILATED if dilated else method}",
        "network text": f"{part[kind]}\n{part['shortcuts']}" if dilated else part[kind],
        "dilated option": ", dilated=True" if dilated else "",
        "shortcut check": part["shortcut check"] if dilated else "",
        "rate": "0.009" if method == "momentum" else "0.0003",
        "optimizer text": part[f"{method} text"],
        "optimizer": part[method],
        "schedule plot": part["rates plot" if dilated else "rate plot"],
        "scale": "  Dilated Rate: {record.scale:.4f}" if dilated else "",
    }


def filled(template: str, words: dict[str, str]) -> str:
    """Return a template with words in its places ``<<name>>``."""
    places = {"data": read("data")} | words
    return re.sub("<<([a-z ]+)>>", lambda place: places[place[1]], read(template))


def notebook(text: str) -> dict[str, Any]:
    """Return Markdown with blocks of Python as a notebook, without outputs."""
    cells: list[dict[str, Any]] = []
    for index, part in enumerate(re.split(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)):
        source = part.strip().splitlines(keepends=True)
        if source:
            cell: dict[str, Any] = {"source": source, "metadata": {}}
            cell |= {"cell_type": "code" if index % 2 else "markdown", "id": f"cell-{len(cells):02}"}
            if index % 2:
                cell |= {"execution_count": None, "outputs": []}
            cells.append(dict(sorted(cell.items())))
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def notebooks() -> dict[str, str]:
    """Return the content of each notebook by the name of its file."""
    texts = {f"case_{case}.ipynb": filled("case", words_of(case)) for case in CASES}
    texts["global_average_pool.ipynb"] = filled("global_average_pool", {})
    return {name: json.dumps(notebook(text), indent=1, ensure_ascii=False) + "\n" for name, text in texts.items()}


def main(folder: Path = EXAMPLES) -> None:
    """Write the notebooks into a folder."""
    for name, text in notebooks().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
