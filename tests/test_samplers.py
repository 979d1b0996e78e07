"""Every sampler on the Gaussian oracle, where what it draws is known without Monte Carlo, and the true posterior too.

On a Gaussian prior these samplers are affine maps of the noise they draw, so their mean and covariance follow exactly
from their response to zero noise and to single impulses (``toy.exact_moments``). Two numbers say how far that is from
the posterior: the error of the mean in posterior standard deviations, and the spread of the samples over the true one.
The settings are spelt out, so that a change of defaults does not move the numbers; they are what each method does, good
or bad, and hold to 2 %. Defaults are in ``test_sampler_defaults.py``.
"""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

from kintsugi.guidance import DDNM as DDNMGuidance
from kintsugi.guidance import PiGDM as PiGDMGuidance
from kintsugi.guidance import SpectralCovariance
from kintsugi.guidance.base import Guidance
from kintsugi.noise import RowNoise
from kintsugi.operators.base import Accuracy
from kintsugi.priors import Prior
from kintsugi.problem import Problem
from kintsugi.samplers import DDNM, CPiGDM, CPiGFM, PiGDM, PiGFM, Sampler, Schedule
from kintsugi.samplers import cpigdm as conjugate
from kintsugi.samplers.base import Report, integrate
from kintsugi.solvers import FirstOrder, Multistep
from toy import Gaussian, exact_moments

PROBLEMS = {
    "average": ("average", 0.0),
    "noisy bicubic": ("bicubic", 0.1),
    "mask": ("mask", 0.0),
    "noisy mask": ("mask", 0.1),
    "noisy blur": ("blur", 0.1),
}
FROM_PINV = Schedule(start="pinv", eta=2.0, end=0.02, grid="karras")
FROM_NOISE = Schedule(start="zero", eta=20.0, end=0.01, grid="karras")
SAMPLERS: dict[str, Sampler] = {
    "ddnm": DDNM(solver=FirstOrder(churn=1.0), schedule=FROM_PINV),
    "ddnm ode": DDNM(solver=FirstOrder(), schedule=FROM_NOISE),
    "ddnm 2m": DDNM(solver=Multistep(), schedule=FROM_NOISE),
    "ddnm hard": DDNM(hard=True, solver=FirstOrder(), schedule=FROM_PINV),
    "pigdm": PiGDM(w=8.0, solver=FirstOrder(), schedule=Schedule(tau=0.6, end=None, grid="time")),
    "pigfm": PiGFM(w=16.0, solver=FirstOrder(), schedule=Schedule(tau=0.75, end=None, grid="time")),
    "cpigdm": CPiGDM(w=15.0, tau=0.6, start="pinv"),
    "cpigdm, lambda": CPiGDM(w=15.0, tau=0.6, lam=-0.5, start="pinv"),
    "cpigdm, no vjp": CPiGDM(w=15.0, tau=0.6, jacobian=False, start="pinv"),
    "cpigfm": CPiGFM(w=30.0, tau=0.75, start="pinv"),
}

