"""The solver behind the texture dial: from the likeliest image to a sample of the posterior.

    z_c = D~ + c [ k (z - D~) / a + temperature sqrt(1 - k^2) xi ],    xi ~ N(0, I)
    k = keep + (1 - keep) (c/a)^forget

with ``D~ = D_y + correction (D_y - D_before) h / (2 h_before)`` the extrapolated denoiser of ``multistep.py``.

* ``keep = temperature = correction = 1`` is DPM-Solver++(2M), the second-order ODE: samples with the spread of the
  posterior.
* ``keep = 0`` draws all noise afresh, so that errors of one level are not carried to the next (Pi-GDM's and DDNM's
  samplers with their eta at 1 keep part of it). With ``temperature < 1`` less noise is drawn than the denoiser is told:
  it takes the difference for structure to remove, the samples contract towards the posterior mean and their PSNR
  rises. This is no longer a sample of the posterior, and is not meant to be one; nor are few steps of ``keep = 0`` at
  ``temperature = 1``, whose spread tends to 1/sqrt(2) of the posterior's.
* ``forget`` is the rate at which old noise is replaced, in powers of the noise level; infinite: all of it, each level.
  Then the number of times that an image is noised and denoised grows with the number of steps without limit, and what
  a network exaggerates a little (the overshoot beside a strong edge) grows with it. A finite rate has a limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import InvalidArgument
from ..noise import RowNoise
from .base import Solver
from .multistep import extrapolate


@dataclass(frozen=True)
class Tempered(Solver):
    """Renoising with a ``temperature``, the share of old noise to ``keep``, and a second-order ``correction``.

    ``forget``: the power of ``c/a`` to which the rest of the old noise is replaced in a step; infinite for all of it.
    """

    keep: float = 0.0
    temperature: float = 1.0
    correction: float = 0.0
    forget: float = math.inf

    def __post_init__(self) -> None:
        if not self.forget > 0:
            raise InvalidArgument("forget", self.forget, "a positive number, or infinity")
        for name in ("keep", "temperature", "correction"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidArgument(name, getattr(self, name), "a number from 0 to 1")

    def step(self, z: Tensor, d: Tensor, a: float, c: float, memory: Any, noise: RowNoise) -> tuple[Tensor, Any]:
        if c == 0:
            return d, None
        extrapolated, memory = extrapolate(d, a, c, memory, self.correction)
        keep = self.keep + (1 - self.keep) * (c / a) ** self.forget
        out = extrapolated + (keep * c / a) * (z - extrapolated)
        fresh = self.temperature * c * math.sqrt(1 - keep**2)
        if fresh > 0:
            out = out + fresh * noise.normal_like(z)
        return out, memory
