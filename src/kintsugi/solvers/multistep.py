"""Second-order multistep, deterministic or stochastic: DPM-Solver++(2M) and its SDE form (Lu et al., 2022).

With ``lam = -log eta``, ``h = lam_c - lam_a`` and ``r = h_before / h`` the denoiser is extrapolated linearly in lam,

    D~ = D + correction (D - D_before) / (2 r),

and the equation is solved exactly for a constant ``D~``:

    z_c = (c/a) z + (1 - c/a) D~                                                                  churn = 0
    z_c = (c/a)^2 z + (1 - (c/a)^2) D~ + c sqrt(1 - (c/a)^2) xi                                   churn = 1

and between them for a churn between (the reverse SDE whose noise is scaled by ``churn``). ``correction`` 1 is second
order; 0 is first order. First-order solvers shrink the spread of the samples; the correction restores it at no
network cost.
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
class Multistep(Solver):
    """DPM-Solver++(2M); ``churn`` in [0, 1] adds noise, ``correction`` in [0, 1] scales the second-order term."""

    churn: float = 0.0
    correction: float = 1.0
    order = 2

    def __post_init__(self) -> None:
        for name in ("churn", "correction"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidArgument(name, getattr(self, name), "a number from 0 to 1")

    def step(self, z: Tensor, d: Tensor, a: float, c: float, memory: Any, noise: RowNoise) -> tuple[Tensor, Any]:
        if c == 0:
            return d, None
        extrapolated, memory = extrapolate(d, a, c, memory, self.correction)
        # d z = [(1 + k)(z - D) / eta] d eta + sqrt(2 k eta) dw with k = churn^2: decay (c/a)^(1+k), exact variance.
        k = self.churn**2
        decay = (c / a) ** (1 + k)
        out = decay * z + (1 - decay) * extrapolated
        if k > 0:
            variance = c**2 * (1 - (c / a) ** (2 * k))
            out = out + math.sqrt(variance) * noise.normal_like(z)
        return out, memory


def extrapolate(d: Tensor, a: float, c: float, memory: Any, correction: float) -> tuple[Tensor, Any]:
    """``D~`` for the step from ``a`` to ``c``, and the memory ``(D, h)`` for the next one."""
    h = math.log(a / c)
    if memory is None or correction == 0:
        return d, (d, h)
    before, h_before = memory
    return d + (0.5 * correction * h / h_before) * (d - before), (d, h)
