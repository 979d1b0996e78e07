"""The models that come with the package."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from ..errors import InvalidArgument


def available_priors() -> dict[str, Path]:
    """The models that come with the package: name and file."""
    folder = Path(str(resources.files("kintsugi") / "data"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"), key=lambda p: p.stem)}


def prior_path(name: str | os.PathLike[str]) -> Path:
    """The file of a model by its name in the package, or by its path."""
    embedded = available_priors()
    if str(name) in embedded:
        return embedded[str(name)]
    if Path(name).suffix or os.sep in str(name):
        return Path(name)
    raise InvalidArgument("prior", str(name), f"one of {', '.join(embedded) or 'none'}, or a .safetensors file")
