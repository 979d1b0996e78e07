"""Composition and scaling of linear operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .base import DEFAULT_ACCURACY, Accuracy, Function, LinearOperator, check_fits
from .covariance import StationaryCovariance
from .iterative import lanczos
from .mri import MRI, AsComplex, RealMRI
from .selection import Crop, Mask, solve_selected
from .stationary import Stationary


def compose(outer: LinearOperator, inner: LinearOperator) -> LinearOperator:
    """``outer @ inner``, in closed form where both commute with shifts."""
    check_fits(outer, inner)
    if isinstance(outer, Scaled):
        return Scaled(outer.scale, compose(outer.operator, inner))
    if isinstance(inner, Scaled):
        return Scaled(inner.scale, compose(outer, inner.operator))
    if type(outer) is Stationary and type(inner) is Stationary:
        return _fuse(outer, inner)
    if type(outer) is MRI and type(inner) is AsComplex:
        return RealMRI(outer.in_shape, outer.mask)
    return Composed(outer, inner)


def _fuse(outer: Stationary, inner: Stationary) -> Stationary:
    """``S_s K M S_r L N = S_sr (K upsampled) L M N``: a filter after decimation is its periodic repeat before it."""
    transfer = None
    if outer._transfer is not None or inner._transfer is not None:
        transfer = inner.transfer * outer.transfer.repeat(inner.factor)
    return Stationary(
        inner.in_shape,
        transfer,
        factor=tuple(a * b for a, b in zip(outer.factor, inner.factor, strict=True)),
        colour=outer.colour @ inner.colour,
        cutoff=max(outer.cutoff, inner.cutoff),
    )


class Composed(LinearOperator):
    """``outer(inner(x))``; its Gram functions by Lanczos unless ``inner`` has a single eigenvalue."""

    def __init__(self, outer: LinearOperator, inner: LinearOperator) -> None:
        self.batch = check_fits(outer, inner)
        self.outer, self.inner = outer, inner
        self.in_shape, self.in_complex = inner.in_shape, inner.in_complex
        self.out_shape, self.out_complex = outer.out_shape, outer.out_complex
        self.cutoff = outer.cutoff if inner.flat is not None else max(outer.cutoff, inner.cutoff)

    def _forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.adjoint(y))

    def select(self, rows: Sequence[int]) -> LinearOperator:
        return self if self.batch is None else Composed(self.outer.select(rows), self.inner.select(rows))

    def settings(self) -> dict[str, Any]:
        return {"outer": self.outer.describe(), "inner": self.inner.describe()}

    def visible(self, x: Tensor) -> Tensor:
        return self.inner.visible(x)

    def extend(self, x: Tensor) -> Tensor:
        return self.inner.extend(x)

    @property
    def flat(self) -> float | None:
        if self.outer.flat is None or self.inner.flat is None:
            return None
        return self.outer.flat * self.inner.flat

    def gram_sum(self, h: Callable[[Tensor], Sequence[Tensor]], us: Sequence[Tensor]) -> Tensor:
        c = self.inner.flat
        if c is not None:
            return self.outer.gram_sum(lambda lam: h(c * lam), us)
        return super().gram_sum(h, us)

    def gram(self, h: Function, u: Tensor) -> Tensor:
        c = self.inner.flat
        if c is not None:
            return self.outer.gram(lambda lam: h(c * lam), u)
        # The range of the composition lies in the range of the outer operator: drop the rest of u first.
        u = self.outer.gram(torch.ones_like, u)
        return lanczos(lambda v: self._forward(self._adjoint(v)), h, u, cutoff=self.cutoff)

    def solve_normal(
        self,
        covariance: StationaryCovariance,
        sigma2: float,
        r: Tensor,
        accuracy: Accuracy = DEFAULT_ACCURACY,
    ) -> Tensor:
        if isinstance(self.inner, Stationary) and isinstance(self.outer, Mask | Crop):
            return solve_selected(self.outer, self.inner, covariance, sigma2, r, accuracy)
        return super().solve_normal(covariance, sigma2, r, accuracy)


class Scaled(LinearOperator):
    """``scale * A``."""

    def __init__(self, scale: float, operator: LinearOperator) -> None:
        if not (scale != 0 and abs(scale) < float("inf")):
            raise InvalidArgument("scale", scale, "a finite number other than 0")
        if isinstance(operator, Scaled):
            scale, operator = scale * operator.scale, operator.operator
        self.scale: float = scale
        self.operator: LinearOperator = operator
        self.in_shape, self.in_complex = operator.in_shape, operator.in_complex
        self.out_shape, self.out_complex = operator.out_shape, operator.out_complex
        self.batch, self.cutoff = operator.batch, operator.cutoff

    def _forward(self, x: Tensor) -> Tensor:
        return self.scale * self.operator(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.scale * self.operator.adjoint(y)

    def select(self, rows: Sequence[int]) -> LinearOperator:
        return Scaled(self.scale, self.operator.select(rows))

    def settings(self) -> dict[str, Any]:
        return {"scale": self.scale, "of": self.operator.describe()}

    def visible(self, x: Tensor) -> Tensor:
        return self.operator.visible(x)

    def extend(self, x: Tensor) -> Tensor:
        return self.operator.extend(x)

    @property
    def flat(self) -> float | None:
        return None if self.operator.flat is None else self.scale**2 * self.operator.flat

    def gram(self, h: Function, u: Tensor) -> Tensor:
        return self.operator.gram(lambda lam: h(self.scale**2 * lam), u)

    def gram_sum(self, h: Callable[[Tensor], Sequence[Tensor]], us: Sequence[Tensor]) -> Tensor:
        return self.operator.gram_sum(lambda lam: h(self.scale**2 * lam), us)

    def solve_normal(
        self,
        covariance: StationaryCovariance,
        sigma2: float,
        r: Tensor,
        accuracy: Accuracy = DEFAULT_ACCURACY,
    ) -> Tensor:
        square = self.scale**2
        u = self.operator.solve_normal(covariance, sigma2 / square, r, accuracy)
        return u / square
