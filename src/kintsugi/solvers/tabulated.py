"""Coefficients of a step for very many eigenvalues, from a table."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .conjugate import Coefficients


def tabulated(of: Callable[[Tensor], Coefficients], size: int = 4096) -> Callable[[Tensor], Coefficients]:
    """``of``, but for more than ``size`` eigenvalues interpolated between that many, evenly spread in log(lam).

    The coefficients are smooth in log(lam): a polynomial through Chebyshev nodes gives the table, and between its 4096
    entries linear interpolation is good to 1e-6. A megapixel's worth costs milliseconds.
    """

    def evaluate(lam: Tensor) -> Coefficients:
        if lam.numel() <= size:
            return of(lam)
        nodes, refine = _table(size)
        low, high = float(lam.min().log()), float(lam.max().log())
        high = max(high, low + 1e-6)
        at = of(torch.exp(low + (high - low) * nodes))
        place = ((lam.log() - low) * ((size - 1) / (high - low))).clamp(0, size - 1)
        below = place.int().clamp_max(size - 2)
        frac = (place - below).flatten()
        below = below.flatten()

        def look_up(values: Tensor) -> Tensor:
            values = (refine @ values).to(lam)
            first, step = (v.index_select(0, below) for v in (values, values.diff()))
            return torch.addcmul(first, step, frac).view(lam.shape)

        return at.map(look_up)

    return evaluate


@functools.lru_cache(maxsize=2)
def _table(size: int, nodes: int = 128) -> tuple[Tensor, Tensor]:
    """Chebyshev nodes on [0, 1], and the matrix from values there to values at ``size`` places evenly spread."""
    x = np.cos(np.pi * (np.arange(nodes) + 0.5) / nodes)
    towards = np.polynomial.chebyshev.chebvander(x, nodes - 1).T * (2 / nodes)  # a discrete cosine transform
    towards[0] /= 2
    matrix = np.polynomial.chebyshev.chebvander(np.linspace(-1, 1, size), nodes - 1) @ towards
    return torch.from_numpy((x + 1) / 2), torch.from_numpy(matrix)
