"""Make the bundled example sounds, and the spectrograms by which the page offers them.

    python docs/make_example_sounds.py FOLDER

FOLDER is that of the test sounds. Writes src/kintsugi/data/*.flac and src/kintsugi/ui/static/*.webp.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from PIL import Image

from kintsugi.sounds import Sound, read_sound
from kintsugi.sounds.simulating import simulate_sound
from kintsugi.sounds.spectrogram import plots
from kintsugi.sounds.tasks import SoundSettings
from kintsugi.ui.examples import EXAMPLES as OFFERED

PACKAGE = Path(__file__).parents[1] / "src" / "kintsugi"
FADE = 0.1  # seconds over which a sound that is cut short fades out
SIZE = (264, 176)  # pixels of a spectrogram: twice those of its button
# Carried by the files, so that the credit goes where they go.
CREDIT = "Salamander Grand Piano by Alexander Holm, and the Berklee sample library"
LICENCE = "CC BY 3.0, https://creativecommons.org/licenses/by/3.0/"


@dataclass(frozen=True)
class Example:
    """``seconds`` of the sound ``source`` from ``start`` on, degraded as ``task`` with ``settings`` does; ``change``
    says so in words."""

    source: str
    start: float
    seconds: float
    task: str
    settings: SoundSettings
    change: str


def gaps(length: int, rate: int) -> torch.Tensor:
    """Eight gaps of 20 ms."""
    missing = torch.zeros(length, dtype=torch.bool)
    for second in (0.21, 0.52, 0.83, 1.17, 1.46, 1.74, 1.95, 2.22):
        missing[round(second * rate) : round((second + 0.02) * rate)] = True
    return missing


EXAMPLES = {
    "piano": Example("piano_chord.flac", 0.05, 3.0, "bandwidth", SoundSettings(factor=2), "resampled to 8 kHz"),
    "guitar": Example(
        "guitar_riff_cutup2.flac", 0.0, 2.5, "gap", SoundSettings(gaps=gaps(40_000, 16_000)), "eight gaps of 20 ms"
    ),
    "voice": Example(
        "malevoices_aa2_f3.flac", 0.1, 2.5, "denoise", SoundSettings(noise=0.02), "white noise of 0.02 added"
    ),
}


def make(example: Example, folder: Path) -> Sound:
    """The sound of an example, from that in ``folder``."""
    whole = read_sound(folder / example.source)
    first, length = (round(seconds * whole.rate) for seconds in (example.start, example.seconds))
    samples = whole.samples[:, first : first + length].clone()
    last = round(FADE * whole.rate)
    samples[:, -last:] *= torch.linspace(1, 0, last)
    return simulate_sound(example.task, Sound(samples, whole.rate, whole.subtype), example.settings)


def write(sound: Sound, path: Path, example: Example) -> None:
    """Into a FLAC file of 16 bits, with the credit in its comments."""
    with soundfile.SoundFile(path, "w", sound.rate, 1, "PCM_16", compression_level=1.0) as file:
        file.artist, file.copyright, file.license = CREDIT, CREDIT, LICENCE
        file.comment = f"Changed: cut to {example.seconds:g} s, {example.change}."
        file.write(sound.samples[0].numpy())


def main(folder: Path) -> None:
    for name, example in EXAMPLES.items():
        sound = make(example, folder)
        write(sound, PACKAGE / "data" / f"{name}.flac", example)
        if name in OFFERED:
            plot = Image.fromarray(np.ascontiguousarray(plots([sound])[0])).resize(SIZE, Image.Resampling.LANCZOS)
            plot.save(PACKAGE / "ui" / "static" / f"{name}.webp", quality=80)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
