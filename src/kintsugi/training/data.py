"""Random crops of a folder of images, each a function of (seed, index) and nothing else.

A run that was interrupted continues with exactly the crops it would have seen: there is no generator state to save.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import InvalidFile
from .config import TrainConfig

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Every image file below ``folder``, sorted by path, without looking inside."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InvalidFile(folder, "no such folder")
    # Hidden files are no images: macOS leaves a "._name.jpg" beside each name.jpg on foreign disks.
    found = (p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    files = sorted(p for p in found if p.is_file())
    if not files:
        raise InvalidFile(folder, f"no images in it ({', '.join(sorted(SUFFIXES))})")
    return files


def image_size(path: Path) -> tuple[int, int]:
    """``(width, height)`` from the file's header."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidFile(path, f"not a readable image ({error})") from error


def read_rgb(path: Path) -> Image.Image:
    """The pixels of an image file, 8 bits a channel, as stored (not turned by EXIF)."""
    try:
        with Image.open(path) as file:
            if file.mode == "F" or file.mode.startswith("I"):
                raise ValueError(f"{file.mode}: more than 8 bits a channel")  # Pillow would clip nearly all to white
            return file.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidFile(path, f"not a readable image ({error})") from error


def split(files: Sequence[Path], share: float) -> tuple[list[Path], list[Path]]:
    """Training and held-out files: every ``1 / share``-th in order of size, so that each kind of image is in both.

    Of two files or more at least one is held out; a single file serves as both.
    """
    by_size = sorted(files, key=lambda p: (np.prod(image_size(p)), p.name))
    every = max(2, round(1 / share))
    held_out = by_size[min(every, len(by_size)) // 2 :: every]
    chosen = set(held_out)
    return [p for p in by_size if p not in chosen] or list(by_size), held_out


class Crops(Dataset[Tensor]):
    """``self[index]`` is a crop ``(3, crop, crop)`` in [-1, 1], determined by ``(seed, index)``.

    Half of the crops are cut as they are; half are reduced by a factor log-uniform in [min_scale, 1] (Lanczos, with
    antialiasing). All are flipped and transposed at random; a few are turned grey.
    """

    def __init__(self, files: Sequence[Path], config: TrainConfig, cache_bytes: int = 4 * 2**30) -> None:
        self.files = list(files)
        self.config = config
        sizes = np.array([image_size(p) for p in self.files])
        usable = sizes.min(axis=1) >= config.crop
        if not usable.any():
            raise InvalidFile(self.files[0].parent, f"no image is at least {config.crop} pixels on each side")
        weights = np.where(usable, np.prod(sizes, axis=1, dtype=float) ** config.oversample, 0)
        self.cumulative = np.cumsum(weights)
        self.cumulative /= self.cumulative[-1]
        self.cache: dict[int, Image.Image] = {}
        self.cache_left = cache_bytes

    def __len__(self) -> int:
        return self.config.steps * self.config.batch

    def __getitem__(self, index: int) -> Tensor:
        rng = np.random.default_rng((self.config.seed, index))
        # The first image whose share ends above the draw: never one whose share is empty.
        chosen = int(np.searchsorted(self.cumulative, rng.random(), side="right"))
        return random_crop(self._image(chosen), self.config, rng)

    def _image(self, index: int) -> Image.Image:
        if index in self.cache:
            return self.cache[index]
        image = read_rgb(self.files[index])
        size = image.width * image.height * 4
        if size <= self.cache_left:
            self.cache_left -= size
            self.cache[index] = image
        return image


def random_crop(image: Image.Image, config: TrainConfig, rng: np.random.Generator) -> Tensor:
    """One augmented crop ``(3, crop, crop)`` in [-1, 1] of ``image``."""
    crop, short = config.crop, min(image.size)
    smallest = max(config.min_scale, crop / short)
    scale = 1.0 if rng.random() < 0.5 else float(np.exp(rng.uniform(np.log(smallest), 0.0)))
    side = min(crop / scale, short)
    if scale == 1.0:
        left, top = (int(rng.integers(0, n - crop + 1)) for n in image.size)
        patch = image.crop((left, top, left + crop, top + crop))
    else:
        x, y = (float(rng.uniform(0, n - side)) for n in image.size)
        patch = image.resize((crop, crop), Image.Resampling.LANCZOS, box=(x, y, x + side, y + side))
    if rng.random() < config.grey_share:
        patch = patch.convert("L").convert("RGB")
    pixels = np.asarray(patch)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if rng.random() < 0.5:
        pixels = pixels.transpose(1, 0, 2)
    if rng.random() < 0.5:
        pixels = pixels[::-1]
    return to_signal(pixels)


def to_signal(pixels: np.ndarray) -> Tensor:
    """``uint8 (H, W, 3)`` to ``float32 (3, H, W)`` in [-1, 1]."""
    chw = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return chw.float() / 127.5 - 1


def validation_crops(files: Sequence[Path], config: TrainConfig, size: int = 160) -> Tensor:
    """``(N, 3, size, size)`` in [-1, 1]: fixed crops of the held-out files, the largest files first.

    A file smaller than ``size`` is left out where there are larger ones; the order makes the large, varied
    photographs count.
    """
    by_size = sorted(files, key=lambda p: (-np.prod(image_size(p)), p.name))
    usable = [p for p in by_size if min(image_size(p)) >= size]
    if not usable:
        usable = by_size
        smallest = min(min(image_size(p)) for p in usable)
        size = smallest // config.net.multiple * config.net.multiple or smallest
    per_file = max(1, -(-config.validation_crops // len(usable)))
    crops = []
    for path in usable:
        rng = np.random.default_rng((config.seed, 1))
        pixels = np.asarray(read_rgb(path))
        for _ in range(per_file):
            top, left = (int(rng.integers(0, n - size + 1)) for n in pixels.shape[:2])
            crops.append(to_signal(pixels[top : top + size, left : left + size]))
    return torch.stack(crops[: config.validation_crops])


def spectrum_crops(files: Sequence[Path], config: TrainConfig, count: int = 48, size: int = 128) -> Tensor:
    """``(count, 3, size, size)`` in [-1, 1]: random crops of held-out files, drawn as training draws them."""
    short = max(min(image_size(p)) for p in files)
    size = min(size, short // config.net.multiple * config.net.multiple)
    if size < 1:
        raise InvalidFile(files[0], f"held out, and smaller than {config.net.multiple} pixels, like all that are")
    crops = Crops(files, replace(config, crop=size, seed=config.seed + 1))
    return torch.stack([crops[i] for i in range(count)])
