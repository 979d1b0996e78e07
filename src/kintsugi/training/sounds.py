"""Random pieces of a folder of sounds, each a function of (seed, index) and nothing else.

A piece has ``crop`` samples at ``rate`` Hz. It is cut from a file drawn in proportion to its length (to the power
``oversample``), made up to ``pitch`` semitones higher or lower by resampling, so that few instruments give all notes,
as loud as a factor between ``quietest`` and 1 makes it, and perhaps turned upside down, which no ear hears. A share
``mixed`` is the sum of two such pieces: chords, and voices over instruments. What a short file lacks is silence, before
or after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import InvalidFile
from ..sounds.reading import read_sound, sound_length
from ..sounds.resampling import resample
from .config import TrainConfig


def split_sounds(files: Sequence[Path], share: float) -> tuple[list[Path], list[Path]]:
    """Training and held-out files: every ``1 / share``-th in order of name, since names go by instrument.

    Of two files or more at least one is held out; a single file serves as both.
    """
    every = max(2, round(1 / share))
    held_out = list(files[min(every, len(files)) // 2 :: every])
    return [p for p in files if p not in held_out] or list(files), held_out


def load_sound(path: Path, config: TrainConfig) -> Tensor:
    """``(C, T)`` at the rate and with the number of channels of the model: the mean of all, repeated if need be."""
    sound = read_sound(path)
    x = resample(sound.samples, sound.rate, config.rate)
    if len(x) != config.net.channels:
        x = x.mean(0, keepdim=True).expand(config.net.channels, -1)
    return x.clamp(-1, 1).contiguous()


class SoundCrops(Dataset[Tensor]):
    """``self[index]`` is a piece ``(C, crop)`` in [-1, 1], determined by ``(seed, index)``: see above.

    All files are in memory: an hour at 16 kHz is 230 MB.
    """

    def __init__(self, files: Sequence[Path], config: TrainConfig) -> None:
        self.config = config
        weights = np.array([sound_length(path) for path in files]) ** config.oversample
        if not weights.sum() > 0:
            raise InvalidFile(files[0].parent, "only sounds of no length")
        self.cumulative = np.cumsum(weights) / weights.sum()
        self.sounds = [load_sound(path, config) for path in files]

    def __len__(self) -> int:
        return self.config.steps * self.config.batch

    def __getitem__(self, index: int) -> Tensor:
        rng = np.random.default_rng((self.config.seed, index))
        out = self._piece(rng)
        if rng.random() < self.config.mixed:
            out = out + self._piece(rng)
            out = out / max(1.0, float(out.abs().max()))
        return out

    def _piece(self, rng: np.random.Generator) -> Tensor:
        config = self.config
        chosen = int(np.searchsorted(self.cumulative, rng.random(), side="right"))
        sound = self.sounds[chosen]
        factor = Fraction(2 ** (rng.uniform(-config.pitch, config.pitch) / 12)).limit_denominator(24)
        factor = factor if config.pitch and rng.random() < 0.5 else Fraction(1)
        length = math.ceil(config.crop * factor) + 1
        piece = _cut(sound, length, rng)
        piece = resample(piece, factor.numerator, factor.denominator)[:, : config.crop]
        loudness = math.exp(rng.uniform(math.log(config.quietest), 0)) * (1 if rng.random() < 0.5 else -1)
        return (loudness * piece).clamp(-1, 1)


def _cut(sound: Tensor, length: int, rng: np.random.Generator) -> Tensor:
    """``(C, length)`` of a sound, from a random place; up to a fifth of it may be the silence around the sound."""
    spare = length // 5 if sound.shape[1] >= length else length - sound.shape[1]
    start = int(rng.integers(-spare, max(sound.shape[1] - length + spare, 0) + 1))
    inside = sound[:, max(start, 0) : start + length]
    before = max(-start, 0)
    return torch.nn.functional.pad(inside, (before, length - before - inside.shape[1]))


def validation_sounds(files: Sequence[Path], config: TrainConfig) -> Tensor:
    """``(N, C, crop)``: fixed pieces of the held-out files, as they are, one after the other from each in turn."""
    rng = np.random.default_rng((config.seed, 1))
    sounds = [load_sound(path, config) for path in files]
    return torch.stack([_cut(sounds[i % len(sounds)], config.crop, rng) for i in range(config.validation_crops)])


def spectrum_sounds(files: Sequence[Path], config: TrainConfig, count: int = 48) -> Tensor:
    """``(count, C, crop)``: random pieces of held-out files, drawn as training draws them."""
    crops = SoundCrops(files, replace(config, seed=config.seed + 1))
    return torch.stack([crops[i] for i in range(count)])
