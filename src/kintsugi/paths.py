"""Paths between data and noise, and grids of noise levels.

A path is ``x_t = alpha_t x_0 + sigma_t eps`` with ``t = 0`` clean data and ``t = 1`` noise. Samplers work in the
canonical variables ``z = x_t / alpha_t`` and ``eta = sigma_t / alpha_t``; a path translates between ``t`` and
``eta``, and gives ``alpha`` as a function of ``eta``, which the conjugate papers weight their guidance with.

| path | alpha(t) | eta(t) | alpha(eta) |
|---|---|---|---|
| VP, linear betas | exp(-B/2), B = b0 t + (b1 - b0) t^2 / 2 | sqrt(exp(B) - 1) | 1 / sqrt(1 + eta^2) |
| VP, a model's own betas | cumulative product, interpolated in log(eta) | | 1 / sqrt(1 + eta^2) |
| flow matching | 1 - t | t / (1 - t) | 1 / (1 + eta) |
| VE, EDM | 1 | eta_max t | 1 |

Runs on a variance-exploding path are paced by a variance-preserving one: :meth:`Path.paced`.

Scalars are Python floats or float64 tensors: schedules are computed in float64 and only images are float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .errors import InvalidArgument

GridName = Literal["karras", "time", "log"]


class Path:
    """``alpha``, ``sigma`` and ``eta`` of the time ``t``, and the way back. Immutable."""

    eta_max: float

    def eta(self, t: float | Tensor) -> Tensor:
        """``sigma_t / alpha_t``, float64, the shape of ``t``; increasing in ``t``."""
        raise NotImplementedError

    def time(self, eta: float | Tensor) -> Tensor:
        """The ``t`` at which the noise level is ``eta``: the inverse of :meth:`eta`."""
        raise NotImplementedError

    def alpha_of_eta(self, eta: float | Tensor) -> Tensor:
        """``alpha`` where the noise level is ``eta``."""
        raise NotImplementedError

    def velocity_form(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        """``(k, m)`` with ``D = k z - m v``, where ``v`` is what a velocity network of this path predicts."""
        raise InvalidArgument("path", type(self).__name__, "a path with a velocity (VP or flow matching)")

    def paced(self) -> Path:
        """The path in whose time runs are paced, and with whose alpha guidance is weighted: this one.

        The time of a variance-exploding path is the noise level itself, in which equal steps leave one or two for the
        levels where a picture appears, and its alpha of 1 gives the guidance of pure noise the weight of that of clean
        data. What the papers tune on variance-preserving paths is far off there, so for it this is a :class:`VP` with
        the same highest noise level.
        """
        return self

    def alpha(self, t: float | Tensor) -> Tensor:
        return self.alpha_of_eta(self.eta(t))

    def sigma(self, t: float | Tensor) -> Tensor:
        eta = self.eta(t)
        return eta * self.alpha_of_eta(eta)


class _VariancePreserving(Path):
    """What every variance-preserving path shares: ``alpha^2 + sigma^2 = 1``."""

    def alpha_of_eta(self, eta: float | Tensor) -> Tensor:
        return (1 + _double(eta) ** 2).rsqrt()

    def velocity_form(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        # v = alpha eps - sigma x_0 (Salimans and Ho, 2022), so D = alpha x_t - sigma v.
        alpha = (1 + eta**2).rsqrt()
        return alpha**2, eta * alpha


@dataclass(frozen=True)
class VP(_VariancePreserving):
    """Variance preserving with linear betas (Song et al., 2021): ``B(t) = beta_min t + (beta_max - beta_min) t^2/2``.

    >>> path = VP()
    >>> round(float(path.time(path.eta(0.6))), 12)
    0.6
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max:
            raise InvalidArgument("beta_min", (self.beta_min, self.beta_max), "0 < beta_min <= beta_max")

    @property
    def eta_max(self) -> float:  # type: ignore[override]
        return float(self.eta(1.0))

    def eta(self, t: float | Tensor) -> Tensor:
        t = _double(t)
        return torch.expm1(self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t**2).sqrt()

    def time(self, eta: float | Tensor) -> Tensor:
        b = torch.log1p(_double(eta) ** 2)
        slope = self.beta_max - self.beta_min
        # The root of slope/2 t^2 + beta_min t - b in the form that does not cancel for small b.
        return 2 * b / (self.beta_min + (self.beta_min**2 + 2 * slope * b).sqrt())


