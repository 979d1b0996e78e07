"""Families with parameters, their evidence, and what ``estimate`` finds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from kintsugi import InvalidArgument, Problem, data_path, estimate
from kintsugi.blind import Family, FreeKernel, Gain, GaussianBlur, MotionBlur, NoiseOnly, Parameter
from kintsugi.blind.evidence import Evidence, Freedom, Point, minimise, search
from kintsugi.guidance.spectral import photo_spectrum
from kintsugi.images.reading import read_picture
from kintsugi.operators import (
    Blur,
    Identity,
    StationaryCovariance,
    dense_matrix,
    gaussian_kernel,
    motion_kernel,
)
from kintsugi.priors import GaussianPrior, Prior, StationaryPrior

SMALL = (3, 6, 5)
PHOTO = StationaryCovariance(photo_spectrum)


def draw(covariance: StationaryCovariance, shape: tuple[int, ...], seed: int) -> Tensor:
    white = torch.randn(1, *shape, generator=torch.Generator().manual_seed(1000 + seed), dtype=torch.float64)
    return covariance.root(white)


def photograph() -> Tensor:
    """A real one, (1, 3, 128, 192)."""
    return read_picture(data_path("lighthouse")).pixels[None]


def kernel(seed: int, size: int = 3) -> Tensor:
    weights = torch.rand(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 3
    return weights / weights.sum()


FAMILIES: list[tuple[Callable[[str], Family], dict[str, Any]]] = [
    (lambda b: GaussianBlur((3, 12, 11), (0.3, 1.2), b), {"width": 0.9}),  # type: ignore[arg-type]
    (lambda b: MotionBlur((3, 12, 11), (1.5, 5.0), b), {"length": 3.7, "angle": 25.0}),  # type: ignore[arg-type]
    (lambda b: FreeKernel((3, 12, 11), 3, b), {"kernel": kernel(0)}),  # type: ignore[arg-type]
    (lambda b: Gain((3, 12, 11)), {"gain": 0.7}),
    (lambda b: NoiseOnly((3, 12, 11)), {}),
    (
        lambda b: Gain((3, 12, 11)) @ GaussianBlur((3, 12, 11), (0.3, 1.2), b),  # type: ignore[arg-type]
        {"gain": 1.3, "width": 0.8},
    ),
]


@pytest.mark.parametrize("boundary", ["circular", "unknown"])
@pytest.mark.parametrize(("make", "values"), FAMILIES)
def test_measure_is_the_operator_and_its_gradient_is_that_of_finite_differences(
    make: Callable[[str], Family], values: dict[str, Any], boundary: str
) -> None:
    family = make(boundary)
    operator = family.operator(values)
    x = torch.randn(2, *operator.in_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(family.measure(values, x), operator(x), rtol=0, atol=1e-12)
    free = family.free(values).requires_grad_(True)
    for name, value in family.values(free).items():
        torch.testing.assert_close(
            value.detach(), torch.as_tensor(values[name], dtype=torch.float64), atol=1e-5, rtol=0
        )
    if len(free):
        assert torch.autograd.gradcheck(lambda u: family.measure(family.values(u), x[:1]), (free,), atol=1e-6)


def test_members_are_the_operators_by_name() -> None:
    shape = (3, 24, 30)
    x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gaussian = GaussianBlur(shape, (0.3, 2.0), "circular").operator({"width": 1.3})
    # The family's kernel goes on where gaussian_kernel is cut, at 4 widths.
    torch.testing.assert_close(gaussian(x), Blur(shape, gaussian_kernel(1.3))(x), atol=2e-4, rtol=0)
    motion = MotionBlur(shape, (1.5, 9.0), "circular").operator({"length": 7.0, "angle": 40.0})
    # Another number of points along the line.
    torch.testing.assert_close(motion(x), Blur(shape, motion_kernel(7.0, 40.0))(x), atol=2e-2, rtol=0)
    free = FreeKernel(shape, 3, "circular").operator({"kernel": kernel(1)})
    torch.testing.assert_close(free(x), Blur(shape, kernel(1))(x), atol=1e-12, rtol=0)
    assert NoiseOnly(shape).operator({}).scalar == 1.0
    torch.testing.assert_close(Gain(shape).operator({"gain": 0.5})(x), 0.5 * x)


def test_forms_of_parameters() -> None:
    angle = Parameter("angle", 0, 180, "angle")
    assert angle.report(angle.value(angle.free(190.0))) == pytest.approx(10.0)
    for value in (0.5, 1.0, 3.9):
        scale = Parameter("width", 0.3, 4.0)
        assert float(scale.value(scale.free(value))) == pytest.approx(value, rel=1e-9)


def dense_cost(
    family: Family, values: dict[str, Any], sigma: float, r: Tensor, spectrum: StationaryCovariance
) -> float:
    """``-log N(r; 0, A C A^T + sigma^2)`` up to a constant, by dense algebra."""
    a = dense_matrix(family.operator(values))
    c = GaussianPrior.stationary(family.shape, spectrum).covariance
    total = a @ c @ a.T + sigma**2 * torch.eye(len(a), dtype=torch.float64)
    flat = r.flatten().double()
    return float(0.5 * (torch.linalg.slogdet(total).logabsdet + flat @ torch.linalg.solve(total, flat)))


@pytest.mark.parametrize("seed", [4, 5])
def test_evidence_is_the_dense_gaussian_likelihood(seed: int) -> None:
    family, values = FreeKernel(SMALL, 3, "circular"), {"kernel": kernel(seed)}
    y = torch.randn(1, *SMALL, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean = torch.randn(1, *SMALL, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sigma = torch.tensor(0.3, dtype=torch.float64)
    none = torch.zeros(0, dtype=torch.float64)
    exact = dense_cost(family, values, 0.3, y, PHOTO)
    assert float(Evidence(family, y, PHOTO)(values, sigma, none)) == pytest.approx(exact, rel=1e-9)
    exact = dense_cost(family, values, 0.3, y - family.operator(values)(mean), PHOTO)
    assert float(Evidence(family, y, PHOTO, mean)(values, sigma, none)) == pytest.approx(exact, rel=1e-9)
    # Rows add up; several means for a row are averaged.
    both = Evidence(family, torch.cat((y, y)), PHOTO, torch.cat((mean, -mean, mean, -mean)))(values, sigma, none)
    parts = [dense_cost(family, values, 0.3, y - family.operator(values)(m), PHOTO) for m in (mean, -mean)]
    assert float(both) == pytest.approx(2 * sum(parts) / 2, rel=1e-9)


@pytest.mark.parametrize("with_mean", [False, True])
def test_gradient_of_the_evidence(with_mean: bool) -> None:
    family = MotionBlur((3, 16, 15), (1.5, 5.0))
    canvas = family.operator({"length": 3.0, "angle": 30.0}).in_shape
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(1, 3, 16, 15, generator=generator, dtype=torch.float64)
    mean = torch.randn(2, *canvas, generator=generator, dtype=torch.float64) if with_mean else None
    evidence = Evidence(family, y, PHOTO, mean, Freedom())
    free = family.free({"length": 3.3, "angle": 33.0}).requires_grad_(True)
    sigma = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    shape = 0.1 * torch.randn(evidence.nuisances, generator=generator, dtype=torch.float64)

    def cost(free: Tensor, sigma: Tensor, shape: Tensor) -> Tensor:
        return evidence(family.values(free), sigma, shape)

    assert torch.autograd.gradcheck(cost, (free, sigma, shape.requires_grad_(True)), atol=1e-5, rtol=1e-5)


def test_marginal_likelihood_recovers_width_and_noise_and_does_not_collapse() -> None:
    shape, width, noise = (3, 64, 64), 1.5, 0.05
    family = GaussianBlur(shape, (0.3, 4.0), "circular")
    for seed in range(3):
        x = draw(PHOTO, shape, seed)
        y = Problem.simulate(x, family.operator({"width": width}), noise, seed=seed).y
        found = estimate(y, family, StationaryPrior(PHOTO))
        # Four standard deviations by the Fisher information of 64 x 64 x 3 samples, 0.7 % and 0.7 %.
        assert found.parameters["width"] == pytest.approx(width, rel=0.03)
        assert found.noise == pytest.approx(noise, rel=0.03)
        evidence = Evidence(family, y, PHOTO)
        none = torch.zeros(0, dtype=torch.float64)
        sharp = minimise(evidence, Point(family.free({"width": 0.31}), math.log(noise), none), 1, False, hold=True)
        assert sharp.cost > found.history[-1].cost + 100  # "no blur" is worse by a factor of e^100


def test_em_finds_the_maximum_of_the_exact_marginal_likelihood() -> None:
    """On a Gaussian prior the two agree up to Monte Carlo and the few steps of the sampler; from either side."""
    shape = (3, 48, 48)
    family = GaussianBlur(shape, (0.3, 4.0), "circular")
    y = Problem.simulate(draw(PHOTO, shape, 5), family.operator({"width": 1.4}), 0.05, seed=5).y
    prior = StationaryPrior(PHOTO)
    best = search(Evidence(family, y, PHOTO), None, 0.1)
    for width in (0.8, 2.2):
        em = estimate(y, family, prior, start={"width": width, "noise": 0.08}, rounds=12, draws=4, steps=10)
        assert em.parameters["width"] == pytest.approx(float(family.values(best.free)["width"]), rel=0.02)
        assert em.noise == pytest.approx(math.exp(best.log_sigma), rel=0.02)


def test_width_of_a_blurred_photograph() -> None:
    x = photograph()
    shape = tuple(x.shape[1:])
    problem = Problem.simulate(x, Blur(shape, gaussian_kernel(1.8), "unknown"), 0.02)
    found = estimate(problem.y, GaussianBlur(shape), noise=None)
    assert found.parameters["width"] == pytest.approx(1.8, rel=0.12)
    assert found.noise == pytest.approx(0.02, rel=0.03)
    blurred = (problem.y - x).square().mean()
    assert (found.restoration.mean - x).square().mean() < 0.75 * blurred
    assert found.restoration.samples.shape == (1, 1, *shape)


def test_motion_of_a_blurred_photograph() -> None:
    x = photograph()
    shape = tuple(x.shape[1:])
    problem = Problem.simulate(x, Blur(shape, motion_kernel(9.0, 30.0), "unknown"), 0.01)
    found = estimate(problem.y, MotionBlur(shape), noise=0.01)
    assert found.parameters["length"] == pytest.approx(9.0, abs=1.0)
    assert found.parameters["angle"] == pytest.approx(30.0, abs=6.0)
    assert found.noise == 0.01


@pytest.mark.parametrize("noise", [0.08, 0.25])
def test_noise_of_a_photograph(noise: float) -> None:
    x = photograph()
    problem = Problem.simulate(x, Identity(tuple(x.shape[1:])), noise)
    found = estimate(problem.y, NoiseOnly(tuple(x.shape[1:])))
    assert found.noise == pytest.approx(noise, rel=0.06)
    assert found.parameters == {}


def test_noise_is_the_maximum_of_the_exact_likelihood() -> None:
    """Tweedie's formulas are exact on a Gaussian: the fixed point is the maximum likelihood of the noise level."""
    shape = (3, 32, 32)
    y = Problem.simulate(draw(PHOTO, shape, 2), Identity(shape), 0.2, seed=2).y
    evidence = Evidence(FreeKernel(shape, 1, "circular"), y, PHOTO)
    levels = torch.linspace(0.15, 0.25, 1001, dtype=torch.float64)
    none = torch.zeros(0, dtype=torch.float64)
    costs = [float(evidence({"kernel": torch.ones(1, 1)}, s, none)) for s in levels]
    best = float(levels[int(torch.tensor(costs).argmin())])
    found = estimate(y, NoiseOnly(shape), StationaryPrior(PHOTO))
    # The trace of J is from one random direction: 1 / sqrt(3072) of the samples.
    assert found.noise == pytest.approx(best, rel=0.03)


