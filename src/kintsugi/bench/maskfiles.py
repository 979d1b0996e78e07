"""Masks of inpainting in files, 1 or white where pixels are missing.

| the file | what it holds |
|---|---|
| a picture | one mask, white where pixels are missing |
| ``.npz`` | under ``key``, masks (n, H, W), or one of (H, W), 0 and 1; or their bits packed into bytes, for 256 x 256 |

Packed bits are what Palette (Saharia et al. 2022) published for ImageNet, ``imagenet_freeform_masks.npz`` with keys
such as "20-30% freeform", which RED-diff, PiGDM and C-PiGDM take. ``index`` is the number of the mask; None gives each
picture one of them by its name.
"""

from __future__ import annotations

import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InvalidArgument, InvalidFile
from ..images import read_mask

SIDE = 256  # of packed masks
LARGEST = 2**27  # bytes of the masks under a key, unpacked, where the file itself is not larger


def mask_from(path: Path, key: str, index: int | None, size: tuple[int, int], seed: int) -> Tensor:
    """A bool mask (H, W), True where pixels are missing; ``seed`` picks one where ``index`` is None.

    Errors: :class:`InvalidFile`, :class:`InvalidArgument`.
    """
    if path.suffix.lower() != ".npz":
        return read_mask(path, size)[0]
    masks = _masks(path, key)
    if index is not None and index >= len(masks):
        raise InvalidArgument("index", index, f"a number below {len(masks)}, the masks in {path}")
    mask = torch.from_numpy(masks[seed % len(masks) if index is None else index].astype(bool))
    if tuple(mask.shape) != size:
        raise InvalidArgument("file", f"masks of {tuple(mask.shape)}", f"masks of the pictures' size, {size}")
    return mask


@lru_cache(maxsize=2)
def _masks(path: Path, key: str) -> NDArray[np.uint8]:
    try:
        with zipfile.ZipFile(path) as archive:
            # Zeros are packed a thousand to one: what a small file unpacks to is bounded.
            members = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
        if key not in members:
            raise InvalidArgument("key", key, f"one of {', '.join(members)}, in {path}")
        if members[key] > max(LARGEST, path.stat().st_size):
            raise InvalidFile(path, f"{key}: unpacks to {members[key]} bytes; expected at most {LARGEST}")
        with np.load(path, allow_pickle=False) as file:
            values = file[key]
    except (InvalidArgument, InvalidFile):
        raise
    except Exception as error:  # damaged archives raise anything: BadZipFile, zlib.error, KeyError, MemoryError
        raise InvalidFile(path, f"not a readable file of masks ({error})") from error
    if not isinstance(values, np.ndarray):  # of a member that is no array numpy gives the bytes
        raise InvalidFile(path, f"{key}: not an array")
    if values.ndim == 1 and values.dtype == np.uint8:
        bits = np.unpackbits(values)
        values = bits[: len(bits) // SIDE**2 * SIDE**2].reshape(-1, SIDE, SIDE)
    values = values[None] if values.ndim == 2 else values
    if values.ndim != 3 or not len(values) or not np.isin(values, (0, 1)).all():
        raise InvalidFile(path, f"{key}: expected masks (n, H, W) of 0 and 1, or their packed bits")
    return values.astype(np.uint8)
