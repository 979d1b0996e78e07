"""A measurement from pairs of clean and degraded signals.

With a family, its parameters by least squares, which is maximum likelihood under white Gaussian noise:

    theta = argmin |y - A_theta x|^2,    sigma^2 = the mean of what is left,

compared only where no measured sample looks beyond the border of the clean signal. Without one, a small residual
convolutional network ``y = x + net(x)`` becomes a differentiable operator. Either is judged on signals, or a part of
the picture, that were held out of the fit.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import InvalidArgument, InvalidFile, is_whole
from ..files import atomic_path
from ..operators import Operator
from ..operators.base import signal_shape
from ..operators.nonlinear import Nonlinear
from ..priors.checkpoint import check_finite, read_safetensors
from .descent import descend
from .families import Family

FORMAT = "kintsugi-operator-1"
# Every so many pairs one is held out; of fewer, the last quarter of each signal's first axis.
HELD_OUT = 4
PATCH, BATCH, RATE = 32, 12, 5e-3


@dataclass(frozen=True)
class Learned:
    """What :func:`learn` found.

    Attributes
    ----------
    operator: for signals of the shape of the pairs; a :class:`Convolutional` where there was no family.
    parameters: of the family, by name; empty without one.
    noise: root mean square of ``y - A x`` on the pairs it was fitted to, the noise level if the fit is good.
    error: the same on what was held out, and ``unexplained``: that over the same for ``A x = x``.
    """

    operator: Operator
    parameters: dict[str, float | Tensor]
    noise: float
    error: float
    unexplained: float


class Convolutional(Nonlinear):
    """``y = x + net(x)``: a small convolutional network that was fitted to pairs. It takes signals of any size."""

    def __init__(self, net: nn.Sequential, shape: tuple[int, ...], config: dict[str, int]) -> None:
        self.net, self.config = net.eval().requires_grad_(False), config
        super().__init__(lambda x: x + net.to(x.device, x.dtype)(x), shape)

    def on(self, shape: tuple[int, ...]) -> Convolutional:
        """The same network for signals of another shape (C, H, W)."""
        if len(shape) != 3 or shape[0] != self.in_shape[0]:
            raise InvalidArgument("shape", shape, f"({self.in_shape[0]}, H, W)")
        return Convolutional(self.net, tuple(shape), self.config)

    def settings(self) -> dict[str, Any]:
        return dict(self.config)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network as safetensors, whole or not at all."""
        header = {"format": FORMAT, "shape": list(self.in_shape), "config": self.config}
        tensors = {k: v.detach().float().cpu().contiguous() for k, v in self.net.state_dict().items()}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={"kintsugi": json.dumps(header)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Convolutional:
        """Read what :meth:`save` wrote; nothing is unpickled. Errors: :class:`InvalidFile`."""
        path = Path(path)
        if not path.is_file():
            raise InvalidFile(path, "no such operator file")
        tensors, metadata = read_safetensors(path)
        header = metadata.get("kintsugi")
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise InvalidFile(path, "a safetensors file, but not a learned operator")
        check_finite(tensors, path)
        try:
            shape = signal_shape(header["shape"])
            config = {k: int(header["config"][k]) for k in ("width", "depth")}
            if not (1 <= config["width"] <= 1024 and 2 <= config["depth"] <= 64):
                raise ValueError(f"a network of {config}")
            with torch.device("meta"):  # no memory for what the file may not hold
                net = _network(shape[0], **config)
            net.load_state_dict({name: value.float() for name, value in tensors.items()}, assign=True)
        except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise InvalidFile(path, f"its weights do not fit its header ({' '.join(str(error).split())})") from error
        return cls(net, shape, config)


def learn(
    clean: Tensor,
    degraded: Tensor,
    family: Family | None = None,
    *,
    steps: int = 800,
    width: int = 16,
    depth: int = 4,
    seed: int = 0,
) -> Learned:
    """The measurement that makes ``degraded`` of ``clean``, both (B, C, *S) or (C, *S).

    Parameters
    ----------
    family: what is known of it; None for a convolutional network on pictures (C, H, W), whose result has their shape.
    steps, width, depth: of the network: optimiser's steps, channels, layers of 3 x 3.
    seed: of its weights and of the order of the crops.
    """
    clean, degraded = _pairs(clean, degraded)
    if family is not None:
        if not isinstance(family, Family):
            raise InvalidArgument("family", type(family).__name__, "a Family or None")
        if tuple(clean.shape[1:]) != family.shape:
            raise InvalidArgument("clean", tuple(clean.shape), f"the family's shape {family.shape}")
    elif clean.ndim != 4:
        raise InvalidArgument("clean", tuple(clean.shape), "pictures (B, C, H, W), or a family")
    for name, value, least in (("steps", steps, 1), ("width", width, 1), ("depth", depth, 2), ("seed", seed, 0)):
        if not is_whole(value, least):
            raise InvalidArgument(name, value, f"an integer of at least {least}")
    return (
        _fit_family(clean, degraded, family)
        if family is not None
        else _fit_network(clean, degraded, steps, width, depth, seed)
    )


def _pairs(clean: Tensor, degraded: Tensor) -> tuple[Tensor, Tensor]:
    for name, x in (("clean", clean), ("degraded", degraded)):
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise InvalidArgument(name, getattr(x, "dtype", type(x).__name__), "a tensor of floating point numbers")
        if not 2 <= x.ndim <= 5 or x.numel() == 0 or not bool(torch.isfinite(x).all()):
            raise InvalidArgument(name, tuple(x.shape), "finite signals (B, C, *S) or (C, *S)")
    if clean.shape != degraded.shape:
        raise InvalidArgument("degraded", tuple(degraded.shape), f"the shape of clean, {tuple(clean.shape)}")
    if clean.ndim == 3 or clean.ndim == 2:
        clean, degraded = clean[None], degraded[None]
    if clean.shape[2] < 2 * HELD_OUT and len(clean) < HELD_OUT:
        raise InvalidArgument("clean", tuple(clean.shape), f"{HELD_OUT} pairs, or signals to hold a quarter of out")
    return clean.detach(), degraded.detach()


def _split(x: Tensor) -> tuple[Tensor, Tensor]:
    """What is fitted to, and what is held out."""
    if len(x) >= HELD_OUT:
        held = torch.arange(len(x)) % HELD_OUT == HELD_OUT - 1
        return x[~held], x[held]
    at = x.shape[2] - x.shape[2] // HELD_OUT
    return x[:, :, :at], x[:, :, at:]


def _rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt())


