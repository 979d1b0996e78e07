"""The denoising loss, its noise levels, and the weight of each level.

The loss is EDM's, ``|F - F_target|^2`` in the units of the network, whose expectation differs by two orders of
magnitude between noise levels. As in EDM2 (Karras et al., CVPR 2024, section 2.1) each level is divided by an estimate
of its own expected loss, learned as ``u(eta)``: ``L / exp(u) + u``. Every level then contributes gradients of the same
size, and what is optimised is close to the mean of the PSNR over levels.

Crops differ as much as levels do: the error on foliage is a hundred times that on sky, and a network that is judged by
PSNR, a mean of logarithms, has half of its judgement in smooth pictures from which no gradient comes. ``balance`` p
multiplies the loss of a crop by ``(exp(u) / L)^q`` with ``q = p v / (v + eta^2)``, v the variance of the data: 1 is the
gradient of the logarithm, where the noise is low. What is learned is still the posterior mean, as long as the weight
depends on nothing but what can be seen in the noisy crop; how difficult it is can be seen as far as the crop can,
hence the factor.

A velocity network is trained in the same way: there F_target is ``eps - x_0`` at ``x_t = (1 - t) x_0 + t eps`` with
``t = eta / (1 + eta)``, and the loss is that of flow matching.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..priors.network import preconditioning
from ..priors.unet import UNet
from .config import TrainConfig


class LevelWeight(nn.Module):
    """``u(eta)``: the log of the expected loss, linear in log eta between knots."""

    def __init__(self, eta_range: tuple[float, float], knots: int = 24) -> None:
        super().__init__()
        self.low, self.high = math.log(eta_range[0]), math.log(eta_range[1])
        self.knots = nn.Parameter(torch.zeros(knots))

    def forward(self, eta: Tensor) -> Tensor:
        n = len(self.knots)
        place = ((eta.log() - self.low) / (self.high - self.low) * (n - 1)).clamp(0, n - 1)
        below = place.floor().long().clamp_max(n - 2)
        frac = place - below
        return self.knots[below] * (1 - frac) + self.knots[below + 1] * frac


def draw_levels(batch: int, config: TrainConfig, generator: torch.Generator) -> Tensor:
    """``(batch,)`` noise levels, stratified: one draw in each of ``batch`` equal parts of the distribution."""
    u = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
    in_focus = u < config.focus_share
    focus_u = (u / max(config.focus_share, 1e-9)).clamp(0, 1)
    rest_u = ((u - config.focus_share) / max(1 - config.focus_share, 1e-9)).clamp(0, 1)
    return torch.where(in_focus, _log_uniform(focus_u, config.focus), _log_uniform(rest_u, config.eta_range))


def _log_uniform(u: Tensor, bounds: tuple[float, float]) -> Tensor:
    low, high = map(math.log, bounds)
    return (low + u * (high - low)).exp()


class DenoisingLoss(nn.Module):
    """Network and level weights in one module, so that data-parallel wrappers see every parameter."""

    def __init__(self, net: UNet, config: TrainConfig) -> None:
        super().__init__()
        self.net = net
        self.weight = LevelWeight(config.eta_range)
        self.data_variance, self.prediction, self.balance = config.data_variance, config.prediction, config.balance

    def forward(self, x0: Tensor, noise: Tensor, eta: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The weighted loss (scalar) and the loss of each sample before weighting ``(B,)``.

        ``labels`` (B, n) say how the pictures were augmented.
        """
        c_skip, c_out, c_in, c_noise = preconditioning(eta, self.data_variance, x0, self.prediction)
        z = x0 + eta.view(-1, *(1,) * (x0.ndim - 1)) * noise
        target = (x0 - c_skip * z) / c_out
        told = () if labels is None else (labels,)
        per_sample = (self.net(c_in * z, c_noise, *told).float() - target).square().flatten(1).mean(1)
        u = self.weight(eta)
        level = u.exp()
        power = self.balance * self.data_variance / (self.data_variance + eta.square())
        weight = (per_sample / level).detach().clamp_min(1e-4) ** -power
        # The weight must not reach u, which is an estimate of the loss as it is.
        value = per_sample / level + u + (weight - 1) * per_sample / level.detach()
        return value.mean(), per_sample.detach()
