"""The oracles against other ways to the same posterior, and the distance against closed forms."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

import kintsugi
from kintsugi.errors import InvalidArgument
from kintsugi.operators import Identity, LinearOperator, Matrix, StationaryCovariance
from kintsugi.oracles import IsotropicMixture, Oracle, available_oracles, distance, gaussian, mixtures, oracle, phase
from kintsugi.priors import GaussianPrior, MixturePrior
from kintsugi.priors.oracles import dense_matrix
from kintsugi.problem import Problem

NAMES = list(available_oracles())
MIXTURES = [name for name in NAMES if not name.startswith("gaussian")]
NOISELESS = [name for name in NAMES if not name.endswith("-noisy") and name not in ("line", "phase")]


@cache
def known(name: str) -> Oracle:
    return oracle(name)


@cache
def draws(name: str, n: int = 20_000) -> Tensor:
    return known(name).sample(n, 5)


# --- every oracle -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_made_quickly_always_the_same_in_double_precision(name: str) -> None:
    began = time.process_time()
    first = oracle(name)
    assert time.process_time() - began < 1
    again = oracle(name)
    assert (first.name, first.summary) == (name, available_oracles()[name])
    assert first.problem.y.shape == (1, *first.problem.operator.out_shape)
    for key in ("truth", "mean", "std"):
        assert torch.equal(getattr(first, key), getattr(again, key))
        assert getattr(first, key).dtype == torch.float64
    assert torch.equal(first.problem.y, again.problem.y)
    assert torch.equal(first.sample(3, 1), again.sample(3, torch.Generator().manual_seed(1)))
    assert not torch.equal(first.sample(3, 1), first.sample(3, 2))


@pytest.mark.parametrize("name", NAMES)
def test_draws_have_the_moments_of_the_posterior(name: str) -> None:
    """Within five standard errors; the squares' by their own variance."""
    here, x = known(name), draws(name)
    assert x.shape == (20_000, *here.shape)
    for power, expected in ((1, torch.zeros_like(here.std)), (2, here.std**2)):
        values = (x - here.mean) ** power
        error = 5 * values.std(0) / len(x) ** 0.5 + 1e-9
        assert bool(((values.mean(0) - expected).abs() < error).all())


