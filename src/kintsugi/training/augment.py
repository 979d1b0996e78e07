"""Small changes of training pictures, each told to the network, so that none of them leaks into its samples.

As in Karras et al. (2020 and 2022, appendix F.2): every change is made to a share of the pictures, and its parameters
are a label ``(7,)`` that enters the network beside the noise level. A label of zeros means "as it was", and that is all
the network is asked for once it is trained. What a change is, with all parameters zero for none:

| label | change | size |
|---|---|---|
| 0, 1 | shift right and down | at most ``shift`` times the side |
| 2 | zoom, the logarithm of the factor | at most ``zoom`` |
| 3 | turn, counterclockwise | at most ``angle`` degrees |
| 4 | brightness, added | at most ``colour`` |
| 5 | contrast about mid grey, the logarithm of the factor | at most ``colour`` |
| 6 | saturation, the logarithm of the factor | at most ``colour`` |

Labels are in units of the largest change, so from -1 to 1. Beyond the border a picture is mirrored. Colours are not
clipped: the network is told what was done, and a value above 1 is no harder for it than one below.

The changes of picture ``index`` are a function of ``(seed, index)``, apart from the crop's own generator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .config import LABELS, TrainConfig


@dataclass(frozen=True)
class Augmentation:
    """What is done to one picture: ``label`` (7 numbers from -1 to 1), in units of the settings of ``config``."""

    label: tuple[float, ...]
    config: TrainConfig

    @classmethod
    def draw(cls, config: TrainConfig, index: int) -> Augmentation:
        """That of picture ``index``: each group (shift, zoom, turn and the three of colour) with its own coin."""
        rng = np.random.default_rng((config.seed, index, 1))
        values, coins = rng.uniform(-1, 1, LABELS), rng.random(LABELS)
        coins[1] = coins[0]  # a shift is one change
        return cls(tuple(float(v) if c < config.augment else 0.0 for v, c in zip(values, coins, strict=True)), config)

    @property
    def moves(self) -> bool:
        """Whether pixels move."""
        return any(self.label[:4])

    def warp(self, image: Image.Image) -> Image.Image:
        """``image`` turned and zoomed about its middle and then shifted; bicubic, mirrored beyond the border."""
        if not self.moves:
            return image
        width, height = image.size
        right, down = (v * self.config.shift * min(image.size) for v in self.label[:2])
        zoom, turn = math.exp(self.label[2] * self.config.zoom), math.radians(self.label[3] * self.config.angle)
        reach = max(abs(right), abs(down)) + max(image.size) * (abs(math.sin(turn)) + abs(1 / zoom - 1)) / 2
        pad = min(math.ceil(reach) + 3, width, height)  # a mirror reaches no further than the picture
        pixels = np.pad(np.asarray(image), ((pad, pad), (pad, pad), (0, 0)), mode="symmetric")
        # Where a pixel of the result comes from: back by the shift, then back by turn and zoom; y points down.
        cos, sin = math.cos(turn) / zoom, math.sin(turn) / zoom
        x0, y0 = width / 2, height / 2
        matrix = (
            cos, -sin, pad + x0 - cos * (x0 + right) + sin * (y0 + down),
            sin, cos, pad + y0 - sin * (x0 + right) - cos * (y0 + down),
        )  # fmt: skip
        return Image.fromarray(pixels).transform(
            image.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BICUBIC
        )

    def recolour(self, x: Tensor) -> Tensor:
        """``x`` (3, H, W) in [-1, 1] with another saturation, contrast and brightness, in this order."""
        brightness, contrast, saturation = (v * self.config.colour for v in self.label[4:])
        if saturation:
            grey = x.mean(dim=0, keepdim=True)
            x = grey + math.exp(saturation) * (x - grey)
        if contrast:
            x = math.exp(contrast) * x
        return x + brightness if brightness else x


def draw_labels(config: TrainConfig, indices: range) -> Tensor | None:
    """The labels ``(n, 7)`` of the pictures ``indices``; None without augmentation."""
    if not config.augment:
        return None
    return torch.tensor([Augmentation.draw(config, i).label for i in indices], dtype=torch.float32)
