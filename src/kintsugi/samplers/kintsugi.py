"""The default: spectral-covariance guidance with a dial from the likeliest image to one with real texture.

The guidance is ``guidance/spectral.py``: one forward a level and no VJP. The solver is ``solvers/tempered.py``, and
``texture`` in [0, 1] turns all of its settings at once, with T_0, e_0, K_0 and l_0 tuned for texture 0:

    keep = correction = texture,    temperature = T_0 + (1 - T_0) texture,    first level = e_0 + (2 - e_0) texture,
    confidence = K_0 + (1 - K_0) texture,    last level = l_0^(1 - texture) l_1^texture

* texture 0: noise is drawn afresh at every level, less of it than the denoiser is told. The result is close to the
  posterior mean: the likeliest image, the highest PSNR, and as little invention as the model allows;
* texture 1: the second-order ODE from a higher level, whose samples have the spread, and so the texture, of the truth.

The run starts from the posterior mean under the model's data spectrum (a Wiener estimate, in which every measured
sample informs its neighbours), so that five levels from about the size of its error suffice; or from the problem's
guess and from the level of that one's error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from torch import Tensor

from ..guidance.spectral import SpectralCovariance
from ..noise import RowNoise
from ..priors.base import Prior
from ..problem import Problem
from ..solvers.tempered import Tempered
from .base import Report, Sampler, check_number, check_type, integrate
from .defaults import TEMPERATURE, tempered_defaults
from .schedule import Schedule
from .space import Range, Space

# At 5 steps all old noise is replaced at each level; at 100 two thirds stay, without which a network's overshoot beside
# strong edges grew from level to level (24.4 dB against 20.0 on parrots with 70 % missing, 100 steps).
FORGET = 8.0


@dataclass(frozen=True)
class Kintsugi(Sampler):
    """Kintsugi: spectral-covariance guidance, from the likeliest image (texture 0) to a sample (1); the default.

    D_y = D + C_eta A^T (A C_eta A^T + sigma_y^2)^{-1} (y - A D),  C_eta the measured covariance of x_0 - D.

    texture: 0 the likeliest image, 1 a sample with the texture of the real thing. eta: the first noise level. end:
    the last noise level before 0. temperature: how much of the noise that the denoiser expects is drawn at texture 0.
    confidence: what the variance of the measurement's noise is divided by, at texture 0, at all levels but the last.
    None for what was tuned for the noise and the number of steps; ``eta`` for the error of the problem's guess, if it
    has one. guidance: how accurately its systems are solved.

    Paper: this library, docs/mathematics.md.
    Cost: 1 forward a step, no VJP.
    Takes: any differentiable operator, linear or nonlinear, with or without noise: rounding, saturation and JPEG as the
    intervals that they state, any other nonlinear one through its derivative at D.
    Authors: 5 steps from the posterior mean under the data's spectrum; 10 or more at texture 1.
    """

    name: ClassVar[str] = "kintsugi"
    steadier: ClassVar[Mapping[str, str]] = {"texture": "smaller", "eta": "smaller"}
    space: ClassVar[Space] = {
        "texture": Range(0.0, 1.0),
        "temperature": Range(0.0, 1.0),
        "eta": Range(0.2, 5.0, log=True),
        "end": Range(0.005, 0.1, log=True),
        "confidence": Range(1.0, 16.0, log=True),
    }

    texture: float = 0.0
    eta: float | None = None
    end: float | None = None
    temperature: float | None = None
    confidence: float | None = None
    guidance: SpectralCovariance = field(default_factory=SpectralCovariance)

    def __post_init__(self) -> None:
        check_number("texture", self.texture, lambda texture: 0 <= texture <= 1, "a number from 0 to 1")
        if self.temperature is not None:
            check_number("temperature", self.temperature, lambda t: 0 <= t <= 1, "a number from 0 to 1, or None")
        if self.end is not None:
            check_number("end", self.end, lambda end: 0 < end < math.inf, "a finite noise level above 0, or None")
        if self.eta is not None:
            least = self.end or 0.0
            check_number("eta", self.eta, lambda eta: least < eta < math.inf, "a noise level above the last, or None")
        if self.confidence is not None:
            check_number("confidence", self.confidence, lambda k: 1 <= k < math.inf, "a number of at least 1, or None")
        check_type("guidance", self.guidance, SpectralCovariance, "a SpectralCovariance")

    def check(self, prior: Prior, problem: Problem) -> None:
        self.guidance.check(prior, problem)

    def resolved(self, problem: Problem, steps: int) -> dict[str, Any]:
        tuned = tempered_defaults(problem, steps)
        end = self.end or tuned.end ** (1 - self.texture) * tuned.finest**self.texture
        nearest = tuned.eta if problem.guess_error is None else max(problem.guess_error, 2 * end)
        return {
            "texture": self.texture,
            "temperature": TEMPERATURE if self.temperature is None else self.temperature,
            "eta": self.eta or nearest + (2 - nearest) * self.texture,
            "end": end,
            "confidence": self.confidence or tuned.confidence,
        }

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        _, coldest, eta, end, surest = self.resolved(problem, steps).values()
        temperature, confidence = (likeliest + (1 - likeliest) * self.texture for likeliest in (coldest, surest))
        schedule = Schedule(start="gaussian", eta=eta, end=end, scale=temperature)
        guidance = replace(self.guidance, confidence=confidence, last=schedule.levels(prior, steps)[-2])
        solver = Tempered(keep=self.texture, temperature=temperature, correction=self.texture, forget=FORGET)
        return integrate(prior, problem, guidance, solver, schedule, steps, noise, report)
