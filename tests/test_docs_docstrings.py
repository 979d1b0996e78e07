"""Docstrings as reStructuredText (docs/_ext/plain_docstrings.py)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[1] / "docs" / "_ext" / "plain_docstrings.py"


@pytest.fixture(scope="module")
def plain() -> ModuleType:
    if not FILE.exists():
        pytest.skip("docs/ is not part of a source distribution")
    spec = importlib.util.spec_from_file_location("plain_docstrings", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shape (B, *S) and |x| of D_y", r"shape (B, \*S) and \|x\| of D_y"),
        ("ends_ with `code` and ``more*``", r"ends\_ with ``code`` and ``more*``"),
        (":class:`Mask` and **bold** 2*3", r":class:`Mask` and **bold** 2\*3"),
        ("a\\b", "a\\\\b"),
    ],
)
def test_a_line(plain: ModuleType, text: str, expected: str) -> None:
    assert plain.escape(text) == expected


def test_an_indented_formula_is_literal(plain: ModuleType) -> None:
    assert plain.convert(["Is", "", "    y = A*x_", "", "then."]) == ["Is", "", "::", "", "    y = A*x_", "", "then."]


def test_a_table(plain: ModuleType) -> None:
    lines = plain.convert(["| a | b |", "|---|--:|", "| 1 | 2* |", "", "end"])
    assert lines == [
        ".. list-table::", "   :header-rows: 1", "", "   * - a", "     - b", "   * - 1", r"     - 2\*", "", "", "end",
    ]  # fmt: skip


def test_fields(plain: ModuleType) -> None:
    lines = plain.convert(["Parameters", "----------", "x, y: (B, *S)", "    and more", "", "Errors: none."])
    assert lines == [
        ":Parameters:", "", r"    * **x, y**: (B, \*S)", "      and more", "", "", "", "**Errors:** none.",
    ]  # fmt: skip


def test_a_doctest_stays(plain: ModuleType) -> None:
    assert plain.convert(["Is", ">>> f(*x_)", "3*4", "", "end"]) == ["Is", "", ">>> f(*x_)", "3*4", "", "", "end"]
