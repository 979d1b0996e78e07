"""DDIM and lambda-DDIM: the transcribed updates, the exact moments of a Gaussian prior, the order; and the settings of
Kintsugi and DDNM."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.integrate
import torch

from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise
from kintsugi.paths import VE, VP, FlowMatching, Path
from kintsugi.priors import Prior
from kintsugi.problem import Problem
from kintsugi.samplers import DDIM, Kintsugi, Schedule
from toy import KEYS, SHAPE, Gaussian, exact_moments, mixture, operator, order, relative_error, run, white

STEPS = 6


def measured() -> Problem:
    a, _ = operator("mask")
    return Problem.simulate(mixture().sample(1, torch.Generator().manual_seed(5)), a)


def noise_estimate(prior: Prior, x_t: np.ndarray, alpha: float, sigma: float) -> np.ndarray:
    z = torch.from_numpy(x_t / alpha).view(-1, *SHAPE)
    d = prior.denoise(z, torch.full((len(z),), sigma / alpha, dtype=torch.float64)).flatten(1).numpy()
    return np.asarray((x_t - alpha * d) / sigma)


@pytest.mark.parametrize("path", [VP(), FlowMatching()], ids=["vp", "flow"])
@pytest.mark.parametrize("churn", [0.0, 0.6, 1.0])
def test_equation_12_of_ddim(path: Path, churn: float) -> None:
    """In x_t, with alpha_bar = alpha_t^2 / (alpha_t^2 + sigma_t^2); on the flow after a change of scale."""
    prior = mixture().with_path(path)
    noise, like = RowNoise(KEYS), torch.zeros((), dtype=torch.float64)
    start = float(path.time(path.eta_max))
    times = np.append(np.linspace(start, start / STEPS, STEPS), 0.0)
    bars = [1 / (1 + float(path.eta(float(t))) ** 2) for t in times]
    bars[0] = 1 / (1 + path.eta_max**2)
    x = np.sqrt(1 - bars[0]) * noise.normal(SHAPE, like).flatten(1).numpy()
    for bar, before in itertools.pairwise(bars):
        eps = noise_estimate(prior, x, np.sqrt(bar), np.sqrt(1 - bar))
        sigma = churn * np.sqrt((1 - before) / (1 - bar)) * np.sqrt(1 - bar / before)
        mean = np.sqrt(before) * (x - np.sqrt(1 - bar) * eps) / np.sqrt(bar)
        mean = mean + np.sqrt(1 - before - sigma**2) * eps
        draw = churn > 0 and before < 1
        x = mean + (sigma * noise.normal(SHAPE, like).flatten(1).numpy() if draw else 0.0)
    assert relative_error(run(DDIM(churn=churn), prior, measured(), STEPS), x) < 1e-6


@pytest.mark.parametrize("lam", [-0.4, 0.0, 0.7])
def test_lambda_ddim(lam: float) -> None:
    """The conjugate variable ``A_t x_t`` with A_t = exp(lam t + B(t)/2), Phi by quadrature of its definition."""
    path = VP()
    prior = mixture().with_path(path)
    times = np.append(np.linspace(1.0, 1 / STEPS, STEPS), 0.0)

    def beta(t: float) -> float:
        return path.beta_min + (path.beta_max - path.beta_min) * t

    def transform(t: float) -> float:
        return float(np.exp(lam * t + 0.5 * (path.beta_min * t + 0.5 * (path.beta_max - path.beta_min) * t**2)))

    def phi_rate(u: float) -> float:  # t = u^2, since 1/sigma is singular at 0
        return 2 * u * 0.5 * transform(u**2) * beta(u**2) / max(float(path.sigma(u**2)), 1e-300)

    x = float(path.sigma(1.0)) * white()
    for t, s in itertools.pairwise(times):
        eps = noise_estimate(prior, x, float(path.alpha(float(t))), float(path.sigma(float(t))))
        phi, _ = scipy.integrate.quad(phi_rate, np.sqrt(s), np.sqrt(t), epsabs=0, epsrel=1e-11)
        bar = transform(t) * x
        x = (bar - lam * bar * (t - s) - phi * eps) / transform(s)
    assert relative_error(run(DDIM(lam=lam), prior, measured(), STEPS), x) < 1e-6


def test_what_is_held_changes_the_steps_but_velocity_and_noise_agree_on_the_straight_path() -> None:
    """Euler's method with the velocity of the straight path is DDIM."""
    prior = mixture().with_path(FlowMatching())
    noise, velocity, data = (run(DDIM(frozen=f), prior, measured(), STEPS) for f in ("noise", "velocity", "data"))
    assert relative_error(velocity, noise) < 1e-9
    assert relative_error(data, noise) < 1e-9  # z_c = (c/a) z + (1 - c/a) D, whichever is held
    on_vp = mixture().with_path(VP())
    assert (
        relative_error(run(DDIM(frozen="velocity"), on_vp, measured(), STEPS), run(DDIM(), on_vp, measured(), STEPS))
        > 1e-3
    )


