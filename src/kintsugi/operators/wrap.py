"""Linear operators from elsewhere: a function of torch, SciPy and PyLops, deepinv.

A function that is linear has its adjoint by automatic differentiation: ``A^T y`` is the gradient of ``<A x, y>``, at
any x. What comes is checked once, on random numbers: that it is linear, that rows do not depend on each other, and that
a given adjoint is the adjoint. Functions of the Gram operator are Krylov methods (``unstructured.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator as SciPyOperator
from scipy.sparse.linalg import aslinearoperator
from torch import Tensor

from ..errors import InvalidArgument
from .base import Accuracy, Shape, signal_shape
from .checks import check_adjoint
from .unstructured import KRYLOV, Unstructured

_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}


class FromFunction(Unstructured):
    """A linear ``function``, (B, *in_shape) to (B, *out_shape): any callable of torch tensors, such as a module.

    in_complex: whether it takes complex signals. dtype: of the real numbers that it computes with; None for that of a
    module's parameters, or else whatever comes. device: where it lives; None for a module's, or else wherever ``x`` is.
    adjoint: ``A^T``, if there is a better one than automatic differentiation.

    >>> FromFunction(lambda x: x.diff(dim=-1), (1, 8)).out_shape
    (1, 7)
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        in_shape: Sequence[int],
        *,
        adjoint: Callable[[Tensor], Tensor] | None = None,
        in_complex: bool = False,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        cutoff: float = 1e-2,
        accuracy: Accuracy = KRYLOV,
    ) -> None:
        super().__init__(cutoff=cutoff, accuracy=accuracy)
        if not callable(function):
            raise InvalidArgument("function", type(function).__name__, "a callable")
        self.in_shape, self.in_complex = signal_shape(in_shape), in_complex
        self.function, self.transpose = function, adjoint
        known = _first_floating(function)
        self.dtype = dtype or (None if known is None else known.dtype)
        if self.dtype not in (None, torch.float32, torch.float64):
            raise InvalidArgument("dtype", self.dtype, "torch.float32 or torch.float64")
        self.device = torch.device(device) if device is not None else (None if known is None else known.device)
        self._check_linear()
        if adjoint is not None:
            _check_dot(self, "adjoint", _TOLERANCE[self.dtype or torch.float64])

    def _check_linear(self) -> None:
        """Sets ``out_shape`` and ``out_complex`` on the way."""
        dtype = self.dtype or torch.float64
        generator = torch.Generator().manual_seed(0)
        white = torch.randn((2, *self.in_shape, 2), generator=generator, dtype=dtype)
        x, v = torch.view_as_complex(white) if self.in_complex else white[..., 0]
        with torch.no_grad():
            out = self._call(torch.stack((torch.zeros_like(x), x, v, 0.7 * x - 1.3 * v)))
            if not isinstance(out, Tensor) or out.ndim < 2 or len(out) != 4:
                came = str(tuple(out.shape)) if isinstance(out, Tensor) else type(out).__name__
                raise InvalidArgument("function", came, "a function that keeps rows apart, (B, *in) to (B, *out)")
            alone = self._call(x[None])[0]
        zero, ax, av, mixed = out
        scale = float(torch.maximum(ax.abs().max(), av.abs().max()))
        tolerance = _TOLERANCE[dtype] * scale
        if not scale < float("inf") or scale == 0:
            raise InvalidArgument("function", "values that are not finite, or all zero", "a linear function")
        if float((ax - alone).abs().max()) > tolerance:
            raise InvalidArgument("function", "rows that depend on each other", "independent rows (a module in eval())")
        if float(zero.abs().max()) > tolerance:
            got = f"A(0) of up to {float(zero.abs().max()):.3g} where A(x) is up to {scale:.3g}"
            raise InvalidArgument("function", got, "a linear function; subtract A(0) from it and from the measurement")
        off = float((mixed - (0.7 * ax - 1.3 * av)).abs().max())
        if off > tolerance:
            raise InvalidArgument("function", f"A(a x + b v) off by {off / scale:.1e}, relative", "a linear function")
        self.out_shape, self.out_complex = tuple(out.shape[1:]), out.is_complex()

    def _call(self, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):  # parameters are of no interest
            return self.function(self._inside(x))

    def _inside(self, x: Tensor) -> Tensor:
        """``x`` where the function lives, in its precision."""
        dtype = x.dtype if self.dtype is None else (self.dtype.to_complex() if x.is_complex() else self.dtype)
        return x.to(device=self.device or x.device, dtype=dtype)

    def _forward(self, x: Tensor) -> Tensor:
        return _as(self._call(x), x)

    def _adjoint(self, y: Tensor) -> Tensor:
        if self.transpose is not None:
            return _as(self.transpose(self._inside(y)), y)
        inside = self._inside(y.detach())
        dtype = inside.real.dtype.to_complex() if self.in_complex else inside.real.dtype
        with torch.inference_mode(False), torch.enable_grad():
            at = torch.zeros((len(y), *self.in_shape), dtype=dtype, device=inside.device, requires_grad=True)
            (gradient,) = torch.autograd.grad(self.function(at), at, inside.clone())
        return _as(gradient, y)

    def settings(self) -> dict[str, Any]:
        name = getattr(self.function, "__qualname__", type(self.function).__qualname__)
        return {"function": name}


