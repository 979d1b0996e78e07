"""What a metric is: one number for the samples of one problem."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..errors import InvalidArgument, InvalidFile, KintsugiError, MissingPackage
from ..operators.base import check_plain
from ..operators.realview import to_real
from ..problem import Problem

EXTRA = "metrics"
ROUNDING = 2 / 255 / 12**0.5  # standard deviation of rounding to 8 bits, for data in [-1, 1]


@dataclass(frozen=True)
class Metric(ABC):
    """One number for samples of one signal; computed in float64, but for networks, which get float32.

    Attributes
    ----------
    name: what :func:`make_metric` calls it.
    better: whether a "higher" or a "lower" value is better; "none" where it is neither.
    best: the value in between that is the best, if there is one for all problems (by default, where it can be set).
    unit: of the value; empty for plain numbers.
    needs: beyond the samples and the problem: "truth", the signal that was measured; "samples", at least two of
        them; "oracle", the exact posterior.
    takes_complex: whether complex signals are allowed, as twice as many real channels. Metrics of pictures refuse
        them: take magnitudes first.
    """

    name: ClassVar[str]
    better: ClassVar[Literal["higher", "lower", "none"]]
    best: ClassVar[float | None] = None
    unit: ClassVar[str] = ""
    needs: ClassVar[frozenset[str]] = frozenset({"truth"})
    takes_complex: ClassVar[bool] = False

    @abstractmethod
    def _value(self, samples: Tensor, truth: Tensor | None, problem: Problem | None) -> float:
        """The metric of checked, real samples (n, C, *S) in float64; ``truth`` is there if it is needed."""

    def lack(self) -> KintsugiError | None:
        """The error that a call raises because a package, a file or a setting is missing; None if nothing is."""
        return None

    def missing(self) -> str | None:
        """What is missing to compute the metric, and where it was looked for, in words; None if nothing is."""
        lack = self.lack()
        return None if lack is None else str(lack)

    def __call__(self, samples: Tensor, truth: Tensor | None = None, problem: Problem | None = None) -> float:
        """The metric of ``samples`` (n, C, *S), a clean pixel in [-1, 1], not clipped.

        ``truth`` (C, *S) and ``problem`` (one row) may be None where they are not needed. The value is nan where its
        formula is 0/0. Errors: :class:`InvalidArgument`; what :meth:`lack` returns.
        """
        least = 2 if "samples" in self.needs else 1
        _check_signals("samples", samples)
        if samples.ndim < 3 or len(samples) < least:
            expected = f"shape (n, C, *S) with n of at least {least}"
            raise InvalidArgument("samples", tuple(samples.shape), expected)
        if "truth" in self.needs and truth is None:
            raise InvalidArgument("truth", None, f"the signal that was measured, for {self.name}")
        if truth is not None:
            _check_signals("truth", truth)
            if truth.shape != samples.shape[1:]:
                raise InvalidArgument("truth", tuple(truth.shape), f"the shape of a sample, {tuple(samples.shape[1:])}")
            if truth.is_complex() != samples.is_complex():
                raise InvalidArgument("truth", truth.dtype, f"a signal of the samples' kind, {samples.dtype}")
        if samples.is_complex() and not self.takes_complex:
            raise InvalidArgument("samples", samples.dtype, f"real numbers for {self.name}: take magnitudes first")
        if problem is not None and len(problem.batch) != 1:
            raise InvalidArgument("problem", f"{len(problem.batch)} rows", "a problem of one row")
        lack = self.lack()
        if lack is not None:
            raise lack
        x = to_real(samples.detach()).double()
        x0 = None if truth is None else to_real(truth.detach()[None])[0].to(x)
        with torch.no_grad():
            return self._value(x, x0, problem)


@dataclass(frozen=True)
class PictureMetric(Metric):
    """A metric of one picture against the truth: the value is the *average over the samples* of each one's metric.

    It is not the metric of the mean of the samples; for that, give the mean as a single sample. Samples and truth are
    clipped to [-1, 1] first, as a viewer sees them.

    ``least``: the smallest height and width that it takes; None for signals of any number of dimensions.
    """

    least: ClassVar[int | None] = None

    @abstractmethod
    def _each(self, x: Tensor, truth: Tensor) -> Tensor:
        """The metric of each of x (n, C, *S) in [-1, 1] against the truth (C, *S), as (n,)."""

    def _value(self, samples: Tensor, truth: Tensor | None, problem: Problem | None) -> float:
        assert truth is not None
        if self.least is not None:
            check_pictures("samples", samples, self.least, self.name)
        return float(self._each(samples.clamp(-1, 1), truth.clamp(-1, 1)).mean())


def _check_signals(name: str, x: Tensor) -> None:
    if not isinstance(x, Tensor) or not (x.is_floating_point() or x.is_complex()):
        raise InvalidArgument(name, getattr(x, "dtype", type(x)), "a tensor of floating point or complex numbers")
    check_plain(name, x)
    if x.numel() == 0 or not bool(torch.isfinite(x).all()):
        raise InvalidArgument(name, "no value, NaN or infinite values", "finite values")


def check_pictures(name: str, x: Tensor, least: int, metric: str) -> None:
    """Errors: :class:`InvalidArgument`, unless x is (n, C, H, W) with sides of at least ``least``."""
    if x.ndim != 4 or min(x.shape[-2:]) < least:
        raise InvalidArgument(name, tuple(x.shape), f"pictures of at least {least} x {least} pixels for {metric}")


def as_colour(x: Tensor, metric: str) -> Tensor:
    """Pictures (n, 3, H, W) for a network: grey ones get three equal channels."""
    if x.shape[1] not in (1, 3):
        raise InvalidArgument("samples", tuple(x.shape), f"one or three channels for {metric}")
    return x.expand(-1, 3, -1, -1)


def package_lack(name: str, metric: str) -> MissingPackage | None:
    """The error that says that the package ``name`` is missing; None if it can be found."""
    if importlib.util.find_spec(name) is not None:
        return None
    return MissingPackage(f"{metric} needs {name}: pip install 'kintsugi-diffusion[{EXTRA}]'", name=name)


def file_lack(path: Path, metric: str) -> InvalidFile | None:
    """The error that says that a file of weights is missing; None if it is there."""
    if path.is_file():
        return None
    return InvalidFile(path, f"not there; {metric} needs these weights, and nothing is downloaded")


def checkpoints() -> Path:
    """The folder where torch keeps downloaded weights: ``$TORCH_HOME/hub/checkpoints``."""
    return Path(torch.hub.get_dir()) / "checkpoints"
