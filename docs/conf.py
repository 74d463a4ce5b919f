"""How Sphinx builds this site: `python -m sphinx -W -b html docs docs/_build/html`."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "_extensions"))

import cnn_ext

project = "cnn_ext"
copyright = "The cnn_ext developers"
version = release = cnn_ext.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.linkcode",
    "docstrings",
    "mathml",
    "source_pages",
]
exclude_patterns = ["_build", "_extensions"]

# The pages are Markdown that reads as well on a forge; those of the reference are made from the docstrings.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
myst_update_mathjax = False
html_math_renderer = "mathml"
highlight_language = "none"
default_role = "py:obj"

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # the docstrings say more than the types do
autodoc_default_options = {"members": True}
napoleon_google_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]
napoleon_use_rtype = False
python_maximum_signature_line_length = 100
python_use_unqualified_type_names = True

# Every name of ours has to lead somewhere; those of others lead nowhere, as nothing is fetched to build this.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!cnn_ext\.).*")]

html_theme = "furo"
html_title = f"cnn_ext {release}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
