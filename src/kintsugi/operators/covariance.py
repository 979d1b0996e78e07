"""A stationary covariance of signals: diagonal in Fourier, with one spectrum for luma and one for chroma.

``C x`` multiplies the mean over channels (luma, the direction (1, ..., 1)/sqrt(C)) by ``S_0(|f|)`` and what is
orthogonal to it (chroma) by ``S_1(|f|)`` in the discrete Fourier domain, ``|f|`` in cycles per sample. Normalised so
that white noise of variance v has ``S = v``. Complex signals are twice as many real channels (``realview.py``).

Independent signals side by side on channels (the sources of a mixture) have a covariance each: :class:`SideBySide`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .base import spatial
from .realview import to_complex, to_real

Spectrum = Callable[[Tensor], Tensor]


def frequency_radius(size: Sequence[int], *, half: bool, like: Tensor) -> Tensor:
    """``|f|`` in cycles per sample on the grid of ``fftn`` (``rfftn`` with ``half``) of a signal of ``size``."""
    options = {"dtype": like.dtype, "device": like.device}
    axes = [torch.fft.fftfreq(n, **options) for n in size]
    if half:
        axes[-1] = torch.fft.rfftfreq(size[-1], **options)
    squares = torch.meshgrid(*(f**2 for f in axes), indexing="ij")
    return torch.stack(squares).sum(0).sqrt()


def half_weights(n: int) -> Tensor:
    """How many frequencies of ``fft`` each one of ``rfft`` of ``n`` samples stands for, itself and its mirror image."""
    weights = torch.full((n // 2 + 1,), 2.0, dtype=torch.float64)
    weights[0] = 1
    if n % 2 == 0:
        weights[-1] = 1
    return weights


@dataclass(frozen=True)
class StationaryCovariance:
    """``spectrum(radius) -> (2, *radius.shape)``, positive: luma and chroma variance at each frequency."""

    spectrum: Spectrum

    def __call__(self, x: Tensor) -> Tensor:
        """``C x`` for ``x`` of shape (B, C, *S), periodic."""
        if x.is_complex():
            return to_complex(self(to_real(x)))
        return self.multiply(x, self.values(x))

    def values(self, x: Tensor) -> Tensor:
        """The spectrum on the grid of ``rfftn`` of ``x`` (B, C, *S): (2, *half grid)."""
        return self.spectrum(frequency_radius(x.shape[2:], half=True, like=x))

    def root(self, x: Tensor) -> Tensor:
        """``C^{1/2} x``: turns white noise into a sample of N(0, C)."""
        return self.multiply(x, self.values(x).sqrt())

    def plus(self, variance: float) -> StationaryCovariance:
        """``C + variance I``."""
        return StationaryCovariance(lambda radius: self.spectrum(radius) + variance)

    @staticmethod
    def multiply(x: Tensor, values: Tensor) -> Tensor:
        """Multiply ``x`` by ``values`` (2, *half grid) in Fourier, luma by the first and chroma by the second."""
        dims = spatial(x)
        transform = torch.fft.rfftn(x, dim=dims)
        if x.shape[1] == 1:
            out = values[0] * transform
        else:
            luma = transform.mean(1, keepdim=True)
            out = values[1] * transform + (values[0] - values[1]) * luma
        return torch.fft.irfftn(out, s=x.shape[2:], dim=dims)


@dataclass(frozen=True, init=False)
class SideBySide(StationaryCovariance):
    """Independent signals on successive channels: ``parts`` are (number of channels, their covariance) in order.

    It has no luma and no chroma: what needs them raises :class:`InvalidArgument`, and operators solve for it in closed
    form where they keep the channels apart or add them up, by conjugate gradients elsewhere.
    """

    parts: tuple[tuple[int, StationaryCovariance], ...]

    def __init__(self, parts: Sequence[tuple[int, StationaryCovariance]]) -> None:
        super().__init__(_no_spectrum)
        object.__setattr__(self, "parts", tuple(parts))

    def __call__(self, x: Tensor) -> Tensor:
        return torch.cat([part(piece) for part, piece in self._split(x)], 1)

    def root(self, x: Tensor) -> Tensor:
        return torch.cat([part.root(piece) for part, piece in self._split(x)], 1)

    def plus(self, variance: float) -> SideBySide:
        return SideBySide([(channels, part.plus(variance)) for channels, part in self.parts])

    def channels(self, radius: Tensor) -> Tensor | None:
        """The spectrum of each channel, (C, *radius.shape), if they are all independent of each other; else None."""
        out = []
        for channels, part in self.parts:
            luma, chroma = part.spectrum(radius)
            if channels > 1 and not torch.allclose(luma, chroma, rtol=1e-6, atol=0):
                return None
            out += [luma] * channels
        return torch.stack(out)

    def _split(self, x: Tensor) -> list[tuple[StationaryCovariance, Tensor]]:
        wanted = [channels for channels, _ in self.parts]
        if x.shape[1] != sum(wanted):
            raise InvalidArgument("x", tuple(x.shape), f"{sum(wanted)} channels, those of {len(wanted)} sources")
        return [(part, piece) for (_, part), piece in zip(self.parts, x.split(wanted, 1), strict=True)]


def _no_spectrum(radius: Tensor) -> Tensor:
    raise InvalidArgument(
        "covariance", "that of several sources", "the covariance of a single signal, for this operator"
    )
