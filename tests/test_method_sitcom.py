"""SITCOM against a transcription of its algorithm with dense Jacobians, and what it does on a Gaussian prior."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import kintsugi
from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise
from kintsugi.operators import Magnitude
from kintsugi.paths import VP, FlowMatching, Path
from kintsugi.priors import GaussianPrior, Prior
from kintsugi.problem import Problem
from kintsugi.samplers import SITCOM, Schedule
from toy import KEYS, SHAPE, Gaussian, N, mixture, operator, relative_error, run


def tweedie(prior: Prior, v: np.ndarray, alpha_bar: float) -> tuple[np.ndarray, np.ndarray]:
    """f(v) = (v - sqrt(1 - alpha_bar) eps_hat(v)) / sqrt(alpha_bar) for one signal (n,), and its Jacobian (n, n)."""
    eta = torch.tensor([math.sqrt((1 - alpha_bar) / alpha_bar)], dtype=torch.float64)

    def f(v: Tensor) -> Tensor:
        z = v / math.sqrt(alpha_bar)
        eps_hat = (z - prior.denoise(z.view(1, *SHAPE), eta).flatten()) / eta
        return (v - math.sqrt(1 - alpha_bar) * eps_hat) / math.sqrt(alpha_bar)

    x = torch.from_numpy(v)
    return f(x).numpy(), torch.autograd.functional.jacobian(f, x).numpy()


def transcription(
    prior: Prior, problem: Problem, a: np.ndarray, levels: list[float], k: int, lr: float, lam: float, delta: float
) -> tuple[np.ndarray, list[int]]:
    """Algorithm 1 for each row, in x_t, and how many steps of Adam were taken at each level."""
    rows, taken = [], []
    y = problem.batch.flatten().numpy()
    for key in KEYS:
        noise, like = RowNoise([key]), torch.zeros((), dtype=torch.float64)
        bars = [1 / (1 + eta**2) for eta in levels]
        x_t = math.sqrt(1 - bars[0]) * noise.normal(SHAPE, like).flatten().numpy()
        for bar, below in pairwise(bars):
            v, m1, m2, step = x_t.copy(), np.zeros(N), np.zeros(N), 0
            x_0, jacobian = tweedie(prior, v, bar)
            while step < k and ((a @ x_0 - y) ** 2).sum() >= delta**2:
                step += 1
                gradient = 2 * jacobian.T @ a.T @ (a @ x_0 - y) - 2 * lam * (x_t - v)
                m1, m2 = 0.9 * m1 + 0.1 * gradient, 0.999 * m2 + 0.001 * gradient**2
                v = v - lr * (m1 / (1 - 0.9**step)) / (np.sqrt(m2 / (1 - 0.999**step)) + 1e-8)
                x_0, jacobian = tweedie(prior, v, bar)
            taken.append(step)
            x_t = math.sqrt(below) * x_0
            if below < 1:
                x_t = x_t + math.sqrt(1 - below) * noise.normal(SHAPE, like).flatten().numpy()
        rows.append(x_t)
    return np.stack(rows), taken


def measured(name: str, noise: float) -> tuple[Problem, np.ndarray]:
    a, matrix = operator(name)
    x = mixture().sample(1, torch.Generator().manual_seed(5))
    return Problem.simulate(x, a, noise), matrix


@pytest.mark.parametrize("path", [VP(), FlowMatching()], ids=["vp", "flow"])
@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("name", ["mask", "average", "blur"])
def test_algorithm_1(name: str, noise: float, path: Path) -> None:
    """On the flow's path only the levels differ: the method's variable is the variance-preserving one."""
    prior = mixture().with_path(path)
    problem, a = measured(name, noise)
    grid = Schedule(start="zero", eta=None, tau=0.8, end=None, grid="time")
    delta = 1.6 * noise * math.sqrt(a.shape[0])
    sampler = SITCOM(iterations=9, lr=0.2, lam=0.2, stop=1.6, schedule=grid)
    theirs, taken = transcription(prior, problem, a, grid.levels(prior, 4), 9, 0.2, 0.2, delta)
    assert relative_error(run(sampler, prior, problem, 4), theirs) < 1e-6
    assert name != "mask" or set(taken) == {9} or (noise > 0 and len(set(taken)) > 1)  # rows stop by themselves


def test_it_starts_from_pure_noise_in_steps_of_equal_time() -> None:
    prior = mixture()
    problem, a = measured("average", 0.05)
    levels = [float(prior.path.eta(t)) for t in (1.0, 0.75, 0.5, 0.25, 0.0)]
    theirs, _ = transcription(prior, problem, a, levels, 6, 0.01, 0.0, 0.05 * 2)
    assert relative_error(run(SITCOM(iterations=6, lr=0.01), prior, problem, 4), theirs) < 1e-6


# (error of the mean, spread) over the posterior's standard deviation, at 5 and 20 steps.
EXPECTED = {
    ("average", 0.0): {5: (0.189, 0.493), 20: (0.121, 0.622)},
    ("mask", 0.1): {5: (0.530, 0.546), 20: (0.412, 0.709)},
}


@pytest.mark.parametrize(("name", "noise"), EXPECTED)
def test_distance_to_the_posterior(name: str, noise: float) -> None:
    gaussian, rows = Gaussian(), 64
    problem, posterior = gaussian.problem(name, noise)
    std = posterior.covariance.diagonal().mean().sqrt()
    for steps, wanted in EXPECTED[name, noise].items():
        batch = problem.with_rows(problem.batch.expand(rows, *problem.operator.out_shape))
        out = SITCOM().run(gaussian.prior, batch, steps, RowNoise([(i,) for i in range(rows)]), lambda *_: None)
        error = float((out.mean(0) - posterior.mean[0]).square().mean().sqrt() / std)
        spread = float((out.var(0).mean().sqrt()) / std)
        assert (error, spread) == pytest.approx(wanted, rel=0.03, abs=0.003), (name, noise, steps)


def test_the_network_rests_where_the_measurement_is_fitted() -> None:
    """One level, A = 1 and a Gaussian prior: rows cost what they need, and end just below their delta."""
    prior = GaussianPrior(SHAPE, 0.1 * torch.eye(N, dtype=torch.float64))
    a, _ = operator("average")
    x = torch.stack([torch.zeros(SHAPE), torch.full(SHAPE, 0.4)]).double()
    problem = Problem(a(x), a, 0.05)
    sampler = SITCOM(iterations=500, lr=0.01, schedule=Schedule(start="zero", grid=(0.3,)))
    result = kintsugi.restore(problem, prior, sampler, seed=3)
    misfits = (a(result.samples[:, 0]) - problem.y).flatten(1).norm(dim=1)
    assert float(misfits.max()) < 0.05 * 2
    assert float(misfits.max()) > 0.09
    assert 20 < result.cost.vjps < 300
    assert result.cost.vjps <= result.cost.forwards <= result.cost.vjps + 1
    apart = [kintsugi.restore(problem.with_rows(problem.y[:1]), prior, sampler, seed=3, samples=1)]
    torch.testing.assert_close(apart[0].samples[0], result.samples[0], rtol=0, atol=1e-12)


def test_phase_retrieval_fits() -> None:
    prior, a = mixture(), Magnitude(SHAPE)
    x = prior.sample(1, torch.Generator().manual_seed(5))
    problem = Problem.simulate(x, a, 0.02)
    out = SITCOM(iterations=50, lr=0.1).run(prior, problem, 8, RowNoise(KEYS[:1]), lambda done, total: None)
    assert float((a(out) - problem.y).norm()) < 0.06 * float(problem.y.norm())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iterations", 0),
        ("iterations", 2.5),
        ("lr", 0.0),
        ("lr", math.nan),
        ("lam", -1.0),
        ("stop", -0.1),
        ("schedule", "time"),
    ],
)
def test_settings_that_cannot_be_used(name: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        SITCOM(**{name: value})
