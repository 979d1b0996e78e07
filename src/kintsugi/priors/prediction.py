"""What a network predicts, as a denoiser: ``D(z, eta) = c_skip z + c_out F(c_in z, time)``.

The canonical variable is ``z = x_t / alpha = x_0 + eta eps``. With ``alpha = alpha(eta)`` of the network's own path and
``s^2`` the variance of the data:

| prediction | F is | c_in | c_skip | c_out |
|---|---|---|---|---|
| epsilon | the noise eps | alpha | 1 | -eta |
| sample | x_0 | alpha | 0 | 1 |
| v_prediction | alpha eps - sigma x_0 (Salimans and Ho, 2022) | alpha | alpha^2 | -eta alpha |
| velocity | dx_t/dt = eps - x_0 of flow matching | alpha | alpha | -eta alpha |
| score | grad log p(x_t) | alpha | 1 | eta^2 alpha |
| edm | Karras et al. (2022), equation 7 | 1 / sqrt(s^2 + eta^2) | s^2 / (s^2 + eta^2) | s eta / sqrt(s^2 + eta^2) |
| edm_v | the same, F negated, as diffusers has it | | | |

The first four follow from ``x_t = alpha x_0 + sigma eps``; the fifth from Tweedie, ``x_0 = (x_t + sigma^2 score) /
alpha``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor

from ..errors import InvalidArgument
from ..paths import Path

Prediction = Literal["epsilon", "sample", "v_prediction", "velocity", "score", "edm", "edm_v"]
# Of a path, the levels (B,) and the data's standard deviation: (c_in, c_skip, c_out), for what has no word.
Form = Callable[[Path, Tensor, float], tuple[Tensor, Tensor, Tensor]]
PREDICTIONS: tuple[Prediction, ...] = get_args(Prediction)


def coefficients(
    prediction: Prediction | Form, path: Path, eta: Tensor, data_std: float
) -> tuple[Tensor, Tensor, Tensor]:
    """``c_in, c_skip, c_out`` at the noise levels ``eta`` (B,), float64."""
    if callable(prediction):
        return prediction(path, eta, data_std)
    alpha = path.alpha_of_eta(eta)
    if prediction == "epsilon":
        return alpha, eta.new_ones(eta.shape), -eta
    if prediction == "sample":
        return alpha, eta.new_zeros(eta.shape), eta.new_ones(eta.shape)
    if prediction in ("v_prediction", "velocity"):
        skip, out = path.velocity_form(eta)
        return alpha, skip, -out
    if prediction == "score":
        return alpha, eta.new_ones(eta.shape), eta**2 * alpha
    if prediction in ("edm", "edm_v"):
        total = data_std**2 + eta**2
        out = data_std * eta * total.rsqrt()
        return total.rsqrt(), data_std**2 / total, -out if prediction == "edm_v" else out
    raise InvalidArgument("prediction", prediction, f"one of {', '.join(PREDICTIONS)}")
