"""The example of docs/operators.md runs as it is written, and is as short as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kintsugi import operators

PAGE = Path(__file__).parent.parent / "docs" / "operators.md"


@pytest.fixture(scope="module")
def text() -> str:
    if not PAGE.exists():
        pytest.skip("docs/ is not part of a source distribution")
    return PAGE.read_text()


def test_the_example_runs_as_written(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = re.search(r"<!-- example begin -->\n```python\n(.*?)```\n<!-- example end -->", text, re.S)
    assert found is not None
    code = found.group(1)
    assert len(code.splitlines()) <= 40
    space: dict[str, object] = {"__name__": "example"}
    exec(compile(code, str(PAGE), "exec"), space)
    assert capsys.readouterr().out == "torch.Size([1, 1, 3, 32, 48])\n"
    lag = space["Lag"]
    assert lag((1, 1, 3), 0.5)._matrix.tolist() == [[0.5, 0, 0], [0.25, 0.5, 0], [0.125, 0.25, 0.5]]  # type: ignore[operator]


def test_every_name_in_the_table_is_there(text: str) -> None:
    table = text.split("## How to add")[0]
    names = set(re.findall(r"`([A-Z]\w+)`", table)) - {"Accuracy", "NotConverged", "Problem", "Restoration"}
    assert {name for name in names if not hasattr(operators, name)} == set()
    assert len(names) > 30
