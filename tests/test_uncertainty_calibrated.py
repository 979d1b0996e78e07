"""Calibrated and conformal intervals: their coverage on fresh data, and their way through a model's file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

import kintsugi
from kintsugi import oracles
from kintsugi.errors import InvalidArgument, InvalidFile
from kintsugi.operators import Bicubic, BlockAverage, Blur, Grey, Identity, Mask, Nonlinear, gaussian_kernel
from kintsugi.priors import load_model
from kintsugi.priors.calibration import Calibration
from kintsugi.priors.network import save_model
from kintsugi.samplers import make_sampler
from kintsugi.uncertainty import (
    calibrated_intervals,
    calibrated_std,
    conformal,
    coverage,
    describe_sampler,
    fit,
    intervals,
    kind_of,
)  # fmt: skip

WORDS = {"sampler": "toy", "steps": 5, "kind": "small holes, exact"}


def overconfident(images: int, seed: int, n: int = 8) -> tuple[Tensor, Tensor]:
    """Samples (images, n, 1, 20, 20) with half the spread that they should have, and none where it is small; the
    spread differs by pixel and by picture."""
    g = torch.Generator().manual_seed(seed)
    shape = (images, 1, 20, 20)
    spread = 0.3 * torch.rand(shape, generator=g) ** 2 * (0.5 + torch.rand(images, 1, 1, 1, generator=g))
    truth = spread * torch.randn(shape, generator=g)
    shown = torch.where(spread > 0.05, 0.5 * spread, 0.2 * spread)
    return shown[:, None] * torch.randn(images, n, 1, 20, 20, generator=g), truth


@pytest.mark.parametrize("level", [0.5, 0.8, 0.85, 0.9, 0.95])
def test_calibration_makes_coverage_right_on_fresh_data(level: float) -> None:
    samples, truth = overconfident(60, 0)
    known = fit(samples, truth, **WORDS)  # type: ignore[arg-type]
    fresh, hidden = overconfident(60, 1)
    raw = float(coverage(intervals(fresh, level), hidden).mean())
    assert raw < level - 0.1
    assert float(coverage(calibrated_intervals(fresh, level, known), hidden).mean()) == pytest.approx(level, abs=0.02)
    # Among the widest tenth of the intervals too: the width follows the standard deviation.
    found, std = calibrated_intervals(fresh, level, known), fresh.std(1)
    wide = std > std.quantile(0.9)
    inside = (hidden >= found.low) & (hidden <= found.high)
    assert float(inside[wide].double().mean()) == pytest.approx(level, abs=0.05)
    assert found.notes == ("widths calibrated on 60 held-out pictures (toy, 5 steps, small holes, exact)",)


def test_a_calibration_says_what_it_found_and_with_how_many_samples() -> None:
    samples, truth = overconfident(20, 0)
    known = fit(samples, truth, **WORDS)  # type: ignore[arg-type]
    assert (known.images, known.pixels, known.samples) == (20, int((samples.std(1) > 1e-5).sum()), 8)
    for level, raw in zip(known.levels, known.raw, strict=True):
        found = intervals(samples, level)
        inside = (truth >= found.low) & (truth <= found.high) & (samples.std(1) > 1e-5)
        shares = inside.flatten(1).sum(1) / (samples.std(1) > 1e-5).flatten(1).sum(1)  # of the uncertain pixels
        assert raw == pytest.approx(float(shares.mean()), abs=1e-6)
    (note,) = calibrated_intervals(samples[:, :4], 0.9, known).notes
    assert note.endswith("fitted with 8 samples, these are 4")


def test_the_table_is_read_between_and_beyond_its_knots() -> None:
    known = Calibration("toy", 5, "k", 8, 9, 99, (0.5, 0.9), (0.1, 0.2), ((0.1, 0.2), (0.3, 0.7)))
    s = torch.tensor([0.0, 1e-6, 0.05, 0.1, 0.15, 0.2, 0.4], dtype=torch.float64)
    expected = torch.tensor([0, 0, 0.3, 0.3, 0.5, 0.7, 1.4], dtype=torch.float64)
    torch.testing.assert_close(known.reach(0.9, s), expected)
    torch.testing.assert_close(known.reach(0.5, s[3:4]), torch.tensor([0.1], dtype=torch.float64))
    assert 0.1 < float(known.reach(0.7, s[3:4])) < 0.3
    flat = replace(known, levels=(0.5, 0.68), reaches=((0.1, 0.2), (0.3, 0.7)))
    samples = torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1) * 0.1  # std 0.1 sqrt(2)
    assert float(calibrated_std(samples, flat)) == pytest.approx(0.3 + 0.4 * (2**0.5 - 1), rel=1e-5)


def test_falling_quantiles_are_made_to_rise() -> None:
    """Errors that do not depend on the spread give one width for all."""
    g = torch.Generator().manual_seed(0)
    std = torch.rand(50, 1, 1, 20, 20, generator=g)
    samples = std * torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1, 1)
    known = fit(samples, torch.randn(50, 1, 20, 20, generator=g), **WORDS)  # type: ignore[arg-type]
    for level, row in zip(known.levels, known.reaches, strict=True):
        assert max(row) / min(row) < 1.1
        z = torch.distributions.Normal(0, 1).icdf(torch.tensor((1 + level) / 2))
        assert sum(row) / len(row) == pytest.approx(float(z), abs=0.05)


@pytest.mark.parametrize(
    "words",
    [
        {"levels": (0.9, 0.5)},
        {"levels": (0.5, 1.0)},
        {"stds": (0.2, 0.1)},
        {"stds": (0.0, 0.1)},
        {"reaches": ((0.1, 0.2),)},
        {"reaches": ((0.1, 0.2), (0.3, 0.2))},
        {"reaches": ((0.1, 0.2), (0.05, 0.3))},
        {"reaches": ((0.1, 0.2), (0.3, float("nan")))},
    ],
)
def test_a_table_that_is_none_is_refused(words: dict[str, object]) -> None:
    known = Calibration("toy", 5, "k", 8, 9, 99, (0.5, 0.9), (0.1, 0.2), ((0.1, 0.2), (0.3, 0.7)))
    with pytest.raises(ValueError, match="calibration"):
        replace(known, **words)  # type: ignore[arg-type]


def test_calibrations_live_in_the_models_file(model: Path, tmp_path: Path) -> None:
    prior = load_model(model)
    assert prior.calibrations == ()
    samples, truth = overconfident(10, 0)
    sampler, operator = make_sampler("kintsugi", texture=1.0), Mask(torch.eye(16), (3, 16, 16))
    problem = kintsugi.Problem(torch.zeros(3, 16, 16), operator)
    known = fit(samples, truth, sampler=describe_sampler(sampler), steps=2, kind=kind_of(problem))
    prior.calibrations = (known,)
    path = tmp_path / "with.safetensors"
    save_model(prior, path)
    assert load_model(path).calibrations == (known,)

    result = kintsugi.restore(problem, str(path), sampler, steps=2, samples=3)
    found = result.intervals(0.9, calibrated=True)
    torch.testing.assert_close(found.high - result.mean, known.reach(0.9, result.std))
    assert "calibrated on 10 held-out pictures" in found.notes[0]
    assert result.intervals(0.9).notes == ()  # never by itself
    other = kintsugi.restore(problem, str(path), sampler, steps=1, samples=2)
    with pytest.raises(InvalidArgument, match=r"there: kintsugi, texture 1, 2 steps: large.*got .* 1 steps"):
        other.intervals(0.9, calibrated=True)
    with pytest.raises(InvalidArgument, match="level"):
        result.intervals(0.99, calibrated=True)


def test_a_file_with_a_broken_calibration_is_refused(model: Path, tmp_path: Path) -> None:
    with safe_open(model, framework="pt") as file:
        header = json.loads(file.metadata()["kintsugi"])
    path = tmp_path / "broken.safetensors"
    for entry in ({}, {"levels": [0.5]}, "text"):
        save_file(load_file(model), path, {"kintsugi": json.dumps(header | {"calibrations": [entry]})})
        with pytest.raises(InvalidFile, match=r"broken\.safetensors"):
            load_model(path)


SHAPE = (3, 16, 16)


@pytest.mark.parametrize(
    ("operator", "noise", "kind"),
    [
        (Identity(SHAPE), 0.2, "all pixels, noisy"),
        (Mask(torch.rand(16, 16, generator=torch.Generator().manual_seed(0)) > 0.7, SHAPE), 0.0, "small holes, exact"),
        (Mask(torch.arange(256).view(16, 16) < 128, SHAPE), 0.005, "large holes, exact"),
        (Bicubic(SHAPE, 4), 0.0, "fewer pixels, exact"),
        (Bicubic(SHAPE, 4, "unknown"), 0.0, "fewer pixels, exact"),
        (BlockAverage(SHAPE, 2), 0.1, "fewer pixels, noisy"),
        (Blur(SHAPE, gaussian_kernel(1.0)), 0.02, "filtered, noisy"),
        (Blur(SHAPE, gaussian_kernel(1.0), "unknown"), 0.02, "filtered, noisy"),
        (Grey(SHAPE), 0.0, "fewer channels, exact"),
        (Nonlinear(torch.tanh, SHAPE), 0.0, "nonlinear Nonlinear, exact"),
    ],
)
def test_kinds_of_problems(operator: kintsugi.operators.Operator, noise: float, kind: str) -> None:
    assert kind_of(kintsugi.Problem(torch.zeros(operator.out_shape), operator, noise)) == kind


def test_samplers_are_told_apart_by_their_settings() -> None:
    assert describe_sampler(make_sampler("kintsugi")) == "kintsugi"
    assert describe_sampler(make_sampler("kintsugi", texture=0.5, eta=2.0)) == "kintsugi, texture 0.5, eta 2"


def gaussian_pictures(images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Six exact draws and a truth for pictures of a Gaussian oracle, the draws' spread wrong by a factor that differs
    from picture to picture: what the guarantee must survive."""
    oracle = oracles.oracle("gaussian-mask-noisy")
    draws = oracle.sample(images * 7, seed).view(images, 7, *oracle.shape)
    factor = 0.2 + torch.rand(images, 1, 1, 1, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    samples = draws[:, :6].mean(1, keepdim=True) + factor * (draws[:, :6] - draws[:, :6].mean(1, keepdim=True))
    return samples, draws[:, 6]


@pytest.mark.parametrize("share", [None, 0.8])
def test_conformal_intervals_keep_their_promise(share: float | None) -> None:
    """Over 400 draws of 19 calibration pictures and a new one, at 80 %. The bound holds from below, and from above it
    is exceeded by no more than 1 / (N + 1), plus 1 / N for the pixels of one picture."""
    level, n, repeats = 0.8, 19, 400
    samples, truth = gaussian_pictures((n + 1) * repeats, 3)
    kept = []
    for k in range(repeats):
        rows = slice(k * (n + 1), k * (n + 1) + n)
        known = conformal(samples[rows], truth[rows], level, share=share)
        new = slice(rows.stop, rows.stop + 1)
        inside = float(coverage(known.intervals(samples[new]), truth[new]))
        kept.append(inside if share is None else float(inside >= share))
    found = torch.tensor(kept)
    error = 3 * float(found.std()) / repeats**0.5
    assert level - error < float(found.mean()) < level + 0.06 + error


def test_conformal_width_is_the_smallest_that_keeps_the_promise() -> None:
    """Nine pictures of ten pixels at 80 %: one pixel in ten of all may be outside, (9 R + 1) / 10 <= 0.2."""
    error = torch.arange(1.0, 91.0).view(9, 1, 1, 10)
    samples = torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1, 1) * torch.full((9, 2, 1, 1, 10), 2**-0.5)
    known = conformal(samples, error, 0.8)
    assert known.scale == pytest.approx(80 / 1.001)  # ten of ninety are above
    found = known.intervals(samples)
    assert float(found.high.max()) == pytest.approx(80, rel=1e-5)
    assert found.notes == (
        "conformal: at least 80.0% of the pixels, on average, for pictures exchangeable with the 9 given",
    )
    half = conformal(samples, error, 0.8, share=0.5)  # of the 5th, 15th, ..., 85th pixel the 8th
    assert half.scale == pytest.approx(75 / 1.001)


def test_too_few_pictures_promise_nothing() -> None:
    samples, truth = overconfident(8, 0)
    with pytest.raises(InvalidArgument, match="at least 9"):
        conformal(samples, truth, 0.9)
    with pytest.raises(InvalidArgument, match="share"):
        conformal(samples, truth, 0.8, share=0.0)
    with pytest.raises(InvalidArgument, match="truth"):
        conformal(samples, truth[1:], 0.8)
    with pytest.raises(InvalidArgument, match="alike"):
        fit(torch.zeros(2, 3, 1, 4, 4), torch.zeros(2, 1, 4, 4), **WORDS)  # type: ignore[arg-type]
