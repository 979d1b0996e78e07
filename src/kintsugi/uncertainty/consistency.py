"""Where the samples contradict the measurement.

The residual of a sample is ``r_i = y - A x_i``. In units of the noise, each reading of a sample of the true posterior
has about unit size where the noise is what it was said to be:

    residual = sqrt(mean_i |y - A x_i|^2) / sigma        (B, *out_shape)

Readings are not pixels. Carried back by the pseudo-inverse, a residual becomes the change ``A^+ r_i`` that would make
the sample agree; pure noise alone would ask for ``sigma A^+ n``. The map of the pixels is the ratio of the two,

    consistency = sqrt(mean_i |A^+ (y - A x_i)|^2) / sd(sigma A^+ n)        (B, *S)

1 is that of the truth; well above, the sample contradicts the data there (a wrong kernel, a wrong noise level, a
sampler that ignores y); well below, it follows the noise. Pixels that no reading depends on have nothing to contradict,
and are 0. Without noise there is no unit: both are then in the units of the data, and 0 is perfect agreement.

The denominator is ``diag(A^+ A^{+T})^{1/2}``, estimated with ``PROBES`` vectors of random signs (Hutchinson), to about
9 % of a standard deviation, and exactly where A^+ A^{+T} is diagonal, as for masks. Nonlinear A: its derivative at the
mean of the samples. Noise that is not white: what the samplers see.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..problem import Problem
from .grid import as_signal, check_rows, linear_at, on_grid, row_problem
from .intervals import check_samples

PROBES = 64
TINY = 1e-4  # of the largest standard deviation of A^+ n: pixels below are not measured


def residual(problem: Problem, samples: Tensor) -> Tensor:
    """``sqrt(mean_i |y - A x_i|^2)`` of each reading, over the noise if there is any: (B, *out_shape), real."""
    check_samples(samples, 1)
    check_rows(problem, samples)
    rows = []
    for i in range(len(samples)):
        alone = row_problem(problem, i)
        square = sum(_residual(alone, x).abs().square() for x in samples[i])
        assert isinstance(square, Tensor)
        rows.append((square / samples.shape[1]).sqrt() / (alone.noise or 1.0))
    return torch.cat(rows)


def consistency(problem: Problem, samples: Tensor) -> Tensor:
    """The residual carried back to the pixels, in units of what noise alone would do there: (B, *S), real.

    samples: (B, n, *S) of the B measurements of ``problem``.

    >>> from kintsugi.operators import Identity
    >>> problem = Problem(torch.full((1, 1, 4, 4), 0.3), Identity((1, 4, 4)), noise=0.1)
    >>> round(float(consistency(problem, torch.zeros(1, 2, 1, 4, 4)).mean()), 4)
    3.0
    """
    check_samples(samples, 1)
    check_rows(problem, samples)
    rows = []
    for i in range(len(samples)):
        alone = row_problem(problem, i)
        mean = on_grid(as_signal(samples[i].mean(0, keepdim=True), alone), alone.operator)
        operator = linear_at(alone.operator, mean)
        total = None
        for x in samples[i]:
            change = alone.operator.visible(operator.pinv(_residual(alone, x))).abs().square()
            total = change if total is None else total + change
        assert total is not None
        size = (total / samples.shape[1]).sqrt()
        if alone.noise:
            unit = torch.zeros_like(size)
            generator = torch.Generator().manual_seed(0)
            for _ in range(PROBES):
                signs = torch.randint(0, 2, alone.y.shape, generator=generator).to(alone.y) * 2 - 1
                unit += alone.operator.visible(operator.pinv(signs)).abs().square() / PROBES
            unit = alone.noise * unit.sqrt()
            size = torch.where(unit > TINY * unit.max(), size / unit.clamp_min(1e-30), 0.0)
        rows.append(size)
    return torch.cat(rows)


def _residual(alone: Problem, x: Tensor) -> Tensor:
    """``y - A x`` for one sample (*S)."""
    return alone.y - alone.operator(on_grid(as_signal(x[None], alone), alone.operator))
