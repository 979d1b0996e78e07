"""A sampler that diverges is stopped, and its error names what to change; what is large by right is not refused."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from typer.testing import CliRunner

import kintsugi
from conftest import draw_picture
from kintsugi.errors import Diverged, KintsugiError
from kintsugi.operators import BlockAverage, Mask, StationaryCovariance
from kintsugi.priors import GaussianPrior, StationaryPrior
from kintsugi.problem import Problem
from kintsugi.samplers import available_samplers, make_sampler, watch
from kintsugi.samplers.watch import Watch
from test_sampler_contract import SHAPE, prior, problem
from toy import spectrum

NAMES = list(available_samplers())

# Step sizes and weights far too large, on a prior without fault: the setting that the error must name.
TOO_LARGE: dict[str, dict[str, Any]] = {
    "cpigdm": {"lam": 50.0}, "cpigfm": {"lam": 50.0}, "pigdm": {"w": 1e6}, "pigfm": {"w": 1e6}, "dps": {"zeta": 1e4},
    "reddiff": {"lr": 1e3}, "sitcom": {"lr": 1e3}, "mcg": {"zeta": 1e4}, "otode": {"variance": 1e-4},
    "ddim": {"lam": 50.0}, "psld": {"omega": 1e4},
}  # fmt: skip


class Steep(StationaryPrior):
    """A model that overshoots by a factor of ten, so that no method can be stable."""

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        return 10 * super().denoise(z, eta)


@pytest.mark.parametrize("name", TOO_LARGE)
@pytest.mark.parametrize("steps", [5, 20])
def test_a_setting_that_is_too_large_is_named(name: str, steps: int) -> None:
    settings = TOO_LARGE[name]
    with pytest.raises(Diverged) as caught:
        kintsugi.restore(problem(2, noise=0.05), prior(), name, steps=steps, tile=None, **settings)
    error, (setting, value) = caught.value, next(iter(settings.items()))
    assert isinstance(error, KintsugiError)
    assert error.sampler == name
    assert 1 <= error.step <= steps
    assert set(error.rows) <= {(0, 0), (1, 0)}
    assert f"{setting} " in error.advice
    assert f"(now {value:.4g})" in error.advice
    assert str(error).startswith(f"{name} diverged: sample 0 of image ")
    assert str(error).endswith(f"; try {error.advice}")


@pytest.mark.parametrize("name", NAMES)
def test_no_method_hides_a_model_that_overshoots(name: str) -> None:
    """A factor of ten at each step is far out, whatever a method makes of it, unless its own steps have a length."""
    settings = {"reddiff": {"lr": 10.0}}.get(name, {})
    cls = available_samplers()[name]
    fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    assert cls.steadier
    assert set(cls.steadier) <= fields
    with pytest.raises(Diverged) as caught:
        stated = problem(noise=0.05)
        kintsugi.restore(stated, Steep(StationaryCovariance(spectrum), SHAPE[0]), name, steps=20, tile=None, **settings)
    assert caught.value.advice == make_sampler(name, **settings).advice(stated, 20)
    assert "more steps" in caught.value.advice


@pytest.mark.parametrize("name", NAMES)
def test_nan_of_a_network_never_becomes_a_sample(name: str) -> None:
    class Broken(StationaryPrior):
        def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
            return super().denoise(z, eta) * math.nan

    with pytest.raises(Diverged, match=f"^{name} diverged: .*not finite"):
        kintsugi.restore(problem(), Broken(StationaryCovariance(spectrum), SHAPE[0]), name, steps=3, tile=None)


@pytest.mark.parametrize("name", NAMES)
def test_defaults_keep_away_from_the_bound(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than a fifth of it, in few steps and in many, with noise and without: nothing sound is refused."""
    monkeypatch.setattr(watch, "REACH", watch.REACH / 5)
    for noise in (0.0, 0.1):
        for steps in (1, 5, 20):
            kintsugi.restore(problem(noise=noise), prior(), name, steps=steps, tile=None)


def test_each_row_is_judged_by_itself() -> None:
    """Images 0 and 2 are sound; one bad row of six stops the call and is named, and no norm is shared."""

    class Marked(StationaryPrior):
        """Overshoots where the first pixel is large."""

        def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
            marked = (z[:, :1, :1, :1].abs() > 15).to(z)
            return super().denoise(z, eta) * (1 + 1e5 * marked)

    keep = torch.ones(SHAPE, dtype=torch.bool)
    keep[:, 3:] = False
    y = torch.zeros(3, *SHAPE, dtype=torch.float64)
    y[1, 0, 0, 0] = 20.0
    marked = Marked(StationaryCovariance(spectrum), SHAPE[0])
    with pytest.raises(Diverged) as caught:
        kintsugi.restore(Problem(y, Mask(keep, SHAPE)), marked, "ddnm", steps=5, samples=2, batch=6, tile=None)
    assert caught.value.rows == ((1, 0), (1, 1))
    assert "sample 0 of image 1 (2 of 6 samples)" in str(caught.value)
    fine = Problem(y[[0, 2]], Mask(keep, SHAPE))
    kintsugi.restore(fine, marked, "ddnm", steps=5, samples=2, batch=6, tile=None)


