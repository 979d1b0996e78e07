"""Composition where one of the two is not linear: saturation after a blur, JPEG after a decimation.

    A = A_2 o A_1,    A'^T v = A_1'^T A_2'^T v,    A^+ y = A_1^+ A_2^+ y  where both have one

Derivatives go through each operator's own, so that what is inside need not be made of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from ..errors import InvalidArgument
from .base import Operator


class Chain(Operator):
    """``outer(inner(x))``."""

    def __init__(self, outer: Operator, inner: Operator) -> None:
        if outer.in_shape != inner.out_shape or outer.in_complex != inner.out_complex:
            raise InvalidArgument("operator", f"{outer.in_shape} after {inner.out_shape}", "shapes that fit")
        if None not in (outer.batch, inner.batch) and outer.batch != inner.batch:
            raise InvalidArgument("operator", f"{outer.batch} rows after {inner.batch}", "the same rows")
        self.outer, self.inner = outer, inner
        self.in_shape, self.in_complex = inner.in_shape, inner.in_complex
        self.out_shape, self.out_complex = outer.out_shape, outer.out_complex
        self.batch = outer.batch if inner.batch is None else inner.batch

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
