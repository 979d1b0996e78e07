"""Whether a classifier sees in the samples what it sees in the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..errors import InvalidArgument, KintsugiError
from .base import PictureMetric

Classifier = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Top1(PictureMetric):
    """Share of the samples to which ``classifier`` gives the label that it gives to the truth.

    ``classifier``: a function of float32 signals (n, C, *S) in [-1, 1] to scores (n, classes); the label is the class
    of the highest. ``label``: the true class, in place of the one that the truth is given.
    """

    name: ClassVar[str] = "top1"
    better: ClassVar[Literal["higher", "lower", "none"]] = "higher"

    classifier: Classifier | None = None
    label: int | None = None

    def lack(self) -> KintsugiError | None:
        if self.classifier is not None:
            return None
        return InvalidArgument(
            "classifier", None, "a function to scores (n, classes): make_metric('top1', classifier=f)"
        )

    def _each(self, x: Tensor, truth: Tensor) -> Tensor:
        assert self.classifier is not None
        signals = torch.cat((truth[None], x)).float()
        scores = self.classifier(signals)
        if scores.ndim != 2 or len(scores) != len(signals):
            raise InvalidArgument("classifier", tuple(scores.shape), f"scores of shape ({len(signals)}, classes)")
        if self.label is not None and not 0 <= self.label < scores.shape[1]:
            raise InvalidArgument("label", self.label, f"a class from 0 to {scores.shape[1] - 1}")
        labels = scores.argmax(1)
        return (labels[1:] == (labels[0] if self.label is None else self.label)).double()
