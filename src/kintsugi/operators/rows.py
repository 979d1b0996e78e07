"""A batch in which each sample has an operator of its own: its own mask, its own kernel, its own angles.

The rows of a batch are independent, so this is the operators one by one; each keeps its closed forms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .base import DEFAULT_ACCURACY, Accuracy, Function, LinearOperator, Operator
from .covariance import StationaryCovariance

Kind = TypeVar("Kind", bound=Operator)


class PerRow(Operator):
    """Row i of a batch is measured by ``operators[i]``; all have the same shapes. Make one with :func:`per_row`."""

    def __init__(self, operators: Sequence[Operator]) -> None:
        if not operators:
            raise InvalidArgument("operators", "none", "one for each row of the batch")
        first = operators[0]
        for operator in operators:
            signals = (operator.in_shape, operator.in_complex) == (first.in_shape, first.in_complex)
            if not signals or (operator.out_shape, operator.out_complex) != (first.out_shape, first.out_complex):
                expected = f"{first.in_shape} -> {first.out_shape} for every row"
                raise InvalidArgument("operators", f"{operator.in_shape} -> {operator.out_shape}", expected)
            if operator.batch not in (None, 1):
                raise InvalidArgument("operators", f"an operator for {operator.batch} rows", "operators for one row")
        self.operators = tuple(operators)
        self.batch = len(operators)
        self.in_shape, self.in_complex = first.in_shape, first.in_complex
        self.out_shape, self.out_complex = first.out_shape, first.out_complex

    def _forward(self, x: Tensor) -> Tensor:
        return each(self.operators, lambda operator, row: operator(row), x)

    def vjp(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        parts = [operator.vjp(x[i : i + 1]) for i, operator in enumerate(self.operators)]

        def product(v: Tensor) -> Tensor:
            return torch.cat([back(v[i : i + 1]) for i, (_, back) in enumerate(parts)])

        return torch.cat([value for value, _ in parts]), product

    def jvp(self, x: Tensor, v: Tensor) -> Tensor:
        parts = [o.jvp(x[i : i + 1], v[i : i + 1]) for i, o in enumerate(self.operators)]
        return torch.cat(parts)

    @property
    def has_pinv(self) -> bool:
        return all(operator.has_pinv for operator in self.operators)

    def pinv(self, y: Tensor) -> Tensor:
        return each(self.operators, lambda operator, row: operator.pinv(row), y)

    def visible(self, x: Tensor) -> Tensor:
        return each(self.operators, lambda operator, row: operator.visible(row), x)

    def extend(self, x: Tensor) -> Tensor:
        return each(self.operators, lambda operator, row: operator.extend(row), x)

    def select(self, rows: Sequence[int]) -> Operator:
        return per_row([self.operators[i] for i in rows])

    def settings(self) -> dict[str, Any]:
        return {"operators": [operator.describe() for operator in self.operators]}


class LinearPerRow(PerRow, LinearOperator):
    """:class:`PerRow` of linear operators, with their Gram calculus."""

    def __init__(self, operators: Sequence[LinearOperator]) -> None:
        super().__init__(operators)
        self.linear = tuple(operators)
        self.cutoff = max(operator.cutoff for operator in operators)

    def _adjoint(self, y: Tensor) -> Tensor:
        return each(self.linear, lambda operator, row: operator.adjoint(row), y)

    def gram(self, h: Function, u: Tensor) -> Tensor:
        return each(self.linear, lambda operator, row: operator.gram(h, row), u)

    def gram_sum(self, h: Callable[[Tensor], Sequence[Tensor]], us: Sequence[Tensor]) -> Tensor:
        parts = [o.gram_sum(h, [u[i : i + 1] for u in us]) for i, o in enumerate(self.linear)]
        return torch.cat(parts)

    def solve(self, r2: float, sigma2: float, u: Tensor) -> Tensor:
        return each(self.linear, lambda operator, row: operator.solve(r2, sigma2, row), u)

    def solve_normal(
        self,
        covariance: StationaryCovariance,
        sigma2: float,
        r: Tensor,
        accuracy: Accuracy = DEFAULT_ACCURACY,
    ) -> Tensor:
        return each(self.linear, lambda operator, row: operator.solve_normal(covariance, sigma2, row, accuracy), r)

    def gain(
        self,
        covariance: StationaryCovariance,
        sigma2: float,
        r: Tensor,
        accuracy: Accuracy = DEFAULT_ACCURACY,
    ) -> Tensor:
        return each(self.linear, lambda operator, row: operator.gain(covariance, sigma2, row, accuracy), r)

    @property
    def flat(self) -> float | None:
        values = {operator.flat for operator in self.linear}
        return values.pop() if len(values) == 1 else None

    def vjp(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        return self(x), self.adjoint

    def select(self, rows: Sequence[int]) -> LinearOperator:
        return LinearPerRow([self.linear[i] for i in rows])


def per_row(operators: Sequence[Operator]) -> Operator:
    """One operator for a batch, whose row i is measured by ``operators[i]``; linear where all are."""
    linear = [operator for operator in operators if isinstance(operator, LinearOperator)]
    return LinearPerRow(linear) if len(linear) == len(operators) else PerRow(operators)


def each(operators: Sequence[Kind], apply: Callable[[Kind, Tensor], Tensor], x: Tensor) -> Tensor:
    """``apply(operators[i], x[i : i + 1])``, put together."""
    return torch.cat([apply(operator, row) for operator, row in zip(operators, x.split(1), strict=True)])
