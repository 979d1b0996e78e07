"""What is wrong with a picture, where the visitor does not know: compression, blur, noise.

* A JPEG file states its compression; below quality 82 or so its blocks can be seen, and nothing else is looked for.
* A Gaussian blur and the noise are fitted with :func:`kintsugi.estimate` to the part with the most detail.
* Noise alone is fitted with the model (Tweedie's formulas).

A grey picture shows its noise once, not three times: its level is found by wavelets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..blind import GaussianBlur, NoiseOnly, estimate
from ..blind.estimate import _detailed
from ..errors import InvalidArgument, InvalidFile
from ..images import Picture, read_compression
from ..images.noise import ROUNDING, estimate_noise
from ..priors.base import Prior

COARSE = 20.0  # mean step of the luma table from which blocks are visible; quality 82 has 20.7
BLURRED = 0.7  # standard deviation in pixels; sharp photographs are fitted with 0.3 to 0.6
NOISY = 0.012  # 3 grey levels of 255


@dataclass(frozen=True)
class Found:
    """What was found: the fields of the recipe that follow from it, and how to say it."""

    options: dict[str, Any] = field(default_factory=dict)
    words: str = ""


def find_wrong(path: Path, picture: Picture, prior: Prior) -> Found:
    """What is most wrong with a picture. Errors: :class:`InvalidArgument` for ``wrong`` where nothing is found."""
    try:
        stated = read_compression(path)
    except InvalidFile:  # a JPEG that is turned, or otherwise not to be modelled
        stated = None
    if stated is not None:
        step = sum(stated.tables[0]) / 64
        if step > COARSE:
            return Found({"task": "jpeg"}, "A JPEG file that is strongly compressed.")
    found = find_blur(picture, prior)
    width, noise = float(found.options["kernel"].split(":")[1]), float(found.options["noise"])
    if width >= BLURRED:
        return found
    if noise >= NOISY:
        found = find_noise(picture, prior)
        if float(found.options["noise"]) >= NOISY:
            return found
    expected = "a picture with compression, blur or noise that can be measured; choose what is wrong"
    raise InvalidArgument("wrong", "none of them", expected)


def find_blur(picture: Picture, prior: Prior) -> Found:
    """The width of a Gaussian blur, and the noise."""
    y = picture.colour()[None]
    if min(y.shape[2:]) < 16:
        raise InvalidArgument("kernel", f"{picture.width} x {picture.height} pixels", "a picture of at least 16 x 16")
    family, part = _detailed(GaussianBlur(tuple(y.shape[1:])), y)
    known = None
    if picture.grey or _colourless(picture):
        known = 2 * math.sqrt(3) * max(estimate_noise(picture), ROUNDING[picture.bits])
    fit = estimate(part, family, prior, noise=known, steps=1)
    width = fit.parameters["width"]
    assert isinstance(width, float)
    noise = fit.noise / 2 if known is None else known / 2 / math.sqrt(3)
    options = {"task": "deblur", "kernel": f"gaussian:{width:.2f}", "noise": f"{round(noise, 4):g}"}
    words = f"A blur of about {width:.1f} pixels, with noise of {255 * noise:.1f} of 255 grey levels."
    return Found(options, words)


def find_noise(picture: Picture, prior: Prior) -> Found:
    """The strength of white noise."""
    if picture.grey or _colourless(picture):
        level = estimate_noise(picture)
    else:
        y = picture.colour()[None]
        family, part = _detailed(NoiseOnly(tuple(y.shape[1:])), y)
        level = estimate(part, family, prior, steps=1).noise / 2
    level = max(level, ROUNDING[picture.bits])
    return Found(
        {"task": "denoise", "noise": f"{round(level, 4):g}"}, f"Noise of {255 * level:.1f} of 255 grey levels."
    )


def _colourless(picture: Picture) -> bool:
    first, second, third = picture.colour()
    return bool(torch.equal(first, second)) and bool(torch.equal(second, third))
