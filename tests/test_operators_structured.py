"""Structured operators: one contract over all of them, and each against its definition or another implementation."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import torch
from PIL import Image
from torch import Tensor

import kintsugi
from kintsugi.errors import InvalidArgument
from kintsugi.operators import (
    MRI,
    X_TRANS,
    Accuracy,
    AsComplex,
    Bayer,
    Blur,
    ColourMatrix,
    Grey,
    LinearOperator,
    Mask,
    Mosaic,
    ResampleKernel,
    Resize,
    Separable,
    SpectralUnmixing,
    StationaryCovariance,
    Subsampled,
    WhiteBalance,
    cartesian_mask,
    check_adjoint,
    check_gram,
    check_pinv,
    dense_matrix,
    gaussian_kernel,
    real_view,
    to_complex,
    to_real,
)
from kintsugi.operators.iterative import conjugate_gradients
from kintsugi.operators.mri import RealMRI, centred_fft, mirrored
from kintsugi.operators.stationary import Stationary
from kintsugi.operators.transforms import sequency
from kintsugi.priors import GaussianPrior
from kintsugi.problem import Problem


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def keep(*shape: int, share: float = 0.5, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share


def random_signal(shape: tuple[int, ...], is_complex: bool, seed: int = 0) -> Tensor:
    x = randn(*shape, seed=seed)
    return torch.complex(x, randn(*shape, seed=seed + 100)) if is_complex else x


def sharp_blur(shape: tuple[int, ...]) -> LinearOperator:
    return Blur(shape, gaussian_kernel(0.4, 3), cutoff=1e-4)


OPERATORS: dict[str, Callable[[], LinearOperator]] = {
    "separable": lambda: Separable([randn(3, 5), randn(6, 4, seed=1)], (2, 5, 4)),
    "separable, one axis": lambda: Separable([None, randn(3, 6)], (2, 4, 6)),
    "resize, bicubic": lambda: Resize((2, 9, 7), scale=0.45),
    "resize, lanczos, 1-D": lambda: Resize((1, 13), 5, kernel="lanczos3"),
    "resize, linear, 3-D": lambda: Resize((1, 4, 5, 6), (2, 5, 3), kernel="linear"),
    "resize, box": lambda: Resize((2, 9, 6), (3, 3), kernel="box"),
    "resize, larger": lambda: Resize((1, 4, 5), scale=1.5),
    "resize, aliased": lambda: Resize((1, 9, 9), 4, kernel="bicubic", antialias=False),
    "bayer": lambda: Bayer((3, 5, 6)),
    "x-trans": lambda: Mosaic((3, 7, 6), X_TRANS),
    "mosaic, 1-D": lambda: Mosaic((2, 7), torch.tensor([0, 1, 1])),
    "binned bayer": lambda: Bayer((3, 3, 4), "GRBG") @ Resize((3, 6, 8), scale=0.5, kernel="box"),
    "dct": lambda: Subsampled((2, 5, 6), "dct", ratio=0.4),
    "dct, 3-D": lambda: Subsampled((1, 3, 4, 3), "dct", keep(3, 4, 3)),
    "dct, spread": lambda: Subsampled((2, 5, 6), "dct", ratio=0.4, signs=True, permute=True),
    "hadamard": lambda: Subsampled((2, 4, 8), "hadamard", ratio=0.4),
    "hadamard, spread": lambda: Subsampled((1, 4, 8), "hadamard", ratio=0.4, signs=True),
    "fourier": lambda: Subsampled((2, 5, 6), "fourier", keep(5, 6)),
    "fourier, even": lambda: Subsampled((1, 4, 6), "fourier", keep(4, 6, seed=3)),
    "fourier, pairs chosen": lambda: Subsampled((1, 5, 4), "fourier", ratio=0.5),
    "fourier, spread": lambda: Subsampled((1, 5, 4), "fourier", keep(5, 4), signs=True),
    "fourier, 1-D": lambda: Subsampled((1, 7), "fourier", keep(7, seed=1)),
    "mri": lambda: MRI((1, 5, 6), keep(5, 6)),
    "mri, lines": lambda: MRI((2, 4, 6), keep(6, seed=2)),
    "mri, 3-D": lambda: MRI((1, 3, 2, 4), keep(3, 2, 4)),
    "mri, real": lambda: MRI((1, 5, 6), keep(5, 6)) @ AsComplex((1, 5, 6)),
    "mri, real, even": lambda: MRI((2, 4, 6), keep(4, 6)) @ AsComplex((2, 4, 6)),
    "as complex": lambda: AsComplex((2, 3, 4)),
    "colour matrix": lambda: ColourMatrix((3, 3, 4), torch.eye(3) + 0.4 * randn(3, 3)),
    "white balance": lambda: WhiteBalance((3, 3, 4), [2.0, 1.0, 1.5]),
    "unmixing": lambda: SpectralUnmixing((2, 3, 4), randn(5, 2).abs()),
    "colour after blur": lambda: (
        ColourMatrix((3, 4, 4), randn(2, 3)) @ Blur((3, 4, 4), gaussian_kernel(0.4, 3), cutoff=1e-4)
    ),
    "vignette": lambda: Mask(torch.linspace(0.2, 1, 6), (2, 5, 6)),
    "blur of a volume": lambda: Blur((1, 4, 5, 3), randn(3, 3, 3).abs(), cutoff=1e-3),
}
every = pytest.mark.parametrize("name", OPERATORS)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-11) -> None:
    assert a.shape == b.shape
    assert float((a - b).norm()) <= tolerance * max(float(b.norm()), 1e-3)


# --- The contract ----------------------------------------------------------------------------------------------------


@every
def test_the_dot_test(name: str) -> None:
    assert check_adjoint(OPERATORS[name]()) < 1e-12
    assert check_adjoint(OPERATORS[name](), dtype=torch.float32) < 1e-6


@every
def test_pseudo_inverse(name: str) -> None:
    errors = check_pinv(OPERATORS[name]())
    assert errors["A A+ A"] < 1e-10
    assert errors["symmetric"] < 1e-12
    assert errors["range"] < 1e-10


@every
@pytest.mark.parametrize("h", [torch.reciprocal, torch.sqrt, lambda lam: 1 / (0.3 * lam + 0.1)])
def test_gram_against_the_dense_matrix(name: str, h: Callable[[Tensor], Tensor]) -> None:
    assert check_gram(OPERATORS[name](), h) < 1e-10


@every
def test_filter_of_the_identity_function(name: str) -> None:
    operator = OPERATORS[name]()
    x = random_signal((2, *operator.in_shape), operator.in_complex)
    close(operator.filter(lambda lam: lam, x), operator.adjoint(operator(x)))
    lifted = operator.lift(lambda lam: (lam, 2 * lam), [x], operator(x))
    close(lifted, 3 * operator.filter(lambda lam: lam**2, x))


@every
def test_what_the_flat_eigenvalue_says(name: str) -> None:
    operator = real_view(OPERATORS[name]())
    assert isinstance(operator, LinearOperator)
    matrix = dense_matrix(operator)
    values = torch.linalg.eigvalsh(matrix @ matrix.T)
    if operator.flat is not None:
        torch.testing.assert_close(values, torch.full_like(values, operator.flat))
    else:
        assert float(values.max() - values.min()) > 1e-3


@every
def test_rows_and_dtypes(name: str) -> None:
    operator = OPERATORS[name]()
    x = random_signal((3, *operator.in_shape), operator.in_complex)
    y = operator(x)
    assert y.shape == (3, *operator.out_shape)
    assert y.is_complex() == operator.out_complex
    back = operator.pinv(y)
    for i in range(3):
        close(operator(x[i : i + 1]), y[i : i + 1], 1e-14)
        close(operator.pinv(y[i : i + 1]), back[i : i + 1], 1e-13)
    single = operator(x.to(torch.complex64 if x.is_complex() else torch.float32))
    assert single.dtype == (torch.complex64 if y.is_complex() else torch.float32)
    assert operator.pinv(single).dtype == (torch.complex64 if x.is_complex() else torch.float32)
    close(single.to(y), y, 1e-6)
    assert operator.select([0, 2]) is operator


@every
def test_the_description_is_json(name: str) -> None:
    operator = OPERATORS[name]()
    said = json.loads(json.dumps(operator.describe()))
    assert said["in_shape"] == list(operator.in_shape)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@every
def test_on_a_gpu(name: str) -> None:
    operator = OPERATORS[name]()
    x = random_signal((2, *operator.in_shape), operator.in_complex)
    y = operator(x)
    close(operator(x.cuda()).cpu(), y)
    close(operator.adjoint(y.cuda()).cpu(), operator.adjoint(y))
    close(operator.pinv(y.cuda()).cpu(), operator.pinv(y))


def power_law(radius: Tensor) -> Tensor:
    return torch.stack((0.02 / (radius**2 + 0.01), 0.004 / (radius**2 + 0.04)))


@every
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_what_a_residual_says_about_the_signal(name: str, noise: float) -> None:
    """``C A^T (A C A^T + s^2)^{-1} r`` against dense algebra, on real channels."""
    operator = real_view(OPERATORS[name]())
    assert isinstance(operator, LinearOperator)
    covariance = StationaryCovariance(power_law)
    prior = GaussianPrior.stationary(operator.in_shape, covariance)
    a, c = dense_matrix(operator), prior.covariance
    r = operator(prior.sample(2, torch.Generator().manual_seed(0)))
    gain = c @ a.T @ torch.linalg.pinv(a @ c @ a.T + noise**2 * torch.eye(len(a)).to(a), hermitian=True, rtol=1e-12)
    expected = (r.flatten(1) @ gain.T).view(-1, *operator.in_shape)
    found = operator.gain(covariance, noise**2, r, Accuracy(1e-10, 500))
    close(found, expected, 2e-2 if noise == 0 and isinstance(operator, Mask | Mosaic) else 1e-6)


def gaussian(shape: tuple[int, ...]) -> GaussianPrior:
    return GaussianPrior.stationary(shape, StationaryCovariance(power_law))


RESTORED = [
    "resize, bicubic", "bayer", "binned bayer", "dct", "dct, spread", "hadamard", "fourier", "mri", "mri, real",
    "unmixing", "colour matrix", "vignette", "separable",
]  # fmt: skip


@pytest.mark.parametrize("name", RESTORED)
def test_restoration_on_a_gaussian(name: str) -> None:
    """Moment matching is exact on a Gaussian: mean and spread of 64 samples, in posterior standard deviations."""
    operator = OPERATORS[name]()
    prior = GaussianPrior.stationary(real_view(operator).in_shape, StationaryCovariance(power_law))
    truth = prior.sample(1, torch.Generator().manual_seed(4))
    problem = Problem.simulate(to_complex(truth) if operator.in_complex else truth, operator, 0.1)
    posterior = prior.posterior(problem)
    samples = kintsugi.restore(problem, prior, "mmps", steps=80, samples=64, batch=64, tile=None, iterations=8).samples[
        0
    ]
    assert samples.is_complex() == operator.in_complex
    samples = to_real(samples)
    std = posterior.std.square().mean().sqrt()
    assert float((samples.mean(0) - posterior.mean[0]).square().mean().sqrt() / std) < 0.25  # 1 / sqrt(64) and a little
    assert float(samples.var(0).mean().sqrt() / std) == pytest.approx(1, abs=0.15)


# --- Separable resampling --------------------------------------------------------------------------------------------

FILTERS = {
    "box": Image.Resampling.BOX,
    "linear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos3": Image.Resampling.LANCZOS,
}
SIZES = [((37, 53), (11, 20)), ((37, 53), (80, 60)), ((64, 64), (16, 16)), ((30, 41), (29, 40)), ((300, 9), (140, 4))]


@pytest.mark.parametrize("kernel", FILTERS)
@pytest.mark.parametrize(("size", "new"), SIZES)
def test_resize_is_that_of_pillow(kernel: str, size: tuple[int, int], new: tuple[int, int]) -> None:
    x = 2 * torch.rand(size, generator=torch.Generator().manual_seed(0)) - 1
    theirs = np.asarray(Image.fromarray(x.numpy()).resize(new[::-1], FILTERS[kernel]))
    ours = Resize((1, *size), new, kernel=kernel)(x[None, None])[0, 0]
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)


@pytest.mark.parametrize(("kernel", "mode"), [("linear", "bilinear"), ("bicubic", "bicubic")])
def test_resize_is_that_of_torch(kernel: str, mode: str) -> None:
    x = randn(2, 3, 40, 33)
    theirs = torch.nn.functional.interpolate(x, size=(13, 20), mode=mode, antialias=True, align_corners=False)
    close(Resize((3, 40, 33), (13, 20), kernel=kernel)(x), theirs, 1e-6)


def test_resize_of_a_large_signal_in_blocks() -> None:
    """Blocks of rows with their windows against the dense matrices."""
    operator = Resize((1, 300, 211), scale=(0.37, 1.9))
    x = randn(1, 1, 300, 211)
    identity = [
        Resize((1, n), m)(torch.eye(n, dtype=torch.float64)[:, None])[:, 0].T for n, m in ((300, 111), (211, 401))
    ]
    close(operator(x)[0, 0], identity[0] @ x[0, 0] @ identity[1].T)
    assert check_adjoint(operator) < 1e-12


def test_resize_with_a_kernel_of_ones_own() -> None:
    tent = ResampleKernel("tent", 1.0, lambda t: (1 - t.abs()).clamp_min(0))
    x = randn(1, 2, 9, 11)
    close(Resize((2, 9, 11), scale=0.6, kernel=tent)(x), Resize((2, 9, 11), scale=0.6, kernel="linear")(x))


def test_resize_without_antialiasing_picks_samples() -> None:
    x = randn(1, 1, 9)
    close(Resize((1, 9), 3, kernel="box", antialias=False)(x), x[..., 1::3])
    close(Resize((1, 9), 3, kernel="bicubic", antialias=False)(x), x[..., 1::3])


def test_the_box_averages_blocks() -> None:
    operator = Resize((1, 8, 6), scale=0.5, kernel="box")
    assert operator.flat == pytest.approx(1 / 4)
    x = randn(1, 1, 8, 6)
    close(operator(x), torch.nn.functional.avg_pool2d(x, 2))


def test_the_preconditioner_of_resize_saves_iterations() -> None:
    operator = Resize((1, 64, 64), scale=0.4)
    covariance = StationaryCovariance(lambda f: torch.stack([0.01 / (f**2 + 1e-4)] * 2))
    r = operator(covariance.root(randn(1, 1, 64, 64)))
    few = operator.solve_normal(covariance, 1e-4, r, Accuracy(1e-12, 6))

    def matvec(u: Tensor) -> Tensor:
        return operator(covariance(operator.adjoint(u))) + 1e-4 * u

    plain = conjugate_gradients(matvec, r, tolerance=1e-12, iterations=6)
    assert float((matvec(few) - r).norm()) < 0.05 * float((matvec(plain) - r).norm())


# --- Mosaics ---------------------------------------------------------------------------------------------------------


def test_bayer_sees_the_channels_of_its_pattern() -> None:
    x = torch.arange(3.0)[None, :, None, None].expand(1, 3, 3, 5)
    seen = Bayer((3, 3, 5), "GRBG")(x)[0, 0]
    assert seen.tolist() == [[1, 0, 1, 0, 1], [2, 1, 2, 1, 2], [1, 0, 1, 0, 1]]


def test_the_tile_of_x_trans() -> None:
    """20 of 36 green, 8 red and 8 blue, every colour in every row and column, as Fujifilm describes it."""
    tile = torch.tensor(X_TRANS)
    assert torch.bincount(tile.flatten()).tolist() == [8, 20, 8]
    for line in [*tile, *tile.T]:
        assert set(line.tolist()) == {0, 1, 2}


# --- Sensing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 8, 64, 128, 1024])
def test_hadamard_is_that_of_scipy(n: int) -> None:
    matrix = torch.from_numpy(scipy.linalg.hadamard(n) / math.sqrt(n))
    x = randn(2, 1, n, 3)
    operator = Subsampled((1, n, 1), "hadamard", torch.ones(n, 1, dtype=torch.bool))
    close(operator(x[..., :1])[:, 0], x[:, 0, :, 0] @ matrix)
    flat = Subsampled((1, n), "hadamard", torch.ones(n, dtype=torch.bool))
    close(flat(x[..., 1])[:, 0], x[:, 0, :, 1] @ matrix)
    changes = (np.diff(np.sign(scipy.linalg.hadamard(n)), axis=1) != 0).sum(1)
    assert sequency(n).tolist() == changes.tolist()


@pytest.mark.parametrize("size", [(5, 6), (4, 6), (5, 7), (8,), (3, 4, 2)])
def test_pairs_of_frequencies(size: tuple[int, ...]) -> None:
    """``A A^T`` of the Fourier transform of real signals, letter by letter from the module's text."""
    mask = keep(*size, share=0.6, seed=5)
    operator = Subsampled((1, *size), "fourier", mask)
    spectrum = torch.complex(randn(*size), randn(*size, seed=1))
    expected = torch.zeros_like(spectrum)
    for k in np.ndindex(*size):
        minus = tuple(-i % n for i, n in zip(k, size, strict=True))
        if mask[k]:
            expected[k] = 0.5 * (spectrum[k] + (spectrum[minus].conj() if mask[minus] else 0.0))
    y = spectrum[mask][None, None]
    close(operator(operator.adjoint(y))[0, 0], expected[mask])
    close(operator.gram(lambda lam: lam, y)[0, 0], expected[mask])


