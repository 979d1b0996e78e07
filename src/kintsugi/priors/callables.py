"""Networks that someone else made, as priors: velocity fields and denoisers, whatever way their time runs.

A flow between noise and data is trained in one of two directions. With ``t`` the share of noise

    data at 0:  x_t = (1 - t) x_0 + t eps,    v = dx/dt = eps - x_0       (SD3, FLUX, diffusers)
    data at 1:  x_s = s x_0 + (1 - s) eps,    v = dx/ds = x_0 - eps       (torchcfm, flow_matching, rectified flow)

and s = 1 - t, so the second is the first with its sign and its clock turned around. A network may want its time times
some number (1000 steps), and its arguments in either order (torchcfm: time first).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from ..errors import InvalidArgument
from ..paths import VE, FlowMatching
from .clock import Level, Time
from .model import ModelPrior, Network


def velocity_prior(
    network: Network,
    *,
    data_at: Literal[0, 1] = 1,
    time_scale: float = 1.0,
    time_first: bool = False,
    shape: Sequence[int | None] | None = None,
    data_range: tuple[float, float] = (-1.0, 1.0),
    data_variance: float = 0.25,
) -> ModelPrior:
    """A velocity network of a straight flow as a prior.

    network: ``(x, time)``, or ``(time, x)`` with ``time_first``; x is (B, *shape), time (B,). data_at: at which end of
    its time the data are: 1 for torchcfm, flow_matching and rectified flow, 0 for SD3 and its kin. time_scale: what the
    network gets at the end of its time. shape: of the signals, (C, *S), None for free sizes. data_range, data_variance:
    the network's values for black and white, and their variance in these units.

    >>> import torch, kintsugi
    >>> flow = velocity_prior(lambda x, s: -x / (1 - s + 1e-9).view(-1, 1, 1), shape=(1, 8))  # the data are all 0
    >>> flow.denoise(torch.randn(2, 1, 8), torch.tensor([0.5, 2.0])).abs().max() < 1e-4
    tensor(True)
    """
    if data_at not in (0, 1):
        raise InvalidArgument("data_at", data_at, "0 or 1: the time at which the network sees data")
    if not time_scale > 0:
        raise InvalidArgument("time_scale", time_scale, "a positive number")
    path = FlowMatching()
    sign = 1.0 if data_at == 0 else -1.0
    clock = Time(path, sign * time_scale, 0.0 if data_at == 0 else time_scale)
    return ModelPrior(
        Adapted(network, scale=sign, time_first=time_first),
        path,
        "velocity",
        clock,
        shape=shape,
        data_range=data_range,
        data_variance=data_variance,
    )


def denoiser_prior(
    denoiser: Network,
    *,
    data_range: tuple[float, float] = (-1.0, 1.0),
    sigma_max: float = 80.0,
    shape: Sequence[int | None] | None = None,
    data_variance: float | None = None,
) -> ModelPrior:
    """``denoiser(x, sigma)``, the clean signal of a noisy one, as a prior: deepinv, k-diffusion, one's own.

    x is (B, *shape) with white noise of standard deviation sigma (B,), both in the units of ``data_range``, which is
    (0, 1) for deepinv. sigma_max: the largest the network knows. data_variance: of the data, in the same units; that of
    photographs if None. A denoiser that was trained at few levels (DRUNet: up to about 0.2 of the range) is no
    generative model: start samplers below its sigma_max.
    """
    low, high = data_range
    variance = 0.25 * ((high - low) / 2) ** 2 if data_variance is None else data_variance
    return ModelPrior(
        Adapted(denoiser),
        VE(sigma_max),
        "sample",
        Level(),
        shape=shape,
        data_range=data_range,
        data_variance=variance,
    )


class Adapted(nn.Module):
    """``scale * network(x, time)``, with the arguments in the network's order."""

    def __init__(self, network: Network, *, scale: float = 1.0, time_first: bool = False) -> None:
        super().__init__()
        if not callable(network):
            raise InvalidArgument("network", type(network).__name__, "a module or a function (x, time)")
        self.network: Callable[..., Any] = network
        self.scale, self.time_first = scale, time_first

    def forward(self, x: Tensor, time: Tensor, **condition: Any) -> Tensor:
        out = self.network(time, x, **condition) if self.time_first else self.network(x, time, **condition)
        if not isinstance(out, Tensor):
            out = out[0] if isinstance(out, tuple) else out.sample
        return out if self.scale == 1 else self.scale * out
