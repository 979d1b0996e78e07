"""Hostile sound files: WAV, FLAC, OGG, MP3, AIFF; damaged, or with headers that say something else."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from corrupt import EDGES, any_of
from hypothesis import strategies as st
from judge import Broken, Door, passes

from kintsugi.sounds.reading import read_sound, sound_length

soundfile = pytest.importorskip("soundfile")
TONE = 0.3 * np.sin(np.arange(1600) / 5)


def sound(values: np.ndarray, rate: int = 16_000, **words: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, values, rate, **words)
    return file.getvalue()


def wav(data: bytes, *, channels: int = 1, rate: int = 16_000, bits: int = 16, kind: int = 1, size: int | None = None,
        block: int | None = None) -> bytes:  # fmt: skip
    """A WAV file whose header says what it is told to, beside ``data``."""
    block = channels * bits // 8 if block is None else block
    speed = rate * block & 0xFFFFFFFF
    form = struct.pack("<HHIIHH", kind & 0xFFFF, channels & 0xFFFF, rate, speed, block & 0xFFFF, bits)
    size = len(data) if size is None else size
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", len(body) & 0xFFFFFFFF) + body


def flac_of(samples: int) -> bytes:
    """A FLAC file that says it holds so many samples."""
    data = bytearray(sound(TONE, format="FLAC"))
    data[21] = data[21] & 0xF0 | samples >> 32 & 0xF
    data[22:26] = struct.pack(">I", samples & 0xFFFFFFFF)
    return bytes(data)


GOOD = sound(TONE, format="WAV")
SOUNDS = [
    GOOD, sound(np.stack([TONE, -TONE], 1), 44_100, format="WAV", subtype="FLOAT"), sound(TONE, format="FLAC"),
    sound(TONE, format="OGG"), sound(TONE, format="MP3"), sound(TONE, format="AIFF"), sound(TONE, format="AU"),
    sound(TONE, format="WAV", subtype="IMA_ADPCM"), sound(TONE, format="CAF"), sound(TONE[:0], format="WAV"),
    sound(np.full(16, np.nan), format="WAV", subtype="FLOAT"),
    sound(np.full(16, 1e300), format="WAV", subtype="DOUBLE"),
]  # fmt: skip
CLAIMS = [
    *(wav(bytes(64), size=size) for size in EDGES), *(wav(bytes(64), channels=n) for n in EDGES[:13]),
    *(wav(bytes(64), rate=rate) for rate in EDGES), *(wav(bytes(64), bits=n & 0xFFFF) for n in EDGES[:13]),
    *(wav(bytes(64), kind=n & 0xFFFF) for n in (0, 2, 3, 6, 7, 17, 0x55, 0xFFFE)), wav(bytes(64), block=0),
    *(flac_of(n) for n in (0, 1, 2**24, 2**28 - 1, 2**31, 2**36 - 1)),
]  # fmt: skip
NAMES = ("a.wav", "a.flac", "a.mp3", "a.ogg", "a", "-a.wav", "a.raw", "a\n.wav")
CASES = st.tuples(st.one_of(any_of(SOUNDS), any_of(SOUNDS), st.sampled_from(CLAIMS)), st.sampled_from(NAMES))


def read(case: tuple[bytes, str], folder: Path) -> int:
    """A sound that was read is finite and of at least one sample; it may take its own size."""
    content, name = case
    path = folder / name
    path.write_bytes(content)
    found = read_sound(path)
    if found.samples.dtype != torch.float32 or found.samples.ndim != 2 or 0 in found.samples.shape:
        raise Broken(f"a sound of {found.samples.dtype} {tuple(found.samples.shape)}")
    if not bool(torch.isfinite(found.samples).all()) or found.rate < 1:
        raise Broken(f"a sound that is not finite, or of {found.rate} Hz")
    if not 0 < sound_length(path) < 1e6:
        raise Broken(f"a length of {sound_length(path)} s")
    return found.samples.nbytes


SOUND_FILES = Door("sound files", CASES, read, (GOOD, "a.wav"), files=lambda: SOUNDS[:8],
                   from_bytes=lambda data: (data, "a.wav"))  # fmt: skip
DOORS = (SOUND_FILES,)

test_sound_files = passes(SOUND_FILES)