def test_a_free_kernel_and_its_direction() -> None:
    """A prior that knows the signal well tells a kernel from its mirror image, which spectra alone cannot."""
    shape = (1, 16, 16)
    true = torch.tensor([[0.0, 0.1, 0.5], [0.0, 0.1, 0.2], [0.0, 0.0, 0.1]], dtype=torch.float64)
    picture = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prior = GaussianPrior(shape, 1e-4 * torch.eye(256, dtype=torch.float64), picture)
    family = FreeKernel(shape, 3, "circular")
    x = prior.sample(1, torch.Generator().manual_seed(1))
    y = Problem.simulate(x, family.operator({"kernel": true}), 0.01).y
    found = estimate(y, family, prior, noise=0.01)
    # Weighted evenly, 256 samples known to 0.01 would give 0.001 a weight. The prior has no spectrum of its own;
    # that of photographs puts the weight on the few frequencies where the kernel passes little: ten times as much.
    torch.testing.assert_close(found.parameters["kernel"], true, atol=0.015, rtol=0)


def test_a_batch_shares_its_parameters_and_a_seed_repeats_itself() -> None:
    shape = (3, 32, 32)
    family = GaussianBlur(shape, (0.3, 3.0), "circular")
    x = torch.cat([draw(PHOTO, shape, seed) for seed in range(4)])
    y = Problem.simulate(x, family.operator({"width": 1.2}), 0.05).y
    first, again = (
        estimate(y, family, StationaryPrior(PHOTO), rounds=1, draws=1, samples=2, seed=3, steps=2) for _ in range(2)
    )
    assert first.parameters == again.parameters
    assert first.noise == again.noise
    assert torch.equal(first.restoration.samples, again.restoration.samples)
    assert first.restoration.samples.shape == (4, 2, *shape)
    assert first.parameters["width"] == pytest.approx(1.2, rel=0.05)
    assert [step.stage for step in first.history] == ["marginal", "em"]


