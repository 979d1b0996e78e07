"""Paths against their closed forms, and grids of noise levels against literal formulas."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kintsugi.errors import InvalidArgument
from kintsugi.paths import VE, VP, DiscreteVP, FlowMatching, Path, Rescaled, noise_levels

DDPM = DiscreteVP(tuple(np.linspace(1e-4, 0.02, 1000)))
FOUR_STEPS = DiscreteVP((0.1, 0.3, 0.2, 0.6))
PATHS = {"vp": VP(), "vp-flat": VP(2.0, 2.0), "ddpm": DDPM, "four": FOUR_STEPS, "flow": FlowMatching(), "ve": VE()}
PATHS["rescaled"] = Rescaled(VP(), 0.5)
TIMES = torch.cat((torch.tensor([1e-6, 1e-4, 1 / 1000, 1 / 4]), torch.linspace(0.005, 0.999, 173))).double()

every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


@every_path
def test_time_is_the_inverse_of_eta(path: Path) -> None:
    eta = path.eta(TIMES)
    assert eta.dtype == torch.float64
    torch.testing.assert_close(path.time(eta), TIMES, rtol=1e-12, atol=0)
    torch.testing.assert_close(path.eta(path.time(eta)), eta, rtol=1e-11, atol=0)


def test_a_rescaled_path_is_that_of_the_signal_in_other_units() -> None:
    """``x' = x / 2 + 1/2`` with noise ``eta'`` is ``x`` with noise ``2 eta'``."""
    path, t = Rescaled(VP(), 0.5), torch.tensor([0.1, 0.6], dtype=torch.float64)
    torch.testing.assert_close(path.eta(t), 2 * VP().eta(t))
    torch.testing.assert_close(path.alpha(t), VP().alpha(t))
    torch.testing.assert_close(path.alpha_of_eta(path.eta(t)), VP().alpha(t))
    assert path.eta_max == 2 * VP().eta_max


@every_path
def test_eta_rises_from_zero(path: Path) -> None:
    assert float(path.eta(0.0)) == 0
    assert bool((path.eta(TIMES.sort().values).diff() > 0).all())


@every_path
@given(t=st.floats(1e-6, 0.999))
def test_floats_and_tensors_agree(path: Path, t: float) -> None:
    eta = path.eta(t)
    assert eta.shape == ()
    torch.testing.assert_close(eta, path.eta(torch.tensor([0.5, t], dtype=torch.float64))[1], rtol=0, atol=0)
    torch.testing.assert_close(path.time(float(eta)), path.time(eta[None])[0], rtol=0, atol=0)
    assert float(path.time(eta)) == pytest.approx(t, rel=1e-12)


@every_path
def test_x_t_is_alpha_times_z(path: Path) -> None:
    """``x_t = alpha x_0 + sigma eps`` and ``z = x_0 + eta eps`` are one and the same."""
    alpha, sigma, eta = path.alpha(TIMES), path.sigma(TIMES), path.eta(TIMES)
    torch.testing.assert_close(sigma / alpha, eta, rtol=1e-12, atol=0)
    torch.testing.assert_close(path.alpha_of_eta(eta), alpha, rtol=1e-12, atol=0)


@pytest.mark.parametrize("path", [VP(), VP(2.0, 2.0), DDPM, FOUR_STEPS])
def test_variance_is_preserved(path: Path) -> None:
    total = path.alpha(TIMES) ** 2 + path.sigma(TIMES) ** 2
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-14, atol=0)


def test_linear_vp_at_known_times() -> None:
    path = VP(0.1, 20.0)
    # B(1) = 0.1 + 9.95 = 10.05 and B(1/2) = 0.05 + 2.4875.
    assert float(path.alpha(1.0)) == pytest.approx(math.exp(-10.05 / 2), rel=1e-12)
    assert path.eta_max == pytest.approx(math.sqrt(math.exp(10.05) - 1), rel=1e-12)
    assert path.eta_max == pytest.approx(152.167, abs=1e-3)
    assert float(path.alpha(0.5)) == pytest.approx(math.exp(-2.5375 / 2), rel=1e-12)


def test_linear_vp_close_to_clean_data() -> None:
    """B is about 0.1 t there, so eta is about sqrt(0.1 t), to a relative error of t times 50."""
    assert float(VP().eta(1e-9)) == pytest.approx(math.sqrt(0.1e-9), rel=1e-6)
    assert float(VP().time(1e-5)) == pytest.approx(1e-10 / 0.1, rel=1e-6)


