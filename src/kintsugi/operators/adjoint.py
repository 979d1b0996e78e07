"""The adjoint of an operator as an operator: padding from a crop, back-projection from a projection.

Its Gram operator is ``A^T A``, whose functions on the range of ``A^T`` follow from those of ``A A^T``:

    h(A^T A) P u = A^T (A A^T)^+ h(A A^T) A u
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..errors import InvalidArgument, is_whole
from .base import MOST, Function, LinearOperator, check_shape, signal_shape
from .selection import Crop


class Adjoint(LinearOperator):
    """``y = A^T x``."""

    def __init__(self, operator: LinearOperator) -> None:
        self.operator = operator
        self.in_shape, self.in_complex = operator.out_shape, operator.out_complex
        self.out_shape, self.out_complex = operator.in_shape, operator.in_complex
        self.batch, self.cutoff = operator.batch, operator.cutoff

    def _forward(self, x: Tensor) -> Tensor:
        return self.operator.adjoint(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.operator(y)

    def gram(self, h: Function, u: Tensor) -> Tensor:
        check_shape("u", u, self.out_shape, self.out_complex, self.batch)
        return self.operator.adjoint(self.operator.gram(lambda lam: h(lam) / lam, self.operator(u)))

    @property
    def T(self) -> LinearOperator:
        return self.operator

    def select(self, rows: Sequence[int]) -> LinearOperator:
        return Adjoint(self.operator.select(rows))

    def settings(self) -> dict[str, Any]:
        return {"of": self.operator.describe()}


def Pad(shape: Sequence[int], before: Sequence[int], after: Sequence[int]) -> LinearOperator:
    """Zeros around a signal of ``shape`` (C, *S): ``before`` and ``after`` samples along each axis of space.

    >>> Pad((1, 4), [1], [2]).out_shape
    (1, 7)
    """
    channels, *space = signal_shape(shape)
    for name, sides in (("before", before), ("after", after)):
        if len(sides) != len(space) or not all(is_whole(n, 0, MOST) for n in sides):
            raise InvalidArgument(name, tuple(sides), f"{len(space)} whole numbers from 0 to {MOST}")
    canvas = (channels, *(b + n + a for b, n, a in zip(before, space, after, strict=True)))
    return Crop(canvas, space, before).T
