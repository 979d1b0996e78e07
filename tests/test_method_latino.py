"""LATINO against its iteration in x_t, dense, and what it does where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import kintsugi
from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise
from kintsugi.operators import Decoded, Magnitude, Matrix
from kintsugi.paths import VP, FlowMatching, Path
from kintsugi.priors import GaussianPrior
from kintsugi.problem import Problem
from kintsugi.samplers import LATINO, Schedule
from linear_codes import IMAGE, LATENT, PIXELS, W_PINV, W, autoencoder, gaussian, latent_prior
from toy import KEYS, Gaussian, operator, relative_error, run

LEVELS = (4.0, 1.5, 0.7, 0.3)
A = torch.randn(7, PIXELS, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 7


def measurement() -> torch.Tensor:
    x = autoencoder().decode(gaussian().sample(1, torch.Generator().manual_seed(2)))
    return x.flatten(1) @ A.T + 0.05


def literal(y: np.ndarray, sigma_y: float, delta: float) -> np.ndarray:
    """x = A^+ y; z = sqrt(abar) E(x) + sqrt(1 - abar) eps; u = D(G(z)); x = prox of |y - A x|^2/(2 sigma_y^2)."""
    noise, a, prior = RowNoise(KEYS), A.numpy(), gaussian()
    x = np.repeat(y @ np.linalg.pinv(a).T, len(KEYS), 0)
    for eta in LEVELS:
        abar = 1 / (1 + eta**2)
        eps = noise.normal(LATENT, torch.zeros((), dtype=torch.float64)).flatten(1).numpy()
        z = np.sqrt(abar) * x @ W_PINV.numpy().T + np.sqrt(1 - abar) * eps
        level = torch.full((len(z),), eta, dtype=torch.float64)
        clean = prior.denoise(torch.from_numpy(z / np.sqrt(abar)).view(-1, *LATENT), level).flatten(1).numpy()
        u = clean @ W.numpy().T
        step = delta * (1 - abar)
        # The minimum of |y - A v|^2 / (2 sigma_y^2) + |v - u|^2 / (2 step), by its normal equations.
        normal = a.T @ a / sigma_y**2 + np.eye(PIXELS) / step
        x = np.linalg.solve(normal, (y @ a / sigma_y**2 + u / step).T).T
    return x @ W_PINV.numpy().T


@pytest.mark.parametrize("path", [VP(), FlowMatching()], ids=["vp", "flow"])
@pytest.mark.parametrize("delta", [0.3, 1.0])
def test_the_published_iteration(delta: float, path: Path) -> None:
    """The path does not enter: z / alpha at a level is the same for all."""
    y = measurement()
    problem = Problem(y.view(1, 1, 7), Decoded(Matrix(A, IMAGE), autoencoder()), 0.1)
    sampler = LATINO(delta=delta, schedule=Schedule(start="pinv", grid=LEVELS))
    wanted = literal(y.numpy(), 0.1, delta)
    assert relative_error(run(sampler, latent_prior(path), problem, 4), wanted) < 1e-6
    assert relative_error(literal(y.numpy(), 0.1, 2 * delta), wanted) > 1e-3


def test_it_starts_at_pure_noise_in_steps_of_equal_time() -> None:
    a, _ = operator("average")
    prior = GaussianPrior((1, 4, 4), 0.2 * torch.eye(16, dtype=torch.float64))
    problem = Problem(a(prior.sample(1, torch.Generator().manual_seed(0))), a, 0.05)
    levels = tuple(float(prior.path.eta(t)) for t in (1.0, 0.75, 0.5, 0.25))
    own = LATINO(schedule=Schedule(start="pinv", grid=levels))
    assert relative_error(run(LATINO(), prior, problem, 4), run(own, prior, problem, 4)) < 1e-9


def test_without_noise_images_have_the_measurement_whatever_delta() -> None:
    toy = Gaussian()
    problem, _ = toy.problem("average", 0.0)
    for delta in (0.01, 10.0):
        result = kintsugi.restore(problem, toy.prior, "latino", steps=4, delta=delta, tile=None)
        torch.testing.assert_close(problem.operator(result.samples[0]), problem.y, rtol=0, atol=1e-10)


# (error of the mean, spread) over the posterior's standard deviation, at 8 and 100 steps.
EXPECTED = {
    ("average", 0.0): {8: (0.192, 0.545), 100: (0.093, 0.676)},
    ("mask", 0.1): {8: (0.660, 0.641), 100: (0.296, 0.709)},
}


@pytest.mark.parametrize(("name", "noise"), EXPECTED)
def test_distance_to_the_posterior(name: str, noise: float) -> None:
    for steps, wanted in EXPECTED[name, noise].items():
        assert Gaussian().distance(name, noise, "latino", steps, 64) == pytest.approx(wanted, rel=0.03), steps


def test_phase_retrieval_fits() -> None:
    prior, a = GaussianPrior((1, 4, 4), 0.2 * torch.eye(16, dtype=torch.float64)), Magnitude((1, 4, 4))
    problem = Problem.simulate(prior.sample(1, torch.Generator().manual_seed(5)), a, 0.02)
    out = LATINO().run(prior, problem, 20, RowNoise(KEYS[:1]), lambda done, total: None)
    assert float((a(out) - problem.y).norm()) < 0.25 * float(problem.y.norm())


@pytest.mark.parametrize(
    ("settings", "name"), [({"delta": 0.0}, "delta"), ({"delta": "x"}, "delta"), ({"schedule": 3}, "schedule")]
)
def test_settings_that_do_not_fit(settings: dict[str, object], name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        LATINO(**settings)  # type: ignore[arg-type]
