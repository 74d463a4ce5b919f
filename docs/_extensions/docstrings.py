"""What the docstrings leave to the reader, said in Sphinx's terms, before and after napoleon turns them into fields."""

import re

TYPE = re.compile(r"(:(?:type|kwtype) [^:]+:) ([^`]+)")
CLASS = re.compile(r"[A-Z]\w+")


def list_references(app, what, name, obj, options, lines):
    """Put a bullet before each reference; a line that goes on is indented, as it is in the docstring."""
    try:
        start = lines.index("References") + 2
    except ValueError:
        return
    for i in range(start, len(lines)):
        if i + 1 < len(lines) and lines[i + 1].startswith("---"):  # the next section
            return
        if lines[i].strip() and not lines[i].startswith(" "):
            lines[i] = f"* {lines[i]}"


def keep_types_as_text(app, what, name, obj, options, lines):
    """Emphasize what stands for a type but is no class: Sphinx would take "shape" in "ndarray, shape (N,)" for one."""
    for i, line in enumerate(lines):
        found = TYPE.fullmatch(line)
        if found and not CLASS.fullmatch(found[2]):
            lines[i] = f"{found[1]} *{found[2]}*"


def setup(app):
    app.connect("autodoc-process-docstring", list_references, priority=400)
    app.connect("autodoc-process-docstring", keep_types_as_text, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
