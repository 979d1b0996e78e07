"""Writing sound files, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InvalidArgument
from ..files import atomic_path, check_file
from ..optional import optional

FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".mp3": "MP3"}


def write_sound(path: str | os.PathLike[str], samples: Tensor, rate: int, subtype: str | None = None) -> None:
    """Write ``samples`` (channels, T) in [-1, 1], sampled at ``rate`` Hz; what lies beyond is clipped.

    The format is that of the suffix: .wav, .flac, .ogg or .mp3. ``subtype`` says how samples are stored ("PCM_16",
    "PCM_24", "FLOAT"); None, or one that the format does not know, for its default.
    """
    soundfile = optional("soundfile", "audio", "writing sounds")
    kind = FORMATS.get(Path(path).suffix.lower())
    if kind is None:
        raise InvalidArgument("output", os.fspath(path), f"a file that ends in {', '.join(FORMATS)}")
    if samples.ndim != 2 or 0 in samples.shape or not samples.is_floating_point():
        raise InvalidArgument("samples", tuple(samples.shape), "floating point numbers of shape (channels, T)")
    if subtype is not None and not soundfile.check_format(kind, subtype):
        subtype = None
    values = _stored(samples.detach().cpu(), subtype or soundfile.default_subtype(kind))
    with atomic_path(path) as temporary:
        soundfile.write(os.fspath(temporary), values, int(rate), subtype=subtype, format=kind)


def check_sound_output(path: str | os.PathLike[str], name: str = "output") -> Path:
    """Check, before any work, that a sound can be written to ``path``.

    Errors: :class:`InvalidArgument` for ``name``.
    """
    return check_file(path, FORMATS, name)


def stored_as(subtype: str) -> str | None:
    """How the restoration of a file is stored: as that was, if in more than 16 bits; None for the format's own."""
    return subtype if subtype in ("PCM_24", "PCM_32", "FLOAT", "DOUBLE") else None


def _stored(samples: Tensor, subtype: str) -> NDArray[Any]:
    """(T, channels). Whole numbers where the file holds some, by the factor by which they are read: what was read from
    a file and written again is the same, which the library does not see to with numbers in floating point."""
    bits = {"PCM_16": 16, "PCM_24": 24, "PCM_32": 32}.get(subtype)
    if bits is None:
        return samples.float().clamp(-1, 1).numpy().T
    whole = (samples.double() * 2 ** (bits - 1)).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if bits == 16:
        return whole.to(torch.int16).numpy().T
    out: NDArray[Any] = (whole * 2 ** (32 - bits)).to(torch.int64).numpy().T.astype(np.int32)
    return out
