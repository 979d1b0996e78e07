"""Models of clean signals: trained networks and exact oracles."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from ..errors import InvalidArgument
from .base import Prior
from .network import NetworkPrior, load_model, save_model
from .oracles import GaussianPrior, MixturePrior, StationaryPrior
from .unet import UNet, UNetConfig


def available_priors() -> dict[str, Path]:
    """The models that come with the package: name and file."""
    folder = Path(str(resources.files("kintsugi") / "data"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def load_prior(name: str | os.PathLike[str]) -> NetworkPrior:
    """A model by its name in the package ("photo", "phantom-ct", "phantom-mri") or by its ``.safetensors`` file.

    Float32, on the CPU, frozen. Files are read as safetensors; nothing is unpickled.
    """
    return load_model(prior_path(name))


def prior_path(name: str | os.PathLike[str]) -> Path:
    """The file of a model by its name in the package, or by its path."""
    embedded = available_priors()
    if str(name) in embedded:
        return embedded[str(name)]
    if Path(name).suffix or os.sep in str(name):
        return Path(name)
    raise InvalidArgument("prior", str(name), f"one of {', '.join(embedded) or 'none'}, or a .safetensors file")


__all__ = [
    "GaussianPrior",
    "MixturePrior",
    "NetworkPrior",
    "Prior",
    "StationaryPrior",
    "UNet",
    "UNetConfig",
    "available_priors",
    "load_model",
    "load_prior",
    "prior_path",
    "save_model",
]
