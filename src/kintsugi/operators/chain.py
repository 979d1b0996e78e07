"""Composition where one of the two is not linear: saturation after a blur, JPEG after a decimation.

    A = A_2 o A_1,    A'^T v = A_1'^T A_2'^T v,    A^+ y = A_1^+ A_2^+ y  where both have one

Derivatives go through each operator's own, so that what is inside need not be made of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from .base import Operator, check_fits


class Chain(Operator):
    """``outer(inner(x))``."""

    def __init__(self, outer: Operator, inner: Operator) -> None:
        self.batch = check_fits(outer, inner)
        self.outer, self.inner = outer, inner
        self.in_shape, self.in_complex = inner.in_shape, inner.in_complex
        self.out_shape, self.out_complex = outer.out_shape, outer.out_complex

    def _forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))

    def vjp(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        between, back_in = self.inner.vjp(x)
        out, back_out = self.outer.vjp(between)
        return out, lambda v: back_in(back_out(v))

    def jvp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.outer.jvp(self.inner(x), self.inner.jvp(x, v))

    @property
    def has_pinv(self) -> bool:
        return self.outer.has_pinv and self.inner.has_pinv

    def pinv(self, y: Tensor) -> Tensor:
        return self.inner.pinv(self.outer.pinv(y)) if self.has_pinv else super().pinv(y)

    def visible(self, x: Tensor) -> Tensor:
        return self.inner.visible(x)

    def extend(self, x: Tensor) -> Tensor:
        return self.inner.extend(x)

    def select(self, rows: Sequence[int]) -> Operator:
        return Chain(self.outer.select(rows), self.inner.select(rows))

    def settings(self) -> dict[str, Any]:
        return {"outer": self.outer.describe(), "inner": self.inner.describe()}
