"""From a picture and a few words to a :class:`Problem`: the tasks that the command line offers, one entry each.

A task is an operator for the clean picture's shape. The same entry restores (:func:`prepare`) and makes test
inputs (:func:`simulate`). Noise levels here are in units of [0, 1], black to white, as in 0.1 = 25 of 255; inside the
library they are in the units of the data, [-1, 1], twice as large.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import InvalidArgument
from .images.fading import Fading, estimate_fading
from .images.jpegfile import Compression
from .images.noise import noise_level
from .images.picture import Picture, profile_fits
from .operators import HDR, JPEG, Bicubic, Blur, Grey, Identity, Mask, Operator, Quantise, WhiteBalance
from .problem import Problem

MAX_FACTOR = 32
MAX_PIXELS = 178_956_970  # the largest picture that is read back, see images.reading


@dataclass(frozen=True, eq=False)
class Settings:
    """What a task may need to know.

    ``factor``: super-resolution, a whole number from 2 to 32. ``mask``: inpainting, bool (1, H, W), True where pixels
    are missing. ``kernel``: deblurring, a 2-D tensor that sums to one. ``noise``: standard deviation in [0, 1] units;
    ``"auto"`` estimates it from the picture; None means the rounding of the file only (see ``images.noise``).
    ``boundary``: what lies beyond the border of a shrunk or blurred picture, ``"unknown"`` (the world) or
    ``"circular"`` (benchmarks). ``quality``: of a JPEG, 1 to 100; or ``compression``, what a file's own header states
    (``images.read_compression``). ``bits``: of a picture with few levels, 1 to 8. ``gain``: by how much an over-exposed
    picture was brightened about mid-grey before it was clipped, above 1. ``fading``: what is left of the contrast;
    None estimates it from the picture (``images.estimate_fading``).
    """

    factor: int = 4
    mask: Tensor | None = None
    kernel: Tensor | None = None
    noise: float | Literal["auto"] | None = None
    boundary: Literal["unknown", "circular"] = "unknown"
    quality: int | None = None
    compression: Compression | None = None
    bits: int | None = None
    gain: float = 2.0
    fading: Fading | None = None


@dataclass(frozen=True)
class Task:
    """``operator(clean shape (C, H, W), settings)``, and how many times larger than its input the clean picture is.

    ``rounds``: the rounding of the file is part of the operator, or far below its steps, and no noise beside it.
    ``look(picture, settings)``: the settings, with what is found in the picture where they say nothing, and remarks.
    ``offset(settings, channels)``: what is measured beside the operator, ``y = A x + offset``.
    """

    summary: str
    operator: Callable[[tuple[int, int, int], Settings], Operator]
    scale: Callable[[Settings], int] = lambda settings: 1
    rounds: bool = False
    look: Callable[[Picture, Settings], tuple[Settings, tuple[str, ...]]] = lambda picture, settings: (settings, ())
    offset: Callable[[Settings, int], Tensor | float] = lambda settings, channels: 0.0


def _shrink(shape: tuple[int, int, int], settings: Settings) -> Operator:
    return Bicubic(shape, settings.factor, settings.boundary)


def _hide(shape: tuple[int, int, int], settings: Settings) -> Operator:
    mask = settings.mask
    if mask is None:
        raise InvalidArgument("mask", None, "a picture that is white where pixels are missing")
    if mask.dtype != torch.bool or tuple(mask.shape) != (1, *shape[1:]):
        raise InvalidArgument("mask", f"{tuple(mask.shape)} {mask.dtype}", f"a bool tensor {(1, *shape[1:])}")
    if bool(mask.all()):
        raise InvalidArgument("mask", "a mask that hides every pixel", "a mask with known pixels")
    return Mask(~mask, shape)


def _blur(shape: tuple[int, int, int], settings: Settings) -> Operator:
    if settings.kernel is None:
        raise InvalidArgument("kernel", None, "gaussian:SIGMA, uniform:SIZE, motion:LENGTH:ANGLE or a picture file")
    if any(k > n for k, n in zip(settings.kernel.shape, shape[1:], strict=False)):
        got = " x ".join(map(str, reversed(settings.kernel.shape)))
        expected = f"a kernel no larger than the picture, {shape[2]} x {shape[1]}"
        raise InvalidArgument("kernel", f"{got} pixels", expected)
    return Blur(shape, settings.kernel, settings.boundary)


def _compress(shape: tuple[int, int, int], settings: Settings) -> Operator:
    if settings.quality is not None:
        return JPEG(shape, settings.quality, codec="pillow")
    if settings.compression is None:
        raise InvalidArgument("quality", None, "an integer from 1 to 100; only a JPEG file states its own")
    stated = settings.compression
    return JPEG(shape, tables=stated.tables, subsampling=stated.subsampling)  # type: ignore[arg-type]


def _round(shape: tuple[int, int, int], settings: Settings) -> Operator:
    if settings.bits is None or not 1 <= settings.bits <= 8:
        raise InvalidArgument("bits", settings.bits, "an integer from 1 to 8")
    return Quantise(shape, settings.bits)


def _overexpose(shape: tuple[int, int, int], settings: Settings) -> Operator:
    if not 1 < settings.gain <= 16:
        raise InvalidArgument("gain", settings.gain, "a number above 1, at most 16")
    return HDR(shape, settings.gain)


def _fade(shape: tuple[int, int, int], settings: Settings) -> Operator:
    return WhiteBalance(shape, _fading(settings).of(shape[0])[0])


def _fading(settings: Settings) -> Fading:
    if settings.fading is None:
        raise InvalidArgument("fade", None, "the share of the contrast that is lost")
    return settings.fading


def _find_fading(picture: Picture, settings: Settings) -> tuple[Settings, tuple[str, ...]]:
    if settings.fading is not None:
        return settings, ()
    found = estimate_fading(picture)
    return replace(settings, fading=found), (found.told(),)


TASKS = {
    "sr": Task("super-resolution: enlarge by a whole factor", _shrink, lambda settings: settings.factor),
    "inpaint": Task("fill in the missing pixels of a mask", _hide),
    "deblur": Task("undo a blur of known kernel", _blur),
    "denoise": Task("remove white noise", lambda shape, settings: Identity(shape)),
    "colorize": Task("give a grey picture colours", lambda shape, settings: Grey(shape)),
    "jpeg": Task("undo the losses of JPEG", _compress, rounds=True),
    "dequantize": Task("give a picture of few levels all its levels again", _round, rounds=True),
    "hdr": Task("recover what was clipped to black and white", _overexpose),
    "fade": Task("bring back the contrast and colours of a faded picture", _fade, look=_find_fading,
                 offset=lambda settings, channels: _fading(settings).of(channels)[1]),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Prepared:
    """A problem made of a picture, and the way back from a solution to a picture."""

    task: str
    picture: Picture
    problem: Problem
    size: tuple[int, int]  # (height, width) of the restored picture
    known: Tensor | None = None  # bool (1, H, W): pixels to keep exactly as they came
    notes: tuple[str, ...] = ()  # what was found in the picture

    def finish(self, x: Tensor) -> Picture:
        """The restored ``x`` (3, H, W) as a picture like the one that came: clipped, grey if that was grey, its alpha
        (enlarged) and its colour profile. Known pixels without noise are the input's own, to the bit."""
        x = x.detach().to("cpu", torch.float32).clamp(-1, 1)
        if self.picture.grey and self.task != "colorize":
            x = x.mean(dim=0, keepdim=True)
        if self.known is not None:
            x = torch.where(self.known, self.picture.pixels, x)
        icc = self.picture.icc if profile_fits(self.picture.icc, x.shape[0]) else None
        return replace(self.picture, pixels=x, alpha=_resize(self.picture.alpha, self.size), icc=icc)


