"""Each metric against an independent formula, known answers, and what it refuses."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import fft, linalg, ndimage, signal
from scipy.stats import norm, t
from torch import Tensor, nn

from kintsugi.errors import InvalidArgument, InvalidFile, MissingPackage
from kintsugi.likelihood import Poisson
from kintsugi.metrics import (
    SWD,
    Metric,
    SetMetric,
    available_metrics,
    available_set_metrics,
    learned,
    make_metric,
    make_set_metric,
    sets,
)
from kintsugi.operators import MRI, Identity, Mask, Matrix
from kintsugi.operators.rows import per_row
from kintsugi.oracles import oracle
from kintsugi.problem import Problem

torchmetrics = pytest.importorskip("torchmetrics")
skimage_metrics = pytest.importorskip("skimage.metrics")
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def picture(*shape: int, seed: int = 0, amplitude: float = 0.6) -> Tensor:
    """Smooth waves and a little grain in [-1, 1], float64."""
    rng = np.random.default_rng(seed)
    x = ndimage.gaussian_filter(rng.normal(size=shape), (0,) * (len(shape) - 2) + (1.5, 1.5))
    return torch.from_numpy(np.clip(amplitude * x / np.abs(x).max() + 0.02 * rng.normal(size=shape), -1, 1))


def white(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TRUTH = picture(3, 44, 48)
NOISY = TRUTH + 0.1 * white(2, 3, 44, 48)


# --- what all share ---------------------------------------------------------------------------------------------------


def test_every_metric_is_made_by_its_name_and_says_what_it_is() -> None:
    for name, cls in available_metrics().items():
        metric = make_metric(name)
        assert type(metric) is cls
        assert metric.name == name
        assert metric.better in ("higher", "lower", "none")
        assert metric.needs <= {"truth", "samples", "oracle"}
        assert dataclasses.is_dataclass(metric)
        assert cls.__doc__
    assert set(available_metrics()) == {
        "psnr", "ssim", "ms_ssim", "vif", "lpips", "dists", "band_energy", "swd", "consistency", "diversity",
        "coverage", "spread_skill", "top1", "si_sdr", "lsd", "pesq", "stoi",
    }  # fmt: skip
    assert set(available_set_metrics()) == {"fid", "kid"}
    assert {n for n, c in available_metrics().items() if c.better == "lower"} == {
        "lpips",
        "dists",
        "band_energy",
        "swd",
        "lsd",
    }


def test_unknown_names_and_settings_are_named() -> None:
    with pytest.raises(InvalidArgument, match=r"metric: expected one of psnr, ssim.* got psrn"):
        make_metric("psrn")
    with pytest.raises(InvalidArgument, match="make_set_metric, got fid"):
        make_metric("fid")
    with pytest.raises(InvalidArgument, match="one of fid, kid, got psnr"):
        make_set_metric("psnr")
    with pytest.raises(InvalidArgument, match="peak: expected a setting of psnr: it has none"):
        make_metric("psnr", peak=2)
    with pytest.raises(InvalidArgument, match="setting of swd: directions, patches, seed"):
        make_metric("swd", direction=2)


def test_importing_brings_in_no_optional_package() -> None:
    script = "import sys, kintsugi.metrics; print({'torchmetrics', 'scipy.stats', 'skimage'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("samples", "truth", "words"),
    [
        ([[1.0]], TRUTH, "samples: expected a tensor of floating"),
        (torch.zeros(2, 3, 44, 48, dtype=torch.uint8), TRUTH, "samples: expected a tensor of floating"),
        (torch.zeros(3), TRUTH, r"samples: expected shape \(n, C, \*S\)"),
        (torch.zeros(0, 3, 44, 48), TRUTH, "samples: expected finite values"),
        (torch.full((1, 3, 44, 48), math.nan), TRUTH, "samples: expected finite"),
        (NOISY, None, "truth: expected the signal that was measured, for psnr"),
        (NOISY, TRUTH[:, 1:], r"truth: expected the shape of a sample, \(3, 44, 48\)"),
        (NOISY, TRUTH[None], "truth: expected the shape"),
        (NOISY, TRUTH / 0, "truth: expected finite"),
        (NOISY, TRUTH.to(torch.complex128), "truth: expected a signal of the samples' kind"),
        (NOISY.to(torch.complex128), TRUTH.to(torch.complex128), "take magnitudes first"),
    ],
)
def test_what_does_not_fit_is_refused(samples: Any, truth: Any, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        make_metric("psnr")(samples, truth)


def test_a_problem_of_two_rows_is_refused() -> None:
    problem = Problem(NOISY, Identity((3, 44, 48)), 0.1)
    with pytest.raises(InvalidArgument, match="problem of one row, got 2 rows"):
        make_metric("psnr")(NOISY, TRUTH, problem)


@pytest.mark.parametrize("name", ["psnr", "ssim", "vif", "band_energy", "swd"])
def test_the_value_is_the_mean_over_samples_of_pictures_as_seen(name: str) -> None:
    metric = make_metric(name, **({"directions": 32} if name == "swd" else {}))
    worse = TRUTH + 0.3 * white(3, 44, 48, seed=3)
    both = metric(torch.stack([NOISY[0], worse]), TRUTH)
    each = [metric(x[None], TRUTH) for x in (NOISY[0], worse)]
    assert both == pytest.approx(sum(each) / 2, rel=1e-12)
    assert each[0] != pytest.approx(each[1], rel=0.05)
    loud = 4 * TRUTH  # beyond what a viewer can show
    assert metric(loud[None], TRUTH) == pytest.approx(metric(loud.clamp(-1, 1)[None], TRUTH), rel=1e-12)
    assert metric(NOISY.float(), TRUTH.float()) == pytest.approx(metric(NOISY, TRUTH), rel=1e-4)


# --- pixels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 20, 24), (3, 20, 24), (2, 50), (1, 6, 7, 8)])
def test_psnr(shape: tuple[int, ...]) -> None:
    truth = 0.2 * white(*shape).clamp(-1, 1)
    assert make_metric("psnr")(truth[None] + 0.2, truth) == pytest.approx(20, abs=1e-9)  # 20 log10(2 / 0.2)
    x = truth + 0.1 * white(*shape, seed=1)
    expected = skimage_metrics.peak_signal_noise_ratio(truth.numpy(), x.numpy(), data_range=2)
    assert make_metric("psnr")(x[None], truth) == pytest.approx(expected, abs=1e-9)
    assert make_metric("psnr")(truth[None], truth) == math.inf


def ssim_maps(x: np.ndarray, x0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Similarity and its contrast term of pictures in [0, 1], by SciPy's Gaussian filter of 11 x 11."""

    def blur(z: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(z, 1.5, mode="mirror", truncate=3.5)

    m, m0 = blur(x), blur(x0)
    v, v0, c = blur(x * x) - m * m, blur(x0 * x0) - m0 * m0, blur(x * x0) - m * m0
    contrast = (2 * c + 0.03**2) / (v + v0 + 0.03**2)
    return (2 * m * m0 + 0.01**2) / (m * m + m0 * m0 + 0.01**2) * contrast, contrast


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim(channels: int) -> None:
    truth, x = TRUTH[:channels], NOISY[0, :channels].clamp(-1, 1)
    value = make_metric("ssim")(x[None], truth)
    unit = [(z.numpy() + 1) / 2 for z in (x, truth)]
    assert value == pytest.approx(np.mean([ssim_maps(a, b)[0] for a, b in zip(*unit, strict=True)]), abs=1e-6)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "full": True}
    other = skimage_metrics.structural_similarity(*unit, channel_axis=0, data_range=1.0, **settings)[1]
    assert value == pytest.approx(other.mean(), abs=0.01)  # which repeats the border's pixels in its mirror
    assert make_metric("ssim")(truth[None], truth) == pytest.approx(1, abs=1e-7)


