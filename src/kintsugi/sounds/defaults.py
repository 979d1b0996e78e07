"""Default settings of samplers for sounds, where those for pictures do not suit them.

Noise levels are in units of the data. Photographs have a standard deviation of 0.5 and rounding of 0.008; music that
was brought to its full level has one of 0.2, and what lies 60 dB below its peaks is heard. So runs begin and end lower.
All were chosen with the model `sound` on held-out training sounds, by SI-SDR and, of bandwidth, by the spectral
distance: those of `kintsugi` on eight of them, those of the others on two to four, task by task (gaps: with a smaller
model).

Gaps begin with a good guess (``prediction.py``), and so low, `kintsugi` at the size of its error: from higher levels
the model forgets the phases of steady tones (20 ms, 5 steps: 22.6 dB from 0.2, 26.2 so). What was clipped has a poor
one, the level itself, and begins higher.

The noise of a measurement decides the levels of methods that give it little weight at low ones: below them z holds
what is left of that noise, which no level removes. And C-PiGDM wants its Jacobian there, and is better, cheaper and
stabler without it where there is next to no noise: its guidance must then be so strong that the errors of a network's
Jacobian are multiplied by hundreds. RED-diff is stepped by gradient descent where the operator's gain is known to be at
most 1; Adam's steps, which have the same length in every sample, would be noise in the quiet ones.
"""

from __future__ import annotations

from typing import Any

from ..samplers.schedule import Schedule


def sound_defaults(sampler: str, steps: int, task: str, noise: float = 0.0) -> dict[str, Any]:
    """Settings by the name of a sampler, none for those that have none of their own for sounds.

    ``noise``: of the measurement, in units of the data.
    """
    known = {"kintsugi": _kintsugi, "ddnm": _ddnm, "cpigdm": _cpigdm, "reddiff": _reddiff}
    return known[sampler](steps < 10, task, noise) if sampler in known else {}


def _kintsugi(few: bool, task: str, noise: float) -> dict[str, Any]:
    end = 0.005 if few and task != "gap" else 0.002
    temperature = 0.25 if few and noise <= 0.01 else 0.35  # with which the others were chosen
    own: dict[str, float] = {
        "gap": {"end": end}, "denoise": {}, "declip": {"eta": 0.8 if few else 0.4, "end": end},
        "bandwidth": {"eta": 0.1, "end": 0.005}, "dereverb": {"eta": 0.4, "end": 0.002},
        "mulaw": {"eta": 0.1, "end": 0.002}, "quantise": {"eta": 0.1, "end": 0.002},
    }.get(task, {"eta": 0.2, "end": end})  # fmt: skip
    return own | {"temperature": temperature}


def _ddnm(few: bool, task: str, noise: float) -> dict[str, Any]:
    if task == "gap":
        return {"schedule": Schedule(start="pinv", eta=0.02, end=0.002)}
    end = max(0.005 if few else 0.002, noise)
    return {"schedule": Schedule(start="pinv", eta=max(0.3, 2 * end), end=end)}


def _cpigdm(few: bool, task: str, noise: float) -> dict[str, Any]:
    if task == "gap":
        return {"tau": 0.004, "w": 600.0}
    if task == "denoise":
        tau = min(max(3 * noise, 0.06), 0.12)
        return {"tau": tau if few else 2.5 * tau, "w": min(max(12 / max(noise, 1e-3), 100.0), 1000.0)}
    if task in ("declip", "mulaw", "quantise"):  # nonlinear: the residual relaxes, so it may be as strong as it likes
        return {"tau": 0.1 if task == "declip" else 0.03, "w": 3000.0 if few else 10000.0}
    return {"tau": 0.6, "w": 500.0 if few else 2000.0, "jacobian": False}


def _reddiff(few: bool, task: str, noise: float) -> dict[str, Any]:
    low = Schedule(eta=0.1, end=0.01)
    noisy = max(noise, 0.005)
    fine = {"optimizer": "sgd", "lr": 0.7, "lam": 0.25, "schedule": low}
    settings: dict[str, dict[str, Any]] = {
        "gap": {"lr": 0.001, "lam": 0.05},
        "denoise": {"optimizer": "sgd", "lr": 0.1, "lam": 4.0, "schedule": Schedule(eta=2 * noisy, end=0.3 * noisy)},
        "declip": {"optimizer": "sgd", "lr": 0.45, "lam": 1.0, "schedule": low},
        "bandwidth": {"optimizer": "sgd", "lr": 0.9, "lam": 0.05, "schedule": Schedule(eta=0.4, end=0.01)},
        "hum": fine, "mulaw": fine, "quantise": fine,
    }  # fmt: skip
    return settings.get(task, {"lr": 0.003, "lam": 0.05, "schedule": low})