def test_discrete_vp_is_the_cumulative_product_at_its_steps() -> None:
    betas = np.linspace(1e-4, 0.02, 1000)
    alphas = np.sqrt(np.cumprod(1 - betas))
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    torch.testing.assert_close(DDPM.alpha(t), torch.from_numpy(alphas), rtol=1e-10, atol=0)
    assert DDPM.eta_max == pytest.approx(math.sqrt(1 - alphas[-1] ** 2) / alphas[-1], rel=1e-10)


def test_discrete_vp_between_steps() -> None:
    alpha2 = np.cumprod([0.9, 0.7, 0.8, 0.4])
    eta = np.sqrt((1 - alpha2) / alpha2)
    assert float(FOUR_STEPS.eta(0.75)) == pytest.approx(eta[2], rel=1e-12)
    assert float(FOUR_STEPS.eta(0.625)) == pytest.approx(math.sqrt(eta[1] * eta[2]), rel=1e-12)  # half way in log
    assert float(FOUR_STEPS.eta(0.1)) == pytest.approx(0.4 * eta[0], rel=1e-12)  # linear below the first


@pytest.mark.parametrize("path", [VP(), DDPM])
def test_alpha_of_eta_variance_preserving(path: Path) -> None:
    assert float(path.alpha_of_eta(2.0)) == pytest.approx(1 / math.sqrt(5), rel=1e-14)


def test_flow_matching_closed_forms() -> None:
    path = FlowMatching()
    assert float(path.alpha_of_eta(3.0)) == 0.25
    assert float(path.eta(0.75)) == 3
    assert float(path.time(3.0)) == 0.75
    assert (float(path.alpha(0.3)), float(path.sigma(0.3))) == (0.7, 0.3)


def test_flow_matching_at_pure_noise() -> None:
    path = FlowMatching()
    assert float(path.eta(1.0)) == math.inf
    assert (float(path.alpha(1.0)), float(path.sigma(1.0))) == (0, 1)


def test_variance_exploding_closed_forms() -> None:
    path = VE(50.0)
    assert float(path.alpha(0.7)) == 1
    assert float(path.sigma(0.7)) == pytest.approx(35)
    assert float(path.alpha_of_eta(12.0)) == 1
    assert float(path.time(12.5)) == 0.25


@pytest.mark.parametrize("path", [VP(), DDPM, FlowMatching()], ids=["vp", "ddpm", "flow"])
def test_velocity_form_recovers_the_clean_signal(path: Path) -> None:
    """With the velocity of the path's own definition, ``k z - m v`` is ``x_0``."""
    x0, eps, t = 0.3, -1.7, 0.4
    alpha, sigma = float(path.alpha(t)), float(path.sigma(t))
    v = eps - x0 if isinstance(path, FlowMatching) else alpha * eps - sigma * x0
    eta = path.eta(t)
    k, m = path.velocity_form(eta)
    assert float(k * (x0 + eta * eps) - m * v) == pytest.approx(x0, rel=1e-12)


@pytest.mark.parametrize("eta_max", [0.1, 14.6, 80.0, 348.0])
def test_a_variance_exploding_path_is_paced_by_a_preserving_one_of_its_range(eta_max: float) -> None:
    pace = VE(eta_max).paced()
    assert isinstance(pace, VP)
    assert float(pace.eta(1.0)) == pytest.approx(eta_max, rel=1e-12)
    for path in (VP(), FlowMatching(), Rescaled(VP(), 2.0)):
        assert path.paced() is path
    other = Rescaled(VE(eta_max), 2.0).paced()
    assert isinstance(other, VP)
    assert float(other.eta(1.0)) == pytest.approx(eta_max / 2, rel=1e-12)


def test_paths_are_values() -> None:
    assert VP() == VP(0.1, 20.0) != VP(0.1, 19.0)
    assert DiscreteVP((0.1, 0.2)) == DiscreteVP((0.1, 0.2)) != DiscreteVP((0.1, 0.3))
    assert len({VP(), VP(), FlowMatching(), VE(), DDPM}) == 4


@pytest.mark.parametrize("betas", [(), (0.1,), (0.1, 0.0), (0.1, 1.0), (0.1, float("nan"))])
def test_betas_that_make_no_path(betas: tuple[float, ...]) -> None:
    with pytest.raises(InvalidArgument, match="betas: expected"):
        DiscreteVP(betas)


@pytest.mark.parametrize("bounds", [(0.0, 20.0), (2.0, 1.0), (float("nan"), 1.0)])
def test_beta_bounds_that_make_no_path(bounds: tuple[float, float]) -> None:
    with pytest.raises(InvalidArgument, match="beta_min: expected"):
        VP(*bounds)


