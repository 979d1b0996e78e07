"""The inverse problem: what was measured, how, and with how much noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .errors import InvalidArgument
from .likelihood import NoiseModel, estimated_mean
from .operators.base import LinearOperator, Operator, check_plain, single
from .operators.realview import real_view, to_real
from .operators.rows import per_row
from .operators.selection import Mask


@dataclass(frozen=True, eq=False)
class Problem:
    """``y = A(x) + noise``: find ``x``.

    Attributes
    ----------
    y: the measurement, ``out_shape`` or ``(B, *out_shape)`` of the operator, finite, in the units of the data (for
        pictures: a clean pixel is in [-1, 1]); complex where the operator's measurements are.
    operator: the measurement ``A``.
    noise: standard deviation of the white Gaussian noise in ``y``, in the units of ``y`` (of its real and of its
        imaginary part). One grey level of an 8-bit picture is 2/255 in [-1, 1].
    model: noise that is not white and Gaussian (:mod:`kintsugi.likelihood`), instead of ``noise``. Samplers then
        see :meth:`whitened`.
    guess: an estimate of ``x`` from elsewhere, ``in_shape`` or ``(B, *in_shape)``, from which samplers begin that
        begin with an estimate, in place of ``A^+ y`` and the like (Chung, Sim and Ye, CVPR 2022); it is no
        measurement. None: theirs.
    guess_error: the standard deviation of its error, where that is known: at about this noise level a sampler begins
        that chooses where to begin.
    """

    y: Tensor
    operator: Operator
    noise: float = 0.0
    model: NoiseModel | None = None
    guess: Tensor | None = None
    guess_error: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.operator, Operator):
            raise InvalidArgument("operator", type(self.operator).__name__, "an Operator")
        if isinstance(self.y, Tensor):
            check_plain("y", self.y)
        shape, rows = tuple(self.operator.out_shape), self.operator.batch
        numbers = "complex" if self.operator.out_complex else "floating point"
        if not isinstance(self.y, Tensor) or not (
            self.y.is_complex() if self.operator.out_complex else self.y.is_floating_point()
        ):
            raise InvalidArgument("y", getattr(self.y, "dtype", type(self.y)), f"a tensor of {numbers} numbers")
        if tuple(self.y.shape) != shape and tuple(self.y.shape[1:]) != shape:
            raise InvalidArgument("y", tuple(self.y.shape), f"the operator's shape {shape}, or a batch of it")
        if rows is not None and len(self.batch) != rows:
            raise InvalidArgument("y", tuple(self.y.shape), f"the operator's {rows} rows, {(rows, *shape)}")
        if self.y.numel() == 0:
            raise InvalidArgument("y", tuple(self.y.shape), "at least one measurement")
        if not bool(torch.isfinite(self.y).all()):
            raise InvalidArgument("y", "a measurement with NaN or infinite values", "finite values")
        try:
            noise = math.nan if isinstance(self.noise, str) else float(self.noise)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            noise = math.nan
        if not (math.isfinite(noise) and noise >= 0):
            expected = "a finite standard deviation of at least 0"
            if isinstance(self.noise, NoiseModel):
                expected += "; a noise model goes into the argument model"
            raise InvalidArgument("noise", self.noise, expected)
        object.__setattr__(self, "noise", noise)  # a number of NumPy or a tensor of one becomes a float
        if self.model is not None:
            if not isinstance(self.model, NoiseModel):
                raise InvalidArgument("model", type(self.model).__name__, "a NoiseModel or None")
            if noise > 0:
                raise InvalidArgument("noise", noise, "0 beside a noise model")
            if self.operator.out_complex:
                raise InvalidArgument("model", type(self.model).__name__, "None: complex readings are no counts")
        if self.guess is not None:
            object.__setattr__(self, "guess", self._checked_guess(self.guess))
        error = self.guess_error
        if error is not None and (self.guess is None or not (isinstance(error, float | int) and 0 < error < math.inf)):
            raise InvalidArgument("guess_error", error, "a positive standard deviation, beside a guess")

    def _checked_guess(self, guess: Tensor) -> Tensor:
        """``guess`` as (B, *in_shape)."""
        shape = tuple(self.operator.in_shape)
        if not isinstance(guess, Tensor):
            raise InvalidArgument("guess", type(guess).__name__, "a tensor or None")
        check_plain("guess", guess)
        complex_ = self.operator.in_complex
        if not (guess.is_complex() if complex_ else guess.is_floating_point()):
            raise InvalidArgument("guess", guess.dtype, f"{'complex' if complex_ else 'floating point'} numbers")
        rows = guess[None] if tuple(guess.shape) == shape else guess
        if tuple(rows.shape) != (len(self.batch), *shape):
            expected = f"a signal for each measurement, {(len(self.batch), *shape)}"
            raise InvalidArgument("guess", tuple(guess.shape), expected)
        if not bool(torch.isfinite(rows).all()):
            raise InvalidArgument("guess", "NaN or infinite values", "finite values")
        return rows

    @property
    def batch(self) -> Tensor:
        """``y`` with shape (B, *out_shape)."""
        return self.y if self.y.ndim > len(self.operator.out_shape) else self.y[None]

    def with_rows(self, y: Tensor) -> Problem:
        """Another measurement by the same operator."""
        return replace(self, y=y)

    def select(self, rows: Sequence[int]) -> Problem:
        """These rows of the batch, in this order, each with its own operator where there are several."""
        guess = None if self.guess is None else self.guess[list(rows)]
        return replace(self, y=self.batch[list(rows)], operator=self.operator.select(rows), guess=guess)

    def in_single(self) -> Problem:
        """The same problem with a measurement of half precision in single: Fourier transforms and solvers need it."""
        wide = single(self.y)
        return self if wide is self.y else replace(self, y=wide)

    def on_real(self) -> Problem:
        """The same problem with complex numbers as twice as many real channels (``operators/realview.py``)."""
        operator = real_view(self.operator)
        if operator is self.operator:
            return self
        guess = None if self.guess is None else to_real(self.guess)
        return replace(self, y=to_real(self.batch), operator=operator, guess=guess)

    def whitened(self) -> Problem:
        """A problem with white Gaussian noise that stands for one with a noise model; see :mod:`kintsugi.likelihood`.

        Samples are weighted by the standard deviations that the readings around them imply. Where ``A^T A`` is a
        multiple of the identity (denoising) they are not: white noise of the mean variance keeps the exact step of
        the default sampler (:mod:`kintsugi.guidance.spectral`), which is worth more. The mean is over all rows, so
        give rows of different brightness one by one, as :func:`kintsugi.restore` does.
        """
        if self.model is None:
            return self
        y = self.batch
        variance = self.model.variance(estimated_mean(y.double(), self.model))
        if isinstance(self.operator, LinearOperator) and self.operator.scalar is not None:
            return replace(self, y=y, noise=float(variance.mean().sqrt()), model=None)
        typical = self.model.typical_variance
        weights = (typical / variance).sqrt()
        masks = [Mask(row, self.operator.out_shape) for row in weights]
        weigh = masks[0] if len(masks) == 1 else per_row(masks)  # one measurement may have many samples
        whitened = (weights * y).to(y)
        return replace(self, y=whitened, operator=weigh @ self.operator, noise=typical**0.5, model=None)

    @classmethod
    def simulate(
        cls, x: Tensor, operator: Operator, noise: float = 0.0, seed: int = 0, model: NoiseModel | None = None
    ) -> Problem:
        """Measure clean signals and add white noise, or that of ``model``: for experiments.

        ``x`` has the operator's shape (B, *in_shape), or is the visible part of it, then extended by mirroring.
        """
        generator = torch.Generator().manual_seed(seed)
        if tuple(x.shape[1:]) != tuple(operator.in_shape):
            x = operator.extend(x)
        y = operator(x)
        if model is not None:
            return cls(model.sample(y, generator), operator, noise, model)
        white = torch.randn((*y.shape, 2) if y.is_complex() else y.shape, generator=generator, dtype=y.real.dtype)
        return cls(y + noise * (torch.view_as_complex(white) if y.is_complex() else white).to(y), operator, noise)
