"""White gold on a picture where it was invented, as kintsugi lays gold along the seams of a mended bowl.

How thick the gold lies at a pixel is

    a = share (1 - exp(-std / THICK))

with the share of the variance that no measurement supports (``invented.py``) and the standard deviation of the samples,
of all channels and over a pixel or two: where they agree there is nothing to gild, however little was measured. The
metal takes its tone and its fine contrast from the picture below, so that the picture can still be read, and the relief
of its edges from the slope of the gold, lit from the upper left.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InvalidArgument

THICK = 0.04  # the standard deviation, in [-1, 1], at which gold is 63 % of its full thickness
OPAQUE = 0.94  # of the picture that full gold hides
# Tones of the metal from its shadow to its light, in [0, 1].
TONES = (
    (0.20, 0.14, 0.07),
    (0.58, 0.45, 0.24),
    (0.85, 0.74, 0.48),
    (0.97, 0.92, 0.76),
    (1.0, 0.995, 0.96),
)


def gold(picture: Tensor, share: Tensor, std: Tensor | None = None) -> Tensor:
    """``picture`` (1 or 3, H, W) in [-1, 1] with gold where ``share`` (1, H, W) in [0, 1] is large: (3, H, W).

    std: the standard deviation of the samples (C, H, W), in the units of the picture; None gilds by the share alone.

    >>> plain = torch.zeros(3, 8, 8)
    >>> bool(gold(plain, torch.zeros(1, 8, 8)).allclose(plain, atol=1e-6))
    True
    """
    if picture.ndim != 3 or picture.shape[0] not in (1, 3):
        raise InvalidArgument("picture", tuple(picture.shape), "shape (1 or 3, H, W)")
    if share.shape != (1, *picture.shape[1:]):
        raise InvalidArgument("share", tuple(share.shape), f"shape {(1, *picture.shape[1:])}")
    if std is not None and (std.ndim != 3 or std.shape[1:] != picture.shape[1:]):
        raise InvalidArgument("std", tuple(std.shape), f"shape (C, {picture.shape[1]}, {picture.shape[2]})")
    below = (picture.float().clamp(-1, 1).expand(3, -1, -1) + 1) / 2
    thick = share.float().clamp(0, 1)
    if std is not None:
        thick = thick * -torch.expm1(-_soften(std.float().square().mean(0, keepdim=True), 1.0).sqrt() / THICK)
    light = below.mean(0, keepdim=True)
    tone = 0.3 + 0.42 * light + 1.2 * (light - _soften(light, 2.0)) + _relief(_soften(thick.sqrt(), 1.0))
    alpha = OPAQUE * thick
    return ((1 - alpha) * below + alpha * _metal(tone)) * 2 - 1


def _metal(tone: Tensor) -> Tensor:
    """The colour (3, H, W) of the metal at a ``tone`` (1, H, W), from shadow (0) to light (1)."""
    tones = torch.tensor(TONES, dtype=tone.dtype, device=tone.device)
    at = tone.clamp(0, 1)[0] * (len(TONES) - 1)
    low = at.floor().long().clamp(0, len(TONES) - 2)
    weight = (at - low)[..., None]
    return ((1 - weight) * tones[low] + weight * tones[low + 1]).movedim(-1, 0)


def _relief(height: Tensor) -> Tensor:
    """The light that slopes of ``height`` (1, H, W) catch from the upper left, -0.5 to 0.5."""
    padded = F.pad(height[None], (1, 1, 1, 1), mode="replicate")[0]
    down, right = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2, (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    return 0.5 * torch.tanh(3 * (down + right))


def _soften(x: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur of (1, H, W)."""
    reach = max(1, round(3 * sigma))
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device) / sigma) ** 2)
    line = line / line.sum()
    padded = F.pad(x[None], (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1))[0]
