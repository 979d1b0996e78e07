"""The samplers whose defaults are tuned, with these defaults, through ``restore``, against exact posteriors.

The other methods have the settings of their authors; each is held to its own theory in ``test_method_*.py``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import kintsugi
from kintsugi.noise import RowNoise
from kintsugi.operators import Identity, Mask
from kintsugi.priors import GaussianPrior, MixturePrior
from kintsugi.problem import Problem
from kintsugi.samplers import available_samplers, make_sampler
from toy import KEEP, SHAPE, Gaussian

SAMPLES = 256
PROBLEMS = {
    "average": ("average", 0.0),
    "noisy bicubic": ("bicubic", 0.1),
    "mask": ("mask", 0.0),
    "noisy mask": ("mask", 0.1),
    "noisy blur": ("blur", 0.1),
}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "kintsugi, likeliest": ("kintsugi", {"texture": 0.0}),
    "kintsugi, textured": ("kintsugi", {"texture": 1.0}),
    **{name: (name, {}) for name in ("cpigdm", "cpigfm", "pigdm", "pigfm", "ddnm")},
}
# (method, steps): the largest error of the mean in any problem, and the interval of the spread in all of them, both in
# posterior standard deviations; loose enough for settings that are tuned on photographs. An interval ends below twice
# its beginning, so that a factor of two in the spread leaves it.
BOUNDS: dict[tuple[str, int], tuple[float, float, float]] = {
    ("kintsugi, likeliest", 5): (0.05, 0.22, 0.42),
    ("kintsugi, likeliest", 20): (0.05, 0.28, 0.54),
    ("kintsugi, textured", 5): (0.05, 0.9, 1.12),
    ("kintsugi, textured", 20): (0.05, 0.93, 1.07),
    ("cpigdm", 5): (0.6, 0.55, 0.9),
    ("cpigdm", 20): (0.7, 0.7, 1.1),
    ("cpigfm", 5): (0.7, 0.65, 1.0),
    ("cpigfm", 20): (1.1, 0.7, 1.1),
    ("pigdm", 5): (0.7, 0.55, 1.0),
    ("pigdm", 20): (0.7, 0.7, 1.2),
    ("pigfm", 5): (0.7, 0.65, 1.1),
    ("pigfm", 20): (0.9, 0.7, 1.2),
    ("ddnm", 5): (0.7, 0.55, 0.95),
    ("ddnm", 20): (0.6, 0.8, 1.1),
}


@pytest.fixture(scope="module")
def gaussian() -> Gaussian:
    return Gaussian()


def measure(gaussian: Gaussian, method: str, problem: str, steps: int) -> tuple[float, float]:
    """Error of the mean, less what the finite number of samples adds to it, and spread, over the posterior's."""
    stated, posterior = gaussian.problem(*PROBLEMS[problem])
    name, settings = METHODS[method]
    result = kintsugi.restore(
        stated, gaussian.prior, name, steps=steps, samples=SAMPLES, batch=SAMPLES, tile=None, **settings
    )
    variance = float(result.std.square().mean())
    true = float(posterior.covariance.diagonal().mean())
    error = float((result.mean - posterior.mean).square().mean()) - variance / SAMPLES
    return (max(error, 0.0) / true) ** 0.5, (variance / true) ** 0.5


def test_every_sampler_is_held_to_bounds() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_method_*.py"))
    elsewhere = {name for name, cls in available_samplers().items() if re.search(rf"\b{cls.__name__}\b", tests)}
    assert {name for name, _ in METHODS.values()} | elsewhere == set(available_samplers())
    assert set(BOUNDS) == {(method, steps) for method in METHODS for steps in (5, 20)}
    assert all(high < 2 * low for _, low, high in BOUNDS.values())


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(("method", "steps"), BOUNDS)
def test_defaults_are_near_the_posterior(gaussian: Gaussian, method: str, steps: int, problem: str) -> None:
    largest, low, high = BOUNDS[method, steps]
    error, spread = measure(gaussian, method, problem, steps)
    assert error < largest
    assert low < spread < high


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_wrong_noise_would_show(
    gaussian: Gaussian, monkeypatch: pytest.MonkeyPatch, method: str, factor: float
) -> None:
    right = RowNoise.normal
    monkeypatch.setattr(RowNoise, "normal", lambda self, shape, like: factor * right(self, shape, like))
    _, low, high = BOUNDS[method, 5]
    assert not low < measure(gaussian, method, "average", 5)[1] < high


# --- a posterior with two modes ---------------------------------------------------------------------------------------


def two_modes(apart: float) -> tuple[MixturePrior, torch.Tensor]:
    """Two narrow Gaussians at -m and m, with weights 0.3 and 0.7. Where KEEP measures, m is ``apart`` or its negative,
    and 0.6 or its negative elsewhere."""
    sign = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64).sign()
    m = torch.where(KEEP, apart, 0.6) * sign
    parts = [GaussianPrior(SHAPE, 0.02 * torch.eye(16, dtype=torch.float64), s * m) for s in (-1, 1)]
    return MixturePrior(torch.tensor([0.3, 0.7]), parts), m