def test_ssim_of_flat_pictures_sees_brightness_in_the_unit_interval() -> None:
    a, b = 0.35, 0.6  # -0.3 and 0.2 in [-1, 1]
    x, truth = torch.full((1, 1, 12, 12), 2 * a - 1), torch.full((1, 12, 12), 2 * b - 1)
    assert make_metric("ssim")(x, truth) == pytest.approx((2 * a * b + 1e-4) / (a * a + b * b + 1e-4), abs=1e-5)


def test_ms_ssim() -> None:
    truth = picture(1, 176, 190)
    x = (truth + 0.15 * white(1, 176, 190)).clamp(-1, 1)
    a, b = ((z[0].numpy() + 1) / 2 for z in (x, truth))
    terms = []
    for _ in WEIGHTS:
        similarity, contrast = (z[5:-5, 5:-5] if i else z for i, z in enumerate(ssim_maps(a, b)))
        terms.append(contrast.mean())
        a, b = (z[: len(z) // 2 * 2, : z.shape[1] // 2 * 2].reshape(len(z) // 2, 2, -1, 2).mean((1, 3)) for z in (a, b))
    terms[-1] = similarity.mean()
    expected = np.prod([term**w for term, w in zip(terms, WEIGHTS, strict=True)])
    assert expected < 0.9
    assert make_metric("ms_ssim")(x[None], truth) == pytest.approx(expected, abs=1e-5)
    assert make_metric("ms_ssim")(truth[None], truth) == pytest.approx(1, abs=1e-6)


def vif_by_scipy(x: np.ndarray, x0: np.ndarray) -> float:
    """Sheikh's vifp_mscale of pictures in [0, 255], without its guards against flat parts."""
    above = below = 0.0
    for scale in range(4):
        size = 2 ** (4 - scale) + 1
        taps = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * (size / 5) ** 2))
        window = np.outer(taps, taps) / taps.sum() ** 2

        def blur(z: np.ndarray, window: np.ndarray = window) -> np.ndarray:
            return signal.convolve2d(z, window, mode="valid")

        if scale:
            x, x0 = blur(x)[::2, ::2], blur(x0)[::2, ::2]
        m, m0 = blur(x), blur(x0)
        v, v0, c = blur(x * x) - m * m, blur(x0 * x0) - m0 * m0, blur(x * x0) - m * m0
        gain = np.maximum(c / v0, 0)
        rest = np.where(c > 0, v - gain * c, v)
        above += np.log10(1 + gain**2 * v0 / (rest + 2)).sum()
        below += np.log10(1 + v0 / 2).sum()
    return above / below


