"""Any network of a diffusion or flow model as a denoiser in the canonical variables.

An adapter says what the network predicts (``prediction.py``), along which path, and what it calls the time
(``clock.py``); all else is here:

    D(z, eta) = c_skip z + c_out F(c_in z, time(eta), condition)

With classifier-free guidance (Ho and Salimans, 2022) ``F = F_null + s (F_condition - F_null)``, two evaluations.

A network that only knows certain noise levels is asked at the nearest, ``eta_k``, and what is held from there to
``eta`` is the F of Karras et al. (2022), which varies least with the level (``c_in, c_skip, c_out`` of "edm"):

    z' = z c_in(eta) / c_in(eta_k)    F = (D(z', eta_k) - c_skip(eta_k) z') / c_out(eta_k)
    D(z, eta) = c_skip(eta) z + c_out(eta) F

exact for white Gaussian data, and for ``eta = 0``. docs/own-models.md has what it costs.

A network of data in another range than [-1, 1], ``x' = a x + b``, is asked with ``z' = a z + b`` at ``a eta``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..errors import InvalidArgument, KintsugiError, is_whole
from ..memory import ran_out
from ..paths import Path, Rescaled
from .base import Prior
from .clock import Clock, as_level
from .prediction import PREDICTIONS, Form, Prediction, coefficients

Network = Callable[..., Any]


@dataclass(frozen=True)
class Condition:
    """Keyword arguments of the network for a batch of n rows, with the condition and, where there is one, without.

    ``words``: what the user asked for, for reports.
    """

    given: Callable[[int], Mapping[str, Any]]
    null: Callable[[int], Mapping[str, Any]] | None = None
    scale: float = 1.0
    words: Mapping[str, Any] = field(default_factory=dict)


class ModelPrior(Prior):
    """``network(x_t, time, **condition)`` of a known ``path`` and ``prediction`` as a prior.

    ``network`` returns a tensor of the shape of its input, a tuple that begins with one, or an object with ``.sample``;
    channels beyond those of its input (a learned variance) are not used.

    data_range: the network's values for black and white; ``path``, ``clock`` and the variance of the EDM predictions
    are in the network's own units, ``data_variance`` with them.

    classes: the number of classes of a class-conditional network, which gets ``class_labels`` (B,). null_label: the one
    that stands for none, where the network was trained with one; without it a label has to be chosen.
    """

    def __init__(
        self,
        network: Network,
        path: Path,
        prediction: Prediction | Form,
        clock: Clock,
        *,
        shape: Sequence[int | None] | None = None,
        data_range: tuple[float, float] = (-1.0, 1.0),
        data_variance: float = 0.25,
        classes: int | None = None,
        null_label: int | None = None,
        card: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not callable(network):
            raise InvalidArgument("network", type(network).__name__, "a module or a function (x, time)")
        if prediction not in PREDICTIONS and not callable(prediction):
            raise InvalidArgument("prediction", prediction, f"one of {', '.join(PREDICTIONS)}")
        if not 0 < data_variance < float("inf"):
            raise InvalidArgument("data_variance", data_variance, "a positive number")
        low, high = data_range
        if not -float("inf") < low < high < float("inf"):
            raise InvalidArgument("data_range", data_range, "two finite numbers, black and white")
        self._gain, self._offset = (high - low) / 2, (high + low) / 2
        self.network = network
        self.native = path
        self.path = path if self._gain == 1 else Rescaled(path, self._gain)
        self._native_std = data_variance**0.5
        self.prediction, self.clock = prediction, clock
        self.shape = None if shape is None else tuple(shape)
        self.data_variance = data_variance / self._gain**2
        self.classes, self.null_label = classes, null_label
        self.condition = None if null_label is None else Condition(_labelled(null_label))
        self.card = dict(card or {})

    condition: Condition | None

    def check(self) -> None:
        if self.classes is not None and self.condition is None:
            raise InvalidArgument(
                "label", "none", f"a class from 0 to {self.classes - 1}: prior.with_condition(label=...)"
            )

    def with_condition(
        self, *, label: int | None = None, prompt: str | None = None, guidance_scale: float | None = None
    ) -> Self:
        if self.classes is None or prompt is not None:
            return super().with_condition(label=label, prompt=prompt, guidance_scale=guidance_scale)
        if label is None or not is_whole(label, 0, self.classes - 1):
            raise InvalidArgument("label", label, f"a class from 0 to {self.classes - 1}")
        scale = 1.0 if guidance_scale is None else check_scale(guidance_scale)
        if self.null_label is None and scale != 1:
            raise InvalidArgument("guidance_scale", scale, "1: the network was not trained without a label")
        null = None if self.null_label is None else _labelled(self.null_label)
        return self._with(Condition(_labelled(label), null, scale, {"label": label, "guidance_scale": scale}))

    @property
    def evaluations(self) -> int:
        """Runs of the network for one denoising: 2 with classifier-free guidance."""
        return 2 if self.condition is not None and self._guided(self.condition) else 1

    @staticmethod
    def _guided(condition: Condition) -> bool:
        return condition.null is not None and condition.scale != 1

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        if (self._gain, self._offset) == (1, 0):
            return self._denoise(z, as_level(eta))
        d = self._denoise(self._gain * z + self._offset, self._gain * as_level(eta))
        return (d - self._offset) / self._gain

    def _denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        """:meth:`denoise` in the units of the network; ``eta`` float64 on the CPU."""
        time, level = self.clock(eta)
        if torch.equal(level, eta):
            return self._ask(z, time, level)
        here, there = (coefficients("edm", self.native, v, self._native_std) for v in (eta, level))
        scaled = _rows(here[0] / there[0], z) * z
        ratio = here[2] / there[2]
        d = self._ask(scaled, time, level) - _rows(there[1], z) * scaled
        return _rows(here[1], z) * z + _rows(ratio, z) * d

    def _ask(self, z: Tensor, time: Tensor, level: Tensor) -> Tensor:
        """``D(z, level)`` of a level that the network knows as ``time``."""
        # The network's own path, whatever path a sampler wants to see (with_path).
        c_in, c_skip, c_out = coefficients(self.prediction, self.native, level, self._native_std)
        out = self._run((_rows(c_in, z) * z).to(self._dtype(z)), time.to(z)).to(z)
        return _rows(c_skip, z) * z + _rows(c_out, z) * out

    def _run(self, x: Tensor, time: Tensor) -> Tensor:
        condition = self.condition
        if condition is None:
            return self._call(x, time, {})
        if not self._guided(condition):
            return self._call(x, time, condition.given(len(x)))
        assert condition.null is not None
        without = self._call(x, time, condition.null(len(x)))
        return without + condition.scale * (self._call(x, time, condition.given(len(x))) - without)

    def _call(self, x: Tensor, time: Tensor, words: Mapping[str, Any]) -> Tensor:
        words = {k: v.to(x.device) if isinstance(v, Tensor) else v for k, v in words.items()}
        try:
            out = self.network(x, time, **words)
        except (
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:  # sizes, or settings, that do not fit
            if isinstance(error, KintsugiError) or ran_out(error):
                raise
            what = f"a network that takes signals of shape {tuple(x.shape[1:])}"
            raise InvalidArgument("prior", f"{type(error).__name__}: {error}", what) from error
        if not isinstance(out, Tensor):
            out = out[0] if isinstance(out, tuple) else out.sample
        return out[:, : x.shape[1]]

    def _dtype(self, z: Tensor) -> torch.dtype:
        """What the weights are in: a float64 measurement runs through a float32 network."""
        if not isinstance(self.network, nn.Module):
            return z.dtype
        return next((p.dtype for p in self.network.parameters() if p.is_floating_point()), z.dtype)

    def _with(self, condition: Condition) -> Self:
        other = copy.copy(self)
        other.condition = condition
        return other


def _rows(c: Tensor, like: Tensor) -> Tensor:
    """A number for each row of ``like``."""
    return c.to(like).view(-1, *(1,) * (like.ndim - 1))


def check_scale(scale: float) -> float:
    """A ``guidance_scale``: a finite number of at least 0."""
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 <= scale < float("inf"):
        raise InvalidArgument("guidance_scale", scale, "a number of at least 0")
    return float(scale)


def _labelled(label: int) -> Callable[[int], Mapping[str, Any]]:
    return lambda n: {"class_labels": torch.full((n,), label, dtype=torch.long)}
