"""Operators without structure against their dense matrices, closed forms and independent implementations."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.sparse.linalg import LinearOperator as SciPyOperator
from torch import Tensor

from kintsugi.errors import InvalidArgument, NotConverged
from kintsugi.operators import (
    MRI,
    Accuracy,
    Blur,
    Coils,
    Crop,
    FanBeamCT,
    FromDeepinv,
    FromFunction,
    FromSciPy,
    LinearOperator,
    MultiCoilMRI,
    ParallelBeamCT,
    Unstructured,
    VaryingBlur,
    birdcage_maps,
    check_adjoint,
    check_gram,
    dense_matrix,
    gaussian_kernel,
    motion_kernel,
    radial_trajectory,
    real_view,
    spiral_trajectory,
)
from kintsugi.operators import NUFFT as NUFFTOperator
from kintsugi.optional import optional
from singular import Dense, Function, error

TIGHT = Accuracy(1e-8, 500)


def NUFFT(*args: object, **settings: object) -> LinearOperator:
    pytest.importorskip("finufft")
    return NUFFTOperator(*args, **settings)  # type: ignore[arg-type]


def parallel(*args: object, **settings: object) -> ParallelBeamCT:
    pytest.importorskip("astra")
    return ParallelBeamCT(*args, **settings)  # type: ignore[arg-type]


def fan(*args: object, **settings: object) -> FanBeamCT:
    pytest.importorskip("astra")
    return FanBeamCT(*args, **settings)  # type: ignore[arg-type]


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def signal(operator: LinearOperator, rows: int = 2, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return randn(rows, *operator.in_shape, seed=seed, dtype=dtype.to_complex() if operator.in_complex else dtype)


def measurement(operator: LinearOperator, rows: int = 2, seed: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    return randn(rows, *operator.out_shape, seed=seed, dtype=dtype.to_complex() if operator.out_complex else dtype)


def kernels(count: int) -> Tensor:
    return torch.stack([gaussian_kernel(0.4 + 0.4 * i, size=5) for i in range(count)])


class Deepinv:
    """A physics as deepinv has them."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix

    def A(self, x: Tensor) -> Tensor:
        return torch.einsum("mn,bcn->bcm", self.matrix.to(x), x)

    def A_adjoint(self, y: Tensor) -> Tensor:
        return torch.einsum("mn,bcm->bcn", self.matrix.to(y), y)


def conv() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False).double()


CASES: dict[str, Callable[[], LinearOperator]] = {
    "multi-coil": lambda: MultiCoilMRI((1, 6, 7), torch.tensor([1, 0, 1, 1, 0, 0, 1]), birdcage_maps(3, (6, 7))),
    "multi-coil, points": lambda: MultiCoilMRI((1, 5, 4), randn(5, 4) > 0.3, birdcage_maps(4, (5, 4))),
    "radial": lambda: NUFFT((1, 6, 5), radial_trajectory(5, 6)),
    "spiral, two channels": lambda: NUFFT((2, 4, 5), spiral_trajectory(2, 9, 1.5)),
    "radial, coils": lambda: NUFFT((1, 5, 6), radial_trajectory(4, 6, golden=True), birdcage_maps(3, (5, 6))),
    "non-uniform 1-D": lambda: NUFFT((1, 9), torch.linspace(-0.5, 0.5, 8, dtype=torch.float64)[:, None]),
    "non-uniform 3-D": lambda: NUFFT((1, 3, 4, 2), 0.45 * randn(20, 3).clamp(-1, 1)),
    "parallel beam": lambda: parallel((1, 7, 8), 6),
    "parallel beam, strips, odd": lambda: parallel((2, 5, 5), [0.1, 0.9, 2.0], 9, spacing=0.7, model="strip"),
    "fan beam": lambda: fan((1, 6, 7), 8),
    "fan beam, strips": lambda: fan((1, 7, 5), 6, source=1.5, detector=0.5, model="strip"),
    "varying blur": lambda: VaryingBlur.from_grid((1, 7, 8), kernels(4).view(2, 2, 5, 5)),
    "varying blur 1-D": lambda: VaryingBlur.from_grid((2, 11), randn(3, 4).abs()),
    "function": lambda: FromFunction(lambda x: x.cumsum(-1)[..., ::2], (2, 3, 6)),
    "function, complex": lambda: FromFunction(
        lambda x: (1 + 2j) * x.diff(dim=-1) + x[..., 1:], (1, 9), in_complex=True
    ),
    "function, real to complex": lambda: FromFunction(lambda x: torch.fft.rfft(x)[..., 1:], (1, 9)),
    "function, complex to real": lambda: FromFunction(lambda x: (x * (1 - 2j)).real, (1, 9), in_complex=True),
    "module": lambda: FromFunction(conv(), (2, 5, 6)),
    "sparse matrix": lambda: FromSciPy(scipy.sparse.random(20, 30, 0.3, "csr", None, 0), (2, 3, 5), (1, 4, 5)),
    "complex matrix": lambda: FromSciPy(randn(8, 12, dtype=torch.complex128).numpy(), (3, 4)),
    "deepinv": lambda: FromDeepinv(Deepinv(randn(5, 8)), (1, 8)),
}
every = pytest.mark.parametrize("name", CASES)