@dataclass(frozen=True)
class DiscreteVP(_VariancePreserving):
    """Variance preserving with a model's own betas, one a training step (DDPM, ADM, Stable Diffusion).

    Step ``k`` of ``n`` stands at ``t = (k + 1) / n``, so ``t = 0`` is clean data. Between steps ``log eta`` is linear
    in ``t``; below the first step ``eta`` is linear. Both directions use the same knots, so they are exact inverses.
    """

    betas: tuple[float, ...]
    _log_eta: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        betas = _double(torch.tensor(self.betas, dtype=torch.float64))
        if betas.ndim != 1 or len(betas) < 2 or not bool(((betas > 0) & (betas < 1)).all()):
            raise InvalidArgument("betas", self.betas, "at least two numbers, each between 0 and 1")
        log_alpha2 = torch.log1p(-betas).cumsum(0)
        object.__setattr__(self, "_log_eta", 0.5 * torch.log(torch.expm1(-log_alpha2)))

    @property
    def eta_max(self) -> float:  # type: ignore[override]
        return float(self._log_eta[-1].exp())

    def eta(self, t: float | Tensor) -> Tensor:
        steps = _double(t) * len(self.betas)
        knots = np.arange(1, len(self.betas) + 1)
        inside = _interpolate(steps.clamp_min(1), knots, self._log_eta.numpy()).exp()
        return torch.where(steps < 1, steps * self._log_eta[0].exp(), inside)

    def time(self, eta: float | Tensor) -> Tensor:
        eta = _double(eta)
        first = self._log_eta[0].exp()
        knots = np.arange(1, len(self.betas) + 1)
        inside = _interpolate(eta.clamp_min(first).log(), self._log_eta.numpy(), knots)
        return torch.where(eta < first, eta / first, inside) / len(self.betas)


