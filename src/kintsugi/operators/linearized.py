"""The derivative of a measurement at a point: what makes every linear method a Gauss-Newton method.

Near ``x_i``, ``A(x) ~ A(x_i) + A'_i (x - x_i)``, and ``A'_i`` is a linear operator with Jacobian-vector products for
``A'_i v`` and vector-Jacobian products for its adjoint. Guidance that solves ``(r^2 A A^T + sigma^2) u = y - A(D)``
then serves nonlinear measurements with the same line of code. Each row of a batch has a point of its own, so such an
operator is for the batch that it was made for.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .base import Function, LinearOperator, Operator, check_shape
from .iterative import conjugate_gradients, lanczos


class Linearized(LinearOperator):
    """``A'`` at the rows of ``at`` (B, *in_shape): applies to batches of B rows."""

    cutoff = 1e-3

    def __init__(self, operator: Operator, at: Tensor) -> None:
        check_shape("at", at, operator.in_shape)
        self.in_shape, self.out_shape = operator.in_shape, operator.out_shape
        self._operator, self._at = operator, at.detach()
        self.value, self._vjp = operator.vjp(self._at)

    def _forward(self, x: Tensor) -> Tensor:
        self._check_rows("x", x)
        return torch.func.jvp(self._operator, (self._at,), (x,))[1]

    def _adjoint(self, y: Tensor) -> Tensor:
        self._check_rows("y", y)
        return self._vjp(y)

    def gram(self, h: Function, u: Tensor) -> Tensor:
        check_shape("u", u, self.out_shape)
        return lanczos(lambda v: self(self.adjoint(v)), h, u, cutoff=self.cutoff)

    def solve(self, r2: float, sigma2: float, u: Tensor) -> Tensor:
        if sigma2 == 0:
            return self.gram(lambda lam: 1 / (r2 * lam), u)
        return conjugate_gradients(lambda v: r2 * self(self.adjoint(v)) + sigma2 * v, u)

    def _check_rows(self, name: str, x: Tensor) -> None:
        if len(x) != len(self._at):
            raise InvalidArgument(name, tuple(x.shape), f"the {len(self._at)} rows that the derivative was taken at")


def local_operator(operator: Operator, at: Tensor) -> LinearOperator:
    """``operator`` if it is linear, else its derivative at ``at`` (B, *in_shape)."""
    return operator if isinstance(operator, LinearOperator) else Linearized(operator, at)
