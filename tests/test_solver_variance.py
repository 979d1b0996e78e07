"""What solvers do to the variance of a Gaussian, whose posterior denoiser is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from kintsugi.noise import RowNoise
from kintsugi.priors import GaussianPrior
from kintsugi.solvers import FirstOrder, Multistep, Solver, Tempered
from toy import order

VARIANCES = torch.tensor([0.01, 0.1, 0.5, 2.0], dtype=torch.float64)
STOCHASTIC = [
    *(FirstOrder(churn) for churn in (0.0, 0.5, 1.0)),
    *(Multistep(churn, correction) for churn in (0.0, 0.5, 1.0) for correction in (0.0, 1.0)),
    Tempered(keep=1.0, correction=1.0),
]


class Impulses(RowNoise):
    """The k-th draw is one in row k + 2 and zero elsewhere; row 0 is the mean and row 1 is for the start."""

    def __init__(self, steps: int) -> None:
        self.rows, self.drawn = steps + 2, 0

    def normal(self, shape: Sequence[int], like: Tensor) -> Tensor:
        out = like.new_zeros((self.rows, *shape))
        out[self.drawn + 2] = 1.0
        self.drawn += 1
        return out


def posterior_denoiser() -> GaussianPrior:
    """A Gaussian posterior is a Gaussian prior again; each pixel has its own variance and mean."""
    return GaussianPrior((1, 4), torch.diag(VARIANCES), torch.tensor([[0.3, -0.2, 0.5, 0.0]], dtype=torch.float64))


def exact_moments(solver: Solver, levels: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Mean and variance after a run that starts with the exact marginal: the solver is linear in what is random."""
    posterior, steps = posterior_denoiser(), len(levels) - 1
    noise = Impulses(steps)
    z = posterior.mean.expand(noise.rows, 1, 4).clone()
    z[1] += (VARIANCES + levels[0] ** 2).sqrt()
    memory = None
    for a, c in itertools.pairwise(levels):
        d = posterior.denoise(z, torch.full((len(z),), a, dtype=torch.float64))
        z, memory = solver.step(z, d, a, c, memory, noise)
    return z[0, 0], ((z[1:, 0] - z[0, 0]) ** 2).sum(0)


@pytest.mark.parametrize("solver", STOCHASTIC, ids=str)
def test_marginal_variance_converges_to_the_exact_one(solver: Solver) -> None:
    end = 0.05
    errors = {}
    for steps in (100, 200, 400):
        mean, variance = exact_moments(solver, list(np.geomspace(20.0, end, steps + 1)))
        torch.testing.assert_close(mean, posterior_denoiser().mean[0], rtol=1e-9, atol=1e-9)
        errors[steps] = float((variance / (VARIANCES + end**2) - 1).abs().max())
    expected = 2 if getattr(solver, "correction", 0) == 1 else 1
    assert order(errors) == pytest.approx(expected, abs=0.1)
    assert errors[400] < (0.02 if expected == 1 else 2e-4)


@pytest.mark.parametrize(("temperature", "largest"), [(1.0, 0.75), (0.4, 0.3)])
def test_tempered_contracts(temperature: float, largest: float) -> None:
    """Noise drawn afresh is not a sampler of the posterior, with less of it even less so: the spread stays below."""
    _, variance = exact_moments(Tempered(temperature=temperature), list(np.geomspace(20.0, 0.05, 201)))
    wide = VARIANCES > 0.05
    assert bool((variance[wide] < largest**2 * VARIANCES[wide]).all())


@pytest.mark.parametrize("solver", [FirstOrder(1.0), Multistep(0.5)], ids=str)
def test_marginal_variance_of_drawn_samples(solver: Solver) -> None:
    """The same with random numbers: they have unit variance, and every row and level its own."""
    n, levels = 2000, list(np.geomspace(20.0, 0.05, 41))
    posterior, noise = posterior_denoiser(), RowNoise([(0, i) for i in range(n)])
    z = posterior.mean + (VARIANCES + levels[0] ** 2).sqrt() * noise.normal((1, 4), posterior.mean)
    memory = None
    for a, c in itertools.pairwise(levels):
        d = posterior.denoise(z, torch.full((n,), a, dtype=torch.float64))
        z, memory = solver.step(z, d, a, c, memory, noise)
    mean, variance = exact_moments(solver, levels)
    standard_error = variance * math.sqrt(2 / n)
    assert bool(((z[:, 0].var(0) - variance).abs() < 4 * standard_error).all())
    assert bool(((z[:, 0].mean(0) - mean).abs() < 4 * (variance / n).sqrt()).all())


@pytest.mark.parametrize("steps", [1, 7, 50])
def test_old_noise_is_forgotten_at_a_rate_not_at_each_level(steps: int) -> None:
    """For data that are zero, what is left of the first noise is (c/a)^(1 + forget), whatever the number of steps."""
    z = torch.ones(1, 1, 2, dtype=torch.float64)
    levels = np.geomspace(2.0, 1.0, steps + 1).tolist()

    class Silent(RowNoise):
        def normal(self, shape: Sequence[int], like: torch.Tensor) -> torch.Tensor:
            return torch.zeros(1, *shape, dtype=like.dtype)

    for a, c in itertools.pairwise(levels):
        z, _ = Tempered(forget=3.0).step(z, torch.zeros_like(z), a, c, None, Silent([(0,)]))
    torch.testing.assert_close(z, torch.full_like(z, 0.5**4))


def test_a_rate_of_forgetting_must_be_positive() -> None:
    with pytest.raises(ValueError, match="forget"):
        Tempered(forget=0.0)