@pytest.mark.parametrize("channels", [1, 3])
def test_vif(channels: int) -> None:
    truth, x = TRUTH[:channels], NOISY[0, :channels].clamp(-1, 1)
    bytes_ = [127.5 * (z.numpy() + 1) for z in (x, truth)]
    expected = np.mean([vif_by_scipy(a, b) for a, b in zip(*bytes_, strict=True)])
    assert 0.1 < expected < 0.8
    assert make_metric("vif")(x[None], truth) == pytest.approx(expected, abs=1e-6)
    assert make_metric("vif")(truth[None], truth) == pytest.approx(1, abs=1e-6)
    assert math.isnan(make_metric("vif")(x[None], torch.full_like(x, 0.3)))


@pytest.mark.parametrize(("name", "least"), [("ssim", 11), ("ms_ssim", 176), ("vif", 41), ("swd", 16)])
def test_the_smallest_picture(name: str, least: int) -> None:
    metric, truth = make_metric(name), picture(1, least, least + 1)
    assert math.isfinite(metric(-truth[None], truth))
    with pytest.raises(InvalidArgument, match=f"pictures of at least {least} x {least} pixels for {name}, got"):
        metric(truth[None, :, :-1], truth[:, :-1])
    with pytest.raises(InvalidArgument, match=f"pictures of at least {least} x {least}"):
        metric(truth[None, :, 0], truth[:, 0])


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("ssim", "ms_ssim", "vif", "lpips", "dists"):
        words = f"{name} needs torchmetrics: pip install 'kintsugi-diffusion[metrics]'"
        assert make_metric(name).missing() == words
        with pytest.raises(MissingPackage, match=f"{name} needs torchmetrics"):
            make_metric(name)(TRUTH[None].repeat(1, 1, 5, 5), TRUTH.repeat(1, 5, 5))
    assert make_metric("psnr").missing() is None


# --- consistency ------------------------------------------------------------------------------------------------------


def test_consistency_of_the_truth_is_one_and_of_double_noise_two() -> None:
    truth = 0.3 * white(1, 60, 60)
    problem = Problem.simulate(truth[None], Identity((1, 60, 60)), 0.05, seed=1)
    value = make_metric("consistency")(truth[None], None, problem)
    assert value == pytest.approx(1, abs=4 / (2 * 3600) ** 0.5)
    far = problem.y + 0.1  # of all readings, by two standard deviations
    assert make_metric("consistency")(far, None, problem) == pytest.approx(2, abs=1e-9)
    assert make_metric("consistency")(torch.cat([far, problem.y]), truth, problem) == pytest.approx(1, abs=1e-9)
    exact = Problem(problem.y, problem.operator)
    assert make_metric("consistency")(far, None, exact) == pytest.approx(0.1, abs=1e-9)
    assert make_metric("consistency")(far.float(), None, exact) == pytest.approx(0.1, abs=1e-6)


def test_the_holes_of_a_mask_are_no_readings() -> None:
    mask = torch.zeros(1, 10, 10)
    mask[:, :, :2] = 1
    x = white(2, 1, 10, 10)
    for hole in (0.0, 5.0):
        y = torch.where(mask > 0, x[:1] + 0.3, hole)
        value = make_metric("consistency")(x[:1], None, Problem(y, Mask(mask, (1, 10, 10)), 0.1))
        assert value == pytest.approx(3, rel=1e-9)
    rows = Problem(y, per_row([Mask(mask, (1, 10, 10))]), 0.1)
    expected = 0.5 * (3 + float((x[1] - x[0] - 0.3)[:, :, :2].square().mean().sqrt()) / 0.1)
    assert make_metric("consistency")(x, None, rows) == pytest.approx(expected, rel=1e-9)


def test_consistency_by_a_matrix() -> None:
    matrix, x, y = white(5, 12), white(3, 3, 4, seed=1), white(1, 5, seed=2)
    problem = Problem(y, Matrix(matrix, (3, 4)), 0.3)
    residual = x.numpy().reshape(3, 12) @ matrix.numpy().T - y.numpy()
    expected = np.mean(np.sqrt(np.mean(residual**2, 1))) / 0.3
    assert make_metric("consistency")(x, None, problem) == pytest.approx(expected, rel=1e-6)


