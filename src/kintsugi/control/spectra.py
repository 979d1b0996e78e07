"""Short windows of a residual and their spectra, for grain and surfaces.

A window of ``side`` pixels begins at every half of it; each is weighted by the root of a raised cosine, whose squares
sum to one over the windows, so that windows that are not changed add up to what they were. Colours are turned into
luma, ``(r + g + b) / sqrt(3)``, and two chroma axes orthogonal to it, whose noise is taken to be independent.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InvalidArgument

# Rows: luma and two chroma axes, orthonormal.
_AXES = ((3**-0.5,) * 3, (2**-0.5, -(2**-0.5), 0.0), (6**-0.5, 6**-0.5, -2 * 6**-0.5))


def side_for(shape: tuple[int, int]) -> int:
    """The side of the windows for a picture (H, W): 64 pixels, or 32 or 16 where that would leave too few of them."""
    for side in (64, 32, 16):
        if min(shape) >= 4 * side:
            return side
    if min(shape) < 16:
        raise InvalidArgument(
            "picture", f"{shape[1]} x {shape[0]} pixels", "at least 16 pixels a side to measure grain"
        )
    return 16


def to_axes(x: Tensor) -> Tensor:
    """Luma and chroma of (3, H, W); one channel stays as it is."""
    return x if x.shape[0] == 1 else torch.tensordot(_axes(x), x, 1)


def from_axes(x: Tensor) -> Tensor:
    """The inverse of :func:`to_axes`."""
    return x if x.shape[0] == 1 else torch.tensordot(_axes(x).T, x, 1)


def windows(x: Tensor, side: int) -> Tensor:
    """The weighted windows of (C, H, W), mirrored beyond its border: (C, rows, columns, side, side)."""
    half = side // 2
    pad = [half, half + (-x.shape[2]) % half, half, half + (-x.shape[1]) % half]
    mode = "reflect" if min(x.shape[1:]) > max(pad) else "replicate"
    padded = F.pad(x[None], pad, mode=mode)[0]
    return padded.unfold(1, side, half).unfold(2, side, half) * _weight(side, x)


def overlap(parts: Tensor, shape: tuple[int, int]) -> Tensor:
    """The inverse of :func:`windows` for unchanged ``parts``: weighted again and added up, (C, H, W)."""
    channels, rows, columns, side, _ = parts.shape
    half = side // 2
    flat = (parts * _weight(side, parts)).permute(0, 3, 4, 1, 2).reshape(channels, side * side, rows * columns)
    size = ((rows - 1) * half + side, (columns - 1) * half + side)
    out = F.fold(flat, size, side, stride=half)[:, 0]
    return out[:, half : half + shape[0], half : half + shape[1]]


def unit(side: int) -> float:
    """The sum of the squares of a window's weights: the mean of ``|FFT|^2`` for white noise of variance 1."""
    return side**2 / 4


def _weight(side: int, like: Tensor) -> Tensor:
    line = torch.sin(torch.pi * (torch.arange(side, dtype=like.dtype, device=like.device) + 0.5) / side)
    return line[:, None] * line


def _axes(like: Tensor) -> Tensor:
    if like.shape[0] != 3:
        raise InvalidArgument("picture", f"{like.shape[0]} channels", "1 or 3")
    return torch.tensor(_AXES, dtype=like.dtype, device=like.device)
