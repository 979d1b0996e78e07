"""Pixels against those of the truth: PSNR, and structural similarity in three kinds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from ..errors import MissingPackage
from ..optional import optional
from .base import EXTRA, PictureMetric, package_lack


@dataclass(frozen=True)
class PSNR(PictureMetric):
    """Peak signal-to-noise ratio ``10 log10(2^2 / mean (x - x0)^2)`` in dB, over all pixels and channels.

    x and x0 are clipped to [-1, 1], so that the peak is 2. It is inf where they are the same.
    """

    name: ClassVar[str] = "psnr"
    better: ClassVar[Literal["higher", "lower", "none"]] = "higher"
    unit: ClassVar[str] = "dB"

    def _each(self, x: Tensor, truth: Tensor) -> Tensor:
        mse = (x - truth).square().flatten(1).mean(1)
        return 10 * (math.log10(4) - mse.log10())


@dataclass(frozen=True)
class _OfTorchmetrics(PictureMetric):
    """A function of ``torchmetrics.functional.image``, called with float64 pictures."""

    def lack(self) -> MissingPackage | None:
        return package_lack("torchmetrics", self.name)

    def _call(self, function: str, x: Tensor, truth: Tensor, **settings: Any) -> Tensor:
        """One value for each picture (n,); x and the truth in the range that the function takes."""
        functional = optional("torchmetrics.functional.image", EXTRA, self.name)
        values: Tensor = getattr(functional, function)(x, truth.expand_as(x), reduction="none", **settings)
        return values.reshape(len(x))


@dataclass(frozen=True)
class SSIM(_OfTorchmetrics):
    """Structural similarity (Wang et al. 2004), mean over pixels and channels; 1 where x is the truth.

    torchmetrics gets pictures in [0, 1] with a data range of 1: ``(2 m m0 + 1e-4) (2 c + 9e-4) /
    ((m^2 + m0^2 + 1e-4) (v + v0 + 9e-4))`` with the means, variances and covariance under a Gaussian window of standard
    deviation 1.5 and 11 x 11 pixels. Pictures are mirrored at the border, and the border counts.
    """

    name: ClassVar[str] = "ssim"
    better: ClassVar[Literal["higher", "lower", "none"]] = "higher"
    least: ClassVar[int | None] = 11

    def _each(self, x: Tensor, truth: Tensor) -> Tensor:
        settings = {"data_range": 1.0, "sigma": 1.5, "kernel_size": 11}
        return self._call("structural_similarity_index_measure", (x + 1) / 2, (truth + 1) / 2, **settings)


@dataclass(frozen=True)
class MSSSIM(_OfTorchmetrics):
    """Multi-scale structural similarity (Wang et al. 2003) over five octaves; 1 where x is the truth.

    torchmetrics gets pictures in [0, 1] with a data range of 1. The contrast terms of :class:`SSIM` at four scales,
    each half of the one before, and SSIM itself at a fifth, to the powers 0.0448, 0.2856, 0.3001, 0.2363 and 0.1333;
    negative terms count as zero. The last scale needs 11 pixels: 176 in the picture.
    """

    name: ClassVar[str] = "ms_ssim"
    better: ClassVar[Literal["higher", "lower", "none"]] = "higher"
    least: ClassVar[int | None] = 176

    def _each(self, x: Tensor, truth: Tensor) -> Tensor:
        settings = {"data_range": 1.0, "sigma": 1.5, "kernel_size": 11, "normalize": "relu"}
        name = "multiscale_structural_similarity_index_measure"
        return self._call(name, (x + 1) / 2, (truth + 1) / 2, **settings)


@dataclass(frozen=True)
class VIF(_OfTorchmetrics):
    """Visual information fidelity of pixels, VIFp (Sheikh and Bovik 2006), mean over channels; 1 where x is the truth.

    torchmetrics gets pictures in [0, 255], for which the variance 2 of the visual noise is meant. Above 1 where x has
    more contrast than the truth; nan where the truth has none.
    """

    name: ClassVar[str] = "vif"
    better: ClassVar[Literal["higher", "lower", "none"]] = "higher"
    least: ClassVar[int | None] = 41

    def _each(self, x: Tensor, truth: Tensor) -> Tensor:
        pictures = ((x + 1) * 127.5, (truth + 1) * 127.5)
        return self._call("visual_information_fidelity", *pictures, sigma_n_sq=2.0)
