"""PnP-Flow against a transcription of its algorithm, and against what it does, exactly, on a Gaussian prior; and the
gradient steps that it shares with FlowDPS and FlowChef."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kintsugi.errors import InvalidArgument
from kintsugi.guidance.descent import Descent, squared_norm
from kintsugi.noise import RowNoise
from kintsugi.operators import Bicubic, Magnitude
from kintsugi.operators.nonlinear import Nonlinear
from kintsugi.paths import VP, FlowMatching, Path
from kintsugi.priors import Prior
from kintsugi.priors.oracles import dense_matrix
from kintsugi.problem import Problem
from kintsugi.samplers import PnPFlow, Schedule
from toy import KEEP, KEYS, SHAPE, Gaussian, exact_moments, mixture, operator, relative_error, run

STEPS = 6


def denoiser(prior: Prior, x_t: np.ndarray, alpha: float, sigma: float) -> np.ndarray:
    z = torch.from_numpy(x_t / alpha).view(-1, *SHAPE)
    return prior.denoise(z, torch.full((len(z),), sigma / alpha, dtype=torch.float64)).flatten(1).numpy()


def measured(name: str, noise: float) -> tuple[Problem, np.ndarray]:
    a, matrix = operator(name)
    x = mixture().sample(1, torch.Generator().manual_seed(5))
    return Problem.simulate(x, a, noise), matrix


def transcription(prior: Prior, problem: Problem, a: np.ndarray, gamma: float, power: float, draws: int) -> np.ndarray:
    """Algorithm 3 in x_t and the path's alpha_t and sigma_t; F is |A x - y|^2 / (2 sigma_y^2), as printed."""
    noise, like = RowNoise(KEYS), torch.zeros((), dtype=torch.float64)

    def white() -> np.ndarray:
        return noise.normal(SHAPE, like).flatten(1).numpy()

    y = problem.batch.flatten(1).numpy()
    white()  # the start is drawn with noise of level 0
    x = np.repeat(y @ np.linalg.pinv(a).T, len(KEYS), 0)
    sigma_y = problem.noise or 1.0  # cancels
    for t in np.linspace(0.8, 0.8 / STEPS, STEPS):
        gamma_t = gamma / np.linalg.norm(a, 2) ** 2 * sigma_y**2 * t**power
        z = x - gamma_t * (x @ a.T - y) @ a / sigma_y**2
        alpha, sigma = float(prior.path.alpha(float(t))), float(prior.path.sigma(float(t)))
        x = np.mean([denoiser(prior, alpha * z + sigma * white(), alpha, sigma) for _ in range(draws)], axis=0)
    return x


@pytest.mark.parametrize("path", [VP(), FlowMatching()], ids=["vp", "flow"])
@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("name", ["mask", "average", "blur"])
def test_algorithm_3(name: str, noise: float, path: Path) -> None:
    prior = mixture().with_path(VP())
    problem, a = measured(name, noise)
    schedule = Schedule(eta=None, tau=0.8, end=None, grid="time")
    for gamma, power, draws in ((1.0, 0.3, 1), (0.6, 0.8, 3)):
        sampler = PnPFlow(gamma=gamma, alpha=power, averages=draws, schedule=schedule, path=path)
        ours = run(sampler, prior, problem, STEPS)
        assert relative_error(ours, transcription(prior.with_path(path), problem, a, gamma, power, draws)) < 1e-6


def test_path_none_is_the_priors_own_and_the_default_is_straight() -> None:
    problem, _ = measured("mask", 0.1)
    prior = mixture().with_path(VP())
    on = {path: run(PnPFlow(path=path), prior, problem, 3) for path in (None, VP(), FlowMatching())}
    assert np.array_equal(on[None], on[VP()])
    assert np.array_equal(run(PnPFlow(), prior, problem, 3), on[FlowMatching()])
    assert relative_error(on[None], on[FlowMatching()]) > 0.05


def test_a_nonlinear_operator_goes_through_its_derivative() -> None:
    """A nonlinear operator whose function is linear: the same steps, up to the |A|^2 of power iteration."""
    problem, _ = measured("mask", 0.1)
    weights = KEEP.double()
    twin = Problem(problem.y, Nonlinear(lambda x: x * weights.to(x), SHAPE), 0.1)
    start = Schedule(start="zero", eta=None, tau=0.8, end=None, grid="time")
    ours, theirs = (run(PnPFlow(schedule=start), mixture(), p, 5) for p in (twin, problem))
    assert relative_error(ours, theirs) < 1e-9


