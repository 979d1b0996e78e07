"""Divergence, caught while it happens.

A state of a sampler is ``z = x_0 + eta eps`` and a little wrong. So no number in it is far beyond

    sqrt(scale^2 + start^2 + eta^2)

where ``scale`` is the size of what the prior knows (1 for pictures in [-1, 1], more for data of a larger standard
deviation), and ``start`` is what the first state had beyond its noise: the pseudo-inverse of a measurement may be far
out of the prior's range by right, and comes back as the noise falls. To it comes what a network may err by: one that
predicts the noise of level a, even one that knows nothing, is off by a few standard deviations, and its estimate of
x_0 by as many times a. A state with a number beyond ``REACH`` times the first and ``MANY`` times the level a from
which the step was made, or with one that is not finite, has diverged. The largest number that any sampler reaches with
its defaults on our oracles and models is 10 times that root (``tests/faults/test_divergence.py``).

Each row of a batch is judged by itself, and one that diverged stops the call: half of a set of samples is a sample of
something else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import Diverged
from ..priors.base import Prior

REACH = 50.0
MANY = 6.0  # standard deviations, within which all noise is but for one number in 10^9


class Watch:
    """A sampler's report of its steps that also looks at its states.

    name: of the sampler. prior: whose range is not to be left. keys: (image, sample) of each row. advice: the settings
    to change, in words. report: what is told of each step.
    """

    def __init__(
        self,
        name: str,
        prior: Prior,
        keys: Sequence[tuple[int, int]],
        advice: str,
        report: Callable[[int, int], None],
    ) -> None:
        self._name, self._keys, self._advice, self._report = name, keys, advice, report
        self._scale = max(1.0, prior.data_variance**0.5) if prior.data_scale is None else prior.data_scale
        weight = next(prior.parameters(), None)
        if weight is not None and weight.dtype == torch.float16:  # its numbers end at 65504
            self._advice = f"the model in float32 or bfloat16, or {advice}"
        self._start: Tensor | None = None
        self._before = 0.0
        self._done, self._total = 0, 0

    def __call__(self, done: int, total: int) -> None:
        self._done, self._total = done, total
        self._report(done, total)

    def begin(self, z: Tensor, eta: float) -> None:
        """``z`` (B, *) is where the run starts, at level ``eta``."""
        self._start = (_peak(z) - MANY * eta).clamp_min(0)  # the estimate under the noise
        self.look(z, eta)

    def look(self, z: Tensor, eta: float, before: float | None = None) -> None:
        """Raise :class:`Diverged` where a row of the state ``z`` (B, *) at level ``eta`` has left the prior's range.

        before: the level from which the step was made, None for that of the last step that was seen.
        """
        peak = _peak(z)
        start = 0.0 if self._start is None else self._start
        self._before = self._before if before is None else before
        limit = REACH * (self._scale**2 + start**2 + eta**2) ** 0.5 + MANY * self._before + torch.zeros_like(peak)
        lost = (~(peak <= limit) | peak.isinf()).nonzero().flatten().tolist()  # NaN is not below anything
        if lost:
            raise self._error(float(peak[lost[0]]), float(limit[lost[0]]), lost)

    def _error(self, peak: float, limit: float, lost: list[int]) -> Diverged:
        rows = [self._keys[i] for i in lost]
        image, sample = rows[0]
        step = min(self._done + 1, self._total or self._done + 1)
        when = f"step {step} of {self._total}" if self._total else f"step {step}"
        what = f"values of {peak:.3g}, beyond {limit:.3g}" if math.isfinite(peak) else "values that are not finite"
        others = "" if len(rows) == 1 else f" ({len(rows)} of {len(self._keys)} samples)"
        message = f"{self._name} diverged: sample {sample} of image {image}{others} has {what}, in {when}"
        return Diverged(message, sampler=self._name, step=step, rows=rows, advice=self._advice)


def _peak(z: Tensor) -> Tensor:
    """The largest modulus in each row of ``z``, (B,); NaN where there is one."""
    return z.detach().flatten(1).abs().amax(1).double().cpu()


def begin(report: Callable[[int, int], None], z: Tensor, eta: float) -> None:
    """Show the state at which a run starts to a report that watches."""
    if isinstance(report, Watch):
        report.begin(z, eta)


def look(report: Callable[[int, int], None], z: Tensor, eta: float, before: float) -> None:
    """Show the state ``z`` (B, *) at level ``eta``, after a step from level ``before``, to a report that watches."""
    if isinstance(report, Watch):
        report.look(z, eta, before)
