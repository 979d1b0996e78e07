"""Gradient steps towards the data: what methods take that use no more of A than its derivative.

    x <- x - step / |A'|^2 A'^T (A(x) - y),    |A'|^2 the largest eigenvalue of A'^T A'

is gradient descent on |y - A(x)|^2 / 2, stable for a ``step`` below 2 whatever the scale of A. For operators whose A^T
A has the eigenvalues 0 and lam only (masks, block averages) one step of 1 is the projection ``x + A^+ (y - A x)``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..operators.base import LinearOperator
from ..operators.iterative import row_dot
from ..operators.linearized import Linearized
from ..problem import Problem


class Descent:
    """Gradient descent on the distance to the data of ``problem``, each row of a batch by itself."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        operator = problem.operator
        self._linear = squared_norm(operator, problem.y, 30) if isinstance(operator, LinearOperator) else None

    def __call__(self, x: Tensor, step: float, iterations: int = 1) -> Tensor:
        """``x`` (B, *in_shape) after that many steps; where A is not linear, with the ``|A'|^2`` of the first point."""
        operator = self._problem.operator
        top = squared_norm(Linearized(operator, x), x, 8) if self._linear is None else self._linear
        length = step / top.view(-1, *(1,) * (x.ndim - 1))
        for _ in range(iterations):
            measured, adjoint = operator.vjp(x)
            x = x + length * adjoint(self._problem.y - measured)
        return x


def squared_norm(operator: LinearOperator, like: Tensor, iterations: int) -> Tensor:
    """The largest eigenvalue of ``A^T A``, one a row of ``like``, (B,); by power iteration where it is not known."""
    if operator.flat is not None:
        return like.new_full((len(like),), operator.flat)
    probe = torch.randn(operator.in_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v, top = probe.to(like).expand(len(like), *operator.in_shape), like.new_zeros(len(like))
    for _ in range(iterations):
        norm = row_dot(v, v).sqrt().clamp_min(1e-30)
        v = v / norm.view(-1, *(1,) * (v.ndim - 1))
        image = operator(v)
        top = row_dot(image, image)
        v = operator.adjoint(image)
    return top.clamp_min(1e-30)
