"""The degradations that a suite names, for pictures of any size; masks and noise depend on a picture's name alone."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..operators import (
    JPEG,
    Bicubic,
    BlockAverage,
    Blur,
    Grey,
    Identity,
    Mask,
    Operator,
    gaussian_kernel,
    motion_kernel,
)
from ..problem import Problem
from .strict import Strict

Kind = Literal["bicubic", "average", "random", "box", "gaussian", "motion", "denoise", "colorize", "jpeg"]


class ProblemSpec(Strict):
    """An operator by its word, with what it needs, and ``noise`` in the units of the data, [-1, 1].

    bicubic, average: ``factor``. random: the share ``keep`` of pixels that is measured. box: a square hole of ``size``
    pixels in the middle. gaussian: standard deviation ``sigma``. motion: ``length`` and ``angle``. jpeg: ``quality``.
    ``boundary`` of what shrinks or blurs: "circular", as benchmarks have it, or "unknown", as the world.
    """

    name: str = Field(pattern=r"^[\w.-]+$")
    operator: Kind
    noise: float = Field(0.0, ge=0, lt=10)
    factor: int = Field(4, ge=2, le=32)
    keep: float = Field(0.3, gt=0, le=1)
    size: int = Field(32, ge=1)
    sigma: float = Field(2.0, gt=0, le=50)
    length: float = Field(15.0, gt=0, le=500)
    angle: float = 0.0
    quality: int = Field(10, ge=1, le=100)
    boundary: Literal["circular", "unknown"] = "circular"

    def make(self, shape: tuple[int, int, int], image: str) -> Operator:
        """The operator for pictures of ``shape`` (3, H, W). Errors: :class:`InvalidArgument` where it does not fit."""
        makers: dict[str, Any] = {
            "bicubic": lambda: Bicubic(shape, self.factor, self.boundary),
            "average": lambda: BlockAverage(shape, self.factor),
            "random": lambda: Mask(self._random(shape, image), shape),
            "box": lambda: Mask(self._box(shape), shape),
            "gaussian": lambda: Blur(shape, gaussian_kernel(self.sigma), self.boundary),
            "motion": lambda: Blur(shape, motion_kernel(self.length, self.angle), self.boundary),
            "denoise": lambda: Identity(shape),
            "colorize": lambda: Grey(shape),
            "jpeg": lambda: JPEG(shape, self.quality, codec="pillow"),
        }
        operator: Operator = makers[self.operator]()
        return operator

    def simulate(self, x: Tensor, image: str) -> Problem:
        """The picture ``x`` (3, H, W), degraded; the same each time."""
        operator = self.make((x.shape[0], x.shape[1], x.shape[2]), image)
        return Problem.simulate(x[None], operator, self.noise, seed=seed_of(self.name, image, "noise"))

    def _random(self, shape: tuple[int, int, int], image: str) -> Tensor:
        generator = torch.Generator().manual_seed(seed_of(self.name, image, "mask"))
        return torch.rand(shape[1:], generator=generator) < self.keep

    def _box(self, shape: tuple[int, int, int]) -> Tensor:
        keep = torch.ones(shape[1:], dtype=torch.bool)
        top, left = ((n - self.size) // 2 for n in shape[1:])
        keep[max(top, 0) : top + self.size, max(left, 0) : left + self.size] = False
        return keep


def seed_of(*words: str) -> int:
    """A seed for these words, the same on every machine."""
    return int.from_bytes(hashlib.sha256("\0".join(words).encode()).digest()[:6], "big")
