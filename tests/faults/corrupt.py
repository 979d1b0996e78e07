"""Ways to damage a file that was good: strategies of bytes."""

from __future__ import annotations

import struct
import zlib

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

# Numbers at which sizes, counts and offsets go wrong.
EDGES = (0, 1, 2, 3, 7, 8, 16, 255, 256, 32767, 32768, 65535, 65536, 100_000, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """``good`` cut, with bits flipped, fields overwritten, parts left out or doubled; or something else whole."""
    data = bytearray(good)
    way = draw(st.sampled_from(("cut", "flip", "field", "drop", "double", "splice", "append", "noise")))
    size = max(len(data), 1)
    if way == "cut":
        return bytes(data[: draw(st.integers(0, size - 1))])
    if way == "noise":
        return draw(st.binary(max_size=64))
    if way == "append":
        return bytes(data) + draw(st.binary(min_size=1, max_size=64))
    for _ in range(draw(st.integers(1, 4))):
        # Headers decide most: half of the damage is done in the first bytes.
        at = draw(st.one_of(st.integers(0, min(size, 96) - 1), st.integers(0, size - 1)))
        length = draw(st.integers(1, 32))
        if way == "flip" and data:
            data[at % len(data)] ^= 1 << draw(st.integers(0, 7))
        elif way == "field":
            form = draw(st.sampled_from(("<I", ">I", "<H", ">H", "<Q")))
            field = struct.pack(form, draw(st.sampled_from(EDGES)) % 2 ** (8 * struct.calcsize(form)))
            data[at : at + len(field)] = field
        elif way == "drop":
            del data[at : at + length]
        elif way == "double":
            data[at:at] = data[at : at + length]
        elif way == "splice":
            data[at : at + length] = draw(st.binary(max_size=length))
    return bytes(data)


@st.composite
def png_fields(draw: st.DrawFn, good: bytes) -> bytes:
    """A PNG whose header says something else, and whose checksums are right: decoders have to find it out."""
    width, height, depth, kind, *rest = struct.unpack(">IIBBBBB", good[16:29])
    edge = st.sampled_from(EDGES)
    width, height = draw(st.one_of(st.just(width), edge)), draw(st.one_of(st.just(height), edge))
    depth, kind = draw(st.sampled_from((depth, 1, 2, 4, 8, 16, 3))), draw(st.sampled_from((kind, 0, 2, 3, 4, 6, 5)))
    rest[2] = draw(st.sampled_from((0, 1, 2)))
    return good[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, *rest)) + good[33:]


@st.composite
def tiff_fields(draw: st.DrawFn, good: bytes) -> bytes:
    """A little-endian TIFF with other values in its first directory."""
    data = bytearray(good)
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for _ in range(draw(st.integers(1, 3))):
        entry = start + 2 + 12 * draw(st.integers(0, count - 1))
        field, form = draw(st.sampled_from(((0, "<H"), (2, "<H"), (4, "<I"), (8, "<I"), (8, "<H"))))
        number = draw(st.one_of(st.sampled_from(EDGES), st.integers(0, 2**16 - 1))) % 2 ** (8 * struct.calcsize(form))
        struct.pack_into(form, data, entry + field, number)
    return bytes(data)


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG with its checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def any_of(goods: list[bytes]) -> SearchStrategy[bytes]:
    """One of the good files, whole or damaged."""
    return st.sampled_from(goods).flatmap(lambda good: st.one_of(st.just(good), damaged(good), damaged(good)))
