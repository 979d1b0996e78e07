"""Default settings, chosen on held-out training images by ``benchmarks/tune.py``; the tables are in docs/samplers.md.

They depend on the problem only through its noise, and on the number of steps.
"""

from __future__ import annotations

import math

from ..problem import Problem
from .schedule import Schedule


def conjugate_defaults(name: str, problem: Problem, steps: int) -> tuple[float, float]:
    """``(w, tau)`` of the conjugate integrators."""
    flow = name == "cpigfm"
    w = 15.0 * max(1.0, math.sqrt(steps / 5))
    return (w, 0.6) if not flow else (2 * w, 0.75)


def pseudo_inverse_defaults(name: str, problem: Problem, steps: int) -> tuple[float, float]:
    """``(w, tau)`` of pseudo-inverse guidance."""
    return (4.0, 0.6) if name == "pigdm" else (8.0, 0.75)


def null_space_schedule(problem: Problem, steps: int) -> Schedule:
    """Where DDNM starts and ends."""
    return Schedule(start="pinv", eta=2.0, end=0.02, grid="karras")