@functools.cache
def dense(name: str) -> Dense:
    operator = CASES[name]()
    if isinstance(operator, Unstructured):
        operator.accuracy = TIGHT
    matrix = dense_matrix(operator)
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    cut = operator.cutoff * s[0]
    keep = torch.where(s > 1e-6 * s[0], s**4 / (s**4 + cut**4), 0.0)
    return Dense(real_view(operator), matrix, u, s, vt, keep)  # type: ignore[arg-type]


FUNCTIONS: dict[str, Function] = {
    "one": torch.ones_like,
    "reciprocal": torch.reciprocal,
    "root": torch.sqrt,
    "Wiener": lambda lam: 1 / (0.3 * lam + 0.01),
}


# --- the contract -----------------------------------------------------------------------------------------------------


@every
def test_adjoint(name: str) -> None:
    operator = CASES[name]()
    assert check_adjoint(operator) < 1e-12
    assert check_adjoint(operator, dtype=torch.float32) < 1e-6
    y = measurement(dense(name).operator)
    assert error(dense(name).operator.adjoint(y), y.flatten(1) @ dense(name).matrix) < 1e-10


@every
def test_dtypes_and_shapes(name: str) -> None:
    operator = CASES[name]()
    for dtype in (torch.float32, torch.float64):
        ax = operator(signal(operator, dtype=dtype))
        assert ax.shape == (2, *operator.out_shape)
        assert ax.dtype == (dtype.to_complex() if operator.out_complex else dtype)
        aty = operator.adjoint(ax)
        assert aty.shape == (2, *operator.in_shape)
        assert aty.dtype == (dtype.to_complex() if operator.in_complex else dtype)
    x = signal(operator)
    near = operator(x.to(torch.complex64 if operator.in_complex else torch.float32))
    assert error(real(near), real(operator(x))) < 1e-5


def real(x: Tensor) -> Tensor:
    return torch.view_as_real(x) if x.is_complex() else x


@every
def test_gram_is_a_function_of_the_dense_matrix(name: str) -> None:
    d = dense(name)
    u = measurement(d.operator)
    for label, h in FUNCTIONS.items():
        assert error(d.operator.gram(h, u), d.of_gram(h, u)) < 1e-5, label


@every
def test_pinv_and_projection(name: str) -> None:
    d = dense(name)
    y, x, v = measurement(d.operator), signal(d.operator), d.vt.T
    inverse = torch.where(d.keep > 0, d.keep / d.s.clamp_min(1e-150), 0.0)
    assert error(d.operator.pinv(y), ((y.flatten(1) @ d.u) * inverse) @ d.vt) < 1e-5
    assert error(d.operator.project(x), ((x.flatten(1) @ v) * d.keep) @ v.T) < 1e-5
    assert error(d.operator.project(d.operator.project(x)), ((x.flatten(1) @ v) * d.keep**2) @ v.T) < 1e-5


@every
def test_filter(name: str) -> None:
    d, fs = dense(name), (lambda lam: torch.exp(-2 * lam), lambda lam: lam / (lam + 0.05), torch.ones_like)
    for f in fs:
        assert error(d.operator.filter(f, signal(d.operator)), d.of_normal(f, signal(d.operator))) < 1e-5


@every
def test_solve(name: str) -> None:
    d = dense(name)
    in_range = d.operator(signal(d.operator)).flatten(1)
    for r2, sigma2 in ((0.7, 0.2), (2.0, 0.01)):
        system = r2 * d.matrix @ d.matrix.T + sigma2 * torch.eye(len(d.matrix), dtype=torch.float64)
        expected = torch.linalg.solve(system, in_range.T).T
        got = d.operator.solve(r2, sigma2, in_range.view(-1, *d.operator.out_shape))
        assert error(got, expected) < 1e-5


