"""What a sampler sees of a model: a denoiser in the canonical variables.

Every diffusion or flow model is a path ``x_t = alpha_t x_0 + sigma_t eps``. In ``z = x_t / alpha_t`` and
``eta = sigma_t / alpha_t`` it reads ``z = x_0 + eta eps`` whatever the path was, and the model is the one function

    D(z, eta) = E[x_0 | z].

A prior is that function, its vector-Jacobian product, and the path whose ``alpha(eta)`` the published weightings use.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from ..errors import InvalidArgument
from ..paths import VP, Path
from .calibration import Calibration

Vjp = Callable[[Tensor], Tensor]


class Prior(nn.Module):
    """A model of clean signals of shape ``(C, *S)``, with data in [-1, 1].

    Attributes
    ----------
    path: the path of the model, which gives ``alpha(eta)`` and the model's own time. A denoiser that was trained in
        the canonical variables serves every path: see :meth:`with_path`.
    shape: ``(C, *S)``, with ``None`` for a size that is free, or ``None`` if everything is.
    data_variance: the variance of a pixel of ``x_0`` (about 0.25 for photographs in [-1, 1]).
    data_scale: about how large a number in ``x_0`` can be; None for 1, or the standard deviation where that is more. A
        sampler whose numbers grow to fifty times that has diverged. Infinity for signals without bounds.
    has_vjp: whether :meth:`denoise_vjp` works; not where gradients cannot pass, as in an ONNX file.
    calibrations: what the spread of its samples is worth, where that was measured (``kintsugi calibrate``).
    """

    path: Path = VP()
    shape: tuple[int | None, ...] | None = None
    data_variance: float = 0.25
    data_scale: float | None = None
    has_vjp: bool = True
    calibrations: tuple[Calibration, ...] = ()

    @property
    def evaluations(self) -> int:
        """Runs of the network for one denoising: 2 with classifier-free guidance."""
        return 1

    def check(self) -> None:
        """Raise :class:`InvalidArgument` if something is missing that the network needs, such as a class label."""

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        """``E[x_0 | z]``, shape ``(B, C, *S)``, for ``z = x_0 + eta eps`` of that shape and ``eta`` of shape (B,)."""
        raise NotImplementedError

    def denoise_vjp(self, z: Tensor, eta: Tensor) -> tuple[Tensor, Vjp]:
        """``D(z, eta)`` and the function ``v -> J^T v`` with ``J = dD/dz``, each row of the batch by itself.

        The function may be called more than once. The default differentiates :meth:`denoise`.
        """
        # The caller may be in inference mode, whose tensors cannot be differentiated: hence a copy, made outside it.
        with torch.inference_mode(False), torch.enable_grad():
            leaf = z.detach().clone().requires_grad_(True)
            out = self.denoise(leaf, eta)

        def vjp(v: Tensor) -> Tensor:
            (grad,) = torch.autograd.grad(out, leaf, v, retain_graph=True)
            return grad

        return out.detach(), vjp

    def forward(self, z: Tensor, eta: Tensor) -> Tensor:
        return self.denoise(z, eta)

    def with_condition(
        self, *, label: int | None = None, prompt: str | None = None, guidance_scale: float | None = None
    ) -> Self:
        """The same model of the signals of a class, or of those that a text describes; weights are shared.

        label: a class of the model. prompt: a text. guidance_scale: how much the condition is exaggerated
        (classifier-free guidance), 1 for the model's own conditional distribution; None for the model's usual one.

        Errors: :class:`InvalidArgument` for a condition that the model does not take.
        """
        given = {"label": label, "prompt": prompt, "guidance_scale": guidance_scale}
        name = next((name for name, value in given.items() if value is not None), "label")
        raise InvalidArgument(name, given[name], "nothing: this prior takes no condition")

    def with_path(self, path: Path) -> Self:
        """The same denoiser seen through another path; weights are shared, nothing is copied."""
        other = copy.copy(self)
        other.path = path
        return other