def prepare(task: str, picture: Picture, settings: Settings | None = None) -> Prepared:
    """The problem of restoring ``picture``, which is degraded as ``task`` says.

    A grey picture is given to the model as three equal channels. Its noise is then equal in them too, which is
    sqrt(3) times as strong along the grey axis as independent noise; the problem's noise level accounts for that.

    Errors: :class:`InvalidArgument` for ``task`` or the setting that cannot be used, before any work.
    """
    settings = settings or Settings()
    entry = _entry(task, settings)
    size = (picture.height * entry.scale(settings), picture.width * entry.scale(settings))
    if size[0] * size[1] > MAX_PIXELS:
        expected = f"a result of at most {MAX_PIXELS // 10**6} megapixels"
        raise InvalidArgument("factor", f"{settings.factor}, for {size[1]} x {size[0]} pixels", expected)
    settings, notes = entry.look(picture, settings)
    operator = entry.operator((3, *size), settings)
    noise = 2 * noise_level(picture, settings.noise, missing=settings.mask if task == "inpaint" else None)
    y = picture.colour()
    if task == "colorize":
        y = picture.pixels.mean(dim=0, keepdim=True)
    elif picture.grey or bool((y[0] == y[1]).all() and (y[1] == y[2]).all()):
        noise *= math.sqrt(3)
    if entry.rounds and settings.noise in (None, 0):
        noise = 0.0
    y = y - entry.offset(settings, 3)
    known = None
    if task == "inpaint" and settings.mask is not None:
        y = y * ~settings.mask
        known = ~settings.mask if settings.noise in (None, 0) else None
    return Prepared(task, picture, Problem(y.contiguous(), operator, noise), size, known, notes)


