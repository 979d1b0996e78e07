"""Partly known degradations: families with parameters, fitted to one degraded signal or to pairs."""

from .estimate import Estimate, Step, estimate
from .families import Family, FreeKernel, Gain, GaussianBlur, MotionBlur, NoiseOnly, Parameter, Product
from .learn import Convolutional, Learned, learn

__all__ = [
    "Convolutional",
    "Estimate",
    "Family",
    "FreeKernel",
    "Gain",
    "GaussianBlur",
    "Learned",
    "MotionBlur",
    "NoiseOnly",
    "Parameter",
    "Product",
    "Step",
    "estimate",
    "learn",
]
