"""Default settings, chosen on held-out training images by a grid (docs/samplers.md) before ``kintsugi tune``.

What ``kintsugi tune`` finds goes into presets (:mod:`kintsugi.presets`), and these stay as they are. A setting was
tuned at a few numbers of steps and is interpolated between them, linearly in the log of the steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..operators.base import LinearOperator
from ..problem import Problem
from .schedule import Schedule

# Steps, then (w, tau) at each.
_TUNED_AT = (3, 5, 20)
_PSEUDO_INVERSE = {
    "cpigdm": ((10.0, 0.6), (15.0, 0.6), (40.0, 0.6)),
    "cpigfm": ((20.0, 0.65), (25.0, 0.65), (80.0, 0.65)),
    "pigdm": ((8.0, 0.4), (10.0, 0.5), (20.0, 0.6)),
    "pigfm": ((20.0, 0.65), (20.0, 0.65), (40.0, 0.65)),
}


def pseudo_inverse_defaults(name: str, problem: Problem, steps: int) -> tuple[float, float]:
    """``(w, tau)`` of pseudo-inverse guidance, with and without the conjugate transform."""
    w, tau = zip(*_PSEUDO_INVERSE[name], strict=True)
    at = np.log(steps)
    knots = np.log(_TUNED_AT)
    # With noise a lower start is as good for deblurring and better for denoising (30.2 against 30.1 dB at 5 steps).
    noisy = name == "cpigdm" and problem.noise > 0
    return float(np.exp(np.interp(at, knots, np.log(w)))), float(np.interp(at, knots, tau)) - 0.1 * noisy


def null_space_schedule(problem: Problem, steps: int) -> Schedule:
    """Where DDNM starts and ends; with noise it may start lower, since the pseudo-inverse is not exact anyway."""
    return Schedule(start="pinv", eta=5.0 if problem.noise == 0 else 2.0, end=0.1 if steps <= 5 else 0.02)


# Less noise than a network is told is what no training shows it, and its answer in smooth places is then a matter of
# luck: from 0.35 down one that was trained longer covered skies with a lattice (4x, 5 steps); from 0.45 up none did.
# PSNR hardly depends on it (24 crops of Kodak, noiseless: 27.46 dB at 0.25, 27.48 at 0.45 and 0.55).
TEMPERATURE = 0.55

# A measurement with less noise than this (about one grey level of 255) is as good as exact for the choice of settings.
_NOTICEABLE = 0.01


class Tempered(NamedTuple):
    """Settings of the default sampler at texture 0, beside its temperature; ``finest``: the last level at texture 1."""

    eta: float
    end: float
    confidence: float
    finest: float


def tempered_defaults(problem: Problem, steps: int) -> Tempered:
    """By the noise of the measurement and the number of steps.

    Where the whole signal is seen in noise (denoising), each level pools the measurement with z, which was made of the
    same measurement. Near the end z would be taken for much the better of the two, and the noise be counted twice and
    more: from 0.2 dB lost at 5 steps to 1 dB at 20. So the levels stay above that noise, where z has little weight.
    """
    noisy, operator = problem.noise > _NOTICEABLE, problem.operator
    ends = (0.04, 0.04, 0.04, 0.03, 0.02) if noisy else (0.04, 0.04, 0.015, 0.012, 0.01)
    at = np.log(steps)
    finest = float(np.interp(at, np.log((1, 3, 5, 10, 20)), ends))
    # Noise that the estimate keeps takes a few levels to remove: with one or two there is no time for it.
    confidence = float(np.interp(at, np.log((2, 3, 5)), (1.0, 2.0, 4.0 if noisy else 2.0)))
    if isinstance(operator, LinearOperator) and operator.scalar is not None:
        seen = problem.noise / operator.scalar**0.5
        return Tempered(max(0.7, 8 * seen), max(finest, 3 * seen), confidence, finest)
    return Tempered(0.7, finest, confidence, finest)
