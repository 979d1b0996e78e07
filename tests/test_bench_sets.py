"""Metrics of sets, classifiers and labels in a benchmark: values against closed forms, resumed, shared, reported."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor

from kintsugi.errors import InvalidArgument, InvalidFile
from kintsugi.metrics import make_set_metric
from kintsugi.metrics.functions import load_function
from test_cli import done, refused

pytest.importorskip("pyarrow")
bench = pytest.importorskip("kintsugi.bench")
from kintsugi.bench.pictures import Pictures  # noqa: E402
from kintsugi.bench.sets import finish_sets, read_sets  # noqa: E402

CALLS: list[int] = []


def colours(x: Tensor) -> Tensor:
    """The mean of each channel: two numbers, so that six pictures are enough for covariances."""
    CALLS.append(len(x))
    return x.mean((2, 3))[:, :2]


def brightness(x: Tensor) -> Tensor:
    """Scores of three classes: dark, middle, bright."""
    level = x.mean((1, 2, 3))
    return -(level[:, None] - torch.tensor([-0.5, 0.0, 0.5])).abs()


class Colours(torch.nn.Module):
    """The same as a module, to be written as TorchScript."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))[:, :2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures of 32 x 32 pixels."""
    at = tmp_path / "pictures"
    at.mkdir()
    for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)):
        Image.fromarray(pixels // (1 + i % 3)).save(at / f"p{i}.png")
    return at


def suite(folder: Path, **more: Any) -> Any:
    return bench.Suite.model_validate(
        {
            "name": "sets",
            "priors": ["photo"],
            "images": {"folder": str(folder)},
            "problems": [{"name": "holes", "operator": "random", "keep": 0.5}],
            "samplers": ["ddnm"],
            "steps": [1, 2],
            "set_metrics": ["fid", "kid"],
            "features": "test_bench_sets:colours",
            **more,
        }
    )


def quiet(line: str) -> None:
    pass


def test_sets_are_those_of_the_pictures_that_are_kept(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert bench.run(suite(folder), run, say=quiet) == 12
    found = {entry["steps"]: entry for entry in read_sets(run)}
    assert found.keys() == {1, 2}
    wanted = list(bench.rows(suite(folder), Pictures(suite(folder).images).digests))
    for steps, entry in found.items():
        here = [row for row in wanted if row.steps == steps]
        x = [np.asarray(Image.open(run / "images" / f"{row.id}.png"), dtype=float) for row in here]
        x0 = [np.asarray(Image.open(folder / f"{row.image}.png"), dtype=float) for row in here]
        f, f0 = ((np.stack(v) / 127.5 - 1).mean((1, 2))[:, :2] for v in (x, x0))
        # Frechet's distance of Gaussians, by the square root of a matrix of two rows: tr sqrt(M)^2 = tr M + 2 sqrt det.
        s, s0 = np.cov(f.T), np.cov(f0.T)
        product = s @ s0
        root = math.sqrt(np.trace(product) + 2 * math.sqrt(max(np.linalg.det(product), 0)))
        fid = ((f.mean(0) - f0.mean(0)) ** 2).sum() + np.trace(s) + np.trace(s0) - 2 * root
        assert entry["metric.fid"] == pytest.approx(fid, rel=1e-4, abs=1e-8)
        k, k0, cross = ((a @ b.T / 2 + 1) ** 3 for a, b in ((f, f), (f0, f0), (f, f0)))
        off = ~np.eye(6, dtype=bool)
        assert entry["metric.kid"] == pytest.approx(k[off].mean() + k0[off].mean() - 2 * cross.mean(), abs=1e-6)
        assert (entry["images"], entry["sampler"], entry["problem"]) == (6, "ddnm", "holes")


def test_a_set_is_computed_once_and_when_it_is_whole(folder: Path, tmp_path: Path) -> None:
    run, checked = tmp_path / "run", suite(folder, steps=[1])
    bench.run(checked, run, say=quiet)
    path = next((run / "sets").glob("*.parquet"))
    before = path.stat().st_mtime_ns
    bench.run(checked, run, say=quiet)
    assert path.stat().st_mtime_ns == before  # nothing was done twice
    # A row that is lost, as if the run had been killed before it: its set waits for it.
    row = next((run / "rows").glob("*.parquet"))
    path.unlink()
    row.rename(tmp_path / "row")
    assert finish_sets(checked, run, Pictures(checked.images), say=quiet) == 0
    shutil.move(tmp_path / "row", row)
    assert finish_sets(checked, run, Pictures(checked.images), say=quiet) == 1
    assert not list((run / "sets").glob(".*"))


def test_a_run_that_is_killed_and_shared_ends_with_the_same_sets(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(suite(folder).model_dump(mode="json")))
    bench.run(suite(folder), tmp_path / "whole", say=quiet)
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}

    def start(*more: str) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "kintsugi", "bench", str(path), "-o", str(tmp_path / "run"), *more]
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, env=environment)

    process = start()
    while process.poll() is None and len(list(tmp_path.glob("run/rows/*.parquet"))) < 7:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert start("--workers", "2").wait() == 0

    def known(run: Path) -> list[tuple[Any, ...]]:
        return [(e["steps"], e["images"], e["metric.fid"], e["metric.kid"]) for e in read_sets(run)]

    for (_, _, *mine), (_, _, *whole) in zip(known(tmp_path / "run"), known(tmp_path / "whole"), strict=True):
        assert mine == pytest.approx(whole, rel=1e-3)  # threads round otherwise, and a grey level may tip
    assert len(known(tmp_path / "run")) == 2


