"""Models of clean signals: trained networks, those of others, and exact oracles."""

from __future__ import annotations

from .base import Prior
from .callables import denoiser_prior, velocity_prior
from .embedded import available_priors, prior_path
from .known import KNOWN
from .loading import convert, load_prior
from .model import ModelPrior
from .network import NetworkPrior, load_model, save_model
from .oracles import GaussianPrior, MixturePrior, StationaryPrior
from .rates import AtRate
from .together import Together
from .unet import UNet, UNetConfig
from .windows import Windows

__all__ = [
    "KNOWN",
    "AtRate",
    "GaussianPrior",
    "MixturePrior",
    "ModelPrior",
    "NetworkPrior",
    "Prior",
    "StationaryPrior",
    "Together",
    "UNet",
    "UNetConfig",
    "Windows",
    "available_priors",
    "convert",
    "denoiser_prior",
    "load_model",
    "load_prior",
    "prior_path",
    "save_model",
    "velocity_prior",
]
