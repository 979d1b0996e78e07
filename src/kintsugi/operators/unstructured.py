"""Operators without structure: functions of ``A A^T`` by Krylov methods, from ``A`` and ``A^T`` alone.

Computed tomography, coil sensitivities, a learned layer: nothing diagonalises ``A A^T``. Then

* ``h(A A^T) u`` is :func:`lanczos` on the Krylov space of ``u``, with the cut-off faded in (``iterative.py``);
* ``(r^2 A A^T + sigma^2)^{-1} u`` with noise is conjugate gradients, which keep four vectors instead of a basis.

Both stop at a stated accuracy and raise :class:`NotConverged` where they do not reach it: a smaller condition number
(a larger cut-off), more iterations or a looser tolerance is then for the user to choose, not for us to hide.
"""

from __future__ import annotations

from torch import Tensor

from ..errors import InvalidArgument
from .base import Accuracy, Function, LinearOperator, check_shape
from .iterative import conjugate_gradients, lanczos

KRYLOV = Accuracy(1e-3, 300)


class Unstructured(LinearOperator):
    """A linear operator that provides ``_forward`` and ``_adjoint`` only.

    cutoff: singular values below this share of the largest fade out of pseudo-inverses. accuracy: of the iterative
    solves, relative; :class:`NotConverged` where it is not reached.
    """

    def __init__(self, *, cutoff: float = 1e-2, accuracy: Accuracy = KRYLOV) -> None:
        if not 0 < cutoff < 1:
            raise InvalidArgument("cutoff", cutoff, "a number between 0 and 1")
        self.cutoff, self.accuracy = cutoff, accuracy

    def normal(self, u: Tensor) -> Tensor:
        """``A A^T u``."""
        return self(self.adjoint(u))

    def gram(self, h: Function, u: Tensor) -> Tensor:
        check_shape("u", u, self.out_shape, self.out_complex, self.batch)
        return lanczos(
            self.normal, h, u,
            cutoff=self.cutoff, tolerance=self.accuracy.tolerance, iterations=self.accuracy.iterations, strict=True,
        )  # fmt: skip

    def solve(self, r2: float, sigma2: float, u: Tensor) -> Tensor:
        if sigma2 == 0:
            return super().solve(r2, sigma2, u)
        check_shape("u", u, self.out_shape, self.out_complex, self.batch)
        return conjugate_gradients(
            lambda v: r2 * self.normal(v) + sigma2 * v, u,
            tolerance=self.accuracy.tolerance, iterations=self.accuracy.iterations, strict=True,
        )  # fmt: skip