def test_consistency_with_complex_readings_and_with_counts() -> None:
    """White noise of a complex reading has the standard deviation in each part; that of counts is each reading's."""
    x = torch.complex(white(1, 1, 60, 60), white(1, 1, 60, 60, seed=1))
    lines = (torch.arange(60) % 3 == 0).expand(60, 60)
    scan = MRI((1, 60, 60), lines)
    problem = Problem.simulate(x, scan, 0.2, seed=3)
    assert make_metric("consistency")(x, None, problem) == pytest.approx(1, abs=4 / (2 * 2400) ** 0.5)
    zeros = problem.with_rows(problem.y * lines)  # what was not measured does not count
    assert make_metric("consistency")(x, None, zeros) == make_metric("consistency")(x, None, problem)
    off = Problem(scan(x) + (0.2 + 0.2j), scan, 0.1)
    assert make_metric("consistency")(x, None, off) == pytest.approx(2, rel=1e-6)
    assert make_metric("diversity")(torch.cat([x, x + 1 + 1j])) == pytest.approx(0.5**0.5, rel=1e-9)
    level = torch.full((1, 1, 50, 50), 0.4, dtype=torch.float64)
    counted = Problem.simulate(level, Identity((1, 50, 50)), model=Poisson(0.01), seed=2)
    assert make_metric("consistency")(level, None, counted) == pytest.approx(1, abs=4 / (2 * 2500) ** 0.5)


def test_consistency_of_a_measurement_that_is_not_linear() -> None:
    here = oracle("phase")
    samples = here.sample(6, 0)
    residual = (here.problem.operator(samples) - here.problem.y) / (here.problem.noise or 1)
    expected = float(residual.flatten(1).square().mean(1).sqrt().mean())
    assert make_metric("consistency")(samples, None, here.problem) == pytest.approx(expected, rel=1e-6)


def test_consistency_needs_a_problem_of_such_signals() -> None:
    with pytest.raises(InvalidArgument, match="problem: expected the problem that the samples solve"):
        make_metric("consistency")(NOISY)
    problem = Problem(NOISY[:1], Identity((3, 44, 48)))
    with pytest.raises(InvalidArgument, match=r"samples: expected signals of the operator's shape \(3, 44, 48\)"):
        make_metric("consistency")(NOISY[:, :, 1:], None, problem)


# --- spread -----------------------------------------------------------------------------------------------------------

PIXELS, DRAWS = 6400, 8


def calibrated(scale: float = 1.0, n: int = DRAWS) -> tuple[Tensor, Tensor]:
    """n samples and a truth, each the mean and noise of a deviation that changes from pixel to pixel."""
    mean, std = white(1, 80, 80, seed=5), 0.1 + white(1, 80, 80, seed=6).abs()
    draws = mean + std * white(n + 1, 1, 80, 80, seed=7)
    return mean + scale * (draws[1:] - mean), draws[0]


def test_diversity_is_the_unbiased_standard_deviation() -> None:
    x = 0.2 * white(5, 1, 100, 100)
    expected = np.sqrt(np.mean(np.var(x.numpy(), axis=0, ddof=1)))
    assert make_metric("diversity")(x) == pytest.approx(expected, rel=1e-12)
    assert expected == pytest.approx(0.2, abs=4 * 0.2 / (2 * 4 * 10_000) ** 0.5)
    assert make_metric("diversity")(3 * x + 2) == pytest.approx(3 * expected, rel=1e-9)  # not clipped
    assert make_metric("diversity")(torch.zeros(2, 1, 3)) == 0


@pytest.mark.parametrize("n", [2, 8, 40])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_coverage_of_calibrated_samples_is_the_level(n: int, level: float) -> None:
    samples, truth = calibrated(n=n)
    value = make_metric("coverage", level=level)(samples, truth)
    assert value == pytest.approx(level, abs=4 * (level * (1 - level) / PIXELS) ** 0.5)


def test_coverage_of_samples_that_spread_by_another_factor() -> None:
    """A truth of unit variance lies within ``± t scale s sqrt(1 + 1/n)`` of a mean of variance scale^2/n."""
    for scale, n in ((2.0, 400), (0.5, 400), (2.0, 4)):
        samples, truth = calibrated(scale, n)
        reach = t.ppf(0.95, n - 1) * scale * (1 + 1 / n) ** 0.5 / (1 + scale**2 / n) ** 0.5
        expected = 2 * t.cdf(reach, n - 1) - 1  # exact at any n: the mean and s are independent
        value = make_metric("coverage")(samples, truth)
        assert value == pytest.approx(expected, abs=4 * (expected * (1 - expected) / PIXELS) ** 0.5 + 1e-3)
        assert abs(value - 0.9) > 0.02
    # The large-sample limit, m ± 1.645 s.
    samples, truth = calibrated(0.5, 400)
    assert make_metric("coverage")(samples, truth) == pytest.approx(2 * norm.cdf(1.645 * 0.5) - 1, abs=0.03)