def test_the_ratio_is_of_what_the_signal_holds() -> None:
    assert Subsampled((1, 32, 32), "dct", ratio=0.25).out_shape == (1, 256)
    fourier = Subsampled((1, 33, 33), "fourier", ratio=0.25)
    rank = int(torch.linalg.matrix_rank(dense_matrix(Subsampled((1, 9, 9), "fourier", ratio=1.0))))
    assert rank == 81
    assert 2 * fourier.out_shape[1] == pytest.approx(0.25 * 33 * 33, rel=0.01)
    everything = Subsampled((1, 8, 8), "hadamard", ratio=1.0)
    x = randn(1, 1, 8, 8)
    close(everything.pinv(everything(x)), x)


@pytest.mark.parametrize("transform", ["dct", "hadamard", "fourier"])
def test_density_prefers_low_frequencies(transform: str) -> None:
    x = torch.ones(1, 1, 32, 32, dtype=torch.float64)
    dense, even = (Subsampled((1, 32, 32), transform, ratio=0.2, density=p) for p in (3.0, 0.0))  # type: ignore[arg-type]
    smooth = torch.linspace(-1, 1, 32, dtype=torch.float64).expand(1, 1, 32, 32)
    assert float((dense.project(smooth) - smooth).norm()) < 0.7 * float((even.project(smooth) - smooth).norm())
    for operator in (dense, even):
        close(operator.project(x), x)  # the mean is always measured


