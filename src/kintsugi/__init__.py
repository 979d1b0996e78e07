"""Kintsugi restores signals with pretrained diffusion and flow models, in about five network evaluations.

>>> import torch, kintsugi
>>> from kintsugi.operators import Mask
>>> x = torch.zeros(1, 3, 32, 32)
>>> keep = torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) > 0.5
>>> problem = kintsugi.Problem.simulate(x, Mask(keep, (3, 32, 32)), noise=0.05)
>>> kintsugi.restore(problem, prior="photo", samples=2).samples.shape
torch.Size([1, 2, 3, 32, 32])
"""

from . import operators, samplers
from .errors import InvalidArgument, InvalidFile, KintsugiError, NotConverged
from .priors import Prior, available_priors, load_prior
from .problem import Problem
from .restore import Cost, Restoration, restore
from .samplers import available_samplers, make_sampler

__version__ = "0.1.0"

__all__ = [
    "Cost",
    "InvalidArgument",
    "InvalidFile",
    "KintsugiError",
    "NotConverged",
    "Prior",
    "Problem",
    "Restoration",
    "available_priors",
    "available_samplers",
    "load_prior",
    "make_sampler",
    "operators",
    "restore",
    "samplers",
]
