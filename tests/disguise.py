"""An exact oracle in the clothes of somebody's network: what an adapter has to see through.

The formulas are those of the definition ``x_t = alpha x_0 + sigma eps``, written here a second time and otherwise than
in ``kintsugi.priors.prediction``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kintsugi.priors import Prior


class Disguised(nn.Module):
    """``prior`` as a network ``(x_t, time)``.

    ``schedule``: the network's time (B,) to ``alpha, sigma``. ``predicts``: what of the pair (x_0, eps) it returns.
    """

    def __init__(self, prior: Prior, schedule: Callable[[Tensor], tuple[Tensor, Tensor]], predicts: str) -> None:
        super().__init__()
        self.prior, self.schedule, self.predicts = prior, schedule, predicts
        self.calls: list[Tensor] = []

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        self.calls.append(time)
        alpha, sigma = (v.to(x).view(-1, *(1,) * (x.ndim - 1)) for v in self.schedule(time.double()))
        x0 = self.prior.denoise(x / alpha, (sigma / alpha).flatten())
        noise = (x - alpha * x0) / sigma
        return {
            "epsilon": noise,
            "sample": x0,
            "v_prediction": alpha * noise - sigma * x0,
            "velocity": noise - x0,
            "score": -noise / sigma,
            "edm": (x0 - 0.25 / (0.25 + sigma**2) * x) * (0.25 + sigma**2) ** 0.5 / (0.5 * sigma),
        }[self.predicts]


def ddpm(betas: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """``alpha, sigma`` of the steps 0 ... n - 1; between them of an interpolated log eta, as ``DiscreteVP`` has it."""
    cumulative = (1 - betas.double()).cumprod(0)
    log_eta = 0.5 * ((1 - cumulative) / cumulative).log()

    def schedule(step: Tensor) -> tuple[Tensor, Tensor]:
        low = step.floor().clamp(0, len(betas) - 1).long()
        high = (low + 1).clamp(max=len(betas) - 1)
        eta = (log_eta[low] + (step - low) * (log_eta[high] - log_eta[low])).exp()
        alpha = (1 + eta**2).rsqrt()
        return alpha, eta * alpha

    return schedule


def linear_betas(n: int = 1000) -> Tensor:
    return torch.linspace(1e-4, 0.02, n, dtype=torch.float64) * (1000 / n)