# --- on a Gaussian prior ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gaussian() -> Gaussian:
    return Gaussian()


def covariance(gaussian: Gaussian, sampler: DDIM, steps: int) -> torch.Tensor:
    problem, _ = gaussian.problem("average", 0.0)
    mean, out = exact_moments(sampler, gaussian.prior, problem, steps)
    assert float(mean.abs().max()) < 1e-9  # the prior's mean: the measurement is not looked at
    return out


def errors(gaussian: Gaussian, sampler: DDIM, counts: tuple[int, ...]) -> dict[int, float]:
    """Distance of the samples' covariance to the prior's, relative."""
    exact = gaussian.dense.covariance
    return {n: float((covariance(gaussian, sampler, n) - exact).norm() / exact.norm()) for n in counts}


@pytest.mark.parametrize("lam", [0.0, 0.5, -0.5])
def test_converges_to_the_prior_at_first_order(gaussian: Gaussian, lam: float) -> None:
    found = errors(gaussian, DDIM(lam=lam), (50, 100, 200))
    assert order(found) == pytest.approx(1, abs=0.12)
    assert found[200] < 0.04


def test_ancestral_sampling_converges_too(gaussian: Gaussian) -> None:
    found = errors(gaussian, DDIM(churn=1.0), (20, 40))
    assert order(found) == pytest.approx(0.78, abs=0.1)  # on its way to 1
    assert found[40] < 0.2


# Mean variance over the prior's, levels from 80 (Karras).
SPREAD: dict[str, dict[int, float]] = {"ode": {5: 0.3019, 20: 0.7695}, "sde": {5: 0.2091, 20: 0.6092}}


@pytest.mark.parametrize("name", SPREAD)
@pytest.mark.parametrize("steps", [5, 20])
def test_spread_in_few_steps(gaussian: Gaussian, name: str, steps: int) -> None:
    schedule = Schedule(start="zero", eta=80.0, end=0.01)
    sampler = {"ode": DDIM(schedule=schedule), "sde": DDIM(churn=1.0, schedule=schedule)}[name]
    ratio = float(covariance(gaussian, sampler, steps).trace() / gaussian.dense.covariance.trace())
    assert ratio == pytest.approx(SPREAD[name][steps], rel=0.02)


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"churn": 1.5},
        {"churn": "x"},
        {"lam": float("nan")},
        {"churn": 0.5, "lam": 0.1},
        {"churn": 0.5, "frozen": "data"},
        {"frozen": "score"},
        {"schedule": "karras"},
        {"path": "vp"},
    ],
)
def test_bad_settings(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument, match=rf"^{next(iter(settings))}: "):
        DDIM(**settings)  # type: ignore[arg-type]


def test_no_velocity_on_a_path_without_one() -> None:
    with pytest.raises(InvalidArgument, match=r"^path: "):
        DDIM(frozen="velocity", path=VE()).check(mixture(), measured())


@pytest.mark.parametrize(
    "settings",
    [
        {"texture": "x"},
        {"texture": True},
        {"texture": float("nan")},
        {"texture": 1.1},
        {"temperature": "hot"},
        {"temperature": 2},
        {"end": float("inf")},
        {"end": 0.0},
        {"eta": float("inf")},
        {"eta": 0.1, "end": 0.2},
        {"guidance": 3},
    ],
)
def test_bad_settings_of_kintsugi(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument, match=rf"^{next(iter(settings))}: "):
        Kintsugi(**settings)  # type: ignore[arg-type]
