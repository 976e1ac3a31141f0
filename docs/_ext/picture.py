"""The directive `picture` shows one of the site's own pictures, which there are twice: for light and for dark pages."""

from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Picture(SphinxDirective):
    """Show ``_static/figures/NAME.light.svg`` or ``NAME.dark.svg``, whichever the reader's theme asks for."""

    required_arguments = 1
    option_spec: ClassVar = {"alt": directives.unchanged_required, "width": directives.length_or_percentage_or_unitless}

    def run(self) -> list[nodes.Node]:
        """Return an image for each theme; the style sheet shows one of them."""
        name = self.arguments[0]
        return [
            nodes.image(uri=f"/_static/figures/{name}.{theme}.svg", classes=[f"only-{theme}"], **self.options)
            for theme in ("light", "dark")
        ]


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("picture", Picture)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
