"""Signals of one dimension through every sampler: the same numbers as those of a picture that is one pixel high.

The prior, a stationary Gaussian, and the operators are the same function of the samples in both; so is everything
between them, if no layer takes a signal for a picture.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kintsugi import Problem, restore
from kintsugi.errors import InvalidArgument
from kintsugi.metrics import PSNR
from kintsugi.operators import Clip, Convolve, Decimate, Identity, Mask, Operator, StationaryCovariance
from kintsugi.priors import StationaryPrior
from kintsugi.samplers import available_samplers

N = 24


def spectrum(radius: Tensor) -> Tensor:
    return torch.stack((0.01 / (0.05 + radius**2) + 0.02,) * 2)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


KERNEL = torch.tensor([0.2, 0.5, 0.3])


def operators(shape: tuple[int, ...]) -> dict[str, Operator]:
    """For signals (1, N), or pictures (1, 1, N)."""
    flat = len(shape) == 2
    return {
        "gap": Mask((torch.arange(N) < 9) | (torch.arange(N) > 12), shape),
        "noise": Identity(shape),
        "rate": Decimate(shape, 2 if flat else (1, 2)),
        "response": Convolve(shape, KERNEL if flat else KERNEL[None]),
        "clip": Clip(shape, 2.0),
    }


@pytest.mark.parametrize("name", list(operators((1, N))))
@pytest.mark.parametrize("sampler", available_samplers())
def test_a_line_of_samples_is_a_line_of_pixels(sampler: str, name: str) -> None:
    prior = StationaryPrior(StationaryCovariance(spectrum), 1)
    prior.shape = None  # of any number of dimensions
    x = StationaryCovariance(spectrum).root(randn(2, 1, N))
    found: list[Tensor | str] = []
    for shape in ((1, N), (1, 1, N)):
        operator = operators(shape)[name]
        y = operator(x.view(2, *shape)) + 0.1 * randn(2, *operator.out_shape, seed=1)
        try:
            found.append(restore(Problem(y, operator, 0.1), prior, sampler, steps=4, seed=3).samples.flatten(2))
        except (InvalidArgument, FloatingPointError) as error:  # of nonlinear operators, say
            found.append(type(error).__name__)
    line, picture = found
    assert type(line) is type(picture), found
    if isinstance(line, Tensor) and isinstance(picture, Tensor):
        torch.testing.assert_close(line, picture, rtol=1e-6, atol=1e-7)
    else:
        assert line == picture


def test_psnr_of_samples_is_that_of_pixels() -> None:
    x, truth = 0.1 * randn(3, 1, 64), 0.1 * randn(1, 64, seed=1)
    assert PSNR()(x, truth=truth) == pytest.approx(PSNR()(x[:, :, None], truth=truth[:, None]))