def test_coverage_where_everything_is_known() -> None:
    samples, truth = torch.zeros(3, 1, 10), torch.zeros(1, 10)
    truth[0, :4] = torch.tensor([5e-7, 1e-5, -1e-5, 0])
    assert make_metric("coverage")(samples, truth) == pytest.approx(0.8, abs=1e-12)


@pytest.mark.parametrize("n", [2, 8, 40])
def test_spread_skill_of_calibrated_samples_is_one(n: int) -> None:
    samples, truth = calibrated(n=n)
    tolerance = 4 * (2.5 / 2 / PIXELS * (1 + 1 / (n - 1))) ** 0.5  # 2.5: kurtosis of the changing deviation
    assert make_metric("spread_skill")(samples, truth) == pytest.approx(1, abs=tolerance)
    wide, _ = calibrated(2.0, n)
    expected = 2 * ((n + 1) / (n + 4)) ** 0.5  # the mean's error has 1 + 4/n instead of 1 + 1/n
    assert make_metric("spread_skill")(wide, truth) == pytest.approx(expected, rel=2 * tolerance)
    assert make_metric("spread_skill")(torch.tensor([[[1.0]], [[-1.0]]]), torch.zeros(1, 1)) == math.inf


@pytest.mark.parametrize("name", ["gaussian-blur-noisy", "gaussian-mask-noisy"])
def test_exact_draws_of_a_posterior_are_calibrated(name: str) -> None:
    """Averaged over draws of the posterior in the place of the truth."""
    here = oracle(name)
    draws = here.sample(11 * 60, 3).view(60, 11, *here.shape)
    for metric, best, tolerance in (("coverage", 0.9, 0.02), ("spread_skill", 1.0, 0.05)):
        values = [make_metric(metric)(row[1:], row[0]) for row in draws]
        assert np.mean(values) == pytest.approx(best, abs=tolerance)


@pytest.mark.parametrize("name", ["diversity", "coverage", "spread_skill"])
def test_one_sample_has_no_spread(name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"samples: expected shape \(n, C, \*S\) with n of at least 2"):
        make_metric(name)(TRUTH[None], TRUTH)


def test_a_level_is_a_probability() -> None:
    for level in (0, 1, 1.5, math.nan):
        with pytest.raises(InvalidArgument, match="level: expected a probability"):
            make_metric("coverage", level=level)


# --- frequency bands --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 20, 33), (3, 16, 16), (2, 64), (1, 8, 9, 10)])
def test_band_energy_by_scipys_cosine_transform(shape: tuple[int, ...]) -> None:
    truth, x = 0.2 * white(*shape).clamp(-3, 3), 0.1 * white(*shape, seed=1).clamp(-3, 3)
    axes = tuple(range(1, len(shape)))
    grid = np.meshgrid(*[np.arange(n) / (2 * n) for n in shape[1:]], indexing="ij")
    f = np.sqrt(sum(g**2 for g in grid))
    ratios, low = [], 0.25
    energies = [fft.dctn(z.numpy(), axes=axes, norm="ortho") ** 2 + (2 / 255) ** 2 / 12 for z in (x, truth)]
    while True:
        inside = (f > low) & ((f <= 2 * low) | (low == 0.25))
        if not inside.any():
            break
        ratios.append(10 * np.log10(energies[0][:, inside].sum() / energies[1][:, inside].sum()))
        low /= 2
    assert len(ratios) >= 3
    assert make_metric("band_energy")(x[None], truth) == pytest.approx(np.sqrt(np.mean(np.square(ratios))), rel=1e-9)


def test_band_energy_of_half_the_contrast_is_six_decibels() -> None:
    truth = 0.3 * white(1, 32, 32).clamp(-3, 3)
    value = make_metric("band_energy")(truth[None] / 2 + 0.1, truth)  # the mean does not matter
    assert value == pytest.approx(20 * math.log10(2), abs=0.01)
    assert make_metric("band_energy")(truth[None], truth) == 0
    # Energy in the wrong place does not: mirrored, all energies stay.
    assert make_metric("band_energy")(truth[None].flip(-1), truth) == pytest.approx(0, abs=1e-9)
    # Nothing to see in a band: both have the energy of rounding there.
    assert make_metric("band_energy")(torch.full((1, 1, 9, 9), 0.2), torch.zeros(1, 9, 9)) == pytest.approx(0, abs=1e-9)
    assert make_metric("band_energy")(torch.full((1, 1, 1), 0.2), torch.zeros(1, 1)) == 0


