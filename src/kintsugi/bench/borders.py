"""Blurs and reductions with the borders of the papers' code, which is not circular, axis by axis.

Along an axis of n samples ``y_i = sum_t k_t x_(s i + first + t)``, a matrix R of n / s rows, where samples beyond the
border are zero, or mirrored (sample -1 is sample 0). The measurement is R along each axis. As in the code of DDRM,
which RED-diff and C-PiGDM use, singular values of R below a ``cutoff`` are not only left out of pseudo-inverses but set
to zero in the measurement itself: R is replaced by the matrix without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..operators.kernels import bicubic_kernel, gaussian_kernel
from ..operators.separable import Separable

Border = Literal["zero", "reflect"]
CUTOFF = 3e-2


def axis_matrix(n: int, taps: Tensor, first: int, factor: int, border: Border) -> Tensor:
    """R of the module, (n // factor, n), float64: ``taps`` begin ``first`` samples from the start of each block."""
    if n % factor:
        raise InvalidArgument("factor", factor, f"a divisor of {n} samples")
    row = torch.arange(n // factor)[:, None].expand(-1, len(taps))
    column = factor * row + first + torch.arange(len(taps))
    weights = taps.double().expand(len(row), -1)
    if border == "reflect":
        column = column.remainder(2 * n)
        column = torch.where(column < n, column, 2 * n - 1 - column)
    else:
        weights = torch.where((column >= 0) & (column < n), weights, 0.0)
        column = column.clamp(0, n - 1)
    return torch.zeros((n // factor, n), dtype=torch.float64).index_put((row, column), weights, accumulate=True)


def without_small(matrix: Tensor, cutoff: float) -> Tensor:
    """``matrix`` without its singular values below ``cutoff``."""
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    return (u * torch.where(s < cutoff, 0.0, s)) @ vt


def bordered(
    shape: Sequence[int], taps: Tensor, first: int, border: Border, *, factor: int = 1, cutoff: float | None = None
) -> Separable:
    """``taps`` along both axes of pictures of ``shape`` (C, H, W). ``cutoff``: None for 3e-2."""
    least = CUTOFF if cutoff is None else cutoff
    matrices = [without_small(axis_matrix(n, taps, first, factor, border), least) for n in shape[1:]]
    return Separable(matrices, shape)


def bordered_bicubic(shape: Sequence[int], factor: int, border: Border, cutoff: float | None = None) -> Separable:
    """Bicubic reduction: ``4 factor`` taps, centred on blocks of ``factor`` samples."""
    taps = bicubic_kernel(factor)
    return bordered(shape, taps, (factor - len(taps)) // 2, border, factor=factor, cutoff=cutoff)


def bordered_gaussian(
    shape: Sequence[int], sigma: float, size: int | None, border: Border, cutoff: float | None = None
) -> Separable:
    """A Gaussian of ``size`` taps (odd; None for what 4 sigma need)."""
    taps = gaussian_kernel(sigma, size, dims=1)
    return bordered(shape, taps, -(len(taps) // 2), border, cutoff=cutoff)
