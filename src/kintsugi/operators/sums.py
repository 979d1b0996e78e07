"""Sums of linear operators: ``y = A x + B x``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .base import LinearOperator, total
from .stationary import Stationary
from .unstructured import Unstructured


def add(first: LinearOperator, second: LinearOperator) -> LinearOperator:
    """``first + second``, in closed form where both are convolutions of the same channels on the same grid."""
    if type(first) is Stationary and type(second) is Stationary and first.in_shape == second.in_shape:
        same = first.factor == second.factor and torch.equal(first.colour, second.colour)
        if same:
            return Stationary(
                first.in_shape,
                first.transfer + second.transfer,
                factor=first.factor,
                colour=first.colour,
                cutoff=max(first.cutoff, second.cutoff),
            )
    terms = [t for part in (first, second) for t in (part.terms if isinstance(part, Sum) else (part,))]
    return Sum(terms)


class Sum(Unstructured):
    """``y = sum_i A_i x``; functions of its Gram operator by Lanczos."""

    def __init__(self, terms: Sequence[LinearOperator]) -> None:
        super().__init__(cutoff=max(t.cutoff for t in terms))
        first = terms[0]
        for term in terms[1:]:
            same_in = term.in_shape == first.in_shape and term.in_complex == first.in_complex
            if not (same_in and term.out_shape == first.out_shape and term.out_complex == first.out_complex):
                expected = f"an operator {first.in_shape} -> {first.out_shape}, as the other"
                raise InvalidArgument("operator", f"{term.in_shape} -> {term.out_shape}", expected)
        self.terms = tuple(terms)
        self.in_shape, self.out_shape = first.in_shape, first.out_shape
        self.in_complex, self.out_complex = first.in_complex, first.out_complex
        self.batch = common_batch(terms)

    def _forward(self, x: Tensor) -> Tensor:
        return total(term(x) for term in self.terms)

    def _adjoint(self, y: Tensor) -> Tensor:
        return total(term.adjoint(y) for term in self.terms)

    def select(self, rows: Sequence[int]) -> LinearOperator:
        return Sum([term.select(rows) for term in self.terms])

    def settings(self) -> dict[str, Any]:
        return {"terms": [term.describe() for term in self.terms]}


def common_batch(operators: Sequence[LinearOperator]) -> int | None:
    """The number of rows that all of them are for, None if any will do."""
    rows = {operator.batch for operator in operators} - {None}
    if len(rows) > 1:
        raise InvalidArgument("operator", f"operators for {sorted(map(str, rows))} rows", "operators for the same rows")
    return next(iter(rows), None)
