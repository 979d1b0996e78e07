"""Measurements that are not linear: a function and its vector-Jacobian product.

What the methods need of a nonlinear ``A`` is ``A(x)`` and ``v -> (dA/dx)^T v`` (:meth:`Operator.vjp`), or, for guidance
that solves a system, the linear operator ``dA/dx`` at a point (``linearized.py``). Where a pseudo-inverse has a meaning
(undoing a saturation, a quantisation) the operator may provide ``pinv`` and says so with ``has_pinv``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .base import Operator, check_shape, signal_shape, spatial


class Nonlinear(Operator):
    """``y = function(x)`` for a differentiable function of a batch (B, *shape), row by row.

    ``pinv``, where given, maps a batch of measurements to signals with ``A(pinv(y)) = y`` for every ``y`` in the range
    of ``A``.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        shape: Sequence[int],
        *,
        pinv: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.in_shape = signal_shape(shape)
        self._function, self._pinv = function, pinv
        self.out_shape = tuple(function(torch.zeros(1, *self.in_shape)).shape[1:])

    def _forward(self, x: Tensor) -> Tensor:
        return self._function(x)

    @property
    def has_pinv(self) -> bool:
        return self._pinv is not None

    def pinv(self, y: Tensor) -> Tensor:
        if self._pinv is None:
            return super().pinv(y)
        check_shape("y", y, self.out_shape)
        return self._pinv(y)


class Magnitude(Operator):
    """``y = |F x|``: phase retrieval, the modulus of the unitary Fourier transform of the zero-padded signal.

    ``oversample`` is the ratio of the padded size to the size of the signal along each axis; at 2 the autocorrelation
    does not wrap around, and the signal is determined up to the field's trivial ambiguities. The transform is
    normalised by the square root of the *unpadded* number of samples, so that ``y`` does not depend on the padding.
    """

    def __init__(self, shape: Sequence[int], oversample: float = 2.0) -> None:
        self.in_shape = signal_shape(shape)
        if not 1 <= oversample <= 16:
            raise InvalidArgument("oversample", oversample, "a ratio from 1 to 16")
        self._size = tuple(round(oversample * n) for n in self.in_shape[1:])
        self.out_shape = (self.in_shape[0], *self._size)

    def _forward(self, x: Tensor) -> Tensor:
        dims = spatial(x)
        pixels = 1
        for n in x.shape[2:]:
            pixels *= n
        transform = torch.fft.fftn(x, s=self._size, dim=dims) / pixels**0.5
        # The modulus has no derivative at 0; the floor keeps it finite and is far below any noise.
        power = transform.real.square() + transform.imag.square()
        return (power + 1e-12).sqrt()
