"""Pictures that nobody took: dead leaves and smooth gradients, to mix into the photographs of a training run.

Photographs of a small collection have few wide skies, few slow gradients without grain and few edges that are sharp to
the pixel, and a denoiser trained on them invents structure there. *Dead leaves* (Lee, Mumford and Huang, IJCV 2001) are
opaque shapes of random place, colour and size that cover each other; with sizes drawn from a density ``r^-3`` the
pictures have the scale invariance, edges and heavy-tailed gradients of natural ones, and networks trained on nothing
else denoise nearly as well (Achddou, Gousseau and Ladjal, 2021). Here a third of the pictures are gradients alone, and
some of all carry a texture of random phases with a spectrum ``|f|^-a``, a between 1 and 2.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

SUPERSAMPLING = 2
SMALLEST, LARGEST = 2.0, 0.6  # radius of a leaf, in pixels, and as a share of the side


def synthetic_picture(size: int, rng: np.random.Generator, grey: bool = False) -> Tensor:
    """``(3, size, size)`` in [-1, 1], determined by the state of ``rng``; never rounded to 8 bits."""
    base = _gradient(size, rng)
    if rng.random() < 2 / 3:
        leaves = _dead_leaves(size, rng)
        # Light falls unevenly on the leaves as well, or they would be flatter than anything in a photograph.
        base = leaves + rng.uniform(0, 0.3) * (base - base.mean(axis=(0, 1)))
    if rng.random() < 0.3:
        base = base + _texture(size, rng) * np.exp(rng.uniform(np.log(0.01), np.log(0.3)))
    values = np.clip(base, -1, 1)
    if grey:
        values = np.repeat(values.mean(axis=2, keepdims=True), 3, axis=2)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1), dtype=np.float32))


def gradient_picture(size: int, rng: np.random.Generator) -> Tensor:
    """``(3, size, size)`` in [-1, 1]: a smooth gradient alone, as of a clear sky."""
    values = np.clip(_gradient(size, rng), -1, 1).transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _colour(rng: np.random.Generator) -> NDArray[np.float64]:
    """A colour in [-1, 1]: any lightness, mostly weakly saturated, as in photographs."""
    lightness = rng.uniform(-1, 1)
    chroma = rng.standard_normal(3) * np.exp(rng.uniform(np.log(0.02), np.log(0.5)))
    return np.clip(lightness + chroma - chroma.mean(), -1, 1)


def _gradient(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """``(size, size, 3)``: one colour passing into another along a direction, straight or bent."""
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    place = 0.5 + along * rng.uniform(0.1, 1) + across**2 * rng.normal(0, 0.5)
    first, second = _colour(rng), _colour(rng)
    # Most skies change little from one side of a crop to the other.
    second = first + (second - first) * np.exp(rng.uniform(np.log(0.02), 0))
    return first + place[..., None] * (second - first)


def _dead_leaves(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """``(size, size, 3)``: ellipses and polygons over each other, smoothed by averaging sub-pixels."""
    side = size * SUPERSAMPLING
    image = Image.new("RGB", (side, side), _byte(_colour(rng)))
    draw = ImageDraw.Draw(image)
    smallest, largest = SMALLEST * SUPERSAMPLING, LARGEST * side
    for _ in range(int(rng.integers(20, 250))):
        # The inverse of the distribution function of r^-3 between the two radii.
        u = rng.random()
        radius = (smallest**-2 * (1 - u) + largest**-2 * u) ** -0.5
        centre = rng.uniform(-radius, side + radius, 2)
        stretch, turn = np.exp(rng.uniform(-0.7, 0.7)), rng.uniform(0, 2 * np.pi)
        corners = int(rng.integers(3, 7)) if rng.random() < 0.5 else 24
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners)) if corners < 24 else np.linspace(0, 2 * np.pi, 24)
        a, b = radius * stretch * np.cos(angles), radius / stretch * np.sin(angles)
        points = np.stack((np.cos(turn) * a - np.sin(turn) * b, np.sin(turn) * a + np.cos(turn) * b), axis=1) + centre
        draw.polygon([(float(px), float(py)) for px, py in points], fill=_byte(_colour(rng)))
    pixels = np.asarray(image, dtype=np.float64)
    return pixels.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING, 3).mean(axis=(1, 3)) / 127.5 - 1


def _texture(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """``(size, size, 1)`` or 3 channels of unit variance, with random phases and an amplitude ``|f|^-a``."""
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.rfftfreq(size), indexing="ij"))
    f[0, 0] = np.inf
    channels = 1 if rng.random() < 0.7 else 3
    white = rng.standard_normal((channels, size, size))
    shaped = np.fft.irfft2(np.fft.rfft2(white) * f ** -rng.uniform(1, 2), (size, size))
    return (shaped / shaped.std()).transpose(1, 2, 0)


def _byte(colour: NDArray[np.float64]) -> tuple[int, int, int]:
    r, g, b = (int(v) for v in np.round((colour + 1) * 127.5))
    return r, g, b
