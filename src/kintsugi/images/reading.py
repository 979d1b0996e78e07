"""Reading pictures. Every failure is an :class:`InvalidFile` that names the file and what is wrong with it."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..errors import InvalidArgument, InvalidFile
from ..memory import ran_out
from . import deep
from .picture import Picture, profile_fits

READABLE = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
# The most pixels that a byte of a file can stand for. Deflate packs 1032 to 1, LZW 2731; a block of 64 pixels of a JPEG
# takes a bit or more. Flat pictures have no bound in WebP and TIFF: there it is what useful pictures stay far below.
DENSEST = {"PNG": 8256, "JPEG": 512, "GIF": 2731}
DENSEST_OTHER = 2731 * 8
SMALL = 2**20  # pixels that are decoded whatever a file says


def read_picture(path: str | os.PathLike[str]) -> Picture:
    """Read the first frame of a PNG, JPEG, WebP, TIFF, BMP or GIF file, upright (EXIF orientation applied).

    Grey stays one channel, a palette becomes colour, alpha is kept apart, 16-bit and floating-point channels keep
    their precision. Metadata other than the colour profile is not kept. CMYK is converted to sRGB.

    Errors: :class:`InvalidFile` for a file that is missing, empty, corrupt, not a picture, too large (179 megapixels),
    or holds pixels that are not finite.
    """
    path = Path(path)
    header = _first_bytes(path)
    with _errors_name(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata and of 89 megapixels; it stops at 179
        with Image.open(path, formats=READABLE) if not deep.is_deep_tiff(path, header) else _nothing() as image:
            if image is not None:
                check_density(path, image.width * image.height, image.format)
            if image is None:
                raster = deep.read_tiff(path)
            elif deep.is_deep_png(header):
                raster = deep.read_png(path, image)
            else:
                raster = _read_shallow(path, image)
    return _picture(path, raster)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The file ``path`` opened by Pillow, its first frame as it is stored.

    Only the formats that are read here: for others, whatever a file is called, Pillow would run Ghostscript. Errors, of
    the block too: :class:`InvalidFile`, as for :func:`read_picture`.
    """
    _first_bytes(path)
    with _errors_name(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata
        with Image.open(path, formats=READABLE) as image:
            check_density(path, image.width * image.height, image.format)
            yield image


def check_density(path: Path, pixels: int, form: str | None) -> None:
    """:class:`InvalidFile` for a file that is too small for the pixels that it says it has, before they get memory."""
    size = path.stat().st_size
    if pixels > SMALL and pixels > size * DENSEST.get(form or "", DENSEST_OTHER):
        raise InvalidFile(path, f"corrupt or cut short ({size} bytes cannot hold the {pixels} pixels that it states)")


def read_mask(path: str | os.PathLike[str], size: tuple[int, int] | None = None) -> Tensor:
    """Read a mask picture as a bool tensor ``(1, H, W)``, True where it is white (half or brighter): missing.

    ``size`` is the (height, width) it must have. Errors: :class:`InvalidFile` as for a picture;
    :class:`InvalidArgument` for ``mask`` if the size differs, or if nothing or everything is missing.
    """
    picture = read_picture(path)
    if size is not None and (picture.height, picture.width) != size:
        expected = f"a mask of the picture's size, {size[1]} x {size[0]}"
        raise InvalidArgument("mask", f"{path} of {picture.width} x {picture.height}", expected)
    missing = picture.pixels.mean(dim=0, keepdim=True) >= 0
    if bool(missing.all()) or not bool(missing.any()):
        colour = "white" if bool(missing.all()) else "black"
        raise InvalidArgument("mask", f"{path}, all {colour}", "white where pixels are missing and black elsewhere")
    return missing


def _read_shallow(path: Path, image: Image.Image) -> deep.Raster:
    """8-bit channels or fewer, through Pillow."""
    notes = []
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # MPO: many phones' JPEG, previews behind
        notes.append(f"{path} has {image.n_frames} frames; only the first is used")  # type: ignore[attr-defined]
    depth = max(getattr(image, "tag_v2", {}).get(258, (8,)))
    if image.mode in ("I", "F") or image.mode.startswith("I;") or depth > 8:
        raise InvalidFile(path, f"a TIFF of {depth} bits a channel: {deep.INSTALL}")
    image = ImageOps.exif_transpose(image)
    icc = image.info.get("icc_profile")
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        image, icc = _to_srgb(image, icc), None
        notes.append(f"{path} was converted to sRGB")
    elif image.mode == "1":
        image = image.convert("L")
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in ("L", "LA", "La") else "RGBA")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return deep.Raster(np.asarray(image), 255.0, 8, icc, tuple(notes))


def _to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Colours by the embedded profile where there is one that works, else by Pillow's plain formulas."""
    if icc:
        try:
            converted = ImageCms.profileToProfile(
                image, ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            assert converted is not None
            return converted
        except ImageCms.PyCMSError:
            pass
    return image.convert("RGB")


def _picture(path: Path, raster: deep.Raster) -> Picture:
    array = raster.array if raster.array.ndim == 3 else raster.array[..., None]
    channels = array.shape[2]
    if channels not in (1, 2, 3, 4) or 0 in array.shape:
        raise InvalidFile(path, f"{channels} channels; expected grey or colour, with or without alpha")
    if raster.bits == 32:
        _check_float_range(path, array)
    planes = torch.empty((channels, *array.shape[:2]))
    for channel in range(channels):  # one at a time: a photograph of 24 megapixels is 300 MB of floats
        planes[channel] = torch.from_numpy(array[..., channel].astype(np.float32) / np.float32(raster.white))
    colours = channels - 1 if channels in (2, 4) else channels
    return Picture(
        pixels=planes[:colours].mul_(2).sub_(1),
        alpha=planes[colours:].clamp(0, 1) if colours < channels else None,
        icc=raster.icc if profile_fits(raster.icc, colours) else None,
        bits=raster.bits,
        notes=raster.notes,
    )


def _check_float_range(path: Path, values: NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        bad = int(np.size(values) - np.isfinite(values).sum())
        raise InvalidFile(path, f"{bad} of its values are NaN or infinite")
    low, high = float(values.min()), float(values.max())
    if low < -1 or high > 2:  # noise may leave [0, 1]; another scale, 0 to 255 say, goes further
        raise InvalidFile(path, f"floating-point pixels from {low:.4g} to {high:.4g}; expected 0 (black) to 1 (white)")


def _first_bytes(path: Path, count: int = 32) -> bytes:
    try:
        with path.open("rb") as file:
            header = file.read(count)
    except FileNotFoundError:
        raise InvalidFile(path, "no such file") from None
    except IsADirectoryError:
        raise InvalidFile(path, "is a folder, not a picture") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise InvalidFile(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not header:
        raise InvalidFile(path, "is empty (0 bytes)")
    return header


@contextmanager
def _errors_name(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into one line that names the file."""
    try:
        yield
    except (InvalidFile, MemoryError):
        raise
    except UnidentifiedImageError:
        raise InvalidFile(path, "not a picture that can be read (PNG, JPEG, WebP, TIFF, BMP, GIF)") from None
    except Image.DecompressionBombError as error:
        raise InvalidFile(path, f"too large to be read safely ({error})") from error
    except Exception as error:  # decoders fed with broken bytes raise anything: SyntaxError, struct.error, IndexError
        if ran_out(error):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InvalidFile(path, f"corrupt or cut short ({reason})") from error


@contextmanager
def _nothing() -> Iterator[None]:
    yield None
