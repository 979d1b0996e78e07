"""Sets of pictures against sets of true ones, by the statistics of their features: FID and KID."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ..errors import InvalidArgument, KintsugiError
from ..optional import optional
from .base import EXTRA, as_colour, check_pictures, checkpoints, file_lack, package_lack

INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
Features = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class SetMetric(ABC):
    """One number for a set of pictures (N, C, H, W) against a set of true ones (M, C, H, W), a pixel in [-1, 1].

    Attributes
    ----------
    features: a function of float32 pictures (n, C, H, W), clipped to [-1, 1], to their features (n, d). None for the
        2048 of Inception v3 as torchmetrics has it, with the weights that FID is defined with; it gets the pictures
        rounded to 8 bits, three equal channels if they are grey.
    batch: pictures at a time.
    """

    name: ClassVar[str]
    better: ClassVar[Literal["higher", "lower", "none"]] = "lower"
    best: ClassVar[float | None] = None
    unit: ClassVar[str] = ""

    features: Features | None = None
    batch: int = 64

    @abstractmethod
    def _value(self, x: Tensor, truth: Tensor) -> float:
        """The metric of features (N, d) and (M, d) in float64."""

    def lack(self) -> KintsugiError | None:
        """The error that a call raises because a package or a file is missing; None if nothing is."""
        if self.features is not None:
            return None
        for package in ("torchmetrics", "torch_fidelity"):
            if (lack := package_lack(package, self.name)) is not None:
                return lack
        return file_lack(checkpoints() / INCEPTION, self.name)

    def missing(self) -> str | None:
        """What is missing, and where it was looked for, in words; None if nothing is."""
        lack = self.lack()
        return None if lack is None else str(lack)

    def __call__(self, images: Tensor, truths: Tensor) -> float:
        """Errors: :class:`InvalidArgument`; what :meth:`lack` returns."""
        for name, x in (("images", images), ("truths", truths)):
            if not isinstance(x, Tensor) or not x.is_floating_point():
                raise InvalidArgument(name, getattr(x, "dtype", type(x)), "a tensor of floating point numbers")
            check_pictures(name, x, 1, self.name)
            if len(x) < 2:
                raise InvalidArgument(name, tuple(x.shape), "at least two pictures")
            if not bool(torch.isfinite(x).all()):
                raise InvalidArgument(name, "NaN or infinite values", "finite values")
        if images.shape[1] != truths.shape[1]:
            raise InvalidArgument("truths", tuple(truths.shape), f"the channels of images, {images.shape[1]}")
        return self.compare(self.extract(images), self.extract(truths))

    def compare(self, features: Tensor, truths: Tensor) -> float:
        """The metric of features (N, d) and (M, d) that :meth:`extract` gave, at least two of each."""
        for name, x in (("features", features), ("truths", truths)):
            if x.ndim != 2 or len(x) < 2 or x.shape[1] != features.shape[1]:
                raise InvalidArgument(name, tuple(x.shape), f"features (n, {features.shape[-1]}) of at least two")
        return self._value(features.double(), truths.double())

    def extract(self, x: Tensor) -> Tensor:
        """The features (N, d), float64, of pictures (N, C, H, W), for sets that are too large to be held at once.

        Errors: :class:`InvalidArgument`; what :meth:`lack` returns.
        """
        lack = self.lack()
        if lack is not None:
            raise lack
        function = _inception if self.features is None else self.features
        with torch.no_grad():
            parts = [function(part.detach().float().clamp(-1, 1)) for part in x.split(self.batch)]
        for part, rows in zip(parts, x.split(self.batch), strict=True):
            if part.ndim != 2 or len(part) != len(rows):
                raise InvalidArgument("features", tuple(part.shape), f"a function to shape ({len(rows)}, d)")
        return torch.cat(parts).double()


@dataclass(frozen=True)
class FID(SetMetric):
    """Fréchet distance of Gaussians fitted to features (Heusel et al. 2017).

    ``|m - m0|^2 + tr(S + S0 - 2 (S S0)^(1/2))`` with means m and covariances S (with n - 1): the square, as is usual.
    Biased upwards in small sets: compare sets of one size only, and take thousands of pictures for 2048 features.
    """

    name: ClassVar[str] = "fid"

    def _value(self, x: Tensor, truth: Tensor) -> float:
        shift = (x.mean(0) - truth.mean(0)).square().sum()
        # With S = R'R the singular values of R R0' are the square roots of the eigenvalues of S S0.
        roots = [torch.linalg.qr(v - v.mean(0), mode="r").R / (len(v) - 1) ** 0.5 for v in (x, truth)]
        trace = roots[0].square().sum() + roots[1].square().sum()
        return float(shift + trace - 2 * torch.linalg.svdvals(roots[0] @ roots[1].mT).sum())


@dataclass(frozen=True)
class KID(SetMetric):
    """Squared maximum mean discrepancy of features, unbiased, kernel ``(a.b / d + 1)^3`` (Bińkowski et al. 2018).

    ``mean_{i != j} k(x_i, x_j) + mean_{i != j} k(x0_i, x0_j) - 2 mean k(x_i, x0_j)`` over the whole sets, not over
    random parts of them: no chance enters. 0 on average for two sets of the same distribution, so it may be negative.
    """

    name: ClassVar[str] = "kid"

    def _value(self, x: Tensor, truth: Tensor) -> float:
        within = [(_kernel(v, v).sum() - _kernel_diagonal(v).sum()) / (len(v) * (len(v) - 1)) for v in (x, truth)]
        return float(within[0] + within[1] - 2 * _kernel(x, truth).mean())


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.mT / a.shape[1] + 1) ** 3


def _kernel_diagonal(a: Tensor) -> Tensor:
    return (a.square().sum(1) / a.shape[1] + 1) ** 3


def _inception(x: Tensor) -> Tensor:
    """The 2048 features of pictures in [-1, 1]."""
    rounded = ((as_colour(x, "Inception") + 1) * 127.5).round().byte()
    return _network().to(x.device)(rounded)


@cache
def _network() -> Any:
    module = optional("torchmetrics.image.fid", EXTRA, "Inception")
    return module.NoTrainInceptionV3("inception-v3-compat", ["2048"], str(checkpoints() / INCEPTION))
