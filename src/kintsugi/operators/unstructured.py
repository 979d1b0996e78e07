"""Operators without structure: functions of ``A A^T`` by Krylov methods, from ``A`` and ``A^T`` alone.

Computed tomography, coil sensitivities, a learned layer: nothing diagonalises ``A A^T``. Then

* what ends as a signal is a function of ``A^T A``, by :func:`lanczos` on Krylov spaces of signals:

      A^+ y = h(A^T A) A^T y,  h = 1/lam        A^T h(A A^T) A x = (lam h)(A^T A) x        f(A^T A) x

  Terms with the same function of ``A A^T`` (the noiseless update of the conjugate integrators has no others) are one
  space, and all spaces of a sum are built side by side, as rows of one batch;
* ``h(A A^T) u`` itself is :func:`lanczos` on measurements;
* ``(r^2 A A^T + sigma^2)^{-1} u`` with noise is conjugate gradients, which keep four vectors instead of a basis.

The cut-off fades in: ``h(lam) w(lam)`` with ``w = lam^2 / (lam^2 + cutoff^4 lam_max^2)``. All stop at a stated accuracy
and raise :class:`NotConverged` where they do not reach it: a smaller condition number (a larger cut-off), more
iterations or a looser tolerance is then for the user to choose, not for us to hide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
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

    @property
    def has_closed_form(self) -> bool:
        """Whether ``gram`` needs no iterations: a subclass that has its own says so by overriding it."""
        return type(self).gram is not Unstructured.gram

    def gram(self, h: Function, u: Tensor) -> Tensor:
        check_shape("u", u, self.out_shape, self.out_complex, self.batch)
        return self._krylov(lambda v: self(self.adjoint(v)), h, u)

    def solve(self, r2: float, sigma2: float, u: Tensor) -> Tensor:
        if sigma2 == 0 or self.has_closed_form:
            return super().solve(r2, sigma2, u)
        check_shape("u", u, self.out_shape, self.out_complex, self.batch)
        return conjugate_gradients(
            lambda v: r2 * self(self.adjoint(v)) + sigma2 * v, u,
            tolerance=self.accuracy.tolerance, iterations=self.accuracy.iterations, strict=True,
        )  # fmt: skip

    def lift(self, h: Callable[[Tensor], Sequence[Tensor]], xs: Sequence[Tensor], y: Tensor) -> Tensor:
        if self.has_closed_form:
            return super().lift(h, xs, y)
        for x in xs:
            check_shape("xs", x, self.in_shape, self.in_complex, self.batch)
        check_shape("y", y, self.out_shape, self.out_complex, self.batch)
        alike = _multiples(h, len(xs))
        kept = [i for i, factor in enumerate(alike) if factor is None]
        for x, factor in zip(xs, alike, strict=True):
            if factor:
                y = torch.add(y, self(x), alpha=factor)
        starts = [*(xs[i] for i in kept), self.adjoint(y)]

        def functions(lam: Tensor) -> Tensor:
            by_term = lam.unflatten(0, (len(starts), -1))
            on_signals = [h(v)[i] * v for i, v in zip(kept, by_term, strict=False)]
            return torch.cat([*on_signals, h(by_term[-1])[-1]])

        rows = self._krylov(self._normal, functions, torch.cat(starts), terms=len(starts))
        return rows.unflatten(0, (len(starts), -1)).sum(0)

    def project(self, x: Tensor) -> Tensor:
        return super().project(x) if self.has_closed_form else self._signal_function(torch.ones_like, x)

    def filter(self, f: Function, x: Tensor) -> Tensor:
        if self.has_closed_form:
            return super().filter(f, x)
        f0 = float(f(torch.zeros((), dtype=torch.float64)))
        return f0 * x + self._signal_function(lambda lam: f(lam) - f0, x)

    def _signal_function(self, f: Function, x: Tensor) -> Tensor:
        """``f(A^T A) x`` for a function that is 0 at 0."""
        check_shape("x", x, self.in_shape, self.in_complex, self.batch)
        return self._krylov(self._normal, f, x)

    def _normal(self, x: Tensor) -> Tensor:
        """``A^T A`` on any multiple of the rows that the operator is for."""
        parts = (x,) if self.batch is None else x.split(self.batch)
        return torch.cat([self.adjoint(self(part)) for part in parts])

    def _krylov(self, matvec: Callable[[Tensor], Tensor], h: Function, u: Tensor, terms: int = 1) -> Tensor:
        return lanczos(
            matvec, h, u, cutoff=self.cutoff, terms=terms,
            tolerance=self.accuracy.tolerance, iterations=self.accuracy.iterations, strict=True,
        )  # fmt: skip


def _multiples(h: Callable[[Tensor], Sequence[Tensor]], n: int) -> list[float | None]:
    """``c_i`` where ``h_i = c_i h_n`` as functions, by their values at some eigenvalues; None where it is not."""
    *firsts, last = (v.double() for v in h(torch.logspace(-9, 3, 25, dtype=torch.float64)))
    out: list[float | None] = []
    for values in firsts:
        ratio = values / last
        same = bool(torch.isfinite(ratio).all()) and bool(((ratio - ratio[0]).abs() <= 1e-9 * ratio[0].abs()).all())
        out.append(float(ratio[0]) if same else None)
    return out
