"""Colour filter arrays: a sensor that sees one channel at each pixel.

The filters repeat a small tile. Each measured number is one sample of the signal, so ``A A^T = I``, and ``A^T`` puts
the numbers back into their channels with zeros between: a mask, stored without its zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .base import DEFAULT_ACCURACY, Accuracy, LinearOperator, signal_shape
from .covariance import StationaryCovariance
from .selection import Mask

# Of Fujifilm's sensors: red 0, green 1, blue 2.
X_TRANS = (
    (1, 2, 1, 1, 0, 1),
    (0, 1, 0, 2, 1, 2),
    (1, 2, 1, 1, 0, 1),
    (1, 0, 1, 1, 2, 1),
    (2, 1, 2, 0, 1, 0),
    (1, 0, 1, 1, 2, 1),
)


class Mosaic(LinearOperator):
    """``tile`` repeated over signals of ``shape`` (C, *S): its integers are the channel that is seen; y is (1, *S).

    >>> Mosaic((3, 12, 12), X_TRANS).out_shape
    (1, 12, 12)
    """

    def __init__(self, shape: Sequence[int], tile: Tensor | Sequence[Sequence[int]]) -> None:
        self.in_shape = signal_shape(shape)
        channels, *size = self.in_shape
        pattern = torch.as_tensor(tile)
        if pattern.is_floating_point() or pattern.is_complex() or pattern.ndim != len(size) or not pattern.numel():
            found = f"{tuple(pattern.shape)} of {pattern.dtype}"
            raise InvalidArgument("tile", found, f"integers with {len(size)} axes, as the signal")
        if int(pattern.min()) < 0 or int(pattern.max()) >= channels:
            raise InvalidArgument("tile", pattern.tolist(), f"channels from 0 to {channels - 1}")
        self.tile = pattern.long()
        self.out_shape = (1, *size)
        repeats = [-(-n // t) for n, t in zip(size, pattern.shape, strict=True)]
        seen = self.tile.repeat(repeats)[tuple(slice(n) for n in size)]
        self._weights = torch.stack([seen == channel for channel in range(channels)]).float()
        self._mask = Mask(self._weights, self.in_shape)

    def _forward(self, x: Tensor) -> Tensor:
        weights = self._weights.to(x)
        y = x[:, :1] * weights[0]
        for channel in range(1, len(weights)):
            y.addcmul_(x[:, channel : channel + 1], weights[channel])
        return y

    def _adjoint(self, y: Tensor) -> Tensor:
        return y * self._weights.to(y)

    @property
    def flat(self) -> float | None:
        return 1.0

    def solve_normal(
        self,
        covariance: StationaryCovariance,
        sigma2: float,
        r: Tensor,
        accuracy: Accuracy = DEFAULT_ACCURACY,
    ) -> Tensor:
        return self(self._mask.solve_normal(covariance, sigma2, self.adjoint(r), accuracy))

    def gain(
        self,
        covariance: StationaryCovariance,
        sigma2: float,
        r: Tensor,
        accuracy: Accuracy = DEFAULT_ACCURACY,
    ) -> Tensor:
        return self._mask.gain(covariance, sigma2, self.adjoint(r), accuracy)

    def settings(self) -> dict[str, Any]:
        return {"tile": self.tile.tolist()}


def Bayer(shape: Sequence[int], pattern: str = "RGGB") -> Mosaic:
    """The pattern of nearly all cameras on RGB pictures (3, H, W): its rows of two, from the upper left corner.

    >>> Bayer((3, 4, 6), "GBRG").tile.tolist()
    [[1, 2], [0, 1]]
    """
    if len(shape) != 3 or shape[0] != 3:
        raise InvalidArgument("shape", tuple(shape), "(3, H, W)")
    if pattern not in ("RGGB", "BGGR", "GRBG", "GBRG"):
        raise InvalidArgument("pattern", pattern, "RGGB, BGGR, GRBG or GBRG")
    a, b, c, d = ("RGB".index(letter) for letter in pattern)
    return Mosaic(shape, [[a, b], [c, d]])
