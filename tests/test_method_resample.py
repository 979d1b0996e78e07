"""ReSample against its algorithm with exact minima, the law it draws from, and its stop at the noise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

import kintsugi
from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise
from kintsugi.operators import Decoded, Magnitude, Matrix
from kintsugi.paths import VP, FlowMatching, Path
from kintsugi.problem import Problem
from kintsugi.samplers import ReSample, Schedule, lbfgs
from kintsugi.samplers.resample import fit
from linear_codes import IMAGE, LATENT, PIXELS, W_PINV, W, autoencoder, gaussian, latent_prior
from toy import KEYS, Gaussian, mixture, relative_error, run

LEVELS = (6.0, 3.0, 1.5, 0.9, 0.5, 0.2)
A = torch.randn(7, PIXELS, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 7


def measurement() -> torch.Tensor:
    x = autoencoder().decode(gaussian().sample(1, torch.Generator().manual_seed(2)))
    return x.flatten(1) @ A.T


def literal(y: np.ndarray, gamma: float, stages: str) -> np.ndarray:
    """Algorithm 1 in x_t, each minimum by the pseudo-inverse; a stage a step: free, pixel or latent."""
    noise, a, w, w_pinv, prior = RowNoise(KEYS), A.numpy(), W.numpy(), W_PINV.numpy(), gaussian()

    def draw() -> np.ndarray:
        return noise.normal(LATENT, torch.zeros((), dtype=torch.float64)).flatten(1).numpy()

    bars = [1 / (1 + eta**2) for eta in (*LEVELS, 0.0)]
    x = math.sqrt(1 - bars[0]) * draw()
    for (bar, after), stage in zip(itertools.pairwise(bars), stages, strict=True):
        level = torch.full((len(x),), math.sqrt((1 - bar) / bar), dtype=torch.float64)
        z_0 = prior.denoise(torch.from_numpy(x / math.sqrt(bar)).view(-1, *LATENT), level).flatten(1).numpy()
        eps = (x - math.sqrt(bar) * z_0) / math.sqrt(1 - bar)
        x = math.sqrt(after) * z_0 + math.sqrt(1 - after) * eps
        if stage == "f":
            continue
        if stage == "p":
            image = z_0 @ w.T
            z_y = (image + (y - image @ a.T) @ np.linalg.pinv(a).T) @ w_pinv.T
        else:
            z_y = z_0 + (y - z_0 @ (a @ w).T) @ np.linalg.pinv(a @ w).T
        if after == 1:
            return z_y
        sigma2 = gamma * (1 - after) / (1 - bar) * (1 - bar / after)
        mean = (sigma2 * math.sqrt(after) * z_y + (1 - after) * x) / (sigma2 + 1 - after)
        x = mean + math.sqrt(1 / (1 / sigma2 + 1 / (1 - after))) * draw()
    raise AssertionError


@pytest.mark.parametrize("path", [VP(), FlowMatching()], ids=["vp", "flow"])
@pytest.mark.parametrize(
    ("settings", "stages"),
    [({}, "ffppll"), ({"free": 0.0, "coded": 0.5}, "ppplll"), ({"every": 2, "free": 0.0}, "fpfpfl")],
)
def test_the_published_algorithm(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, float], stages: str, path: Path
) -> None:
    monkeypatch.setattr(lbfgs, "SMALL_CHANGE", 1e-18)  # minima to all digits
    monkeypatch.setattr(lbfgs, "SMALL_GRADIENT", 1e-12)
    y = measurement()
    problem = Problem(y.view(1, 1, 7), Decoded(Matrix(A, IMAGE), autoencoder()))
    schedule = Schedule(start="zero", grid=LEVELS)
    sampler = ReSample(resample=2.0, iterations=200, schedule=schedule, **settings)  # type: ignore[arg-type]
    wanted = literal(y.numpy(), 2.0, stages)
    assert relative_error(run(sampler, latent_prior(path), problem, 6), wanted) < 1e-6
    assert relative_error(literal(y.numpy(), 4.0, stages), wanted) > 1e-3


def test_without_noise_codes_have_the_measurement() -> None:
    problem = Problem(measurement().view(1, 1, 7), Matrix(A, IMAGE))
    result = kintsugi.restore(problem, latent_prior(), "resample", steps=12, samples=3)
    measured = problem.operator(result.samples[0])
    torch.testing.assert_close(measured, problem.y.expand_as(measured), rtol=0, atol=1e-4)
    assert result.cost.forwards == 12
    assert result.cost.vjps == 0


def test_noise_is_not_fitted() -> None:
    """Rows stop at ``sigma_y sqrt(m)`` and not far below it, and one that is there already is left alone."""
    problem = Problem(measurement().view(1, 1, 7), Matrix(A, IMAGE), 0.4)
    first = autoencoder().decode(gaussian().sample(40, torch.Generator().manual_seed(3)))
    goal = 0.4**2 * 7
    out = fit(problem.operator, problem.y.expand(40, 1, 7), first, goal, 50)
    before, after = ((problem.y - problem.operator(x)).square().flatten(1).sum(1) for x in (first, out))
    assert bool((after <= goal).all())
    near = before <= goal
    assert 0 < int(near.sum()) < 40
    assert torch.equal(out[near], first[near])
    assert float(after.max()) > 0.5 * goal
    alone = fit(problem.operator, problem.y, first[3:4], goal, 50)
    torch.testing.assert_close(alone, out[3:4], rtol=0, atol=1e-12)


# (error of the mean, spread) over the posterior's standard deviation, at 5 and 50 steps.
EXPECTED = {
    ("average", 0.0): {5: (0.232, 0.483), 50: (0.116, 0.660)},
    ("mask", 0.1): {5: (0.751, 0.590), 50: (0.371, 0.691)},
}


@pytest.mark.parametrize(("name", "noise"), EXPECTED)
def test_distance_to_the_posterior(name: str, noise: float) -> None:
    for steps, wanted in EXPECTED[name, noise].items():
        assert Gaussian().distance(name, noise, "resample", steps, 32) == pytest.approx(wanted, rel=0.03), steps


def test_phase_retrieval_fits() -> None:
    prior, a = mixture(), Magnitude((1, 4, 4))
    problem = Problem.simulate(prior.sample(1, torch.Generator().manual_seed(5)), a, 0.02)
    out = ReSample().run(prior, problem, 8, RowNoise(KEYS[:1]), lambda done, total: None)
    assert float((a(out) - problem.y).norm()) < 0.06 * float(problem.y.norm())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("resample", 0.0),
        ("iterations", 0),
        ("free", 1.5),
        ("coded", -0.1),
        ("every", 0),
        ("schedule", "time"),
    ],
)
def test_settings_that_cannot_be_used(name: str, value: object) -> None:
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        ReSample(**{name: value})  # type: ignore[arg-type]
