"""Choices of the posterior denoiser ``D_y``; one file a method."""

from .base import Guidance
from .ddnm import DDNM
from .pigdm import PiGDM
from .spectral import SpectralCovariance

__all__ = ["DDNM", "Guidance", "PiGDM", "SpectralCovariance"]
