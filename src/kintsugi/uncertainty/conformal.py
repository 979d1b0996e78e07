"""Conformal intervals: a guarantee that needs no belief in the model.

Given N held-out pictures with their restorations, and a new one, all exchangeable (drawn alike, degraded alike,
restored alike), the interval of a pixel is ``m ± q (s + FLOOR)`` with one number q for all. Its score is what q would
have to be, ``|x_0 - m| / (s + FLOOR)``. Two promises about the new picture, over the random choice of all N + 1:

* pixels (``share=None``; conformal risk control, Angelopoulos et al., 2022): the loss of a picture is the share of its
  pixels outside, which falls as q grows. q is the smallest with ``(N R(q) + 1) / (N + 1) <= 1 - level`` for the mean
  loss R over the N pictures. Then the expected share of the new picture's pixels inside is at least ``level``:
  marginal over pictures and pixels. It needs ``N >= level / (1 - level)``, 9 pictures for 90 %;
* pictures (``share`` given; split conformal, Vovk et al., 2005): q is the ``ceil((N + 1) level)``-th smallest of the q
  that would cover ``share`` of the pixels of each picture. With probability at least ``level`` at least ``share`` of
  the new picture's pixels are inside.

Neither holds for a certain picture, for the pixels of an edge, or for pictures of another kind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ..errors import InvalidArgument
from .intervals import Intervals, check_level, check_samples

FLOOR = 1e-3  # an eighth of a grey level of 255, so that pixels of which the samples agree have a score


@dataclass(frozen=True)
class Conformal:
    """``m ± scale (s + FLOOR)``, with the scale that ``images`` pictures ask for at ``level`` and ``share``."""

    level: float
    scale: float
    images: int
    share: float | None = None

    def intervals(self, samples: Tensor) -> Intervals:
        """For ``samples`` (B, n, *S), drawn as those were that ``scale`` comes from."""
        check_samples(samples, 2, "intervals")
        mean, half = samples.mean(1), self.scale * (samples.std(1) + FLOOR)
        what = "of the pixels, on average" if self.share is None else f"of pictures, for {self.share:.0%} of the pixels"
        note = f"conformal: at least {self.level:.1%} {what}, for pictures exchangeable with the {self.images} given"
        return Intervals(mean - half, mean + half, self.level, (note,))


def conformal(samples: Tensor, truth: Tensor, level: float = 0.9, *, share: float | None = None) -> Conformal:
    """q from ``samples`` (N, n, *S) of N problems and their ``truth`` (N, *S); see above for ``level`` and ``share``.

    Errors: :class:`InvalidArgument` for too few pictures.
    """
    check_level(level)
    check_samples(samples, 2, "conformal intervals")
    if truth.shape != samples[:, 0].shape:
        raise InvalidArgument("truth", tuple(truth.shape), f"the shape {tuple(samples[:, 0].shape)}")
    if share is not None and not 0 < share <= 1:
        raise InvalidArgument("share", share, "a number from 0 to 1, or None")
    n = len(samples)
    least = math.ceil(round(level / (1 - level), 9))
    if n < least:
        raise InvalidArgument("samples", f"{n} pictures", f"at least {least} for {level:g}")
    scores = ((truth - samples.mean(1)).abs() / (samples.std(1) + FLOOR)).flatten(1).double().sort(1).values
    pixels = scores.shape[1]
    if share is None:
        # At most so many pixels of all may lie outside.
        outside = math.floor(round(((1 - level) * (n + 1) - 1) * pixels, 6))
        scale = scores.flatten().sort().values[n * pixels - 1 - max(outside, 0)]
        return Conformal(level, float(scale), n)
    each = scores[:, math.ceil(round(share * pixels, 6)) - 1].sort().values
    return Conformal(level, float(each[math.ceil(round((n + 1) * level, 9)) - 1]), n, share)
