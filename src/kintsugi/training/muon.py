"""Muon (Jordan et al., 2024), with Adam for whatever is no matrix of the network's inside.

The gradient of a convolution, seen as a matrix from inputs to outputs, is nearly of low rank: a few directions, here
those of smooth shading, have nearly all of its energy, and gradient descent learns the others (texture) late. Muon
takes the momentum ``M = U S V^T`` of the matrix and steps by the nearest orthogonal one,

    W <- (1 - lr * decay) W - lr * 0.2 sqrt(max(rows, columns)) * U V^T,

in which all directions count alike. The factor makes the root mean square of an update 0.2 lr, about that of Adam, so
that learning rates can be compared (Liu et al., 2025, "Muon is scalable for LLM training"). ``U V^T`` is found without
an SVD by five steps of the quintic Newton-Schulz iteration ``X <- a X + b (X X^T) X + c (X X^T)^2 X``, whose
coefficients raise small singular values fast and leave all between 0.7 and 1.2, which is as good.

The first and last convolution, biases and the embedding of the noise level are stepped by Adam. For the equal-budget
comparison with Adam alone see ``docs/models.md``.

``torch.optim.Muon`` (torch 2.9 on) takes matrices only and iterates in bfloat16, which is emulated by CPUs that do not
have it: 8 s a step in place of 0.4 s for the network of ``photo``, measured with AVX2. Hence this file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = 3.4445, -4.7750, 2.0315  # Jordan's
NEWTON_SCHULZ_STEPS = 5


class Muon(torch.optim.Optimizer):
    """Muon for the groups of parameters with ``matrices`` true, Adam (without weight decay) for the others.

    A tensor of more than two axes is the matrix of its first axis against the rest. momentum: of Muon, in the manner of
    Nesterov. weight_decay: of the matrices. betas, eps: of Adam. dtype: of the Newton-Schulz iteration; bfloat16
    suffices where it is fast.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        dtype: torch.dtype = torch.float32,
        weight_decay: float = 0.0,
    ) -> None:
        self.dtype = dtype
        defaults = {
            "lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "weight_decay": weight_decay, "matrices": False,
        }  # fmt: skip
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            update = self._orthogonal if group["matrices"] else self._adam
            for parameter in group["params"]:
                if parameter.grad is not None:
                    if group["matrices"]:
                        parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.sub_(update(parameter.grad, self.state[parameter], group), alpha=group["lr"])
        return loss

    def _orthogonal(self, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        if not state:
            state["momentum"] = torch.zeros_like(grad)
        state["momentum"].lerp_(grad, 1 - group["momentum"])
        matrix = grad.lerp(state["momentum"], group["momentum"]).flatten(1)
        size = 0.2 * math.sqrt(max(matrix.shape))
        return (size * orthogonalise(matrix.to(self.dtype))).to(grad.dtype).view(grad.shape)

    def _adam(self, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        if not state:
            state.update(step=torch.zeros(()), mean=torch.zeros_like(grad), square=torch.zeros_like(grad))
        first, second = group["betas"]
        state["step"] += 1
        state["mean"].lerp_(grad, 1 - first)
        state["square"].lerp_(grad.square(), 1 - second)
        count = int(state["step"])
        spread = (state["square"] / (1 - second**count)).sqrt_().add_(group["eps"])
        return state["mean"] / (1 - first**count) / spread


def orthogonalise(matrix: Tensor, steps: int = NEWTON_SCHULZ_STEPS) -> Tensor:
    """About ``U V^T`` of the matrix ``U S V^T``: its singular values become some between 0.7 and 1.2.

    Those that are below a thousandth or so of the root of their sum of squares stay smaller; a matrix of zeros is
    returned as it is.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp_min(1e-12)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
