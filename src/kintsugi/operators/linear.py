"""The simple degradations by name, each a :class:`Stationary` operator or a crop of one.

``shape`` is always that of the clean, visible signal (C, *S). ``boundary`` says what lies beyond its border:
``"circular"``, the field's benchmarks, wraps around and gives closed forms; ``"unknown"`` is the real world, see
``canvas.py``. Then ``operator.in_shape`` is that of the canvas, and ``operator.visible(x)`` is the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .base import LinearOperator, Shape, per_axis, signal_shape
from .canvas import unknown_boundary
from .kernels import bicubic_kernel, check_kernel
from .stationary import Stationary, kernel_transfer

Boundary = Literal["circular", "unknown"]


def Identity(shape: Sequence[int]) -> Stationary:
    """``y = x``: denoising.

    >>> Identity((3, 8, 8)).flat
    1.0
    """
    return Stationary(shape)


def Grey(shape: Sequence[int], weights: Sequence[float] | None = None) -> Stationary:
    """``y`` = one channel, the mean of all (or their sum with ``weights``): colourisation."""
    channels = signal_shape(shape)[0]
    row = torch.tensor([1 / channels] * channels if weights is None else list(weights), dtype=torch.float64)
    if (
        len(row) != channels
        or not bool(torch.isfinite(row).all())
        or not bool(row.any())
        or float(row.abs().max()) > 1e6
    ):
        raise InvalidArgument("weights", weights, f"{channels} finite numbers up to a million, not all zero")
    return Stationary(shape, colour=row[None])


def Blur(
    shape: Sequence[int], kernel: Tensor, boundary: Boundary = "circular", *, cutoff: float = 3e-2
) -> LinearOperator:
    """Convolution with ``kernel`` (one axis for each of space; divided by its sum).

    ``cutoff``: a blur nearly erases high frequencies; singular values below this share are treated as erased in
    pseudo-inverses. 3e-2 is the choice of DDRM for its Gaussian blur.
    """
    shape = signal_shape(shape)
    kernel = check_kernel(kernel)
    size = shape[1:]
    if kernel.ndim != len(size) or any(k > n for k, n in zip(kernel.shape, size, strict=True)):
        raise InvalidArgument("kernel", tuple(kernel.shape), f"a kernel no larger than the signal {size}")

    def circular(canvas: Shape) -> Stationary:
        return Stationary(canvas, kernel_transfer(kernel, canvas[1:]), cutoff=cutoff)

    return _bounded(shape, [n // 2 for n in kernel.shape], (1,) * len(size), circular, boundary)


def Bicubic(shape: Sequence[int], factor: int | Sequence[int], boundary: Boundary = "circular") -> LinearOperator:
    """Bicubic decimation with antialiasing (a = -0.5, 4 ``factor`` taps): the super-resolution of the field.

    ``y`` has ``ceil(n / factor)`` samples along each axis. With a circular boundary ``factor`` must divide the size.
    """
    shape = signal_shape(shape)
    factors = _factors(factor, shape)
    lines = [bicubic_kernel(s) if s > 1 else torch.ones(1, dtype=torch.float64) for s in factors]

    def circular(canvas: Shape) -> Stationary:
        return _separable(canvas, lines, factors)

    # A block is `s` samples; the 4s taps reach 3s/2 beyond its edges on either side.
    return _bounded(shape, [(3 * s + 1) // 2 if s > 1 else 0 for s in factors], factors, circular, boundary)


def BlockAverage(shape: Sequence[int], factor: int | Sequence[int]) -> LinearOperator:
    """The mean of each block of ``factor`` samples along each axis; ``A A^T`` is a multiple of the identity.

    Where ``factor`` does not divide the size, the last blocks reach into an unknown margin.
    """
    shape = signal_shape(shape)
    factors = _factors(factor, shape)
    lines = [torch.full((s,), 1 / s, dtype=torch.float64) for s in factors]

    def circular(canvas: Shape) -> Stationary:
        return _separable(canvas, lines, factors)

    divides = not any(n % s for n, s in zip(shape[1:], factors, strict=True))
    return _bounded(shape, [0] * len(factors), factors, circular, "circular" if divides else "unknown")


def _factors(factor: int | Sequence[int], shape: Shape) -> tuple[int, ...]:
    factors = per_axis("factor", factor, len(shape) - 1)
    if any(s > n for s, n in zip(factors, shape[1:], strict=True)):
        raise InvalidArgument("factor", factor, f"at most the size of the signal {shape[1:]}")
    return factors


def _separable(canvas: Shape, lines: Sequence[Tensor], factors: Sequence[int]) -> Stationary:
    """Correlate along each axis with taps centred on the blocks of ``factors`` samples, and keep one a block."""
    transfer = torch.ones((), dtype=torch.complex128)
    for axis, (line, s) in enumerate(zip(lines, factors, strict=True)):
        first = (s - len(line)) // 2  # where the taps of block 0 begin; exact, as both have the same parity
        # y_i = sum_j line_j x_{s i + first + j} is a convolution with the reversed taps.
        one = kernel_transfer(line.flip(0), canvas[1 + axis : 2 + axis], [len(line) - 1 + first])
        transfer = transfer[..., None] * one
    return Stationary(canvas, transfer, factor=tuple(factors))


def _bounded(
    shape: Shape,
    reach: Sequence[int],
    factors: tuple[int, ...],
    circular: Callable[[Shape], Stationary],
    boundary: Boundary,
) -> LinearOperator:
    if boundary == "circular":
        return circular(shape)
    if boundary == "unknown":
        return unknown_boundary(shape, reach, factors, circular)
    raise InvalidArgument("boundary", boundary, "'circular' or 'unknown'")
