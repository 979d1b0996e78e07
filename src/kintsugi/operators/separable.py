"""Operators that act along each axis by a matrix of its own: resampling, sensing by rows and columns.

    A = R_1 x R_2 (x R_3) x I_C,    A A^T = R_1 R_1^T x R_2 R_2^T x ...

Each small Gram matrix ``R R^T`` (n_out x n_out) is diagonalised by ``eigh``; in the product of their bases ``A A^T`` is
diagonal, with the outer product of their eigenvalues. That is done when a function of ``A A^T`` is first asked for, and
then kept.

``A`` and ``A^T`` use that a row of a resampling matrix sees a short window: rows are taken 64 at a time, each such
block a dense product with its window. For a 4096 x 4096 image and a factor of 4 that is 9 times faster than one dense
product, and a little faster than torch's own ``interpolate``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .base import Function, LinearOperator, check_shape, restricted_all, signal_shape, total
from .eigenbasis import Eigenbasis

ROWS = 64


class Banded:
    """A matrix (m, n) in blocks of rows, each with the window of columns outside of which it is zero."""

    def __init__(self, matrix: Tensor) -> None:
        self.shape = tuple(matrix.shape)
        whole = matrix.numel() <= ROWS**2  # as fast at once
        self._blocks: list[tuple[int, int, Tensor]] = []
        for rows in [matrix] if whole else matrix.split(ROWS):
            columns = rows.any(0).nonzero()[:, 0]
            start, stop = (int(columns[0]), int(columns[-1]) + 1) if len(columns) else (0, 1)
            self._blocks.append((start, stop, rows[:, start:stop].clone()))

    def along(self, x: Tensor, dim: int) -> Tensor:
        """The product with ``x`` along ``dim``."""
        last = dim % x.ndim == x.ndim - 1
        inner = math.prod(x.shape[dim % x.ndim + 1 :])
        flat = x if last else x.reshape(*x.shape[:dim], x.shape[dim], inner)
        parts = []
        for start, stop, block in self._blocks:
            part = flat.narrow(dim, start, stop - start)
            parts.append(part @ block.to(x).T if last else block.to(x) @ part)
        out = parts[0] if len(parts) == 1 else torch.cat(parts, dim)
        return out if last else out.reshape(*x.shape[:dim], self.shape[0], *x.shape[dim + 1 :])


class Separable(LinearOperator):
    """``matrices[i]`` (m_i, n_i) along axis i of space of signals of ``shape`` (C, *S); None leaves an axis as it is.

    cutoff: singular values below this share of the largest count as zero.

    >>> halves = torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    >>> Separable([halves, None], (3, 4, 6)).out_shape
    (3, 2, 6)
    """

    def __init__(self, matrices: Sequence[Tensor | None], shape: Sequence[int], *, cutoff: float = 1e-4) -> None:
        self.in_shape = signal_shape(shape)
        channels, *size = self.in_shape
        if len(matrices) != len(size):
            raise InvalidArgument("matrices", f"{len(matrices)} of them", f"one, or None, for each of {len(size)} axes")
        for n, matrix in zip(size, matrices, strict=True):
            if matrix is None:
                continue
            if matrix.ndim != 2 or matrix.shape[1] != n or not len(matrix):
                raise InvalidArgument("matrices", tuple(matrix.shape), f"a matrix of {n} columns")
            if not bool(torch.isfinite(matrix).all()) or not bool(matrix.any()):
                raise InvalidArgument("matrices", "entries that are not finite, or all zero", "finite entries")
        if not 0 <= cutoff < 1:
            raise InvalidArgument("cutoff", cutoff, "a number from 0 to less than 1")
        self.cutoff = cutoff
        self._there = [None if m is None else Banded(m.double()) for m in matrices]
        self._back = [None if m is None else Banded(m.double().T) for m in matrices]
        lengths = [n if m is None else len(m) for n, m in zip(size, matrices, strict=True)]
        self.out_shape = (channels, *lengths)
        # What shrinks most goes first, and last on the way back.
        self._order = sorted(range(len(size)), key=lambda i: lengths[i] / size[i])

    def _forward(self, x: Tensor) -> Tensor:
        for axis in self._order:
            banded = self._there[axis]
            x = x if banded is None else banded.along(x, axis + 2)
        return x

    def _adjoint(self, y: Tensor) -> Tensor:
        for axis in reversed(self._order):
            banded = self._back[axis]
            y = y if banded is None else banded.along(y, axis + 2)
        return y

    @cached_property
    def _grams(self) -> list[Tensor | None]:
        """``R R^T`` of each axis, float64."""
        grams: list[Tensor | None] = []
        for there, back in zip(self._there, self._back, strict=True):
            if there is None or back is None:
                grams.append(None)
            else:
                eye = torch.eye(there.shape[0], dtype=torch.float64)
                grams.append(there.along(back.along(eye, 0), 0))
        return grams

    @cached_property
    def _bases(self) -> list[Eigenbasis | None]:
        """The eigenvectors of each axis's Gram matrix."""
        return [None if gram is None else Eigenbasis(gram) for gram in self._grams]

    @cached_property
    def _single(self) -> float | None:
        value = 1.0
        for gram in self._grams:
            if gram is not None:
                first = float(gram[0, 0])
                if not torch.allclose(gram, first * torch.eye(len(gram)).to(gram), rtol=0, atol=1e-12 * first):
                    return None
                value *= first
        return value

    @property
    def flat(self) -> float | None:
        return self._single

    def eigenvalues(self, like: Tensor) -> Tensor:
        """Of ``A A^T``: the outer product over axes, broadcasting to the measurement's space."""
        lam = like.new_ones((1,) * (len(self.in_shape) - 1))
        for axis, basis in enumerate(self._bases):
            if basis is not None:
                lam = lam * basis.values.to(like).view(*(-1 if i == axis else 1 for i in range(lam.ndim)))
        return lam

    def rotate(self, u: Tensor, back: bool = False) -> Tensor:
        """``u`` (B, *out_shape) in the eigenbasis of ``A A^T``, or ``back`` from it."""
        for axis, basis in enumerate(self._bases):
            u = u if basis is None else basis.along(u, axis + 2, back)
        return u

    def gram(self, h: Function, u: Tensor) -> Tensor:
        return self.gram_sum(lambda lam: (h(lam),), (u,))

    def gram_sum(self, h: Callable[[Tensor], Sequence[Tensor]], us: Sequence[Tensor]) -> Tensor:
        for u in us:
            check_shape("u", u, self.out_shape)
        if self._single is not None:
            scales = h(torch.tensor(self._single, dtype=torch.float64))
            return total(float(s) * u for s, u in zip(scales, us, strict=True))
        lam = self.eigenvalues(us[0])
        values = restricted_all(h, lam, self.cutoff**2 * float(lam.max()))
        return self.rotate(total(v * self.rotate(u) for v, u in zip(values, us, strict=True)), back=True)

    def settings(self) -> dict[str, Any]:
        return {"axes": [None if b is None else list(b.shape) for b in self._there]}
