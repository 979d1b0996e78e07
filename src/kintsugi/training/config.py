"""Settings of a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from ..errors import InvalidArgument
from ..priors.network import NetworkPrediction
from ..priors.unet import UNetConfig

LABELS = 7  # numbers that describe an augmentation: see augment.py
Orientations = Literal["all", "mirrored", "one"]
Objective = Literal["denoising", "flow"]
Optimizer = Literal["muon", "adam"]


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a run depends on, beside the images.

    batch is per process; a run on n GPUs sees n times as many crops a step. ``oversample`` is the power of its pixel
    count with which an image is drawn: 0 draws every file alike, 1 every pixel alike, so that large varied
    photographs are not drowned by many small ones. Noise levels are drawn log-uniform, a share ``focus_share`` from
    ``focus`` and the rest from ``eta_range``.

    min_scale, max_scale: the range of the factor by which half of the crops are reduced or enlarged. synthetic: the
    share of the crops that are no photographs but drawn, dead leaves and gradients: see ``synthetic.py``.

    balance: how much an easy crop, sky or a wall, counts for the gradient beside a difficult one: 0 as its squared
    error does, 1 as the logarithm of it does, which is PSNR. See ``loss.py``.

    size: instead of crops, whole pictures: the middle square of each, reduced to ``size`` x ``size``; ``crop``,
    ``min_scale``, ``max_scale``, ``synthetic`` and ``oversample`` are then not used. orientations: "all" eight,
    "mirrored" left to right or not, or only the "one" that is stored; None: all of crops, mirrored of whole pictures.
    grey_share: how many are turned grey; None: 0.05 of crops, no whole pictures. augment: the share of the pictures to
    which each change of ``augment.py`` is made, of at most ``shift`` (of the side), ``zoom`` (log of the factor),
    ``angle`` (degrees) and ``colour``.

    rate, pitch, quietest, mixed: of sounds, which a network with ``frame`` is trained on: see ``sounds.py``. Of the
    settings above they know ``crop``, in samples, and ``oversample``. :meth:`for_sounds` has defaults that suit them.

    objective: what is trained, a "denoising" network (EDM) or the velocity of a "flow" on the straight path; both see
    the same noise levels, which are ``t = eta / (1 + eta)`` to the flow.

    optimizer: "muon" (``muon.py``) or "adam" for all parameters. lr: its learning rate, half of which goes to what
    Muon leaves to Adam; None: 2e-3 of "muon", 1e-3 of "adam". weight_decay: the share of the weights that a step of
    learning rate 1 would take away; of the matrices alone by "muon".

    ema: the decay of the moving average of the weights, in the long run; the average of n steps looks back no further
    than about n / 9.

    net: the network; by default one without the norm, which is what photographs are denoised best by.

    cooldown: the steps at the end in which the learning rate falls, as a cosine, to a hundredth; before them it is
    constant. None: all of them. May be changed on resuming, as ``steps`` may.
    """

    steps: int = 36_000
    batch: int = 4
    crop: int = 96
    optimizer: Optimizer = "muon"
    lr: float | None = None
    weight_decay: float = 0.0
    warmup: int = 300
    ema: float = 0.999
    clip: float = 1.0
    seed: int = 0
    oversample: float = 1.0
    min_scale: float = 0.3
    max_scale: float = 1.0
    synthetic: float = 0.0
    balance: float = 0.0
    grey_share: float | None = None
    size: int | None = None
    orientations: Orientations | None = None
    augment: float = 0.0
    shift: float = 0.06
    zoom: float = 0.1
    angle: float = 6.0
    colour: float = 0.15
    rate: int = 16_000
    pitch: float = 3.0
    quietest: float = 0.1
    mixed: float = 0.25
    objective: Objective = "denoising"
    cooldown: int | None = None
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
    net: UNetConfig = field(default_factory=lambda: UNetConfig(norm=False))

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "crop", "save_every", "validate_every", "validation_crops"):
            if getattr(self, name) < 1:
                raise InvalidArgument(name, getattr(self, name), "an integer of at least 1")
        for name in ("crop", "size"):
            value = getattr(self, name) or 0
            if value and self.net.padded((value,)) != (value,):
                least = self.net.padded((1,))[0]
                expected = f"{least}, or more by a multiple of {self.net.multiple}, for this network"
                raise InvalidArgument(name, value, expected)
        if self.size is not None and self.size < 1:
            raise InvalidArgument("size", self.size, "an integer of at least 1, or none for crops")
        if self.net.attention and self.size is None:
            raise InvalidArgument("attention", self.net.attention, "none without a size: it sees the whole picture")
        if self.augment and self.size is None:
            raise InvalidArgument("augment", self.augment, "0 without a size: it changes whole pictures")
        for name, value, kind in (
            ("orientations", self.turns, Orientations), ("objective", self.objective, Objective),
            ("optimizer", self.optimizer, Optimizer),
        ):  # fmt: skip
            if value not in get_args(kind):
                raise InvalidArgument(name, value, f"one of {', '.join(get_args(kind))}")
        if self.cooldown is not None and self.cooldown < 0:
            raise InvalidArgument("cooldown", self.cooldown, "a number of steps, or none for all of them")
        for name in ("seed", "warmup", "weight_decay", "oversample", "zoom", "angle", "colour"):
            if getattr(self, name) < 0:
                raise InvalidArgument(name, getattr(self, name), "a number of at least 0")
        if self.lr is not None and not self.lr > 0:
            raise InvalidArgument("lr", self.lr, "a positive number, or none for what suits the optimizer")
        for name in ("clip", "data_variance"):
            if not getattr(self, name) > 0:
                raise InvalidArgument(name, getattr(self, name), "a positive number")
        for name in ("grey_share", "focus_share", "ema", "augment", "synthetic", "balance", "mixed"):
            if not 0 <= (getattr(self, name) or 0.0) <= 1:
                raise InvalidArgument(name, getattr(self, name), "a number from 0 to 1")
        if not 0 <= self.shift <= 0.5:
            raise InvalidArgument("shift", self.shift, "a share of the side from 0 to a half")
        if not 0 < self.min_scale <= 1:
            raise InvalidArgument("min_scale", self.min_scale, "a number above 0 and at most 1")
        if self.rate < 1:
            raise InvalidArgument("rate", self.rate, "a sampling rate of at least 1 Hz")
        if not 0 <= self.pitch <= 12:
            raise InvalidArgument("pitch", self.pitch, "a number of semitones from 0 to 12")
        if not 0 < self.quietest <= 1:
            raise InvalidArgument("quietest", self.quietest, "a factor above 0 and at most 1")
        if not 1 <= self.max_scale <= 8:
            raise InvalidArgument("max_scale", self.max_scale, "a number from 1 to 8")
        if not self.validation_levels or not min(self.validation_levels) > 0:
            raise InvalidArgument("validation_levels", self.validation_levels, "positive noise levels, at least one")
        if not 0 < self.validation_share < 1:
            raise InvalidArgument("validation_share", self.validation_share, "a number between 0 and 1")
        for name in ("eta_range", "focus"):
            low, high = getattr(self, name)
            if not 0 < low < high:
                raise InvalidArgument(name, (low, high), "two noise levels, 0 < low < high")

    @classmethod
    def for_sounds(cls, net: UNetConfig, **settings: Any) -> TrainConfig:
        """The settings of a run on sounds, with defaults for them where ``settings`` say nothing.

        Pieces of about a second, and noise levels around what recordings have, 0.0005 being the rounding of 11 bits;
        a variance as of music that was brought to its full level.
        """
        second = net.padded((round(0.95 * settings.get("rate", cls.rate)),))[0]
        defaults: dict[str, Any] = {
            "crop": second, "batch": 8, "data_variance": 0.036, "eta_range": (5e-4, 20.0), "focus": (0.005, 0.5),
            "validation_levels": (0.002, 0.01, 0.05, 0.2, 1.0),
        }  # fmt: skip
        return cls(**defaults | settings, net=net)

    @property
    def learning_rate(self) -> float:
        """The learning rate between warm-up and cooldown."""
        return self.lr if self.lr is not None else 2e-3 if self.optimizer == "muon" else 1e-3

    @property
    def side(self) -> int:
        """Height and width of what the network is trained on."""
        return self.crop if self.size is None else self.size

    @property
    def turns(self) -> Orientations:
        """The orientations that are drawn from."""
        return self.orientations if self.orientations is not None else "all" if self.size is None else "mirrored"

    @property
    def grey(self) -> float:
        """The share of what the network is trained on that is turned grey."""
        return self.grey_share if self.grey_share is not None else 0.05 if self.size is None else 0.0

    @property
    def prediction(self) -> NetworkPrediction:
        """What the network is trained to predict."""
        return "velocity" if self.objective == "flow" else "edm"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
