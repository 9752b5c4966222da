"""Sphinx configuration."""

from pathlib import Path
from typing import Any

from docutils import nodes

from ratelimit_kit import __version__

project = "ratelimit-kit"
author = "The ratelimit-kit developers"
copyright = "2026, The ratelimit-kit developers"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "*/*-table.md"]  # tables are included by pages
myst_enable_extensions = ["colon_fence", "tasklist"]
myst_heading_anchors = 3
nitpicky = False
autodoc_typehints = "description"
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = "ratelimit-kit"
# In full, because Sphinx looks for it in the working directory.
html_search_scorer = str(Path(__file__).parent / "_static" / "search_scorer.js")


def link_pictures(_: Any, page: nodes.document) -> None:
    """Give each picture a width: Sphinx then links it to its full size, which a narrow screen needs."""
    for picture in page.findall(nodes.image):
        picture["width"] = "100%"


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("doctree-read", link_pictures)
