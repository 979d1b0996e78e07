"""The trained network as a prior: what it predicts, any image size, and the model file.

A network of the prediction "edm" is a denoiser. With ``s^2`` the variance of the data it is (Karras et al., 2022,
equation 7)

    D(z, eta) = c_skip z + c_out F(c_in z, log(eta) / 4)
    c_skip = s^2 / (s^2 + eta^2)    c_out = s eta / sqrt(s^2 + eta^2)    c_in = 1 / sqrt(s^2 + eta^2)

One of the prediction "velocity" was trained by flow matching on the straight path ``x_t = (1 - t) x_0 + t eps`` and
estimates ``dx_t/dt = eps - x_0`` (Lipman et al., 2023; Liu et al., 2023). It is asked at ``t = eta / (1 + eta)``, which
it too is told as ``log(eta) / 4``, a quarter of the logit of t:

    D(z, eta) = x_t - t F(x_t, log(eta) / 4)    x_t = z / (1 + eta)

A model file is safetensors: the weights, and one JSON header entry ``kintsugi`` that holds the architecture, the
prediction, the training settings and, once measured, the spectra of the denoising error (``spectrum.*`` tensors) and
what the spread of samples is worth (``calibration.py``).
Reading one never runs code from it. Format 1 had no prediction, and is always "edm".
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from ..errors import InvalidArgument, InvalidFile
from ..files import atomic_path
from ..memory import ran_out
from ..paths import FlowMatching
from .base import Prior
from .calibration import Calibration
from .checkpoint import check_finite, read_safetensors
from .prediction import coefficients
from .spectrum import ErrorSpectrum
from .unet import UNet, UNetConfig

FORMAT = 2
NetworkPrediction = Literal["edm", "velocity"]


class NetworkPrior(Prior):
    """A :class:`UNet` for images ``(B, C, H, W)`` or sounds ``(B, C, T)`` in [-1, 1], of any size unless it has one.

    ``prediction`` is what the network estimates; ``path`` that of flow matching for a velocity, else variance
    preserving.
    ``spectrum``, where known, is the measured covariance of ``x_0 - D(z, eta)``, which the default sampler uses.
    ``card`` is what the model file says of itself: data, licence, settings, validation.
    """

    def __init__(
        self,
        net: UNet,
        *,
        prediction: NetworkPrediction = "edm",
        data_variance: float = 0.25,
        spectrum: ErrorSpectrum | None = None,
        card: dict[str, Any] | None = None,
        calibrations: tuple[Calibration, ...] = (),
    ) -> None:
        super().__init__()
        if not 0 < data_variance < float("inf"):
            raise InvalidArgument("data_variance", data_variance, "a positive number")
        if prediction not in get_args(NetworkPrediction):
            raise InvalidArgument("prediction", prediction, "'edm' or 'velocity'")
        self.net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.prediction = prediction
        if prediction == "velocity":
            self.path = FlowMatching()
        self.shape = (net.config.channels, *(net.config.size,) * net.config.dimensions)
        self.data_variance = data_variance
        self.spectrum = spectrum
        self.card = card or {}
        self.calibrations = calibrations

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        size = z.shape[2:]
        more = [wide - n for wide, n in zip(self.net.config.padded(size), size, strict=True)]
        if any(more):
            # Mirrored content is more like the signal than zeros; one smaller than the pad can only repeat.
            mode = "reflect" if all(m < n for m, n in zip(more, size, strict=True)) else "replicate"
            z = F.pad(z, [p for m in reversed(more) for p in (0, m)], mode=mode)
        c_skip, c_out, c_in, c_noise = preconditioning(eta, self.data_variance, z, self.prediction)
        weights = self.net.head.weight.dtype  # a float64 measurement runs through a float32 network
        out = c_skip * z + c_out * self.net((c_in * z).to(weights), c_noise.to(weights)).to(z)
        return out[(..., *(slice(n) for n in size))]

    def receptive_radius(self) -> int:
        """Pixels around an output pixel that may influence it; what a tile must overlap by."""
        return self.net.receptive_radius()


def preconditioning(
    eta: Tensor, data_variance: float, like: Tensor, prediction: NetworkPrediction = "edm"
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``c_skip, c_out, c_in`` with shape (B, 1, 1, 1) and ``c_noise`` with shape (B,), in the dtype of ``like``."""
    eta64 = eta.to(device="cpu", dtype=torch.float64)
    if prediction == "velocity":
        c_in, c_skip, c_out = coefficients("velocity", FlowMatching(), eta64, data_variance**0.5)
    else:
        total = data_variance + eta64**2
        c_in, c_skip, c_out = total.rsqrt(), data_variance / total, eta64 * (data_variance / total).sqrt()
    shape = (-1,) + (1,) * (like.ndim - 1)

    def cast(c: Tensor) -> Tensor:
        return c.to(like)

    return (
        cast(c_skip).view(shape),
        cast(c_out).view(shape),
        cast(c_in).view(shape),
        cast(eta64.clamp_min(1e-12).log() / 4),  # at eta = 0 c_out is 0, and its factor only has to be finite
    )


