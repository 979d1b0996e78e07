"""The derivative of a measurement at a point: what makes every linear method a Gauss-Newton method.

Near ``x_i``, ``A(x) ~ A(x_i) + A'_i (x - x_i)``, and ``A'_i`` is a linear operator with Jacobian-vector products for
``A'_i v`` and vector-Jacobian products for its adjoint. Guidance that solves ``(r^2 A A^T + sigma^2) u = y - A(D)``
then serves nonlinear measurements with the same line of code. Each row of a batch has a point of its own, so such an
operator is for the batch that it was made for.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .base import Function, LinearOperator, Operator, check_shape
from .iterative import conjugate_gradients, lanczos


class Linearized(LinearOperator):
    """``A'`` at the rows of ``at`` (B, *in_shape): applies to batches of B rows."""

    cutoff = 1e-3

    def __init__(self, operator: Operator, at: Tensor) -> None:
        check_shape("at", at, operator.in_shape)
        self.in_shape, self.out_shape = operator.in_shape, operator.out_shape
        self._operator, self._at = operator, at.detach()
        self.in_complex, self.out_complex = operator.in_complex, operator.out_complex
        self.batch = len(at)
        self.value, self._vjp = operator.vjp(self._at)

    def _forward(self, x: Tensor) -> Tensor:
        return self._operator.jvp(self._at, x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._vjp(y)

    def select(self, rows: Sequence[int]) -> LinearOperator:
        return Linearized(self._operator.select(rows), self._at[list(rows)])

    def gram(self, h: Function, u: Tensor) -> Tensor:
        check_shape("u", u, self.out_shape)
        return lanczos(lambda v: self(self.adjoint(v)), h, u, cutoff=self.cutoff)

    def solve(self, r2: float, sigma2: float, u: Tensor) -> Tensor:
        if sigma2 == 0:
            return self.gram(lambda lam: 1 / (r2 * lam), u)
        return conjugate_gradients(lambda v: r2 * self(self.adjoint(v)) + sigma2 * v, u)


def local_operator(operator: Operator, at: Tensor) -> LinearOperator:
    """``operator`` if it is linear, else its derivative at ``at`` (B, *in_shape)."""
    return operator if isinstance(operator, LinearOperator) else Linearized(operator, at)
