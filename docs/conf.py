"""The documentation site: `make docs`.

Its sources are read from the repository's root, so that links between docs/, README.md, manifests/ and the model card
are the same on the site as where the files are read as they lie.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

import noisegen

ROOT = Path(__file__).resolve().parents[1]

project = "noisegen"
version = release = noisegen.__version__
project_copyright = "the authors of noisegen"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
]
root_doc = "docs/index"
include_patterns = ["README.md", "docs/**.md", "manifests/README.md", "noisegen/checkpoints/default.md"]
# no other folder is even looked through
LOOKED_THROUGH = {pattern.split("/")[0] for pattern in include_patterns}
exclude_patterns = sorted(path.name for path in ROOT.iterdir() if path.name not in LOOKED_THROUGH)

# a link to a heading that is not there is a warning
myst_heading_anchors = 4
highlight_language = "text"
smartquotes_action = "D"  # dashes alone; quotation marks stay as they are typed

# names in docstrings stand in single backticks; those that the site describes become links
default_role = "py:obj"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_attr_annotations = False  # the signature has the types
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 90
# of what signatures name, noisegen's own must be described; other packages have pages of their own
nitpicky = True
nitpick_ignore_regex = [("py:obj", ".*"), ("py:.*", r"(?!noisegen\.).*")]

html_theme = "furo"
html_title = "noisegen"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["_root"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False

copybutton_prompt_text = "$ "


def as_markup(text: str) -> str:
    """A line of plain text as reStructuredText, options in it as code."""
    escaped = re.sub(r"([*`|_\\])", r"\\\1", text).replace(r"\*\*Required\*\*", "**Required.**")
    return re.sub(r"(?<![\w-])--?[a-z][a-z-]*", r"``\g<0>``", escaped)


def help_as_text(app: Sphinx, context: object, lines: list[str]) -> None:
    """Help of the command line is plain text; lines of it that are not wrapped are shown as code."""
    shown: list[str] = []
    kept = False  # lines that click does not wrap; sphinx-click puts a bar before each
    for line in lines:
        text = line.removeprefix("| ")
        if text is line:
            kept = False
            is_markup = line.lstrip().startswith((".. ", ":"))
            shown.append(line if is_markup else as_markup(line))
            continue
        if not kept:
            heading, text = (text, "") if text.endswith(":") else ("", text)
            shown += [heading, "", ".. code-block::", ""]
            kept = True
        shown.append("   " + text)
    lines[:] = shown


def setup(app: Sphinx) -> None:
    for part in ("description", "options", "epilog"):
        app.connect(f"sphinx-click-process-{part}", help_as_text)
