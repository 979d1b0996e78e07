"""The check for dead links (docs/check_links.py) finds them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "check_links.py"

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="docs/ is not part of a source distribution")


def check(folder: Path) -> tuple[int, list[str]]:
    done = subprocess.run([sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines()


def test_dead_links(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a picture.png").touch()
    (tmp_path / "sub" / "b.html").write_text('<h1 id="top">B</h1> <a href="../index.html#here">up</a>')
    good = '<p id="here"></p> <a href="#here"></a> <a href="sub/b.html#top"></a> <img src="a%20picture.png">'
    (tmp_path / "index.html").write_text(good + '<a href="https://elsewhere.example/x"></a>')
    assert check(tmp_path) == (0, ["0 dead links in 2 pages"])

    bad = '<a href="#there"></a> <a href="sub/b.html#bottom"></a> <a href="c.html"></a> <img src="no.png">'
    (tmp_path / "index.html").write_text(good + bad)
    code, said = check(tmp_path)
    assert code == 1
    assert said[:-1] == [
        "index.html: #there",
        "index.html: c.html",
        "index.html: no.png",
        "index.html: sub/b.html#bottom",
    ]


def test_nothing_built_is_no_success(tmp_path: Path) -> None:
    assert check(tmp_path)[0] == 1
