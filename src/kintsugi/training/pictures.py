"""Whole pictures of one size: the middle square, reduced, augmented and perhaps mirrored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..errors import InvalidFile
from .augment import Augmentation
from .config import Orientations

Signal = Image.Image | NDArray[np.float32]  # what is in a file: a picture, or an array (C, H, W)


def as_square(signal: Signal, size: int, path: Path) -> Signal:
    """The middle square of a picture, reduced to at most twice ``size`` so that there is something left to turn.

    An array has to be ``(C, size, size)``, since it is never reduced.
    """
    if isinstance(signal, Image.Image):
        short = min(signal.size)
        left, top = ((n - short) // 2 for n in signal.size)
        square = signal.crop((left, top, left + short, top + short))
        return square if short <= 2 * size else square.resize((2 * size, 2 * size), Image.Resampling.LANCZOS)
    if signal.shape[1:] != (size, size):
        raise InvalidFile(path, f"an array of {signal.shape[1]} x {signal.shape[2]}; expected {size} x {size}")
    return signal


def whole_picture(square: Signal, augmentation: Augmentation, rng: np.random.Generator) -> Tensor:
    """``(C, size, size)`` in [-1, 1]: what :func:`as_square` returned, augmented, reduced, perhaps grey, and turned.

    Of an array only the orientation is drawn. A mirror image is not a change that the network is told of: half of what
    it makes will be mirrored.
    """
    config = augmentation.config
    assert config.size is not None
    if not isinstance(square, Image.Image):
        values = turned(square.transpose(1, 2, 0), rng, config.turns).transpose(2, 0, 1)
        return torch.from_numpy(values.copy())
    reduced = augmentation.warp(square).resize((config.size, config.size), Image.Resampling.LANCZOS)
    if rng.random() < config.grey:
        reduced = reduced.convert("L").convert("RGB")
    return augmentation.recolour(to_signal(turned(np.asarray(reduced), rng, config.turns)))


def unchanged_picture(signal: Signal, size: int, path: Path) -> Tensor:
    """``(C, size, size)`` in [-1, 1]: the middle square, in its own orientation and colours."""
    square = as_square(signal, size, path)
    if isinstance(square, Image.Image):
        return to_signal(np.asarray(square.resize((size, size), Image.Resampling.LANCZOS)))
    return torch.from_numpy(square.copy())


def turned(pixels: np.ndarray, rng: np.random.Generator, orientations: Orientations) -> np.ndarray:
    """``(H, W, C)`` in one of its eight orientations, or of those that are allowed."""
    left_right, across, top_bottom = (rng.random() < 0.5 for _ in range(3))
    if orientations == "one":
        return pixels
    if orientations == "mirrored":
        return pixels[:, ::-1] if left_right else pixels
    if left_right:
        pixels = pixels[:, ::-1]
    if top_bottom:
        pixels = pixels[::-1]
    # Last: between the flips it would turn one into the other, and two of the eight orientations would never come.
    return pixels.transpose(1, 0, 2) if across else pixels


def to_signal(pixels: np.ndarray) -> Tensor:
    """``uint8 (H, W, 3)`` to ``float32 (3, H, W)`` in [-1, 1]."""
    chw = torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))
    return chw.float() / 127.5 - 1
