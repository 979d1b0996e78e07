"""Measurements: see ``base`` for the calculus and ``linear`` for the degradations by name."""

from .adjoint import Adjoint, Pad
from .base import Accuracy, LinearOperator, Operator
from .camera import HDR, Clip, Gamma, Quantise, Response
from .chain import Chain
from .checks import check_adjoint, check_gram, check_pinv, check_vjp, dense_matrix
from .colour import ColourMatrix, SpectralUnmixing, WhiteBalance
from .covariance import SideBySide, StationaryCovariance
from .demosaic import X_TRANS, Bayer, Mosaic
from .filters import Convolve, Decimate, Notch, kaiser_kernel
from .jpeg import JPEG
from .kernels import bicubic_kernel, gaussian_kernel, load_kernel, motion_kernel, uniform_kernel
from .latent import Decoded
from .linear import Bicubic, BlockAverage, Blur, Grey, Identity
from .linearized import Linearized, local_operator
from .matrix import Matrix
from .mri import MRI, AsComplex
from .mulaw import MuLaw
from .multicoil import Coils, MultiCoilMRI, birdcage_maps
from .nonlinear import Nonlinear, with_pinv
from .nufft import NUFFT, radial_trajectory, spiral_trajectory
from .phase import CodedDiffraction, Magnitude, align, hybrid_input_output, spectral_start
from .realview import OnComplex, real_view, to_complex, to_real
from .resize import ResampleKernel, Resize
from .rows import per_row
from .selection import Crop, Mask
from .sensing import Subsampled
from .separable import Separable
from .stack import Stack
from .stationary import Stationary
from .sums import Sum
from .tomography import FanBeamCT, ParallelBeamCT
from .trajectory import cartesian_mask
from .unstructured import Unstructured
from .varyingblur import VaryingBlur
from .wrap import FromDeepinv, FromFunction, FromSciPy

__all__ = [
    "HDR",
    "JPEG",
    "MRI",
    "NUFFT",
    "X_TRANS",
    "Accuracy",
    "Adjoint",
    "AsComplex",
    "Bayer",
    "Bicubic",
    "BlockAverage",
    "Blur",
    "Chain",
    "Clip",
    "CodedDiffraction",
    "Coils",
    "ColourMatrix",
    "Convolve",
    "Crop",
    "Decimate",
    "Decoded",
    "FanBeamCT",
    "FromDeepinv",
    "FromFunction",
    "FromSciPy",
    "Gamma",
    "Grey",
    "Identity",
    "LinearOperator",
    "Linearized",
    "Magnitude",
    "Mask",
    "Matrix",
    "Mosaic",
    "MuLaw",
    "MultiCoilMRI",
    "Nonlinear",
    "Notch",
    "OnComplex",
    "Operator",
    "Pad",
    "ParallelBeamCT",
    "Quantise",
    "ResampleKernel",
    "Resize",
    "Response",
    "Separable",
    "SideBySide",
    "SpectralUnmixing",
    "Stack",
    "Stationary",
    "StationaryCovariance",
    "Subsampled",
    "Sum",
    "Unstructured",
    "VaryingBlur",
    "WhiteBalance",
    "align",
    "bicubic_kernel",
    "birdcage_maps",
    "cartesian_mask",
    "check_adjoint",
    "check_gram",
    "check_pinv",
    "check_vjp",
    "dense_matrix",
    "gaussian_kernel",
    "hybrid_input_output",
    "kaiser_kernel",
    "load_kernel",
    "local_operator",
    "motion_kernel",
    "per_row",
    "radial_trajectory",
    "real_view",
    "spectral_start",
    "spiral_trajectory",
    "to_complex",
    "to_real",
    "uniform_kernel",
    "with_pinv",
]
