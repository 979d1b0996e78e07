"""Degraded sounds, to try restoration on: the inverse of ``tasks.py``."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..operators import MuLaw, Quantise
from .gaps import checked, runs
from .hum import HARMONICS
from .reading import Sound
from .resampling import resample
from .tasks import SOUND_TASKS, SoundSettings

HUM = 0.05  # the amplitude of the fundamental where no level is given


def simulate_sound(
    task: str, sound: Sound, settings: SoundSettings | None = None, seed: int = 0, second: Sound | None = None
) -> Sound:
    """``sound`` degraded as ``task`` says, with white noise of ``settings.noise`` (none by default).

    declip: clipped at ``level`` (None: half the peak). gap: ``gaps`` are zeros. bandwidth: resampled to a rate
    ``factor`` times lower. dereverb: convolved with ``response``, which does not reach beyond the end. hum: tones of
    ``frequency`` (None: 50 Hz) and its multiples added, the h-th with the amplitude ``level / h`` (None: 0.05) and a
    random phase. mulaw, quantise: in ``bits``. separate: the sum with ``second``, as long as the shorter of the two.

    Errors: :class:`InvalidArgument` for ``task`` and the setting that it lacks.
    """
    settings = settings or SoundSettings()
    if task not in SOUND_TASKS:
        raise InvalidArgument("task", task, f"for sounds one of {', '.join(SOUND_TASKS)}")
    if isinstance(settings.noise, str):
        raise InvalidArgument("noise", settings.noise, "a number; there is no noise to estimate before it is added")
    if settings.noise is not None and not 0 <= settings.noise <= 1:
        raise InvalidArgument("noise", settings.noise, "a number from 0 to 1, of a full scale of 1")
    if task == "denoise" and not settings.noise:
        raise InvalidArgument("noise", settings.noise, "a number above 0, of a full scale of 1")
    x, rate, generator = sound.samples, sound.rate, torch.Generator().manual_seed(seed)
    if task == "declip":
        level = float(x.abs().max()) / 2 if settings.level is None else settings.level
        if not level > 0:
            raise InvalidArgument("level", level, "a level above 0")
        x = x.clamp(-level, level)
    elif task == "bandwidth":
        factor = settings.factor
        if not 2 <= factor <= 8 or rate % factor:
            raise InvalidArgument("factor", factor, f"a whole number from 2 to 8 that divides the rate, {rate} Hz")
        x, rate = resample(x, factor, 1), rate // factor
    elif task == "dereverb":
        x = _reverberated(x, settings.response)
    elif task == "hum":
        x = x + _hum(x, rate, settings, generator)
    elif task == "mulaw":
        x = MuLaw(x.shape, settings.bits)(x.clamp(-1, 1)[None])[0]
    elif task == "quantise":
        x = Quantise(x.shape, settings.bits, -1.0, 1.0 - 2.0 ** (1 - settings.bits))(x[None])[0]
    elif task == "separate":
        if second is None:
            raise InvalidArgument("second", None, "another sound, to be added")
        other = resample(second.samples, second.rate, rate)
        n = min(x.shape[-1], other.shape[-1])
        x = x[:, :n] + (other if len(other) == len(x) else other.mean(0, keepdim=True))[:, :n]
    if settings.noise:
        x = x + settings.noise * torch.randn(x.shape, generator=generator)
    if task == "gap":
        if settings.gaps is None:
            raise InvalidArgument("mask", None, "start:end in seconds, or a file, or --missing SHARE")
        x = x * ~settings.gaps
    return replace(sound, samples=x, rate=rate)


def random_gaps(length: int, rate: int, share: float, seed: int = 0, longest: float = 0.05) -> Tensor:
    """Gaps (length,), bool, of 5 ms to ``longest`` seconds at random places, which together hide ``share`` or a little
    more."""
    if not 0 < share < 1:
        raise InvalidArgument("missing", share, "a number between 0 and 1")
    generator = torch.Generator().manual_seed(seed)
    missing = torch.zeros(length, dtype=torch.bool)
    while float(missing.double().mean()) < share:
        seconds = 0.005 + (longest - 0.005) * float(torch.rand((), generator=generator))
        size = min(max(1, round(seconds * rate)), max(1, length // 2))
        start = int(torch.randint(0, length - size + 1, (), generator=generator))
        missing[start : start + size] = True
    return checked(missing)


def gaps_text(missing: Tensor, rate: int) -> str:
    """The positions of gaps as ``gaps.read_gaps`` reads them from a file: start:end in seconds, a line each."""
    return "".join(f"{start / rate:.7f}:{end / rate:.7f}\n" for start, end in runs(missing))


def _reverberated(x: Tensor, response: Tensor | None) -> Tensor:
    from scipy.signal import oaconvolve

    if response is None:
        raise InvalidArgument("kernel", None, "a sound file with the impulse response of the room")
    h = response[None] if response.ndim == 1 else response
    if len(h) not in (1, len(x)):
        raise InvalidArgument("kernel", tuple(h.shape), f"an impulse response of 1 or {len(x)} channels")
    out = oaconvolve(x.double().numpy(), h.expand(len(x), -1).double().numpy(), axes=-1)[:, : x.shape[-1]]
    return torch.from_numpy(out).to(x)


def _hum(x: Tensor, rate: int, settings: SoundSettings, generator: torch.Generator) -> Tensor:
    f = 50.0 if settings.frequency is None else settings.frequency
    if not 10 <= f <= 1000:
        raise InvalidArgument("frequency", f, "a number of hertz from 10 to 1000")
    level = HUM if settings.level is None else settings.level
    t = torch.arange(x.shape[-1], dtype=torch.float64) / rate
    h = torch.arange(1, min(HARMONICS, int((rate / 2 - 1) // f)) + 1, dtype=torch.float64)[:, None]
    phases = 2 * math.pi * torch.rand(h.shape, generator=generator, dtype=torch.float64)
    return (level / h * torch.sin(2 * math.pi * f * h * t + phases)).sum(0).to(x)
