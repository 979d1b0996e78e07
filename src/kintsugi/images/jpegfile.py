"""How a JPEG file was compressed: the tables and the subsampling that its header states."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from PIL import JpegImagePlugin

from ..errors import InvalidFile
from .reading import opened

_SAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}


@dataclass(frozen=True)
class Compression:
    """The steps of luma and colours, 64 whole numbers each, row by row, and the subsampling of the colours."""

    tables: tuple[tuple[int, ...], ...]
    subsampling: str


def read_compression(path: str | os.PathLike[str]) -> Compression | None:
    """How the JPEG file ``path`` was compressed; None for a file of another format.

    Errors: :class:`InvalidFile` for one that cannot be read, is turned by its EXIF orientation (its blocks are then not
    those of the upright picture), is not grey or YCbCr, or has a subsampling that is not modelled.
    """
    path = Path(path)
    with opened(path) as image:
        if not isinstance(image, JpegImagePlugin.JpegImageFile):
            return None
        turned = image.getexif().get(0x0112, 1) != 1
        grey, sampling = image.mode == "L", JpegImagePlugin.get_sampling(image)
        tables = tuple(tuple(int(q) for q in image.quantization[key]) for key in sorted(image.quantization))
        mode = image.mode
    if turned:
        raise InvalidFile(path, "turned by its EXIF orientation; turn its pixels first (jpegtran, exiftran)")
    if mode not in ("L", "RGB"):
        raise InvalidFile(path, f"a JPEG of mode {mode}; expected grey or colour")
    if not grey and sampling not in _SAMPLING:
        raise InvalidFile(path, f"a JPEG whose colours are sampled otherwise than {', '.join(_SAMPLING.values())}")
    return Compression(tables[:2], "4:4:4" if grey else _SAMPLING[sampling])
