"""The crops that settings are tuned on, and those that they are scored on: two halves of the images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from ..errors import InvalidFile
from ..training.config import TrainConfig
from ..training.data import ARRAYS, find_images, image_size, read_rgb, split, to_signal
from .plan import TuneImages

# Where the crops of a picture are, as shares of the free way down and across.
PLACES = ((0.5, 0.5), (0.25, 0.25), (0.75, 0.75), (0.25, 0.75), (0.75, 0.25))


@dataclass(frozen=True)
class Crop:
    """One square of one picture; ``name`` is PICTURE or PICTURE@NUMBER, by which masks and noise are drawn."""

    picture: str
    name: str
    path: Path
    place: tuple[float, float]
    scale: float
    size: int

    def load(self) -> Tensor:
        """(3, size, size) in [-1, 1]."""
        whole = _reduced(self.path, self.scale)
        if min(whole.shape[1:]) < self.size:
            expected = f"less than the crop of {self.size}"
            raise InvalidFile(self.path, f"{whole.shape[2]} x {whole.shape[1]} pixels after scaling, {expected}")
        top, left = (int(f * (n - self.size)) for f, n in zip(self.place, whole.shape[1:], strict=True))
        return whole[:, top : top + self.size, left : left + self.size]


@dataclass(frozen=True)
class Halves:
    """The two halves, crop by crop: first the first crop of every picture, then the second ones."""

    tuned_on: tuple[Crop, ...]
    scored_on: tuple[Crop, ...]

    @cached_property
    def digests(self) -> dict[str, str]:
        """Of the pixels of each crop, by name."""
        crops = (*self.tuned_on, *self.scored_on)
        return {crop.name: hashlib.sha256(crop.load().numpy().tobytes()).hexdigest()[:16] for crop in crops}


def held_out(folder: Path) -> list[Path]:
    """The files that ``kintsugi train`` holds out of ``folder``, by its own function and its default share."""
    return split(find_images(folder), TrainConfig().validation_share)[1]


def halves(images: TuneImages) -> Halves:
    """The pictures of a plan, in the order of their names: every second one, from the second, is for tuning.

    Errors: :class:`InvalidFile` where fewer than three pictures are left, or two have the same name.
    """
    files = held_out(images.folder) if images.held_out else find_images(images.folder)
    large = (path for path in files if path.suffix.lower() != ARRAYS and min(image_size(path)) >= images.at_least)
    chosen = sorted(large, key=lambda path: path.stem)
    if len(chosen) < 3:
        kind = "held out of training" if images.held_out else "in all"
        need = "expected at least 3, to tune on some and score on two or more others"
        raise InvalidFile(images.folder, f"{len(chosen)} pictures {kind} and large enough; {need}")
    if len({path.stem for path in chosen}) < len(chosen):
        raise InvalidFile(images.folder, "pictures of the same name")

    def crops(paths: list[Path]) -> tuple[Crop, ...]:
        places = list(enumerate(PLACES[: images.crops]))
        return tuple(
            Crop(path.stem, f"{path.stem}@{k}" if k else path.stem, path, place, images.scale, images.crop)
            for k, place in places
            for path in paths
        )

    return Halves(crops(chosen[1::2]), crops(chosen[0::2]))


@lru_cache(maxsize=32)
def _reduced(path: Path, scale: float) -> Tensor:
    image = read_rgb(path)
    if scale != 1:
        size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return to_signal(np.asarray(image))