def nearer_to(m: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
    """Which samples are nearer to m than to -m where nothing was measured."""
    return samples[:, 0][:, ~KEEP] @ m[0][~KEEP] > 0


@pytest.mark.parametrize("method", [m for m in METHODS if m != "kintsugi, likeliest"])
def test_both_modes_are_drawn(method: str) -> None:
    prior, m = two_modes(apart=0.0)
    problem = Problem(torch.zeros(1, *SHAPE, dtype=torch.float64), Mask(KEEP, SHAPE), 0.2)
    exact = prior.posterior(problem)
    assert exact.weights[0].tolist() == pytest.approx([0.3, 0.7])
    name, settings = METHODS[method]
    result = kintsugi.restore(problem, prior, name, steps=100, samples=400, batch=400, **settings)
    upper = nearer_to(m, result.samples[0])
    assert float(upper.double().mean()) == pytest.approx(0.7, abs=0.13)
    spread = (result.samples[0][upper, 0][:, ~KEEP] - m[0][~KEEP]).std()
    assert float(spread) == pytest.approx(0.02**0.5, rel=0.12)


@pytest.mark.parametrize("method", METHODS)
def test_a_clear_measurement_decides_against_the_prior(method: str) -> None:
    """The prior says m in 0.7 of all cases, and y says -m. Every guidance is too weak at high noise levels, where the
    modes part; less than half of the prior's 0.7 may be left."""
    prior, m = two_modes(apart=0.6)
    problem = Problem(Mask(KEEP, SHAPE)(-m[None]), Mask(KEEP, SHAPE), 0.05)
    assert float(prior.posterior(problem).weights[0, 0]) > 0.999
    name, settings = METHODS[method]
    result = kintsugi.restore(problem, prior, name, steps=20, samples=200, batch=200, **settings)
    assert float(nearer_to(m, result.samples[0]).double().mean()) < 0.3


# --- measurements without noise ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", ["average", "bicubic", "mask"])
@pytest.mark.parametrize(
    ("name", "settings", "tolerance"),
    [
        ("ddnm", {}, 1e-12),
        ("ddnm", {"hard": True}, 1e-12),
        ("kintsugi", {"texture": 0.0}, 1e-5),
        ("kintsugi", {"texture": 1.0}, 1e-5),
        ("cpigdm", {"w": 1e4, "jacobian": False}, 1e-6),
    ],
)
def test_measured_without_noise_is_kept(
    gaussian: Gaussian, operator: str, name: str, settings: dict[str, Any], tolerance: float
) -> None:
    problem, _ = gaussian.problem(operator, 0.0)
    result = kintsugi.restore(problem, gaussian.prior, name, steps=5, samples=2, **settings)
    measured = problem.operator(result.samples[0])
    assert float((measured - problem.y).abs().max()) < tolerance
    assert float(result.std.mean()) > 0.01  # and the rest is not


def test_hard_ignores_the_noise(gaussian: Gaussian) -> None:
    problem, _ = gaussian.problem("average", 0.1)
    result = kintsugi.restore(problem, gaussian.prior, "ddnm", steps=5, hard=True)
    torch.testing.assert_close(problem.operator(result.samples[0]), problem.y, rtol=0, atol=1e-12)
    soft = kintsugi.restore(problem, gaussian.prior, "ddnm", steps=5)
    assert float((problem.operator(soft.samples[0]) - problem.y).abs().mean()) > 0.02


@pytest.mark.parametrize("steps", [3, 5, 20])
@pytest.mark.parametrize("sigma", [0.05, 0.3, 1.0])
def test_denoising_is_the_posterior_mean_at_any_number_of_steps(sigma: float, steps: int) -> None:
    """z, made of the measurement, must not count as another one: from levels below its noise it did, and errors were of
    0.2 to 0.3 posterior standard deviations.
    """
    root = torch.randn(24, 24, generator=torch.Generator().manual_seed(3), dtype=torch.float64) / 24**0.5
    exact = GaussianPrior((1, 4, 6), 0.25 * root @ root.T + 1e-4 * torch.eye(24, dtype=torch.float64))
    x = exact.sample(64, torch.Generator().manual_seed(0)).view(64, 1, 4, 6)
    problem = Problem.simulate(x, Identity((1, 4, 6)), sigma, seed=1)
    posterior = exact.posterior(problem)
    out = kintsugi.restore(problem, exact, steps=steps).samples[:, 0]
    spread = posterior.covariance.diagonal().mean().sqrt()
    error = (out.flatten(1) - posterior.mean.view(64, 24)).square().mean().sqrt() / spread
    assert float(error) < 0.18


def test_the_last_level_of_denoising_falls_with_the_texture() -> None:
    """From three times the noise that is seen to that of other problems, as a geometric mean."""
    stated = Problem(torch.zeros(1, 1, 4, 4), 2.0 * Identity((1, 4, 4)), 0.4)  # seen with a noise of 0.2
    ends = [make_sampler("kintsugi", texture=t).resolved(stated, 5)["end"] for t in (0.0, 0.5, 1.0)]
    assert ends == pytest.approx([0.6, (0.6 * 0.04) ** 0.5, 0.04])
    assert make_sampler("kintsugi").resolved(stated, 5)["eta"] == pytest.approx(1.6)
