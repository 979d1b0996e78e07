"""D-Flow against autograd through the whole chain, and against its closed form on a Gaussian prior."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import kintsugi
from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise
from kintsugi.operators import Identity, Magnitude
from kintsugi.priors import GaussianPrior, Prior
from kintsugi.priors.network import NetworkPrior
from kintsugi.priors.unet import UNet, UNetConfig
from kintsugi.problem import Problem
from kintsugi.samplers import DFlow
from kintsugi.samplers.dflow import Flow
from toy import KEYS, SHAPE, ImpulseNoise, N, mixture, operator, relative_error, run

START = 200 / 201  # the flow begins at eta = 200


def velocity(prior: Prior, x: Tensor, t: float) -> Tensor:
    """u(x, t) = E[x_1 - x_0 | x_t = x] for x_t = (1 - t) x_0 + t x_1, x_1 the noise; their time runs the other way."""
    if t == 0:
        return -x
    d = prior.denoise(x / (1 - t), torch.full((len(x),), t / (1 - t), dtype=torch.float64))
    return (x - (1 - t) * d) / t - d


def ode(prior: Prior, x: Tensor, times: list[float], midpoint: list[bool]) -> Tensor:
    for t, s, middle in zip(times, times[1:], midpoint, strict=False):
        h = s - t
        u = velocity(prior, x, t)
        x = x + h * (velocity(prior, x + h / 2 * u, t + h / 2) if middle else u)
    return x


def grid(steps: int, solver: str) -> tuple[list[float], list[bool]]:
    count = steps if solver == "euler" else (steps + 1) // 2
    return list(np.linspace(START, 0, count + 1)), [solver == "midpoint" and 2 * i + 2 <= steps for i in range(count)]


def transcription(
    prior: Prior, problem: Problem, steps: int, solver: str, iterations: int, blend: float, lam: float
) -> np.ndarray:
    """Algorithm 1 with autograd through the unrolled ODE and one call of PyTorch's L-BFGS a row."""
    times, midpoint = grid(steps, solver)
    rows = []
    for key in KEYS:
        eps = RowNoise([key]).normal(SHAPE, problem.y)
        back = ode(prior, problem.operator.pinv(problem.batch), times[::-1], midpoint[::-1]) / START
        n = (math.sqrt(blend) * back + math.sqrt(1 - blend) * eps).requires_grad_(True)
        optimizer = torch.optim.LBFGS([n], max_iter=iterations, line_search_fn="strong_wolfe")

        def closure(n: Tensor = n, optimizer: Any = optimizer) -> Tensor:
            optimizer.zero_grad()
            x = ode(prior, START * n, times, midpoint)
            chi = 0.5 * n.square().sum() - (n.numel() - 1) * n.square().sum().sqrt().log()
            loss = 0.5 * (problem.y - problem.operator(x)).square().sum() + lam * chi
            loss.backward()
            return loss

        optimizer.step(closure)
        rows.append(ode(prior, START * n.detach(), times, midpoint))
    return torch.cat(rows).flatten(1).numpy()


def measured(name: str) -> tuple[Problem, np.ndarray]:
    a, matrix = operator(name)
    x = mixture().sample(1, torch.Generator().manual_seed(5))
    return Problem.simulate(x, a), matrix


@pytest.mark.parametrize(("steps", "solver"), [(1, "midpoint"), (3, "euler"), (4, "midpoint"), (5, "midpoint")])
@pytest.mark.parametrize("name", ["mask", "average", "blur"])
@pytest.mark.parametrize("lam", [0.0, 0.01])
def test_algorithm_1(name: str, steps: int, solver: Any, lam: float) -> None:
    prior, problem = mixture(), measured(name)[0]
    ours = run(DFlow(iterations=6, blend=0.2, lam=lam, solver=solver), prior, problem, steps)
    assert relative_error(ours, transcription(prior, problem, steps, solver, 6, 0.2, lam)) < 1e-6


