"""First order: DDIM, and its stochastic version (Song, Meng, Ermon, ICLR 2021, equation 12).

In canonical variables, from level a to c, with ``eps = (z - D_y) / a``:

    z_c = D_y + sqrt(c^2 - s^2) eps + s xi,    s = churn c sqrt(1 - c^2 / a^2),    xi ~ N(0, I)

``churn`` 0 is DDIM, the exact solution for a frozen ``eps``; 1 is ancestral sampling (DDPM). Their eta is ``churn``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import InvalidArgument
from ..noise import RowNoise
from .base import Solver


@dataclass(frozen=True)
class FirstOrder(Solver):
    """DDIM; stochastic with ``churn`` above 0."""

    churn: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.churn <= 1:
            raise InvalidArgument("churn", self.churn, "a number from 0 to 1")

    def step(self, z: Tensor, d: Tensor, a: float, c: float, memory: Any, noise: RowNoise) -> tuple[Tensor, Any]:
        if c == 0:
            return d, None
        fresh = self.churn * c * math.sqrt(1 - (c / a) ** 2)
        out = d + math.sqrt(c**2 - fresh**2) / a * (z - d)
        if fresh > 0:
            out = out + fresh * noise.normal_like(z)
        return out, None
