"""RED-diff against a transcription of its algorithm, and against what it does, exactly, on a Gaussian prior."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise
from kintsugi.operators import Identity, Magnitude
from kintsugi.paths import VP, FlowMatching, Path
from kintsugi.priors import GaussianPrior, Prior
from kintsugi.priors.network import NetworkPrior
from kintsugi.priors.unet import UNet, UNetConfig
from kintsugi.problem import Problem
from kintsugi.samplers import REDdiff, Schedule
from toy import KEYS, SHAPE, Gaussian, ImpulseNoise, N, exact_moments, mixture, operator, relative_error, run

OMEGA = {
    "linear": lambda snr: 1 / snr,
    "sqrt": lambda snr: np.sqrt(1 / snr),
    "square": lambda snr: 1 / snr**2,
    "log": lambda snr: np.log(1 + 1 / snr),
    "truncated": lambda snr: min(1 / snr, 1.0),
    "power23": lambda snr: (1 / snr) ** (2 / 3),
    "constant": lambda snr: 1.0,
}


def transcription(
    prior: Prior, problem: Problem, a: np.ndarray, times: np.ndarray, lam: float, omega: Any, v: float, s: float
) -> np.ndarray:
    """Algorithm 1 in x_t and alpha_t, sigma_t, with a dense matrix and Adam written out; ``v`` weighs the data."""
    noise, path = RowNoise(KEYS), prior.path
    like = torch.zeros((), dtype=torch.float64)

    def white() -> np.ndarray:
        return noise.normal(SHAPE, like).flatten(1).numpy()

    y = problem.batch.flatten(1).numpy()
    mu = np.repeat(y @ np.linalg.pinv(a).T, len(KEYS), 0)
    m1, m2 = np.zeros_like(mu), np.zeros_like(mu)
    for k, t in enumerate(times, 1):
        alpha, sigma = float(path.alpha(float(t))), float(path.sigma(float(t)))
        x_0 = mu + s * white() if s else mu
        eps = white()
        x_t = alpha * x_0 + sigma * eps
        z = torch.from_numpy(x_t / alpha).view(-1, *SHAPE)
        d = prior.denoise(z, torch.full((len(z),), sigma / alpha, dtype=torch.float64)).flatten(1).numpy()
        eps_hat = (x_t - alpha * d) / sigma
        gradient = v * (x_0 @ a.T - y) @ a + lam * omega(alpha / sigma) * (eps_hat - eps)
        m1, m2 = 0.9 * m1 + 0.1 * gradient, 0.99 * m2 + 0.01 * gradient**2
        mu = mu - 0.1 * (m1 / (1 - 0.9**k)) / (np.sqrt(m2 / (1 - 0.99**k)) + 1e-8)
    return mu


def measured(name: str, noise: float) -> tuple[Problem, np.ndarray]:
    a, matrix = operator(name)
    x = mixture().sample(1, torch.Generator().manual_seed(5))
    return Problem.simulate(x, a, noise), matrix


@pytest.mark.parametrize("path", [VP(), FlowMatching()], ids=["vp", "flow"])
@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("name", ["mask", "average", "blur"])
def test_algorithm_1(name: str, noise: float, path: Path) -> None:
    prior = mixture().with_path(path)
    problem, a = measured(name, noise)
    lam = 0.25 * a.shape[0] / N  # the authors' 0.25 of means, for sums
    v = min(1.0, 0.2**2 * lam / noise**2) if noise else 1.0
    time = float(path.time(2.0))
    ours = run(REDdiff(), prior, problem, 8)
    theirs = transcription(prior, problem, a, np.linspace(time, time / 8, 8), lam, OMEGA["linear"], v, 0.0)
    assert relative_error(ours, theirs) < 1e-6


@pytest.mark.parametrize("weighting", OMEGA)
def test_weightings(weighting: Any) -> None:
    """From above level 1 to below it, where they differ; with a variance of q, and the levels in rising order."""
    prior = mixture()
    problem, a = measured("average", 0.02)
    times = np.linspace(0.8, 0.1, 8)
    schedule = Schedule(tau=0.8, eta=None, end=None, grid="time")
    sampler = REDdiff(weighting=weighting, lam=0.3, spread=0.1, floor=0.01, schedule=schedule)
    theirs = transcription(prior, problem, a, times, 0.3, OMEGA[weighting], 0.25, 0.1)
    assert relative_error(run(sampler, prior, problem, 8), theirs) < 1e-6
    up = REDdiff(weighting=weighting, lam=0.3, order="ascending", floor=0.01, schedule=schedule)
    theirs = transcription(prior, problem, a, times[::-1], 0.3, OMEGA[weighting], 0.25, 0.0)
    assert relative_error(run(up, prior, problem, 8), theirs) < 1e-6


# --- which levels are visited -----------------------------------------------------------------------------------------


class Recorder(GaussianPrior):
    """Notes the levels at which it is asked, one list a call."""

    def __init__(self) -> None:
        super().__init__(SHAPE, 0.1 * torch.eye(N, dtype=torch.float64))
        self.seen: list[list[float]] = []

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        self.seen.append(eta.tolist())
        return super().denoise(z, eta)


@pytest.mark.parametrize(("order", "each"), [("random", 1), ("parallel", 3)])
def test_random_levels(order: Any, each: int) -> None:
    """Every level equally often, each row by itself."""
    problem, prior = measured("mask", 0.0)[0], Recorder()
    sampler = REDdiff(order=order, parallel=each, schedule=Schedule(grid=(3.0, 1.0, 0.3, 0.1)))
    rows = problem.with_rows(problem.batch.expand(500, *SHAPE))
    sampler.run(prior, rows, 4, RowNoise([(0, i) for i in range(500)]), lambda done, total: None)
    seen = torch.tensor(prior.seen)
    assert seen.shape == (4 * each, 500)
    shares = torch.stack([(seen - eta).abs() < 1e-9 for eta in (3.0, 1.0, 0.3, 0.1)]).double().mean((1, 2))
    assert shares.sum() == 1
    assert float((shares - 0.25).abs().max()) < 4 * math.sqrt(0.1875 / seen.numel())


def test_parallel_takes_the_mean_over_levels() -> None:
    """With one level to choose from and no noise drawn but the levels', four visits are one."""

    class Nothing(RowNoise):
        def normal(self, shape: Any, like: Tensor) -> Tensor:
            return like.new_zeros(len(KEYS), *shape)

    problem, prior = measured("blur", 0.0)[0], mixture()
    problem = problem.with_rows(problem.batch.expand(2, *SHAPE))
    levels = Schedule(grid=(0.5,))
    one, four = (
        REDdiff(order=order, schedule=levels).run(prior, problem, 1, Nothing(KEYS), lambda done, total: None)
        for order in ("random", "parallel")
    )
    torch.testing.assert_close(four, one, rtol=0, atol=1e-12)


