"""Distances of network features: LPIPS and DISTS.

Both are torchmetrics' own, on the networks of torchvision, with its ImageNet weights. Those are only read where torch
keeps downloads; nothing is downloaded here, and without them the metric is missing rather than another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal

from torch import Tensor

from ..errors import InvalidArgument, KintsugiError
from ..optional import optional
from .base import EXTRA, PictureMetric, as_colour, checkpoints, file_lack, package_lack

TRUNKS = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}


@dataclass(frozen=True)
class _Learned(PictureMetric):
    """A distance of features; grey pictures get three equal channels."""

    net: str = "vgg"

    def lack(self) -> KintsugiError | None:
        for package in ("torchmetrics", "torchvision"):
            if (lack := package_lack(package, self.name)) is not None:
                return lack
        return file_lack(checkpoints() / TRUNKS[self.net], self.name)


@dataclass(frozen=True)
class LPIPS(_Learned):
    """Learned perceptual image patch similarity, version 0.1 (Zhang et al. 2018); 0 where x is the truth.

    torchmetrics gets float32 pictures in [-1, 1]. ``net``: "alex", the authors' choice for comparisons, or "vgg".
    """

    name: ClassVar[str] = "lpips"
    better: ClassVar[Literal["higher", "lower", "none"]] = "lower"
    least: ClassVar[int | None] = 31

    net: str = "alex"

    def __post_init__(self) -> None:
        if self.net not in TRUNKS:
            raise InvalidArgument("net", self.net, f"one of {', '.join(TRUNKS)}")

    def _each(self, x: Tensor, truth: Tensor) -> Tensor:
        network = _lpips(self.net).to(x.device)
        reference = as_colour(truth[None].float(), self.name)
        return network(as_colour(x.float(), self.name), reference).double().reshape(len(x))


@dataclass(frozen=True)
class DISTS(_Learned):
    """Deep image structure and texture similarity (Ding et al. 2020), on VGG-16; 0 where x is the truth.

    torchmetrics gets float32 pictures in [0, 1], at their own size (the authors bring the smaller side to 256 pixels).
    """

    name: ClassVar[str] = "dists"
    better: ClassVar[Literal["higher", "lower", "none"]] = "lower"
    least: ClassVar[int | None] = 32

    def __post_init__(self) -> None:
        if self.net != "vgg":
            raise InvalidArgument("net", self.net, "vgg: DISTS has no other")

    def _each(self, x: Tensor, truth: Tensor) -> Tensor:
        network = _dists().to(x.device)
        pictures = [as_colour((v.float() + 1) / 2, self.name) for v in (x, truth[None])]
        return network(pictures[0], pictures[1].expand_as(pictures[0])).double().reshape(len(x))


@cache
def _lpips(net: str) -> Any:
    return optional("torchmetrics.functional.image.lpips", EXTRA, "lpips")._NoTrainLpips(net=net)


@cache
def _dists() -> Any:
    return optional("torchmetrics.functional.image.dists", EXTRA, "dists").DISTSNetwork()