@every
def test_lift_is_a_sum_of_functions(name: str) -> None:
    """All functions different; all alike, as in a noiseless update; and a term that does not count."""
    d = dense(name)
    xs, y = [signal(d.operator, seed=s) for s in (3, 4)], measurement(d.operator)
    for h in (
        lambda lam: (1 / (lam + 0.1), torch.log1p(lam), 1 / (lam + 0.02)),
        lambda lam: (-0.3 / lam, 2 / lam, 1 / lam),
        lambda lam: (1e-9 * lam, 1 / (lam + 0.1), 1 / (lam + 0.1)),
        lambda lam: (1 / (lam + 0.1), 0 * lam, 0 * lam),
    ):
        parts = [u.flatten(1) for u in (*(d.operator(x) for x in xs), y)]
        terms = [d.of_gram(lambda lam, i=i, h=h: h(lam)[i], u) for i, u in enumerate(parts)]
        expected = torch.stack(terms).sum(0) @ d.matrix
        assert error(d.operator.lift(h, xs, y), expected) < 1e-5


@every
def test_a_batch_is_its_rows(name: str) -> None:
    operator = CASES[name]()
    x, y = signal(operator, 3, dtype=torch.float32), measurement(operator, 3, dtype=torch.float32)
    y = y * torch.tensor([1.0, 1e-3, 30.0]).view(3, *(1,) * (y.ndim - 1))

    def h(lam: Tensor) -> tuple[Tensor, Tensor]:
        return 1 / (lam + 0.1), torch.rsqrt(lam + 0.1)

    for got, alone in (
        (operator.pinv(y), [operator.pinv(y[i : i + 1]) for i in range(3)]),
        (operator.solve(0.5, 0.1, y), [operator.solve(0.5, 0.1, y[i : i + 1]) for i in range(3)]),
        (operator.lift(h, [x], y), [operator.lift(h, [x[i : i + 1]], y[i : i + 1]) for i in range(3)]),
    ):
        assert error(real(got), real(torch.cat(alone)).double()) < 1e-4


@every
def test_description(name: str) -> None:
    operator = CASES[name]()
    said = json.loads(json.dumps(operator.describe()))
    assert said["operator"] == type(operator).__name__
    assert said["in_shape"] == list(operator.in_shape)
    assert operator.select([0]) is operator
    assert 0 < operator.cutoff < 1


# --- accuracy and convergence -----------------------------------------------------------------------------------------


def hilbert(accuracy: Accuracy, cutoff: float = 1e-2) -> LinearOperator:
    """Singular values over ten orders of magnitude."""
    i = np.arange(40)
    return FromSciPy(1 / (1 + i[:, None] + i), (1, 40), cutoff=cutoff, accuracy=accuracy)


def test_what_does_not_converge_says_so() -> None:
    few = hilbert(Accuracy(1e-6, 4), cutoff=1e-5)
    y = few(randn(2, 1, 40))
    with pytest.raises(NotConverged, match=r"lanczos: .* after 4 vectors, wanted 1\.0e-06.*larger cut-off"):
        few.pinv(y)
    with pytest.raises(NotConverged, match=r"lanczos"):
        few.gram(torch.reciprocal, y)
    with pytest.raises(NotConverged, match=r"conjugate gradients: .* after 4 iterations, wanted 1\.0e-06"):
        few.solve(1.0, 1e-8, randn(2, 1, 40))
    enough = hilbert(Accuracy(1e-6, 60), cutoff=1e-2)
    assert bool(torch.isfinite(enough.pinv(y)).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_accuracy_is_that_of_the_result(dtype: torch.dtype) -> None:
    """Within a few times what was asked, in single precision as well."""
    exact = hilbert(Accuracy(1e-10, 200), cutoff=3e-3)
    y = exact(randn(3, 1, 40))
    expected = exact.pinv(y)
    for tolerance in (1e-2, 1e-3):
        got = hilbert(Accuracy(tolerance, 100), cutoff=3e-3).pinv(y.to(dtype))
        assert error(got, expected) < 3 * tolerance


def test_terms_with_one_function_share_a_krylov_space() -> None:
    calls = 0

    def count(x: Tensor) -> Tensor:
        nonlocal calls
        calls += len(x)
        return x.cumsum(-1)

    operator = FromFunction(count, (1, 40))
    x, y = randn(1, 1, 40), randn(1, 1, 40, seed=1)
    calls = 0
    operator.lift(lambda lam: (1 / lam,), [], y)
    alone, calls = calls, 0
    operator.lift(lambda lam: (2 / lam, -1 / lam, 1 / lam), [x, x], y)
    assert calls < 1.5 * alone + 4


# --- magnetic resonance imaging ---------------------------------------------------------------------------------------


def test_multi_coil_is_each_coil_by_itself() -> None:
    size, mask = (6, 9), randn(6, 9, seed=3) > 0
    maps = birdcage_maps(4, size)
    operator = MultiCoilMRI((1, *size), mask, maps)
    x = signal(operator)
    for coil, sensitivity in enumerate(maps):
        alone = MRI((1, *size), mask)(sensitivity * x)
        assert torch.allclose(operator(x)[:, coil : coil + 1], alone)
    composed = MRI((4, *size), mask) @ Coils(maps)
    assert torch.allclose(composed(x), operator(x))
    shifted = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift((maps * x).numpy(), axes=(2, 3)), norm="ortho"), axes=(2, 3))
    assert np.allclose(operator(x), np.where(mask, shifted, 0))


