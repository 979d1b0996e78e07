"""The exact priors against direct conditioning, autograd and brute-force quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kintsugi.errors import InvalidArgument
from kintsugi.operators import BlockAverage, Blur, Grey, Identity, LinearOperator, Mask, StationaryCovariance
from kintsugi.operators.base import Operator
from kintsugi.priors import GaussianPrior, MixturePrior, Prior, StationaryPrior
from kintsugi.problem import Problem


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def covariance(n: int, seed: int = 0, rank: int | None = None) -> Tensor:
    root = randn(n, rank or n, seed=seed)
    return 0.5 * root @ root.T / n


def gaussian(shape: tuple[int, ...], seed: int = 0, shift: float = 0.3) -> GaussianPrior:
    n = math.prod(shape)
    well_conditioned = covariance(n, seed) + 0.05 * torch.eye(n, dtype=torch.float64)
    return GaussianPrior(shape, well_conditioned, mean=shift * randn(*shape, seed=seed + 50))


def mixture(shape: tuple[int, ...] = (2, 3)) -> MixturePrior:
    components = [gaussian(shape, seed, shift) for seed, shift in ((0, 1.0), (1, -1.0), (2, 0.0))]
    return MixturePrior(torch.tensor([0.5, 0.2, 0.3]), components)


def photo(radius: Tensor) -> Tensor:
    return torch.stack((0.05 / (radius**2 + 0.01), 0.01 / (radius**2 + 0.02)))


STATIONARY = StationaryCovariance(photo)
SHAPE = (3, 4, 5)
PRIORS: dict[str, tuple[Callable[[], Prior], tuple[int, ...]]] = {
    "gaussian": (lambda: gaussian((2, 3)), (2, 3)),
    "gaussian of low rank": (lambda: GaussianPrior((2, 3), covariance(6, rank=3)), (2, 3)),
    "gaussian, stationary": (lambda: GaussianPrior.stationary(SHAPE, STATIONARY), SHAPE),
    "stationary": (lambda: StationaryPrior(STATIONARY), SHAPE),
    "mixture": (mixture, (2, 3)),
}


# --- the denoiser -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [1e-3, 0.3, 2.0, 50.0])
def test_gaussian_denoiser_is_direct_conditioning(eta: float) -> None:
    """``E[x | z] = m + C (C + eta^2)^{-1} (z - m)``, by a solve instead of an eigendecomposition."""
    prior = gaussian((2, 5))
    z = randn(3, 2, 5, seed=1)
    total = prior.covariance + eta**2 * torch.eye(10, dtype=torch.float64)
    m = prior.mean.flatten()
    expected = m + torch.linalg.solve(total, (z.flatten(1) - m).T).T @ prior.covariance
    assert torch.allclose(prior.denoise(z, torch.full((3,), eta)).flatten(1), expected, rtol=1e-6)
    assert prior.data_variance == pytest.approx(float(prior.covariance.diagonal().mean()))


def test_a_gaussian_of_low_rank_at_no_noise() -> None:
    """The limit: the projection onto the range of the covariance, not 0/0."""
    prior = GaussianPrior((2, 3), covariance(6, rank=3))
    z = randn(2, 2, 3)
    for dtype in (torch.float32, torch.float64):
        d = prior.denoise(z.to(dtype), torch.zeros(2, dtype=dtype)).double()
        kept = prior.vectors[:, 3:]
        assert torch.allclose(d.flatten(1), z.flatten(1) @ kept @ kept.T, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 5, 3), (2, 7), (3, 2, 3, 4)])
def test_stationary_priors_agree(shape: tuple[int, ...]) -> None:
    """In Fourier and dense: the same prior."""
    dense, fourier = GaussianPrior.stationary(shape, STATIONARY), StationaryPrior(STATIONARY, channels=shape[0])
    z, eta = randn(3, *shape, seed=1), torch.tensor([0.05, 0.5, 10.0], dtype=torch.float64)
    assert torch.allclose(dense.denoise(z, eta), fourier.denoise(z, eta), rtol=1e-8, atol=1e-10)
    v = randn(3, *shape, seed=2)
    assert torch.allclose(dense.denoise_vjp(z, eta)[1](v), fourier.denoise_vjp(z, eta)[1](v), rtol=1e-8, atol=1e-10)
    generator = torch.Generator().manual_seed(0)
    samples = dense.sample(20_000, generator)
    assert float(samples.var()) == pytest.approx(dense.data_variance, rel=0.05)


@pytest.mark.parametrize("name", PRIORS)
def test_vjp_is_that_of_autograd(name: str) -> None:
    make, shape = PRIORS[name]
    prior = make()
    z, v = randn(2, *shape, seed=3), randn(2, *shape, seed=4)
    eta = torch.tensor([0.4, 1.5], dtype=torch.float64)
    d, vjp = prior.denoise_vjp(z, eta)
    assert torch.equal(d, prior.denoise(z, eta))
    assert not d.requires_grad
    leaf = z.clone().requires_grad_(True)
    (expected,) = torch.autograd.grad(prior.denoise(leaf, eta), leaf, v)
    assert torch.allclose(vjp(v), expected, rtol=1e-9, atol=1e-12)
    assert torch.equal(vjp(v), vjp(v))  # may be called again
    step = 1e-5
    forward, backward = (prior.denoise(z + s * step * v, eta) for s in (1, -1))
    numeric = ((forward - backward) / (2 * step) * randn(2, *shape, seed=5)).flatten(1).sum(1)
    exact = (vjp(randn(2, *shape, seed=5)) * v).flatten(1).sum(1)
    assert torch.allclose(numeric, exact, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", PRIORS)
def test_rows_and_their_noise_levels_are_independent(name: str) -> None:
    make, shape = PRIORS[name]
    prior = make()
    z, eta = randn(3, *shape, seed=3), torch.tensor([0.1, 3.0, 0.7], dtype=torch.float64)
    together = prior(z, eta)
    for i in range(3):
        assert torch.allclose(together[i], prior(z[i : i + 1], eta[i : i + 1])[0], rtol=1e-10, atol=1e-12)
    single = prior.denoise(z.float(), eta.float())
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), together, atol=1e-4)


def normal_density(x: Tensor, mean: float, variance: float) -> Tensor:
    return torch.exp(-0.5 * (x - mean) ** 2 / variance) / math.sqrt(2 * math.pi * variance)


ONE_D = [(0.6, -1.0, 0.09), (0.3, 0.8, 0.25), (0.1, 2.0, 0.01)]  # weight, mean, variance


def one_d() -> MixturePrior:
    components = [GaussianPrior((1, 1), torch.tensor([[v]]), mean=m) for _, m, v in ONE_D]
    return MixturePrior(torch.tensor([w for w, _, _ in ONE_D]), components)


@pytest.mark.parametrize("eta", [0.02, 0.3, 1.0, 5.0])
def test_mixture_denoiser_by_quadrature_in_one_dimension(eta: float) -> None:
    x = torch.linspace(-6, 6, 200_001, dtype=torch.float64)
    prior_density = sum(w * normal_density(x, m, v) for w, m, v in ONE_D)
    z = torch.tensor([-1.3, -0.2, 0.1, 0.9, 2.2], dtype=torch.float64)
    posterior = prior_density * normal_density(z[:, None], x, eta**2)  # type: ignore[arg-type]
    expected = (posterior * x).sum(1) / posterior.sum(1)
    got = one_d().denoise(z.view(-1, 1, 1), torch.full((5,), eta))
    assert torch.allclose(got.flatten(), expected, rtol=1e-6, atol=1e-7)


def test_mixture_moments_are_those_of_its_samples() -> None:
    prior = mixture()
    samples = prior.sample(100_000, torch.Generator().manual_seed(0)).flatten(1)
    mean = sum(w * c.mean for w, c in zip(prior.weights, prior.components, strict=True))
    assert torch.allclose(samples.mean(0), mean.flatten(), atol=0.03)
    variance = float(samples.var(0).mean())
    assert prior.data_variance == pytest.approx(variance, rel=0.02)


# --- the posterior ----------------------------------------------------------------------------------------------------

OPERATORS: dict[str, Callable[[], LinearOperator]] = {
    "identity": lambda: Identity((3, 4, 4)),
    "block average": lambda: BlockAverage((3, 4, 4), 2),
    "grey": lambda: Grey((3, 4, 4)),
    "mask": lambda: Mask(torch.arange(16).view(4, 4) % 3 == 0, (3, 4, 4)),
    "blur": lambda: Blur((3, 4, 4), torch.tensor([[1.0, 2.0, 1.0]])),
    "scaled": lambda: 3.0 * BlockAverage((3, 4, 4), (2, 1)),
}


def matrix_of(operator: LinearOperator) -> Tensor:
    n = math.prod(operator.in_shape)
    return operator(torch.eye(n, dtype=torch.float64).view(n, *operator.in_shape)).flatten(1).T


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("noise", [0.5, 0.05])
def test_gaussian_posterior_in_information_form(name: str, noise: float) -> None:
    """``(C^{-1} + A^T A / s^2)^{-1}``: the other formula for the same posterior."""
    operator = OPERATORS[name]()
    prior = gaussian((3, 4, 4))
    problem = Problem(randn(2, *operator.out_shape, seed=7), operator, noise)
    posterior = prior.posterior(problem)
    a, precision = matrix_of(operator), torch.linalg.inv(prior.covariance)
    expected = torch.linalg.inv(precision + a.T @ a / noise**2)
    information = problem.y.flatten(1) @ a / noise**2 + prior.mean.flatten() @ precision
    assert torch.allclose(posterior.covariance, expected, rtol=1e-5, atol=1e-7)
    assert torch.allclose(posterior.mean.flatten(1), information @ expected, rtol=1e-5, atol=1e-6)
    assert torch.allclose(posterior.std.flatten(), expected.diagonal().sqrt(), rtol=1e-5, atol=1e-7)
    assert posterior.std.shape == (3, 4, 4)


@pytest.mark.parametrize("name", OPERATORS)
def test_gaussian_posterior_without_noise_is_the_limit_of_little(name: str) -> None:
    operator = OPERATORS[name]()
    prior = gaussian((3, 4, 4))
    y = operator(randn(2, 3, 4, 4, seed=7))
    exact, near = prior.posterior(Problem(y, operator)), prior.posterior(Problem(y, operator, 1e-4))
    assert torch.allclose(operator(exact.mean), y, atol=1e-8)
    a = matrix_of(operator)
    assert float((a @ exact.covariance @ a.T).abs().max()) < 1e-9
    assert torch.allclose(exact.mean, near.mean, atol=1e-3)
    assert torch.allclose(exact.covariance, near.covariance, atol=1e-4)


def test_gaussian_posterior_is_the_law_of_samples_that_fit() -> None:
    """Simulation: among (x, y) drawn jointly, x minus its posterior mean has the posterior covariance."""
    operator = BlockAverage((1, 2, 2), 2)
    prior = gaussian((1, 2, 2))
    x = prior.sample(200_000, torch.Generator().manual_seed(0))
    posterior = prior.posterior(Problem.simulate(x, operator, noise=0.4))
    residual = (x - posterior.mean).flatten(1)
    assert torch.allclose(residual.T @ residual / len(x), posterior.covariance, atol=0.02)
    assert float(residual.mean(0).abs().max()) < 0.01


def quadrature_posterior(prior: MixturePrior, a: Tensor, y: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Mean and covariance of a posterior over two numbers on a fine grid."""
    line = torch.linspace(-9, 9, 601, dtype=torch.float64)
    x = torch.cartesian_prod(line, line)
    log_prior = []
    for w, c in zip(prior.weights, prior.components, strict=True):
        r = x - c.mean.flatten()
        quadratic = (r * torch.linalg.solve(c.covariance, r.T).T).sum(1)
        log_prior.append(w.log() - 0.5 * (quadratic + torch.logdet(c.covariance)))
    log_posterior = torch.logsumexp(torch.stack(log_prior), 0) - 0.5 * ((y - x @ a.T) ** 2).sum(1) / noise**2
    p = log_posterior.softmax(0)
    mean = p @ x
    return mean, ((x - mean) * p[:, None]).T @ (x - mean)