# --- patches ----------------------------------------------------------------------------------------------------------


def levels_by_scipy(x: np.ndarray) -> list[np.ndarray]:
    """The Laplacian pyramid of one channel, as in Karras et al.'s code."""
    taps = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    out = []
    while min(x.shape) // 2 >= 16:
        coarse = ndimage.convolve(x, taps, mode="mirror")[::2, ::2]
        sparse = np.zeros_like(x)
        sparse[::2, ::2] = coarse
        out.append(x - ndimage.convolve(sparse, 4 * taps, mode="mirror"))
        x = coarse
    return [*out, x]


@pytest.mark.parametrize("channels", [1, 3])
def test_swd_by_scipy(channels: int) -> None:
    """Same patches, other directions: within four standard errors of a mean over 512 and 2000 of them."""
    truth, x = picture(channels, 33, 40), picture(channels, 33, 40, seed=4, amplitude=0.4)
    rng, distances, errors = np.random.default_rng(0), [], []
    pyramids = [[levels_by_scipy(c) for c in z.numpy()] for z in (x, truth)]
    for level in range(2):
        a, b = (
            np.stack([np.lib.stride_tricks.sliding_window_view(c[level], (7, 7)).reshape(-1, 49) for c in pyramid], 1)
            for pyramid in pyramids
        )
        m, s = b.mean((0, 2), keepdims=True), b.std((0, 2), keepdims=True)
        turn = rng.normal(size=(49 * channels, 2000))
        turn /= np.linalg.norm(turn, axis=0)
        a, b = (np.sort(((z - m) / s).reshape(len(z), -1) @ turn, axis=0) for z in (a, b))
        each = np.abs(a - b).mean(0)
        distances.append(each.mean())
        errors.append(each.std() * (1 / 512 + 1 / 2000) ** 0.5)
    expected, tolerance = 1000 * np.mean(distances), 4 * 1000 * np.hypot(*errors) / 2
    assert tolerance < 0.15 * expected
    assert make_metric("swd")(x[None], truth) == pytest.approx(expected, abs=tolerance)


def test_swd_takes_windows_of_seven_pixels_at_the_same_places() -> None:
    pair = picture(2, 3, 17, 20)
    windows = np.lib.stride_tricks.sliding_window_view(pair.numpy(), (7, 7), axis=(2, 3))
    expected = windows.reshape(2, 3, 11 * 14, 49).transpose(0, 2, 1, 3)
    assert np.array_equal(SWD()._sampled(pair, torch.Generator()).numpy(), expected)
    some = SWD(patches=40)._sampled(pair, torch.Generator()).numpy()
    places = [int(np.flatnonzero((expected[0] == patch).all((1, 2)))[0]) for patch in some[0]]
    assert len(set(places)) == 40
    assert np.array_equal(some[1], expected[1][places])


def test_swd_of_a_shift_is_that_of_the_coarsest_level() -> None:
    """It is ``c |sum of a unit vector|``, on average ``sqrt(2 / pi) c`` deviations, and is divided by two levels."""
    truth = 0.1 * white(1, 32, 32)
    patches = levels_by_scipy(truth[0].numpy())[-1]
    std = np.lib.stride_tricks.sliding_window_view(patches, (7, 7)).std()
    value = make_metric("swd", directions=2000)(truth[None] + 0.05, truth)
    expected = 1000 * math.sqrt(2 / math.pi) * 0.05 / std / 2
    assert value == pytest.approx(expected, rel=4 * 0.76 / 2000**0.5)  # |Gaussian| has a deviation of 0.76 means


def test_swd_is_seeded_and_sees_detail_but_not_its_place() -> None:
    truth = picture(3, 70, 80)
    swd = make_metric("swd", patches=500, directions=128)
    assert swd(truth[None], truth) == 0
    blurred = torch.from_numpy(ndimage.gaussian_filter(truth.numpy(), (0, 2, 2)))
    first = swd(blurred[None], truth)
    assert swd(blurred[None], truth) == first
    assert make_metric("swd", patches=500, directions=128, seed=1)(blurred[None], truth) == pytest.approx(
        first, rel=0.2
    )
    assert make_metric("swd", directions=128)(blurred[None], truth) == pytest.approx(first, rel=0.2)  # all patches
    assert swd(truth[None].flip(2), truth) < first / 3
    assert math.isfinite(swd(blurred[None], torch.zeros_like(truth)))


# --- learned ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder of torch's downloads, and every package found."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    networks = (learned._lpips, learned._dists, sets._network)
    for network in networks:
        network.cache_clear()
    yield folder
    for network in networks:
        network.cache_clear()


