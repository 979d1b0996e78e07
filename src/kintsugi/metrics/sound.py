"""Sounds against the truth: SI-SDR, log-spectral distance, and for speech PESQ and STOI.

Signals are (C, T); a value is the mean over channels and over the samples of a problem. Nothing is clipped. PESQ and
STOI compare what is heard of speech, know certain sampling rates, and need packages of their own (extra ``[speech]``).
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..errors import InvalidArgument, MissingPackage
from ..optional import optional
from ..problem import Problem
from .base import EXTRA, Metric, package_lack

ROUNDING = 2.0 / 2**16 / 12**0.5  # standard deviation of rounding to 16 bits, for data in [-1, 1]
SPEECH = "speech"  # the extra


@dataclass(frozen=True)
class SoundMetric(Metric):
    """A metric of one sound (C, T) against the truth: the average over the samples of each one's metric."""

    least: ClassVar[int] = 2

    @abstractmethod
    def _each(self, x: Tensor, truth: Tensor) -> Tensor:
        """The metric of each row of x (n, T) against that of the truth (n, T), as (n,), float64."""

    def _value(self, samples: Tensor, truth: Tensor | None, problem: Problem | None) -> float:
        assert truth is not None
        if samples.ndim != 3 or samples.shape[-1] < self.least:
            expected = f"sounds (n, C, T) of at least {self.least} samples for {self.name}"
            raise InvalidArgument("samples", tuple(samples.shape), expected)
        rows = truth.expand_as(samples).flatten(0, 1)
        return float(self._each(samples.flatten(0, 1), rows).mean())


@dataclass(frozen=True)
class SISDR(SoundMetric):
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019), by torchmetrics.

    ``10 log10(|a x0|^2 / |a x0 - x|^2)`` with ``a = <x, x0> / |x0|^2``: how loud x is does not matter, and means are
    kept. Where x is the truth it is what rounding leaves of infinity.
    """

    name: ClassVar[str] = "si_sdr"
    better: ClassVar[Literal["higher", "lower", "none"]] = "higher"
    unit: ClassVar[str] = "dB"

    def lack(self) -> MissingPackage | None:
        return package_lack("torchmetrics", self.name)

    def _each(self, x: Tensor, truth: Tensor) -> Tensor:
        audio = optional("torchmetrics.functional.audio", EXTRA, self.name)
        value: Tensor = audio.scale_invariant_signal_distortion_ratio(x, truth)
        return value


@dataclass(frozen=True)
class LogSpectralDistance(SoundMetric):
    """``mean_n sqrt(mean_k (10 log10 P_nk(x) / P_nk(x0))^2)`` in dB, of power in frames n and bins k; 0 for the truth.

    frame: samples of a frame, a Hann window of unit mean square, every quarter frame one, within the sound. To all
    powers that of rounding to 16 bits is added, so that digital silence, of which nothing is heard, weighs nothing.
    Much of the literature leaves out the factor of 10.
    """

    name: ClassVar[str] = "lsd"
    better: ClassVar[Literal["higher", "lower", "none"]] = "lower"
    unit: ClassVar[str] = "dB"

    frame: int = 512

    def __post_init__(self) -> None:
        if isinstance(self.frame, bool) or not isinstance(self.frame, int) or self.frame < 4 or self.frame % 4:
            raise InvalidArgument("frame", self.frame, "a multiple of 4 samples")

    def _each(self, x: Tensor, truth: Tensor) -> Tensor:
        if x.shape[-1] < self.frame:
            raise InvalidArgument("samples", f"{x.shape[-1]} samples", f"a sound of at least a frame, {self.frame}")
        ratio = 10 * (self._power(x) / self._power(truth)).log10()
        return ratio.square().mean(1).sqrt().mean(-1)

    def _power(self, x: Tensor) -> Tensor:
        window = torch.hann_window(self.frame, dtype=x.dtype, device=x.device)
        window = window / window.square().mean().sqrt()
        transform = torch.stft(x, self.frame, self.frame // 4, window=window, center=False, return_complex=True)
        return transform.abs().square() / self.frame + ROUNDING**2


@dataclass(frozen=True)
class PESQ(SoundMetric):
    """Perceptual evaluation of speech quality, wide band (ITU-T P.862.2), about 1 (bad) to 4.64; by pesq.

    For speech at ``rate`` 16000 Hz (at 8000 narrow band, P.862). Errors: :class:`InvalidArgument` where no speech is
    found in the truth, or less than a quarter of a second.
    """

    name: ClassVar[str] = "pesq"
    better: ClassVar[Literal["higher", "lower", "none"]] = "higher"

    rate: int = 16_000

    def __post_init__(self) -> None:
        if self.rate not in (8_000, 16_000):
            raise InvalidArgument("rate", self.rate, "8000 or 16000 Hz")

    def lack(self) -> MissingPackage | None:
        return _speech_lack("pesq", self.name)

    def _each(self, x: Tensor, truth: Tensor) -> Tensor:
        pesq = optional("pesq", SPEECH, self.name)
        if x.shape[-1] < self.rate // 4:
            raise InvalidArgument("samples", f"{x.shape[-1]} samples", f"a quarter of a second, {self.rate // 4}")
        _refuse_silence(truth)
        mode = "wb" if self.rate == 16_000 else "nb"
        try:
            values = [
                pesq.pesq(self.rate, x0.numpy(), x1.numpy(), mode)
                for x0, x1 in zip(truth.float().cpu(), x.float().cpu(), strict=True)
            ]
        except pesq.PesqError as error:
            raise InvalidArgument("truth", f"a sound of which pesq says {error!r}", "speech") from error
        return torch.tensor(values, dtype=torch.float64)


@dataclass(frozen=True)
class STOI(SoundMetric):
    """Short-time objective intelligibility of speech (Taal et al. 2011), up to 1; by pystoi.

    ``rate`` in Hz; it looks at 150 to 4300 Hz. extended: the variant for modulated noise (Jensen and Taal 2016).
    Errors: :class:`InvalidArgument` where less than 0.4 s of the truth are not silent.
    """

    name: ClassVar[str] = "stoi"
    better: ClassVar[Literal["higher", "lower", "none"]] = "higher"

    rate: int = 16_000
    extended: bool = False

    def __post_init__(self) -> None:
        if self.rate < 8_000:
            raise InvalidArgument("rate", self.rate, "a sampling rate of at least 8000 Hz")

    def lack(self) -> MissingPackage | None:
        return _speech_lack("pystoi", self.name)

    def _each(self, x: Tensor, truth: Tensor) -> Tensor:
        pystoi = optional("pystoi", SPEECH, self.name)
        least = round(0.4 * self.rate)
        if x.shape[-1] < least:
            raise InvalidArgument("samples", f"{x.shape[-1]} samples", f"0.4 seconds, {least}")
        _refuse_silence(truth)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)
                values = [
                    float(pystoi.stoi(x0.numpy(), x1.numpy(), self.rate, extended=self.extended))
                    for x0, x1 in zip(truth.cpu(), x.cpu(), strict=True)
                ]
        except RuntimeWarning as error:
            raise InvalidArgument("truth", f"a sound of which pystoi says: {error}", "0.4 s of speech") from error
        return torch.tensor(values, dtype=torch.float64)


def _refuse_silence(truth: Tensor) -> None:
    if not bool(truth.any(-1).all()):
        raise InvalidArgument("truth", "silence", "speech")


def _speech_lack(package: str, metric: str) -> MissingPackage | None:
    if package_lack(package, metric) is None:
        return None
    return MissingPackage(f"{metric} needs {package}: pip install 'kintsugi-diffusion[{SPEECH}]'", name=package)
