"""How Sphinx builds the site; ``docs/make_site.py`` lays out its sources first."""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from partlib_course.notebook import REPOSITORY

import partlib
from partlib.cli.options import comments_of

project = "Parts without labels"
author = "the authors of partlib"
project_copyright = "MIT licence"
version = release = partlib.__version__
language = "en"
root_doc = "index"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton", "sphinx.ext.mathjax"]
mathjax_path = "mathjax/tex-chtml.js"  # make_site.py puts it there: formulae need no connection

# Notebooks are shown as they were executed, and never run here
nb_execution_mode = "off"
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "image/gif", 5)]
myst_enable_extensions = ["dollarmath", "amsmath", "html_image"]
myst_heading_anchors = 4
copybutton_exclude = ".linenos, .gp, .go"

# API: names in the order of the source, types beside them
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["search.js"]
html_favicon = "_static/favicon.svg"
html_context = {"default_mode": "auto"}
html_show_copyright = html_show_sphinx = False
html_theme_options: dict[str, Any] = {
    "home_page_in_toc": True,
    "navbar_persistent": [],  # the search of the sidebar is enough
    "show_toc_level": 2,
    "use_download_button": True,
    "use_fullscreen_button": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
if REPOSITORY:  # owner/name, which `make publish` writes
    html_theme_options |= {
        "repository_url": f"https://github.com/{REPOSITORY}",
        "repository_branch": "main",
        "use_repository_button": True,
        "launch_buttons": {"colab_url": "https://colab.research.google.com", "binderhub_url": "https://mybinder.org"},
    }


def explain(app: Any, kind: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings for Sphinx: bars are no substitutions, and comments behind arguments are their description."""
    lines[:] = [re.sub(r"``.+?``|\|", lambda found: r"\|" if found[0] == "|" else found[0], line) for line in lines]
    described = comments_of(thing) if kind in ("function", "method", "class") else {}
    if described:
        lines += ["", *(f":param {argument}: {text}" for argument, text in described.items()), ""]


def hover(app: Any, doctree: nodes.document, page: str) -> None:
    """The first sentence of a glossary entry as the hover text of every link to it."""
    entries = app.env.glossary_entries
    for link in doctree.findall(nodes.reference):
        place, _, anchor = link.get("refuri", "").partition("#")
        if place.endswith("GLOSSARY.html") and anchor in entries:
            link["reftitle"] = entries[anchor]


def read_glossary(app: Any) -> None:
    text = (Path(app.srcdir) / "notebooks" / "GLOSSARY.md").read_text(encoding="utf-8")
    entries = re.findall(r"^#{2,3} (.+?)\n+(.+?)(?=\n#{2,3} |\Z)", text, re.MULTILINE | re.DOTALL)
    app.env.glossary_entries = {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-"): sentence(body) for title, body in entries
    }


def sentence(text: str) -> str:
    """The first sentence of a paragraph of Markdown, as plain text."""
    first = " ".join(text.split("\n\n")[0].split())
    plain = re.sub(r"[*`$]", "", re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", first))
    return re.split(r"(?<=[.:]) (?=[A-Z(])", plain)[0]


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", explain)
    app.connect("builder-inited", read_glossary)
    app.connect("doctree-resolved", hover)
