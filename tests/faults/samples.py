"""Good pictures of every kind as bytes, small, and bad ones made by hand."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from corrupt import chunk
from PIL import Image, ImageCms

PNG = b"\x89PNG\r\n\x1a\n"


def pixels(*shape: int, white: int = 255) -> np.ndarray:
    """Numbers that look like a picture: a ramp with noise."""
    ramp = np.linspace(0, white, int(np.prod(shape))).reshape(shape)
    grain = np.random.default_rng(0).uniform(-0.1, 0.1, shape) * white
    return np.clip(ramp + grain, 0, white).astype(np.uint8 if white == 255 else np.uint16)


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    """``image`` as a file of Pillow's format ``form``."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def tiff(array: np.ndarray, **options: Any) -> bytes:
    """``array`` as a TIFF file."""
    file = io.BytesIO()
    tifffile.imwrite(file, array, metadata=None, byteorder="<", **options)
    return file.getvalue()


@cache
def good_pngs() -> tuple[bytes, ...]:
    """PNG files of every colour type and depth."""
    rgb, grey = Image.fromarray(pixels(9, 12, 3)), Image.fromarray(pixels(9, 12))
    return (
        saved(rgb, "PNG"),
        saved(grey, "PNG"),
        saved(Image.fromarray(pixels(9, 12, 4)), "PNG"),
        saved(grey.convert("LA"), "PNG"),
        saved(rgb.quantize(7), "PNG", transparency=2),
        saved(grey.convert("1"), "PNG"),
        saved(rgb, "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
        saved(rgb, "PNG", exif=_turned(6)),
        saved(rgb, "PNG", save_all=True, append_images=[rgb, rgb]),
        bytes(imagecodecs.png_encode(pixels(9, 12, 3, white=65535))),
        bytes(imagecodecs.png_encode(pixels(9, 12, white=65535))),
    )


@cache
def good_tiffs() -> tuple[bytes, ...]:
    """TIFF files: depths, colour spaces, compressions, strips and tiles, several pages."""
    rgb = pixels(16, 32, 3)
    return (
        tiff(rgb, photometric="rgb"),
        tiff(rgb, photometric="rgb", compression="lzw"),
        tiff(pixels(16, 32, 3, white=65535), photometric="rgb", compression="zlib", predictor=True),
        tiff(pixels(16, 32, white=65535), tile=(16, 16)),
        tiff(pixels(3, 16, 32, white=65535), photometric="rgb", planarconfig="separate"),
        tiff(pixels(16, 32, 3).astype(np.float32) / 255, photometric="rgb"),
        tiff(pixels(16, 32).astype(np.float16) / 255),
        tiff(np.stack([pixels(16, 32)] * 3), photometric="minisblack"),
        tiff(pixels(16, 32, 4), photometric="separated"),
        tiff(pixels(16, 32, 4, white=65535), photometric="rgb", extrasamples=["assocalpha"]),
    )


@cache
def other_goods() -> tuple[bytes, ...]:
    """JPEG, WebP, BMP and GIF files."""
    rgb, grey = Image.fromarray(pixels(17, 24, 3)), Image.fromarray(pixels(17, 24))
    return (
        saved(rgb, "JPEG"),
        saved(grey, "JPEG", quality=30),
        saved(rgb, "JPEG", progressive=True, subsampling=2, exif=_turned(8)),
        saved(Image.fromarray(pixels(17, 24, 4), "CMYK"), "JPEG"),
        saved(rgb, "WEBP", lossless=True),
        saved(Image.fromarray(pixels(17, 24, 4)), "WEBP"),
        saved(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)]),
        saved(rgb, "BMP"),
        saved(grey, "BMP"),
        saved(rgb, "GIF", save_all=True, append_images=[rgb.rotate(90)]),
    )


