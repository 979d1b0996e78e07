"""A stationary covariance: its dense matrix, its eigenvectors, its samples."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kintsugi.operators import StationaryCovariance
from kintsugi.operators.covariance import frequency_radius


def spectrum(radius: Tensor) -> Tensor:
    return torch.stack((1 / (0.01 + radius**2), 0.2 / (0.1 + radius)))


COVARIANCE = StationaryCovariance(spectrum)
SHAPES = [(3, 4, 6), (3, 5, 4), (1, 5, 7), (2, 9), (4, 3, 2, 5), (1, 1, 6)]


def dense(covariance: StationaryCovariance, shape: tuple[int, ...]) -> Tensor:
    n = math.prod(shape)
    return covariance(torch.eye(n, dtype=torch.float64).view(n, *shape)).flatten(1)


def wave(shape: tuple[int, ...], index: tuple[int, ...], colour: Tensor) -> tuple[Tensor, Tensor]:
    """A plane wave of ``index`` periods along each axis, in ``colour``; and its frequency in cycles per sample."""
    phase = torch.zeros(shape[1:], dtype=torch.float64)
    for axis, (k, n) in enumerate(zip(index, shape[1:], strict=True)):
        line = 2 * math.pi * k * torch.arange(n, dtype=torch.float64) / n
        phase = phase + line.view((-1,) + (1,) * (len(shape) - 2 - axis))
    squares = [(min(k % n, n - k % n) / n) ** 2 for k, n in zip(index, shape[1:], strict=True)]
    radius = torch.tensor(math.sqrt(sum(squares)), dtype=torch.float64)
    return (colour.double().view(-1, *(1,) * len(index)) * torch.cos(phase + 0.4))[None], radius


@pytest.mark.parametrize("shape", SHAPES)
def test_dense_form_is_symmetric_and_positive(shape: tuple[int, ...]) -> None:
    matrix = dense(COVARIANCE, shape)
    assert torch.allclose(matrix, matrix.T, atol=1e-12)
    values = torch.linalg.eigvalsh(matrix)
    full = spectrum(frequency_radius(shape[1:], half=False, like=matrix)).flatten(1)
    expected = torch.cat([full[0]] + [full[1]] * (shape[0] - 1)).sort().values
    assert torch.allclose(values, expected, rtol=1e-9)


@pytest.mark.parametrize("index", [(0, 0), (1, 0), (0, 2), (3, 1), (2, -2), (4, 5)])
def test_luma_and_chroma_waves_are_eigenvectors(index: tuple[int, int]) -> None:
    shape = (3, 8, 10)
    luma, radius = wave(shape, index, torch.ones(3))
    chroma, _ = wave(shape, index, torch.tensor([1.0, -2.0, 1.0]))
    values = spectrum(radius)
    assert torch.allclose(COVARIANCE(luma), values[0] * luma, rtol=1e-9, atol=1e-11)
    assert torch.allclose(COVARIANCE(chroma), values[1] * chroma, rtol=1e-9, atol=1e-11)
    roots = values.sqrt()
    assert torch.allclose(COVARIANCE.root(luma + chroma), roots[0] * luma + roots[1] * chroma, atol=1e-10)


def test_one_channel_is_luma() -> None:
    x, radius = wave((1, 9), (2,), torch.ones(1))
    assert torch.allclose(COVARIANCE(x), spectrum(radius)[0] * x, atol=1e-11)


def test_root_squared_and_plus() -> None:
    for shape in SHAPES:
        x = torch.randn((2, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        assert torch.allclose(COVARIANCE.root(COVARIANCE.root(x)), COVARIANCE(x), rtol=1e-10, atol=1e-10)
        assert torch.allclose(COVARIANCE.plus(0.7)(x), COVARIANCE(x) + 0.7 * x, rtol=1e-10, atol=1e-10)


def test_white_noise_of_variance_v_has_spectrum_v() -> None:
    """The normalisation that the documentation states."""
    white = StationaryCovariance(lambda radius: torch.full((2, *radius.shape), 0.3).to(radius))
    x = torch.randn((2, 3, 5, 4), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(white(x), 0.3 * x, atol=1e-12)


def test_samples_have_the_covariance() -> None:
    shape, n = (3, 4, 5), 40_000
    white = torch.randn((n, *shape), generator=torch.Generator().manual_seed(0))
    samples = COVARIANCE.root(white).flatten(1).double()
    expected = dense(COVARIANCE, shape)
    measured = samples.T @ samples / n
    scale = expected.diagonal().max()
    assert float((measured - expected).abs().max() / scale) < 6 * math.sqrt(2 / n)


def test_frequencies_are_in_cycles_per_sample() -> None:
    like = torch.zeros((), dtype=torch.float64)
    assert frequency_radius((4,), half=False, like=like).tolist() == [0.0, 0.25, 0.5, 0.25]
    assert frequency_radius((5,), half=True, like=like).tolist() == pytest.approx([0.0, 0.2, 0.4])
    corner = frequency_radius((4, 8), half=True, like=like)
    assert corner.shape == (4, 5)
    assert float(corner[2, 4]) == pytest.approx(0.5 * math.sqrt(2))
    assert float(corner[1, 1]) == pytest.approx(math.hypot(1 / 4, 1 / 8))


def test_float32_stays() -> None:
    x = torch.randn((2, 3, 16, 12), generator=torch.Generator().manual_seed(0))
    assert COVARIANCE(x).dtype == torch.float32
    assert torch.allclose(COVARIANCE(x).double(), COVARIANCE(x.double()), rtol=1e-3, atol=1e-4)