@pytest.mark.parametrize("size", [(6, 7), (5, 8)])
def test_the_normal_operator_of_a_scanner_skips_what_it_can(size: tuple[int, int]) -> None:
    for mask in (
        torch.arange(size[1]) % 3 == 0,
        (torch.arange(size[0]) % 2 == 0)[:, None],
        randn(3, *size) > 0,
        randn(3, 1, 1) > 0,
    ):
        operator = MultiCoilMRI((1, *size), mask, birdcage_maps(3, size))
        x = signal(operator)
        assert torch.allclose(operator._normal(x), operator.adjoint(operator(x)))


def test_everything_measured_is_an_isometry() -> None:
    operator = MultiCoilMRI((1, 6, 7), torch.tensor(True), birdcage_maps(5, (6, 7)))
    x = signal(operator)
    assert torch.allclose(operator.adjoint(operator(x)), x)
    assert torch.allclose(operator.pinv(operator(x)), x, atol=1e-4)


def test_coils_unfold_what_one_coil_cannot() -> None:
    """Every second line of 4 coils determines the image; of one coil, half of it."""
    mask = torch.arange(8) % 2 == 0
    several = MultiCoilMRI((1, 8, 8), mask, birdcage_maps(4, (8, 8)), cutoff=1e-3, accuracy=TIGHT)
    x = signal(several)
    assert float((several.pinv(several(x)) - x).norm() / x.norm()) < 1e-4
    one = MRI((1, 8, 8), mask)
    assert float((one.pinv(one(x)) - x).norm() / x.norm()) > 0.5


def test_what_stands_where_nothing_was_measured_is_ignored() -> None:
    operator = MultiCoilMRI((1, 6, 7), torch.tensor([1, 0, 1, 1, 0, 0, 1]), birdcage_maps(3, (6, 7)))
    y = operator(signal(operator))
    dirty = y + 7 * (~operator.mask)
    for apply in (operator.adjoint, operator.pinv, lambda u: operator.solve(1.0, 0.1, u)):
        assert torch.allclose(apply(dirty), apply(y), atol=1e-3)


@pytest.mark.parametrize("normalised", [True, False])
def test_coils_in_closed_form(normalised: bool) -> None:
    maps = birdcage_maps(3, (4, 5)) * (1 if normalised else 1 + randn(4, 5).abs())
    coils = Coils(maps)
    assert check_adjoint(coils) < 1e-14
    for h in FUNCTIONS.values():
        assert check_gram(coils, h) < 1e-10
    assert json.dumps(coils.describe())


def test_birdcage_maps_follow_biot_and_savart() -> None:
    maps = birdcage_maps(6, (64, 64))
    assert torch.allclose(maps.abs().square().sum(0), torch.ones(64, 64, dtype=torch.float64))
    turned = maps[3].abs().flip(0, 1)  # the opposite coil is the same, turned by half a turn
    assert torch.allclose(maps[0].abs(), turned)
    # Analytic: the transverse field of a wire has neither divergence nor curl (Cauchy and Riemann).
    ratio = maps[1] / maps[0]
    down, right = ratio[1:, :-1] - ratio[:-1, :-1], ratio[:-1, 1:] - ratio[:-1, :-1]
    assert float((down - 1j * right).abs().mean() / right.abs().mean()) < 0.05


def test_the_nufft_is_the_sum_that_it_stands_for() -> None:
    for shape, points in (((1, 6, 5), 11), ((2, 7), 9), ((1, 3, 4, 5), 8)):
        dims = len(shape) - 1
        trajectory = (torch.rand(points, dims, generator=torch.Generator().manual_seed(1)) - 0.5).double()
        operator = NUFFT(shape, trajectory)
        x = signal(operator)
        places = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) - n // 2 for n in shape[1:]), indexing="ij")
        phase = -2 * math.pi * trajectory @ torch.stack([p.flatten() for p in places])
        expected = torch.einsum("bcn,mn->bcm", x.flatten(2), torch.polar(torch.ones_like(phase), phase))
        expected /= math.prod(shape[1:]) ** 0.5
        assert torch.allclose(operator(x), expected, atol=1e-9)
        assert operator(x).shape == (2, shape[0], points)


