"""Measurements that are not linear: a function and its vector-Jacobian product.

What the methods need of a nonlinear ``A`` is ``A(x)`` and ``v -> (dA/dx)^T v`` (:meth:`Operator.vjp`), or, for guidance
that solves a system, the linear operator ``dA/dx`` at a point (``linearized.py``). Where a pseudo-inverse has a meaning
(undoing a saturation, a quantisation) the operator may provide ``pinv`` and says so with ``has_pinv``.

Ready-made ones: ``phase.py`` (moduli), ``camera.py`` (saturation, curves, rounding), ``jpeg.py``. Any differentiable
function of a batch is a :class:`Nonlinear`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .base import Operator, check_shape, signal_shape

# Rows that are computed together may round differently; what mixes them differs by far more.
_ROUNDING = 1e-4


class Nonlinear(Operator):
    """``y = function(x)`` for a differentiable function of a batch (B, *shape), row by row.

    ``pinv``, where given, maps a batch of measurements to signals with ``A(pinv(y)) = y`` for every ``y`` in the range
    of ``A``. ``in_complex``: signals are complex; whether measurements are is found out. The function is tried on two
    random rows: it must treat them one by one (no statistics of the batch, nothing random) and, without a ``pinv``,
    have a gradient.

    >>> Nonlinear(torch.tanh, (1, 4, 4)).out_shape
    (1, 4, 4)
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        shape: Sequence[int],
        *,
        pinv: Callable[[Tensor], Tensor] | None = None,
        in_complex: bool = False,
    ) -> None:
        self.in_shape = signal_shape(shape)
        self.in_complex = bool(in_complex)
        for name, given in (("function", function), ("pinv", pinv)):
            if not (callable(given) or (name == "pinv" and given is None)):
                raise InvalidArgument(name, type(given).__name__, "a function of a batch of signals")
        self._function, self._pinv = function, pinv
        example = self._try(function)
        self.out_shape, self.out_complex = tuple(example.shape[1:]), example.is_complex()

    def _try(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """What it makes of two random signals."""
        dtype = torch.complex64 if self.in_complex else torch.float32
        generator = torch.Generator().manual_seed(0)
        x = 0.5 * torch.randn((2, *self.in_shape), generator=generator, dtype=dtype)
        try:
            with torch.inference_mode(False), torch.enable_grad():
                y = function(x.clone().requires_grad_(True))
                alone = [function(x[i : i + 1].clone()) for i in range(2)]
        except InvalidArgument:
            raise
        except Exception as error:  # it may raise anything
            raise InvalidArgument("function", f"{type(error).__name__}: {error}", f"one of {tuple(x.shape)}") from error
        if not isinstance(y, Tensor) or not (y.is_floating_point() or y.is_complex()):
            raise InvalidArgument("function", getattr(y, "dtype", type(y)), "one whose result is a tensor of numbers")
        if y.ndim < 2 or len(y) != 2 or any(len(row) != 1 for row in alone) or y.numel() == 0:
            raise InvalidArgument("function", f"a result of {tuple(y.shape)} for 2 rows", "one row of results for each")
        if self._pinv is None and not y.requires_grad:
            raise InvalidArgument("function", "a result without a gradient", "a differentiable function, or a pinv")
        y = y.detach()
        apart = torch.cat(alone).detach()
        finite = bool(torch.isfinite(torch.view_as_real(y) if y.is_complex() else y).all())
        if apart.shape != y.shape or (finite and float((y - apart).abs().max()) > _ROUNDING * float(y.abs().max())):
            raise InvalidArgument("function", "other results for two rows than for each", "one that keeps rows apart")
        return y

    def _forward(self, x: Tensor) -> Tensor:
        return self._function(x)

    @property
    def has_pinv(self) -> bool:
        return self._pinv is not None

    def pinv(self, y: Tensor) -> Tensor:
        if self._pinv is None:
            return super().pinv(y)
        check_shape("y", y, self.out_shape, self.out_complex)
        return self._pinv(y)

    def settings(self) -> dict[str, Any]:
        return {"function": getattr(self._function, "__qualname__", type(self._function).__name__)}


def with_pinv(operator: Operator, pinv: Callable[[Tensor], Tensor]) -> Operator:
    """``operator`` with ``pinv`` for a pseudo-inverse: where methods begin that begin at ``A^+ y``.

    It maps measurements (B, *out_shape) to signals (B, *in_shape), row by row. For a start alone, ``A(pinv(y))`` need
    not be exactly ``y`` if the problem states some noise.
    """
    return _WithPinv(operator, pinv)


class _WithPinv(Operator):
    """See :func:`with_pinv`."""

    has_pinv = True

    def __init__(self, operator: Operator, pinv: Callable[[Tensor], Tensor]) -> None:
        self.operator, self._pinv = operator, pinv
        self.in_shape, self.in_complex = operator.in_shape, operator.in_complex
        self.out_shape, self.out_complex = operator.out_shape, operator.out_complex
        self.batch = operator.batch

    def _forward(self, x: Tensor) -> Tensor:
        return self.operator(x)

    def vjp(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        return self.operator.vjp(x)

    def jvp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.operator.jvp(x, v)

    def pinv(self, y: Tensor) -> Tensor:
        check_shape("y", y, self.out_shape, self.out_complex, self.batch)
        return self._pinv(y)

    def visible(self, x: Tensor) -> Tensor:
        return self.operator.visible(x)

    def extend(self, x: Tensor) -> Tensor:
        return self.operator.extend(x)

    def select(self, rows: Sequence[int]) -> Operator:
        return _WithPinv(self.operator.select(rows), self._pinv)

    def describe(self) -> dict[str, Any]:
        return self.operator.describe() | {"start": getattr(self._pinv, "__qualname__", type(self._pinv).__name__)}
