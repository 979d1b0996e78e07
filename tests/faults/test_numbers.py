"""The same picture in half precision, in other batches, in tiles and with other neighbours: to the bounds of
docs/reliability.md."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import kintsugi
from kintsugi.operators import Bicubic, Magnitude, Mask
from kintsugi.priors import Prior
from kintsugi.priors.wrappers import Tiled
from kintsugi.problem import Problem


def crop(size: int) -> Tensor:
    """The middle of the bundled picture, (1, 3, size, size) in [-1, 1]."""
    with Image.open(kintsugi.data_path("parrots")) as image:
        left, top = (image.width - size) // 2, (image.height - size) // 2
        pixels = np.array(image.convert("RGB").crop((left, top, left + size, top + size)))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1


def holes(size: int, noise: float = 0.02, rows: int = 1) -> Problem:
    keep = torch.rand(size, size, generator=torch.Generator().manual_seed(0)) > 0.5
    x = crop(size)
    return Problem.simulate(torch.cat([x, x.flip(-1)])[:rows], Mask(keep, (3, size, size)), noise)


def decibels(a: Tensor, b: Tensor) -> float:
    """The PSNR in dB between pictures in [-1, 1]."""
    return 10 * math.log10(4 / max(float((a.double() - b.double()).square().mean()), 1e-30))


@pytest.fixture(scope="module")
def exact() -> Prior:
    return kintsugi.load_prior("photo")


@pytest.mark.parametrize(
    ("sampler", "dtype", "least"),
    [
        ("kintsugi", torch.float16, 75.0),
        ("kintsugi", torch.bfloat16, 55.0),
        ("ddnm", torch.float16, 75.0),
        ("ddnm", torch.bfloat16, 55.0),
        ("reddiff", torch.float16, 48.0),
        ("reddiff", torch.bfloat16, 40.0),
    ],
)
def test_half_precision_gives_the_same_picture(sampler: str, dtype: torch.dtype, least: float, exact: Prior) -> None:
    """And not a bit for bit equal one: the network did run in half precision."""
    stated, half = holes(128), kintsugi.load_prior("photo", dtype=dtype)
    assert next(half.parameters()).dtype == dtype
    single, rounded = (kintsugi.restore(stated, prior, sampler).samples[:, 0] for prior in (exact, half))
    assert rounded.dtype == torch.float32
    assert least < decibels(single, rounded) < 120
    truth = crop(128)
    assert decibels(rounded, truth) == pytest.approx(decibels(single, truth), abs=0.1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_measurement_of_half_precision(dtype: torch.dtype, exact: Prior) -> None:
    """As the same numbers in float32, rounded once more; the measurement stays as it was."""
    stated = Problem.simulate(crop(32).to(dtype), Bicubic((3, 32, 32), 4), 0.05)
    assert stated.y.dtype == dtype
    out = kintsugi.restore(stated, exact)
    wide = kintsugi.restore(Problem(stated.y.float(), stated.operator, 0.05), exact)
    assert torch.equal(out.samples, wide.samples.to(dtype))
    assert stated.y.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_operators_take_half_precision(dtype: torch.dtype) -> None:
    """A Fourier transform and an eigenvalue problem, which have no half precision on a CPU."""
    x = crop(16).to(dtype)
    for operator in (Bicubic((3, 16, 16), 4), Magnitude((3, 16, 16))):
        assert torch.equal(operator(x), operator(x.float()).to(dtype))
    y = Bicubic((3, 16, 16), 4)(x)
    assert torch.equal(Bicubic((3, 16, 16), 4).adjoint(y), Bicubic((3, 16, 16), 4).adjoint(y.float()).to(dtype))


@pytest.mark.parametrize("sampler", ["kintsugi", "ddnm", "cpigdm"])
def test_the_same_call_gives_the_same_bits(sampler: str, exact: Prior) -> None:
    stated = holes(48, rows=2)
    first, again = (kintsugi.restore(stated, exact, sampler, samples=2, seed=3).samples for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize(
    ("sampler", "bound"),
    [
        ("ddnm", 1e-5),
        ("cpigdm", 1e-5),
        # Its solver stops at a tolerance, and rounding decides whether it takes one more iteration.
        ("kintsugi", None),
    ],
)
def test_other_batches_give_the_same_picture(sampler: str, bound: float | None, exact: Prior) -> None:
    stated = holes(48, rows=2)
    alone = kintsugi.restore(stated, exact, sampler, samples=2, batch=1).samples
    for batch in (2, 3, 4):
        together = kintsugi.restore(stated, exact, sampler, samples=2, batch=batch).samples
        if bound is not None:
            torch.testing.assert_close(together, alone, rtol=0, atol=bound)
        assert decibels(together, alone) > 55


def test_tiles_give_the_same_picture(model: str) -> None:
    """A small network, whose tiles need little overlap: several tiles, and one whole image."""
    prior = kintsugi.load_prior(model)
    stated = holes(96)
    assert not Tiled(prior, 16).sees_whole(stated.y)
    whole, tiled = (kintsugi.restore(stated, prior, "ddnm", tile=tile).samples for tile in (None, 16))
    again = kintsugi.restore(stated, prior, "ddnm", tile=16).samples
    assert torch.equal(tiled, again)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)