class FromDeepinv(FromFunction):
    """A linear physics of deepinv, without its noise: anything with ``A(x)`` and ``A_adjoint(y)`` on torch tensors."""

    def __init__(
        self,
        physics: Any,
        in_shape: Sequence[int],
        *,
        in_complex: bool = False,
        cutoff: float = 1e-2,
        accuracy: Accuracy = KRYLOV,
    ) -> None:
        for name in ("A", "A_adjoint"):
            if not callable(getattr(physics, name, None)):
                raise InvalidArgument("physics", type(physics).__name__, f"a linear physics, with {name}")
        self.physics = physics
        known = _first_floating(physics)
        super().__init__(
            physics.A, in_shape, adjoint=physics.A_adjoint, in_complex=in_complex, cutoff=cutoff, accuracy=accuracy,
            dtype=None if known is None else known.real.dtype, device=None if known is None else known.device,
        )  # fmt: skip

    def settings(self) -> dict[str, Any]:
        return {"physics": type(self.physics).__qualname__}


class FromSciPy(Unstructured):
    """A SciPy LinearOperator, a sparse or dense matrix, or a PyLops operator, on flattened signals.

    in_shape, out_shape: (C, *S) of signals and of measurements, whose product are the columns and rows.
    in_complex, out_complex: what it takes and gives; None for what its dtype says. It runs on the processor, in its
    own precision.
    """

    def __init__(
        self,
        operator: Any,
        in_shape: Sequence[int],
        out_shape: Sequence[int] | None = None,
        *,
        in_complex: bool | None = None,
        out_complex: bool | None = None,
        cutoff: float = 1e-2,
        accuracy: Accuracy = KRYLOV,
    ) -> None:
        super().__init__(cutoff=cutoff, accuracy=accuracy)
        try:
            self.operator: SciPyOperator = aslinearoperator(operator)
        except TypeError as error:
            expected = "a LinearOperator or a matrix"
            raise InvalidArgument("operator", type(operator).__name__, expected) from error
        rows, columns = self.operator.shape
        self.in_shape = signal_shape(in_shape)
        self.out_shape = (1, rows) if out_shape is None else signal_shape(out_shape)
        for name, shape, numbers in (("in_shape", self.in_shape, columns), ("out_shape", self.out_shape, rows)):
            if math.prod(shape) != numbers:
                raise InvalidArgument(name, shape, f"a shape of {numbers} numbers")
        kind = torch.from_numpy(np.zeros(1, self.operator.dtype)).dtype
        self.dtype = torch.float32 if kind in (torch.float32, torch.complex64) else torch.float64
        self.in_complex = kind.is_complex if in_complex is None else in_complex
        self.out_complex = kind.is_complex if out_complex is None else out_complex
        try:
            _check_dot(self, "operator", _TOLERANCE[self.dtype])
        except (NotImplementedError, TypeError) as error:  # SciPy's own calls a None
            expected = "an operator with an adjoint (rmatvec)"
            raise InvalidArgument("operator", type(operator).__name__, expected) from error

    def _forward(self, x: Tensor) -> Tensor:
        return self._apply(self.operator.matmat, x, self.out_shape, self.out_complex)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._apply(self.operator.rmatmat, y, self.in_shape, self.in_complex)

    def _apply(self, product: Callable[[Any], Any], x: Tensor, shape: Shape, is_complex: bool) -> Tensor:
        dtype = self.dtype.to_complex() if x.is_complex() else self.dtype
        columns = x.detach().resolve_conj().flatten(1).T.cpu().to(dtype).numpy()
        out = torch.from_numpy(product(columns).T.copy()).view(-1, *shape)
        if is_complex != out.is_complex():
            out = torch.complex(out, torch.zeros_like(out)) if is_complex else out.real
        return _as(out, x)

    def settings(self) -> dict[str, Any]:
        return {"wraps": type(self.operator).__qualname__}


def _as(out: Tensor, like: Tensor) -> Tensor:
    """``out`` on the device and in the precision of ``like``, real or complex as it is."""
    dtype = like.dtype.to_complex() if out.is_complex() else like.real.dtype
    return out.to(device=like.device, dtype=dtype)


def _check_dot(operator: Unstructured, name: str, tolerance: float) -> None:
    error = check_adjoint(operator)
    if not error < 0.1 * tolerance:  # a wrong one is off by the root of the number of pixels, no more
        raise InvalidArgument(name, f"<A x, y> - <x, A^T y> of {error:.1e}, relative", "an exact adjoint")


def _first_floating(function: object) -> Tensor | None:
    """A parameter or buffer of a module, to know precision and device by."""
    if not isinstance(function, torch.nn.Module):
        return None
    held = (*function.parameters(), *function.buffers())
    return next((v for v in held if v.is_floating_point() or v.is_complex()), None)
