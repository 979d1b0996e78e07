"""Intervals, what was invented, consistency and gold, against exact posteriors and dense matrices."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import kintsugi
from kintsugi import oracles
from kintsugi.errors import InvalidArgument
from kintsugi.operators import JPEG, MRI, BlockAverage, Clip, Identity, Mask, Matrix, Nonlinear, Quantise
from kintsugi.oracles import Oracle
from kintsugi.oracles.gaussian import covariance_root
from kintsugi.uncertainty import Intervals, consistency, coverage, gold, intervals, invented, quantiles, residual
from kintsugi.uncertainty.intervals import Kind
from kintsugi.uncertainty.invented import FLOOR, split_variance

LEVELS = (0.5, 0.8, 0.9, 0.95)


def exact_coverage(oracle: Oracle, n: int, kind: Kind, level: float, repeats: int = 300) -> float:
    """Of intervals of n exact draws for one more, over the pixels that are not known exactly."""
    draws = oracle.sample(repeats * (n + 1), 5).view(repeats, n + 1, *oracle.shape)
    found = intervals(draws[:, :n], level, kind)
    open_ = (oracle.std > 1e-6).expand(repeats, *oracle.shape)
    return float(coverage(Intervals(found.low[open_][None], found.high[open_][None], level), draws[:, n][open_][None]))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["gaussian-mask-noisy", "gaussian-bicubic", "mixture-16-noisy", "line"])
def test_intervals_by_ranks_cover_on_every_oracle(name: str, level: float) -> None:
    # 39 samples: all four levels are at whole ranks, where the coverage is exact. Few numbers: more repeats.
    found = exact_coverage(oracles.oracle(name), 39, "ranks", level, 300 if name.startswith("gaussian") else 4000)
    assert found == pytest.approx(level, abs=0.02)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", [2, 8])
def test_student_intervals_cover_gaussian_pixels_at_any_n(n: int, level: float) -> None:
    assert exact_coverage(oracles.oracle("gaussian-box"), n, "student", level, 800) == pytest.approx(level, abs=0.02)


def test_student_intervals_know_nothing_of_two_modes() -> None:
    """Why ranks are there: two equal modes are wholly within one standard deviation and a half."""
    draws = torch.tensor([-1.0, 1.0]).repeat(200).view(1, 400, 1, 1)
    assert float(intervals(draws, 0.9).width) > 3
    assert float(intervals(draws, 0.9, "ranks").width) == 2


@pytest.mark.parametrize("name", ["gaussian-mask-noisy", "gaussian-bicubic"])
def test_the_default_sampler_covers_on_oracles(name: str) -> None:
    """Texture 1 in 50 steps, whose guidance is exact here: intervals of its samples hold exact draws."""
    oracle = oracles.oracle(name)
    result = kintsugi.restore(oracle.problem, oracle.prior, texture=1.0, steps=50, samples=400, batch=400, tile=None)
    truth = oracle.sample(400, 7)
    for level in LEVELS:
        found = result.intervals(level)
        inside = ((truth >= found.low - 1e-6) & (truth <= found.high + 1e-6))[:, oracle.std > 1e-6]
        assert float(inside.double().mean()) == pytest.approx(level, abs=0.02)


def test_quantiles_are_those_of_torch() -> None:
    samples = torch.randn(2, 7, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(quantiles(samples, 0.3), samples.quantile(0.3, dim=1))
    assert quantiles(samples, [0, 0.5, 1])[2].equal(samples.amax(1))


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda s: intervals(s, 1.0), "level"),
        (lambda s: intervals(s, 0.9, "ranks"), "at least 19"),
        (lambda s: intervals(s, 0.9, "normal"), "kind"),  # type: ignore[arg-type]
        (lambda s: intervals(s[:, :1]), "samples"),
        (lambda s: intervals(s.to(torch.complex64)), "real"),
        (lambda s: quantiles(s, 1.5), "q"),
        (lambda s: quantiles(s, []), "q"),
        (lambda s: quantiles(s[0, 0, 0], 0.5), "samples"),
        (lambda s: coverage(intervals(s), s), "truth"),
    ],
)
def test_bad_arguments_of_intervals(call: object, word: str) -> None:
    samples = torch.randn(1, 8, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InvalidArgument, match=word):
        call(samples)  # type: ignore[operator]


def dense_split(a: Tensor, covariance: Tensor, noise: float, s2: float) -> tuple[Tensor, Tensor]:
    """The two variances of each element from the matrices, by a decomposition of ``A^T A``."""
    values, vectors = torch.linalg.eigh(a.T @ a)
    values = torch.where(values > 1e-9, values, 0.0)
    f = noise**2 / (s2 * values + noise**2) if noise else (values == 0).to(values)
    parts = [(vectors * g.sqrt()) @ vectors.T for g in (f, 1 - f)]
    return tuple((p @ covariance @ p).diag() for p in parts)  # type: ignore[return-value]


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_the_split_of_the_variance_is_the_dense_one(noise: float) -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(7, 16, generator=generator, dtype=torch.float64) / 4
    root = torch.randn(16, 16, generator=generator, dtype=torch.float64)
    samples = (torch.randn(50, 16, generator=generator, dtype=torch.float64) @ root).view(1, 50, 1, 4, 4)
    problem = kintsugi.Problem(torch.zeros(1, 7, dtype=torch.float64), Matrix(a, (1, 4, 4)), noise)
    d = (samples - samples.mean(1, keepdim=True)).view(50, 16)
    for found, wanted in zip(
        split_variance(problem, samples, signal_variance=0.3), dense_split(a, d.T @ d / 49, noise, 0.3), strict=True
    ):
        torch.testing.assert_close(found.flatten(), wanted, rtol=1e-6, atol=1e-9)


def test_the_two_parts_sum_to_the_variance() -> None:
    oracle = oracles.oracle("gaussian-bicubic-noisy")
    samples = oracle.sample(6, 0)[None]
    null, measured = split_variance(oracle.problem, samples)
    assert float((null + measured).sum()) == pytest.approx(float(samples.var(1).sum()), rel=1e-6)
    assert float(null.sum()) > 5 * float(measured.sum())  # one of 16 pixels was measured


def test_the_map_finds_the_posteriors_share() -> None:
    """Against the posterior's covariance of a Gaussian under random projections, where the share differs by pixel."""
    oracle = oracles.oracle("gaussian-projection-noisy")
    covariance = torch.from_numpy(_covariance(oracle))
    pixels = covariance.shape[0]
    draws = torch.randn(4000, pixels, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    samples = (draws @ covariance_root(covariance).T).view(1, 4000, *oracle.shape)
    a = oracle.problem.operator(torch.eye(pixels, dtype=torch.float64).view(pixels, *oracle.shape)).flatten(1).T
    null, measured = dense_split(a, covariance, oracle.problem.noise, 0.25)
    variance = covariance.diag()
    wanted = null / (null + measured) * variance / (variance + FLOOR**2)
    found = invented(oracle.problem, samples).flatten()
    assert float((found - wanted).abs().max()) < 0.2 * float(wanted.max() - wanted.min())


def _covariance(oracle: Oracle):  # type: ignore[no-untyped-def]
    draws = oracle.sample(20000, 3).flatten(1).numpy()
    import numpy as np

    return np.cov(draws.T)


def test_holes_are_invented_and_known_pixels_are_not() -> None:
    keep = torch.zeros(1, 12, 12)
    keep[:, :, :6] = 1
    x = 0.3 * torch.randn(1, 4, 1, 12, 12, generator=torch.Generator().manual_seed(0)) * (1 - keep)
    found = invented(kintsugi.Problem(torch.zeros(1, 1, 12, 12), Mask(keep, (1, 12, 12))), x)[0, 0]
    assert float(found[:, :6].abs().max()) == 0
    assert float(found[:, 6:].median()) > 0.99


def test_samples_that_agree_within_a_grey_level_are_not_gilded() -> None:
    x = 1e-4 * torch.randn(1, 8, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    problem = kintsugi.Problem(torch.zeros(1, 1, 3, 3), BlockAverage((1, 6, 6), 2))
    assert float(invented(problem, x).max()) < 1e-3


def test_denoising_has_no_null_space() -> None:
    """f is one number there, sigma^2 / (s^2 + sigma^2), whatever the samples are."""
    x = torch.randn(1, 5, 1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    problem = kintsugi.Problem(torch.zeros(1, 1, 6, 6, dtype=torch.float64), Identity((1, 6, 6)), 0.5)
    null, measured = split_variance(problem, x)
    torch.testing.assert_close(null / (null + measured), torch.full_like(null, 0.5))


def test_a_nonlinear_measurement_is_linearised_at_the_mean() -> None:
    """Only the left half is measured, by a cube: its slope at a mean of 1 is 3."""
    operator = Nonlinear(lambda x: (x**3)[..., :2], (1, 4, 4))
    x = 1 + 0.1 * torch.randn(1, 6, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x - x.mean(1, keepdim=True) + 1
    problem = kintsugi.Problem(torch.ones(1, 1, 4, 2, dtype=torch.float64), operator, 0.3)
    null, measured = split_variance(problem, x)
    share = (null / (null + measured))[0, 0]
    torch.testing.assert_close(share[:, 2:], torch.ones_like(share[:, 2:]))
    torch.testing.assert_close(share[:, :2], torch.full_like(share[:, :2], 0.09 / (0.25 * 9 + 0.09)), rtol=1e-4, atol=0)


def test_what_was_clipped_is_invented_and_what_was_rounded_is_half_known() -> None:
    """Intervals: a half-line says nothing of a pixel, one of width w is noise of variance w^2 / 12."""
    x = 0.1 * torch.randn(1, 6, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    y[..., :2] = 1.0
    null, measured = split_variance(kintsugi.Problem(y, Clip((1, 4, 4), 1.0)), x)  # white may be anything above
    assert float(null[..., 2:].max()) < 1e-6
    assert float(measured[..., :2].max()) < 1e-6
    torch.testing.assert_close(null[..., :2], x.var(1)[..., :2])
    rounded = kintsugi.Problem(torch.full((1, 1, 4, 4), -1.0, dtype=torch.float64), Quantise((1, 4, 4), 1))
    lower, upper = rounded.operator.interval(rounded.y)  # type: ignore[attr-defined]
    width2 = float((upper - lower)[0, 0, 0, 0]) ** 2
    null, measured = split_variance(rounded, x)
    torch.testing.assert_close(null / (null + measured), torch.full_like(null, width2 / (12 * 0.25 + width2)))
    nearest = consistency(rounded, torch.full((1, 2, 1, 4, 4), 0.5, dtype=torch.float64))
    assert float(nearest.max()) == pytest.approx(0.5 - float(upper[0, 0, 0, 0]), abs=1e-9)


def test_jpegs_lose_chroma_and_fine_detail() -> None:
    operator = JPEG((3, 32, 32), 20, subsampling="4:2:0")
    y = operator(torch.zeros(1, 3, 32, 32))
    noise = 0.1 * torch.randn(1, 40, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    checks = ((torch.arange(32)[:, None] + torch.arange(32)) % 2 * 2 - 1).float()
    grey = noise.mean(2, keepdim=True).mean((3, 4), keepdim=True).expand_as(noise)  # one number a picture: a DC
    shares = []
    for samples in (grey.contiguous(), noise[:, :, :1, :1, :1] * checks.expand(3, -1, -1)):
        null, measured = split_variance(kintsugi.Problem(y, operator), samples)
        assert float((null + measured).sum()) == pytest.approx(float(samples.var(1).sum()), rel=0.02)
        shares.append(float(null.sum() / (null + measured).sum()))
    assert shares[0] < 0.1
    assert shares[1] > 5 * shares[0]


def test_complex_measurements_have_maps() -> None:
    """The truth of a complex MRI scan is consistent, by reading and by pixel, and half of k-space is invented."""
    mask = torch.zeros(8, 8)
    mask[:, ::2] = 1
    operator = MRI((1, 8, 8), mask)
    g = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, 8, 8, generator=g, dtype=torch.complex128)
    reads, pixels = [], []
    for seed in range(200):
        problem = kintsugi.Problem.simulate(x, operator, 0.1, seed)
        reads.append(residual(problem, x[None]).square())
        pixels.append(consistency(problem, x[None]).square())
    measured = mask.bool().expand(1, 1, 8, 8)
    assert float(torch.cat(reads).mean(0, keepdim=True)[measured].mean()) == pytest.approx(1, abs=0.05)
    assert float(torch.cat(pixels).mean()) == pytest.approx(1, abs=0.1)
    samples = torch.randn(1, 400, 1, 8, 8, generator=g, dtype=torch.complex128)
    null, rest = split_variance(kintsugi.Problem(operator(x), operator), samples)
    assert float(null.sum() / (null + rest).sum()) == pytest.approx(0.5, abs=0.02)


def test_consistency_is_one_for_the_truth() -> None:
    for name in ("gaussian-bicubic-noisy", "gaussian-blur-noisy", "gaussian-mask-noisy"):
        oracle = oracles.oracle(name)
        squares, reads = [], []
        for seed in range(200):
            problem = kintsugi.Problem.simulate(oracle.truth, oracle.problem.operator, 0.1, seed)
            squares.append(consistency(problem, oracle.truth[None]).square())
            reads.append(residual(problem, oracle.truth[None]).square())
        if "mask" not in name:
            # The estimate of the unit, from 32 probes, makes it 1 / (1 - 2 / 32) on average.
            assert float(torch.cat(squares).mean()) == pytest.approx(1.07, abs=0.08)
            assert float(torch.cat(reads).mean()) == pytest.approx(1, abs=0.05)


def test_consistency_shows_where_a_sample_contradicts_the_data() -> None:
    truth = torch.zeros(1, 1, 8, 8)
    keep = torch.ones(8, 8)
    keep[:, 6:] = 0
    problem = kintsugi.Problem.simulate(truth, Mask(keep, (1, 8, 8)), 0.1)
    wrong = truth.clone()
    wrong[..., 2, 3] += 1.0
    wrong[..., 2, 7] += 1.0  # nothing was measured there
    found = consistency(problem, wrong[None])[0, 0]
    expected = float((problem.y[0, 0, 2, 3] - 1).abs() / 0.1)
    assert float(found[2, 3]) == pytest.approx(expected, rel=1e-5)
    assert float(found[:, 6:].abs().max()) == 0
    exact = kintsugi.Problem(problem.y, problem.operator, 0.0)  # without noise: in the units of the data
    assert float(consistency(exact, wrong[None])[0, 0, 2, 3]) == pytest.approx(expected * 0.1, rel=1e-5)


def test_a_restoration_gives_its_maps() -> None:
    oracle = oracles.oracle("gaussian-box")
    result = kintsugi.restore(oracle.problem, oracle.prior, texture=1.0, steps=5, samples=6, tile=None)
    hole = (oracle.std > 1e-6)[0]
    assert result.invented().shape == (1, 1, 12, 12)
    assert float(result.invented()[0, 0][hole].mean()) > 0.95
    assert float(result.invented()[0, 0][~hole].max()) < 1e-6
    assert float(result.consistency().max()) < 1e-5
    assert result.quantiles(0.5).shape == result.mean.shape


def test_one_sample_says_nothing_of_uncertainty() -> None:
    problem = kintsugi.Problem(torch.zeros(1, 1, 4, 4), Identity((1, 4, 4)), 0.1)
    for call in (invented, split_variance):
        with pytest.raises(InvalidArgument, match="samples: expected at least 2"):
            call(problem, torch.zeros(1, 1, 1, 4, 4))  # type: ignore[operator]
    with pytest.raises(InvalidArgument, match="of 2 measurements"):
        consistency(problem, torch.zeros(2, 2, 1, 4, 4))
    with pytest.raises(InvalidArgument, match="signal_variance"):
        invented(problem, torch.zeros(1, 2, 1, 4, 4), signal_variance=0)


def test_gold_lies_where_it_was_invented_and_nowhere_else() -> None:
    picture = torch.linspace(-1, 1, 32).expand(3, 24, 32)
    share = torch.zeros(1, 24, 32)
    share[:, 8:16, 8:16] = 1
    out = gold(picture, share)
    same = (out - picture).abs().amax(0)
    torch.testing.assert_close(same[share[0] == 0], torch.zeros(24 * 32 - 64), rtol=0, atol=1e-6)
    red, green, blue = out[:, 10:14, 10:14].mean((1, 2))
    assert red > green > blue + 0.1  # a warm metal
    assert same[10:14, 10:14].min() > 0.05
    bare = gold(picture, share, torch.zeros(3, 24, 32))  # the samples agree: nothing to gild
    torch.testing.assert_close(bare, picture.contiguous(), rtol=0, atol=1e-6)
    with pytest.raises(InvalidArgument, match="share"):
        gold(picture, share[:, 1:])