def _judged(operator: Operator, parameters: dict[str, float | Tensor], parts: list[Tensor]) -> Learned:
    left, held, plain = (_rms(part) for part in parts)
    return Learned(operator, parameters, left, held, held / max(plain, 1e-30))


def _fit_family(clean: Tensor, degraded: Tensor, family: Family) -> Learned:
    (x, x_held), (y, y_held) = _split(clean.double().cpu()), _split(degraded.double().cpu())

    def residual(x: Tensor, y: Tensor, free: Tensor | None) -> Tensor:
        """``y - A x`` where the clean signal determines it; without parameters ``y - x``."""
        here = family.on(tuple(x.shape[1:]))
        out = y - (x if free is None else here.measure(family.values(free), _extended(here, x)))
        if family.boundary == "unknown":
            for dim, reach in enumerate(family.reach, 2):
                out = out.narrow(dim, reach, max(out.shape[dim] - 2 * reach, 1))
        return out

    inner = [n - 2 * r for n, r in zip(x.shape[2:], family.reach, strict=True)]
    if family.boundary == "unknown" and min(inner) < 1:
        raise InvalidArgument(
            "clean", tuple(clean.shape), f"signals wider than the kernels, {2 * max(family.reach) + 1}"
        )
    if family.boundary == "circular" and len(clean) < HELD_OUT:
        x = x_held = clean.double().cpu()  # a part of a circular signal is not circular
        y = y_held = degraded.double().cpu()
    scale = max(float(y.square().mean()), 1e-30)

    def cost(free: Tensor) -> Tensor:
        return residual(x, y, free).square().mean() / scale

    with torch.no_grad():
        ranked = sorted(((float(cost(f)), i, f) for i, f in enumerate(map(family.free, family.starts()))))
    best, parameters = math.inf, ranked[0][2]
    for _, _, start in ranked[:2] if len(parameters) else []:
        fitted, end = descend(cost, start, max_iter=200, history_size=20, tolerance_change=1e-14, tolerance_grad=1e-10)
        if end < best:
            best, parameters = end, fitted
    with torch.no_grad():
        parts = [residual(x, y, parameters), residual(x_held, y_held, parameters), residual(x_held, y_held, None)]
        found = family.report(family.values(parameters))
    return _judged(family.lay_out(found), found, parts)


def _extended(family: Family, x: Tensor) -> Tensor:
    """``x`` on the canvas of the family; what stands in the margin does not count."""
    window = family.layout
    return x if window is None else window.adjoint(x)


def _network(channels: int, width: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(depth):
        a, b = (channels if i == 0 else width), (channels if i == depth - 1 else width)
        layers += [nn.Conv2d(a, b, 3, padding=1, padding_mode="replicate"), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


def _fit_network(clean: Tensor, degraded: Tensor, steps: int, width: int, depth: int, seed: int) -> Learned:
    (x, x_held), (y, y_held) = _split(clean.float()), _split(degraded.float())
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        net = _network(x.shape[1], width, depth).to(x.device)
        last = net[-1]
        assert isinstance(last, nn.Conv2d)
        nn.init.zeros_(last.weight)
        optimiser = torch.optim.Adam(net.parameters(), RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        tall, wide = (min(PATCH, n) for n in x.shape[2:])
        for _ in range(steps):
            places = torch.rand(BATCH, 3).tolist()
            crops = [
                (int(i * len(x)), int(r * (x.shape[2] - tall + 1)), int(c * (x.shape[3] - wide + 1)))
                for i, r, c in places
            ]
            a, b = (torch.stack([v[i, :, r : r + tall, c : c + wide] for i, r, c in crops]) for v in (x, y))
            loss = (a + net(a) - b).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    operator = Convolutional(net, tuple(clean.shape[1:]), {"width": width, "depth": depth})
    with torch.no_grad():
        parts = [y - x - net(x), y_held - x_held - net(x_held), y_held - x_held]
    return _judged(operator, {}, parts)
