"""Mu-law: few levels, close to each other where sounds are quiet and far apart where they are loud.

    F(x) = sign(x) log(1 + mu |x|) / log(1 + mu),    mu = 2^bits - 1,    from [-1, 1] to itself

A sample is rounded to the nearest of ``2^bits`` levels, evenly spaced *after* F, and goes back by the inverse of F: the
mu-law of WaveNet and torchaudio. With 8 bits it is about the telephone's (ITU-T G.711 approximates F by eight straight
pieces; its levels differ from these by less than a step).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgument, is_whole
from .base import check_shape
from .camera import Pointwise


class MuLaw(Pointwise):
    """``y`` = the nearest of ``2^bits`` levels of mu-law on [-1, 1], as the sound that is played: ``F^-1(level)``.

    ``mu`` None for ``2^bits - 1``. What it says of a sample is an interval, half a step to either side after F, and no
    further than -1 and 1. The derivative is 1 where a sample is in the range, as that of :class:`Quantise`.

    >>> MuLaw((1, 3), 8)(torch.tensor([[[0.0, 0.5, 2.0]]]))
    tensor([[[8.6213e-05, 4.9668e-01, 1.0000e+00]]])
    """

    tail = 2.0

    def __init__(self, shape: Sequence[int], bits: int = 8, mu: float | None = None) -> None:
        super().__init__(shape)
        if not is_whole(bits, 1, 16):
            raise InvalidArgument("bits", bits, "an integer from 1 to 16")
        if mu is not None and not 0 < mu <= 2**20:
            raise InvalidArgument("mu", mu, "a number above 0, at most a million, or None")
        self.bits, self.mu = bits, float(2**bits - 1 if mu is None else mu)
        self.step = 2 / (2**bits - 1)

    def compress(self, x: Tensor) -> Tensor:
        """``F(x)``."""
        return x.sign() * torch.log1p(self.mu * x.abs()) / math.log1p(self.mu)

    def expand(self, c: Tensor) -> Tensor:
        """``F^-1(c)``."""
        return c.sign() * torch.expm1(c.abs() * math.log1p(self.mu)) / self.mu

    def _forward(self, x: Tensor) -> Tensor:
        most = 2**self.bits - 1
        index = ((self.compress(x) + 1) * (most / 2) + 0.5).floor().clamp(0, most)
        return self.expand(self.step * index - 1)

    def _inverse(self, y: Tensor) -> Tensor:
        return self._forward(y)

    def vjp(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        slope = self.slope(x)
        return self(x), lambda v: slope * v

    def slope(self, x: Tensor) -> Tensor:
        return (x.abs() <= 1 + self._last).to(x)

    @property
    def _last(self) -> float:
        """Half a step beyond the last level, before F."""
        return float(self.expand(torch.tensor(1 + self.step / 2, dtype=torch.float64))) - 1

    def interval(self, y: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        """Half a step after F to either side of ``y`` and, with noise, sqrt(3) times that more before it."""
        check_shape("y", y, self.out_shape)
        c, half, more = self.compress(y), self.step / 2, math.sqrt(3) * noise
        return (self.expand(c - half) - more).clamp_min(-1), (self.expand(c + half) + more).clamp_max(1)

    def settings(self) -> dict[str, Any]:
        return {"bits": self.bits, "mu": self.mu}