# (sampler, steps): for each problem, (error of the mean, spread)
EXPECTED: dict[tuple[str, int], list[tuple[float, float]]] = {
    ("ddnm", 5): [(0.192, 0.657), (0.119, 0.660), (0.639, 0.758), (0.690, 0.751), (0.181, 0.628)],
    ("ddnm", 20): [(0.150, 0.902), (0.083, 0.906), (0.530, 0.994), (0.575, 0.988), (0.162, 0.885)],
    ("ddnm ode", 5): [(0.257, 0.628), (0.230, 0.636), (0.763, 0.769), (0.824, 0.759), (0.126, 0.591)],
    ("ddnm ode", 20): [(0.215, 0.921), (0.190, 0.930), (0.671, 1.067), (0.727, 1.059), (0.101, 0.892)],
    ("ddnm 2m", 5): [(0.168, 1.037), (0.152, 1.045), (0.628, 1.255), (0.681, 1.239), (0.095, 0.953)],
    ("ddnm 2m", 20): [(0.203, 1.041), (0.179, 1.050), (0.641, 1.189), (0.695, 1.181), (0.094, 1.022)],
    ("ddnm hard", 5): [(0.227, 0.769), (0.136, 0.725), (0.700, 0.884), (0.749, 0.866), (3.494, 0.468)],
    ("ddnm hard", 20): [(0.212, 0.927), (0.135, 0.882), (0.660, 1.036), (0.706, 1.015), (3.494, 0.582)],
    ("pigdm", 5): [(0.029, 0.676), (0.044, 0.666), (0.389, 0.726), (0.438, 0.722), (0.180, 0.601)],
    ("pigdm", 20): [(0.039, 0.904), (0.042, 0.900), (0.405, 1.003), (0.463, 1.001), (0.245, 0.942)],
    ("pigfm", 5): [(0.039, 0.780), (0.081, 0.772), (0.374, 0.840), (0.423, 0.839), (0.291, 0.783)],
    ("pigfm", 20): [(0.046, 0.927), (0.085, 0.920), (0.364, 1.008), (0.415, 1.009), (0.354, 0.975)],
    ("cpigdm", 5): [(0.163, 0.675), (0.068, 0.682), (0.297, 0.710), (0.362, 0.713), (0.308, 0.672)],
    ("cpigdm", 20): [(0.119, 0.897), (0.120, 0.882), (0.202, 0.930), (0.238, 0.929), (0.187, 0.896)],
    ("cpigdm, lambda", 5): [(0.166, 0.749), (0.092, 0.748), (0.319, 0.782), (0.386, 0.782), (0.344, 0.690)],
    ("cpigdm, lambda", 20): [(0.119, 0.914), (0.109, 0.897), (0.208, 0.941), (0.246, 0.939), (0.184, 0.891)],
    ("cpigdm, no vjp", 5): [(0.131, 0.691), (0.214, 0.652), (0.501, 0.800), (0.529, 0.787), (0.987, 0.520)],
    ("cpigdm, no vjp", 20): [(0.103, 0.909), (0.295, 0.869), (0.375, 0.960), (0.465, 0.944), (1.631, 0.743)],
    ("cpigfm", 5): [(0.072, 0.777), (0.163, 0.761), (0.207, 0.801), (0.243, 0.803), (0.302, 0.771)],
    ("cpigfm", 20): [(0.054, 0.922), (0.187, 0.900), (0.152, 0.934), (0.173, 0.932), (0.430, 0.907)],
}


@pytest.fixture(scope="module")
def gaussian() -> Gaussian:
    return Gaussian()


def measure(gaussian: Gaussian, sampler: Sampler, problem: str, steps: int, scale: float = 1.0) -> tuple[float, float]:
    """Error of the mean, and spread, both over the posterior's standard deviation."""
    stated, posterior = gaussian.problem(*PROBLEMS[problem])
    mean, covariance = exact_moments(sampler, gaussian.prior, stated, steps, scale)
    std = posterior.covariance.diagonal().mean().sqrt()
    error = (mean - posterior.mean.flatten()).square().mean().sqrt()
    return float(error / std), float(covariance.diagonal().mean().sqrt() / std)


def close(pair: tuple[float, float], wanted: tuple[float, float]) -> bool:
    return pair == pytest.approx(wanted, rel=0.02, abs=0.002)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(("name", "steps"), EXPECTED)
def test_distance_to_the_posterior(gaussian: Gaussian, name: str, steps: int, problem: str) -> None:
    wanted = EXPECTED[name, steps][list(PROBLEMS).index(problem)]
    assert measure(gaussian, SAMPLERS[name], problem, steps) == pytest.approx(wanted, rel=0.02, abs=0.002)


# --- a factor of two breaks it ----------------------------------------------------------------------------------------