@dataclass(frozen=True)
class FlowMatching(Path):
    """The straight path of flow matching and rectified flow: ``x_t = (1 - t) x_0 + t eps``.

    ``eta`` is infinite at ``t = 1``; ``eta_max`` is where grids that want pure noise begin.
    """

    eta_max: float = 200.0

    def eta(self, t: float | Tensor) -> Tensor:
        t = _double(t)
        return t / (1 - t)

    def time(self, eta: float | Tensor) -> Tensor:
        eta = _double(eta)
        return eta / (1 + eta)

    def alpha_of_eta(self, eta: float | Tensor) -> Tensor:
        return 1 / (1 + _double(eta))

    def alpha(self, t: float | Tensor) -> Tensor:
        return 1 - _double(t)

    def sigma(self, t: float | Tensor) -> Tensor:
        return _double(t)  # also at t = 1, where eta is infinite

    def velocity_form(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        # v = eps - x_0, so D = x_t - t v.
        alpha = 1 / (1 + eta)
        return alpha, eta * alpha


@dataclass(frozen=True)
class VE(Path):
    """Variance exploding, and EDM: ``alpha = 1`` and ``eta = eta_max t``."""

    eta_max: float = 80.0

    def eta(self, t: float | Tensor) -> Tensor:
        return self.eta_max * _double(t)

    def time(self, eta: float | Tensor) -> Tensor:
        return _double(eta) / self.eta_max

    def alpha_of_eta(self, eta: float | Tensor) -> Tensor:
        return torch.ones_like(_double(eta))

    def paced(self) -> Path:
        b = math.log1p(self.eta_max**2)  # so that the time 1 is eta_max there too
        beta_min = min(0.1, b)
        return VP(beta_min, 2 * b - beta_min)


@dataclass(frozen=True)
class Rescaled(Path):
    """The path of data in other units, ``x' = gain x + offset``, seen in [-1, 1]: its ``eta'`` is ``gain eta``."""

    inner: Path
    gain: float

    @property
    def eta_max(self) -> float:  # type: ignore[override]
        return self.inner.eta_max / self.gain

    def eta(self, t: float | Tensor) -> Tensor:
        return self.inner.eta(t) / self.gain

    def time(self, eta: float | Tensor) -> Tensor:
        return self.inner.time(self.gain * _double(eta))

    def alpha_of_eta(self, eta: float | Tensor) -> Tensor:
        return self.inner.alpha_of_eta(self.gain * _double(eta))

    def paced(self) -> Path:
        return VE(self.eta_max).paced() if isinstance(self.inner, VE) else self


def noise_levels(
    steps: int,
    start: float,
    end: float = 0.01,
    *,
    grid: GridName | Sequence[float] = "karras",
    path: Path | None = None,
    rho: float = 7.0,
) -> list[float]:
    """``steps + 1`` falling noise levels: from ``start`` to ``end`` in ``steps`` levels, and then 0.

    ``grid`` is ``"karras"`` (equation 5 of Karras et al., 2022, with ``rho``), ``"log"`` (uniform in log eta),
    ``"time"`` (uniform in the ``t`` of ``path``), or the levels themselves, falling, with or without the final 0;
    then ``steps``, ``start`` and ``end`` are not used.

    >>> [round(eta, 3) for eta in noise_levels(3, 2.0, 0.02, grid="log")]
    [2.0, 0.2, 0.02, 0.0]
    >>> noise_levels(0, 0, grid=[3.0, 1.0])
    [3.0, 1.0, 0.0]
    """
    if not isinstance(grid, str):
        return _own_levels(grid)
    if grid not in ("karras", "time", "log"):
        raise InvalidArgument("grid", grid, "'karras', 'time', 'log' or a sequence of noise levels")
    if not isinstance(steps, int | np.integer) or steps < 1:
        raise InvalidArgument("steps", steps, "an integer of at least 1")
    if not (start > 0 and np.isfinite(start)):
        raise InvalidArgument("start", start, "a finite noise level above 0")
    if steps == 1:
        return [float(start), 0.0]
    if not 0 < end < start:
        raise InvalidArgument("end", end, f"a noise level between 0 and the start, {start:g}")
    u = np.linspace(0, 1, steps)
    if grid == "karras":
        levels = (start ** (1 / rho) + u * (end ** (1 / rho) - start ** (1 / rho))) ** rho
    elif grid == "log":
        levels = np.exp(np.log(start) + u * (np.log(end) - np.log(start)))
    else:
        if path is None:
            raise InvalidArgument("path", path, "a path, to spread the levels over its time")
        t0, t1 = float(path.time(start)), float(path.time(end))
        levels = path.eta(torch.from_numpy(t0 + u * (t1 - t0))).numpy()
    return [float(start), *(float(x) for x in levels[1:]), 0.0]


def _own_levels(grid: Sequence[float]) -> list[float]:
    levels = [float(x) for x in grid]
    if levels and levels[-1] != 0:
        levels.append(0.0)
    falling = all(a > b for a, b in pairwise(levels))
    if len(levels) < 2 or not falling or not np.isfinite(levels).all():
        raise InvalidArgument("grid", list(grid), "finite noise levels in falling order, the last at least 0")
    return levels


def _interpolate(x: Tensor, knots: NDArray[Any], values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.asarray(np.interp(x.cpu().numpy(), knots, values))).to(x.device)


def _double(x: float | Tensor) -> Tensor:
    return torch.as_tensor(x, dtype=torch.float64)