@pytest.mark.parametrize("noise", [0.15, 1.0])
@pytest.mark.parametrize("name", ["average", "identity", "mask", "difference"])
def test_mixture_posterior_by_quadrature(name: str, noise: float) -> None:
    """Two pixels, three components, every kind of operator; a mask keeps a row of its matrix that measured nothing."""
    operators: dict[str, LinearOperator] = {
        "average": BlockAverage((1, 2), 2),
        "identity": Identity((1, 2)),
        "mask": Mask(torch.tensor([True, False]), (1, 2)),
        "difference": 0.5 * Grey((2, 1), (1.0, -1.0)),
    }
    operator = operators[name]
    shape = operator.in_shape
    prior = mixture(shape)
    y = operator(torch.tensor([[0.4, -0.9], [1.2, 0.3]], dtype=torch.float64).view(2, *shape)) + 0.1
    posterior = prior.posterior(Problem(y, operator, noise))
    for i in range(2):
        mean, cov = quadrature_posterior(prior, matrix_of(operator), y[i].flatten(), noise)
        assert torch.allclose(posterior.mean[i].flatten(), mean, atol=1e-5)
        weights = posterior.weights[i]
        assert float(weights.sum()) == pytest.approx(1)
        centred = torch.stack([c.mean[i].flatten() for c in posterior.components]) - mean
        total = sum(w * c.covariance for w, c in zip(weights, posterior.components, strict=True))
        assert torch.allclose(total + (weights[:, None] * centred).T @ centred, cov, atol=1e-4)