def test_the_nufft_on_the_grid_is_the_centred_transform() -> None:
    for size in ((6, 8), (5, 7)):
        down, right = torch.meshgrid(*((torch.arange(n) - n // 2).double() / n for n in size), indexing="ij")
        operator = NUFFT((1, *size), torch.stack((down.flatten(), right.flatten()), 1))
        x = signal(operator)
        assert torch.allclose(operator(x), MRI((1, *size), torch.tensor(True))(x).flatten(2), atol=1e-9)


@pytest.mark.parametrize("eps", [1e-3, 1e-6, 1e-10])
def test_the_nufft_is_as_accurate_as_asked_and_its_adjoint_exact(eps: float) -> None:
    operator, exact = (NUFFT((1, 24, 20), radial_trajectory(9, 24), eps=e) for e in (eps, 1e-14))
    x = signal(operator)
    relative = float((operator(x) - exact(x)).norm() / exact(x).norm())
    assert relative < 10 * eps
    assert relative > 1e-4 * eps
    assert check_adjoint(operator) < 1e-13


def test_the_nufft_with_maps_is_composed_with_coils() -> None:
    maps, points = birdcage_maps(3, (5, 6)), radial_trajectory(4, 6)
    one = NUFFT((1, 5, 6), points, maps)
    two = NUFFT((3, 5, 6), points) @ Coils(maps)
    x, y = signal(one), measurement(one)
    assert torch.allclose(one(x), two(x))
    assert torch.allclose(one.adjoint(y), two.adjoint(y))


def test_trajectories() -> None:
    radial = radial_trajectory(12, 32)
    assert radial.shape == (384, 2)
    assert float(radial.norm(dim=1).max()) == pytest.approx(0.5)
    assert int((radial.norm(dim=1) == 0).sum()) == 12
    lines = radial.view(12, 32, 2)
    assert torch.allclose(lines[:, 0, 0] * lines[:, 9, 1], lines[:, 0, 1] * lines[:, 9, 0])
    golden = radial_trajectory(2, 32, golden=True).view(2, 32, 2)
    cosine = torch.nn.functional.cosine_similarity(golden[0, 0], golden[1, 0], dim=0)
    assert math.degrees(math.acos(float(cosine))) == pytest.approx(111.246, abs=1e-3)
    spiral = spiral_trajectory(4, 100, 8).view(4, 100, 2)
    assert torch.allclose(spiral[:, 0], torch.zeros(4, 2, dtype=torch.float64))
    assert torch.allclose(spiral[:, -1].norm(dim=1), torch.full((4,), 0.5, dtype=torch.float64))
    density = torch.histc(spiral.flatten(0, 1).norm(dim=1) ** 2, 5, 0, 0.25)
    assert float(density.max() / density.min()) < 1.1  # as many points in rings of equal area


# --- tomography -------------------------------------------------------------------------------------------------------


def disc(size: int, x: float, y: float, radius: float) -> Tensor:
    """In [-1/2, 1/2]^2, x to the right and y upwards; edges by 8 x 8 samples a pixel."""
    place = (torch.arange(8 * size, dtype=torch.float64) + 0.5) / (8 * size) - 0.5
    inside = (place - x) ** 2 + (-place[:, None] - y) ** 2 < radius**2
    return torch.nn.functional.avg_pool2d(inside.double()[None, None], 8)


def chord(distance: Tensor, radius: float) -> Tensor:
    return 2 * (radius**2 - distance**2).clamp_min(0).sqrt()


@pytest.mark.parametrize(("model", "spacing"), [("line", 1.0), ("linear", 0.5), ("strip", 1.0)])
def test_parallel_beam_of_a_disc(model: str, spacing: float) -> None:
    operator = parallel((1, 64, 64), 15, model=model, spacing=spacing)
    theta = torch.tensor(operator.angles, dtype=torch.float64)[:, None]
    n = operator.out_shape[-1]
    s = (torch.arange(n) - (n - 1) / 2) * spacing / 64
    expected = chord(s - 0.1 * theta.cos() - 0.15 * theta.sin(), 0.25)
    assert error(operator(disc(64, 0.1, 0.15, 0.25)).flatten(1), expected.flatten()[None]) < 0.025


@pytest.mark.parametrize("model", ["line", "strip"])
def test_fan_beam_of_a_disc(model: str) -> None:
    operator = fan((1, 64, 64), 12, source=1.7, detector=0.9, model=model)
    theta = torch.tensor(operator.angles, dtype=torch.float64)[:, None]
    n = operator.out_shape[-1]
    u = (torch.arange(n) - (n - 1) / 2) * operator.spacing / 64
    source = 1.7 * torch.stack((theta.sin(), -theta.cos()))
    place = 0.9 * torch.stack((-theta.sin(), theta.cos())) + u * torch.stack((theta.cos(), theta.sin()))
    ray = torch.nn.functional.normalize(place - source, dim=0)
    to_disc = torch.tensor([0.1, 0.15], dtype=torch.float64).view(2, 1, 1) - source
    expected = chord(to_disc[0] * ray[1] - to_disc[1] * ray[0], 0.25)
    assert error(operator(disc(64, 0.1, 0.15, 0.25)).flatten(1), expected.flatten()[None]) < 0.025


def test_sinograms_do_not_depend_on_the_resolution() -> None:
    """Lengths are in sides of the image, so the disc that fills it projects to at most 1."""
    for size in (16, 64):
        for operator in (parallel((1, size, size), 4), fan((1, size, size), 4)):
            assert float(operator(disc(size, 0, 0, 0.5)).max()) == pytest.approx(1, abs=0.03)


def phantom(size: int) -> Tensor:
    image = 0.3 * disc(size, 0.02, -0.03, 0.4) + 0.5 * disc(size, -0.1, 0.12, 0.15)
    return image + 0.7 * disc(size, 0.17, -0.1, 0.1) - 0.2 * disc(size, 0, 0.3, 0.05)


def test_parallel_beam_is_the_radon_transform_of_skimage() -> None:
    radon = pytest.importorskip("skimage.transform").radon
    image = phantom(65)  # odd, since theirs turns about the pixel n // 2
    operator = parallel((1, 65, 65), 20, 65)
    theirs = radon(image[0, 0].numpy(), np.degrees(operator.angles), circle=True).T / 65
    ours = operator(image)
    assert error(ours.flatten(1), torch.from_numpy(theirs).flatten()[None]) < 0.01


@pytest.mark.parametrize("spacing", [0.5, 1.0])
def test_filtered_back_projection(spacing: float) -> None:
    image = phantom(64)
    operator = parallel((1, 64, 64), 120, spacing=spacing)
    clean = operator(image)
    back = operator.fbp(clean)
    inside = disc(64, 0, 0, 0.45) > 0
    assert float((back - image)[inside].square().mean().sqrt()) < 0.05
    flat = disc(64, 0.02, -0.03, 0.4)
    middle = disc(64, 0.02, -0.03, 0.25) > 0.99
    assert float(operator.fbp(operator(flat))[middle].mean()) == pytest.approx(1, abs=0.01)
    noisy = clean + 0.02 * randn(*clean.shape)
    smooth, sharp = (operator.fbp(noisy, window) - image for window in ("hann", "ramp"))  # type: ignore[arg-type]
    assert float(smooth[inside].norm()) < float(sharp[inside].norm())


def test_filtered_back_projection_is_that_of_skimage() -> None:
    transform = pytest.importorskip("skimage.transform")
    image = phantom(65)
    operator = parallel((1, 65, 65), 60, 65)
    y = operator(image)
    theirs = transform.iradon(65 * y[0, 0].numpy().T, np.degrees(operator.angles), circle=True)
    inside = disc(65, 0, 0, 0.45) > 0.99
    ours = operator.fbp(y)[inside]
    assert float((ours - torch.from_numpy(theirs)[None, None][inside]).norm() / ours.norm()) < 0.02


# --- blur that varies -------------------------------------------------------------------------------------------------


def test_one_kernel_everywhere_is_a_blur() -> None:
    kernel = motion_kernel(5, 30)
    same = VaryingBlur.from_grid((2, 9, 8), kernel.expand(2, 3, *kernel.shape))
    blur = Blur((2, 9, 8), kernel)
    x = randn(2, 2, 9, 8)
    assert torch.allclose(same(x), blur(x))
    assert torch.allclose(same.adjoint(x), blur.adjoint(x))


def test_a_point_is_spread_by_the_kernels_of_its_place() -> None:
    corners = randn(2, 2, 3, 3).abs()
    operator = VaryingBlur.from_grid((1, 9, 9), corners)
    scaled = corners / corners.sum((2, 3), keepdim=True)
    for place, kernel in (
        ((0, 0), scaled[0, 0]),
        ((0, 8), scaled[0, 1]),
        ((4, 4), scaled.mean((0, 1))),
        ((2, 8), 0.75 * scaled[0, 1] + 0.25 * scaled[1, 1]),
    ):
        point = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
        point[0, 0, place[0], place[1]] = 1
        spread = operator(point).roll((4 - place[0], 4 - place[1]), (2, 3))[0, 0, 3:6, 3:6]
        assert torch.allclose(spread, kernel)


def test_real_borders_by_a_crop() -> None:
    canvas = VaryingBlur.from_grid((1, 12, 12), kernels(4).view(2, 2, 5, 5))
    operator = Crop((1, 12, 12), (8, 8), (2, 2)) @ canvas
    assert check_adjoint(operator) < 1e-12
    x = signal(operator)
    assert torch.allclose(operator(x), canvas(x)[..., 2:10, 2:10])


# --- from elsewhere ---------------------------------------------------------------------------------------------------


def test_a_function_has_the_adjoint_of_its_matrix() -> None:
    matrix = randn(5, 12, dtype=torch.complex128)
    operator = FromFunction(lambda x: torch.einsum("mn,bn->bm", matrix, x.flatten(1)), (3, 4), in_complex=True)
    y = measurement(operator)
    assert operator.out_shape == (5,)
    assert torch.allclose(operator.adjoint(y).flatten(1), y @ matrix.conj())


def test_a_module_in_single_precision_takes_double() -> None:
    module = torch.nn.Conv2d(1, 2, 3, bias=False)
    operator = FromFunction(module, (1, 6, 6))
    out = operator(signal(operator))
    assert out.dtype == torch.float64
    assert torch.allclose(out, module(signal(operator).float()).double())
    assert operator.adjoint(out).dtype == torch.float64
    with torch.inference_mode():
        assert operator.adjoint(measurement(operator)).shape == (2, 1, 6, 6)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: x + 1, r"subtract .* got A\(0\) of up to 1 "),
        (torch.square, r"A\(a x \+ b v\) off by"),
        (lambda x: x - x.mean(0, keepdim=True), "independent rows"),
        (lambda x: x.sum(), "keeps rows apart"),
        (lambda x: (x, x), "tuple"),
        (lambda x: 0 * x, "all zero"),
    ],
)
def test_what_is_not_linear_is_refused(function: Callable[[Tensor], Tensor], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        FromFunction(function, (1, 4, 4))


def test_a_wrong_adjoint_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="adjoint"):
        FromFunction(lambda x: x.cumsum(-1), (1, 8), adjoint=lambda y: y.cumsum(-1))
    wrong = SciPyOperator((8, 8), matvec=np.cumsum, rmatvec=np.cumsum, dtype=np.float64)
    with pytest.raises(InvalidArgument, match="exact adjoint"):
        FromSciPy(wrong, (1, 8))
    without = SciPyOperator((8, 8), matvec=np.cumsum, dtype=np.float64)
    with pytest.raises(InvalidArgument, match="rmatvec"):
        FromSciPy(without, (1, 8))


