"""Formulas as MathML, which browsers show by themselves: nothing is loaded from elsewhere, and pages work offline."""

from docutils import nodes
from latex2mathml.converter import convert


def in_line(self, node):
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def as_block(self, node):
    self.body.append(convert(node.astext(), display="block"))
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (in_line, None), (as_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
