"""Default settings of samplers for sounds, where those for pictures do not suit them.

Noise levels are in units of the data. Photographs have a standard deviation of 0.5 and rounding of 0.008; music that
was brought to its full level has one of 0.2, and what lies 60 dB below its peaks is heard. So runs begin and end lower.
Those of `kintsugi` were chosen by a grid of first and last levels on eight held-out training sounds with the model
`sound`, by SI-SDR and, of bandwidth, by the spectral distance; those of others on noise, gaps and bandwidth with a
small model.

Gaps begin with a good guess (``prediction.py``), and so low, `kintsugi` at the size of its error: from higher levels
the model forgets the phases of steady tones (20 ms, 5 steps: 22.6 dB from 0.2, 26.2 so). What was clipped has a poor
one, the level itself, and begins higher.
"""

from __future__ import annotations

from typing import Any

from ..samplers.schedule import Schedule


def sound_defaults(sampler: str, steps: int, task: str) -> dict[str, Any]:
    """Settings by the name of a sampler, none for those that have none of their own for sounds."""
    few, gap = steps < 10, task == "gap"
    end = 0.005 if few and not gap else 0.002
    default: dict[str, dict[str, Any]] = {
        "gap": {"end": end}, "denoise": {}, "declip": {"eta": 0.8 if few else 0.4, "end": end},
        "bandwidth": {"eta": 0.1, "end": 0.005}, "dereverb": {"eta": 0.4, "end": 0.002},
        "mulaw": {"eta": 0.1, "end": 0.002}, "quantise": {"eta": 0.1, "end": 0.002},
    }  # fmt: skip
    known: dict[str, dict[str, Any]] = {
        "kintsugi": default.get(task, {"eta": 0.2, "end": end}),
        "ddnm": {"schedule": Schedule(start="pinv", eta=0.02 if gap else 0.3, end=end)},
        "cpigdm": {"tau": 0.004 if gap else 0.05, "w": 600.0},
        "reddiff": {"lr": 0.001 if gap else 0.02, "lam": 0.05},
    }
    return known.get(sampler, {})
