"""Numbers for samples: fidelity, consistency, spread, texture, features; one file a family.

>>> import torch
>>> truth = torch.zeros(1, 8, 8)
>>> round(make_metric("psnr")(truth[None] + 0.2, truth), 6)
20.0
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from ..errors import InvalidArgument
from .accuracy import Top1
from .base import Metric, PictureMetric
from .consistency import Consistency
from .learned import DISTS, LPIPS
from .pixel import MSSSIM, PSNR, SSIM, VIF
from .sets import FID, KID, SetMetric
from .sound import PESQ, SISDR, STOI, LogSpectralDistance
from .spectral import BandEnergy
from .spread import Coverage, Diversity, SpreadSkill
from .swd import SWD

_METRICS: dict[str, type[Metric]] = {
    cls.name: cls
    for cls in (
        PSNR,
        SSIM,
        MSSSIM,
        VIF,
        LPIPS,
        DISTS,
        BandEnergy,
        SWD,
        Consistency,
        Diversity,
        Coverage,
        SpreadSkill,
        Top1,
        SISDR,
        LogSpectralDistance,
        PESQ,
        STOI,
    )
}
_SETS: dict[str, type[SetMetric]] = {cls.name: cls for cls in (FID, KID)}
_Any = TypeVar("_Any", Metric, SetMetric)


def available_metrics() -> dict[str, type[Metric]]:
    """Every metric of the samples of one problem: its name and its class."""
    return dict(_METRICS)


def available_set_metrics() -> dict[str, type[SetMetric]]:
    """Every metric of a set of pictures: its name and its class."""
    return dict(_SETS)


def make_metric(name: str, **settings: Any) -> Metric:
    """The metric ``name`` with ``settings`` in place of its defaults.

    >>> make_metric("coverage", level=0.5).level
    0.5
    """
    if name in _SETS:
        raise InvalidArgument("metric", name, f"one of {', '.join(_METRICS)}; {name} is of sets: make_set_metric")
    return _make(_METRICS, name, settings)


def make_set_metric(name: str, **settings: Any) -> SetMetric:
    """The metric of sets ``name`` with ``settings`` in place of its defaults."""
    return _make(_SETS, name, settings)


def _make(classes: dict[str, type[_Any]], name: str, settings: dict[str, Any]) -> _Any:
    if name not in classes:
        raise InvalidArgument("metric", name, f"one of {', '.join(classes)}")
    cls = classes[name]
    fields = [f.name for f in dataclasses.fields(cls)]
    unknown = sorted(set(settings) - set(fields))
    if unknown:
        expected = f"a setting of {name}: {', '.join(fields) or 'it has none'}"
        raise InvalidArgument(unknown[0], settings[unknown[0]], expected)
    return cls(**settings)


__all__ = [
    "DISTS",
    "FID",
    "KID",
    "LPIPS",
    "MSSSIM",
    "PESQ",
    "PSNR",
    "SISDR",
    "SSIM",
    "STOI",
    "SWD",
    "VIF",
    "BandEnergy",
    "Consistency",
    "Coverage",
    "Diversity",
    "LogSpectralDistance",
    "Metric",
    "PictureMetric",
    "SetMetric",
    "SpreadSkill",
    "Top1",
    "available_metrics",
    "available_set_metrics",
    "make_metric",
    "make_set_metric",
]