@pytest.mark.parametrize("name", OPERATORS)
def test_mixture_posterior_without_noise_is_the_limit_of_little(name: str) -> None:
    operator = OPERATORS[name]()
    prior = mixture((3, 4, 4))
    y = operator(prior.sample(3, torch.Generator().manual_seed(1)))
    exact, near = prior.posterior(Problem(y, operator)), prior.posterior(Problem(y, operator, 1e-5))
    assert bool(torch.isfinite(exact.mean).all())
    assert torch.allclose(operator(exact.mean), y, atol=1e-8)
    assert torch.allclose(exact.weights, near.weights, atol=1e-3)
    assert torch.allclose(exact.mean, near.mean, atol=1e-3)


def test_a_mixture_of_one_is_a_gaussian() -> None:
    prior = gaussian((3, 4, 4))
    single = MixturePrior(torch.tensor([3.0]), [prior])
    problem = Problem(randn(2, 3, 2, 2), BlockAverage((3, 4, 4), 2), 0.2)
    assert torch.allclose(single.posterior(problem).mean, prior.posterior(problem).mean)
    z, eta = randn(2, 3, 4, 4), torch.tensor([0.1, 2.0], dtype=torch.float64)
    assert torch.allclose(single.denoise(z, eta), prior.denoise(z, eta))


