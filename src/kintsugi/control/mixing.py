"""Between the original and the restoration:  out = original + strength (restored - original)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..problem import Problem


def baseline(problem: Problem) -> Tensor:
    """What the measurement looks like on the grid of the restoration, (B, *S): the ``original`` for :func:`mix`.

    The measurement itself where it has the signal's shape, as in denoising and deblurring; else the pseudo-inverse: the
    picture enlarged, or without its colours. The pseudo-inverse of a blur would be sharp and full of noise.

    Errors: :class:`InvalidArgument` for an operator with neither.
    """
    operator, y = problem.operator, problem.batch
    like = operator.visible(
        torch.zeros((1, *operator.in_shape), dtype=torch.complex64 if operator.in_complex else None)
    )
    if tuple(y.shape[1:]) == tuple(like.shape[1:]) and operator.in_complex == operator.out_complex:
        return y
    return operator.visible(operator.pinv(y))


def mix(restored: Tensor, original: Tensor, strength: float | Tensor) -> Tensor:
    """``original + strength (restored - original)``, both (..., C, *S) in the units of the data.

    strength: from 0, as it was, to 1, as restored; a number, or one for each pixel (1, *S).

    >>> mix(torch.ones(3, 1, 2), torch.zeros(3, 1, 2), torch.tensor([[[0.0, 0.5]]]))[0]
    tensor([[0.0000, 0.5000]])
    """
    if restored.shape[-original.ndim :] != original.shape:
        raise InvalidArgument("original", tuple(original.shape), f"the restoration's shape {tuple(restored.shape)}")
    if not isinstance(strength, Tensor):
        if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 <= strength <= 1:
            raise InvalidArgument("strength", strength, "a number from 0 to 1, or a map of them")
        return torch.lerp(original.expand_as(restored), restored, float(strength))
    space = tuple(original.shape[1:])
    if tuple(strength.shape) != (1, *space):
        raise InvalidArgument("strength", tuple(strength.shape), f"a number, or a map of shape {(1, *space)}")
    if not bool(((strength >= 0) & (strength <= 1)).all()):
        raise InvalidArgument("strength", "a map with other values", "values from 0 to 1")
    return torch.lerp(original.expand_as(restored), restored, strength.to(restored).expand_as(restored))
