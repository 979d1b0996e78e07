"""What kind of problem it is, as far as settings depend on it: an operator's word, one number, and the noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InvalidArgument

if TYPE_CHECKING:
    from ..bench.problems import ProblemSpec
    from ..tasks import Settings

# The number that each kind of problem has; the words are those of suites (kintsugi.bench.problems).
PARAMETERS: dict[str, str | None] = {
    "bicubic": "factor",
    "average": "factor",
    "random": "keep",
    "box": "size",
    "gaussian": "sigma",
    "motion": "length",
    "uniform": "size",
    "half": None,
    "mask": None,
    "separable": None,
    "denoise": None,
    "colorize": None,
    "jpeg": "quality",
    "hdr": "gain",
    "quantise": "bits",
    "phase": "oversample",
}
# Noise below this is as good as none: the rounding of 8 bits, in the units of the data.
FLOOR = 2 / 255 / math.sqrt(12)


@dataclass(frozen=True)
class Place:
    """``operator``: a word of ``PARAMETERS``; ``parameter``: its number; ``noise`` in the units of the data, [-1, 1].

    >>> Place("bicubic", 4, 0.05).shown
    'bicubic, factor 4, noise 0.05'
    """

    operator: str
    parameter: float | None = None
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.operator not in PARAMETERS:
            raise InvalidArgument("operator", self.operator, f"one of {', '.join(PARAMETERS)}")
        word = PARAMETERS[self.operator]
        if self.parameter is not None and not (word and 0 < self.parameter < math.inf):
            raise InvalidArgument(word or "parameter", self.parameter, "a number above 0" if word else "none")
        if not 0 <= self.noise < math.inf:
            raise InvalidArgument("noise", self.noise, "a finite number of at least 0")

    @classmethod
    def of_spec(cls, spec: ProblemSpec) -> Place:
        """The place of a problem of a suite."""
        word = PARAMETERS[spec.operator]
        return cls(spec.operator, None if word is None else float(getattr(spec, word)), spec.noise)

    @classmethod
    def of_task(cls, task: str, settings: Settings, noise: float) -> Place:
        """The place of a task of the command line; ``noise`` in the units of the data.

        A mask is "random" or "box" by whether most missing pixels have a known neighbour; a kernel is "motion" where it
        is much longer than wide, else "gaussian". Errors: :class:`InvalidArgument` for a task that presets do not know.
        """
        if task == "inpaint" and settings.mask is not None:
            return cls(*_of_mask(settings.mask), noise)
        if task == "deblur" and settings.kernel is not None:
            return cls(*_of_kernel(settings.kernel), noise)
        words: dict[str, tuple[str, float | None]] = {
            "sr": ("bicubic", settings.factor),
            "denoise": ("denoise", None),
            "colorize": ("colorize", None),
            "jpeg": ("jpeg", settings.quality),
            "dequantize": ("quantise", settings.bits),
            "hdr": ("hdr", settings.gain),
        }
        if task not in words:
            raise InvalidArgument("task", task, f"one of inpaint, deblur, {', '.join(words)}")
        return cls(*words[task], noise)

    @property
    def shown(self) -> str:
        """In words."""
        number = "" if self.parameter is None else f", {PARAMETERS[self.operator]} {self.parameter:.3g}"
        return f"{self.operator}{number}, noise {self.noise:.3g}"

    def stated(self) -> dict[str, Any]:
        """As a preset's entry states it."""
        word = PARAMETERS[self.operator]
        number = {} if word is None or self.parameter is None else {word: self.parameter}
        return {"operator": self.operator, **number, "noise": self.noise}

    def distance(self, other: Place) -> float:
        """Of the number and of the noise, in natural logarithms; infinite between kinds."""
        if self.operator != other.operator:
            return math.inf
        apart = abs(math.log((self.noise + FLOOR) / (other.noise + FLOOR)))
        if self.parameter is not None and other.parameter is not None:
            apart += abs(math.log(self.parameter / other.parameter))
        return apart


def _of_mask(missing: Tensor) -> tuple[str, float]:
    """Kind and number of a mask (1, H, W), True where pixels are missing: the share that is known, or the side of a
    square as large as the hole."""
    holes = missing.float()[None]
    inside = F.max_pool2d(1 - holes, 3, stride=1, padding=1) == 0  # missing, with all eight neighbours
    if float(inside.float().sum()) > 0.5 * float(holes.sum()):
        return "box", math.sqrt(float(holes.sum()))
    return "random", max(float(1 - holes.mean()), 1e-6)


def _of_kernel(kernel: Tensor) -> tuple[str, float]:
    """Kind and number of a blur kernel (H, W) by its second moments: a line of length n has variance (n^2 - 1) / 12."""
    weights = kernel.double() / kernel.double().sum()
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in kernel.shape), indexing="ij")
    centred = torch.stack([axis - (weights * axis).sum() for axis in axes]).flatten(1)
    small, large = torch.linalg.eigvalsh((centred * weights.flatten()) @ centred.T).clamp_min(0).tolist()
    if small < 0.2 * large:
        return "motion", math.sqrt(12 * large + 1)
    return "gaussian", max(math.sqrt((small + large) / 2), 1e-3)
