"""Notebooks from the gallery's scripts: `python docs/make_notebooks.py` (extra `[docs]`).

The same cells, with text as Markdown and links that work outside of these pages. Without outputs: run it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NOTEBOOKS = {"quickstart": "1_quickstart", "own_operator": "4_own_operator", "own_sampler": "5_own_sampler"}
FIRST = "# Needs: pip install kintsugi-diffusion matplotlib\n%matplotlib inline"


def notebook(script: Path) -> dict[str, Any]:
    """The notebook of a script of the gallery, as JSON has it."""
    from sphinx_gallery.gen_gallery import DEFAULT_GALLERY_CONF
    from sphinx_gallery.notebook import jupyter_notebook
    from sphinx_gallery.py_source_parser import split_code_and_text_blocks

    _, blocks = split_code_and_text_blocks(str(script))
    config = {**DEFAULT_GALLERY_CONF, "first_notebook_cell": FIRST, "notebook_images": False}
    made: dict[str, Any] = jupyter_notebook(blocks, config, str(script.parent))
    for index, cell in enumerate(made["cells"]):
        cell["id"] = f"cell-{index}"
        if cell["cell_type"] == "markdown":
            cell["source"] = [plain(text) for text in cell["source"]]
    made["nbformat_minor"] = 5
    made["metadata"]["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    # What differs with the Python that made it says nothing.
    made["metadata"]["language_info"] = {"name": "python"}
    return made


def plain(text: str) -> str:
    """Roles and links of Sphinx as words."""
    text = re.sub(r":doc:`/?(?:\d_)?([\w-]+)`", r'"\1" in the documentation', text)
    text = re.sub(r":\w+:`~?([\w.]+)`", r"`\1`", text)
    text = re.sub(r"`([^`<]+?)\s+<[^>]*>`_", r"\1", text)
    text = re.sub(r"\[([^\]]+)\]\(\.\./[^)]*\)", r"\1", text)
    return re.sub(r"::(?=\n\n    )", ":", text).replace("``", "`").strip() + "\n"


def write(name: str) -> str:
    """The text of the file of a notebook."""
    return json.dumps(notebook(HERE / "gallery" / f"{NOTEBOOKS[name]}.py"), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    for name in NOTEBOOKS:
        (HERE / "notebooks" / f"{name}.ipynb").write_text(write(name))


if __name__ == "__main__":
    main()
