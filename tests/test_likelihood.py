"""Noise that is not white and Gaussian: its moments, its likelihood, and what samplers make of it."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

import kintsugi
from kintsugi.errors import InvalidArgument
from kintsugi.likelihood import NoiseModel, Poisson, PoissonGaussian, estimated_mean
from kintsugi.operators import Blur, Clip, Identity, Mask, StationaryCovariance, dense_matrix, gaussian_kernel
from kintsugi.priors import GaussianPrior, StationaryPrior
from kintsugi.problem import Problem

MODELS = [Poisson(0.04), Poisson(0.5, 0.0), PoissonGaussian(0.04, 0.1), PoissonGaussian(0.3, 0.02, -2.0)]


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_samples_have_the_stated_mean_and_variance(model: NoiseModel) -> None:
    """200000 draws at each of five levels: the mean to four standard errors, the variance to five."""
    m = model.black + torch.tensor([0.1, 0.4, 1.0, 2.0, 3.0], dtype=torch.float64)  # type: ignore[attr-defined]
    draws = model.sample(m.expand(200_000, 5), torch.Generator().manual_seed(0))
    variance = model.gain * (m - model.black) + getattr(model, "sigma", 0.0) ** 2  # type: ignore[attr-defined]
    assert bool(((draws.mean(0) - m).abs() < 4 * (variance / 200_000).sqrt()).all())
    # Fourth moments of a Poisson variable: Var(s^2) = (kappa_4 + 2 Var^2) / n, with kappa_4 = gain^3 (m - black).
    spread = ((model.gain**3 * (m - model.black) + 2 * variance**2) / 200_000).sqrt()  # type: ignore[attr-defined]
    assert bool(((draws.var(0) - variance).abs() < 5 * spread).all())
    torch.testing.assert_close(model.variance(m), variance.clamp_min(0 if hasattr(model, "sigma") else model.gain**2))  # type: ignore[attr-defined]


def test_the_poisson_likelihood_is_that_of_scipy() -> None:
    model = Poisson(0.1, -1.0)
    generator = torch.Generator().manual_seed(1)
    m = 2 * torch.rand(2, 1, 3, 4, generator=generator, dtype=torch.float64) - 0.9
    y = model.sample(m, generator)
    counts, rates = ((v + 1) / 0.1 for v in (y, m))
    exact = torch.from_numpy(stats.poisson.logpmf(counts.round().numpy(), rates.numpy())).flatten(1).sum(1)
    constant = torch.lgamma(counts + 1).flatten(1).sum(1)  # does not depend on m
    torch.testing.assert_close(model.log_likelihood(y, m) - constant, exact)
    dark = torch.full_like(m, -1.0)
    assert torch.equal(model.log_likelihood(dark, dark), torch.zeros(2, dtype=torch.float64))


def test_the_likelihood_with_a_sensor_is_that_of_a_gaussian() -> None:
    model = PoissonGaussian(0.1, 0.2)
    m = torch.linspace(-0.9, 1, 8, dtype=torch.float64).view(1, 1, 2, 4)
    y = m + 0.1
    exact = stats.norm.logpdf(y.numpy(), m.numpy(), (0.1 * (m + 1) + 0.04).sqrt().numpy()).sum()
    constant = -0.5 * 8 * math.log(2 * math.pi)
    assert float(model.log_likelihood(y, m)) + constant == pytest.approx(exact)


@pytest.mark.parametrize("model", [Poisson(0.04), PoissonGaussian(0.04, 0.1)], ids=str)
def test_whitened_noise_is_white_with_the_stated_deviation(model: NoiseModel) -> None:
    """The residual of the truth in four bands of 12 rows, away from their borders; 50 photons at white, 12 at least."""
    levels = torch.tensor([-0.5, 0.0, 0.5, 1.0], dtype=torch.float64)
    truth = levels.repeat_interleave(12).view(1, 48, 1).expand(1, 48, 6)
    draws = truth.expand(2000, 1, 48, 6)
    operator = Mask(torch.tensor(True), truth.shape)
    y = model.sample(draws, torch.Generator().manual_seed(0))
    problem = Problem(y, operator, model=model).whitened()
    assert problem.model is None
    residual = ((problem.batch - problem.operator(draws)) / problem.noise).view(2000, 4, 12, 6)[:, :, 2:10]
    rms = residual.square().mean((0, 2, 3)).sqrt()
    assert bool(((rms - 1).abs() < 0.02).all()), rms
    correlation = torch.corrcoef(residual[:, 2].flatten(1).T) - torch.eye(48, dtype=torch.float64)
    # 1128 correlations of 2000 draws, the largest about 3.5 / sqrt(2000).
    assert float(correlation.abs().max()) < 0.09


def test_the_estimate_behind_the_weights_is_lees_filter() -> None:
    """By loops over pixels: the mean of the neighbours inside, and the reading where they vary more than noise does."""
    generator = torch.Generator().manual_seed(0)
    model = Poisson(gain=0.1)
    y = model.sample(torch.rand(1, 1, 6, 7, generator=generator, dtype=torch.float64).round(), generator)
    found = estimated_mean(y, model)[0, 0]
    for i in range(6):
        for j in range(7):
            window = y[0, 0, max(i - 2, 0) : i + 3, max(j - 2, 0) : j + 3]
            mean, spread = window.mean(), window.var(correction=0)
            noise = float(model.variance(mean))
            expected = mean + max(0.0, 1 - noise / float(spread)) * (y[0, 0, i, j] - mean)
            assert float(found[i, j]) == pytest.approx(float(expected), abs=1e-12)


def test_denoising_takes_white_noise_of_the_mean_variance() -> None:
    """Each measurement by itself, also when the driver has several: the exact step of the default needs white noise."""
    model, shape = Poisson(0.02), (1, 16, 16)
    x = torch.stack([torch.full(shape, level, dtype=torch.float64) for level in (-0.8, 0.6)])
    problem = Problem.simulate(x, Identity(shape), model=model)
    for i, level in enumerate((-0.8, 0.6)):
        alone = problem.select([i]).whitened()
        assert torch.equal(alone.y, problem.y[i : i + 1])
        assert alone.noise == pytest.approx((0.02 * (level + 1)) ** 0.5, rel=0.03)
    prior = StationaryPrior(StationaryCovariance(spectrum), 1)
    together = kintsugi.restore(problem, prior, "ddnm", steps=3, samples=2, tile=None)
    first = kintsugi.restore(problem.select([0]), prior, "ddnm", steps=3, samples=2, tile=None)
    torch.testing.assert_close(together.samples[:1], first.samples)


def test_whitening_keeps_rows_apart() -> None:
    """What is made of a row does not depend on the rows beside it."""
    model = Poisson(0.05)
    generator = torch.Generator().manual_seed(2)
    x = 2 * torch.rand(3, 1, 5, 6, generator=generator, dtype=torch.float64) - 1
    operator = Blur((1, 5, 6), gaussian_kernel(0.6, 3))
    problem = Problem.simulate(x, operator, model=model)
    together = problem.whitened()
    for i in range(3):
        alone = problem.select([i]).whitened()
        part = together.select([i])
        torch.testing.assert_close(part.y / together.noise, alone.y / alone.noise)
        torch.testing.assert_close(
            part.operator(x[i : i + 1]) / together.noise, alone.operator(x[i : i + 1]) / alone.noise
        )


def test_a_model_is_given_where_it_belongs() -> None:
    y = torch.zeros(1, 2, 2)
    for kwargs, name in (({"noise": 0.1, "model": Poisson(0.1)}, "noise"), ({"noise": Poisson(0.1)}, "noise"),
                         ({"model": 3}, "model")):  # fmt: skip
        with pytest.raises(InvalidArgument, match=rf"^{name}: "):
            Problem(y, Identity((1, 2, 2)), **kwargs)
    for make in (lambda: Poisson(0), lambda: Poisson(0.1, math.inf), lambda: PoissonGaussian(0.1, 0.0)):
        with pytest.raises(InvalidArgument):
            make()
    assert Poisson(0.1).describe() == {"noise": "Poisson", "gain": 0.1, "black": -1.0}


# --- restorations -----------------------------------------------------------------------------------------------------

SHAPE = (1, 12, 12)


def spectrum(radius: Tensor) -> Tensor:
    return torch.stack([0.012 / (radius**2 + (1 / 12) ** 2)] * 2)


def posterior_mean(prior: GaussianPrior, problem: Problem, draws: int = 40_000) -> Tensor:
    """The exact mean under the Poisson likelihood: Newton's method to the maximum, then importance sampling with the
    Gaussian of its curvature, whose weights are nearly equal at these counts (their effective number is checked)."""
    model, matrix = problem.model, dense_matrix(problem.operator)  # type: ignore[arg-type]
    assert isinstance(model, Poisson)
    inverse = torch.linalg.inv(prior.covariance)
    mean, y = prior.mean.flatten(), problem.batch.flatten()

    def height(x: Tensor) -> float:
        m = (matrix @ x).view(1, *SHAPE).clamp_min(model.black + 1e-3)
        return float(model.log_likelihood(problem.batch, m)) - 0.5 * float((x - mean) @ inverse @ (x - mean))

    x = prior.posterior(Problem(problem.y, problem.operator, model.typical_variance**0.5)).mean.flatten()
    hessian = inverse
    for _ in range(60):
        rate = (matrix @ x - model.black).clamp_min(1e-3)
        gradient = inverse @ (x - mean) - matrix.T @ ((y - model.black) / rate - 1) / model.gain
        hessian = inverse + matrix.T @ torch.diag(1 / rate / model.gain) @ matrix  # expected, which is positive
        step, length = torch.linalg.solve(hessian, gradient), 1.0
        while height(x - length * step) < height(x) and length > 1e-6:
            length /= 2
        x = x - length * step
    root = torch.linalg.cholesky(torch.linalg.inv(hessian))
    white = torch.randn(draws, len(x), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = x + white @ root.T
    signals = (points @ matrix.T).view(draws, *problem.operator.out_shape)
    log = model.log_likelihood(problem.batch.expand_as(signals), signals.clamp_min(model.black + 1e-3))
    log = log - 0.5 * ((points - mean) @ inverse * (points - mean)).sum(1) + 0.5 * white.square().sum(1)
    weights = torch.softmax(log, 0)
    assert float(1 / weights.square().sum()) > 30
    return (weights @ points).view(1, *SHAPE)


@pytest.mark.parametrize("sampler", ["kintsugi", "ddnm"])
@pytest.mark.parametrize(("photons", "dark"), [(50, -0.4), (200, -0.9)])
def test_photon_counts_come_close_to_the_exact_posterior(sampler: str, photons: int, dark: float) -> None:
    """A dark and a bright half, errors in the dark one: with the variance of each reading, and with their mean."""
    covariance = StationaryCovariance(spectrum)
    scene = torch.where(torch.arange(12) < 6, dark, 0.8).to(torch.float64).expand(1, 12, 12)
    dense = GaussianPrior.stationary(SHAPE, covariance)
    prior = StationaryPrior(covariance, 1, dense.data_variance)
    truth = (scene + 0.05 * dense.sample(1, torch.Generator().manual_seed(5))).clamp(-0.97, 1.2)
    operator = Blur(SHAPE, gaussian_kernel(0.4, 3))
    model = Poisson(2 / photons)
    problem = Problem.simulate(truth, operator, model=model, seed=3)
    exact = posterior_mean(dense, problem)
    mean_noise = float(model.variance(operator(truth)).mean().sqrt())
    settings = {"steps": 20, "samples": 64, "tile": None}
    ours = kintsugi.restore(problem, prior, sampler, **settings)  # type: ignore[arg-type]
    white = kintsugi.restore(Problem(problem.y, operator, mean_noise), prior, sampler, **settings)  # type: ignore[arg-type]
    errors = [float((r.mean - exact)[..., :6].square().mean().sqrt()) for r in (ours, white)]
    assert ours.notes == ("Poisson noise treated as Gaussian, with the variance that the readings imply",)
    assert white.notes == ()
    if photons == 50:  # near 14 photons everywhere in the dark half: a quarter of the posterior's deviation of 0.14
        assert errors[0] < 0.06, errors
    else:  # dark readings are 4 times as exact as the mean variance says
        assert errors[0] < 0.016, errors
        assert errors[0] < 0.5 * errors[1], errors


def test_a_nonlinear_measurement_with_photons_is_whitened_too() -> None:
    operator = Clip((1, 6, 6), 1.5)
    x = torch.linspace(-0.5, 0.9, 36, dtype=torch.float64).view(1, 1, 6, 6)
    problem = Problem.simulate(x, operator, model=PoissonGaussian(0.02, 0.01)).whitened()
    residual = (problem.batch - problem.operator(x)) / problem.noise
    assert 0.7 < float(residual.square().mean().sqrt()) < 1.3  # 36 numbers: 1 +- 0.12
