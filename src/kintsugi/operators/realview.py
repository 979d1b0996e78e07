"""Complex signals as twice as many real channels: what samplers and priors see of an operator on complex tensors.

    (B, C, *S) complex  <->  (B, 2C, *S) real: first the real parts of all channels, then the imaginary parts

is an isometry for the inner product ``Re <a, b>``. Under it a complex operator is a real one with the same Gram
calculus, its adjoint (the conjugate transpose) is the transpose, and every method runs on it unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .base import DEFAULT_ACCURACY, Accuracy, Function, LinearOperator, Operator, Shape

if TYPE_CHECKING:
    from .covariance import StationaryCovariance


def to_real(x: Tensor) -> Tensor:
    """``(B, C, *S)`` complex to ``(B, 2C, *S)`` real; a real ``x`` as it is."""
    return torch.cat((x.real, x.imag), 1) if x.is_complex() else x


def to_complex(x: Tensor) -> Tensor:
    """The inverse of :func:`to_real`: ``(B, 2C, *S)`` real to ``(B, C, *S)`` complex."""
    real, imag = x.chunk(2, 1)
    return torch.complex(real.contiguous(), imag.contiguous())


def real_view(operator: Operator) -> Operator:
    """``operator`` on real channels; itself if nothing about it is complex."""
    if isinstance(operator, LinearOperator):
        return real_linear(operator)
    return RealView(operator) if operator.in_complex or operator.out_complex else operator


def real_linear(operator: LinearOperator) -> LinearOperator:
    """:func:`real_view` of a linear operator."""
    return LinearRealView(operator) if operator.in_complex or operator.out_complex else operator


def _doubled(shape: Shape, is_complex: bool) -> Shape:
    return (2 * shape[0], *shape[1:]) if is_complex else shape


class RealView(Operator):
    """A complex operator on real channels."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.batch = operator.batch
        self.in_shape = _doubled(operator.in_shape, operator.in_complex)
        self.out_shape = _doubled(operator.out_shape, operator.out_complex)

    def signal(self, x: Tensor) -> Tensor:
        """``x`` (B, *in_shape) as the operator itself takes it."""
        return to_complex(x) if self.operator.in_complex else x

    def measurement(self, y: Tensor) -> Tensor:
        """``y`` (B, *out_shape) as the operator itself takes it."""
        return to_complex(y) if self.operator.out_complex else y

    def _forward(self, x: Tensor) -> Tensor:
        return to_real(self.operator(self.signal(x)))

    @property
    def has_pinv(self) -> bool:
        return self.operator.has_pinv

    def pinv(self, y: Tensor) -> Tensor:
        return to_real(self.operator.pinv(self.measurement(y)))

    def visible(self, x: Tensor) -> Tensor:
        return to_real(self.operator.visible(self.signal(x)))

    def extend(self, x: Tensor) -> Tensor:
        return to_real(self.operator.extend(self.signal(x)))

    def select(self, rows: Sequence[int]) -> Operator:
        return real_view(self.operator.select(rows))

    def describe(self) -> dict[str, Any]:
        return self.operator.describe()


class LinearRealView(RealView, LinearOperator):
    """A complex linear operator on real channels, with its own Gram calculus."""

    operator: LinearOperator

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__(operator)
        self.cutoff = operator.cutoff

    def _adjoint(self, y: Tensor) -> Tensor:
        return to_real(self.operator.adjoint(self.measurement(y)))

    def gram(self, h: Function, u: Tensor) -> Tensor:
        return to_real(self.operator.gram(h, self.measurement(u)))

    def gram_sum(self, h: Callable[[Tensor], Sequence[Tensor]], us: Sequence[Tensor]) -> Tensor:
        return to_real(self.operator.gram_sum(h, [self.measurement(u) for u in us]))

    def lift(self, h: Callable[[Tensor], Sequence[Tensor]], xs: Sequence[Tensor], y: Tensor) -> Tensor:
        return to_real(self.operator.lift(h, [self.signal(x) for x in xs], self.measurement(y)))

    def project(self, x: Tensor) -> Tensor:
        return to_real(self.operator.project(self.signal(x)))

    def filter(self, f: Function, x: Tensor) -> Tensor:
        return to_real(self.operator.filter(f, self.signal(x)))

    def solve(self, r2: float, sigma2: float, u: Tensor) -> Tensor:
        return to_real(self.operator.solve(r2, sigma2, self.measurement(u)))

    def solve_normal(
        self,
        covariance: StationaryCovariance,
        sigma2: float,
        r: Tensor,
        accuracy: Accuracy = DEFAULT_ACCURACY,
    ) -> Tensor:
        return to_real(self.operator.solve_normal(covariance, sigma2, self.measurement(r), accuracy))

    def gain(
        self,
        covariance: StationaryCovariance,
        sigma2: float,
        r: Tensor,
        accuracy: Accuracy = DEFAULT_ACCURACY,
    ) -> Tensor:
        return to_real(self.operator.gain(covariance, sigma2, self.measurement(r), accuracy))

    @property
    def flat(self) -> float | None:
        return self.operator.flat

    def select(self, rows: Sequence[int]) -> LinearOperator:
        return real_linear(self.operator.select(rows))


class OnComplex(LinearOperator):
    """A real linear operator applied to the real and to the imaginary part of complex signals."""

    in_complex = out_complex = True

    def __init__(self, operator: LinearOperator) -> None:
        self.operator = operator
        self.in_shape, self.out_shape = operator.in_shape, operator.out_shape
        self.batch, self.cutoff = operator.batch, operator.cutoff

    def _both(self, apply: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return torch.complex(apply(x.real), apply(x.imag))

    def _forward(self, x: Tensor) -> Tensor:
        return self._both(self.operator, x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._both(self.operator.adjoint, y)

    def gram(self, h: Function, u: Tensor) -> Tensor:
        return self._both(lambda part: self.operator.gram(h, part), u)

    def solve(self, r2: float, sigma2: float, u: Tensor) -> Tensor:
        return self._both(lambda part: self.operator.solve(r2, sigma2, part), u)

    @property
    def flat(self) -> float | None:
        return self.operator.flat

    def visible(self, x: Tensor) -> Tensor:
        return self._both(self.operator.visible, x)

    def extend(self, x: Tensor) -> Tensor:
        return self._both(self.operator.extend, x)

    def select(self, rows: Sequence[int]) -> LinearOperator:
        return OnComplex(self.operator.select(rows))

    def describe(self) -> dict[str, Any]:
        return self.operator.describe() | {"complex": True}
