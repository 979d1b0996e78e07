"""The noise of CM4IR (Garber and Tirer, CVPR 2025): a little fresh, the rest the estimated noise with its sign turned.

    z_c = D_y + c [fresh / (1 + delta) xi - sqrt(1 - fresh^2) (z - D_y) / a],    xi ~ N(0, I)

DDIM adds the noise that the estimate implies, ``+ sqrt(1 - fresh^2) (z - D_y) / a``. The authors found that a few
steps go further with the opposite sign: z_c then lies beyond the estimate as seen from z, as in a step with Polyak's
momentum. With a Gaussian ``z - D`` it is as good a draw of noise as the other.

``delta`` separates the noise that is injected from the level that the network is told: it is told ``c`` where fresh
noise is that of ``c / (1 + delta)``. (Their code states injected levels and tells the network ``(1 + delta)`` times
them; the estimate is divided by the injected level of z and multiplied by the next, so that only fresh noise is
affected.)
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
class NoiseSplit(Solver):
    """``fresh`` (the authors' eta) of the noise drawn, the rest estimated; ``turned`` gives the estimate a minus."""

    fresh: float = 0.1
    turned: bool = True
    delta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.fresh <= 1:
            raise InvalidArgument("fresh", self.fresh, "a number from 0 to 1")
        if not isinstance(self.turned, bool):
            raise InvalidArgument("turned", self.turned, "True or False")
        if not 0 <= self.delta < math.inf:
            raise InvalidArgument("delta", self.delta, "a number of at least 0")

    def step(self, z: Tensor, d: Tensor, a: float, c: float, memory: Any, noise: RowNoise) -> tuple[Tensor, Any]:
        return (d if c == 0 else self.renoise(d, (z - d) / a, c, noise)), None

    def renoise(self, d: Tensor, estimate: Tensor, c: float, noise: RowNoise) -> Tensor:
        """``d`` with noise of level ``c``, of which ``estimate`` (of unit variance) is a part."""
        kept = math.sqrt(1 - self.fresh**2) * (-1 if self.turned else 1)
        out = d + c * kept * estimate
        return out + (c * self.fresh / (1 + self.delta)) * noise.normal_like(d) if self.fresh > 0 else out
