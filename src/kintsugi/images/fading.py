"""How faded is a picture? Dyes that lost density, paper that yellowed, a scan through haze.

Per channel c a faded picture is, up to noise, the original with less contrast about another level:

    y_c = g_c x_c + o_c,    x in [-1, 1],    0 < g_c <= 1

The darkest and lightest parts of most photographs are near black and near white in every channel. So where a channel of
the faded picture ends, at ``low_c`` and ``high_c``, is where -1 and 1 have gone: ``g = (high - low) / 2`` and
``o = (high + low) / 2``. That is what photographers call automatic levels; here it is the measurement, whose rounding
and noise, ``1 / g`` times as strong in the original, are left to the prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InvalidArgument
from .picture import Picture

ENDS = 0.002  # share of the pixels beyond either end
LEAST = 0.02  # of a gain: less contrast than that is a flat picture


@dataclass(frozen=True)
class Fading:
    """``gains`` (each above 0, at most 1) and ``offsets`` of the channels: red, green, blue; one number is for all."""

    gains: tuple[float, ...]
    offsets: tuple[float, ...]

    @classmethod
    def by(cls, share: float) -> Fading:
        """``share`` of the density is lost, from 0 to below 1: white stays, and black becomes grey.

        >>> Fading.by(0.4)
        Fading(gains=(0.6,), offsets=(0.4,))
        """
        if not 0 <= share <= 1 - LEAST:
            raise InvalidArgument("fade", share, f"a share of the contrast from 0 to {1 - LEAST:g}")
        return cls((1 - share,), (share,))

    def of(self, channels: int) -> tuple[tuple[float, ...], Tensor]:
        """The gains, and the offsets (C, 1, 1), of so many channels."""
        gains = self.gains * channels if len(self.gains) == 1 else self.gains
        offsets = self.offsets * channels if len(self.offsets) == 1 else self.offsets
        if not len(gains) == len(offsets) == channels:
            raise InvalidArgument("fade", self, f"gains and offsets of {channels} channels")
        return gains, torch.tensor(offsets, dtype=torch.float32)[:, None, None]

    def told(self) -> str:
        """In words: the contrast that is left, channel by channel."""
        left = ", ".join(f"{round(100 * gain)} %" for gain in self.gains)
        return f"contrast left: {left}" + (" (red, green, blue)" if len(self.gains) == 3 else "")


def estimate_fading(picture: Picture) -> Fading:
    """From the ends of the histogram of each channel, of 3 x 3 means: single noisy pixels are neither black nor white.

    Errors: :class:`InvalidArgument` for ``input`` where a channel is flat.
    """
    pixels = picture.pixels
    smooth = F.avg_pool2d(pixels[None], 3, 1)[0] if min(pixels.shape[1:]) >= 3 else pixels
    gains, offsets = [], []
    for channel in smooth.flatten(1).double():
        ends = channel.sort().values
        beyond = round(ENDS * (len(ends) - 1))
        low, high = float(ends[beyond]), float(ends[-1 - beyond])
        if high - low < 2 * LEAST:
            raise InvalidArgument(
                "input", "a picture with a channel of one level", "a faded one, with some contrast left"
            )
        gains.append(min(1.0, (high - low) / 2))
        offsets.append((high + low) / 2)
    return Fading(tuple(gains), tuple(offsets))