def test_scipy_kinds() -> None:
    matrix = scipy.sparse.random(6, 12, 0.5, "coo", None, 1)
    x = randn(2, 1, 12)
    for kind in (matrix, matrix.tocsr(), matrix.toarray(), scipy.sparse.linalg.aslinearoperator(matrix)):
        assert torch.allclose(FromSciPy(kind, (1, 12))(x), torch.from_numpy(x.numpy() @ matrix.toarray().T))


def test_pylops_operators() -> None:
    pylops = pytest.importorskip("pylops")
    x = randn(2, 1, 6, 8)
    gradient = FromSciPy(pylops.FirstDerivative((6, 8), axis=0, kind="forward"), (1, 6, 8), (1, 6, 8))
    assert torch.allclose(gradient(x)[:, :, :-1], x.diff(dim=2))
    fourier = FromSciPy(pylops.signalprocessing.FFT2D((6, 8), norm="ortho", dtype="complex128"), (1, 6, 8), (1, 6, 8))
    assert fourier.in_complex
    assert fourier.out_complex
    centre = MRI((1, 6, 8), torch.tensor(True))
    shifted = torch.fft.fftshift(fourier(torch.fft.ifftshift(x.to(torch.complex128), (2, 3))), (2, 3))
    assert torch.allclose(shifted, centre(x.to(torch.complex128)))
    kernel = motion_kernel(3, 40)
    theirs = FromSciPy(
        pylops.signalprocessing.Convolve2D((12, 14), kernel.numpy(), offset=(1, 1)), (1, 12, 14), (1, 12, 14)
    )
    image = torch.nn.functional.pad(x, (3, 3, 3, 3))  # zeros around it: theirs does not wrap around
    assert torch.allclose(theirs(image), Blur((1, 12, 14), kernel)(image), atol=1e-12)
    assert torch.allclose(theirs.adjoint(image), Blur((1, 12, 14), kernel).adjoint(image), atol=1e-12)


