"""Kintsugi restores signals with pretrained diffusion and flow models, in about five network evaluations.

>>> import torch, kintsugi
>>> from kintsugi.operators import Mask
>>> x = torch.zeros(1, 3, 32, 32)
>>> keep = torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) > 0.5
>>> problem = kintsugi.Problem.simulate(x, Mask(keep, (3, 32, 32)), noise=0.05)
>>> kintsugi.restore(problem, prior="photo", samples=2).samples.shape
torch.Size([1, 2, 3, 32, 32])
"""

from importlib import import_module, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import Diverged, InvalidArgument, InvalidFile, KintsugiError, NotConverged

if TYPE_CHECKING:
    from . import blind, operators, oracles, phantoms, samplers, uncertainty
    from .blind.estimate import Estimate, estimate
    from .blind.learn import Learned, learn
    from .drawing import sample
    from .driver import restore
    from .presets import load_preset
    from .priors import Prior, available_priors, load_prior
    from .problem import Problem
    from .restoration import Cost, Restoration
    from .samplers import available_samplers, make_sampler

__version__ = "0.1.0"

# Where each name lives. They are imported when first used, so that `kintsugi --help` need not wait for torch.
_HOMES = {
    "Cost": "restoration",
    "Estimate": "blind",
    "Learned": "blind",
    "Prior": "priors",
    "Problem": "problem",
    "Restoration": "restoration",
    "available_priors": "priors",
    "available_samplers": "samplers",
    "estimate": "blind",
    "learn": "blind",
    "load_preset": "presets",
    "load_prior": "priors",
    "make_sampler": "samplers",
    "restore": "driver",
    "sample": "drawing",
}
_MODULES = ("blind", "operators", "oracles", "phantoms", "samplers", "uncertainty")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def data_path(name: str) -> Path:
    """The file of a bundled example, by its name with or without the extension of a picture or sound.

    Errors: :class:`InvalidArgument` for ``example``, which lists all that there are.
    """
    folder = Path(str(resources.files(__name__) / "data"))
    files = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
    for candidate in (name, f"{name}.png", f"{name}.jpg", f"{name}.flac"):
        if candidate in files:
            return files[candidate]
    raise InvalidArgument("example", name, f"one of {', '.join(files) or 'none'}")


__all__ = [
    "Cost",
    "Diverged",
    "Estimate",
    "InvalidArgument",
    "InvalidFile",
    "KintsugiError",
    "Learned",
    "NotConverged",
    "Prior",
    "Problem",
    "Restoration",
    "available_priors",
    "available_samplers",
    "blind",
    "data_path",
    "estimate",
    "learn",
    "load_preset",
    "load_prior",
    "make_sampler",
    "operators",
    "oracles",
    "phantoms",
    "restore",
    "sample",
    "samplers",
    "uncertainty",
]
