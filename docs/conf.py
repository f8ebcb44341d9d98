"""Sphinx's configuration: `make docs` builds the pages into build/docs, and no warning passes.

The pages are Markdown, read by MyST, and most of them are read elsewhere too: in an editor, or
where the repository is shown.  So they keep to plain Markdown.  Two things need help here: links
to files that are no pages, and the reference, which is made from docstrings (_extensions/stub.py).
"""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_extensions"))

project = "weft"
author = "weft contributors"
extensions = ["myst_parser", "stub"]
source_suffix = {".md": "markdown"}
root_doc = "index"
html_theme = "furo"
html_title = "weft"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["wide.css"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
nitpicky = True
# Type variables and aliases, and what belongs to other libraries.
nitpick_ignore_regex = [
    ("py:class", r"_?(P|T|T_co)(\.args|\.kwargs)?|Mode|Thing|.*\..*|DoneAndNotDone")
]
default_role = "code"  # docstrings put names between single backquotes

LINK = re.compile(r"(?<!!)\[([^\]\n]*)\]\(([^)\s:]+)\)")


def keep_inside(folder: Path, text: str) -> str:
    """The text with links to files that are no pages turned into what they say."""

    def replace(link: re.Match[str]) -> str:
        name = link[2].partition("#")[0]
        target = (folder / name).resolve()
        if not name or (target.suffix == ".md" and target.is_relative_to(DOCS.resolve())):
            return link[0]
        return link[1]

    return LINK.sub(replace, text)


def read_source(app: Sphinx, page: str, content: list[str]) -> None:
    folder = Path(app.srcdir, page).parent
    content[0] = keep_inside(folder, content[0])


def setup(app: Sphinx) -> None:
    app.connect("source-read", read_source)
