"""The degradations that a suite names, for pictures of any size; masks and noise depend on a picture's name alone."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ..errors import InvalidArgument
from ..operators import (
    HDR,
    JPEG,
    Bicubic,
    BlockAverage,
    Blur,
    Grey,
    Identity,
    Magnitude,
    Mask,
    Operator,
    Quantise,
    gaussian_kernel,
    motion_kernel,
    uniform_kernel,
)
from ..problem import Problem
from .borders import bordered, bordered_bicubic, bordered_gaussian
from .maskfiles import mask_from
from .strict import Strict

Kind = Literal[
    "bicubic", "average", "random", "box", "half", "mask", "gaussian", "uniform", "motion", "separable", "denoise",
    "colorize", "jpeg", "hdr", "quantise", "phase",
]  # fmt: skip
Size = tuple[int, int, int]


class ProblemSpec(Strict):
    """An operator by its word, with what it needs, and ``noise`` in the units of the data, [-1, 1].

    bicubic, average: ``factor``. random: the share ``keep`` of pixels that is measured. box: a square hole of ``size``
    pixels in the middle, or at a ``place`` that is "random" for each picture, at least ``margin`` pixels from the
    border. half: the ``side`` that is missing. mask: a ``file``, of which ``key`` and ``index`` say what is meant
    (:mod:`.maskfiles`). gaussian: standard deviation ``sigma``, cut to ``taps`` if they are given. uniform: a square of
    ``size``. motion: ``length`` and ``angle``. separable: ``weights`` along each axis, from the sample ``first`` from
    the one that is measured (None: their middle). jpeg: ``quality``. hdr: ``gain``. quantise: ``bits``. phase: the
    modulus of a Fourier transform, ``oversample`` times as large.

    ``boundary`` of what shrinks or blurs: "circular", as benchmarks have it, "unknown", as the world, and "zero" or
    "reflect", as the code of DDRM has them (:mod:`.borders`), for bicubic, gaussian and separable. ``cutoff``: the
    singular values below it count as nothing; None for the operator's own.
    """

    later: ClassVar[frozenset[str]] = frozenset(
        {
            "place", "margin", "side", "file", "key", "index", "taps", "weights", "first", "gain", "bits", "oversample",
            "cutoff",
        }
    )  # fmt: skip

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
    boundary: Literal["circular", "unknown", "zero", "reflect"] = "circular"
    place: Literal["middle", "random"] = "middle"
    margin: int = Field(0, ge=0)
    side: Literal["left", "right", "top", "bottom"] = "right"
    file: Path | None = None
    key: str = ""
    index: int | None = Field(None, ge=0)
    taps: int | None = Field(None, ge=1)
    weights: list[float] | None = Field(None, min_length=1)
    first: int | None = None
    gain: float = Field(2.0, gt=1, le=16)
    bits: int = Field(2, ge=1, le=8)
    oversample: float = Field(2.0, ge=1, le=16)
    cutoff: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _whole(self) -> ProblemSpec:
        bordered_ones = ("bicubic", "gaussian", "separable")
        if self.boundary in ("zero", "reflect") and self.operator not in bordered_ones:
            raise ValueError(f"boundary {self.boundary!r}: expected with {', '.join(bordered_ones)} only")
        if self.cutoff is not None and self.operator not in (*bordered_ones, "uniform", "motion"):
            raise ValueError(f"cutoff: expected none for {self.operator}")
        if self.cutoff is not None and self.operator == "bicubic" and self.boundary not in ("zero", "reflect"):
            raise ValueError("cutoff: expected none for bicubic with this boundary")
        if (self.weights is None) == (self.operator == "separable"):
            raise ValueError("weights: expected for separable, and for nothing else")
        if self.operator == "separable" and self.boundary not in ("zero", "reflect"):
            raise ValueError(f"boundary: expected 'zero' or 'reflect' for separable, got {self.boundary!r}")
        if (self.file is None) == (self.operator == "mask"):
            raise ValueError("file: expected for mask, and for nothing else")
        return self

    def make(self, shape: Size, image: str) -> Operator:
        """The operator for pictures of ``shape`` (3, H, W).

        Errors: :class:`InvalidArgument` where it does not fit, :class:`InvalidFile` for a mask that is not there.
        """
        makers: dict[str, Any] = {
            "bicubic": self._bicubic,
            "average": lambda shape: BlockAverage(shape, self.factor),
            "random": lambda shape: Mask(self._random(shape, image), shape),
            "box": lambda shape: Mask(self._box(shape, image), shape),
            "half": lambda shape: Mask(self._half(shape), shape),
            "mask": lambda shape: Mask(~self.missing(shape, image), shape),
            "gaussian": self._gaussian,
            "uniform": lambda shape: self._blur(shape, uniform_kernel(self.size)),
            "motion": lambda shape: self._blur(shape, motion_kernel(self.length, self.angle)),
            "separable": self._separable,
            "denoise": Identity,
            "colorize": Grey,
            "jpeg": lambda shape: JPEG(shape, self.quality, codec="pillow"),
            "hdr": lambda shape: HDR(shape, self.gain),
            "quantise": lambda shape: Quantise(shape, self.bits),
            "phase": lambda shape: Magnitude(shape, self.oversample),
        }
        operator: Operator = makers[self.operator](shape)
        return operator

    def simulate(self, x: Tensor, image: str) -> Problem:
        """The picture ``x`` (3, H, W), degraded; the same each time."""
        operator = self.make((x.shape[0], x.shape[1], x.shape[2]), image)
        return Problem.simulate(x[None], operator, self.noise, seed=seed_of(self.name, image, "noise"))

    def missing(self, shape: Size, image: str) -> Tensor:
        """Of a mask in a file: bool (H, W), True where pixels are missing. Errors: those of :meth:`make`."""
        assert self.file is not None
        return mask_from(self.file, self.key, self.index, (shape[1], shape[2]), seed_of(image))

    def _bicubic(self, shape: Size) -> Operator:
        if self.boundary == "zero" or self.boundary == "reflect":
            return bordered_bicubic(shape, self.factor, self.boundary, self.cutoff)
        return Bicubic(shape, self.factor, self.boundary)

    def _gaussian(self, shape: Size) -> Operator:
        if self.boundary == "zero" or self.boundary == "reflect":
            return bordered_gaussian(shape, self.sigma, self.taps, self.boundary, self.cutoff)
        return self._blur(shape, gaussian_kernel(self.sigma, self.taps))

    def _blur(self, shape: Size, kernel: Tensor) -> Operator:
        assert self.boundary in ("circular", "unknown")
        cutoff = {} if self.cutoff is None else {"cutoff": self.cutoff}
        return Blur(shape, kernel, self.boundary, **cutoff)

    def _separable(self, shape: Size) -> Operator:
        assert self.weights is not None
        assert self.boundary in ("zero", "reflect")
        first = -(len(self.weights) // 2) if self.first is None else self.first
        return bordered(shape, torch.tensor(self.weights), first, self.boundary, cutoff=self.cutoff)

    def _generator(self, image: str, what: str) -> torch.Generator:
        return torch.Generator().manual_seed(seed_of(self.name, image, what))

    def _random(self, shape: Size, image: str) -> Tensor:
        return torch.rand(shape[1:], generator=self._generator(image, "mask")) < self.keep

    def _box(self, shape: Size, image: str) -> Tensor:
        keep = torch.ones(shape[1:], dtype=torch.bool)
        if self.place == "random":
            free = [n - self.size - 2 * self.margin for n in shape[1:]]
            if min(free) < 0:
                expected = f"a box that fits, with its margin, into {shape[1]} x {shape[2]} pixels"
                raise InvalidArgument("size", self.size, expected)
            generator = self._generator(image, "box")
            top, left = (self.margin + int(torch.randint(n + 1, (), generator=generator)) for n in free)
        else:
            top, left = ((n - self.size) // 2 for n in shape[1:])
        keep[max(top, 0) : top + self.size, max(left, 0) : left + self.size] = False
        return keep

    def _half(self, shape: Size) -> Tensor:
        keep = torch.ones(shape[1:], dtype=torch.bool)
        height, width = (n // 2 for n in shape[1:])
        missing = {
            "left": (slice(None), slice(width)),
            "right": (slice(None), slice(width, None)),
            "top": (slice(height), slice(None)),
            "bottom": (slice(height, None), slice(None)),
        }
        keep[missing[self.side]] = False
        return keep


def seed_of(*words: str) -> int:
    """A seed for these words, the same on every machine."""
    return int.from_bytes(hashlib.sha256("\0".join(words).encode()).digest()[:6], "big")