def test_deepinv_physics() -> None:
    deepinv = pytest.importorskip("deepinv", exc_type=ImportError)
    physics = deepinv.physics.BlurFFT((1, 8, 8), filter=gaussian_kernel(1.0, 5).float()[None, None])
    operator = FromDeepinv(physics, (1, 8, 8))
    x = randn(1, 1, 8, 8, dtype=torch.float32)
    assert torch.allclose(operator(x), physics.A(x))
    assert check_adjoint(operator) < 1e-5


def test_deepinv_stand_in() -> None:
    matrix = randn(5, 8)
    x = randn(2, 1, 8)
    assert torch.allclose(FromDeepinv(Deepinv(matrix), (1, 8))(x)[:, 0], x[:, 0] @ matrix.T)
    with pytest.raises(InvalidArgument, match="A_adjoint"):
        FromDeepinv(type("Nonlinear", (), {"A": lambda x: x})(), (1, 8))


def test_a_missing_package_says_which_extra_brings_it() -> None:
    with pytest.raises(ImportError, match=r"pip install 'kintsugi-diffusion\[ct\]'"):
        optional("no_such_package_here", "ct")


MAPS = birdcage_maps(3, (4, 5))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: MultiCoilMRI((1, 4, 4), torch.tensor(True), MAPS), "maps"),
        (lambda: MultiCoilMRI((2, 4, 5), torch.tensor(True), MAPS), "maps"),
        (lambda: MultiCoilMRI((1, 4, 5), torch.ones(3), MAPS), "mask"),
        (lambda: MultiCoilMRI((1, 4, 5), torch.zeros(5), MAPS), "mask"),
        (lambda: MultiCoilMRI((1, 4, 5), torch.full((5,), 0.5), MAPS), "mask"),
        (lambda: MultiCoilMRI((1, 4, 5), torch.tensor(True), MAPS.real), "maps"),
        (lambda: MultiCoilMRI((1, 4, 5), torch.tensor(True), MAPS, cutoff=0), "cutoff"),
        (lambda: Coils(0 * MAPS), "maps"),
        (lambda: birdcage_maps(0, (4, 5)), "coils"),
        (lambda: birdcage_maps(3, (4, 5), radius=1), "radius"),
        (lambda: NUFFT((1, 4, 5), torch.zeros(3, 1)), "trajectory"),
        (lambda: NUFFT((1, 4, 5), torch.full((3, 2), 0.6)), "trajectory"),
        (lambda: NUFFT((1, 4, 5), torch.zeros(3, 2), eps=0.5), "eps"),
        (lambda: NUFFT((2, 4, 5), torch.zeros(3, 2), MAPS), "maps"),
        (lambda: radial_trajectory(0, 3), "spokes"),
        (lambda: spiral_trajectory(1, 3, 0), "arms"),
        (lambda: parallel((1, 4), 3), "shape"),
        (lambda: parallel((1, 4, 4), 0), "angles"),
        (lambda: parallel((1, 4, 4), [math.nan]), "angles"),
        (lambda: parallel((1, 4, 4), 3, 0), "detectors"),
        (lambda: parallel((1, 4, 4), 3, spacing=0), "spacing"),
        (lambda: parallel((1, 4, 4), 3, model="cubic"), "model"),
        (lambda: parallel((1, 4, 4), 3).fbp(torch.zeros(1, 1, 3, 6), "none"), "window"),  # type: ignore[arg-type]
        (lambda: fan((1, 4, 4), 3, source=0.5), "source"),
        (lambda: fan((1, 4, 4), 3, detector=-1), "detector"),
        (lambda: fan((1, 4, 4), 3, model="linear"), "model"),
        (lambda: VaryingBlur((1, 4, 4), torch.ones(2, 3), torch.ones(2, 4, 4) / 2), "kernels"),
        (lambda: VaryingBlur((1, 4, 4), torch.ones(2, 3, 3), torch.ones(2, 4, 5) / 2), "weights"),
        (lambda: VaryingBlur((1, 4, 4), torch.ones(2, 3, 3), torch.ones(2, 4, 4)), "weights"),
        (lambda: VaryingBlur((1, 4, 4), torch.ones(2, 5, 5), torch.ones(2, 4, 4) / 2), "kernels"),
        (lambda: VaryingBlur.from_grid((1, 4, 4), torch.ones(2, 3, 3)), "kernels"),
        (lambda: FromFunction(3, (1, 4)), "function"),  # type: ignore[arg-type]
        (lambda: FromFunction(lambda x: x, (1, 4), dtype=torch.float16), "dtype"),
        (lambda: FromSciPy(np.eye(4), (1, 5)), "in_shape"),
        (lambda: FromSciPy(np.eye(4), (1, 4), (1, 5)), "out_shape"),
        (lambda: FromSciPy("matrix", (1, 4)), "operator"),
    ],
)
def test_bad_arguments(make: Callable[[], object], name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        make()
    assert caught.value.name == name
