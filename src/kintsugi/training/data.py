"""Random crops of a folder of images or arrays, or whole pictures, each a function of (seed, index) and nothing else.

An array is a ``.npy`` file of floats ``(C, H, W)`` in [-1, 1], with any number of channels: a magnitude, the real and
imaginary part of a complex signal, bands. It is cropped, flipped and transposed as an image is, but never reduced,
since we know no filter that means the same to it, and never turned grey.

A run that was interrupted continues with exactly the crops it would have seen: there is no generator state to save.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import InvalidFile
from ..images.reading import opened
from .augment import Augmentation
from .config import TrainConfig
from .pictures import Signal, as_square, turned, unchanged_picture, whole_picture
from .pictures import to_signal as to_signal
from .synthetic import synthetic_picture

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}
ARRAYS = ".npy"


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Every image and array file below ``folder``, sorted by path, without looking inside."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InvalidFile(folder, "no such folder")
    # Hidden files are no images: macOS leaves a "._name.jpg" beside each name.jpg on foreign disks.
    found = (p for p in folder.rglob("*") if p.suffix.lower() in {*SUFFIXES, ARRAYS} and not p.name.startswith("."))
    files = sorted(p for p in found if p.is_file())
    if not files:
        raise InvalidFile(folder, f"no images in it ({', '.join(sorted(SUFFIXES))}), and no {ARRAYS} arrays")
    return files


def image_size(path: Path) -> tuple[int, int]:
    """``(width, height)`` from the file's header."""
    if path.suffix.lower() == ARRAYS:
        return open_array(path).shape[:0:-1]
    with opened(path) as image:
        return image.size


def open_array(path: Path) -> NDArray[np.floating]:
    """The array ``(C, H, W)`` in a file, mapped into memory; its values are not looked at. Nothing is unpickled."""
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except MemoryError:
        raise
    except Exception as error:  # broken headers and archives raise anything: SyntaxError, TypeError, BadZipFile
        raise InvalidFile(path, f"not a readable array ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(values, np.ndarray):
        raise InvalidFile(path, "several arrays in one file; expected a single one, as numpy.save writes")
    if values.ndim != 3 or 0 in values.shape:
        raise InvalidFile(path, f"an array of shape {values.shape}; expected (channels, height, width)")
    if not np.issubdtype(values.dtype, np.floating):
        raise InvalidFile(path, f"an array of {values.dtype}; expected floating point numbers in [-1, 1]")
    return values


def read_array(path: Path) -> NDArray[np.float32]:
    """The array ``(C, H, W)`` in a file, in float32, with every value in [-1, 1]."""
    with np.errstate(over="ignore"):  # becomes infinite, and is refused below
        values = np.array(open_array(path), dtype=np.float32)
    largest = float(np.abs(values).max())
    if not largest <= 1:  # nor is a NaN
        raise InvalidFile(path, f"values up to {largest:g}; expected finite numbers in [-1, 1]")
    return values


def read_signal(path: Path) -> Signal:
    """What is in an image file, or in an array file."""
    return read_array(path) if path.suffix.lower() == ARRAYS else read_rgb(path)


def count_channels(files: Sequence[Path]) -> int:
    """How many channels the signals have: 3 of an image, ``C`` of an array ``(C, H, W)``, and the same of all."""
    counts = [open_array(path).shape[0] if path.suffix.lower() == ARRAYS else 3 for path in files]
    for path, count in zip(files, counts, strict=True):
        if count != counts[0]:
            raise InvalidFile(path, f"{count} channels, where {files[0].name} has {counts[0]}")
    return counts[0]


def read_rgb(path: Path) -> Image.Image:
    """The pixels of an image file, 8 bits a channel, as stored (not turned by EXIF)."""
    with opened(path) as file:
        if file.mode == "F" or file.mode.startswith("I"):  # Pillow would clip nearly all to white
            raise InvalidFile(path, f"a picture of more than 8 bits a channel ({file.mode}); expected 8")
        return file.convert("RGB")


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
    """``self[index]`` is a crop ``(C, crop, crop)`` in [-1, 1], determined by ``(seed, index)``.

    With ``config.size`` it is a whole picture ``(C, size, size)``, changed as :class:`Augmentation` says: see
    :func:`whole_picture`.

    Half of the crops of images are cut as they are; half are resized by a factor log-uniform in [min_scale, max_scale]
    (Lanczos, with antialiasing), and a few are turned grey; the share ``synthetic`` of them is drawn instead. Arrays
    are cut as they are. All are flipped and transposed at random.
    """

    def __init__(self, files: Sequence[Path], config: TrainConfig, cache_bytes: int = 4 * 2**30) -> None:
        self.files = list(files)
        self.config = config
        sizes = np.array([image_size(p) for p in self.files])
        usable = sizes.min(axis=1) >= config.side
        if not usable.any():
            raise InvalidFile(self.files[0].parent, f"no image is at least {config.side} pixels on each side")
        power = config.oversample if config.size is None else 0.0
        weights = np.where(usable, np.prod(sizes, axis=1, dtype=float) ** power, 0)
        self.cumulative = np.cumsum(weights)
        self.cumulative /= self.cumulative[-1]
        # An array has channels and units of its own; what is drawn is a photograph of nothing.
        photographs = config.size is None and all(p.suffix.lower() != ARRAYS for p in self.files)
        self.drawn = config.synthetic if photographs else 0.0
        self.cache: dict[int, Signal] = {}
        self.cache_left = cache_bytes

    def __len__(self) -> int:
        return self.config.steps * self.config.batch

    def __getitem__(self, index: int) -> Tensor:
        rng = np.random.default_rng((self.config.seed, index))
        if self.drawn and rng.random() < self.drawn:
            return synthetic_picture(self.config.crop, rng, grey=rng.random() < self.config.grey)
        # The first image whose share ends above the draw: never one whose share is empty.
        chosen = int(np.searchsorted(self.cumulative, rng.random(), side="right"))
        signal = self._signal(chosen)
        if self.config.size is not None:
            return whole_picture(signal, Augmentation.draw(self.config, index), rng)
        if isinstance(signal, Image.Image):
            return random_crop(signal, self.config, rng)
        return array_crop(signal, self.config, rng)

    def _signal(self, index: int) -> Signal:
        if index in self.cache:
            return self.cache[index]
        signal = read_signal(self.files[index])
        if self.config.size is not None:
            signal = as_square(signal, self.config.size, self.files[index])
        size = signal.width * signal.height * 4 if isinstance(signal, Image.Image) else signal.nbytes
        if size <= self.cache_left:
            self.cache_left -= size
            self.cache[index] = signal
        return signal


def random_crop(image: Image.Image, config: TrainConfig, rng: np.random.Generator) -> Tensor:
    """One augmented crop ``(3, crop, crop)`` in [-1, 1] of ``image``."""
    crop, short = config.crop, min(image.size)
    smallest = max(config.min_scale, crop / short)
    largest = max(config.max_scale, smallest)
    scale = 1.0 if rng.random() < 0.5 else float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))
    side = min(crop / scale, short)
    if scale == 1.0:
        left, top = (int(rng.integers(0, n - crop + 1)) for n in image.size)
        patch = image.crop((left, top, left + crop, top + crop))
    else:
        x, y = (float(rng.uniform(0, n - side)) for n in image.size)
        patch = image.resize((crop, crop), Image.Resampling.LANCZOS, box=(x, y, x + side, y + side))
    if rng.random() < config.grey:
        patch = patch.convert("L").convert("RGB")
    return to_signal(turned(np.asarray(patch), rng, config.turns))