# --- on a Gaussian prior ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "steps"), [(1.0, 5), (1.0, 20), (0.0, 5)])  # 0: score distillation
def test_gradient_descent_is_an_affine_recursion(data: float, steps: int) -> None:
    """With eps_hat = eta (C + eta^2)^{-1} (z - m): the mean and covariance of mu follow exactly."""
    part = mixture().components[1]
    problem, a = measured("blur", 0.1)
    lam, h, floor = 0.5, 0.7, 0.05
    sampler = REDdiff(lam=lam, optimizer="sgd", lr=h, data=data, floor=floor, weighting="sqrt", start="noise")
    mean, covariance = exact_moments(sampler, part, problem, steps)

    c, m = part.covariance.numpy(), part.mean.flatten().numpy()
    y = problem.batch.flatten().numpy()
    v = data * (floor / 0.1) ** 2
    expected, spread = np.zeros(N), part.data_variance * np.eye(N)
    for level in Schedule(eta=None, end=None, grid="time").levels(part, steps)[:-1]:
        s = np.linalg.inv(c + level**2 * np.eye(N))
        weight = lam * np.sqrt(level)
        rate = np.eye(N) - h * (v * a.T @ a + weight * level * s)
        drawn = h * weight * (np.eye(N) - level**2 * s)
        expected = rate @ expected + h * (v * a.T @ y + weight * level * s @ m)
        spread = rate @ spread @ rate.T + drawn @ drawn.T
    assert relative_error(mean.numpy(), expected) < 1e-9
    assert relative_error(covariance.numpy(), spread) < 1e-9


def test_its_fixed_point_is_the_maximum_of_the_posterior() -> None:
    """At one level, the prior smoothed by it and a noise of variance lambda eta^2: here that of the measurement."""
    part = mixture().components[1]
    problem, _ = measured("mask", 0.1)
    eta = 0.2
    schedule = Schedule(grid=tuple(eta * (1 + 1e-6 * k) for k in range(600, 0, -1)))
    sampler = REDdiff(lam=0.25, optimizer=partial(torch.optim.SGD, lr=0.5), schedule=schedule)
    silence = ImpulseNoise(N, 0)
    mean = sampler.run(part, problem, 1, silence, lambda done, total: None).flatten()
    smoothed = GaussianPrior(SHAPE, part.covariance + eta**2 * torch.eye(N, dtype=torch.float64), part.mean)
    assert relative_error(mean.numpy(), smoothed.posterior(problem).mean.flatten().numpy()) < 1e-3


# (error of the mean, spread) over the posterior's standard deviation, by Adam from A^+ y.
EXPECTED = {
    ("average", 0.0): {5: (0.284, 0.264), 20: (0.113, 0.345), 100: (0.053, 0.488)},
    ("mask", 0.1): {5: (0.831, 0.467), 20: (0.521, 0.484), 100: (0.202, 0.546)},
}


