"""``benchmarks/oracles.py``: what it computes, what it leaves out or does not compute again, and what it draws."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

import kintsugi
from kintsugi.oracles import distance, oracle

FILE = Path(__file__).parent.parent / "benchmarks" / "oracles.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_of_oracles", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(script: ModuleType, folder: Path, **options: Any) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Two samplers, three oracles, few samples."""
    given = {"only": "ddnm,dps", "oracles": "gaussian-mask,line,phase", "steps": "1,2", "samples": 8, "budget": 30.0,
             "again": "", "render_only": False, "folder": folder, "threads": 1} | options  # fmt: skip
    script.main(**given)
    found: dict[tuple[str, str, int], dict[str, Any]] = script.read(folder / "oracles.jsonl")
    return found


@pytest.fixture(scope="module")
def done(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    run(script, folder)
    return folder


def test_rows_are_the_distances_of_what_restore_draws(script: ModuleType, done: Path) -> None:
    rows = script.read(done / "oracles.jsonl")
    assert len(rows) == 12
    known = oracle("line")
    result = kintsugi.restore(known.problem, known.prior, "dps", steps=2, samples=8, batch=8, tile=None)
    expected, row = distance(result.samples[0], known, 1), rows["dps", "line", 2]
    for key in ("mean", "spread", "sliced", "sliced_floor", "modes", "modes_floor"):
        assert row[key] == pytest.approx(getattr(expected, key), rel=1e-3)
    assert (row["forwards"], row["vjps"], row["samples"]) == (2, 2, 8)
    assert row["settings"] == repr(result.sampler)
    assert rows["ddnm", "gaussian-mask", 1]["modes"] is None
    assert "linear operator" in rows["ddnm", "phase", 1]["refused"]


def test_the_page(done: Path) -> None:
    page = (done / "oracles.md").read_text()
    assert "## gaussian-mask" in page
    assert "Do not take it: `ddnm`." in page
    row = next(json.loads(line) for line in (done / "oracles.jsonl").read_text().splitlines() if '"dps"' in line)
    lines = [line for line in page.splitlines() if line.startswith("| `dps` |")]
    assert len(lines) == 4  # the table of all, and three oracles
    assert f"{row['mean']:.2f} / {row['spread']:.2f} / " in lines[1]
    assert "| 1 + 1 |" in lines[0]
    widths = {line.count("|") for line in page.split("## gaussian-mask")[1].split("##")[0].splitlines() if "|" in line}
    assert widths == {4}


def test_the_picture(done: Path) -> None:
    with Image.open(done / "pictures" / "oracles.png") as image:
        assert image.size == (round(100 * (1.95 * 4 + 2.4)), round(100 * (1.4 * 2 + 1.1)))
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}
    assert {(31, 119, 180), (148, 103, 189)} <= colours  # of the kinds of ddnm and dps


def test_what_is_finished_is_not_computed_again(
    script: ModuleType, done: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = (done / "oracles.jsonl").read_text()
    (tmp_path / "oracles.jsonl").write_text(before + '{"sampler": "dps", "ora')  # interrupted while writing
    calls: list[tuple[str, int]] = []

    def note(known: Any, sampler: str, steps: int, samples: int, limit: float) -> dict[str, Any]:
        calls.append((sampler, steps))
        return {"failed": "unstable", "seconds": 0.5}

    monkeypatch.setattr(script, "run", note)
    run(script, tmp_path)
    assert calls == []
    assert (tmp_path / "oracles.jsonl").read_text() == before
    rows = run(script, tmp_path, oracles="line,phase", steps="1,2,400", again="ddnm", budget=50.0)
    assert calls == [("ddnm", 1), ("ddnm", 2), ("dps", 400), ("dps", 400)]
    assert rows["ddnm", "line", 400]["skipped"] == "about 100 s"  # 0.5 s for two steps
    assert rows["ddnm", "line", 2]["failed"] == "unstable"
    assert "mean" in rows["ddnm", "gaussian-mask", 2]  # not asked for again
    page = (tmp_path / "oracles.md").read_text()
    assert "| `ddnm` | unstable | unstable | time |" in page


def test_a_run_that_takes_too_long_is_stopped(script: ModuleType) -> None:
    row = script.run(oracle("line"), "dps", 1000, 4, limit=0.02)
    assert row == {"skipped": "stopped after 0 s"}


def test_numbers(script: ModuleType) -> None:
    values = {0.123: "0.12", 9.994: "9.99", 12.3: "12", 999.0: "999", 1e6: "1e6", 3.2e12: "3e+12"}
    assert [script.number(value) for value in values] == list(values.values())
    assert script.geometric([1.0, 4.0]) == pytest.approx(2)
    assert script.geometric([0.0, 0.01]) == pytest.approx(0.01)
