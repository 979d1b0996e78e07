"""Named methods: mostly a guidance and a solver with their settings; one file a method."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..errors import InvalidArgument
from .about import About, about
from .base import Sampler
from .cpigdm import CPiGDM, CPiGFM
from .ddnm import DDNM
from .dps import DPS
from .kintsugi import Kintsugi
from .pigdm import PiGDM, PiGFM
from .schedule import Schedule

_METHODS: tuple[type[Sampler], ...] = (
    Kintsugi,
    CPiGDM,
    CPiGFM,
    PiGDM,
    PiGFM,
    DDNM,
    DPS,
)
_SAMPLERS: dict[str, type[Sampler]] = {cls.name: cls for cls in _METHODS}


def available_samplers() -> dict[str, type[Sampler]]:
    """Every named sampler: its name and its class."""
    return dict(_SAMPLERS)


def make_sampler(name: str, **settings: Any) -> Sampler:
    """The sampler ``name`` with ``settings`` in place of its defaults.

    >>> make_sampler("cpigdm", w=10.0).w
    10.0
    """
    if name not in _SAMPLERS:
        raise InvalidArgument("sampler", name, f"one of {', '.join(_SAMPLERS)}")
    cls = _SAMPLERS[name]
    fields = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(settings) - fields)
    if unknown:
        raise InvalidArgument(unknown[0], settings[unknown[0]], f"a setting of {name}: {', '.join(sorted(fields))}")
    return cls(**settings)


__all__ = [
    "DDNM",
    "DPS",
    "About",
    "CPiGDM",
    "CPiGFM",
    "Kintsugi",
    "PiGDM",
    "PiGFM",
    "Sampler",
    "Schedule",
    "about",
    "available_samplers",
    "make_sampler",
]
