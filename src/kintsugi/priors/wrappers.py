"""Priors around priors: one that counts, and one that works in tiles."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Self

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..paths import Path
from .base import Prior, Vjp
from .together import sources


@dataclass
class Counter:
    """Rows that went through the network: evaluations of one sample, not calls."""

    forwards: int = 0
    vjps: int = 0


class Wrapped(Prior):
    """Passes on what it does not change."""

    def __init__(self, inner: Prior) -> None:
        super().__init__()
        self.inner = inner
        self.path, self.shape, self.data_variance = inner.path, inner.shape, inner.data_variance
        self.data_scale, self.has_vjp = inner.data_scale, inner.has_vjp
        for name in ("spectrum", "covariance", "receptive_radius", "card"):
            if hasattr(inner, name):
                object.__setattr__(self, name, getattr(inner, name))

    @property
    def evaluations(self) -> int:
        return self.inner.evaluations

    def check(self) -> None:
        self.inner.check()

    def with_condition(
        self, *, label: int | None = None, prompt: str | None = None, guidance_scale: float | None = None
    ) -> Self:
        other = copy.copy(self)
        other._modules = dict(self._modules)  # a copy shares them otherwise
        other.inner = self.inner.with_condition(label=label, prompt=prompt, guidance_scale=guidance_scale)
        return other

    def with_path(self, path: Path) -> Self:
        other = copy.copy(self)
        other.path = path
        return other


class Counted(Wrapped):
    """Counts the rows denoised and differentiated."""

    def __init__(self, inner: Prior, counter: Counter) -> None:
        super().__init__(inner)
        self.counter = counter

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        self.counter.forwards += len(z) * self.evaluations
        return self.inner.denoise(z, eta)

    def denoise_vjp(self, z: Tensor, eta: Tensor) -> tuple[Tensor, Vjp]:
        self.counter.forwards += len(z) * self.evaluations
        d, vjp = self.inner.denoise_vjp(z, eta)

        def counted(v: Tensor) -> Tensor:
            self.counter.vjps += len(v) * self.evaluations
            return vjp(v)

        return d, counted


class Tiled(Wrapped):
    """Evaluates a local denoiser tile by tile, with the result of the whole signal and the memory of one tile.

    A tile has ``tile`` samples along each axis of space, of which there may be any number (pixels of a picture, samples
    of a sound). Each is evaluated with a margin of ``overlap`` samples, of which nothing is kept. With an overlap of
    the network's receptive radius (the default), and tiles that begin on its grid, the result is that of the whole
    signal. A denoiser that does not say how far it looks is not tiled unless ``overlap`` is given: it may look
    everywhere.
    """

    def __init__(self, inner: Prior, tile: int = 1024, overlap: int | None = None) -> None:
        super().__init__(inner)
        radius = getattr(inner, "receptive_radius", None)
        self.local = overlap is not None or radius is not None
        if overlap is None:
            overlap = 0 if radius is None else int(radius())
        if tile < 1 or overlap < 0:
            raise InvalidArgument("tile", (tile, overlap), "a tile of at least 1 sample and an overlap of at least 0")
        multiple = _grid(inner)
        self.tile = -(-tile // multiple) * multiple
        self.overlap = -(-overlap // multiple) * multiple

    def sees_whole(self, z: Tensor) -> bool:
        """Whether signals like ``z`` are evaluated at once."""
        return not self.local or max(z.shape[2:]) <= self.tile + self.overlap

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        if self.sees_whole(z):
            return self.inner.denoise(z, eta)
        out = torch.empty_like(z)
        for outer, inner, core in self._tiles(z):
            out[core] = self.inner.denoise(z[outer], eta)[inner]
        return out

    def denoise_vjp(self, z: Tensor, eta: Tensor) -> tuple[Tensor, Vjp]:
        """As the base class, but the VJP evaluates each tile again, so that no more than one is in memory."""
        if self.sees_whole(z):
            return self.inner.denoise_vjp(z, eta)

        def vjp(v: Tensor) -> Tensor:
            out = torch.zeros_like(z)
            for outer, inner, core in self._tiles(z):
                d, pull = self.inner.denoise_vjp(z[outer], eta)
                cotangent = torch.zeros_like(d)
                cotangent[inner] = v[core]
                out[outer] += pull(cotangent)
            return out

        return self.denoise(z, eta), vjp

    def _tiles(self, z: Tensor) -> Iterator[tuple[Any, Any, Any]]:
        """``(window with margin, core inside that window, core)`` as indices, for each tile."""
        for corner in product(*(range(0, n, self.tile) for n in z.shape[2:])):
            outer, inner, core = [], [], []
            for start, n in zip(corner, z.shape[2:], strict=True):
                stop = min(start + self.tile, n)
                first, last = max(start - self.overlap, 0), min(stop + self.overlap, n)
                outer.append(slice(first, last))
                inner.append(slice(start - first, stop - first))
                core.append(slice(start, stop))
            yield (..., *outer), (..., *inner), (..., *core)


def _grid(prior: Prior) -> int:
    """The size of the cells that a network divides a signal into; tiles must begin on their borders."""
    parts = sources(prior)
    if parts:
        return math.lcm(*(_grid(part) for _, part in parts))
    while isinstance(prior, Wrapped):
        prior = prior.inner
    config = getattr(getattr(prior, "net", None), "config", None)
    return int(getattr(config, "multiple", 1))