def test_a_large_picture_is_fitted_on_its_most_detailed_part() -> None:
    """The window is where the texture is; the operator and the result are for the whole."""
    from kintsugi.blind.estimate import WINDOW, _detailed

    shape = (3, WINDOW + 40, 2 * WINDOW)
    y = torch.zeros(1, *shape)
    y[..., 20:, 100 : 100 + WINDOW] = torch.randn(3, WINDOW + 20, WINDOW, generator=torch.Generator().manual_seed(0))
    family, part = _detailed(MotionBlur(shape), y)
    assert family.shape == (3, WINDOW, WINDOW)
    assert family.operator({"length": 3.0, "angle": 0.0}).out_shape == (3, WINDOW, WINDOW)
    assert float(part.std()) > 0.97


class Forbidden(Prior):
    """A network that must not run."""

    shape = (3, None, None)

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        raise AssertionError("the network ran")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"family": "gaussian"}, "family"),
        ({"y": torch.zeros(3, 9, 9)}, "y"),
        ({"y": torch.full((3, 32, 32), math.nan)}, "y"),
        ({"y": torch.zeros(3, 32, 32, dtype=torch.int64)}, "y"),
        ({"noise": 0.0}, "noise"),
        ({"noise": "auto"}, "noise"),
        ({"draws": 0}, "draws"),
        ({"rounds": -1}, "rounds"),
        ({"seed": 0.5}, "seed"),
        ({"start": {"width": 1.0}}, "start"),
        ({"start": {"width": 9.0, "noise": 0.1}}, "width"),
        ({"start": {"width": 1.0, "noise": -1.0}}, "start"),
        ({"prior": 3}, "prior"),
        ({"sampler": "none"}, "sampler"),
        ({"steps": 0}, "steps"),
        ({"samples": 0}, "samples"),
    ],
)
def test_wrong_arguments(change: dict[str, Any], name: str) -> None:
    arguments: dict[str, Any] = {
        "y": torch.zeros(3, 32, 32),
        "family": GaussianBlur((3, 32, 32), (0.3, 2.0)),
        "prior": Forbidden(),
    } | change
    with pytest.raises(InvalidArgument) as caught:
        estimate(**arguments)
    assert caught.value.name == name


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: GaussianBlur((3, 32, 32), (2.0, 1.0)), "widths"),
        (lambda: GaussianBlur((3, 16, 16), (0.3, 4.0), "circular"), "shape"),
        (lambda: GaussianBlur((3, 32, 32), boundary="mirror"), "boundary"),  # type: ignore[arg-type]
        (lambda: MotionBlur((3, 32, 32), (0.5, 4.0)), "lengths"),
        (lambda: MotionBlur((3, 32), (1.5, 4.0)), "shape"),
        (lambda: FreeKernel((3, 32, 32), 4), "size"),
        (lambda: Gain((3, 32, 32), (0.0, 2.0)), "gains"),
        (lambda: Gain((3, 32, 32)) @ Gain((3, 32, 32)), "family"),
        (lambda: Gain((3, 32, 32)) @ NoiseOnly((3, 8, 8)), "family"),
        (lambda: Gain((3, 32, 32)).operator({}), "parameters"),
        (lambda: Gain((3, 32, 32)).operator({"gain": 100.0}), "gain"),
        (lambda: FreeKernel((3, 32, 32), 3).operator({"kernel": torch.ones(3, 3)}), "kernel"),
    ],
)
def test_wrong_families(make: Callable[[], object], name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        make()
    assert caught.value.name == name
