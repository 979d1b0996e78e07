"""Settings of a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ..errors import InvalidArgument
from ..priors.unet import UNetConfig


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a run depends on, beside the images.

    batch is per process; a run on n GPUs sees n times as many crops a step. ``oversample`` is the power of its pixel
    count with which an image is drawn: 0 draws every file alike, 1 every pixel alike, so that large varied
    photographs are not drowned by many small ones. Noise levels are drawn log-uniform, a share ``focus_share`` from
    ``focus`` and the rest from ``eta_range``.
    """

    steps: int = 36_000
    batch: int = 4
    crop: int = 96
    lr: float = 1e-3
    warmup: int = 300
    ema: float = 0.999
    clip: float = 1.0
    seed: int = 0
    oversample: float = 1.0
    min_scale: float = 0.3
    grey_share: float = 0.05
    eta_range: tuple[float, float] = (0.004, 80.0)
    focus: tuple[float, float] = (0.05, 1.0)
    focus_share: float = 0.6
    data_variance: float = 0.25
    validation_share: float = 0.08
    validation_levels: tuple[float, ...] = (0.02, 0.05, 2 * 15 / 255, 2 * 25 / 255, 2 * 50 / 255, 1.0, 3.0, 10.0)
    validation_crops: int = 48
    save_every: int = 500
    validate_every: int = 2500
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    net: UNetConfig = field(default_factory=UNetConfig)

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "crop", "save_every", "validate_every", "validation_crops"):
            if getattr(self, name) < 1:
                raise InvalidArgument(name, getattr(self, name), "an integer of at least 1")
        if self.crop % self.net.multiple:
            raise InvalidArgument("crop", self.crop, f"a multiple of {self.net.multiple}, for this network")
        for name in ("seed", "warmup", "oversample"):
            if getattr(self, name) < 0:
                raise InvalidArgument(name, getattr(self, name), "a number of at least 0")
        for name in ("lr", "clip", "data_variance"):
            if not getattr(self, name) > 0:
                raise InvalidArgument(name, getattr(self, name), "a positive number")
        for name in ("grey_share", "focus_share", "ema"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidArgument(name, getattr(self, name), "a number from 0 to 1")
        if not 0 < self.min_scale <= 1:
            raise InvalidArgument("min_scale", self.min_scale, "a number above 0 and at most 1")
        if not 0 < self.validation_share < 1:
            raise InvalidArgument("validation_share", self.validation_share, "a number between 0 and 1")
        for name in ("eta_range", "focus"):
            low, high = getattr(self, name)
            if not 0 < low < high:
                raise InvalidArgument(name, (low, high), "two noise levels, 0 < low < high")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