def array_crop(values: NDArray[np.float32], config: TrainConfig, rng: np.random.Generator) -> Tensor:
    """One crop ``(C, crop, crop)`` of an array ``(C, H, W)``, flipped and transposed at random."""
    crop = config.crop
    top, left = (int(rng.integers(0, n - crop + 1)) for n in values.shape[1:])
    cut = values[:, top : top + crop, left : left + crop]
    cut_turned = turned(cut.transpose(1, 2, 0), rng, config.turns).transpose(2, 0, 1)
    return torch.from_numpy(cut_turned.copy())  # not a view of what is cached


def validation_crops(files: Sequence[Path], config: TrainConfig, size: int = 160) -> Tensor:
    """``(N, C, size, size)`` in [-1, 1]: fixed crops of the held-out files, the largest files first.

    A file smaller than ``size`` is left out where there are larger ones; the order makes the large, varied
    photographs count. With ``config.size``: whole pictures of that size, evenly
    spread over the files.
    """
    if config.size is not None:
        usable = [p for p in files if min(image_size(p)) >= config.size]
        if not usable:
            raise InvalidFile(files[0], f"held out, and smaller than {config.size} pixels, like all that are")
        chosen = usable[:: -(-len(usable) // config.validation_crops)]
        return torch.stack([unchanged_picture(read_signal(path), config.size, path) for path in chosen])
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
        signal = read_signal(path)
        whole = to_signal(np.asarray(signal)) if isinstance(signal, Image.Image) else torch.from_numpy(signal)
        for _ in range(per_file):
            top, left = (int(rng.integers(0, n - size + 1)) for n in whole.shape[1:])
            crops.append(whole[:, top : top + size, left : left + size])
    return torch.stack(crops[: config.validation_crops])


def spectrum_crops(files: Sequence[Path], config: TrainConfig, count: int = 48, size: int = 128) -> Tensor:
    """``(count, C, size, size)`` in [-1, 1]: random crops of held-out files, drawn as training draws them.

    None is enlarged or drawn: a network errs less at high frequencies there, and who restores photographs would be told
    so of photographs.
    """
    if config.size is not None:
        crops = Crops(files, replace(config, seed=config.seed + 1, augment=0.0))
        return torch.stack([crops[i] for i in range(count)])
    short = max(min(image_size(p)) for p in files)
    size = min(size, short // config.net.multiple * config.net.multiple)
    if size < 1:
        raise InvalidFile(files[0], f"held out, and smaller than {config.net.multiple} pixels, like all that are")
    crops = Crops(files, replace(config, crop=size, seed=config.seed + 1, max_scale=1.0, synthetic=0.0))
    return torch.stack([crops[i] for i in range(count)])
