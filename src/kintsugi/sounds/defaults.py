"""Default settings of samplers for sounds, where those for pictures do not suit them.

Noise levels are in units of the data. Photographs have a standard deviation of 0.5 and rounding of 0.008; music that
was brought to its full level has one of 0.2, and what lies 60 dB below its peaks is heard. So runs begin and end lower.
Chosen by a grid on held-out training sounds (noise, gaps, bandwidth; 5 and 20 steps) with a small model.
"""

from __future__ import annotations

from typing import Any

from ..samplers.schedule import Schedule


def sound_defaults(sampler: str, steps: int) -> dict[str, Any]:
    """Settings by the name of a sampler, none for those that have none of their own for sounds."""
    end = 0.005 if steps < 10 else 0.002
    known: dict[str, dict[str, Any]] = {
        "kintsugi": {"eta": 0.2, "end": end},
        "ddnm": {"schedule": Schedule(start="pinv", eta=0.3, end=end)},
        "cpigdm": {"tau": 0.05, "w": 600.0},
        "reddiff": {"lr": 0.02, "lam": 0.05},
    }
    return known.get(sampler, {})
