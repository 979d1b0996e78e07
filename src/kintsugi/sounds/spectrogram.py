"""Sounds as pictures: time to the right, frequency upwards, brightness the power in decibels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..images.picture import Picture
from .reading import Sound

RANGE = 90.0  # decibels from the loudest place of all panels, white, to black
WIDTH, HEIGHT = 1000, 256  # pixels of a panel
LEFT, TOP, BOTTOM = 44, 18, 18  # of its margins: frequencies, its title, seconds
FRAME = 0.046  # seconds: 2048 samples at 44.1 kHz
# From black over violet and orange to pale yellow: rising lightness, so that it can be read in grey too.
COLOURS = ((0, 0, 4), (50, 10, 94), (120, 28, 109), (188, 55, 84), (237, 105, 37), (251, 180, 26), (252, 255, 200))


def decibels(sound: Sound, columns: int = WIDTH, bins: int = HEIGHT, top: float | None = None) -> NDArray[np.float64]:
    """The power (bins, columns) in decibels of full scale, of the mean over channels of each one's power.

    Row 0 is the highest frequency, ``top`` hertz (None: half the sampling rate); the last row is 0 Hz. A column is the
    strongest of the frames that it stands for, so that a click is seen however long the sound is. A full-scale sine has
    0 dB.
    """
    from scipy.signal import ShortTimeFFT
    from scipy.signal.windows import hann

    length = max(16, 2 * round(FRAME * sound.rate / 2))
    window = hann(length, sym=False)
    hop = max(1, min(length // 4, sound.samples.shape[-1] // columns or 1))
    transform = ShortTimeFFT(window, hop, sound.rate, fft_mode="onesided")
    x = sound.samples.double().cpu().numpy()
    if x.shape[-1] < length:
        x = np.pad(x, ((0, 0), (0, length - x.shape[-1])))
    power = (np.abs(transform.stft(x, p0=0, p1=-(-x.shape[-1] // hop))) ** 2).mean(0) * (2 / window.sum()) ** 2
    frames = power.shape[1]
    edges = np.unique(np.linspace(0, frames, min(columns, frames) + 1).astype(int))[:-1]
    power = np.maximum.reduceat(power, edges, axis=1)
    power = power[:, np.linspace(0, power.shape[1] - 1, columns).round().astype(int)]
    rows = np.linspace(top or sound.rate / 2, 0, bins) / (sound.rate / 2) * (len(power) - 1)
    inside = rows <= len(power) - 1
    out = np.zeros((bins, columns))
    out[inside] = power[rows[inside].round().astype(int)]
    level: NDArray[np.float64] = 10 * np.log10(out + 1e-12)
    return level


def spectrograms(sounds: Sequence[tuple[str, Sound]]) -> Picture:
    """Panels with the titles of ``sounds`` below each other, of one range of frequencies and of decibels."""
    top = highest([sound for _, sound in sounds])
    panels = [
        _panel(title, plot, top, sound.samples.shape[-1] / sound.rate)
        for (title, sound), plot in zip(sounds, plots([sound for _, sound in sounds]), strict=True)
    ]
    return Picture(torch.cat(panels, 1))


def highest(sounds: Sequence[Sound]) -> float:
    """The frequency in hertz at which their plots end."""
    return max(sound.rate / 2 for sound in sounds)


def plots(sounds: Sequence[Sound]) -> list[NDArray[np.uint8]]:
    """Their spectrograms alone, (HEIGHT, WIDTH, 3), of one range of frequencies and of decibels."""
    levels = [decibels(sound, top=highest(sounds)) for sound in sounds]
    loudest = max(float(level.max()) for level in levels)
    knots = np.linspace(0, 1, len(COLOURS))
    shares = [np.clip((level - loudest) / RANGE + 1, 0, 1) for level in levels]
    colours = [[np.interp(share, knots, [c[i] for c in COLOURS]) for i in range(3)] for share in shares]
    return [np.stack(each, -1).round().astype(np.uint8) for each in colours]


def _panel(title: str, plot: NDArray[np.uint8], top: float, seconds: float) -> Tensor:
    height, width, _ = plot.shape
    image = Image.new("RGB", (LEFT + width + 4, TOP + height + BOTTOM), (255, 255, 255))
    image.paste(Image.fromarray(plot), (LEFT, TOP))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(11)
    draw.text((LEFT, TOP // 2), title, fill=0, font=font, anchor="lm")
    for hertz in _ticks(top, 5):
        y = TOP + (1 - hertz / top) * (height - 1)
        draw.line((LEFT - 4, y, LEFT - 1, y), fill=0)
        draw.text((LEFT - 6, y), f"{hertz / 1000:g} kHz" if hertz else "0", fill=0, font=font, anchor="rm")
    for second in _ticks(seconds, 10):
        x = LEFT + second / seconds * (width - 1)
        draw.line((x, TOP + height, x, TOP + height + 3), fill=0)
        if second <= 0.97 * seconds:
            draw.text((x, TOP + height + 10), f"{second:g} s", fill=0, font=font, anchor="mm")
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)


def _ticks(end: float, most: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from 0 to ``end``, at most ``most`` steps."""
    step = 10.0 ** np.floor(np.log10(end / most))
    step *= next(factor for factor in (1, 2, 5, 10) if end / (factor * step) <= most)
    return [float(round(i * step, 6)) for i in range(int(end / step + 1e-9) + 1)]
