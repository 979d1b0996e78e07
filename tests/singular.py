"""The reference that the contracts of linear operators share: a dense matrix and its singular values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kintsugi.operators import LinearOperator

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Dense:
    """``A = U diag(s) V^T`` of an operator, and how much of each singular direction it keeps."""

    operator: LinearOperator
    matrix: Tensor
    u: Tensor
    s: Tensor
    vt: Tensor
    keep: Tensor

    def of_gram(self, h: Function, y: Tensor) -> Tensor:
        """``h(A A^T) y`` on the range, for flattened rows ``y``."""
        values = torch.where(self.keep > 0, h(self.s.clamp_min(1e-150) ** 2), 0.0) * self.keep
        return ((y.flatten(1) @ self.u) * values) @ self.u.T

    def of_normal(self, f: Function, x: Tensor) -> Tensor:
        """``f(A^T A) x``, with the directions that are not kept treated as unmeasured."""
        f0 = f(torch.zeros((), dtype=torch.float64))
        v = self.vt.T
        return f0 * x.flatten(1) + ((x.flatten(1) @ v) * (self.keep * (f(self.s**2) - f0))) @ v.T


def error(got: Tensor, expected: Tensor) -> float:
    """Relative to the norm of each row; the worst row."""
    got, expected = got.flatten(1).double(), expected.flatten(1)
    return float(((got - expected).norm(dim=1) / expected.norm(dim=1).clamp_min(1e-12)).max())
