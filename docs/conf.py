"""Sphinx: `sphinx-build -W --keep-going -n docs build/docs` from the root of a checkout (extra `[docs]`)."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

import kintsugi  # noqa: E402

project = "Kintsugi"
author = "Kintsugi developers"
copyright = f"2026, {author}"
release = version = kintsugi.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "sphinx_copybutton",
    "sphinx_design",
    "plain_docstrings",
    "lenient_references",
]
exclude_patterns = ["gallery/*", "_ext/*", "notebooks/*"]
nitpicky = True
default_role = "literal"

# Markdown: links to headings of other pages, formulas.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]

# API: what a package exports, in its own order, under the name that users import.
autodoc_default_options = {"members": True, "show-inheritance": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False  # a subclass says what is its own
autodoc_preserve_defaults = True
autoclass_content = "class"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
# Types of other packages: their inventories are elsewhere, and builds need no network.
PACKAGES = "abc|collections|enum|np|numpy|optuna|os|pathlib|PIL|pyarrow|pydantic|scipy|torch|types|typing"
nitpick_ignore_regex = [
    ("py:.*", rf"({PACKAGES})(\..*)?"),
    ("py:class", r"Tensor|Module|tuple\[float"),  # torch, imported for annotations only; an alias of GridName
]

# The gallery runs while it is built, and stops at the first error.
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "examples",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "remove_config_comments": True,
    "min_reported_time": 0,
    "show_signature": False,
}

html_theme = "furo"
html_title = f"Kintsugi {release}"
html_static_path = ["_static"]
html_css_files = ["kintsugi.css"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#7a5a00", "color-brand-content": "#7a5a00"},
    "dark_css_variables": {"color-brand-primary": "#e0b040", "color-brand-content": "#e0b040"},
}
html_copy_source = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# `-b linkcheck`: anchors and files of these pages are errors; other hosts only where a network answers.
linkcheck_anchors = True
linkcheck_timeout = 10
linkcheck_retries = 1


def _read(app, docname, source):
    """Links to files above docs/ that have a page here, and links of such a file to pages here."""
    source[0] = source[0].replace("](../CONTRIBUTING.md", "](contributing.md")
    if docname == "index":  # pages that are being written join the table of contents when they are there
        for page in ("uncertainty", "control", "ui"):
            if not (HERE / f"{page}.md").exists():
                source[0] = source[0].replace(f"\n{page}\n", "\n")


def setup(app):
    """Sphinx calls this."""
    app.connect("source-read", _read)
