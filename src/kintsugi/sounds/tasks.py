"""From a sound and a few words to problems: the tasks that the command line offers for sounds, one entry each.

A task is an operator on a piece of one channel at the sound's own rate. The same entry restores (:func:`prepare_sound`)
and makes test inputs (``simulating.py``). Noise levels and clip levels are of a full scale of 1.

**Rates.** The restoration has the rate of the sound (bandwidth extension: ``factor`` times it). What a model knows ends
at half *its* rate. A sound of a higher rate is restored at its own, with the model below and a Gaussian of the sound's
own spectrum above (``priors.AtRate``); one of a lower rate at a multiple of it that the model can hold, of which every
k-th sample was measured (``operators.Decimate``).

**Loudness.** Models know sounds that were brought to their full level. So a sound is restored as loud as that, and made
as loud again as it came, or as much quieter as peaks beyond full scale need.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from ..errors import InvalidArgument, is_whole
from ..operators import (
    Clip,
    ColourMatrix,
    Convolve,
    Decimate,
    Identity,
    LinearOperator,
    Mask,
    MuLaw,
    Notch,
    Operator,
    Quantise,
)
from ..problem import Problem
from .clipping import TOLERANCE, clip_levels
from .gaps import checked, find_gaps, runs
from .hum import HARMONICS, find_hum, remove_hum
from .noise import noise_level
from .reading import Sound
from .resampling import resample

FULL = 0.9  # the peak of a sound that is restored
CLIPPED = 0.3  # and the level at which it was clipped: room for peaks three times as high
WIDTH = 4.0  # hertz around each tone of a hum that are restored; hum that drifts by more is left
BEYOND = 2.0  # a level that no sample reaches


@dataclass(frozen=True, eq=False)
class SoundSettings:
    """What a task may need to know of a sound of T samples.

    ``factor``: bandwidth, how many times the rate of the result is that of the sound, 2 to 8. ``gaps``: bool (T,), True
    where samples are missing; None to look for runs of zeros. ``response``: dereverb, an impulse response (L,) or
    (C, L) at the rate of the sound. ``noise``: standard deviation, of a full scale of 1; "auto" estimates it; None does
    for the tasks denoise and dereverb, and is the rounding of the file for the others. ``level``: declip, at which
    samples were clipped; None estimates it. ``frequency``: hum, in hertz, looked for within half a hertz; None
    looks for it near 50 and 60. ``bits``: mulaw and quantise, 2 to 16.
    """

    factor: int = 2
    gaps: Tensor | None = None
    response: Tensor | None = None
    noise: float | Literal["auto"] | None = None
    level: float | None = None
    frequency: float | None = None
    bits: int = 8


@dataclass(frozen=True, eq=False)
class Known:
    """What of a task is known once the sound was looked at: :class:`SoundSettings` without open ends, in units in which
    the sound is restored. ``low``, ``high``: between which samples were not clipped."""

    rate: int
    factor: int = 1
    missing: Tensor | None = None
    response: Tensor | None = None
    low: float = -BEYOND
    high: float = BEYOND
    frequency: float = 50.0
    bits: int = 8


@dataclass(frozen=True)
class SoundTask:
    """``operator(known, channel, start, end)``: of the samples from start to end of a channel, at the sound's rate.

    ``look(sound, settings)``: what is known, of the sound as it is. ``absolute``: levels mean what they are in the
    file; the sound is not made louder. ``noisy``: noise is estimated where nothing is said of it. ``sources``: how many
    sounds the result is. ``above``: what happens above the band of the model, in words.
    """

    summary: str
    operator: Callable[[Known, int, int, int], Operator]
    look: Callable[[Sound, SoundSettings], Known] = lambda sound, settings: Known(sound.rate)
    absolute: bool = False
    noisy: bool = False
    sources: int = 1
    above: str = ""


def _declip(known: Known, channel: int, start: int, end: int) -> Operator:
    return Clip((1, end - start), 1.0, known.low, known.high)


def _find_levels(sound: Sound, settings: SoundSettings) -> Known:
    if settings.level is None:
        low, high = clip_levels(sound.samples)
    else:
        peak = float(sound.samples.abs().max())
        # What was clipped at 0.5 stands at 0.49997 in a file of 16 bits: the level is that of the samples.
        high, low = _reached(sound.samples, settings.level), -_reached(-sound.samples, settings.level)
        if not settings.level > 0 or (math.isinf(high) and math.isinf(low)):
            expected = f"a level above 0 that the sound reaches: its peak is {peak:.4g}"
            raise InvalidArgument("level", settings.level, expected)
    return Known(sound.rate, low=low, high=high)


def _reached(samples: Tensor, level: float) -> float:
    """The least sample that is at ``level`` or above it, up to rounding; infinity if there is none."""
    at = samples[samples >= (1 - TOLERANCE) * level]
    return float(at.min()) if at.numel() else math.inf


def _hide(known: Known, channel: int, start: int, end: int) -> Operator:
    assert known.missing is not None
    return Mask(~known.missing[start:end], (1, end - start))


def _find_missing(sound: Sound, settings: SoundSettings) -> Known:
    length = sound.samples.shape[-1]
    if settings.gaps is None:
        return Known(sound.rate, missing=find_gaps(sound.samples, sound.rate))
    if settings.gaps.dtype != torch.bool or tuple(settings.gaps.shape) != (length,):
        raise InvalidArgument("mask", f"{tuple(settings.gaps.shape)} {settings.gaps.dtype}", f"bool ({length},)")
    return Known(sound.rate, missing=checked(settings.gaps))


def _lower(known: Known, channel: int, start: int, end: int) -> Operator:
    return Identity((1, end - start))  # what lowers the rate is said in PreparedSound.problem


def _convolve(known: Known, channel: int, start: int, end: int) -> Operator:
    assert known.response is not None
    response = known.response[min(channel, len(known.response) - 1)]
    return Convolve((1, end - start), response, "unknown", causal=True)


def _check_response(sound: Sound, settings: SoundSettings) -> Known:
    h = settings.response
    if h is None:
        raise InvalidArgument("kernel", None, "a sound file with the impulse response of the room")
    h = h[None] if h.ndim == 1 else h
    if h.ndim != 2 or h.numel() == 0 or len(h) not in (1, len(sound.samples)) or not bool(h.isfinite().all()):
        expected = f"an impulse response of 1 or {len(sound.samples)} channels, finite"
        raise InvalidArgument("kernel", tuple(h.shape), expected)
    if not bool(h.any(-1).all()):
        raise InvalidArgument("kernel", "silence", "an impulse response")
    return Known(sound.rate, response=h)


def _notch(known: Known, channel: int, start: int, end: int) -> Operator:
    rate, n = known.rate, end - start
    return Notch((1, n), known.frequency, rate, width=min(WIDTH, known.frequency / 2), harmonics=HARMONICS)


def _find_hum(sound: Sound, settings: SoundSettings) -> Known:
    f = settings.frequency
    if f is not None and not 10 <= f <= 1000:
        raise InvalidArgument("frequency", f, "a number of hertz from 10 to 1000")
    try:
        f = find_hum(sound.samples, sound.rate, f)
    except InvalidArgument:
        if f is None:
            raise
    return Known(sound.rate, frequency=f)  # as it was given, where nothing near it stands out


def _companded(known: Known, channel: int, start: int, end: int) -> Operator:
    return MuLaw((1, end - start), known.bits)


def _rounded(known: Known, channel: int, start: int, end: int) -> Operator:
    """As in files: 0 is a level, and -1 the lowest."""
    return Quantise((1, end - start), known.bits, -1.0, 1.0 - 2.0 ** (1 - known.bits))


def _check_bits(sound: Sound, settings: SoundSettings) -> Known:
    if not is_whole(settings.bits, 2, 16):
        raise InvalidArgument("bits", settings.bits, "an integer from 2 to 16")
    return Known(sound.rate, bits=settings.bits)


def _check_factor(sound: Sound, settings: SoundSettings) -> Known:
    if not is_whole(settings.factor, 2, 8):
        raise InvalidArgument("factor", settings.factor, "a whole number from 2 to 8")
    return Known(sound.rate, settings.factor)


def _add(known: Known, channel: int, start: int, end: int) -> Operator:
    return ColourMatrix((2, end - start), [[1.0, 1.0]])


_KEPT = "is kept as it is"
SOUND_TASKS = {
    "declip": SoundTask("restore the peaks of an overdriven recording", _declip, _find_levels,
                        above="is estimated by its average spectrum in clipped samples, and kept in all others"),
    "gap": SoundTask("fill in missing samples", _hide, _find_missing,
                     above="is estimated by its average spectrum in the gaps"),
    "denoise": SoundTask("remove white noise", lambda known, channel, start, end: Identity((1, end - start)),
                         noisy=True, above="is denoised by its average spectrum (Wiener)"),
    "bandwidth": SoundTask("give a sound of low rate its high frequencies", _lower, _check_factor),
    "dereverb": SoundTask("undo a room or loudspeaker of known impulse response", _convolve, _check_response,
                          noisy=True, above="is deconvolved by its average spectrum (Wiener)"),
    "hum": SoundTask("remove the hum of the mains", _notch, _find_hum, above=_KEPT),
    "mulaw": SoundTask("undo the losses of mu-law", _companded, _check_bits, absolute=True,
                       above="is estimated by its average spectrum"),
    "quantise": SoundTask("undo rounding to few bits", _rounded, _check_bits, absolute=True,
                          above="is estimated by its average spectrum"),
    "separate": SoundTask("take a sum of two sources apart, with a model of each", _add, sources=2,
                          above="is shared evenly between the sources"),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class PreparedSound:
    """A sound as problems, a piece of a channel each, and the way back from solutions to a sound.

    ``y`` (C, T) is the measurement in the units in which it is restored, ``scale`` times those of the sound; ``noise``
    that of its noise in these units.
    """

    task: str
    sound: Sound
    known: Known
    y: Tensor
    scale: float
    noise: float
    notes: tuple[str, ...] = field(default=())

    @property
    def entry(self) -> SoundTask:
        return SOUND_TASKS[self.task]

    @property
    def rate(self) -> int:
        """Of the result."""
        return self.sound.rate * self.known.factor

    def multiple(self, model_rate: int) -> int:
        """By how much the rate at which it is restored is above the sound's: enough for the model and the result.

        Errors: :class:`InvalidArgument` for the input, if it has all that the model knows already.
        """
        rate, factor = self.sound.rate, self.known.factor
        if factor > 1 and rate >= model_rate:
            expected = (
                f"a sound sampled at less than the model's {model_rate} Hz: it knows nothing above {model_rate // 2}"
            )
            raise InvalidArgument("input", f"{rate} Hz", expected)
        return factor * max(1, -(-model_rate // (rate * factor)))

    def problem(self, channel: int, start: int, end: int, model_rate: int) -> Problem:
        """Of the samples from ``start`` to ``end`` of a channel, at :meth:`multiple` times the sound's rate."""
        operator, k = self.entry.operator(self.known, channel, start, end), self.multiple(model_rate)
        y = self.y[channel : channel + 1, start:end]
        if self.task == "hum" and isinstance(operator, LinearOperator):
            y = operator(y[None])[0]
        if k > 1:
            operator = operator @ Decimate((operator.in_shape[0], operator.in_shape[1] * k), k, "unknown")
        return Problem(y.contiguous(), operator, self.noise)

    def back(self, x: Tensor, channel: int, start: int, end: int, model_rate: int) -> Tensor:
        """The piece at the rate of the result: (..., sources, factor (end - start)), of the visible part of ``x``."""
        k, factor = self.multiple(model_rate), self.known.factor
        if k != factor:
            x = resample(x, k // factor, 1)
        # With a rate in between, the margins of the inner operator are cut off, and those of the outer one are not yet.
        outer = self.entry.operator(self.known, channel, start, end)
        return outer.visible(x) if k > 1 and factor == 1 else x[..., : factor * (end - start)]

    @property
    def lost(self) -> Tensor | None:
        """Which samples (C, T) are to be estimated, where all others were measured exactly; None for other problems."""
        if self.noise > 0:
            return None
        if self.known.missing is not None:
            return self.known.missing.expand_as(self.y)
        if self.task == "declip":
            above, below = _beyond(self.y, self.known)
            return above | below
        return None

    def finish(self, x: Tensor) -> tuple[list[Sound], tuple[str, ...]]:
        """The restored ``x`` (sources, C, T') as sounds like the one that came, and remarks.

        Samples that were measured exactly are the input's own.
        """
        x, y = x.detach().to("cpu", torch.float32) / self.scale, self.sound.samples
        lost = self.lost
        if lost is not None:
            if self.task == "declip":
                x = torch.where(y > 0, torch.maximum(x, y), torch.minimum(x, y))
            x = torch.where(lost, x, y)
        notes: tuple[str, ...] = ()
        peak = float(x.abs().max())
        if peak > 1 and peak > float(self.sound.samples.abs().max()):
            x = x / peak
            notes = (f"{20 * torch.tensor(peak).log10():.1f} dB quieter, so that the restored peaks fit",)
        return [replace(self.sound, samples=each, rate=self.rate) for each in x], notes


def prepare_sound(task: str, sound: Sound, settings: SoundSettings | None = None) -> PreparedSound:
    """The problems of restoring ``sound``, which is degraded as ``task`` says.

    Errors: :class:`InvalidArgument` for ``task`` or the setting that cannot be used, before any work.
    """
    settings = settings or SoundSettings()
    if task not in SOUND_TASKS:
        raise InvalidArgument("task", task, f"for sounds one of {', '.join(SOUND_TASKS)}")
    entry = SOUND_TASKS[task]
    known = entry.look(sound, settings)
    y = sound.samples
    estimate = entry.noisy and settings.noise is None
    noise = noise_level(y, sound.subtype, "auto" if estimate else settings.noise)
    # The rounding of the file is part of what these measure, or far below what they leave open.
    noise = noise if entry.noisy or settings.noise is not None else 0.0
    notes = _told(task, sound, known, noise if estimate or settings.noise == "auto" else None)
    if task == "hum":
        y = remove_hum(y, sound.rate, known.frequency)
    scale = 1.0
    peak = float(y.abs().max())
    if task == "declip":
        scale = CLIPPED / min(abs(known.low), abs(known.high))
        known = replace(
            known, **{side: max(-BEYOND, min(BEYOND, scale * getattr(known, side))) for side in ("low", "high")}
        )
    elif not entry.absolute and peak > 0:
        scale = FULL / peak
    scaled = scale * y
    if task == "declip":
        above, below = _beyond(scaled, known)
        scaled = torch.where(above, known.high, torch.where(below, known.low, scaled))
    if known.response is not None:  # of unit energy, so that a dry sound is about as loud as the wet one
        energy = float(known.response.double().square().sum(-1).max().sqrt())
        known = replace(known, response=known.response / energy)
        return PreparedSound(task, sound, known, scaled, scale * energy, scale * noise, notes)
    return PreparedSound(task, sound, known, scaled, scale, scale * noise, notes)


def _beyond(y: Tensor, known: Known) -> tuple[Tensor, Tensor]:
    """Which samples stand at the upper and at the lower level, whatever scaling has rounded."""
    return y >= known.high - 1e-6 * abs(known.high), y <= known.low + 1e-6 * abs(known.low)


def _told(task: str, sound: Sound, known: Known, noise: float | None) -> tuple[str, ...]:
    """What was found in the sound."""
    notes = []
    if task == "declip":
        sides = [f"{side:.4g}" for side in (known.low, known.high) if abs(side) < float("inf")]
        share = float(((sound.samples <= known.low) | (sound.samples >= known.high)).double().mean())
        notes.append(f"clipped at {' and '.join(sides)}: {100 * share:.2g} % of the samples")
    if known.missing is not None:
        lengths = [1000 * (end - start) / sound.rate for start, end in runs(known.missing)]
        what = "1 gap" if len(lengths) == 1 else f"{len(lengths)} gaps"
        shortest, longest = f"{min(lengths):.3g}", f"{max(lengths):.3g}"
        notes.append(f"{what} of {shortest if shortest == longest else f'{shortest} to {longest}'} ms")
    if task == "hum":
        notes.append(f"hum of {known.frequency:.2f} Hz and its multiples")
    if noise is not None:
        notes.append(f"noise, estimated: {noise:.2g} of full scale")
    return tuple(notes)
