"""Real borders: a circular operator on a larger canvas, of which only a window was measured.

A photograph that was blurred or shrunk by the world does not wrap around. What lies beyond its border influenced the
measured pixels and is unknown. :func:`unknown_boundary` puts the picture on a canvas with a margin wide enough that no
measured pixel sees the wrap; the margin is estimated together with the picture and cut off by ``visible``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from .algebra import Composed
from .base import Shape, check_shape
from .selection import Crop
from .stationary import Stationary


class OnCanvas(Composed):
    """A crop after a circular operator on a canvas; ``visible`` cuts the picture out of the canvas."""

    def __init__(self, outer: Crop, inner: Stationary, picture: Crop) -> None:
        super().__init__(outer, inner)
        self.picture = picture

    def visible(self, x: Tensor) -> Tensor:
        return self.picture(x)

    def extend(self, x: Tensor) -> Tensor:
        check_shape("x", x, self.picture.out_shape)
        for dim, (offset, n) in enumerate(zip(self.picture.offset, self.in_shape[1:], strict=True), 2):
            size = x.shape[dim]
            place = (torch.arange(n) - offset) % (2 * size)
            x = x.index_select(dim, torch.where(place < size, place, 2 * size - 1 - place).to(x.device))
        return x


def unknown_boundary(
    shape: Shape, reach: Sequence[int], factor: Sequence[int], circular: Callable[[Shape], Stationary]
) -> OnCanvas:
    """The operator ``circular(canvas shape)``, measured only where it depends on nothing but the canvas.

    ``reach`` is how far, along each axis, a measured sample looks beyond the block of ``factor`` samples it stands
    for. The canvas is the picture and a margin of ``reach`` on each side, rounded up to whole blocks and to a size
    that Fourier transforms are fast for.
    """
    channels, *size = shape
    small = [-(-n // s) for n, s in zip(size, factor, strict=True)]
    before = [-(-r // s) for r, s in zip(reach, factor, strict=True)]
    cells = [next_fast_len(n + 2 * b, real=True) for n, b in zip(small, before, strict=True)]
    canvas = (channels, *(n * s for n, s in zip(cells, factor, strict=True)))
    inner = circular(canvas)
    outer = Crop(inner.out_shape, small, before)
    picture = Crop(canvas, size, [b * s for b, s in zip(before, factor, strict=True)])
    return OnCanvas(outer, inner, picture)
