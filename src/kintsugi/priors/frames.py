"""Sounds as pictures: the short-time Fourier transform in front of a network, and back.

A network of waveforms would have to learn what a frequency is before anything else. Here it sees frames of ``frame``
samples, every half frame one, each multiplied by the square root of a Hann window and Fourier transformed: a tight
frame, in which white noise is white and a sound is as large as its coefficients. The bins 0 to frame / 2 - 1 become the
rows of a picture, the frames its columns, real and imaginary parts its channels; the highest bin, half the sampling
rate, is real as the lowest is, and becomes its imaginary part. Two changes make neighbours alike, as convolutions want
them:

* the phase is counted from the middle of each frame and turned by ``-2 pi k n hop / frame`` (bin k, frame n), so that
  a steady tone in the middle of a bin does not turn at all from frame to frame;
* coefficients are divided by ``sqrt(frame) / 2``, which makes the real and the imaginary part of white noise of
  variance one have variance one.

The way back is the adjoint, with each sample's total window divided out.

The coefficients of a note are a hundred times those between its partials, and it matters where on the scale they lie.
So the network is also shown each coefficient c as ``c / sqrt(1 + |c|)``, and the place of its row, linear and
logarithmic.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Frames(nn.Module):
    """``analyse``: (B, C, T) to (B, 2C, frame / 2, T / hop + 1), ``hop`` half a ``frame``; ``synthesise``: back."""

    window: Tensor

    def __init__(self, frame: int) -> None:
        super().__init__()
        self.frame, self.hop = frame, frame // 2
        self.register_buffer("window", torch.hann_window(frame).sqrt(), persistent=False)

    def analyse(self, x: Tensor) -> Tensor:
        """Real and imaginary parts of ``x`` (B, C, T), T a multiple of hop; beyond its ends a sound is silent."""
        flat = x.flatten(0, 1).float()
        full = torch.stft(flat, self.frame, self.hop, window=self.window, center=True, pad_mode="constant",
                          return_complex=True)  # fmt: skip
        lowest = torch.complex(full[:, :1].real, full[:, -1:].real)
        packed = torch.cat((lowest, full[:, 1:-1]), 1)
        parts = torch.view_as_real(packed * self._turn(packed)) * (2 / self.frame**0.5)
        return parts.unflatten(0, x.shape[:2]).movedim(-1, 2).flatten(1, 2)

    def see(self, x: Tensor) -> Tensor:
        """What the network is shown of ``x`` (B, C, T): (B, 4C + 2, frame / 2, T / hop + 1)."""
        h = self.analyse(x)
        size = h.unflatten(1, (-1, 2)).square().sum(2, keepdim=True).sqrt()
        small = (h.unflatten(1, (-1, 2)) / (1 + size).sqrt()).flatten(1, 2)
        place = torch.linspace(0, 1, h.shape[2], device=h.device)
        places = torch.stack((2 * place - 1, (1 + place * h.shape[2]).log2() / 4 - 1))[None, :, :, None]
        return torch.cat((h, small, places.expand(len(h), -1, -1, h.shape[3])), 1)

    def synthesise(self, h: Tensor, length: int) -> Tensor:
        """(B, C, length) from what :meth:`analyse` returned, or from any coefficients: then the closest sound."""
        parts = h.float().unflatten(1, (-1, 2)).movedim(2, -1).flatten(0, 1).contiguous()
        packed = torch.view_as_complex(parts) * (self.frame**0.5 / 2)
        packed = packed * self._turn(packed)
        lowest, highest = (part.to(packed) for part in (packed[:, :1].real, packed[:, :1].imag))
        full = torch.cat((lowest, packed[:, 1:], highest), 1)
        out = torch.istft(full, self.frame, self.hop, window=self.window, center=True, length=length)
        return out.unflatten(0, (len(h), -1))

    def _turn(self, packed: Tensor) -> Tensor:
        """``exp(-i pi k (n + 1))``: 1 or -1, by which the phases are turned; (bins, frames).

        A frame's Fourier transform counts phases from its first sample; from the middle, half a frame later, they are
        multiplied by ``exp(i pi k)``, which is ``exp(-i pi k)``, and frame n turns back by ``exp(-i pi k n)``.
        """
        bins, frames = (torch.arange(n, device=packed.device) for n in packed.shape[-2:])
        return 1.0 - 2.0 * ((bins[:, None] * (frames + 1)) % 2).to(packed.real.dtype)