def test_other_pictures_make_another_set(folder: Path, tmp_path: Path) -> None:
    run, checked = tmp_path / "run", suite(folder, steps=[1])
    bench.run(checked, run, say=quiet)
    first = read_sets(run)
    Image.new("RGB", (32, 32), (200, 10, 10)).save(folder / "p9.png")
    assert bench.run(checked, run, say=quiet) == 1
    second = read_sets(run)
    assert [entry["images"] for entry in (*first, *second)] == [6, 7]
    assert first[0]["metric.fid"] != second[0]["metric.fid"]


def test_features_are_taken_once_for_both_metrics_and_for_the_truths(folder: Path, tmp_path: Path) -> None:
    checked = suite(folder)
    bench.run(checked, tmp_path / "run", say=quiet)
    for path in (tmp_path / "run/sets").iterdir():
        path.unlink()
    CALLS.clear()
    assert finish_sets(checked, tmp_path / "run", Pictures(checked.images), say=quiet) == 2
    assert CALLS == [6, 6, 6]  # two sets and the truths


def test_the_report_has_them_with_the_number_of_pictures(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    from kintsugi.bench.report import report

    run = tmp_path / "run"
    bench.run(suite(folder, samplers=["ddnm", "mcg"], seeds=[0, 1], steps=[1]), run, say=quiet)
    text = report(run)[1].read_text()
    values: dict[str, list[float]] = {}
    for entry in read_sets(run):
        values.setdefault(entry["sampler"], []).append(entry["metric.fid"])
    means = {name: sum(v) / len(v) for name, v in values.items()}  # over seeds
    header = next(line for line in text.splitlines() if line.startswith("| sampler"))
    assert "fid ↓ (pictures) | kid ↓ (pictures)" in header
    column = [word.strip() for word in header.split("|")].index("fid ↓ (pictures)")
    for name, mean in means.items():
        cell = next(line for line in text.splitlines() if line.startswith(f"| {name} ")).split("|")[column].strip()
        bold = cell.startswith("**")
        assert bold == (mean == min(means.values()))
        assert float(cell.strip("*").split()[0]) == pytest.approx(mean, rel=0.02)
        assert cell.strip("*").endswith("(6)")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"features": None}, "metrics: expected a metric that can be had here"),
        ({"images": {"limit": 1}}, "set_metrics: expected at least two pictures"),
        ({"set_metrics": ["fod"]}, "metric: expected one of fid, kid"),
        ({"features": "nothing.pt"}, "nothing.pt: no such file"),
        ({"features": "kintsugi:nothing"}, "function: expected module:function"),
        ({"features": "test_bench_sets:brightness_of"}, "function: expected module:function"),
        ({"features": "test_bench_sets:CALLS"}, "function: expected module:function"),
        ({"metrics": ["top1"]}, "classifier: expected a function to scores"),
        (
            {"metrics": ["top1"], "classifier": "test_bench_sets:brightness", "labels": "none.txt"},
            "none.txt: not a file",
        ),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(
    more: dict[str, Any], said: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # no weights there
    images = {"folder": str(folder), **more.pop("images", {})}
    with pytest.raises((InvalidArgument, InvalidFile), match=said):
        bench.run(suite(folder, images=images, **more), tmp_path / "run", say=quiet)
    assert not (tmp_path / "run").exists()


def test_pictures_of_a_set_have_one_size(folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 32)).save(folder / "wide.png")
    with pytest.raises(InvalidArgument, match="pictures of one size"):
        bench.run(suite(folder), tmp_path / "run", say=quiet)