@pytest.mark.parametrize(("name", "noise"), EXPECTED)
def test_distance_to_the_posterior(name: str, noise: float) -> None:
    """No sample of the posterior: half of its spread, which is what Adam's last steps leave."""
    gaussian, rows = Gaussian(), 128
    problem, posterior = gaussian.problem(name, noise)
    std = posterior.covariance.diagonal().mean().sqrt()
    for steps, wanted in EXPECTED[name, noise].items():
        batch = problem.with_rows(problem.batch.expand(rows, *problem.operator.out_shape))
        out = REDdiff().run(gaussian.prior, batch, steps, RowNoise([(i,) for i in range(rows)]), lambda *_: None)
        error = float((out.mean(0) - posterior.mean[0]).square().mean().sqrt() / std)
        spread = float((out.var(0).mean().sqrt()) / std)
        assert (error, spread) == pytest.approx(wanted, rel=0.03, abs=0.003), (name, noise, steps)


# --- optimisers -------------------------------------------------------------------------------------------------------


def test_any_optimiser_keeps_rows_apart() -> None:
    """L-BFGS searches along lines of the whole tensor it is given: here that is one row."""
    problem, prior = measured("average", 0.05)[0], mixture()
    sampler = REDdiff(optimizer=partial(torch.optim.LBFGS, max_iter=5, line_search_fn="strong_wolfe"))
    both = run(sampler, prior, problem, 4)
    for i, key in enumerate(KEYS):
        alone = sampler.run(prior, problem, 4, RowNoise([key]), lambda done, total: None).flatten(1).numpy()
        assert relative_error(both[i : i + 1], alone) < 1e-10


def test_an_optimiser_with_a_line_search_minimises_each_step() -> None:
    """With A = 1 the minimum of 1/2 |y - mu|^2 + <g, mu> is y - g; the last level's is the result."""
    prior = mixture()
    y = prior.sample(1, torch.Generator().manual_seed(0))
    problem, eta, lam = Problem(y, Identity(SHAPE)), 0.3, 0.4
    factory = partial(torch.optim.LBFGS, max_iter=20, line_search_fn="strong_wolfe")
    sampler = REDdiff(lam=lam, optimizer=factory, schedule=Schedule(grid=(eta,)))
    out = sampler.run(prior, problem, 1, RowNoise(KEYS[:1]), lambda done, total: None)
    eps = RowNoise(KEYS[:1]).normal(SHAPE, y)
    expected = y - lam * (y - prior.denoise(y + eta * eps, torch.tensor([eta], dtype=torch.float64)))
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)
    assert torch.equal(problem.y, prior.sample(1, torch.Generator().manual_seed(0)))  # the measurement is left alone


# --- nonlinear measurements, starts -----------------------------------------------------------------------------------


def test_phase_retrieval_descends() -> None:
    """From noise, since there is no pseudo-inverse: the misfit falls below a tenth, and a zero start stays put."""
    a = Magnitude(SHAPE)
    prior = mixture()
    x = prior.sample(1, torch.Generator().manual_seed(5))
    problem = Problem.simulate(x, a)
    start = RowNoise(KEYS[:1]).normal(SHAPE, x) * prior.data_variance**0.5
    out = REDdiff().run(prior, problem, 200, RowNoise(KEYS[:1]), lambda done, total: None)
    assert float((a(out) - problem.y).norm()) < 0.1 * float((a(start) - problem.y).norm())
    zero = REDdiff(lam=0.0, start="zero").run(prior, problem, 20, RowNoise(KEYS[:1]), lambda done, total: None)
    assert float(zero.abs().max()) < 1e-3


# --- memory -----------------------------------------------------------------------------------------------------------


def peak(run: Any) -> int:
    """The most bytes of tensors that ``run`` holds at once, beyond those before it."""
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        run()
    held = highest = 0
    for event in profile.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            highest = max(highest, held)
    return highest


def test_memory_is_that_of_one_forward() -> None:
    """Of a network, in bytes: 3 steps or 24, and no more than a few signals above one evaluation of the denoiser."""
    net = UNet(UNetConfig(widths=(8, 8), blocks=(1, 1), embedding=8))
    prior = NetworkPrior(net).eval()
    shape = (3, 64, 64)
    y = torch.rand(1, *shape)
    problem, signal = Problem(y, Identity(shape)), y.numel() * 4

    def sample(steps: int) -> None:
        with torch.no_grad():
            REDdiff().run(prior, problem, steps, RowNoise([(0,)]), lambda done, total: None)

    def forward() -> None:
        with torch.no_grad():
            prior.denoise(y, torch.ones(1))

    forward()
    one, few, many = peak(forward), peak(partial(sample, 3)), peak(partial(sample, 24))
    assert one > 4 * signal
    assert few < one + 12 * signal
    assert many < few + signal


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lam", -1.0),
        ("lam", math.inf),
        ("weighting", "cubic"),
        ("order", "sideways"),
        ("parallel", 0),
        ("parallel", 1.5),
        ("lr", 0.0),
        ("optimizer", 3),
        ("optimizer", "rmsprop"),
        ("spread", -0.1),
        ("start", "gaussian"),
        ("data", math.nan),
        ("floor", 0.0),
        ("schedule", "karras"),
    ],
)
def test_settings_that_cannot_be_used(name: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        REDdiff(**{name: value})
