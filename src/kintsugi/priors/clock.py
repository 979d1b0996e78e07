"""The time that a network wants to be told, as a function of the noise level.

A clock maps ``eta`` (B,) to the network's number (B,) and to the noise level that the number stands for. The two agree
where the network's time is continuous. Networks that know only the steps they were trained at are asked at the nearest
one, and what they answer is brought to ``eta`` by :class:`~kintsugi.priors.model.ModelPrior`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..paths import DiscreteVP, Path

Clock = Callable[[Tensor], tuple[Tensor, Tensor]]
Between = Literal["interpolate", "nearest"]


@dataclass(frozen=True)
class Steps:
    """The steps 0 ... n - 1 of a model with its own betas, times ``unit``.

    ``between``: "interpolate" asks for a fractional step, which sinusoidal embeddings answer smoothly; "nearest" for
    the nearest one that was trained. Outside of the trained levels it is always the first or the last.
    """

    path: DiscreteVP
    between: Between = "interpolate"
    unit: float = 1.0

    def __post_init__(self) -> None:
        if self.between not in ("interpolate", "nearest"):
            raise InvalidArgument("between", self.between, "'interpolate' or 'nearest'")

    def __call__(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        n = len(self.path.betas)
        step = (self.path.time(eta) * n - 1).clamp(0, n - 1)
        if self.between == "nearest":
            step = step.round()
        return self.unit * step, self.path.eta((step + 1) / n)


@dataclass(frozen=True)
class Time:
    """``offset + scale t`` with t the time of the path, 0 at the data: flow matching, score-SDE."""

    path: Path
    scale: float = 1.0
    offset: float = 0.0

    def __call__(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        return self.offset + self.scale * self.path.time(eta), eta


@dataclass(frozen=True)
class LogLevel:
    """``scale log(eta)``: the EDM networks (scale 1/4) and consistency models (250)."""

    scale: float = 0.25

    def __call__(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        return self.scale * eta.clamp_min(1e-12).log(), eta


@dataclass(frozen=True)
class Level:
    """``scale eta`` itself: score-SDE VE, denoisers that take a standard deviation."""

    scale: float = 1.0

    def __call__(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        return self.scale * eta, eta


def clock_of(value: Clock | Literal["t", "1-t", "eta", "log"] | float, path: Path) -> Clock:
    """A clock, or one by its word: "t" and "1-t" of the path, "eta", "log" (eta) / 4; a number n is "t" times n."""
    words: dict[object, Clock] = {"t": Time(path), "1-t": Time(path, -1.0, 1.0), "eta": Level(), "log": LogLevel()}
    if callable(value):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return Time(path, float(value))
    if value not in words:
        raise InvalidArgument("clock", value, "'t', '1-t', 'eta', 'log', a positive number or a function of eta")
    return words[value]


def as_level(eta: Tensor) -> Tensor:
    """``eta`` as float64 on the CPU, where coefficients are computed."""
    return eta.to(device="cpu", dtype=torch.float64)