@pytest.mark.parametrize(("steps", "solver"), [(3, "euler"), (4, "midpoint"), (5, "midpoint")])
def test_the_gradient_of_the_whole_chain(steps: int, solver: str) -> None:
    """Against autograd through the unrolled ODE, on a mixture, whose Jacobian changes along the way."""
    prior = mixture()
    generator = torch.Generator().manual_seed(1)
    n, g = (torch.randn(2, *SHAPE, generator=generator, dtype=torch.float64) for _ in range(2))
    flow = Flow(prior, START, steps, solver == "midpoint")
    x, seen = flow.solve(n)
    assert len(seen) == steps
    leaf = n.clone().requires_grad_(True)
    out = ode(prior, START * leaf, *grid(steps, solver))
    torch.testing.assert_close(x, out.detach(), rtol=0, atol=1e-12)
    (expected,) = torch.autograd.grad(out, leaf, g)
    torch.testing.assert_close(flow.pull_back(g, seen), expected, rtol=0, atol=1e-11)


# --- on a Gaussian prior ----------------------------------------------------------------------------------------------


def moments(sampler: DFlow, prior: Prior, problem: Problem, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of an affine map of one noise."""
    noise = ImpulseNoise(N, 1)
    rows = problem.with_rows(problem.batch.expand(1 + N, *problem.operator.out_shape))
    out = sampler.run(prior, rows, steps, noise, lambda done, total: None).flatten(1)
    response = (out[1:] - out[0]).numpy()
    return out[0].numpy(), response.T @ response


def flow_map(part: GaussianPrior, steps: int, solver: str) -> tuple[np.ndarray, np.ndarray]:
    """``x(n) = M n + c``, from images of the zero noise and of unit vectors."""
    points = torch.cat((torch.zeros(1, N), torch.eye(N))).double().view(-1, *SHAPE)
    out = ode(part, START * points, *grid(steps, solver)).flatten(1).numpy()
    return (out[1:] - out[0]).T, out[0]


@pytest.mark.parametrize("blend", [0.0, 0.3])
@pytest.mark.parametrize("name", ["mask", "average"])
@pytest.mark.parametrize("steps", [5, 12])
def test_the_nearest_noise_that_fits(name: str, steps: int, blend: float) -> None:
    """x = x(n_0) + M (A M)^+ (y - A x(n_0)): the mean and covariance of what it draws, exactly."""
    part = mixture().components[1]
    problem, a = measured(name)
    m, c = flow_map(part, steps, "midpoint")
    y = problem.y.flatten().numpy()
    gain = m @ np.linalg.pinv(a @ m)
    times, midpoint = grid(steps, "midpoint")
    back = ode(part, problem.operator.pinv(problem.y), times[::-1], midpoint[::-1]).flatten().numpy() / START
    first = m @ (math.sqrt(blend) * back) + c
    mean = first + gain @ (y - a @ first)
    free = math.sqrt(1 - blend) * (np.eye(N) - gain @ a) @ m
    ours = moments(DFlow(iterations=200, blend=blend), part, problem, steps)
    assert relative_error(ours[0], mean) < 1e-3  # where PyTorch's L-BFGS stops
    assert relative_error(ours[1], free @ free.T) < 2e-3


def test_without_a_blend_it_draws_from_the_posterior() -> None:
    """Matheron's rule, up to the ODE's error; a blend of a half halves the variance."""
    part, problem = mixture().components[1], measured("mask")[0]
    exact = part.posterior(problem)
    mean, covariance = moments(DFlow(iterations=200, blend=0.0), part, problem, 20)
    assert relative_error(mean, exact.mean.flatten().numpy()) < 0.004
    assert relative_error(covariance, exact.covariance.numpy()) < 0.004
    _, covariance = moments(DFlow(iterations=200, blend=0.5), part, problem, 10)
    assert np.trace(covariance) / float(exact.covariance.trace()) == pytest.approx(0.5, rel=0.03)


# --- noise, nonlinear measurements, cost ------------------------------------------------------------------------------


def test_each_row_stops_where_its_noise_is_fitted() -> None:
    prior = mixture()
    x = prior.sample(3, torch.Generator().manual_seed(5))
    problem = Problem.simulate(x, operator("average")[0], 0.1)
    tight, loose = (kintsugi.restore(Problem(problem.y, problem.operator, s), prior, "dflow") for s in (0.0, 0.1))
    misfits = (problem.operator(loose.samples[:, 0]) - problem.y).flatten(1).norm(dim=1)
    assert float(misfits.max()) <= 0.1 * 2
    assert float(misfits.mean()) > 0.02
    assert loose.cost.vjps < 0.5 * tight.cost.vjps
    assert float((problem.operator(tight.samples[:, 0]) - problem.y).norm()) < 1e-3


def test_rows_share_the_evaluations_of_the_network() -> None:
    """As many calls as the slowest row takes alone, and none for rows that have stopped; the samples are the same."""
    prior = mixture()
    x = prior.sample(3, torch.Generator().manual_seed(5))
    problem = Problem.simulate(x, operator("average")[0], 0.02)
    sizes: list[int] = []

    class Counting(type(prior)):  # type: ignore[misc]
        def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
            sizes.append(len(z))
            return Tensor(super().denoise(z, eta))

    counting = Counting(prior.weights, prior.components)
    keys = [(7, 0, 0), (7, 0, 1), (7, 0, 2)]

    def sample(rows: list[int]) -> tuple[Tensor, list[int]]:
        sizes.clear()
        part = problem.with_rows(problem.y[rows])
        with torch.no_grad():
            out = DFlow().run(counting, part, 4, RowNoise([keys[i] for i in rows]), lambda done, total: None)
        return out, list(sizes)

    together, batched = sample([0, 1, 2])
    alone = [sample([i]) for i in range(3)]
    torch.testing.assert_close(together, torch.cat([out for out, _ in alone]), rtol=1e-9, atol=1e-9)
    assert len(batched) == max(len(calls) for _, calls in alone)
    assert sum(batched) == sum(len(calls) for _, calls in alone)


def test_phase_retrieval_fits() -> None:
    """There is no pseudo-inverse to begin with: the first noise is noise."""
    prior, a = mixture(), Magnitude(SHAPE)
    x = prior.sample(1, torch.Generator().manual_seed(5))
    problem = Problem.simulate(x, a, 0.02)
    out = DFlow(iterations=60).run(prior, problem, 6, RowNoise(KEYS[:1]), lambda done, total: None)
    assert float((a(out) - problem.y).norm()) < 0.1 * float(problem.y.norm())


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


def test_memory_is_that_of_one_evaluation_and_an_image_a_step() -> None:
    net = UNet(UNetConfig(widths=(8, 8), blocks=(1, 1), embedding=8))
    prior = NetworkPrior(net).eval()
    shape = (3, 64, 64)
    y = torch.rand(1, *shape)
    problem, signal = Problem(y, Identity(shape)), y.numel() * 4

    def sample(steps: int) -> None:
        with torch.no_grad():
            DFlow(iterations=1).run(prior, problem, steps, RowNoise([(0,)]), lambda done, total: None)

    def once() -> None:
        d, vjp = prior.denoise_vjp(y, torch.ones(1))
        vjp(d)

    once()
    one, few, many = peak(once), peak(partial(sample, 4)), peak(partial(sample, 24))
    assert one > 15 * signal
    assert few < one + 24 * signal  # most of these are the optimiser's
    assert many < few + 21 * signal  # an image for each of the twenty further evaluations


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iterations", 0),
        ("iterations", 1.5),
        ("blend", -0.1),
        ("blend", 1.1),
        ("lam", math.inf),
        ("solver", "heun"),
    ],
)
def test_settings_that_cannot_be_used(name: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        DFlow(**{name: value})
