"""The inverse problem: what was measured, how, and with how much noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .errors import InvalidArgument
from .operators.base import Operator


@dataclass(frozen=True, eq=False)
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
        if not isinstance(self.operator, Operator):
            raise InvalidArgument("operator", type(self.operator).__name__, "an Operator")
        shape = tuple(self.operator.out_shape)
        if not isinstance(self.y, Tensor) or not self.y.is_floating_point():
            raise InvalidArgument("y", getattr(self.y, "dtype", type(self.y)), "a tensor of floating point numbers")
        if tuple(self.y.shape) != shape and tuple(self.y.shape[1:]) != shape:
            raise InvalidArgument("y", tuple(self.y.shape), f"the operator's shape {shape}, or a batch of it")
        if self.y.numel() == 0:
            raise InvalidArgument("y", tuple(self.y.shape), "at least one measurement")
        if not bool(torch.isfinite(self.y).all()):
            raise InvalidArgument("y", "a measurement with NaN or infinite values", "finite values")
        try:
            noise = math.nan if isinstance(self.noise, str) else float(self.noise)
        except (TypeError, ValueError, RuntimeError):
            noise = math.nan
        if not (math.isfinite(noise) and noise >= 0):
            raise InvalidArgument("noise", self.noise, "a finite standard deviation of at least 0")
        object.__setattr__(self, "noise", noise)  # a number of NumPy or a tensor of one becomes a float

    @property
    def batch(self) -> Tensor:
        """``y`` with shape (B, *out_shape)."""
        return self.y if self.y.ndim > len(self.operator.out_shape) else self.y[None]

    def with_rows(self, y: Tensor) -> Problem:
        return replace(self, y=y)

    @classmethod
    def simulate(cls, x: Tensor, operator: Operator, noise: float = 0.0, seed: int = 0) -> Problem:
        """Measure clean signals and add white noise: for experiments.

        ``x`` has the operator's shape (B, *in_shape), or is the visible part of it, then extended by mirroring.
        """
        generator = torch.Generator().manual_seed(seed)
        if tuple(x.shape[1:]) != tuple(operator.in_shape):
            x = operator.extend(x)
        y = operator(x)
        return cls(y + noise * torch.randn(y.shape, generator=generator, dtype=y.dtype).to(y), operator, noise)
