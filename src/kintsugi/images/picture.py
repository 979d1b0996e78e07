"""A picture as the library sees it: pixels in [-1, 1], and what is needed to write it back as it came."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InvalidArgument


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels and what surrounds them in a file. Nothing in it is ever changed in place.

    ``pixels`` is float32 ``(C, H, W)`` in [-1, 1] (black to white, in the file's own colour space), C = 1 for grey and
    3 for colour; values a little outside are allowed and clipped on writing. ``alpha`` is float32 ``(1, H, W)`` in
    [0, 1]. ``icc`` is the colour profile, byte for byte. ``bits`` is the depth of a channel in the file: 8, 16, or 32
    for floating point. ``notes`` are remarks for the user on how the file was read.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    icc: bytes | None = None
    bits: int = 8
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        pixels, alpha = self.pixels, self.alpha
        if pixels.ndim != 3 or pixels.shape[0] not in (1, 3) or 0 in pixels.shape or pixels.dtype != torch.float32:
            got = f"{tuple(pixels.shape)} {pixels.dtype}"
            raise InvalidArgument("pixels", got, "a float32 tensor (1 or 3, height, width)")
        if not bool(torch.isfinite(pixels).all()):
            raise InvalidArgument("pixels", "NaN or infinite values", "finite numbers")
        if alpha is not None and (alpha.shape != (1, *pixels.shape[1:]) or alpha.dtype != torch.float32):
            got = f"{tuple(alpha.shape)} {alpha.dtype}"
            raise InvalidArgument("alpha", got, f"a float32 tensor {(1, *pixels.shape[1:])}")
        if self.bits not in (8, 16, 32):
            raise InvalidArgument("bits", self.bits, "8, 16 or 32")

    @property
    def grey(self) -> bool:
        return self.pixels.shape[0] == 1

    @property
    def height(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[2])

    def colour(self) -> Tensor:
        """``(3, H, W)``: the pixels, a grey picture as three equal channels."""
        return self.pixels.expand(3, -1, -1)


def profile_fits(icc: bytes | None, channels: int) -> bool:
    """Whether a colour profile describes pictures of ``channels`` channels (its header says grey or RGB)."""
    return icc is not None and icc[16:20] == {1: b"GRAY", 3: b"RGB "}.get(channels)
