"""Writing pictures, whole or not at all. The file name's extension decides the format."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import InvalidArgument
from ..files import atomic_path, check_file
from . import deep
from .picture import Picture, profile_fits


@dataclass(frozen=True)
class Format:
    """What a file format can hold. ``side`` is the largest height and width in pixels."""

    name: str
    depths: tuple[int, ...] = (8,)
    side: int = 2**31 - 1
    grey: bool = True
    alpha: bool = True
    icc: bool = True
    options: dict[str, Any] = field(default_factory=dict)


_JPEG = Format("JPEG", side=65500, alpha=False, options={"quality": 95, "subsampling": 0})
_TIFF = Format("TIFF", depths=(8, 16, 32), options={"compression": "tiff_deflate"})
FORMATS = {
    ".png": Format("PNG", depths=(8, 16)),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    # exact: keep the colours below alpha 0, as the other formats do
    ".webp": Format("WEBP", side=16383, grey=False, options={"lossless": True, "exact": True}),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": Format("BMP", side=2**31 - 1, alpha=False, icc=False),
}


def check_output(
    path: str | os.PathLike[str], *, bits: int = 8, size: tuple[int, int] | None = None, name: str = "output"
) -> Path:
    """Check, before any work, that a picture of ``bits`` and ``size`` (height, width) can be written to ``path``.

    Errors: :class:`InvalidArgument` for ``name`` if the extension is unknown, the folder is missing or not writable,
    ``path`` is a folder, or the format cannot hold the size.
    """
    path = check_file(path, FORMATS, name)
    form = FORMATS[path.suffix.lower()]
    if size is not None and max(size) > form.side:
        raise InvalidArgument(name, path, f"a format that holds {size[1]} x {size[0]} pixels ({form.name} does not)")
    if _depth(form, bits) > 8:
        deep.check_available(path, path.suffix.lower())
    return path


def losses(picture: Picture, path: str | os.PathLike[str]) -> tuple[str, ...]:
    """What of ``picture`` the format of ``path`` cannot keep, one remark each."""
    path = Path(path)
    form = FORMATS[path.suffix.lower()]
    remarks = []
    if picture.alpha is not None and not form.alpha:
        remarks.append(f"{path}: {form.name} has no transparency; the alpha channel is left out")
    if _depth(form, picture.bits) < picture.bits:
        remarks.append(f"{path}: {picture.bits} bits a channel are written as {_depth(form, picture.bits)}")
    if picture.icc is not None and not form.icc:
        remarks.append(f"{path}: {form.name} has no colour profile; it is left out")
    return tuple(remarks)


def write_picture(picture: Picture, path: str | os.PathLike[str]) -> Path:
    """Write ``picture`` to ``path``, clipped to black and white (a floating-point TIFF is not clipped).

    The file appears under its name only when it is complete. 8-bit values that were read come back exactly in every
    format but JPEG, which is written at quality 95 without chroma subsampling. Errors: as :func:`check_output`.
    """
    path = check_output(path, bits=picture.bits, size=(picture.height, picture.width))
    form = FORMATS[path.suffix.lower()]
    depth = _depth(form, picture.bits)
    array = _array(picture, form, depth)
    channels = 1 if array.ndim == 2 else array.shape[2]
    colours = channels - 1 if channels in (2, 4) else channels
    icc = picture.icc if form.icc and profile_fits(picture.icc, colours) else None
    with atomic_path(path) as temporary:
        if depth == 8:
            options = form.options | ({"icc_profile": icc} if icc else {})
            Image.fromarray(array).save(temporary, format=form.name, **options)
        elif form.name == "PNG":
            deep.write_png(temporary, array, icc)
        else:
            deep.write_tiff(temporary, array, icc)
    return path


def _depth(form: Format, bits: int) -> int:
    """The depth a format gives to a picture of ``bits``: the same, or the deepest it has."""
    return max(depth for depth in form.depths if depth <= bits)


def _array(picture: Picture, form: Format, depth: int) -> NDArray[Any]:
    """(H, W) or (H, W, C) of uint8, uint16 or float32, with alpha last."""
    pixels = picture.pixels if form.grey else picture.colour()
    planes = [(plane + 1) / 2 for plane in pixels.detach().cpu()]
    if picture.alpha is not None and form.alpha:
        planes.append(picture.alpha.detach().cpu()[0])
    kind = {8: np.uint8, 16: np.uint16, 32: np.float32}[depth]
    array = np.empty((picture.height, picture.width, len(planes)), dtype=kind)
    for channel, plane in enumerate(planes):
        array[..., channel] = plane if depth == 32 else plane.clamp(0, 1).mul(2**depth - 1).round()
    return array[..., 0] if len(planes) == 1 else array
