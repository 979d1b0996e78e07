"""What an operator does at the border, against direct convolution: nothing wraps unless it was asked to."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from kintsugi.operators import Bicubic, BlockAverage, Blur, LinearOperator, gaussian_kernel, motion_kernel
from kintsugi.operators.canvas import OnCanvas

Array = NDArray[np.float64]
SCENE_MARGIN = 9


def scene_around(operator: LinearOperator, seed: int = 0) -> tuple[Array, Tensor, tuple[int, int]]:
    """A random scene, the operator's canvas cut out of it, and where the visible picture begins in the scene."""
    channels, height, width = operator.in_shape
    assert channels == 1
    scene = np.random.default_rng(seed).standard_normal((height + 2 * SCENE_MARGIN, width + 2 * SCENE_MARGIN))
    canvas = torch.from_numpy(scene[SCENE_MARGIN : SCENE_MARGIN + height, SCENE_MARGIN : SCENE_MARGIN + width].copy())
    places = torch.arange(height * width, dtype=torch.float64)
    index = operator.visible(places.view(1, 1, height, width)).long()
    top, left = divmod(int(index[0, 0, 0, 0]), width)
    return scene, canvas[None, None], (top + SCENE_MARGIN, left + SCENE_MARGIN)


def cubic(x: float, a: float = -0.5) -> float:
    """Keys' kernel, as printed."""
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    if x < 2:
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return 0.0


def taps(factor: int, origin: int, index: int) -> list[tuple[int, float]]:
    """Position and weight of each sample that measures block ``index`` of a line; its picture begins at ``origin``."""
    if factor == 1:
        return [(origin + index, 1.0)]
    centre = origin + factor * index + (factor - 1) / 2
    near = range(math.ceil(centre - 2 * factor), math.floor(centre + 2 * factor) + 1)
    weights = [(p, cubic((p - centre) / factor)) for p in near]
    total = sum(w for _, w in weights)
    return [(p, w / total) for p, w in weights]


def bicubic_by_hand(scene: Array, origin: tuple[int, int], size: tuple[int, int], factor: tuple[int, int]) -> Array:
    """Literal loops; positions outside the scene wrap around, for circular boundaries."""
    height, width = scene.shape
    out = np.zeros(size)
    for i, j in itertools.product(*map(range, size)):
        rows, columns = taps(factor[0], origin[0], i), taps(factor[1], origin[1], j)
        out[i, j] = sum(u * v * scene[p % height, q % width] for p, u in rows for q, v in columns)
    return out


