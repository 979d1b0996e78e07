"""The notebooks are those of the gallery, and run as they are. Needs the extra [docs]."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[1] / "docs"
NAMES = ("quickstart", "own_operator", "own_sampler")

pytestmark = [
    pytest.mark.skipif(not DOCS.is_dir(), reason="docs/ is not part of a source distribution"),
    # Of Jupyter's own packages.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    pytest.importorskip("sphinx_gallery")
    spec = importlib.util.spec_from_file_location("make_notebooks", DOCS / "make_notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_these_are_all(maker: ModuleType) -> None:
    assert tuple(maker.NOTEBOOKS) == NAMES
    assert {path.stem for path in (DOCS / "notebooks").glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_the_gallerys(name: str, maker: ModuleType) -> None:
    assert (DOCS / "notebooks" / f"{name}.ipynb").read_text() == maker.write(name), "run python docs/make_notebooks.py"


@pytest.mark.parametrize("name", NAMES)
def test_text_is_markdown(name: str) -> None:
    cells = json.loads((DOCS / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    words = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert words.lstrip().startswith("# ")
    assert not [mark for mark in ("``", ":doc:", ":func:", "`_", "::\n", "../") if mark in words]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(name: str, tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    nbformat = pytest.importorskip("nbformat")
    read = nbformat.read(DOCS / "notebooks" / f"{name}.ipynb", as_version=4)
    nbformat.validate(read)
    done = nbclient.NotebookClient(read, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [o for cell in done.cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) >= 1
