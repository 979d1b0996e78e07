"""The spectrograms of docs/sound.md: what was recorded, what became of it, and what was restored.

    python docs/make_sounds.py FOLDER MODEL

FOLDER is that of the test sounds. Writes docs/pictures/sound-*.jpg, and eight samples of the model with nothing
measured, each brought to a peak of 0.5, as docs/pictures/sound-samples.flac.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from kintsugi import Prior, load_prior, sample
from kintsugi.sounds import Sound, read_sound, write_sound
from kintsugi.sounds.restoring import model_rate, restore_sound
from kintsugi.sounds.simulating import simulate_sound
from kintsugi.sounds.spectrogram import plots, spectrograms
from kintsugi.sounds.tasks import SoundSettings, prepare_sound

HERE = Path(__file__).parent
SECONDS = 3.0


def gaps(length: int, rate: int) -> torch.Tensor:
    """A gap of 40 ms each half second."""
    missing = torch.zeros(length, dtype=torch.bool)
    for start in range(rate // 4, length - rate // 8, rate // 2):
        missing[start : start + rate // 25] = True
    return missing


def main(folder: Path, model: str) -> None:
    prior = load_prior(model)
    for name, file, task, steps in (
        ("gap", "piano_chord.flac", "gap", 20),
        ("denoise", "guitar_riff_cutup2.flac", "denoise", 5),
        ("bandwidth", "bell_2a.flac", "bandwidth", 20),
        ("hum", "femalevoices_aa2_c#4.flac", "hum", 5),
    ):
        sound = read_sound(folder / file)
        clean = Sound(sound.samples[:, : round(SECONDS * sound.rate)], sound.rate, "FLOAT")
        given = {
            "gap": SoundSettings(gaps=gaps(clean.samples.shape[1], clean.rate)),
            "denoise": SoundSettings(noise=0.03),
            "bandwidth": SoundSettings(factor=2),
            "hum": SoundSettings(frequency=50.0, level=0.1),
        }[task]
        degraded = simulate_sound(task, clean, given)
        prepared = prepare_sound(task, degraded, given)
        x, _, _ = restore_sound(prepared, prior, steps=steps)
        (restored,), _ = prepared.finish(x[0])
        panels = [("the original", clean), ("degraded", degraded), (f"restored, {steps} steps", restored)]
        pixels = ((spectrograms(panels).pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(HERE / "pictures" / f"sound-{name}.jpg", quality=80)
    draw(prior)


def draw(prior: Prior, count: int = 8) -> None:
    """The first samples of seed 0, two seconds each: their spectrograms in two rows, and one sound of all."""
    rate = model_rate(prior)
    drawn = sample(prior, count, size=(2 * rate,), steps=150, churn=1.0, batch=count)
    loud = [x / x.abs().max() / 2 for x in drawn]
    panels = [np.pad(each, ((0, 6), (0, 6), (0, 0)), constant_values=255) for each in
              (plot[:, ::4] for plot in plots([Sound(x, rate, "FLOAT") for x in loud]))]  # fmt: skip
    rows = [np.concatenate(panels[k : k + count // 2], 1) for k in (0, count // 2)]
    Image.fromarray(np.concatenate(rows)).save(HERE / "pictures" / "sound-samples.jpg", quality=80)
    write_sound(HERE / "pictures" / "sound-samples.flac", torch.cat(loud, 1), rate)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
