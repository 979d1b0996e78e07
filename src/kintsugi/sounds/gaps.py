"""Where is a sound missing? Positions as text or a file, or runs of zeros."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..errors import InvalidArgument, InvalidFile
from .reading import SUFFIXES, read_sound

SHORTEST = 0.001  # seconds of zeros that are taken for a gap


def read_gaps(text: str, rate: int, length: int) -> Tensor:
    """The gaps that ``text`` names, as (length,) bool, True where samples are missing.

    ``text``: "start:end" in seconds, several of them with commas between; the name of a text file with one such pair a
    line; or that of a sound of the same length and rate, which is not zero where samples are missing.

    Errors: :class:`InvalidArgument` for ``mask``, :class:`InvalidFile` for a file.
    """
    path = Path(text)
    if path.suffix.lower() in SUFFIXES:
        sound = read_sound(path)
        if (sound.samples.shape[-1], sound.rate) != (length, rate):
            got = f"{sound.samples.shape[-1]} samples at {sound.rate} Hz"
            raise InvalidFile(path, f"a mask of {got}; expected {length} at {rate} Hz, as the sound has")
        missing = (sound.samples != 0).any(0)
    else:
        missing = torch.zeros(length, dtype=torch.bool)
        for words in _pairs(text, path):
            start, end = _seconds(words, text)
            first, last = round(start * rate), round(end * rate)
            if not 0 <= first < last <= length:
                expected = f"start:end in seconds, 0 <= start < end <= {length / rate:.6g}"
                raise InvalidArgument("mask", words, expected)
            missing[first:last] = True
    return checked(missing)


def find_gaps(samples: Tensor, rate: int) -> Tensor:
    """Runs of at least a millisecond in which every channel of ``samples`` (C, T) is exactly 0; (T,) bool.

    Silence before the sound begins and after it ends is no gap. Errors: :class:`InvalidArgument` for ``mask`` where
    there is none.
    """
    silent = (samples == 0).all(0)
    missing = torch.zeros_like(silent)
    least = max(2, round(SHORTEST * rate))
    for start, end in runs(silent):
        if end - start >= least and start > 0 and end < len(silent):
            missing[start:end] = True
    if not bool(missing.any()):
        expected = f"start:end in seconds, or a file: this sound has no run of zeros of {1000 * SHORTEST:g} ms or more"
        raise InvalidArgument("mask", None, expected)
    return checked(missing)


def runs(mask: Tensor) -> list[tuple[int, int]]:
    """``(start, end)`` of every run of True in a bool tensor (T,), end excluded."""
    edges = torch.diff(mask.int(), prepend=torch.zeros(1, dtype=torch.int), append=torch.zeros(1, dtype=torch.int))
    return list(zip((edges == 1).nonzero().flatten().tolist(), (edges == -1).nonzero().flatten().tolist(), strict=True))


def checked(missing: Tensor) -> Tensor:
    """``missing``, unless it is nowhere or everywhere True."""
    if not bool(missing.any()) or bool(missing.all()):
        what = "all of the sound" if bool(missing.any()) else "nothing"
        raise InvalidArgument("mask", f"gaps that hide {what}", "gaps with samples around them")
    return missing


def _pairs(text: str, path: Path) -> list[str]:
    if ":" in text and not path.is_file():
        return [words.strip() for words in text.split(",")]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise InvalidArgument("mask", text, "start:end in seconds, or a file of such lines, or a sound") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidFile(path, f"no list of gaps ({error})") from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _seconds(words: str, text: str) -> tuple[float, float]:
    try:
        start, end = (float(word) for word in words.replace(",", ":").split(":"))
    except ValueError as error:
        raise InvalidArgument("mask", words, "start:end in seconds, as in 1.25:1.27") from error
    return start, end