def karras(steps: int, start: float, end: float, rho: float) -> list[float]:
    """Equation 5 of Karras et al. (2022), letter by letter."""
    return [
        (start ** (1 / rho) + i / (steps - 1) * (end ** (1 / rho) - start ** (1 / rho))) ** rho for i in range(steps)
    ] + [0.0]


@pytest.mark.parametrize("rho", [1.0, 3.0, 7.0])
@pytest.mark.parametrize("steps", [2, 5, 18])
def test_karras_grid_is_the_papers(steps: int, rho: float) -> None:
    assert noise_levels(steps, 80.0, 0.002, rho=rho) == pytest.approx(karras(steps, 80.0, 0.002, rho), rel=1e-9)


def test_karras_grid_with_default_rho() -> None:
    assert noise_levels(5, 2.0) == pytest.approx(karras(5, 2.0, 0.01, 7.0), rel=1e-12)


def test_log_grid_has_equal_ratios() -> None:
    levels = noise_levels(6, 5.0, 0.02, grid="log")[:-1]
    ratios = [b / a for a, b in pairwise(levels)]
    assert ratios == pytest.approx([(0.02 / 5) ** (1 / 5)] * 5, rel=1e-12)


@every_path
def test_time_grid_has_equal_differences_in_t(path: Path) -> None:
    levels = noise_levels(7, 6.0, 0.05, grid="time", path=path)[:-1]
    times = path.time(torch.tensor(levels, dtype=torch.float64))
    expected = np.linspace(float(path.time(6.0)), float(path.time(0.05)), 7)
    assert times.tolist() == pytest.approx(expected, rel=1e-10)


@given(
    steps=st.integers(2, 40),
    end=st.floats(1e-3, 1.0),
    ratio=st.floats(1.5, 1e4),
    grid=st.sampled_from(["karras", "log", "time"]),
)
def test_grids_fall_from_start_to_end_to_zero(steps: int, end: float, ratio: float, grid: str) -> None:
    start = end * ratio
    levels = noise_levels(steps, start, end, grid=grid, path=FlowMatching())  # type: ignore[arg-type]
    assert len(levels) == steps + 1
    assert levels[0] == start
    assert levels[-2] == pytest.approx(end, rel=1e-6)
    assert levels[-1] == 0
    assert all(a > b for a, b in pairwise(levels))


@pytest.mark.parametrize("grid", ["karras", "log", "time"])
def test_one_step_goes_straight_to_clean_data(grid: str) -> None:
    assert noise_levels(1, 3.0, grid=grid, path=VP()) == [3.0, 0.0]  # type: ignore[arg-type]


def test_own_grid_is_kept_and_ends_at_zero() -> None:
    assert noise_levels(0, 0, grid=[3.0, 1.0]) == [3.0, 1.0, 0.0]
    assert noise_levels(0, 0, grid=(3, 0.5, 0)) == [3.0, 0.5, 0.0]
    assert noise_levels(0, 0, grid=np.array([2.0, 1.0])) == [2.0, 1.0, 0.0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "grid", [[], [0.0], [1.0, 2.0], [1.0, 1.0], [2.0, -1.0], [float("inf"), 1.0], [2.0, float("nan"), 1.0]]
)
def test_own_grids_that_are_none(grid: list[float]) -> None:
    with pytest.raises(InvalidArgument, match="grid: expected finite noise levels in falling order"):
        noise_levels(3, 1.0, grid=grid)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("steps", {"steps": 0, "start": 1.0}),
        ("steps", {"steps": -3, "start": 1.0}),
        ("steps", {"steps": 2.5, "start": 1.0}),
        ("start", {"steps": 3, "start": 0.0}),
        ("start", {"steps": 3, "start": float("inf")}),
        ("start", {"steps": 3, "start": float("nan")}),
        ("end", {"steps": 3, "start": 1.0, "end": 1.0}),
        ("end", {"steps": 3, "start": 1.0, "end": 0.0}),
        ("end", {"steps": 3, "start": 0.005}),
        ("path", {"steps": 3, "start": 1.0, "grid": "time"}),
        ("grid", {"steps": 3, "start": 1.0, "grid": "cosine"}),
        ("grid", {"steps": 1, "start": 1.0, "grid": "cosine"}),
    ],
)
def test_bad_arguments_are_named(name: str, arguments: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        noise_levels(**arguments)  # type: ignore[arg-type]
    assert caught.value.name == name
