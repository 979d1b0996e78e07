"""Measurements: see ``base`` for the calculus and ``linear`` for the degradations by name."""

from .base import Accuracy, LinearOperator, Operator, check_adjoint, check_pinv
from .covariance import StationaryCovariance
from .kernels import bicubic_kernel, gaussian_kernel, load_kernel, motion_kernel, uniform_kernel
from .linear import Bicubic, BlockAverage, Blur, Grey, Identity
from .linearized import Linearized, local_operator
from .matrix import Matrix
from .nonlinear import Magnitude, Nonlinear
from .selection import Crop, Mask
from .stationary import Stationary

__all__ = [
    "Accuracy",
    "Bicubic",
    "BlockAverage",
    "Blur",
    "Crop",
    "Grey",
    "Identity",
    "LinearOperator",
    "Linearized",
    "Magnitude",
    "Mask",
    "Matrix",
    "Nonlinear",
    "Operator",
    "Stationary",
    "StationaryCovariance",
    "bicubic_kernel",
    "check_adjoint",
    "check_pinv",
    "gaussian_kernel",
    "load_kernel",
    "local_operator",
    "motion_kernel",
    "uniform_kernel",
]
