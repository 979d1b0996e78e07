"""The pictures of a suite, by name, reduced and cropped as it says."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from .. import data_path, images
from ..errors import InvalidFile
from ..training.data import find_images, read_rgb, to_signal
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
        if self._spec.names is not None:
            files = named(files, self._spec.names)
        files = files[: self._spec.limit]
        self._files = {path.stem: path for path in files}
        if len(self._files) < len(files):
            raise InvalidFile(self._spec.folder, "pictures of the same name")
        if not self._files:
            raise InvalidFile(self._spec.folder, "no pictures in it")
        self.digests = {
            name: hashlib.sha256(self.load(name).numpy().tobytes()).hexdigest()[:16] for name in self._files
        }

    def load(self, name: str) -> Tensor:
        """The picture (3, H, W) in [-1, 1]."""
        return _load(self._files[name], self._spec.scale, self._spec.crop, self._spec.size, self._spec.by)

    def shape(self, name: str) -> tuple[int, int, int]:
        """(3, H, W)."""
        channels, height, width = self.load(name).shape
        return channels, height, width


@lru_cache(maxsize=64)
def _load(path: Path, scale: float, crop: int | None, size: int | None, by: str) -> Tensor:
    image = read_rgb(path)
    if size is not None:
        image, crop = shortened(image, size, by), size
    if scale != 1:
        reduced = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
        image = image.resize(reduced, Image.Resampling.LANCZOS)
    if crop is not None:
        if min(image.size) < crop:
            raise InvalidFile(
                path, f"{image.width} x {image.height} pixels after scaling, less than the crop of {crop}"
            )
        left, top = (image.width - crop) // 2, (image.height - crop) // 2
        image = image.crop((left, top, left + crop, top + crop))
    return to_signal(np.asarray(image))


def shortened(image: Image.Image, size: int, by: str) -> Image.Image:
    """``image`` with a shorter side of ``size`` pixels: "adm" halves it with a box while it can, then bicubic."""
    if by == "adm":
        while min(image.size) >= 2 * size:
            image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    sides = (round(image.width * scale), round(image.height * scale))
    return image.resize(sides, Image.Resampling.BICUBIC if by == "adm" else Image.Resampling.BILINEAR)


def named(files: Sequence[Path], names: Path) -> list[Path]:
    """The files that ``names`` lists, in its order. Errors: :class:`InvalidFile` for a name that is not there."""
    try:
        lines = names.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise InvalidFile(names, f"not a readable list of pictures ({error})") from error
    known = {path.stem: path for path in files}
    wanted = [Path(line.split()[0]).stem for line in lines if line.strip()]
    missing = [name for name in wanted if name not in known]
    if missing or not wanted:
        what = (
            f"{len(missing)} of its {len(wanted)} pictures are not in the folder, {missing[0]} first"
            if missing
            else "no names"
        )
        raise InvalidFile(names, what)
    return [known[name] for name in wanted]


def write_picture(path: Path, x: Tensor) -> None:
    """``x`` (C, H, W) in [-1, 1] as a PNG, whole or not at all."""
    images.write_picture(images.Picture(x.float()), path)
