"""A prior of several independent signals at once, each on its own channels, with a prior each.

    x = (x_1, ..., x_n) on channels,    p(x) = p_1(x_1) ... p_n(x_n),    D(z, eta) = (D_1(z_1, eta), ..., D_n(z_n, eta))

With it a measurement of all of them is one operator and its restoration one call: the sum of two sources, for instance,
is ``ColourMatrix((2, T), [[1.0, 1.0]])``, and every method separates them. Sources of the same prior can be exchanged
for each other: their posterior mean is the same for all of them, and only samples take sides.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import InvalidArgument
from ..operators.covariance import SideBySide, StationaryCovariance
from .base import Prior, Vjp


class Together(Prior):
    """Independent signals on successive channels: ``priors[i]`` is that of the i-th.

    Each states its number of channels; ``shape`` has their sum, and the sizes that all of them take. Noise levels,
    ``path`` (the first one's) and tiles are common; variances are averaged over channels.

    >>> from kintsugi.priors import StationaryPrior
    >>> low, high = (StationaryPrior(StationaryCovariance(lambda r: torch.stack((r, r)) + v), 1) for v in (0.1, 1.0))
    >>> Together([low, high]).shape
    (2, None, None)
    """

    def __init__(self, priors: Sequence[Prior]) -> None:
        super().__init__()
        if not priors or not all(isinstance(prior, Prior) for prior in priors):
            raise InvalidArgument("priors", [type(p).__name__ for p in priors], "a prior for each source")
        shapes = [prior.shape for prior in priors]
        if any(shape is None or shape[0] is None for shape in shapes) or len({len(s) for s in shapes if s}) != 1:
            raise InvalidArgument("priors", shapes, "priors that state their channels, of as many dimensions each")
        known = [shape for shape in shapes if shape is not None]
        self.parts = nn.ModuleList(priors)
        self.channels = tuple(int(shape[0] or 0) for shape in known)
        sizes = []
        for axis in zip(*(shape[1:] for shape in known), strict=True):
            fixed = {n for n in axis if n is not None}
            if len(fixed) > 1:
                raise InvalidArgument("priors", shapes, "priors of signals of the same size")
            sizes.append(next(iter(fixed), None))
        self.shape = (sum(self.channels), *sizes)
        self.path = priors[0].path
        self.data_variance = sum(n * p.data_variance for n, p in self.sources) / sum(self.channels)
        scales = [prior.data_scale for prior in priors]
        self.data_scale = None if None in scales else max(scale for scale in scales if scale is not None)
        self.has_vjp = all(prior.has_vjp for prior in priors)
        radii = [getattr(prior, "receptive_radius", None) for prior in priors]
        if None not in radii:  # else it is not local, and says nothing of how far it looks
            object.__setattr__(
                self, "receptive_radius", lambda: max(radius() for radius in radii if radius is not None)
            )
        exact = [getattr(prior, "covariance", None) for prior in priors]
        if all(isinstance(c, StationaryCovariance) for c in exact):
            self.covariance = SideBySide([(n, c) for n, c in zip(self.channels, exact, strict=True) if c is not None])

    @property
    def sources(self) -> list[tuple[int, Prior]]:
        """(channels, prior) of each."""
        return [(n, prior) for n, prior in zip(self.channels, self.parts, strict=True)]  # type: ignore[misc]

    @property
    def evaluations(self) -> int:
        return sum(prior.evaluations for _, prior in self.sources)

    def check(self) -> None:
        for _, prior in self.sources:
            prior.check()

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        return torch.cat([prior.denoise(part, eta) for prior, part in self._split(z)], 1)

    def denoise_vjp(self, z: Tensor, eta: Tensor) -> tuple[Tensor, Vjp]:
        pairs = [prior.denoise_vjp(part, eta) for prior, part in self._split(z)]

        def vjp(v: Tensor) -> Tensor:
            pieces = v.split(self.channels, 1)
            return torch.cat([pull(piece) for (_, pull), piece in zip(pairs, pieces, strict=True)], 1)

        return torch.cat([d for d, _ in pairs], 1), vjp

    def _split(self, z: Tensor) -> list[tuple[Prior, Tensor]]:
        if z.shape[1] != sum(self.channels):
            raise InvalidArgument("z", tuple(z.shape), f"{sum(self.channels)} channels")
        return [(prior, part) for (_, prior), part in zip(self.sources, z.split(self.channels, 1), strict=True)]


def sources(prior: Prior) -> list[tuple[int, Prior]]:
    """(channels, prior) of each source of a :class:`Together`, also of a wrapped one; empty for any other prior."""
    while not isinstance(prior, Together):
        inner = getattr(prior, "inner", None)
        if not isinstance(inner, Prior):
            return []
        prior = inner
    return prior.sources
