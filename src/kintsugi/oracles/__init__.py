"""Problems whose posterior is known, and the distance of samples to it: what any sampler can be held to.

>>> from kintsugi import oracles, restore
>>> oracle = oracles.oracle("gaussian-box")
>>> samples = restore(oracle.problem, oracle.prior, "ddnm", steps=20, samples=64, tile=None).samples[0]
>>> found = oracles.distance(samples, oracle)
>>> found.mean < 1 and 0.5 < found.spread < 1.5
True

Each oracle is built when asked for, in float64, always the same. ``python benchmarks/oracles.py`` runs every sampler on
every oracle; the result is docs/oracles.md.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import InvalidArgument
from . import gaussian, mixtures, phase
from .base import Oracle
from .distance import Distance, distance
from .isotropic import IsotropicMixture

Entry = tuple[Callable[[str], Oracle], str]


def _entries() -> dict[str, Entry]:
    """How each oracle is made, and its summary."""
    out: dict[str, Entry] = {}
    for kind in gaussian.MEASUREMENTS:
        for noise, ending in ((0.0, ""), (gaussian.NOISE, "-noisy")):
            if noise or kind != "blur":
                out[f"gaussian-{kind}{ending}"] = gaussian.gaussian_oracle, gaussian.summary(kind, noise)
    for dimensions in mixtures.GRIDS:
        for noise, ending in ((0.0, ""), (mixtures.NOISE, "-noisy")):
            out[f"mixture-{dimensions}{ending}"] = mixtures.grid_oracle, mixtures.grid_summary(dimensions, noise)
    out["line"] = mixtures.line_oracle, mixtures.LINE_SUMMARY
    out["phase"] = phase.phase_oracle, phase.SUMMARY
    return out


_ORACLES = _entries()


def available_oracles() -> dict[str, str]:
    """Every oracle: its name and what it is."""
    return {name: summary for name, (_, summary) in _ORACLES.items()}


def oracle(name: str) -> Oracle:
    """The oracle ``name``, made afresh: a prior, a problem and its exact posterior."""
    if name not in _ORACLES:
        raise InvalidArgument("oracle", name, f"one of {', '.join(_ORACLES)}")
    make, _ = _ORACLES[name]
    return make(name)


__all__ = ["Distance", "IsotropicMixture", "Oracle", "available_oracles", "distance", "oracle"]