@cache
def foreign() -> tuple[bytes, ...]:
    """Pictures of formats that are not read, among them those whose decoders run other programs."""
    rgb = Image.fromarray(pixels(9, 12, 3))
    return (
        saved(rgb, "PPM"),
        saved(rgb, "EPS"),
        saved(rgb, "ICO"),
        saved(rgb, "TGA"),
        saved(rgb, "PCX"),
        saved(rgb, "PDF"),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"8BPS\0\1" + bytes(64),
        b"\0\0\0\x20ftypavif" + bytes(64),
    )


@cache
def bombs() -> tuple[bytes, ...]:
    """Files that say or hold more than they seem, made by hand."""
    small = saved(Image.fromarray(pixels(9, 12, 3)), "PNG")
    text = chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000)
    packed = zlib.compress(bytes(300_000_000), 1)
    ramp = np.linspace(0, 255, 100_000).astype(np.uint8)
    jpeg = saved(Image.fromarray(pixels(17, 24, 3)), "JPEG")
    return (
        png(0, 0), png(0, 5), png(5, 0), png(100_000, 100_000), png(2**31 - 1, 1), png(2**31 - 1, 2**31 - 1),
        png(13_300, 13_300), png(13_300, 13_300, depth=16), png(13_300, 13_300, kind=6, depth=16),
        saved(Image.fromarray(ramp[None]), "PNG"), saved(Image.fromarray(ramp[:, None]), "PNG"),
        small[:33] + text + small[33:],
        small[:33] + chunk(b"zTXt", b"Comment\0\0" + packed) + small[33:],
        small[:33] + chunk(b"iCCP", b"p\0\0" + packed) + small[33:],
        small[:33] + chunk(b"eXIf", b"II*\0\x08\0\0\0" + b"\xff" * 3000) + small[33:],
        small[:33] + chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)) + small[33:],
        small[:-12] + chunk(b"IDAT", packed) + small[-12:],
        jpeg[:2] + b"".join(b"\xff\xe1\xff\xff" + b"Exif\0\0" + bytes(65_527) for _ in range(40)) + jpeg[2:],
        patched(jpeg, b"\xff\xc0", 5, struct.pack(">HH", 13_000, 13_000)),
        patched(jpeg, b"\xff\xc0", 5, struct.pack(">HH", 0, 0)),
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 60, 0, 0, 54, 40, 13_000, -13_000, 1, 24, 0, 0, 0, 0, 0, 0),
        b"GIF89a" + struct.pack("<HHBBB", 13_000, 13_000, 0, 0, 0) + b",\0\0\0\0" + struct.pack("<HHB", 13_000,
            13_000, 0)
        + b"\x08\x02\x4c\x01\0;",
        big_tiff_claim(np.dtype(np.uint8)), big_tiff_claim(np.dtype(np.uint16)), big_tiff_claim(np.dtype(np.float32)),
        b"", b"\0", PNG, b"\xff\xd8", b"II*\0", b"MM\0*", b"II+\0", b"RIFF\0\0\0\0WEBP", b"GIF89a", b"BM",
    )  # fmt: skip


def png(width: int, height: int, depth: int = 8, kind: int = 2) -> bytes:
    """A PNG of a few bytes that says it is as large as this."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return PNG + head + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def big_tiff_claim(dtype: np.dtype[Any]) -> bytes:
    """A small TIFF that says it is 13000 pixels a side."""
    data = bytearray(tiff(np.zeros((16, 32), dtype), compression="zlib"))
    (start,) = struct.unpack_from("<I", data, 4)
    for entry in range(struct.unpack_from("<H", data, start)[0]):
        at = start + 2 + 12 * entry
        if struct.unpack_from("<H", data, at)[0] in (256, 257, 278):  # width, height, rows a strip
            struct.pack_into("<HII", data, at + 2, 4, 1, 13_000)
    return bytes(data)


def patched(data: bytes, mark: bytes, offset: int, field: bytes) -> bytes:
    """``data`` with ``field`` written ``offset`` bytes behind the first ``mark``."""
    at = data.index(mark) + offset
    return data[:at] + field + data[at + len(field) :]


def _turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif
