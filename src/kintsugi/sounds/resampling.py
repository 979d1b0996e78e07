"""Another sampling rate, by a polyphase filter."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import InvalidArgument


def resample(x: Tensor, rate: int, new: int) -> Tensor:
    """``x`` (..., T), sampled at ``rate`` Hz, at ``new`` Hz: (..., ceil(T new / rate)), in float32.

    By :func:`scipy.signal.resample_poly`, whose low-pass filter has no delay; what lies above half the lower rate is
    lost. Beyond its ends a sound is taken to go on as it is there.
    """
    from scipy.signal import resample_poly

    for name, value in (("rate", rate), ("new", new)):
        if value < 1:
            raise InvalidArgument(name, value, "a sampling rate of at least 1 Hz")
    if rate == new:
        return x.float()
    divisor = math.gcd(rate, new)
    out = resample_poly(x.double().cpu().numpy(), new // divisor, rate // divisor, axis=-1, padtype="line")
    return torch.from_numpy(out).to(x.device, torch.float32)