def test_seeds_choose() -> None:
    first, again, other = (Subsampled((1, 8, 8), ratio=0.3, signs=True, seed=s) for s in (1, 1, 2))
    x = randn(1, 1, 8, 8)
    assert torch.equal(first(x), again(x))
    assert not torch.equal(first(x), other(x))


# --- MRI -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (4, 5, 6)])
def test_the_centred_transform_is_unitary(size: tuple[int, ...]) -> None:
    """Letter by letter: ``Y_k = sum_j x_j exp(-2 pi i (k - n/2)(j - n/2) / n) / sqrt(n)`` along each axis."""
    x = random_signal((1, 1, *size), True)
    expected = x[0, 0]
    for axis, n in enumerate(size):
        centred = torch.arange(n, dtype=torch.float64) - n // 2
        matrix = torch.polar(torch.ones(n, n, dtype=torch.float64), -2 * math.pi * centred[:, None] * centred / n)
        expected = torch.tensordot(matrix / math.sqrt(n), expected, ([1], [axis])).movedim(0, axis)
    y = MRI((1, *size), torch.ones(size))(x)
    close(y[0, 0], expected)
    assert float(y.norm()) == pytest.approx(float(x.norm()))
    real = centred_fft(x.real.contiguous())
    close(mirrored(real), real)