def simulate(task: str, picture: Picture, settings: Settings | None = None, seed: int = 0) -> Picture:
    """``picture`` degraded as ``task`` says, with white noise of ``settings.noise`` (none by default).

    What lies beyond the border is the picture mirrored (``boundary="unknown"``) or repeated (``"circular"``). Missing
    pixels are mid-grey. Rounding and clipping come later, when it is written. Errors: as :func:`prepare`.
    """
    settings = settings or Settings()
    if isinstance(settings.noise, str):
        raise InvalidArgument("noise", settings.noise, "a number; there is no noise to estimate before it is added")
    entry = _entry(task, settings)
    if task == "colorize" and picture.grey:
        raise InvalidArgument("input", "a grey picture", "a picture in colour, for task colorize")
    shape = (picture.pixels.shape[0], picture.height, picture.width)
    if entry.scale(settings) > min(shape[1:]):
        expected = f"at most the picture's shorter side, {min(shape[1:])}"
        raise InvalidArgument("factor", settings.factor, expected)
    operator = entry.operator(shape, settings)
    y = operator(operator.extend(picture.pixels[None]))[0] + entry.offset(settings, shape[0])
    sigma = 2 * noise_level(replace(picture, bits=32), settings.noise)  # 32: the file's rounding is not simulated
    if sigma:
        noise = sigma * torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))
        y = y + (noise * ~settings.mask if task == "inpaint" and settings.mask is not None else noise)
    icc = picture.icc if profile_fits(picture.icc, y.shape[0]) else None
    alpha = _resize(picture.alpha, (int(y.shape[1]), int(y.shape[2])))
    return replace(picture, pixels=y.contiguous(), alpha=alpha, icc=icc)


def random_mask(size: tuple[int, int], share: float, seed: int = 0) -> Tensor:
    """A bool mask (1, H, W) in which each pixel is missing (True) with probability ``share``."""
    if not 0 < share < 1:
        raise InvalidArgument("missing", share, "a number between 0 and 1")
    missing = torch.rand((1, *size), generator=torch.Generator().manual_seed(seed)) < share
    if bool(missing.all()) or not bool(missing.any()):
        raise InvalidArgument("missing", share, f"a share that hides some of {size[0] * size[1]} pixels, not all")
    return missing


def box_mask(size: tuple[int, int], side: int) -> Tensor:
    """A bool mask (1, H, W) with a square of ``side`` pixels missing (True) in the centre."""
    if not 1 <= side <= min(size) or size == (side, side):
        raise InvalidArgument("box", side, f"a side of at least 1 pixel that fits into {size[1]} x {size[0]}")
    missing = torch.zeros((1, *size), dtype=torch.bool)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    missing[:, top : top + side, left : left + side] = True
    return missing


def _entry(task: str, settings: Settings) -> Task:
    if task not in TASKS:
        raise InvalidArgument("task", task, f"one of {', '.join(TASKS)}")
    if task == "sr" and not 2 <= settings.factor <= MAX_FACTOR:
        raise InvalidArgument("factor", settings.factor, f"a whole number from 2 to {MAX_FACTOR}")
    if settings.boundary not in ("unknown", "circular"):
        raise InvalidArgument("boundary", settings.boundary, "'unknown' or 'circular'")
    return TASKS[task]


def _resize(alpha: Tensor | None, size: tuple[int, int]) -> Tensor | None:
    if alpha is None or tuple(alpha.shape[1:]) == size:
        return alpha
    return F.interpolate(alpha[None], size, mode="bicubic", antialias=True, align_corners=False)[0].clamp(0, 1)
