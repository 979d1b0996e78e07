"""At which level was a sound clipped?"""

from __future__ import annotations

import math

from torch import Tensor

from ..errors import InvalidArgument

TOLERANCE = 1e-3  # of the peak: rounding to few bits, and the ripple that a good converter adds
LEAST = 3  # saturated samples that stand beside another one


def clip_levels(samples: Tensor) -> tuple[float, float]:
    """The lowest and the highest value of a clipped sound (C, T); minus or plus infinity on a side without clipping.

    Clipped tops are flat: neighbouring samples are at the peak, which hardly happens otherwise. Errors:
    :class:`InvalidArgument` for ``level`` where neither side has ``LEAST`` of them.
    """
    high, low = _top(samples), -_top(-samples)
    if math.isinf(high) and math.isinf(low):
        expected = "a level: no side of this sound has flat tops from which to estimate it"
        raise InvalidArgument("level", None, expected)
    return low, high


def _top(samples: Tensor) -> float:
    peak = float(samples.max())
    if peak <= 0:
        return math.inf
    flat = samples >= (1 - TOLERANCE) * peak
    beside = flat[..., 1:] & flat[..., :-1]
    return float(samples[flat].min()) if int(beside.sum()) >= LEAST else math.inf