def test_what_was_not_measured_does_not_leak() -> None:
    operator = MRI((1, 6, 8), keep(6, 8))
    x = random_signal((1, 1, 6, 8), True)
    y = operator(x)
    assert bool((y[0, 0][~operator.mask] == 0).all())
    dirty = y + 1e6 * (~operator.mask)
    for inverse in (operator.pinv, operator.adjoint, lambda u: operator.solve(1.0, 0.1, u)):
        close(inverse(dirty), inverse(y))
    covariance = StationaryCovariance(power_law)
    close(operator.gain(covariance, 0.1, dirty), operator.gain(covariance, 0.1, y))


def test_a_mask_after_a_real_image_has_a_closed_form() -> None:
    shape = (1, 6, 8)
    assert isinstance(MRI(shape, keep(6, 8)) @ AsComplex(shape), RealMRI)
    scaled = 2.0 * (MRI(shape, keep(6, 8)) @ AsComplex(shape))
    assert check_gram(scaled, torch.reciprocal) < 1e-12


KINDS = ["equispaced", "random", "gaussian", "poisson-disc"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("acceleration", [2.0, 4.0, 6.5, 8.0])
@pytest.mark.parametrize("size", [(96, 128), (65, 101)])
def test_masks_have_their_acceleration_and_centre(kind: str, acceleration: float, size: tuple[int, int]) -> None:
    for seed in range(3):
        mask = cartesian_mask(size, acceleration, kind, 0.04, seed=seed)  # type: ignore[arg-type]
        assert mask.shape == size
        assert float(1 / mask.double().mean()) == pytest.approx(acceleration, rel=0.03)
        middle = tuple(n // 2 for n in size)
        if kind == "poisson-disc":
            half = [round(n * 0.2) // 2 for n in size]
            assert bool(mask[tuple(slice(m - h, m + h) for m, h in zip(middle, half, strict=True))].all())
        else:
            assert bool((mask == mask[:1]).all())  # lines
            assert bool(mask[:, middle[1] - 2 : middle[1] + 2].all())
    assert not torch.equal(mask, cartesian_mask(size, acceleration, kind, 0.04, seed=7))  # type: ignore[arg-type]
    assert torch.equal(mask, cartesian_mask(size, acceleration, kind, 0.04, seed=2))  # type: ignore[arg-type]


def test_equispaced_lines_are_equispaced() -> None:
    places = cartesian_mask((1, 200), 8, "equispaced", 0.0)[0].nonzero()[:, 0]
    assert places.diff().tolist() == [8] * 24


def test_gaussian_lines_crowd_at_the_centre() -> None:
    lines = sum(cartesian_mask((1, 300), 6, "gaussian", 0.02, seed=s)[0].double() for s in range(200)) / 200
    share = lines.view(6, 50).mean(1)  # k from -1 to 1 in sixths
    assert float(share[2:4].mean()) > 2 * float(share[1:5:3].mean()) > 8 * float(share[0::5].mean())


def test_poisson_discs_keep_their_distance() -> None:
    """No two points close together far out, and the centre denser; random points do neither."""
    mask = cartesian_mask((96, 96), 10, "poisson-disc", 0.01)
    points = mask.nonzero().double()
    radius = ((points - 48) / 48).norm(dim=1)
    distance = torch.cdist(points, points) + 1e9 * torch.eye(len(points))
    nearest = distance.min(1).values
    assert float(nearest[radius > 0.9].min()) >= 2
    assert float(nearest[radius > 0.9].mean()) > 1.5 * float(nearest[(radius > 0.2) & (radius < 0.4)].mean())
    scattered = cartesian_mask((96, 96), 10, "random", 0.01, axes=(0, 1)).nonzero().double()
    apart = torch.cdist(scattered, scattered) + 1e9 * torch.eye(len(scattered))
    assert float(apart.min(1).values.min()) == 1


def test_masks_of_volumes() -> None:
    mask = cartesian_mask((5, 24, 20), 4, "gaussian", axes=(0, 1))
    assert bool((mask == mask[..., :1]).all())
    assert float(mask.double().mean()) == pytest.approx(0.25)
    assert cartesian_mask((5, 24, 20), 4, "random", axes=1).any(2).any(0).sum() == 6


# --- Colours ---------------------------------------------------------------------------------------------------------


def test_colours() -> None:
    x, matrix = randn(1, 3, 4, 5), randn(2, 3, seed=1)
    close(ColourMatrix((3, 4, 5), matrix)(x), torch.einsum("oc,bchw->bohw", matrix, x))
    close(WhiteBalance((3, 4, 5), [2, 1, 0.5])(x), x * torch.tensor([2, 1, 0.5]).view(1, 3, 1, 1))
    close(ColourMatrix((3, 4, 5), [[1 / 3] * 3])(x), Grey((3, 4, 5))(x))
    assert isinstance(ColourMatrix((3, 4, 4), matrix) @ Blur((3, 4, 4), gaussian_kernel(0.4, 3)), Stationary)


def test_unmixing_finds_the_abundances() -> None:
    operator = SpectralUnmixing((2, 4, 5), torch.tensor([[0.1, 0.9], [0.5, 0.5], [0.8, 0.2]]))
    x = randn(1, 2, 4, 5)
    close(operator.pinv(operator(x)), x)


# --- Mistakes --------------------------------------------------------------------------------------------------------

SHAPE = (3, 8, 6)
MISTAKES: dict[str, tuple[str, Callable[[], object]]] = {
    "matrices, one too few": ("matrices", lambda: Separable([torch.eye(8)], SHAPE)),
    "matrices, columns": ("matrices", lambda: Separable([torch.eye(8), torch.eye(8)], SHAPE)),
    "matrices, zeros": ("matrices", lambda: Separable([torch.zeros(2, 8), None], SHAPE)),
    "separable, cutoff": ("cutoff", lambda: Separable([None, None], SHAPE, cutoff=1.0)),
    "neither size nor scale": ("size", lambda: Resize(SHAPE)),
    "both": ("size", lambda: Resize(SHAPE, 3, 0.5)),
    "size": ("size", lambda: Resize(SHAPE, (0, 3))),
    "scale": ("scale", lambda: Resize(SHAPE, scale=-1.0)),
    "scales": ("scale", lambda: Resize(SHAPE, scale=(0.5, 0.5, 0.5))),
    "kernel": ("kernel", lambda: Resize(SHAPE, 3, kernel="sinc")),
    "kernel, a function": ("kernel", lambda: Resize(SHAPE, 3, kernel=torch.sinc)),  # type: ignore[arg-type]
    "kernel, zeros": ("kernel", lambda: Resize(SHAPE, 3, kernel=ResampleKernel("nothing", 1, torch.zeros_like))),
    "pattern": ("pattern", lambda: Bayer(SHAPE, "RGB")),
    "bayer, shape": ("shape", lambda: Bayer((1, 8, 6))),
    "tile, channels": ("tile", lambda: Mosaic(SHAPE, [[0, 3]])),
    "tile, axes": ("tile", lambda: Mosaic(SHAPE, torch.tensor([0, 1]))),
    "tile, floats": ("tile", lambda: Mosaic(SHAPE, torch.zeros(2, 2))),
    "transform": ("transform", lambda: Subsampled(SHAPE, "dst", ratio=0.5)),  # type: ignore[arg-type]
    "hadamard": ("shape", lambda: Subsampled(SHAPE, "hadamard", ratio=0.5)),
    "keep and ratio": ("keep", lambda: Subsampled(SHAPE)),
    "keep, shape": ("keep", lambda: Subsampled(SHAPE, keep=keep(*SHAPE))),
    "keep, nothing": ("keep", lambda: Subsampled(SHAPE, keep=torch.zeros(8, 6, dtype=torch.bool))),
    "ratio": ("ratio", lambda: Subsampled(SHAPE, ratio=1.5)),
    "density": ("density", lambda: Subsampled(SHAPE, ratio=0.5, density=-1)),
    "mri, mask": ("mask", lambda: MRI(SHAPE, keep(7))),
    "mri, weights": ("mask", lambda: MRI(SHAPE, torch.full((6,), 0.5))),
    "mri, nothing": ("mask", lambda: MRI(SHAPE, torch.zeros(6))),
    "mri, real signal": ("x", lambda: MRI(SHAPE, keep(6))(torch.zeros(1, *SHAPE))),
    "mask, kind": ("kind", lambda: cartesian_mask((8, 8), 4, "spiral")),  # type: ignore[arg-type]
    "mask, size": ("size", lambda: cartesian_mask((8, 0), 4)),
    "mask, acceleration": ("acceleration", lambda: cartesian_mask((8, 8), 0.5)),
    "mask, centre": ("centre_fraction", lambda: cartesian_mask((8, 80), 8, centre_fraction=0.5)),
    "mask, axes": ("axes", lambda: cartesian_mask((8, 8), 4, "random", axes=2)),
    "mask, plane": ("axes", lambda: cartesian_mask((8, 8), 4, axes=(0, 1))),
    "gains": ("gains", lambda: WhiteBalance(SHAPE, [1, 2])),
    "gains, zero": ("gains", lambda: WhiteBalance(SHAPE, [1, 0, 2])),
    "endmembers": ("endmembers", lambda: SpectralUnmixing(SHAPE, torch.ones(5, 2))),
    "colours": ("colour", lambda: ColourMatrix(SHAPE, torch.ones(5, 2))),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(mistake: str) -> None:
    named, make = MISTAKES[mistake]
    with pytest.raises(InvalidArgument, match=named):
        make()


@pytest.mark.parametrize("m", [256, 257, 300])
@pytest.mark.parametrize("symmetric", [True, False])
def test_eigenvectors_by_halves(m: int, symmetric: bool) -> None:
    """A large matrix that is the same from both ends, even and odd, and one that is not: rebuilt from its basis."""
    from kintsugi.operators.eigenbasis import Eigenbasis

    generator = torch.Generator().manual_seed(0)
    root = torch.randn(m, m, generator=generator, dtype=torch.float64) / m**0.5
    matrix = root @ root.T
    if symmetric:
        matrix = 0.5 * (matrix + matrix.flip(0, 1))
    basis = Eigenbasis(matrix)
    assert basis._mirrored == symmetric
    for dim, shape in ((2, (2, 1, m, 3)), (3, (2, 1, 3, m))):
        u = torch.randn(shape, generator=generator, dtype=torch.float64)
        there = basis.along(u, dim)
        torch.testing.assert_close(basis.along(there, dim, back=True), u, rtol=0, atol=2e-5)
        torch.testing.assert_close(there.norm(), u.norm(), rtol=1e-6, atol=0)
        values = basis.values.view(-1, *(1,) * (3 - dim))
        expected = (matrix @ u.movedim(dim, -2)).movedim(-2, dim) if dim == 2 else u @ matrix
        torch.testing.assert_close(basis.along(values * there, dim, back=True), expected, rtol=0, atol=2e-5)


def test_a_large_resize_by_halves_is_that_of_its_dense_matrix() -> None:
    operator = Resize((1, 430, 8), (301, 5))
    y = torch.randn(1, 1, 301, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows, columns = (Resize((1, n, 1), (k, 1)) for n, k in ((430, 301), (8, 5)))
    first, second = (dense_matrix(r) for r in (rows, columns))
    gram = torch.kron(first @ first.T, second @ second.T)
    expected = torch.linalg.solve(0.3 * gram + 0.01 * torch.eye(len(gram)).double(), y.flatten())
    torch.testing.assert_close(operator.solve(0.3, 0.01, y).flatten(), expected, rtol=0, atol=2e-3)