@pytest.mark.parametrize(
    ("name", "settings", "file"),
    [
        ("lpips", {}, "alexnet-owt-7be5be79.pth"),
        ("lpips", {"net": "vgg"}, "vgg16-397923af.pth"),
        ("dists", {}, "vgg16-397923af.pth"),
        ("fid", {}, "weights-inception-2015-12-05-6726825d.pth"),
        ("kid", {}, "weights-inception-2015-12-05-6726825d.pth"),
    ],
)
def test_missing_weights_are_named_with_their_place(hub: Path, name: str, settings: dict[str, Any], file: str) -> None:
    of_sets = name in available_set_metrics()
    metric: Metric | SetMetric = make_set_metric(name) if of_sets else make_metric(name, **settings)
    words = f"{hub / file}: not there; {name} needs these weights, and nothing is downloaded"
    assert metric.missing() == words
    with pytest.raises(InvalidFile) as error:
        metric(NOISY, NOISY if of_sets else TRUTH)  # type: ignore[arg-type]
    assert str(error.value) == words
    (hub / file).touch()
    assert metric.missing() is None


@pytest.mark.parametrize("name", ["lpips", "dists"])
def test_torchvision_is_named_where_it_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None if package == "torchvision" else object())
    assert make_metric(name).missing() == f"{name} needs torchvision: pip install 'kintsugi-diffusion[metrics]'"
    with pytest.raises(MissingPackage, match="needs torchvision"):
        make_metric(name)(NOISY, TRUTH)


def alexnet() -> nn.Sequential:
    """The convolutions of AlexNet with random weights."""
    torch.manual_seed(0)
    pool = nn.MaxPool2d(3, 2)
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), pool, nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), pool,
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), pool,
    ).requires_grad_(False)  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
def test_lpips_by_its_formula_on_a_random_trunk(hub: Path, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authors' linear weights; sum over layers of the mean over pixels of w (unit features' difference)^2."""
    from torchmetrics.functional.image import lpips as module

    (hub / learned.TRUNKS["alex"]).touch()
    monkeypatch.setattr(module, "_get_tv_model_features", lambda net, pretrained: alexnet())
    linear = torch.load(Path(module.__file__).parent / "lpips_models" / "alex.pth", "cpu", weights_only=True)
    shift, scale = (torch.tensor(v).view(3, 1, 1) for v in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))

    def features(x: Tensor) -> list[Tensor]:
        x, out = (x.clamp(-1, 1).float().expand(3, -1, -1) - shift)[None] / scale, []
        for index, layer in enumerate(alexnet()):
            if index == 12:
                break
            x = layer(x)
            if index in (1, 4, 7, 9, 11):
                out.append(x / (x.square().sum(1, keepdim=True) + 1e-8).sqrt())
        return out

    truth, samples = TRUTH[:channels], NOISY[:, :channels] * 2
    expected = 0.0
    for x in samples:
        for k, (a, b) in enumerate(zip(features(x), features(truth), strict=True)):
            weight = linear[f"lin{k}.model.1.weight"]
            expected += float((weight * (a - b) ** 2).sum(1).mean()) / len(samples)
    assert make_metric("lpips")(samples, truth) == pytest.approx(expected, rel=1e-4)
    assert make_metric("lpips")(truth[None], truth) == pytest.approx(0, abs=1e-6)


class Recorder(nn.Module):
    """A distance that keeps what it was given: the mean of the absolute difference."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        self.seen = (x, y)
        return (x - y).abs().mean((1, 2, 3))


@pytest.mark.parametrize(("name", "scale"), [("lpips", 1.0), ("dists", 0.5)])
def test_the_range_and_channels_that_networks_get(
    hub: Path, name: str, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    for file in learned.TRUNKS.values():
        (hub / file).touch()
    monkeypatch.setattr(learned, "_lpips", lambda net: recorder)
    monkeypatch.setattr(learned, "_dists", lambda: recorder)
    truth = torch.full((1, 40, 40), -1.0)
    value = make_metric(name)(torch.full((2, 1, 40, 40), 3.0), truth)
    assert value == pytest.approx(2 * scale)
    x, y = recorder.seen
    assert x.shape == (2, 3, 40, 40)
    assert x.dtype == y.dtype == torch.float32
    assert (float(x.max()), float(y.min())) == (1.0, -1.0 if name == "lpips" else 0.0)
    with pytest.raises(InvalidArgument, match="one or three channels"):
        make_metric(name)(torch.zeros(1, 2, 40, 40), torch.zeros(2, 40, 40))


def test_networks_that_are_not_there_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="net: expected one of alex, vgg, got squeeze"):
        make_metric("lpips", net="squeeze")
    with pytest.raises(InvalidArgument, match="net: expected vgg"):
        make_metric("dists", net="alex")


@pytest.mark.parametrize("name", ["lpips", "dists"])
def test_the_real_networks_where_they_are(name: str) -> None:
    metric = make_metric(name)
    if metric.missing() is not None:
        pytest.skip(str(metric.missing()))
    assert metric(TRUTH[None], TRUTH) == pytest.approx(0, abs=1e-5)
    assert metric(NOISY, TRUTH) > 0.01


