"""A long sound in passages that overlap, and the results joined without clicks.

Neighbouring passages share ``overlap`` samples, over which one fades into the other: weights that add to one at each
sample, zero where a passage begins and ends, and rise like ``sin^2``, without a corner. Of a recording of which only
some samples are lost, only what surrounds these is restored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .gaps import runs


def cut(length: int, longest: int, overlap: int) -> list[tuple[int, int]]:
    """``(start, end)`` of passages of at most ``longest`` samples that cover ``length``, evenly spread.

    Neighbours share at least ``overlap`` samples, and no passage reaches its second neighbour's.
    """
    if overlap < 0 or longest <= 2 * overlap or length < 1:
        got = f"{longest} and {overlap}, of {length}"
        raise InvalidArgument("longest", got, "passages of more than twice their overlap")
    if length <= longest:
        return [(0, length)]
    count = math.ceil((length - overlap) / (longest - overlap))
    size = math.ceil((length + (count - 1) * overlap) / count)
    starts = [round(i * (length - size) / (count - 1)) for i in range(count)]
    return [(start, start + size) for start in starts]


def join(parts: Iterable[Tensor], where: Sequence[tuple[int, int]], scale: int = 1) -> Tensor:
    """The sound (..., T) of passages (..., n), in their order; ``where`` as :func:`cut` says, times ``scale``."""
    out: Tensor | None = None
    for i, part in enumerate(parts):
        start, end = (scale * k for k in where[i])
        if part.shape[-1] != end - start:
            raise InvalidArgument("parts", tuple(part.shape), f"a passage of {end - start} samples")
        if out is None:
            out = part.new_zeros((*part.shape[:-1], scale * where[-1][1]))
        fade = torch.ones(end - start, dtype=torch.float64)
        if i > 0:
            n = scale * where[i - 1][1] - start
            fade[:n] = _rise(n)
        if i + 1 < len(where):
            n = end - scale * where[i + 1][0]
            fade[len(fade) - n :] = 1 - _rise(n)
        out[..., start:end] += fade.to(part) * part
    if out is None:
        raise InvalidArgument("parts", "none", "at least one passage")
    return out


def around(lost: Tensor, context: int) -> list[tuple[int, int]]:
    """``(start, end)`` of the parts of a sound with samples that are ``lost`` (T,) and ``context`` samples on each side
    of them; parts that would touch are one."""
    out: list[tuple[int, int]] = []
    for start, end in runs(lost):
        first, last = max(start - context, 0), min(end + context, len(lost))
        if out and first <= out[-1][1]:
            first = out.pop()[0]
        out.append((first, last))
    return out


def _rise(n: int) -> Tensor:
    return torch.sin(math.pi / 2 * (torch.arange(n, dtype=torch.float64) + 0.5) / n) ** 2