def save_model(prior: NetworkPrior, path: str | os.PathLike[str], dtype: torch.dtype = torch.float16) -> None:
    """Write ``prior`` as a model file (weights in ``dtype``), whole or not at all."""
    header = {
        "format": FORMAT,
        "architecture": "unet",
        "config": prior.net.config.to_dict(),
        "prediction": prior.prediction,
        "data_variance": prior.data_variance,
        "card": prior.card,
    }
    if prior.calibrations:
        header["calibrations"] = [entry.to_dict() for entry in prior.calibrations]
    tensors = {f"net.{k}": v.detach().to("cpu", dtype).contiguous() for k, v in prior.net.state_dict().items()}
    if prior.spectrum is not None:
        tensors |= prior.spectrum.to_tensors()
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"kintsugi": json.dumps(header)})


def load_model(path: str | os.PathLike[str]) -> NetworkPrior:
    """Read a model file into float32 on the CPU. Errors: :class:`InvalidFile`, naming what is wrong with it."""
    return from_tensors(*read_safetensors(path), FilePath(path))


def from_tensors(tensors: dict[str, Tensor], metadata: Mapping[str, Any], path: FilePath) -> NetworkPrior:
    """The model that was read from ``path``: see :func:`load_model`."""
    header = _read_header(path, metadata)
    weights = {k.removeprefix("net."): v.float() for k, v in tensors.items() if k.startswith("net.")}
    check_finite(weights, path)
    try:
        config = UNetConfig.from_dict(header["config"])
        _check_shapes(config, weights)
        net = UNet(config)
        net.load_state_dict(weights)
        spectrum = ErrorSpectrum.from_tensors(tensors)
        card = dict(header.get("card") or {})
        prior = NetworkPrior(
            net,
            prediction="edm" if header["format"] == 1 else header["prediction"],
            data_variance=float(header["data_variance"]),
            spectrum=spectrum,
            card=card,
            calibrations=tuple(Calibration.from_dict(entry) for entry in header.get("calibrations") or ()),
        )
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if ran_out(error):
            raise
        raise InvalidFile(path, f"its weights do not fit its header ({' '.join(str(error).split())[:200]})") from error
    return prior.eval().requires_grad_(False)


def _check_shapes(config: UNetConfig, weights: Mapping[str, Tensor]) -> None:
    """``ValueError`` for a network larger than the weights, before it gets memory."""
    if sum(config.blocks) > len(weights):
        raise ValueError(f"{sum(config.blocks)} blocks of {len(weights)} weights")
    with torch.device("meta"):
        wanted = {name: value.shape for name, value in UNet(config).state_dict().items()}
    wrong = next((name for name in wanted if name not in weights or weights[name].shape != wanted[name]), None)
    if wrong is not None:
        got = tuple(weights[wrong].shape) if wrong in weights else "nothing"
        raise ValueError(f"{wrong}: expected {tuple(wanted[wrong])}, got {got}")


def _read_header(path: FilePath, metadata: Mapping[str, Any]) -> dict[str, Any]:
    if "kintsugi" not in metadata:
        raise InvalidFile(path, "a safetensors file, but not a Kintsugi model (no 'kintsugi' entry in its header)")
    try:
        header = metadata["kintsugi"]
        version, architecture = header["format"], header["architecture"]
    except (KeyError, TypeError) as error:  # not JSON, or not what we write
        raise InvalidFile(path, "its 'kintsugi' header entry cannot be read") from error
    if version not in (1, FORMAT) or architecture != "unet":
        known = f"1 and {FORMAT} of 'unet'"
        raise InvalidFile(path, f"model format {version!r} {architecture!r} is not known; this version reads {known}")
    return dict(header)
