"""Measurements: see ``base`` for the calculus and ``linear`` for the degradations by name."""

from .adjoint import Adjoint, Pad
from .base import Accuracy, LinearOperator, Operator
from .chain import Chain
from .checks import check_adjoint, check_gram, check_pinv, check_vjp, dense_matrix
from .covariance import StationaryCovariance
from .kernels import bicubic_kernel, gaussian_kernel, load_kernel, motion_kernel, uniform_kernel
from .linear import Bicubic, BlockAverage, Blur, Grey, Identity
from .linearized import Linearized, local_operator
from .matrix import Matrix
from .nonlinear import Magnitude, Nonlinear
from .realview import OnComplex, real_view, to_complex, to_real
from .rows import per_row
from .selection import Crop, Mask
from .stack import Stack
from .stationary import Stationary
from .sums import Sum
from .unstructured import Unstructured

__all__ = [
    "Accuracy",
    "Adjoint",
    "Bicubic",
    "BlockAverage",
    "Blur",
    "Chain",
    "Crop",
    "Grey",
    "Identity",
    "LinearOperator",
    "Linearized",
    "Magnitude",
    "Mask",
    "Matrix",
    "Nonlinear",
    "OnComplex",
    "Operator",
    "Pad",
    "Stack",
    "Stationary",
    "StationaryCovariance",
    "Sum",
    "Unstructured",
    "bicubic_kernel",
    "check_adjoint",
    "check_gram",
    "check_pinv",
    "check_vjp",
    "dense_matrix",
    "gaussian_kernel",
    "load_kernel",
    "local_operator",
    "motion_kernel",
    "per_row",
    "real_view",
    "to_complex",
    "to_real",
    "uniform_kernel",
]
