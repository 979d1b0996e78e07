"""Kernels of blurs: tensors that sum to one, in float64."""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InvalidArgument, InvalidFile
from .base import check_plain

LARGEST = 2**22  # weights of a kernel


def gaussian_kernel(sigma: float, size: int | None = None, dims: int = 2) -> Tensor:
    """Gaussian of standard deviation ``sigma`` samples, cut at 4 sigma unless ``size`` (odd) is given."""
    if not (sigma > 0 and math.isfinite(sigma)):
        raise InvalidArgument("sigma", sigma, "a positive number of samples")
    if size is not None and (size < 1 or size % 2 == 0):
        raise InvalidArgument("size", size, "an odd integer of at least 1")
    half = math.ceil(min(4 * sigma, LARGEST)) if size is None else (size - 1) // 2
    _check_side("sigma" if size is None else "size", 2 * half + 1, dims)
    x = torch.arange(-half, half + 1, dtype=torch.float64)
    return _outer(torch.exp(-0.5 * (x / sigma) ** 2), dims)


def uniform_kernel(size: int, dims: int = 2) -> Tensor:
    """A box of ``size`` samples along each axis."""
    if size < 1:
        raise InvalidArgument("size", size, "an integer of at least 1")
    _check_side("size", size, dims)
    return _outer(torch.ones(size, dtype=torch.float64), dims)


def motion_kernel(length: float, angle: float = 0.0) -> Tensor:
    """A straight motion blur of ``length`` pixels at ``angle`` degrees (0 is horizontal, 90 upwards), antialiased."""
    if not (length >= 1 and math.isfinite(length) and math.isfinite(angle)):
        raise InvalidArgument("length", (length, angle), "a length of at least 1 pixel and a finite angle")
    half = math.ceil(min(length, LARGEST) / 2) + 1
    _check_side("length", 2 * half + 1, 2)
    offsets = torch.linspace(-0.5, 0.5, max(2, 16 * math.ceil(length)), dtype=torch.float64) * (length - 1)
    points = torch.stack((-math.sin(math.radians(angle)) * offsets, math.cos(math.radians(angle)) * offsets)) + half
    kernel = torch.zeros((2 * half + 1, 2 * half + 1), dtype=torch.float64)
    low = points.floor().long()
    frac = points - low
    for dy in (0, 1):
        for dx in (0, 1):
            weight = (frac[0] if dy else 1 - frac[0]) * (frac[1] if dx else 1 - frac[1])
            kernel.index_put_((low[0] + dy, low[1] + dx), weight, accumulate=True)
    used = [int((kernel.sum(1 - axis) > 1e-12).nonzero().sub(half).abs().max()) for axis in (0, 1)]
    kernel = kernel[half - used[0] : half + used[0] + 1, half - used[1] : half + used[1] + 1]
    return kernel / kernel.sum()


def bicubic_kernel(factor: int, a: float = -0.5) -> Tensor:
    """The antialiasing cubic of ``factor`` along one axis: taps at ``|x| < 2 factor`` from the centre of a block.

    Even factors have ``4 factor`` taps at half-integer offsets, as the field's benchmarks use; odd factors have
    ``4 factor - 1`` at integer ones, so that blocks stay centred.
    """
    if factor < 1:
        raise InvalidArgument("factor", factor, "an integer of at least 1")
    if not abs(a) < 1e6:
        raise InvalidArgument("a", a, "a number, as -0.5 or -0.75")
    taps = 4 * factor - factor % 2
    _check_side("factor", taps, 1)
    x = ((torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2) / factor).abs()
    inner = (a + 2) * x**3 - (a + 3) * x**2 + 1
    outer = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    kernel = torch.where(x <= 1, inner, torch.where(x < 2, outer, 0.0))
    return kernel / kernel.sum()


def load_kernel(path: str | os.PathLike[str]) -> Tensor:
    """A kernel from a grey picture (brightness is weight) or a ``.npy`` array; at least one weight above 0.

    Errors: :class:`InvalidFile`, for a file that cannot be read and for weights that are no kernel.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                _check_size(path.stat().st_size // 16)
                values = np.lib.format.read_array(file, allow_pickle=False)
            if values.dtype.kind not in "buif":
                raise ValueError(f"an array of {values.dtype}, not of real numbers")
        else:
            from PIL import Image

            from ..images.reading import READABLE

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about odd metadata
                # No other formats: Pillow would run Ghostscript for one of them.
                with Image.open(path, formats=READABLE) as image:
                    _check_size(image.width * image.height)
                    values = np.asarray(image.convert("F"))
        return check_kernel(torch.from_numpy(np.asarray(values, dtype=np.float64)))
    except Exception as error:  # decoders fed with broken bytes raise anything: SyntaxError, struct.error, IndexError
        raise InvalidFile(path, f"not a readable kernel ({' '.join(str(error).split())})") from error


def _check_side(name: str, side: int, dims: int) -> None:
    """Before there is memory for it: a kernel of ``side`` samples along each of ``dims`` axes."""
    if not 1 <= dims <= 3:
        raise InvalidArgument("dims", dims, "1, 2 or 3 axes")
    if side > 2**20 or side**dims > LARGEST:
        raise InvalidArgument(name, f"a kernel of {side} samples along {dims} axes", f"at most {LARGEST} weights")


def _check_size(weights: int) -> None:
    if weights > LARGEST:
        raise ValueError(f"{weights} weights or more; a kernel has at most {LARGEST}")


def check_kernel(kernel: Tensor) -> Tensor:
    """``kernel`` in float64, divided by its sum. Finite, of positive sum, at least one axis."""
    kernel = torch.as_tensor(kernel).double()
    check_plain("kernel", kernel)
    if kernel.ndim < 1 or kernel.numel() == 0 or not bool(torch.isfinite(kernel).all()):
        raise InvalidArgument("kernel", tuple(kernel.shape), "a kernel of finite weights")
    if not 0 < float(kernel.detach().sum()) < math.inf:  # infinite where finite weights are too large to be added
        expected = "weights with a positive, finite sum"
        raise InvalidArgument("kernel", f"weights that sum to {float(kernel.detach().sum()):g}", expected)
    return kernel / kernel.sum()


def _outer(line: Tensor, dims: int) -> Tensor:
    line = line / line.sum()
    out = line
    for _ in range(dims - 1):
        out = out[..., None] * line
    return out