@pytest.mark.parametrize("kernel_size", [(1, 1), (3, 3), (5, 2), (4, 4), (1, 7), (6, 3)])
@pytest.mark.parametrize("size", [(9, 11), (7, 8)])
def test_unknown_blur_is_the_valid_convolution_of_the_scene(
    kernel_size: tuple[int, int], size: tuple[int, int]
) -> None:
    kernel = np.random.default_rng(3).random(kernel_size)
    kernel /= kernel.sum()
    operator = Blur((1, *size), torch.from_numpy(kernel), "unknown")
    scene, canvas, (top, left) = scene_around(operator)
    valid = scipy.signal.convolve2d(scene, kernel, mode="valid")
    # valid[p] is centred on the scene's sample p + (n - 1 - c), with c = (n - 1) // 2 the kernel's centre
    shift = [n - 1 - (n - 1) // 2 for n in kernel_size]
    expected = valid[top - shift[0] : top - shift[0] + size[0], left - shift[1] : left - shift[1] + size[1]]
    assert operator.out_shape == (1, *size)
    assert np.allclose(operator(canvas)[0, 0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("factor", [(2, 2), (3, 3), (4, 4), (2, 3), (1, 4), (5, 1)])
@pytest.mark.parametrize("size", [(8, 12), (9, 7)])
def test_unknown_bicubic_is_direct_decimation_of_the_scene(factor: tuple[int, int], size: tuple[int, int]) -> None:
    operator = Bicubic((1, *size), factor, "unknown")
    scene, canvas, origin = scene_around(operator)
    small = (math.ceil(size[0] / factor[0]), math.ceil(size[1] / factor[1]))
    assert operator.out_shape == (1, *small)
    assert np.allclose(operator(canvas)[0, 0].numpy(), bicubic_by_hand(scene, origin, small, factor), atol=1e-12)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(5, 12), st.integers(5, 12))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_unknown_bicubic_at_any_size(f1: int, f2: int, height: int, width: int) -> None:
    operator = Bicubic((1, height, width), (f1, f2), "unknown")
    scene, canvas, origin = scene_around(operator)
    small = (math.ceil(height / f1), math.ceil(width / f2))
    assert np.allclose(operator(canvas)[0, 0].numpy(), bicubic_by_hand(scene, origin, small, (f1, f2)), atol=1e-12)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_circular_bicubic_is_the_literal_kernel(factor: int) -> None:
    size = (4 * factor, 3 * factor)
    operator = Bicubic((1, *size), factor)
    x = np.random.default_rng(1).standard_normal(size)
    expected = bicubic_by_hand(x, (0, 0), (4, 3), (factor, factor))
    assert np.allclose(operator(torch.from_numpy(x)[None, None])[0, 0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("kernel_size", [(3, 3), (5, 1), (1, 7)])
def test_circular_blur_is_ndimage_with_wrap(kernel_size: tuple[int, int]) -> None:
    kernel = np.random.default_rng(2).random(kernel_size)
    x = np.random.default_rng(1).standard_normal((7, 10))
    got = Blur((1, 7, 10), torch.from_numpy(kernel))(torch.from_numpy(x)[None, None])[0, 0]
    assert np.allclose(got.numpy(), scipy.ndimage.convolve(x, kernel / kernel.sum(), mode="wrap"), atol=1e-12)


@pytest.mark.parametrize("kernel_size", [(4, 2), (3, 6), (7, 10)])
def test_circular_blur_of_even_size_is_convolve2d_with_wrap(kernel_size: tuple[int, int]) -> None:
    """``(n - 1) // 2`` is the centre of a kernel, as in SciPy's signal package (``ndimage`` takes ``n // 2``)."""
    kernel = np.random.default_rng(2).random(kernel_size)
    x = np.random.default_rng(1).standard_normal((7, 10))
    got = Blur((1, 7, 10), torch.from_numpy(kernel))(torch.from_numpy(x)[None, None])[0, 0]
    expected = scipy.signal.convolve2d(x, kernel / kernel.sum(), mode="same", boundary="wrap")
    assert np.allclose(got.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(("size", "kernel_size"), [((11,), (5,)), ((5, 6, 7), (3, 1, 5))])
def test_circular_blur_of_one_and_three_dimensions(size: tuple[int, ...], kernel_size: tuple[int, ...]) -> None:
    rng = np.random.default_rng(4)
    kernel, x = rng.random(kernel_size), rng.standard_normal(size)
    got = Blur((1, *size), torch.from_numpy(kernel))(torch.from_numpy(x)[None, None])[0, 0]
    assert np.allclose(got.numpy(), scipy.ndimage.convolve(x, kernel / kernel.sum(), mode="wrap"), atol=1e-12)


def test_block_average_that_does_not_divide_reaches_beyond_the_picture() -> None:
    operator = BlockAverage((1, 7, 5), 3)
    scene, canvas, (top, left) = scene_around(operator)
    blocks = scene[top : top + 9, left : left + 6].reshape(3, 3, 2, 3)
    expected = blocks.mean(axis=(1, 3))
    assert np.allclose(operator(canvas)[0, 0].numpy(), expected, atol=1e-12)
    assert operator.visible(canvas).shape == (1, 1, 7, 5)


def test_a_kernel_of_even_size_moves_the_picture_by_half_a_sample() -> None:
    """It has no middle sample: the one before the middle stands at the origin."""
    row = torch.arange(12, dtype=torch.float64)
    y = Blur((1, 12), torch.ones(2))(row[None, None])[0, 0]
    assert torch.allclose(y[1:], row[1:] - 0.5)


UNKNOWN: list[LinearOperator] = [
    Blur((2, 9, 8), gaussian_kernel(0.6), "unknown"),
    Blur((2, 9, 8), motion_kernel(6, 45), "unknown"),
    Bicubic((2, 9, 7), 3, "unknown"),
    Bicubic((2, 8, 10), (4, 1), "unknown"),
    BlockAverage((2, 9, 7), 4),
]


@pytest.mark.parametrize("operator", UNKNOWN)
def test_visible_returns_the_pictures_own_pixels(operator: LinearOperator) -> None:
    """One window of the canvas, contiguous, unchanged, in every channel."""
    assert isinstance(operator, OnCanvas)
    canvas = torch.arange(math.prod(operator.in_shape), dtype=torch.float64).view(1, *operator.in_shape)
    picture = operator.visible(canvas)[0]
    first = picture[0, 0, 0].item()
    step = operator.in_shape[2]
    rows, columns = picture.shape[1:]
    grid = first + step * torch.arange(rows)[:, None] + torch.arange(columns)
    assert torch.equal(picture[0], grid.double())
    assert bool((picture[1] - picture[0] == math.prod(operator.in_shape[1:])).all())


@pytest.mark.parametrize("operator", UNKNOWN)
def test_a_ramp_is_measured_where_it_stands(operator: LinearOperator) -> None:
    """Picture and measurement share one coordinate system: symmetric kernels keep a linear ramp, block by block."""
    height, width = operator.in_shape[1:]
    row = torch.arange(height, dtype=torch.float64)[:, None].expand(height, width)
    canvas = row.expand(1, *operator.in_shape)
    top = operator.visible(canvas)[0, 0, 0, 0].item()
    y = operator(canvas)[0, 0]
    factor = round((y[1, 0] - y[0, 0]).item())
    expected = top + factor * torch.arange(len(y), dtype=torch.float64) + (factor - 1) / 2
    assert torch.allclose(y[:, 0], expected, atol=1e-9)


@pytest.mark.parametrize("operator", UNKNOWN)
def test_no_measured_sample_sees_both_ends(operator: LinearOperator) -> None:
    """The support of each measured sample is one interval along each axis: it does not wrap around the canvas."""
    n = math.prod(operator.out_shape)
    supports = operator.adjoint(torch.eye(n, dtype=torch.float64).view(n, *operator.out_shape)).abs() > 1e-12
    for axis in (2, 3):
        others = tuple(d for d in (1, 2, 3) if d != axis)
        touched = supports.any(dim=others[0], keepdim=True).any(dim=others[1], keepdim=True).flatten(1)
        for line in touched:
            where = line.nonzero().flatten()
            zeros = int(where.max() - where.min()) + 1 - len(where)
            assert zeros <= 4  # those of the bicubic kernel, not a gap


@pytest.mark.parametrize("operator", UNKNOWN)
def test_every_visible_pixel_was_measured(operator: LinearOperator) -> None:
    y = torch.ones(1, *operator.out_shape, dtype=torch.float64)
    coverage = operator.adjoint(y)
    assert bool((operator.visible(coverage).abs() > 1e-9).all())
