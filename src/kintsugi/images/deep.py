"""Pictures of more than 8 bits a channel, which Pillow cannot hold in colour: imagecodecs for PNG, tifffile for TIFF.

Both libraries come with the extra ``[images]``. Without them such a file is refused, never reduced to 8 bits.
"""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import putchunk

from ..errors import InvalidFile

INSTALL = "reading and writing these needs pip install 'kintsugi-diffusion[images]'"
ORIENTATION, ICC_PROFILE = 274, 34675  # TIFF tags
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it logs of a broken file, it also raises


@dataclass(frozen=True)
class Raster:
    """``array`` is (H, W) or (H, W, channels, alpha last); ``white`` the value of white; ``bits`` 8, 16 or 32."""

    array: NDArray[Any]
    white: float
    bits: int
    icc: bytes | None
    notes: tuple[str, ...] = ()


def is_deep_png(header: bytes) -> bool:
    """Whether these first bytes of a file are those of a PNG of 16 bits a channel."""
    return header.startswith(b"\x89PNG\r\n\x1a\n") and header[24:25] == b"\x10"


def is_deep_tiff(path: Path, header: bytes) -> bool:
    """Whether this is a TIFF of more than 8 bits a channel that tifffile is there to read."""
    if not header.startswith(TIFF_MAGIC):
        return False
    try:
        from tifffile import TiffFile
    except ImportError:
        return False
    with TiffFile(path) as file:
        return file.pages[0].bitspersample > 8  # type: ignore[union-attr]


def read_png(path: Path, image: Image.Image) -> Raster:
    """A 16-bit PNG; ``image`` is the same file opened by Pillow, which has checked its size and reads its profile."""
    imagecodecs = _imagecodecs(path)
    array = imagecodecs.png_decode(path.read_bytes())
    array = upright(array, image.getexif().get(ORIENTATION, 1))
    return Raster(array, 65535.0, 16, image.info.get("icc_profile"))


def read_tiff(path: Path) -> Raster:
    """A TIFF of unsigned integers of 9 to 16 bits, or of floating point with black at 0 and white at 1."""
    from tifffile import EXTRASAMPLE, PHOTOMETRIC, TiffFile

    with TiffFile(path) as file:
        page: Any = file.pages[0]
        if page.imagelength * page.imagewidth > 2 * (Image.MAX_IMAGE_PIXELS or 1 << 62):
            raise InvalidFile(path, f"too large to be read safely ({page.imagewidth} x {page.imagelength} pixels)")
        from .reading import check_density  # which imports this module

        check_density(path, page.imagelength * page.imagewidth, "TIFF")
        bits, kind = page.bitspersample, page.dtype.kind if page.dtype is not None else "?"
        if not (kind == "f" or (kind == "u" and bits <= 16)):
            raise InvalidFile(path, f"a TIFF of {page.dtype or bits} pixels; expected 8 or 16 bits or floating point")
        if page.photometric not in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.RGB):
            raise InvalidFile(path, f"a TIFF of {bits} bits in {page.photometric.name}; expected grey or RGB")
        try:
            array = page.asarray()
        except ImportError as error:  # a compression that needs imagecodecs
            raise InvalidFile(path, INSTALL) from error
        notes = (f"{path} has {len(file.pages)} pages; only the first is used",) if len(file.pages) > 1 else ()
        if page.axes.startswith("S"):
            array = np.moveaxis(array, 0, -1)
        white = 1.0 if kind == "f" else float(2**bits - 1)
        if page.photometric == PHOTOMETRIC.MINISWHITE:
            array = (white - array).astype(array.dtype)
        if EXTRASAMPLE.ASSOCALPHA in page.extrasamples:
            array = _unassociate(array, white)
        tags = {code: page.tags[code].value for code in (ORIENTATION, ICC_PROFILE) if code in page.tags}
    array = upright(array, int(tags.get(ORIENTATION, 1)))
    return Raster(array, white, 32 if kind == "f" else 16, tags.get(ICC_PROFILE), notes)


def write_png(path: Path, array: NDArray[np.uint16], icc: bytes | None) -> None:
    """A 16-bit PNG of an array (H, W) or (H, W, C)."""
    data = _imagecodecs(path).png_encode(array)
    with path.open("wb") as file:
        file.write(data[:33])  # signature and IHDR, after which the profile belongs
        if icc:
            putchunk(file, b"iCCP", b"ICC profile\0\0", zlib.compress(icc))
        file.write(data[33:])


def write_tiff(path: Path, array: NDArray[Any], icc: bytes | None) -> None:
    """A 16-bit or floating-point TIFF of an array (H, W) or (H, W, C), compressed without loss."""
    from tifffile import imwrite

    channels = 1 if array.ndim == 2 else array.shape[2]
    imwrite(
        path,
        array,
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        iccprofile=icc,
        metadata=None,
    )


def check_available(path: Path, suffix: str) -> None:
    """Say before any work that a deep file of this kind cannot be written here."""
    if suffix == ".png":
        _imagecodecs(path)
        return
    try:
        import tifffile  # noqa: F401
    except ImportError as error:
        raise InvalidFile(path, f"a TIFF of more than 8 bits a channel: {INSTALL}") from error


def upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo the EXIF orientation 1 to 8 of an array (H, W, ...); other values mean nothing and change nothing."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return array[::rows, ::columns]


def _unassociate(array: NDArray[Any], white: float) -> NDArray[Any]:
    """Divide colours that are stored multiplied by alpha; where nothing is visible they stay black."""
    alpha = array[..., -1:].astype(np.float64) / white
    colours = np.divide(array[..., :-1], alpha, out=np.zeros(array[..., :-1].shape), where=alpha > 0)
    if array.dtype.kind == "u":
        colours = np.rint(np.minimum(colours, white))
    return np.concatenate((colours.astype(array.dtype), array[..., -1:]), axis=-1)


def _imagecodecs(path: Path) -> Any:
    try:
        import imagecodecs
    except ImportError as error:
        raise InvalidFile(path, f"a PNG of 16 bits a channel: {INSTALL}") from error
    return imagecodecs
