"""The pictures of a suite, by name, reduced and cropped as it says."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from .. import data_path, images
from ..errors import InvalidFile
from ..training.data import find_images, to_signal
from .suite import Images

BUNDLED = ("parrots", "lighthouse")


class Source(Protocol):
    """Where pictures come from."""

    def load(self, name: str) -> Tensor:
        """The picture (3, H, W) in [-1, 1]."""


class Held:
    """Pictures in memory, as a worker is given them."""

    def __init__(self, pictures: Mapping[str, Tensor]) -> None:
        self._pictures = pictures

    def load(self, name: str) -> Tensor:
        return self._pictures[name]


class Pictures:
    """What ``images`` names; None for the bundled ones. ``digests``: of the pixels of each, by name, in order."""

    def __init__(self, images: Images | None) -> None:
        self._spec = images or Images()
        files = [data_path(name) for name in BUNDLED] if self._spec.folder is None else find_images(self._spec.folder)
        self._files = {path.stem: path for path in files[: self._spec.limit]}
        if len(self._files) < len(files[: self._spec.limit]):
            raise InvalidFile(self._spec.folder, "pictures of the same name")
        if not self._files:
            raise InvalidFile(self._spec.folder, "no pictures in it")
        self.digests = {
            name: hashlib.sha256(self.load(name).numpy().tobytes()).hexdigest()[:16] for name in self._files
        }

    def load(self, name: str) -> Tensor:
        """The picture (3, H, W) in [-1, 1]."""
        return _load(self._files[name], self._spec.scale, self._spec.crop)

    def shape(self, name: str) -> tuple[int, int, int]:
        """(3, H, W)."""
        channels, height, width = self.load(name).shape
        return channels, height, width


@lru_cache(maxsize=64)
def _load(path: Path, scale: float, crop: int | None) -> Tensor:
    with Image.open(path) as file:
        image = file.convert("RGB")
    if scale != 1:
        size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
        image = image.resize(size, Image.Resampling.LANCZOS)
    if crop is not None:
        if min(image.size) < crop:
            raise InvalidFile(
                path, f"{image.width} x {image.height} pixels after scaling, less than the crop of {crop}"
            )
        left, top = (image.width - crop) // 2, (image.height - crop) // 2
        image = image.crop((left, top, left + crop, top + crop))
    return to_signal(np.asarray(image))


def write_picture(path: Path, x: Tensor) -> None:
    """``x`` (C, H, W) in [-1, 1] as a PNG, whole or not at all."""
    images.write_picture(images.Picture(x.float()), path)