def test_functions_by_name(tmp_path: Path) -> None:
    x = torch.rand((3, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    path = tmp_path / "colours.pt"
    with pytest.warns():  # torch would rather have torch.export
        torch.jit.script(Colours()).save(str(path))
    for word in (str(path), "test_bench_sets:colours", "test_bench_sets:Colours"):
        torch.testing.assert_close(load_function(word)(x), x.mean((2, 3))[:, :2])
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    with pytest.raises(InvalidFile, match="not a TorchScript module"):
        load_function(str(tmp_path / "broken.pt"))
    # The same numbers in parts as in one go.
    y = torch.rand((5, 3, 4, 4), generator=torch.Generator().manual_seed(1))
    metric = make_set_metric("fid", features=load_function(str(path)))
    assert metric.compare(metric.extract(x), metric.extract(y)) == metric(x, y)
    with pytest.raises(InvalidArgument, match="truths: expected features"):
        metric.compare(metric.extract(x), torch.zeros(5, 3))


def test_top1_by_a_classifier_and_by_labels(folder: Path, tmp_path: Path) -> None:
    names = [f"p{i}" for i in range(6)]
    levels = [(np.asarray(Image.open(folder / f"{n}.png"), dtype=float) / 127.5 - 1).mean() for n in names]
    true = [int(np.argmin(np.abs(level - np.array([-0.5, 0.0, 0.5])))) for level in levels]
    wrong = [(label + (i == 2)) % 3 for i, label in enumerate(true)]
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"n0/{n}.JPEG {label}\n" for n, label in zip(names, wrong, strict=True)))
    shared = {"metrics": ["top1"], "classifier": "test_bench_sets:brightness", "set_metrics": [], "steps": [2]}
    from kintsugi.bench.report import read_rows

    values = {}
    for name, more in (("own", {}), ("labels", {"labels": str(labels)})):
        bench.run(suite(folder, **shared, **more), tmp_path / name, say=quiet)
        values[name] = {row["image"]: row["metric.top1"] for row in read_rows(tmp_path / name)}
    assert values["own"] == dict.fromkeys(names, 1.0)
    assert values["labels"] == {n: float(n != "p2") for n in names}
    labels.write_text("p0 0\n")
    with pytest.raises(InvalidArgument, match="labels: expected a name in"):
        bench.run(suite(folder, **shared, labels=str(labels.rename(tmp_path / "few.txt"))), tmp_path / "few", say=quiet)


def test_the_command_names_what_is_missing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(suite(folder, features=None).model_dump(mode="json")))
    assert "metric fid is missing" in done("bench", path, "-o", tmp_path / "run", "--dry-run")
    assert "metrics: expected a metric that can be had here" in refused("bench", path, "-o", tmp_path / "run")
