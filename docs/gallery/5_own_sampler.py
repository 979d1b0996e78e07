"""
Your own sampler
================

A method in fifty lines, complete: settings, a check before any network runs, and a loop. It is then held to a
posterior that is known exactly.

The method is *split Gibbs by levels*: at each noise level a clean signal is drawn from an approximation of
``p(x | z, y)``, and noise is added for the next level. With ``p(x | z)`` taken as ``N(D(z), r^2 I)``,
``r^2 = v eta^2 / (v + eta^2)`` and v the variance of the data, a draw is a perturbed solution::

    x = x~ + r^2 A^T (r^2 A A^T + sigma^2 I)^{-1} (y~ - A x~),    x~ from N(D, r^2 I),    y~ from N(y, sigma^2 I)
"""

# %%
# The method
# ----------
#
# A sampler sees the model as ``prior.denoise(z, eta)``, the measurement as ``A``, its adjoint and
# ``operator.solve(r2, sigma2, u)``, and random numbers as ``noise``, of which each row of a batch has its own stream.
# The docstring's ``Paper:``, ``Cost:``, ``Takes:`` and ``Authors:`` are what ``kintsugi samplers`` prints.

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

import kintsugi
from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise
from kintsugi.operators import LinearOperator
from kintsugi.priors import Prior
from kintsugi.samplers import Sampler, Schedule
from kintsugi.samplers.base import march, start_at


@dataclass(frozen=True)
class SplitGibbs(Sampler):
    """Split Gibbs by levels: a draw of the clean signal given the data at each noise level, and new noise.

    floor: the least noise of the measurement that is assumed. schedule: where it starts, and the levels.

    Paper: none; an example of the documentation, in the spirit of DAPS (Zhang et al., CVPR 2025).
    Cost: 1 forward a step, no VJP.
    Takes: any linear operator, with or without noise.
    Authors: 20 to 100 steps from pure noise.
    """

    name: ClassVar[str] = "splitgibbs"
    floor: float = 1e-3
    schedule: Schedule = field(default_factory=lambda: Schedule(start="zero", eta=20.0, end=0.02))

    def check(self, prior: Prior, problem: kintsugi.Problem) -> None:
        if not isinstance(problem.operator, LinearOperator):
            raise InvalidArgument("operator", type(problem.operator).__name__, "a linear operator")

    def run(
        self, prior: Prior, problem: kintsugi.Problem, steps: int, noise: RowNoise, report: Callable[[int, int], None]
    ) -> Tensor:
        operator, y = problem.operator, problem.y
        sigma = max(problem.noise, self.floor)
        levels = self.schedule.levels(prior, steps)
        z = start_at(prior, problem, self.schedule.start, levels[0], noise)

        def step(z: Tensor, a: float, c: float, state: None) -> tuple[Tensor, None]:
            r2 = prior.data_variance * a**2 / (prior.data_variance + a**2)
            x = prior.denoise(z, torch.full((len(z),), a, dtype=z.dtype, device=z.device))
            x = x + r2**0.5 * noise.normal_like(x)
            residual = y + sigma * noise.normal_like(y) - operator(x)
            x = x + r2 * operator.adjoint(operator.solve(r2, sigma**2, residual))
            return x + c * noise.normal_like(x), None

        return march(levels, z, step, None, noise, report)


# %%
# Held to an oracle
# -----------------
#
# An oracle is a prior, a measurement and the posterior, known in closed form: here images with the spectrum of
# photographs, of which some pixels are seen in noise. Distances are in the posterior's standard deviation: the error of
# the mean (0 is right), the spread (1 is right), and the sliced Wasserstein distance, with what exact draws have.

oracle = kintsugi.oracles.oracle("gaussian-mask-noisy")
print(f"{'':12} steps   mean  spread  sliced  (exact draws)")
distances = {}
for method in (SplitGibbs(), "ddnm", "dps"):
    for steps in (5, 20, 100):
        drawn = kintsugi.restore(oracle.problem, oracle.prior, method, steps=steps, samples=128, tile=None)
        found = distances[drawn.sampler.name, steps] = kintsugi.oracles.distance(drawn.samples[0], oracle)
        print(
            f"{drawn.sampler.name:12} {steps:5} {found.mean:6.2f} {found.spread:7.2f} {found.sliced:7.2f}"
            f"  ({found.sliced_floor:.2f})"
        )

# %%
# With more steps its draws approach exact ones, without a gradient of the network. This page fails to build if that
# stops being true:

many = distances["splitgibbs", 100]
assert many.mean < 0.25
assert 0.95 < many.spread < 1.1
assert many.sliced < 0.35 < distances["ddnm", 100].sliced

# %%
# And on a photograph
# -------------------
#
# The same object restores pictures; it need not be registered anywhere. Its samples have texture, so their mean is the
# better guess of the truth and a single one the livelier picture.

import matplotlib.pyplot as plt

from kintsugi.images import read_picture
from kintsugi.operators import Mask

photo = read_picture(kintsugi.data_path("lighthouse")).pixels[..., 16:112, 48:144].contiguous()
keep = torch.rand(96, 96, generator=torch.Generator().manual_seed(0)) < 0.3
problem = kintsugi.Problem.simulate(photo[None], Mask(keep, photo.shape), noise=0.05)
result = kintsugi.restore(problem, sampler=SplitGibbs(), steps=20, samples=4)


def psnr(x: Tensor) -> float:
    """In dB, of a range of 2."""
    return float(-10 * ((x - photo).square().mean() / 4).log10())


panels = {"measured": problem.y[0], "a sample": result.samples[0, 0], "mean of 4": result.mean[0], "truth": photo}
figure, axes = plt.subplots(1, 4, figsize=(10, 2.8), layout="constrained")
for axis, (title, picture) in zip(axes, panels.items(), strict=True):
    axis.imshow((picture.clamp(-1, 1) / 2 + 0.5).permute(1, 2, 0))
    axis.set_title(title if title in ("measured", "truth") else f"{title}, {psnr(picture):.1f} dB", fontsize=10)
    axis.axis("off")

# %%
# A method of yours that proves good belongs into the library: :doc:`/contributing` says how.
