"""Named methods: mostly a guidance and a solver with their settings; one file a method."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..errors import InvalidArgument
from .about import About, about
from .base import Sampler
from .basiscov import OptimalCovariance
from .cm4ir import CM4IR
from .cpigdm import CPiGDM, CPiGFM
from .daps import DAPS
from .ddim import DDIM
from .ddnm import DDNM
from .ddnm_plus import DDNMPlus
from .ddrm import DDRM
from .dflow import DFlow
from .diffpir import DiffPIR
from .dps import DPS
from .flowchef import FlowChef
from .flowdps import FlowDPS
from .kintsugi import Kintsugi
from .latino import LATINO
from .mcg import MCG
from .mmps import MMPS
from .otode import OTODE
from .pigdm import PiGDM, PiGFM
from .pnpflow import PnPFlow
from .psld import PSLD
from .reddiff import REDdiff
from .repaint import RePaint
from .resample import ReSample
from .schedule import Schedule
from .sitcom import SITCOM
from .space import Choice, Range, Space
from .tds import TDS
from .tmpd import TMPD

_METHODS: tuple[type[Sampler], ...] = (
    Kintsugi,
    CPiGDM,
    CPiGFM,
    PiGDM,
    PiGFM,
    DDNM,
    DPS,
    REDdiff,
    SITCOM,
    DFlow,
    CM4IR,
    DDNMPlus,
    DDRM,
    DiffPIR,
    MCG,
    RePaint,
    PnPFlow,
    OTODE,
    FlowDPS,
    FlowChef,
    DDIM,
    MMPS,
    TMPD,
    OptimalCovariance,
    DAPS,
    TDS,
    PSLD,
    ReSample,
    LATINO,
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
    "CM4IR",
    "DAPS",
    "DDIM",
    "DDNM",
    "DDRM",
    "DPS",
    "LATINO",
    "MCG",
    "MMPS",
    "OTODE",
    "PSLD",
    "SITCOM",
    "TDS",
    "TMPD",
    "About",
    "CPiGDM",
    "CPiGFM",
    "Choice",
    "DDNMPlus",
    "DFlow",
    "DiffPIR",
    "FlowChef",
    "FlowDPS",
    "Kintsugi",
    "OptimalCovariance",
    "PiGDM",
    "PiGFM",
    "PnPFlow",
    "REDdiff",
    "Range",
    "RePaint",
    "ReSample",
    "Sampler",
    "Schedule",
    "Space",
    "about",
    "available_samplers",
    "make_sampler",
]
