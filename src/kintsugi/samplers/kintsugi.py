"""The default: spectral-covariance guidance with a dial from the likeliest image to one with real texture.

The guidance is ``guidance/spectral.py``. ``texture`` turns one solver into another:

* 0: the reverse SDE, first order. In few steps its samples are shrunk towards the posterior mean, which is the
  likeliest image and has the highest PSNR;
* 1: the ODE, second-order multistep, whose samples have the spread, and so the texture, of the truth;
* between: ``Multistep(churn=1 - texture, correction=texture)``.

The run starts from the posterior mean under the model's data spectrum (a Wiener estimate: every measured sample
informs its neighbours) at a noise level that covers that estimate's error, so a hole starts from noise and a fine
random mask close to the data: see :func:`first_level`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..errors import InvalidArgument
from ..guidance.spectral import SpectralCovariance
from ..noise import RowNoise
from ..priors.base import Prior
from ..problem import Problem
from ..solvers.multistep import Multistep
from .base import Report, Sampler, integrate
from .schedule import Schedule


@dataclass(frozen=True)
class Kintsugi(Sampler):
    """The default: spectral-covariance guidance; one forward a step, no VJP; ``texture`` from 0 to 1.

    texture: 0 the likeliest image, 1 a sample with the texture of the real thing. eta: the first noise level, None
    for an automatic choice. end: the last noise level before 0.
    """

    name: ClassVar[str] = "kintsugi"

    texture: float = 0.0
    eta: float | None = None
    end: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.texture <= 1:
            raise InvalidArgument("texture", self.texture, "a number from 0 to 1")
        if self.eta is not None and not self.eta > self.end:
            raise InvalidArgument("eta", self.eta, f"a noise level above the last, {self.end:g}")

    def check(self, prior: Prior, problem: Problem) -> None:
        SpectralCovariance().check(prior, problem)

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        eta = self.eta or 2.0
        schedule = Schedule(start="gaussian", eta=eta, end=self.end, grid="karras")
        solver = Multistep(churn=1 - self.texture, correction=self.texture)
        return integrate(prior, problem, SpectralCovariance(), solver, schedule, steps, noise, report)