# --- the gradient steps ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mask", "average", "blur"])
def test_the_largest_eigenvalue(name: str) -> None:
    a, matrix = operator(name)
    found = squared_norm(a, torch.zeros(3, 1, dtype=torch.float64), 30)
    assert found.tolist() == pytest.approx([np.linalg.norm(matrix, 2) ** 2] * 3, rel=1e-9)


def test_the_largest_eigenvalue_of_a_dense_spectrum_is_close() -> None:
    a = Bicubic((1, 32, 32), 4)
    exact = float(torch.linalg.matrix_norm(dense_matrix(a), 2) ** 2)
    assert float(squared_norm(a, torch.zeros(1, dtype=torch.float64), 30)) == pytest.approx(exact, rel=0.05)


def test_one_step_on_a_flat_operator_is_a_projection() -> None:
    for name in ("mask", "average"):
        problem, _ = measured(name, 0.1)
        a = problem.operator
        x = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        expected = x + a.pinv(problem.y - a(x))
        torch.testing.assert_close(Descent(problem)(x, 1.0), expected, rtol=0, atol=1e-12)


def test_each_row_descends_by_itself_on_a_nonlinear_operator() -> None:
    shape = (1, 5, 6)
    a = Magnitude(shape)
    x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = a(x.flip(0) * torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64).view(3, 1, 1, 1))
    moved = Descent(Problem(y, a))(x, 0.5, 4)
    for i in range(3):
        alone = Descent(Problem(y[i : i + 1], a))(x[i : i + 1], 0.5, 4)
        torch.testing.assert_close(moved[i : i + 1], alone, rtol=1e-12, atol=1e-12)
    misfit = [(a(v) - y).flatten(1).norm(dim=1) for v in (x, moved)]
    assert bool((misfit[1] <= 0.75 * misfit[0]).all())


# --- on a Gaussian prior ---------------------------------------------------------------------------------------------

PROBLEMS = {"average": 0.0, "mask": 0.0, "blur": 0.1}
# (error of the mean, spread) over the posterior's standard deviation, for each problem
EXPECTED: dict[int, list[tuple[float, float]]] = {
    5: [(0.225, 0.613), (0.715, 0.762), (0.879, 0.788)],
    20: [(0.089, 0.666), (0.398, 0.733), (0.590, 0.759)],
}


@pytest.fixture(scope="module")
def gaussian() -> Gaussian:
    return Gaussian()


def measure(gaussian: Gaussian, sampler: PnPFlow, name: str, steps: int, scale: float = 1.0) -> tuple[float, float]:
    problem, posterior = gaussian.problem(name, PROBLEMS[name])
    mean, covariance = exact_moments(sampler, gaussian.prior, problem, steps, scale)
    std = posterior.covariance.diagonal().mean().sqrt()
    error = (mean - posterior.mean.flatten()).square().mean().sqrt()
    return float(error / std), float(covariance.diagonal().mean().sqrt() / std)


FIXED = PnPFlow(alpha=0.3, schedule=Schedule(eta=None, tau=0.8, end=None, grid="time"))


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("steps", EXPECTED)
def test_distance_to_the_posterior(gaussian: Gaussian, steps: int, name: str) -> None:
    """Close to one restored image: what spread there is comes from the last draws of noise."""
    wanted = EXPECTED[steps][list(PROBLEMS).index(name)]
    assert measure(gaussian, FIXED, name, steps) == pytest.approx(wanted, rel=0.02, abs=0.002)
    for wrong in (0.5, 2.0) if steps == 5 else ():
        assert measure(gaussian, FIXED, name, steps, wrong) != pytest.approx(wanted, rel=0.02, abs=0.002)


def test_averages_divide_the_variance_of_the_last_draws(gaussian: Gaussian) -> None:
    one, four = (measure(gaussian, PnPFlow(alpha=0.3, averages=k), "mask", 5)[1] for k in (1, 4))
    assert four == pytest.approx(one / 2, rel=0.01)


@pytest.mark.parametrize(
    "settings",
    [
        {"gamma": 0.0},
        {"gamma": 2.0},
        {"gamma": "x"},
        {"alpha": -0.1},
        {"alpha": float("nan")},
        {"averages": 0},
        {"averages": 1.5},
        {"averages": float("inf")},
        {"schedule": "karras"},
        {"path": "vp"},
    ],
)
def test_bad_settings(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument, match=rf"^{next(iter(settings))}: "):
        PnPFlow(**settings)  # type: ignore[arg-type]
