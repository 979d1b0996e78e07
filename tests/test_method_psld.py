"""PSLD against its algorithm in x_t with the gradient of the whole composition, and against DPS where it is that."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

import kintsugi
from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise
from kintsugi.operators import Decoded, Magnitude, Matrix
from kintsugi.paths import VP, FlowMatching, Path
from kintsugi.problem import Problem
from kintsugi.samplers import DPS, PSLD, Schedule
from linear_codes import IMAGE, LATENT, PIXELS, W_PINV, N, W, autoencoder, gaussian, latent_prior
from toy import KEYS, Gaussian, mixture, operator, relative_error, run

LEVELS = (4.0, 1.5, 0.7, 0.3, 0.08)
FROM_LEVELS = Schedule(start="zero", grid=LEVELS)
# Not orthonormal: A^T and A^+ differ.
A = torch.randn(7, PIXELS, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 7


def measurement() -> Tensor:
    x = autoencoder().decode(gaussian().sample(1, torch.Generator().manual_seed(2)))
    return x.flatten(1) @ A.T + 0.05


def literal(y: Tensor, omega: float, gamma: float, path: Path) -> np.ndarray:
    """Algorithm 2 with norms in place of their squares: the ancestral step in x_t, then both gradients in x_t."""
    prior, noise = gaussian(), RowNoise(KEYS)
    etas = [*LEVELS, 0.0]
    alphas = [1 / (1 + eta) if isinstance(path, FlowMatching) else 1 / np.sqrt(1 + eta**2) for eta in etas]
    a_pinv = torch.linalg.pinv(A)

    def draw() -> Tensor:
        return noise.normal(LATENT, torch.zeros((), dtype=torch.float64)).flatten(1)

    x = alphas[0] * etas[0] * draw()
    for (a, c), (alpha, after) in zip(itertools.pairwise(etas), itertools.pairwise(alphas), strict=True):
        sigma, sigma_after = alpha * a, after * c
        leaf = x.clone().requires_grad_(True)
        level = torch.full((len(x),), a, dtype=torch.float64)
        z_0 = prior.denoise((leaf / alpha).view(-1, *LATENT), level).flatten(1)
        image = z_0 @ W.T
        glued = y @ a_pinv.T + image - image @ (a_pinv @ A).T
        loss = omega * (y - image @ A.T).norm(dim=1) + gamma * (z_0 - glued @ W_PINV.T).norm(dim=1)
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        step2 = sigma**2 - (alpha / after * sigma_after) ** 2
        mean = (alpha / after * sigma_after**2 * x + after * step2 * z_0.detach()) / sigma**2
        fresh = np.sqrt(sigma_after**2 * step2) / sigma * draw() if c > 0 else 0.0
        x = mean + fresh - gradient
    return x.numpy()


@pytest.mark.parametrize("path", [VP(), FlowMatching()], ids=["vp", "flow"])
def test_the_published_algorithm(path: Path) -> None:
    y = measurement()
    problem = Problem(y.view(1, 1, 7), Decoded(Matrix(A, IMAGE), autoencoder()), 0.05)
    sampler = PSLD(omega=0.3, gamma=0.2, schedule=FROM_LEVELS)
    wanted = literal(y, 0.3, 0.2, path)
    got = run(sampler, latent_prior(path), problem, 5)
    assert got.shape == (2, N)
    assert relative_error(got, wanted) < 1e-6
    assert relative_error(literal(y, 0.3, 0.4, path), wanted) > 1e-3  # and both terms show
    assert relative_error(literal(y, 0.6, 0.2, path), wanted) > 1e-3


def test_without_the_gluing_it_is_dps_through_the_decoder() -> None:
    problem = Problem(measurement().view(1, 1, 7), Matrix(A, IMAGE), 0.05)
    ours = kintsugi.restore(problem, latent_prior(), "psld", steps=8, gamma=0.0, omega=0.7, samples=3)
    dps = kintsugi.restore(problem, latent_prior(), "dps", steps=8, zeta=0.7, samples=3)
    torch.testing.assert_close(ours.samples, dps.samples, rtol=0, atol=1e-12)
    assert ours.cost.forwards == ours.cost.vjps == 8


def test_of_images_the_gluing_is_the_distance_carried_back() -> None:
    """A projection has A^+ = A^T: both gradients are those of |y - A D|, so omega and gamma add up to DPS's zeta."""
    a, _ = operator("mask")
    y = a(mixture().sample(1, torch.Generator().manual_seed(5)))
    ours = run(PSLD(omega=0.2, gamma=0.1, schedule=FROM_LEVELS), mixture(), Problem(y, a), 5)
    dps = run(DPS(zeta=0.3, schedule=FROM_LEVELS), mixture(), Problem(y, a), 5)
    assert relative_error(ours, dps) < 1e-9


# (error of the mean, spread) over the posterior's standard deviation, at 5 and 100 steps: what DPS does, no posterior.
EXPECTED = {5: (0.780, 0.651), 100: (0.131, 0.933)}


def test_distance_to_the_posterior() -> None:
    toy = Gaussian()
    problem, posterior = toy.problem("average", 0.0)
    std = float(posterior.covariance.diagonal().mean().sqrt())
    for steps, wanted in EXPECTED.items():
        result = kintsugi.restore(problem, toy.prior, "psld", steps=steps, samples=64, batch=64, tile=None)
        error = float((result.mean - posterior.mean).square().mean().sqrt()) / std
        assert (error, float(result.std.square().mean().sqrt()) / std) == pytest.approx(wanted, rel=0.03), steps


def test_it_takes_what_is_linear_in_the_image() -> None:
    curved = Magnitude(IMAGE)
    problem = Problem(curved(torch.rand(1, *IMAGE, dtype=torch.float64)), curved, 0.05)
    with pytest.raises(InvalidArgument, match=r"^operator: expected a linear operator of images"):
        kintsugi.restore(problem, latent_prior(), "psld")


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"omega": -1.0}, "omega"),
        ({"gamma": "x"}, "gamma"),
        ({"solver": "ddim"}, "solver"),
        ({"schedule": 3}, "schedule"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, object], name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        PSLD(**settings)  # type: ignore[arg-type]
