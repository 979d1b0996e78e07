"""A network for images of one size, on images of any: overlapping windows, blended.

Each window of the network's own size is denoised by itself, and the results are averaged with weights that fall towards
the borders of a window (MultiDiffusion: Bar-Tal et al., ICML 2023). Where two windows disagree the average is neither's
posterior mean: what lies further apart than a window is never seen together. An image that is smaller than the network
is mirrored up to its size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InvalidArgument
from .base import Prior, Vjp
from .wrappers import Wrapped


class Windows(Wrapped):
    """``inner``, which knows images of ``inner.shape`` (C, H, W) only, for images of any height and width.

    ``overlap``: pixels that neighbouring windows share at least; a quarter of a window if None.
    """

    def __init__(self, inner: Prior, overlap: int | None = None) -> None:
        super().__init__(inner)
        shape = inner.shape
        if shape is None or len(shape) != 3 or shape[1] is None or shape[2] is None:
            raise InvalidArgument("prior", shape, "a prior for images of one size; this one takes any")
        self.window = (shape[1], shape[2])
        if overlap is None:
            overlap = min(self.window) // 4
        if not 0 <= overlap < min(self.window):
            raise InvalidArgument("overlap", overlap, f"a number of pixels from 0 to {min(self.window) - 1}")
        self.overlap = overlap
        self.shape = (shape[0], None, None)

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        wide = self._mirrored(z)
        out, total = torch.zeros_like(wide), self._total(wide)
        for where in self._windows(wide):
            weight = self._weight(wide)
            out[where] += weight * self.inner.denoise(wide[where].contiguous(), eta)
        return (out / total)[..., : z.shape[-2], : z.shape[-1]]

    def denoise_vjp(self, z: Tensor, eta: Tensor) -> tuple[Tensor, Vjp]:
        """Window by window, so that the graph of no more than one is in memory."""
        with torch.inference_mode(False), torch.enable_grad():
            leaf = z.detach().clone().requires_grad_(True)
            wide = self._mirrored(leaf)

        def vjp(v: Tensor) -> Tensor:
            fixed, total = wide.detach(), self._total(wide)
            v = F.pad(v, (0, wide.shape[-1] - v.shape[-1], 0, wide.shape[-2] - v.shape[-2])) / total
            back = torch.zeros_like(fixed)
            for where in self._windows(fixed):
                _, pull = self.inner.denoise_vjp(fixed[where].contiguous(), eta)
                back[where] += pull(self._weight(fixed) * v[where])
            (grad,) = torch.autograd.grad(wide, leaf, back, retain_graph=True)
            return grad

        return self.denoise(z, eta), vjp

    def _mirrored(self, z: Tensor) -> Tensor:
        """``z``, at least as large as a window."""
        for axis, least in ((-2, self.window[0]), (-1, self.window[1])):
            while z.shape[axis] < least:  # a mirror image has no more than it mirrors
                more = min(least - z.shape[axis], z.shape[axis])
                z = torch.cat((z, z.flip(axis).narrow(axis, 0, more)), axis)
        return z * 1  # never the caller's own tensor

    def _starts(self, n: int, window: int) -> list[int]:
        """Where windows begin along an axis of ``n`` pixels: evenly, with at least the overlap."""
        count = 1 if n <= window else -(-(n - self.overlap) // (window - self.overlap))
        return [round(i * (n - window) / max(count - 1, 1)) for i in range(count)]

    def _windows(self, z: Tensor) -> Iterator[Any]:
        height, width = self.window
        for top in self._starts(z.shape[-2], height):
            for left in self._starts(z.shape[-1], width):
                yield (..., slice(top, top + height), slice(left, left + width))

    def _weight(self, like: Tensor) -> Tensor:
        """(H, W) of a window: rising over the overlap from its borders, 1 inside."""
        axes = []
        for n in self.window:
            distance = torch.minimum(torch.arange(n), torch.arange(n).flip(0)) + 1.0
            axes.append((distance / (self.overlap + 1)).clamp_max(1).to(like))
        return axes[0][:, None] * axes[1]

    def _total(self, like: Tensor) -> Tensor:
        total = like.new_zeros(like.shape[-2:])
        for where in self._windows(like):
            total[where] += self._weight(like)
        return total