def as_recorded(gaussian: Gaussian, name: str, scale: float = 1.0) -> list[bool]:
    return [
        close(measure(gaussian, SAMPLERS[name], problem, 5, scale), wanted)
        for problem, wanted in zip(PROBLEMS, EXPECTED[name, 5], strict=True)
    ]


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_wrong_noise_would_show(gaussian: Gaussian, name: str, scale: float) -> None:
    assert not any(as_recorded(gaussian, name, scale))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("ddnm", DDNMGuidance), ("ddnm hard", DDNMGuidance), ("pigdm", PiGDMGuidance), ("pigfm", PiGDMGuidance)],
)
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_wrong_guidance_would_show(
    gaussian: Gaussian, monkeypatch: pytest.MonkeyPatch, name: str, kind: type, factor: float
) -> None:
    right = kind.__call__

    def wrong(self: Guidance, prior: Prior, problem: Problem, z: Tensor, eta: float, state: Any) -> tuple[Tensor, Any]:
        d = prior.denoise(z, z.new_full((len(z),), eta))
        guided, state = right(self, prior, problem, z, eta, state)
        return d + factor * (guided - d), state

    monkeypatch.setattr(kind, "__call__", wrong)
    assert not any(as_recorded(gaussian, name))


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name.startswith("cpig")])
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_wrong_conjugate_guidance_would_show(
    gaussian: Gaussian, monkeypatch: pytest.MonkeyPatch, name: str, factor: float
) -> None:
    right = conjugate.conjugate_coefficients
    monkeypatch.setattr(conjugate, "conjugate_coefficients", lambda *a, w, **k: right(*a, w=factor * w, **k))
    assert as_recorded(gaussian, name).count(False) >= 3  # without noise and VJP, a large w is all the same


@pytest.mark.parametrize("name", ["cpigdm", "cpigdm, lambda", "cpigfm"])
@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0])
def test_wrong_vjp_would_show(gaussian: Gaussian, monkeypatch: pytest.MonkeyPatch, name: str, factor: float) -> None:
    right = conjugate.frozen_quantity

    def wrong(*args: Any) -> tuple[Tensor, Any]:
        f, vjp = right(*args)
        return f, lambda u, jtu: factor * vjp(u, jtu)

    monkeypatch.setattr(conjugate, "frozen_quantity", wrong)
    assert as_recorded(gaussian, name).count(False) >= 4  # of five; one may agree by chance


# --- what the design says of few steps --------------------------------------------------------------------------------


def test_the_stiffness_that_conjugate_integrators_remove(gaussian: Gaussian) -> None:
    """The same start and levels, three steps from time 0.8: one diverges, the other does not."""
    grid = Schedule(start="zero", eta=None, tau=0.8, end=None, grid="time")
    plain = measure(gaussian, PiGDM(w=float("inf"), schedule=grid), "average", 3)
    conjugated = measure(gaussian, CPiGDM(w=15.0, tau=0.8, start="zero"), "average", 3)
    assert plain[0] > 5
    assert conjugated[0] < 0.25


def test_second_order_restores_the_spread(gaussian: Gaussian) -> None:
    """DESIGN.md, section 6: first order shrinks it to about 0.6 in five steps, at the same cost."""
    for problem in ("average", "noisy bicubic", "noisy blur"):
        assert measure(gaussian, SAMPLERS["ddnm ode"], problem, 5)[1] < 0.7
        assert measure(gaussian, SAMPLERS["ddnm 2m"], problem, 5)[1] == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_right_covariance_gives_the_posterior(gaussian: Gaussian, problem: str) -> None:
    """With the exact C_eta the guidance is the exact posterior denoiser; what is left is the solver's error."""

    class Exact(Sampler):
        name = "exact"

        def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
            guidance = SpectralCovariance(Accuracy(1e-10, 1000))
            schedule = Schedule(start="zero", eta=80.0, end=0.005, grid="karras")
            return integrate(prior, problem, guidance, Multistep(), schedule, steps, noise, report)

    error, spread = measure(gaussian, Exact(), problem, 40)
    assert error < 0.01
    assert spread == pytest.approx(1, abs=0.02)