def test_large_signals_of_a_large_prior_are_not_refused() -> None:
    """A Gaussian with mean -1e4 and standard deviation 1e3: its posterior mean, as if it were 0 and 1."""
    n = math.prod(SHAPE)
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(n, n, generator=generator, dtype=torch.float64) / n**0.5
    large = GaussianPrior(SHAPE, 1e6 * (root @ root.T + torch.eye(n)), -1e4)
    assert large.data_scale is not None
    assert 1e4 < large.data_scale < 1e5
    x = large.sample(1, generator)
    stated = Problem.simulate(x, Mask(torch.rand(SHAPE, generator=generator) > 0.5, SHAPE), 100.0)
    schedule = {"eta": 2e4, "end": 10.0}
    out = kintsugi.restore(
        stated, large, "ddnm", steps=20, samples=8, tile=None, schedule=kintsugi.samplers.Schedule(**schedule)
    )
    assert float(out.samples.mean()) == pytest.approx(-1e4, rel=0.2)


def test_a_pseudo_inverse_may_be_out_of_range() -> None:
    """A weak measurement: A^+ y is a thousand times the data. What began there and falls has not diverged."""
    weak = 1e-3 * BlockAverage((2, 6, 10), 2)
    x = 0.5 * torch.randn(1, 2, 6, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    stated = Problem.simulate(x, weak, 1.0)
    first = float(weak.pinv(stated.y).abs().max())
    assert first > 20 * watch.REACH
    out = kintsugi.restore(stated, prior(), "ddnm", steps=10, tile=None)
    assert watch.REACH < float(out.samples.abs().max()) < 0.5 * first


def test_a_prior_without_bounds_switches_the_bound_off() -> None:
    free = Steep(StationaryCovariance(spectrum), SHAPE[0])
    free.data_scale = math.inf
    out = kintsugi.restore(problem(noise=0.05), free, "ddnm", steps=20, tile=None)
    assert float(out.samples.abs().max()) > watch.REACH


def test_what_is_infinite_is_never_within_bounds() -> None:
    free = prior()
    free.data_scale = math.inf
    watching = Watch("ddnm", free, [(4, 2)], "more steps", lambda done, total: None)
    watching.look(torch.full((1, 3), 1e30), 0.0)
    with pytest.raises(Diverged, match="sample 2 of image 4 has values that are not finite, in step 1;"):
        watching.look(torch.tensor([[0.0, math.inf]]), 0.0)


def test_half_precision_is_among_the_suspects() -> None:
    half = prior()
    half.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float16))
    watching = Watch("ddnm", half, [(0, 0)], "more steps", lambda done, total: None)
    with pytest.raises(Diverged, match="try the model in float32 or bfloat16, or more steps"):
        watching.look(torch.full((1, 1), math.nan), 0.0)


def test_a_row_of_a_benchmark_that_diverges_is_failed_and_not_averaged(tmp_path: Path) -> None:
    pytest.importorskip("pydantic")
    parquet = pytest.importorskip("pyarrow.parquet")
    from kintsugi.bench import suite as suites
    from kintsugi.bench.run import run
    from kintsugi.bench.store import row_files

    stated = {
        "name": "wild",
        "oracles": ["gaussian-mask"],
        "samplers": ["ddnm", {"name": "dps", "settings": {"zeta": 1e6}}],
        "steps": [5],
        "seeds": [0, 1],
        "samples": 4,
    }
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(stated))
    run(suites.load_suite(path), tmp_path / "run", say=lambda line: None)
    rows = [row for file in row_files(tmp_path / "run") for row in parquet.read_table(file).to_pylist()]
    wild = [row for row in rows if row["sampler"].startswith("dps")]
    assert [row["status"] for row in wild] == ["failed", "failed"]
    assert {row["message"] for row in wild} == {"diverged; try zeta smaller (now 1e+06), or more steps"}
    measured = [name for name in rows[0] if name.startswith("metric.")]
    assert all(row.get(name) is None for row in wild for name in measured)
    assert all(row["status"] == "done" for row in rows if row not in wild)


def test_the_command_line_says_it_in_a_line(tmp_path: Path) -> None:
    from kintsugi.cli.app import app

    path = tmp_path / "in.png"
    draw_picture((32, 32), 0).save(path)
    words = [
        "restore",
        str(path),
        "-t",
        "denoise",
        "-o",
        str(tmp_path / "out.png"),
        "--sampler",
        "dps",
        "--set",
        "zeta=1e6",
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert re.fullmatch(r"error: dps diverged: .*; try zeta smaller \(now 1e\+06\), or more steps\n", result.stderr)
    assert not (tmp_path / "out.png").exists()
