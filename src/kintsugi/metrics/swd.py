"""Texture of every size: sliced Wasserstein distance of the patches of Laplacian pyramids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import ROUNDING, PictureMetric

PATCH, COARSEST = 7, 16


@dataclass(frozen=True)
class SWD(PictureMetric):
    """Sliced Wasserstein-1 distance between patches of x and of the truth (Karras et al. 2018), in thousandths.

    Both become Laplacian pyramids, halved as long as 16 pixels remain. Of each level, all patches of 7 x 7 pixels, or
    ``patches`` at random places, the same for both, are projected on ``directions`` random unit vectors; the distance
    is the mean absolute difference of the sorted projections, and the value its mean over levels. Where a texture
    stands does not matter, only that it is there.

    Karras et al. compare sets of pictures, and bring each set's patches to mean 0 and standard deviation 1 by its own,
    channel by channel. Of a pair of pictures this would hide a lack of contrast or detail, so both are brought there by
    the mean and standard deviation (at least that of rounding to 8 bits) of the truth's patches. A shift of the
    coarsest level by c standard deviations then adds about 800 c to that level.
    """

    name: ClassVar[str] = "swd"
    better: ClassVar[Literal["higher", "lower", "none"]] = "lower"
    unit: ClassVar[str] = "1e-3"
    least: ClassVar[int | None] = COARSEST

    directions: int = 512
    patches: int = 4096
    seed: int = 0

    def _each(self, x: Tensor, truth: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        distances = []
        for level in _pyramid(torch.cat((truth[None], x))):
            patches = self._sampled(level, generator)
            std, mean = torch.std_mean(patches[0], (0, 2), correction=0, keepdim=True)
            patches = ((patches - mean) / std.clamp_min(ROUNDING)).flatten(2)
            turn = torch.randn(patches.shape[2], self.directions, generator=generator, dtype=torch.float64)
            turn = (turn / turn.norm(dim=0)).to(x)
            reference = (patches[0] @ turn).sort(0).values
            distances.append(torch.stack([((p @ turn).sort(0).values - reference).abs().mean() for p in patches[1:]]))
        return 1000 * torch.stack(distances).mean(0)

    def _sampled(self, level: Tensor, generator: torch.Generator) -> Tensor:
        """Patches (n, P, C, 49) of pictures (n, C, H, W) at the same places of all."""
        windows = level.unfold(2, PATCH, 1).unfold(3, PATCH, 1)
        rows, columns = windows.shape[2:4]
        places = torch.arange(rows * columns)
        if len(places) > self.patches:
            places = torch.randperm(len(places), generator=generator)[: self.patches]
        places = places.to(level.device)
        return windows[:, :, places // columns, places % columns].permute(0, 2, 1, 3, 4).flatten(3)


def _pyramid(x: Tensor) -> list[Tensor]:
    """The Laplacian pyramid of pictures (n, C, H, W), the finest level first; the last is what is left of the picture.

    Halving filters with (1, 4, 6, 4, 1)/16 along both sides, mirrored at the border, and keeps every second pixel;
    doubling puts zeros between them and filters with four times as much.
    """
    levels = []
    while min(x.shape[-2:]) >= 2 * COARSEST:
        coarse = _filtered(x)[..., ::2, ::2]
        sparse = torch.zeros_like(x)
        sparse[..., ::2, ::2] = coarse
        levels.append(x - 4 * _filtered(sparse))
        x = coarse
    return [*levels, x]


def _filtered(x: Tensor) -> Tensor:
    taps = torch.tensor([1, 4, 6, 4, 1], dtype=x.dtype, device=x.device) / 16
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, groups=x.shape[1])