# --- bad input --------------------------------------------------------------------------------------------------------


class Squares(Operator):
    """Not linear."""

    in_shape = out_shape = (1, 2)

    def _forward(self, x: Tensor) -> Tensor:
        return x**2


@pytest.mark.parametrize(
    ("argument", "make"),
    [
        ("covariance", lambda: GaussianPrior((2, 3), torch.eye(5))),
        ("covariance", lambda: GaussianPrior((2, 3), -torch.eye(6))),
        ("covariance", lambda: GaussianPrior((1, 2), torch.tensor([[1.0, 5.0], [0.0, 1.0]]))),
        ("covariance", lambda: GaussianPrior((1, 2), torch.tensor([[1.0, math.nan], [math.nan, 1.0]]))),
        ("mean", lambda: GaussianPrior((1, 2), torch.eye(2), mean=torch.zeros(3))),
        ("weights", lambda: MixturePrior(torch.ones(2), [gaussian((1, 2))])),
        ("weights", lambda: MixturePrior(torch.tensor([1.0, -1.0]), [gaussian((1, 2)), gaussian((1, 2))])),
        ("weights", lambda: MixturePrior(torch.tensor([1.0, math.nan]), [gaussian((1, 2)), gaussian((1, 2))])),
        ("weights", lambda: MixturePrior(torch.zeros(0), [])),
        ("components", lambda: MixturePrior(torch.ones(2), [gaussian((1, 2)), gaussian((2, 1))])),
        ("operator", lambda: gaussian((1, 2)).posterior(Problem(torch.zeros(1, 2), Squares()))),
        ("operator", lambda: gaussian((1, 2)).posterior(Problem(torch.zeros(1, 3), Identity((1, 3))))),
        ("operator", lambda: mixture((1, 2)).posterior(Problem(torch.zeros(1, 3), Identity((1, 3))))),
    ],
)
def test_bad_arguments_are_named(argument: str, make: Callable[[], object]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        make()
    assert caught.value.name == argument
