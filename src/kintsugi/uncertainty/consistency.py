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
12 % of a standard deviation, and exactly where A^+ A^{+T} is diagonal, as for masks. Nonlinear A: its derivative at the
mean of the samples. Noise that is not white: what the samplers see. A measurement of intervals (rounding, saturation,
JPEG) is contradicted by what lies outside them: the map is then the change to the nearest signal inside, in the units
of the data. A complex reading counts as two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ..operators.base import total
from ..operators.intervals import Intervals
from ..problem import Problem
from .grid import as_signal, check_rows, linear_at, on_grid, row_problem, together
from .intervals import check_samples

PROBES = 32
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
        parts = 2 if alone.y.is_complex() and alone.noise else 1
        rows.append((square / samples.shape[1] / parts).sqrt() / (alone.noise or 1.0))
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
    return torch.cat([_consistency(row_problem(problem, i), samples[i]) for i in range(len(samples))])


def _consistency(alone: Problem, x: Tensor) -> Tensor:
    """The map (1, *S) of the samples (n, *S) of one measurement."""
    operator = alone.operator
    x = on_grid(as_signal(x, alone), operator)
    if isinstance(operator, Intervals):
        change = operator.nearest(x, alone.y.expand(len(x), *alone.y.shape[1:]), alone.noise) - x
        return operator.visible(change).abs().square().mean(0, keepdim=True).sqrt()
    linear, many = linear_at(operator, x.mean(0, keepdim=True)), together(operator)

    def energy(readings: Iterable[Tensor]) -> Tensor:
        """The sum over rows of the squares of ``A^+ r``."""
        return total(operator.visible(linear.pinv(r)).abs().square().sum(0, keepdim=True) for r in readings)

    size = (energy(alone.y - operator(part) for part in x.split(many)) / len(x)).sqrt()
    if not alone.noise:
        return size
    unit = alone.noise * (energy(_signs(alone.y, many)) / PROBES).sqrt()
    return torch.where(unit > TINY * unit.max(), size / unit.clamp_min(1e-30), 0.0)


def _signs(y: Tensor, many: int) -> Iterator[Tensor]:
    """``PROBES`` rows of random signs like ``y`` (1, ...), real and imaginary part each, ``many`` at a time."""
    generator = torch.Generator().manual_seed(0)
    for first in range(0, PROBES, many):
        shape = (min(many, PROBES - first), *(torch.view_as_real(y) if y.is_complex() else y).shape[1:])
        signs = torch.randint(0, 2, shape, generator=generator).to(y.device, y.real.dtype) * 2 - 1
        yield torch.view_as_complex(signs) if y.is_complex() else signs


def _residual(alone: Problem, x: Tensor) -> Tensor:
    """``y - A x`` for one sample (*S)."""
    return alone.y - alone.operator(on_grid(as_signal(x[None], alone), alone.operator))
