"""Reading sound files: WAV, FLAC, OGG, MP3 and whatever else libsndfile knows.

Samples are floats in [-1, 1], whatever the file holds; nothing is resampled or mixed here. What a file is, its content
says and not its name: libsndfile would take whatever is named ``.raw`` for samples without a header.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InvalidFile
from ..optional import optional

SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"}
LARGEST = 2**28  # samples of all channels: an hour and a half of stereo at 24 kHz, a gigabyte in float32


@dataclass(frozen=True)
class Sound:
    """``samples`` (channels, T) in [-1, 1], ``rate`` in Hz; ``subtype`` is how the file stored them, as in "PCM_16"."""

    samples: Tensor
    rate: int
    subtype: str


def find_sounds(folder: str | os.PathLike[str]) -> list[Path]:
    """Every sound file below ``folder``, sorted by path, without looking inside."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InvalidFile(folder, "no such folder")
    found = (p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    files = sorted(p for p in found if p.is_file())
    if not files:
        raise InvalidFile(folder, f"no sounds in it ({', '.join(sorted(SUFFIXES))})")
    return files


def sound_header(path: str | os.PathLike[str]) -> tuple[int, int, int]:
    """What the header of a file says: its channels, the samples of each, and their rate in Hz, above 0.

    Errors: :class:`InvalidFile`.
    """
    with _opened(path) as file:
        channels, length, rate = file.channels, len(file), file.samplerate
    if rate <= 0:
        raise InvalidFile(path, f"not a readable sound (a rate of {rate} Hz)")
    return channels, length, rate


def sound_length(path: str | os.PathLike[str]) -> float:
    """The length of the sound in a file in seconds, from its header."""
    _, length, rate = sound_header(path)
    return length / rate


def read_sound(path: str | os.PathLike[str]) -> Sound:
    """The sound in a file. Errors: :class:`InvalidFile` for one that cannot be read, is empty, or has no finite values.

    Floating point files may hold values beyond [-1, 1]; they are returned as they are.
    """
    with _opened(path) as file:
        if len(file) * file.channels > LARGEST:
            raise InvalidFile(path, f"{len(file)} samples of {file.channels} channels; at most {LARGEST} are read")
        values, rate, subtype = file.read(dtype="float32", always_2d=True), file.samplerate, file.subtype
    if not len(values):
        raise InvalidFile(path, "a sound without samples")
    if not bool(np.isfinite(values).all()):
        raise InvalidFile(path, "a sound with NaN or infinite samples")
    return Sound(torch.from_numpy(values.T.copy()), int(rate), str(subtype))


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """soundfile's view of a file. Errors: :class:`InvalidFile` for whatever is raised while it is read."""
    soundfile = optional("soundfile", "audio", "reading sounds")
    try:
        with Path(path).open("rb") as raw, soundfile.SoundFile(raw.fileno(), closefd=False) as file:
            yield file
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidFile(path, f"not a readable sound ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "error_string", error)).split())[:200]
