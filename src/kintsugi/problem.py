"""The inverse problem: what was measured, how, and with how much noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .errors import InvalidArgument
from .operators.base import Operator


@dataclass(frozen=True)
class Problem:
    """``y = A(x) + noise``: find ``x``.

    Attributes
    ----------
    y: the measurement, ``out_shape`` or ``(B, *out_shape)`` of the operator, finite, in the units of the data (for
        pictures: a clean pixel is in [-1, 1]).
    operator: the measurement ``A``.
    noise: standard deviation of the white Gaussian noise in ``y``, in the units of ``y``. One grey level of an 8-bit
        picture is 2/255 in [-1, 1].
    """

    y: Tensor
    operator: Operator
    noise: float = 0.0

    def __post_init__(self) -> None:
        shape = tuple(self.operator.out_shape)
        if not isinstance(self.y, Tensor) or not self.y.is_floating_point():
            raise InvalidArgument("y", getattr(self.y, "dtype", type(self.y)), "a tensor of floating point numbers")
        if tuple(self.y.shape) != shape and tuple(self.y.shape[1:]) != shape:
            raise InvalidArgument("y", tuple(self.y.shape), f"the operator's shape {shape}, or a batch of it")
        if not bool(torch.isfinite(self.y).all()):
            raise InvalidArgument("y", "a measurement with NaN or infinite values", "finite values")
        if not (math.isfinite(self.noise) and self.noise >= 0):
            raise InvalidArgument("noise", self.noise, "a finite standard deviation of at least 0")

    @property
    def batch(self) -> Tensor:
        """``y`` with shape (B, *out_shape)."""
        return self.y if self.y.ndim > len(self.operator.out_shape) else self.y[None]

    def with_rows(self, y: Tensor) -> Problem:
        return replace(self, y=y)

    @classmethod
    def simulate(cls, x: Tensor, operator: Operator, noise: float = 0.0, seed: int = 0) -> Problem:
        """Measure the clean signals ``x`` (B, *in_shape) and add white noise: for experiments."""
        generator = torch.Generator().manual_seed(seed)
        y = operator(x)
        return cls(y + noise * torch.randn(y.shape, generator=generator, dtype=y.dtype).to(y), operator, noise)
