"""The directive `picture` shows one of the site's own pictures, which there are twice: for light and for dark pages."""

from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Picture(SphinxDirective):
    """Show ``_static/figures/NAME.light.svg`` or ``NAME.dark.svg``, whichever the reader's theme asks for."""

    required_arguments = 1
    option_spec: ClassVar = {
        "alt": directives.unchanged_required,
        "width": directives.length_or_percentage_or_unitless,
        "wide": directives.flag,  # on a phone it keeps its size and scrolls
    }

    def run(self) -> list[nodes.Node]:
        """Return a box with an image for each theme; the style sheet shows one of them."""
        wide = ["wide"] if "wide" in self.options else []
        options = {name: value for name, value in self.options.items() if name != "wide"}
        box = nodes.container(classes=["picture", *wide])
        for theme in ("light", "dark"):
            uri = f"/_static/figures/{self.arguments[0]}.{theme}.svg"
            box += nodes.image(uri=uri, classes=[f"only-{theme}"], **options)
        return [box]


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("picture", Picture)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