# --- sets -------------------------------------------------------------------------------------------------------------


class Convolution(nn.Module):
    """Five features of a small random convolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(3, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        assert x.dtype == torch.float32
        assert float(x.abs().max()) <= 1
        return self.conv(x).relu().mean((2, 3))


def two_sets() -> tuple[Tensor, Tensor]:
    a = torch.stack([picture(3, 12, 12, seed=i) for i in range(30)])
    return a, 0.7 * torch.stack([picture(3, 12, 12, seed=100 + i) for i in range(20)]) + 0.1


def features_of(function: nn.Module, x: Tensor) -> np.ndarray:
    with torch.no_grad():
        return function(x.float()).double().numpy()


def test_fid_by_the_matrix_square_root() -> None:
    function, (x, truth) = Convolution(), two_sets()
    a, b = (features_of(function, z) for z in (x, truth))
    s, s0 = np.cov(a.T), np.cov(b.T)
    root = np.real(linalg.sqrtm(s @ s0))
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(s + s0 - 2 * root)
    assert make_set_metric("fid", features=function, batch=7)(x, truth) == pytest.approx(expected, rel=1e-6)
    assert make_set_metric("fid", features=function)(x, x) == pytest.approx(0, abs=1e-12)


def test_fid_of_gaussian_features_with_fewer_pictures_than_features() -> None:
    """Scaled by s about the mean and shifted by c: ``|c|^2 + (s - 1)^2 tr S``."""
    x = 0.1 * white(6, 1, 4, 5)
    mean = x.mean(0)
    y = mean + 1.5 * (x - mean) + 0.2
    fid = make_set_metric("fid", features=lambda z: z.flatten(1))
    expected = 20 * 0.2**2 + 0.5**2 * float(x.var(0).sum())
    assert fid(y, x) == pytest.approx(expected, rel=1e-5)


def test_kid_by_two_loops() -> None:
    function, (x, truth) = Convolution(), two_sets()
    a, b = (features_of(function, z) for z in (x, truth))

    def kernel(u: np.ndarray, v: np.ndarray) -> float:
        return float((np.dot(u, v) / 5 + 1) ** 3)

    within = [np.mean([kernel(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j]) for z in (a, b)]
    expected = sum(within) - 2 * np.mean([kernel(u, v) for u in a for v in b])
    assert make_set_metric("kid", features=function)(x, truth) == pytest.approx(expected, rel=1e-6)


def test_inception_gets_bytes_in_three_channels(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (hub / sets.INCEPTION).touch()
    seen: list[Tensor] = []

    class Network(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x.float().mean((2, 3))

    monkeypatch.setattr(sets, "_network", Network)
    make_set_metric("fid")(torch.tensor([-2.0, -1.0, 0.5, 1.5]).view(4, 1, 1, 1), torch.zeros(2, 1, 1, 1))
    assert seen[0].dtype == torch.uint8
    assert seen[0][:, :, 0, 0].tolist() == [[v] * 3 for v in (0, 0, 191, 255)]


def test_sets_that_do_not_fit_are_refused() -> None:
    fid = make_set_metric("fid", features=Convolution())
    good = torch.zeros(3, 3, 8, 8)
    for images, truths, words in (
        (good[:1], good, "images: expected at least two pictures"),
        (good, good[0], "truths: expected pictures"),
        (good, good[:, :1], "truths: expected the channels of images, 3"),
        (good.byte(), good, "images: expected a tensor of floating point"),
        (good, good / 0, "truths: expected finite"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            fid(images, truths)
    with pytest.raises(InvalidArgument, match=r"features: expected a function to shape \(3, d\)"):
        make_set_metric("kid", features=lambda x: x)(good, good)


# --- accuracy ---------------------------------------------------------------------------------------------------------


def brightest_channel(x: Tensor) -> Tensor:
    assert x.dtype == torch.float32
    return x.mean((2, 3))


def test_top1_is_the_share_of_samples_with_the_truths_label() -> None:
    truth = torch.zeros(3, 4, 4)
    truth[1] = 0.5
    samples = torch.stack([truth.roll(1, 0), truth, truth * 0.1, truth - 0.2])
    metric = make_metric("top1", classifier=brightest_channel)
    assert metric(samples, truth) == 0.75
    assert metric.missing() is None
    with pytest.raises(InvalidArgument, match=r"classifier: expected scores of shape \(2, classes\)"):
        make_metric("top1", classifier=lambda x: x)(truth[None], truth)
    assert "make_metric('top1', classifier=f)" in str(make_metric("top1").missing())
    with pytest.raises(InvalidArgument, match="classifier: expected a function"):
        make_metric("top1")(samples, truth)