@pytest.mark.parametrize("name", NAMES)
def test_the_truth_and_the_draws_explain_the_measurement(name: str) -> None:
    """Without noise exactly; with noise, the truth's residual is that of the noise, and the draws' too on average."""
    here = known(name)
    operator, noise = here.problem.operator, here.problem.noise
    residual = operator(torch.cat([here.truth, here.sample(2_000, 0)])) - here.problem.y
    if name in NOISELESS:
        assert noise == 0
        assert float(residual.abs().max()) < 1e-9
    else:
        rms = residual.flatten(1).square().mean(1).sqrt() / noise
        assert float(rms[0]) < 2
        assert 0.3 < float(rms[1:].mean()) < 1.7


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("gaussian") and name not in NOISELESS])
def test_gaussian_posteriors_in_information_form(name: str) -> None:
    """``(C^{-1} + A^T A / noise^2)^{-1}``: by inverses, where the module uses a gain."""
    here = known(name)
    eye = torch.eye(here.mean.numel(), dtype=torch.float64).view(-1, *here.shape)
    # The prior as samplers see it: at a very high noise level, (z - D) / eta^2 -> (C + eta^2)^{-1}; D = C z / eta^2.
    eta = 1e4
    c = (here.prior.denoise(eye, torch.full((len(eye),), eta, dtype=torch.float64)) * eta**2).flatten(1)
    assert isinstance(here.problem.operator, LinearOperator)
    a = dense_matrix(here.problem.operator)
    covariance = torch.linalg.inv(torch.linalg.inv(c) + a.T @ a / here.problem.noise**2)
    mean = covariance @ a.T @ here.problem.y.flatten() / here.problem.noise**2
    torch.testing.assert_close(here.mean.flatten(), mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(here.std.flatten(), covariance.diagonal().sqrt(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["mixture-16-noisy", "mixture-256-noisy", "line", "phase"])
def test_posteriors_by_weighing_draws_of_the_prior(name: str) -> None:
    """Importance sampling: needs nothing but draws of the prior and the likelihood."""
    here = known(name)
    assert isinstance(here.prior, IsotropicMixture | MixturePrior)
    x = here.prior.sample(200_000 if here.mean.numel() < 100 else 40_000, torch.Generator().manual_seed(3))
    logs = -0.5 * (here.problem.operator(x) - here.problem.y).flatten(1).square().sum(1) / here.problem.noise**2
    shares = logs.softmax(0)
    mean = torch.einsum("n,n...->...", shares, x)
    std = torch.einsum("n,n...->...", shares, (x - mean) ** 2).sqrt()
    effective = float(1 / shares.square().sum())
    assert effective > 1000
    tolerance = 5 * here.scale / effective**0.5
    torch.testing.assert_close(mean, here.mean, rtol=0, atol=tolerance)
    torch.testing.assert_close(std, here.std, rtol=0, atol=tolerance)
    assert here.weights is not None
    assert here.responsibilities is not None
    torch.testing.assert_close(shares @ here.responsibilities(x), here.weights, rtol=0, atol=3 / effective**0.5)


@pytest.mark.parametrize("name", MIXTURES)
def test_responsibilities_average_to_the_weights(name: str) -> None:
    here = known(name)
    assert here.weights is not None
    assert here.responsibilities is not None
    assert float(here.weights.sum()) == pytest.approx(1)
    assert int((here.weights > 0.1).sum()) >= 3
    shares = here.responsibilities(draws(name))
    torch.testing.assert_close(shares.sum(1), torch.ones(len(shares), dtype=torch.float64))
    assert float((shares.mean(0) - here.weights).abs().max()) < 5 * 0.5 / len(shares) ** 0.5


def test_responsibilities_on_the_line_are_bayes_rule() -> None:
    """Between two modes, where their weights matter."""
    shares = [w / s * math.exp(-0.5 * ((0.2 - m) / s) ** 2) for w, m, s in mixtures.LINE]
    x = torch.full((1, 1, 1), 0.2, dtype=torch.float64)
    here = known("line")
    assert here.responsibilities is not None
    assert here.responsibilities(x)[0].tolist() == pytest.approx([share / sum(shares) for share in shares])


@pytest.mark.parametrize("name", ["line", "phase"])
def test_the_density_is_that_of_the_posterior(name: str) -> None:
    """It integrates to one, and to mean and standard deviation; and where it is high, draws are many."""
    here = known(name)
    points, density = here.density_on_grid(801)
    size = torch.stack([p.unique().diff().max() for p in points.flatten(1).T]).prod()
    assert float(density.sum() * size) == pytest.approx(1, abs=1e-4)
    mean = torch.einsum("n,n...->...", density * size, points)
    torch.testing.assert_close(mean, here.mean, rtol=0, atol=1e-4)
    square = torch.einsum("n,n...->...", density * size, (points - mean) ** 2)
    torch.testing.assert_close(square.sqrt(), here.std, rtol=0, atol=1e-4)
    assert here.density is not None
    median = here.density(draws(name)).median()
    assert float(density[density > median].sum() * size) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("name", ["gaussian-box-noisy", "gaussian-projection", "mixture-16-noisy"])
def test_the_flow_of_the_exact_posterior_ends_in_it(name: str) -> None:
    """Unconditional sampling of the posterior as if it were a prior: conventions of noise and scale agree."""
    here = known(name)
    if isinstance(here.prior, IsotropicMixture):
        posterior = here.prior.posterior(here.problem)
        parts = [GaussianPrior(here.shape, c.covariance, c.mean[0]) for c in posterior.components]
        model: kintsugi.Prior = MixturePrior(posterior.weights[0], parts)
    else:
        dense = GaussianPrior.stationary(here.shape, StationaryCovariance(gaussian.spectrum))
        covariance = dense.posterior(here.problem).covariance
        model = GaussianPrior(here.shape, 0.5 * (covariance + covariance.T), here.mean)
    out = kintsugi.restore(here.problem, model, "ddim", steps=60, samples=400, batch=400, tile=None)
    found = distance(out.samples[0], here)
    assert found.mean < 0.12
    assert found.spread == pytest.approx(1, abs=0.08)
    assert found.sliced < 1.4 * found.sliced_floor


# --- the prior with many modes ----------------------------------------------------------------------------------------


def small_mixture() -> tuple[IsotropicMixture, MixturePrior]:
    generator = torch.Generator().manual_seed(0)
    shape, std = (1, 2, 3), 0.3
    means = 0.5 * torch.randn(4, *shape, generator=generator, dtype=torch.float64)
    weights = torch.tensor([0.1, 0.4, 0.3, 0.2])
    covariance = std**2 * torch.eye(6, dtype=torch.float64)
    return IsotropicMixture(weights, means, std), MixturePrior(
        weights, [GaussianPrior(shape, covariance, m) for m in means]
    )


def test_isotropic_mixtures_are_mixtures() -> None:
    """The denoiser, its derivative, the variance and the draws of the dense class, in both precisions."""
    ours, dense = small_mixture()
    generator = torch.Generator().manual_seed(1)
    z, v = (torch.randn(5, 1, 2, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    eta = torch.tensor([0.01, 0.2, 0.7, 3.0, 90.0], dtype=torch.float64)
    assert ours.data_variance == pytest.approx(dense.data_variance)
    d, vjp = ours.denoise_vjp(z, eta)
    theirs, theirs_vjp = dense.denoise_vjp(z, eta)
    torch.testing.assert_close(d, theirs)
    torch.testing.assert_close(ours.denoise(z, eta), theirs)
    torch.testing.assert_close(vjp(v), theirs_vjp(v), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(ours.denoise(z.float(), eta.float()).double(), theirs, rtol=1e-3, atol=1e-4)
    samples, others = (p.sample(50_000, torch.Generator().manual_seed(2)) for p in (ours, dense))
    torch.testing.assert_close(samples.mean(0), others.mean(0), rtol=0, atol=0.02)
    torch.testing.assert_close(samples.std(0), others.std(0), rtol=0, atol=0.02)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_posterior_of_an_isotropic_mixture(noise: float) -> None:
    ours, dense = small_mixture()
    matrix = torch.randn(2, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    problem = Problem(torch.tensor([[[0.3, -0.4]]], dtype=torch.float64), Matrix(matrix, (1, 2, 3)), noise)
    a, b = ours.posterior(problem), dense.posterior(problem)
    torch.testing.assert_close(a.weights, b.weights)
    for mine, theirs in zip(a.components, b.components, strict=True):
        torch.testing.assert_close(mine.mean, theirs.mean)
        torch.testing.assert_close(mine.covariance, theirs.covariance)


# --- phase retrieval --------------------------------------------------------------------------------------------------


def test_the_bound_of_the_rejection_holds() -> None:
    """Draws are exact only if the likelihood never exceeds the bound that the grid gave."""
    here = known("phase")

    def misfit(x: np.ndarray) -> float:
        modulus = np.abs(np.fft.fft(x, 4)) / 2**0.5
        return float(0.5 * ((modulus - here.problem.y.numpy().ravel()) ** 2).sum() / here.problem.noise**2)

    points, _ = phase.grid(phase.PER_AXIS)
    on_grid = min(misfit(x) for x in points.view(-1, 2)[::997].numpy())
    residual = (here.problem.operator(points) - here.problem.y).flatten(1)
    best = float(0.5 * residual.square().sum(1).min() / here.problem.noise**2)
    least = min(minimize(misfit, start, method="Nelder-Mead").fun for start in ((0.6, 0.3), (-0.6, -0.3), (0.3, 0.6)))
    assert least <= best <= on_grid
    assert best - least < phase.MARGIN


def test_phase_retrieval_against_a_long_markov_chain() -> None:
    """4000 random walks of Metropolis, that also try the mirror images; nothing shared but the numbers of the prior."""
    here = known("phase")
    rng = np.random.default_rng(0)
    modes = np.array(phase.MODES)
    y = here.problem.y.numpy().ravel()

    def log_target(x: np.ndarray) -> np.ndarray:
        modulus = np.abs(np.fft.fft(x, 4, axis=1)) / 2**0.5
        squares = ((x[:, None] - modes[:, 1:]) ** 2).sum(2) / phase.WIDTH**2
        likelihood = -0.5 * ((modulus - y) ** 2).sum(1) / here.problem.noise**2
        return np.log((modes[:, 0] * np.exp(-0.5 * squares)).sum(1)) + likelihood

    x = rng.normal(0, 0.5, (4000, 2))
    current, sums, squares = log_target(x), np.zeros((4000, 2)), np.zeros((4000, 2))
    burn, length = 1000, 3000
    for i in range(length):
        kind = rng.random((4000, 1))
        step = x + rng.normal(0, 0.12, x.shape)
        moved = np.where(kind < 0.8, step, np.where(kind < 0.87, -x, np.where(kind < 0.94, x[:, ::-1], -x[:, ::-1])))
        proposed = log_target(moved)
        accept = np.log(rng.random(4000)) < proposed - current
        x, current = np.where(accept[:, None], moved, x), np.where(accept, proposed, current)
        if i >= burn:
            sums += x
            squares += x**2
    means, powers = sums / (length - burn), squares / (length - burn)
    exact, std = here.mean.numpy().ravel(), here.std.numpy().ravel()
    assert np.all(np.abs(means.mean(0) - exact) < 5 * means.std(0) / 4000**0.5)
    assert np.all(np.abs(powers.mean(0) - exact**2 - std**2) < 5 * powers.std(0) / 4000**0.5)
    assert np.all(means.std(0) / 4000**0.5 < 0.002)  # the chains mix: the check above means something


# --- the distance -----------------------------------------------------------------------------------------------------


def isotropic(std: float = 0.2) -> Oracle:
    """A posterior N(0.3, std^2 I) of six elements, for closed forms."""
    shape = (1, 2, 3)

    def draw(n: int, generator: torch.Generator) -> Tensor:
        return 0.3 + std * torch.randn(n, *shape, generator=generator, dtype=torch.float64)

    prior = GaussianPrior(shape, torch.eye(6, dtype=torch.float64))
    flat = torch.full(shape, 0.3, dtype=torch.float64)
    problem = Problem(flat[None], Identity(shape), 0.2)
    return Oracle("isotropic", "test", "", prior, problem, flat[None], flat, torch.full_like(flat, std), draw)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.5, 1.0), (-1.5, 1.0), (0.0, 0.4), (0.0, 2.0), (0.8, 1.5)])
def test_shifted_and_scaled_gaussians(shift: float, scale: float) -> None:
    """W2 of N(0, I) and N(c, s^2 I) is the root of c^2 + (s - 1)^2 in every direction, c^2 a mean over elements."""
    here = isotropic()
    exact = here.sample(4_000, 9)
    pattern = torch.tensor([[[1.0, -1.0, 1.0], [1.0, 1.0, -1.0]]], dtype=torch.float64)
    found = distance(0.3 + scale * (exact - 0.3) + 0.2 * shift * pattern, here)
    assert found.mean == pytest.approx(abs(shift), abs=0.03)
    assert found.spread == pytest.approx(scale, rel=0.02)
    assert found.sliced == pytest.approx(math.hypot(shift, scale - 1), rel=0.02, abs=0.05)
    assert (found.modes, found.modes_floor) == (None, None)


@pytest.mark.parametrize("name", NAMES)
def test_exact_draws_are_at_the_floor(name: str) -> None:
    found = distance(known(name).sample(256, 11), known(name), 12)
    assert found.mean < 0.17
    assert found.spread == pytest.approx(1, abs=0.13)
    assert 0.05 < found.sliced_floor < 0.35
    assert found.sliced < 1.7 * found.sliced_floor
    if found.modes is not None and found.modes_floor is not None:
        assert found.modes < 2 * found.modes_floor


def test_the_chance_of_few_samples_is_taken_off_the_error_of_the_mean() -> None:
    """Of 8 samples shifted by half a deviation the squared error is 0.25 + 1/8 on average; we want 0.25."""
    here = isotropic()
    squares = [distance(here.sample(8, seed) + 0.1, here).mean ** 2 for seed in range(200)]
    assert np.mean(squares) == pytest.approx(0.25, abs=0.03)


def test_the_floor_falls_with_the_number_of_samples() -> None:
    """As n^{-1/2}, nearly, for projections on a line."""
    here = known("gaussian-mask")
    few, many = (distance(here.sample(n, 3), here).sliced_floor for n in (100, 2500))
    assert 3.5 < few / many < 6


def test_a_collapsed_mixture() -> None:
    """Every sample in one mode: the distance of the modes is one less its weight."""
    here = known("mixture-256")
    assert isinstance(here.prior, IsotropicMixture)
    assert here.weights is not None
    k = int(here.weights.argmax())
    samples = here.prior.means[k].view(1, *here.shape).expand(50, *here.shape)
    found = distance(samples, here)
    assert found.modes == pytest.approx(1 - float(here.weights[k]), abs=1e-9)
    assert found.spread == 0
    # The floor is what binomial counts deviate by.
    counts = np.random.default_rng(0).multinomial(256, here.weights.numpy() / float(here.weights.sum()), 20_000)
    expected = 0.5 * np.abs(counts / 256 - here.weights.numpy()).sum(1).mean()
    assert distance(here.sample(256, 0), here).modes_floor == pytest.approx(expected, rel=0.05)


def test_the_same_seed_gives_the_same_distance() -> None:
    here = known("line")
    samples = here.sample(64, 1)
    assert distance(samples, here, 4) == distance(samples, here, torch.Generator().manual_seed(4))
    assert distance(samples, here, 4) != distance(samples, here, 5)
    assert distance(samples.float(), here, 4).sliced == pytest.approx(distance(samples, here, 4).sliced, rel=1e-4)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "make"),
    [
        ("oracle", lambda: oracle("gaussian")),
        ("oracle", lambda: known("gaussian-mask").density_on_grid()),
        ("samples", lambda: distance(torch.zeros(1, 1, 1), known("line"))),
        ("samples", lambda: distance(torch.zeros(1, 5, 1, 1), known("line"))),
        ("samples", lambda: distance(torch.tensor([[[0.0]], [[math.nan]]]), known("line"))),
        ("weights", lambda: IsotropicMixture(torch.ones(3), torch.zeros(2, 1, 1), 0.1)),
        ("weights", lambda: IsotropicMixture(torch.tensor([1.0, 0.0]), torch.zeros(2, 1, 1), 0.1)),
        ("std", lambda: IsotropicMixture(torch.ones(2), torch.zeros(2, 1, 1), 0.0)),
    ],
)
def test_bad_arguments_are_named(argument: str, make: Callable[[], object]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        make()
    assert caught.value.name == argument


def test_an_oracle_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        known("line").name = "other"  # type: ignore[misc]
