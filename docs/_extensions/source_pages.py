"""Pages that show source files: links out of docs/, as a forge follows them, lead there, and so do those of the API.

A folder's page lists what is in it. Only what a link leads to gets a page.
"""

import html
import inspect
import posixpath
import re
import sys
from pathlib import Path

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx.util import logging

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<=\]\()(\.\./[^)#\s]+)")
SCHEME = "source:"

logger = logging.getLogger(__name__)

wanted: set[str] = set()


def page_of(path):
    return f"source/{path}"


def mark_links(app, docname, content):
    """Turn links to files outside docs/ into links of a scheme of their own, which Markdown's parser lets be."""

    def mark(match):
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(docname), match[1]))
        if path.startswith("docs/"):
            return match[1]
        if path.startswith("..") or not (ROOT / path).exists():
            logger.warning("there is no %s to link to", match[1], location=docname)
        return SCHEME + path

    content[0] = LINK.sub(mark, content[0])


def resolve_links(app, doctree, docname):
    for reference in doctree.findall(nodes.reference):
        path = reference.get("refuri", "").removeprefix(SCHEME)
        if path != reference.get("refuri", ""):
            if (ROOT / path).exists():
                wanted.add(path)
            reference["refuri"] = app.builder.get_relative_uri(docname, page_of(path))


def linkcode_resolve(domain, info):
    """Tell Sphinx where an object of the API is defined; the pages of the API stand one folder below the top."""
    found = sys.modules.get(info["module"])
    for name in info["fullname"].split("."):
        found = getattr(found, name, None)
    found = getattr(found, "fget", None) or found
    try:
        path = Path(inspect.getsourcefile(inspect.unwrap(found))).resolve().relative_to(ROOT).as_posix()
        line = inspect.getsourcelines(inspect.unwrap(found))[1]
    except (TypeError, OSError, ValueError):  # a constant, or a class that was put together from others
        return None
    wanted.add(path)
    return f"../{page_of(path)}.html#line-{line}"


def make_pages(app):
    done = set()
    while rest := sorted(wanted - done):
        for path in rest:
            done.add(path)
            body = list_folder(path) if (ROOT / path).is_dir() else show_file(path)
            yield page_of(path), {"title": path, "body": f"<h1>{html.escape(path)}</h1>\n{body}"}, "page.html"


def show_file(path):
    try:
        lexer = get_lexer_for_filename(path)
    except ClassNotFound:
        lexer = TextLexer()
    text = (ROOT / path).read_text(encoding="utf-8")
    return highlight(text, lexer, HtmlFormatter(cssclass="highlight", lineanchors="line"))


def list_folder(path):
    items = []
    for entry in sorted((ROOT / path).iterdir()):
        if entry.suffix in (".py", ".pyx", ".c", ".h", ".md", ".json", ".jsonl"):
            inner = f"{path}/{entry.name}"
            wanted.add(inner)
            items.append(
                f'<li><a href="{path.rpartition("/")[2]}/{entry.name}.html">{html.escape(entry.name)}</a></li>'
            )
    return f"<ul>{''.join(items)}</ul>"


def setup(app):
    app.config.linkcode_resolve = linkcode_resolve
    app.config.myst_url_schemes = ("http", "https", "mailto", SCHEME.rstrip(":"))
    app.connect("source-read", mark_links)
    app.connect("doctree-resolved", resolve_links)
    app.connect("html-collect-pages", make_pages)
    return {"parallel_read_safe": False, "parallel_write_safe": False}
