"""Quasi-Newton descent on a differentiable cost of one vector, as all fits of parameters here use it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def descend(
    cost: Callable[[Tensor], Tensor], start: Tensor, keep: Tensor | None = None, **options: Any
) -> tuple[Tensor, float]:
    """The vector at which L-BFGS with a line search ends from ``start``, and the cost there.

    ``keep``, where given, multiplies the gradient: 0 for numbers that stay. ``options`` are those of
    ``torch.optim.LBFGS``.
    """
    with torch.inference_mode(False), torch.enable_grad():
        vector = start.detach().clone().requires_grad_(True)
        search = torch.optim.LBFGS([vector], line_search_fn="strong_wolfe", **options)

        def closure() -> Tensor:
            search.zero_grad()
            value = cost(vector)
            value.backward()
            if keep is not None and vector.grad is not None:
                vector.grad.mul_(keep)
            return value.detach()

        search.step(closure)
        end = float(cost(vector).detach())
    return vector.detach(), end
