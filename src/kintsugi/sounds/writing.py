"""Writing sound files, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from torch import Tensor

from ..errors import InvalidArgument
from ..files import atomic_path
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
    values = samples.detach().float().clamp(-1, 1).cpu().numpy().T
    with atomic_path(path) as temporary:
        soundfile.write(os.fspath(temporary), values, int(rate), subtype=subtype, format=kind)
