"""A linear operator given by its matrix: compressed sensing with random projections, small experiments, references.

``A A^T`` (m x m) is diagonalised once, so every function of it is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .base import Function, LinearOperator, check_plain, check_shape, restricted, signal_shape


class Matrix(LinearOperator):
    """``y = M x`` for the flattened signal, with ``matrix`` (m, n); ``y`` has shape (1, m), or ``out_shape``."""

    cutoff = 1e-6

    def __init__(self, matrix: Tensor, shape: Sequence[int], out_shape: Sequence[int] | None = None) -> None:
        self.in_shape = signal_shape(shape)
        n = math.prod(self.in_shape)
        check_plain("matrix", matrix)
        if matrix.ndim != 2 or matrix.shape[1] != n or not len(matrix):
            raise InvalidArgument("matrix", tuple(matrix.shape), f"a matrix of {n} columns")
        if not bool(torch.isfinite(matrix).all()) or not bool(matrix.any()):
            raise InvalidArgument("matrix", "entries that are not finite, or all zero", "finite entries")
        self.out_shape = signal_shape((1, len(matrix)) if out_shape is None else out_shape)
        if math.prod(self.out_shape) != len(matrix):
            raise InvalidArgument("out_shape", self.out_shape, f"a shape of {len(matrix)} numbers")
        self.matrix = matrix.double()
        self._values, self._vectors = torch.linalg.eigh(self.matrix @ self.matrix.T)

    def _forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.matrix.T.to(x)).view(-1, *self.out_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        return (y.flatten(1) @ self.matrix.to(y)).view(-1, *self.in_shape)

    def gram(self, h: Function, u: Tensor) -> Tensor:
        check_shape("u", u, self.out_shape)
        scale = restricted(h, self._values, self.cutoff**2 * float(self._values[-1])).to(u)
        vectors = self._vectors.to(u)
        return (((u.flatten(1) @ vectors) * scale) @ vectors.T).view_as(u)
