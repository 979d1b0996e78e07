"""DPS against its algorithm in x_t with finite differences, linear and nonlinear, and what it draws on a Gaussian."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise
from kintsugi.operators import Identity, Magnitude, Operator
from kintsugi.paths import VP, FlowMatching, Path
from kintsugi.priors import GaussianPrior
from kintsugi.problem import Problem
from kintsugi.samplers import DPS, Schedule
from toy import KEYS, SHAPE, mixture, operator, relative_error, run

Array = NDArray[np.float64]
LEVELS = (4.0, 1.5, 0.7, 0.3, 0.08)
FROM_LEVELS = Schedule(start="zero", grid=LEVELS)


def literal(measure: Callable[[Array], Array], y: Array, zeta: float, path: Path) -> Array:
    """Algorithm 1: ``x' = ancestral step``, then ``x' - zeta grad_{x_t} |y - A(x_0(x_t))|`` with x_t's own gradient."""
    prior, noise = mixture(), RowNoise(KEYS)
    etas = [*LEVELS, 0.0]
    alphas = [1 / (1 + eta) if isinstance(path, FlowMatching) else 1 / np.sqrt(1 + eta**2) for eta in etas]

    def draw() -> Array:
        return noise.normal(SHAPE, torch.zeros((), dtype=torch.float64)).flatten(1).numpy()

    def x_0_of(x: Array, alpha: float, eta: float) -> Array:
        z = torch.from_numpy(x / alpha).view(-1, *SHAPE)
        return prior.denoise(z, torch.full((len(z),), eta, dtype=torch.float64)).flatten(1).numpy()

    x = alphas[0] * etas[0] * draw()
    for (a, c), (alpha, after) in zip(itertools.pairwise(etas), itertools.pairwise(alphas), strict=True):
        sigma, sigma_after = alpha * a, after * c
        x_0 = x_0_of(x, alpha, a)
        gradient, h = np.zeros_like(x), 1e-5
        for j in range(16):
            nudge = h * np.eye(16)[j]
            up, down = (np.linalg.norm(y - measure(x_0_of(x + e, alpha, a)), axis=1) for e in (nudge, -nudge))
            gradient[:, j] = (up - down) / (2 * h)
        step2 = sigma**2 - (alpha / after * sigma_after) ** 2  # beta of this step, times what the paths share
        mean = (alpha / after * sigma_after**2 * x + after * step2 * x_0) / sigma**2
        fresh = np.sqrt(sigma_after**2 * step2) / sigma * draw() if c > 0 else 0.0
        x = mean + fresh - zeta * gradient
    return x


@pytest.mark.parametrize("path", [VP(), FlowMatching()], ids=["vp", "flow"])
@pytest.mark.parametrize("name", ["mask", "average", "blur", "magnitude"])
def test_the_published_algorithm(name: str, path: Path) -> None:
    measure: Operator = Magnitude(SHAPE) if name == "magnitude" else operator(name)[0]

    def dense(x: Array) -> Array:
        return measure(torch.from_numpy(x).view(-1, *SHAPE)).flatten(1).numpy()

    y = measure(mixture().sample(1, torch.Generator().manual_seed(5))) + 0.1
    wanted = literal(dense, y.flatten(1).numpy(), 0.3, path)
    sampler = DPS(zeta=0.3, schedule=FROM_LEVELS)
    got = run(sampler, mixture().with_path(path), Problem(y, measure, 0.05), 5)
    assert relative_error(got, wanted) < 1e-6
    half = run(DPS(zeta=0.15, schedule=FROM_LEVELS), mixture().with_path(path), Problem(y, measure, 0.05), 5)
    assert relative_error(half, wanted) > 1e-3


def test_the_noise_level_does_not_enter() -> None:
    measure, _ = operator("average")
    y = measure(mixture().sample(1, torch.Generator().manual_seed(5)))
    quiet, loud = (run(DPS(schedule=FROM_LEVELS), mixture(), Problem(y, measure, noise), 5) for noise in (0.0, 0.5))
    np.testing.assert_array_equal(quiet, loud)


@pytest.mark.parametrize("zeta", [0.25, 0.5, 1.0])
def test_the_spread_is_that_of_zeta_not_of_the_posterior(zeta: float) -> None:
    """One number, measured as it is: the residual r goes to r - zeta sign(r), step after step, since the gradient of a
    distance has length one. What remains is uniform between -zeta and zeta, with a spread of zeta / sqrt(3), where the
    posterior's is 0.0995 whatever zeta."""
    shape = (1, 1)
    prior = GaussianPrior(shape, torch.ones(1, 1, dtype=torch.float64))
    rows = Problem(torch.full((2000, *shape), 0.5, dtype=torch.float64), Identity(shape), 0.1)
    keys = [(0, 0, j) for j in range(2000)]
    out = DPS(zeta=zeta).run(prior, rows, 200, RowNoise(keys), lambda done, total: None)
    assert float(out.mean()) == pytest.approx(0.5, abs=0.1 * zeta)
    assert float(out.std()) == pytest.approx(zeta / 3**0.5, rel=0.05)


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"zeta": 0.0}, "zeta"), ({"zeta": "x"}, "zeta"), ({"solver": "ddim"}, "solver"), ({"schedule": 3}, "schedule")],
)
def test_settings_that_do_not_fit(settings: dict[str, object], name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        DPS(**settings)  # type: ignore[arg-type]
